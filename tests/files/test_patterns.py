# SPDX-License-Identifier: Apache-2.0
"""Patterns of names: what they bind, what they fill in, what is refused."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosin.errors import StructureError
from rosin.files.patterns import Pattern, as_index

BOUND = {
    "a plain name": ("a.b", "a.b", {}),
    "another name": ("a.b", "a.c", None),
    "a dot is a dot": ("a.b", "axb", None),
    "a number": ("h.{i}.w", "h.10.w", {"i": "10"}),
    "a name": ("{part}.w", "encoder.w", {"part": "encoder"}),
    "no dot inside": ("{part}.w", "a.b.w", None),
    "no bracket inside": ("{part}.w", "a[0].w", None),
    "nothing is not enough": ("h.{i}w", "h.w", None),
    "two": ("layer{s}.{b}.bn", "layer3.1.bn", {"s": "3", "b": "1"}),
    "what ends at the next character": ("{a}_l{n}", "x_l0", {"a": "x", "n": "0"}),
    "at its first place": ("{a}_l{n}", "x_y_l0", None),
    "above by one": ("layer{s+1}", "layer1", {"s": "0"}),
    "above by one, below zero": ("layer{s+1}", "layer0", None),
    "below by two": ("layer{s-2}", "layer0", {"s": "2"}),
    "a shift of no number": ("layer{s+1}", "layerx", None),
    "a shift of a number spelled oddly": ("layer{s+1}", "layer01", None),
    "the rest": ("{*rest}.w", "a[0].b.w", {"rest": "a[0].b"}),
    "the rest is not nothing": ("a{*rest}", "a", None),
    "any step": ("*.w", "a.w", {}),
    "not two steps": ("*.w", "a.b.w", None),
    "any steps": ("**.w", "a.b.w", {}),
    "or none": ("**.w", "w", {}),
    "but whole ones": ("**.w", "a.bw", None),
    "any end": ("a.**", "a.b.c", {}),
    "a line break": ("{*rest}", "a\nb", {"rest": "a\nb"}),
    "characters of regular expressions": ("a+(b)|c", "a+(b)|c", {}),
    "letters of other scripts": ("größe.{i}", "größe.π", {"i": "π"}),
}


@pytest.mark.parametrize(("pattern", "name", "values"), BOUND.values(), ids=BOUND)
def test_a_name_binds_placeholders(pattern, name, values):
    assert Pattern(pattern).match(name) == values


def test_values_are_put_in_place():
    pattern = Pattern("stages[{s-1}].{b}.{*rest}")
    assert pattern.fill({"s": "3", "b": "x", "rest": "a.b"}) == "stages[2].x.a.b"
    assert pattern.fill({"s": "0", "b": "x", "rest": "a"}) is None
    assert pattern.fill({"s": "x", "b": "x", "rest": "a"}) is None
    assert pattern.fill({"s": "٣", "b": "x", "rest": "a"}) is None  # a digit, but not one of 0 to 9


def test_numbers_have_one_spelling():
    assert [as_index(text) for text in ("0", "10", "01", "-1", "", "1.", "²", "9" * 19)] == [
        0, 10, None, None, None, None, None, None,
    ]  # fmt: skip


BAD = {
    "no text": 3,
    "nothing": "",
    "an open brace": "a.{i",
    "a closing brace": "a.i}",
    "an empty placeholder": "a.{}",
    "a number as a name": "a.{0}",
    "a format": "a.{i:>10}",
    "an attribute": "a.{i.__class__}",
    "twice": "{i}.{i}",
    "without text between": "{a}{b}",
    "a star beside a placeholder": "{a}*",
    "two rests": "{*a}.{*b}",
    "a rest and **": "**.{*a}",
    "two times **": "**.a.**",
    "endless": "a" * 2000,
    "an endless shift": "{i+1000000000000}",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_could_be_read_in_two_ways_is_refused(text):
    with pytest.raises(StructureError):
        Pattern(text)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{a}_{b}_{c}_{d}_{e}_{f}x", "_" * 1000),
        ("{a}a{b}a{c}a{d}ax", "a" * 1000),
        ("{*rest}.{a}.{b}.{c}.x", "a." * 500),
        ("**.{a}_{b}_{c}x", "a_" * 500),
        ("*a*a*a*a*ax", "a" * 1000),
        ("**a", "b" * 1000),
    ],
)
def test_no_pattern_makes_matching_slow(pattern, name):
    start = time.process_time()
    for _ in range(10):
        assert Pattern(pattern).match(name) is None
    assert time.process_time() - start < 1  # an exponential one would never end


PARTS = st.text(st.sampled_from("ab.[]_01"), min_size=0, max_size=4)
VALUES = st.text(st.sampled_from("ab01"), min_size=1, max_size=3)


@given(PARTS, VALUES, PARTS, VALUES, PARTS)
def test_what_is_bound_fills_the_pattern_again(before, a, between, b, after):
    pattern = Pattern(f"{before}{{a}}{between or '.'}{{b}}{after}")
    name = pattern.fill({"a": a, "b": b})
    assert name is not None
    values = pattern.match(name)
    if values is not None:
        assert pattern.fill(values) == name
