# SPDX-License-Identifier: Apache-2.0
"""Paths are spelled one way, read back, and compared with what a tree calls its parts."""

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from rosin.core.paths import ANY, as_where, joined, matches, parse_path, path_string
from rosin.errors import StructureError

SPELLED = {
    "a field": ((GetAttrKey("weight"),), "weight"),
    "an index": ((GetAttrKey("layers"), SequenceKey(1), GetAttrKey("bias")), "layers[1].bias"),
    "a flat index": ((GetAttrKey("a"), FlattenedIndexKey(2)), "a[2]"),
    "a name in a dict": ((DictKey("encoder"), GetAttrKey("bias")), "encoder.bias"),
    "a keyword": ((DictKey("class"),), "class"),
    "letters of other scripts": ((DictKey("größe"), DictKey("π")), "größe.π"),
    "a key with a space": ((GetAttrKey("x"), DictKey("a b")), 'x["a b"]'),
    "a key with quotes": ((DictKey('a"]["b'),), r'["a\"][\"b"]'),
    "a key with a line break": ((DictKey("a\nb"),), r'["a\nb"]'),
    "a key of digits": ((DictKey("1"),), '["1"]'),
    "a number in a dict": ((GetAttrKey("x"), DictKey(1)), "x[1]"),
    "an empty key": ((DictKey(""),), '[""]'),
    "a star as a key": ((DictKey("*"),), '["*"]'),
    "nothing": ((), ""),
    "any index": ((GetAttrKey("layers"), ANY), "layers[*]"),
    "an index first": ((SequenceKey(0), GetAttrKey("a")), "[0].a"),
}


@pytest.mark.parametrize(("keys", "text"), SPELLED.values(), ids=SPELLED)
def test_a_path_is_spelled_and_read_back(keys, text):
    assert path_string(keys) == text
    read = parse_path(text)
    assert path_string(read) == text
    assert len(read) == len(keys)
    assert all(map(matches, read, (k if k is not ANY else SequenceKey(7) for k in keys)))


KEYS = st.one_of(
    st.text().map(DictKey),
    st.integers(0, 10**9).map(SequenceKey),
    st.from_regex(r"[a-zA-Z_][a-zA-Z_0-9]*", fullmatch=True)
    .filter(lambda name: not keyword.iskeyword(name))
    .map(GetAttrKey),
)


@given(st.lists(KEYS, max_size=5))
def test_every_path_survives_the_way_through_text(keys):
    text = path_string(tuple(keys))
    read = parse_path(text)
    assert path_string(read) == text
    assert len(read) == len(keys)
    assert all(map(matches, read, keys))


@given(st.lists(KEYS, max_size=4), st.lists(KEYS, max_size=4))
def test_different_paths_are_spelled_differently(a, b):
    alike = len(a) == len(b) and all(map(matches, a, b))
    assert (path_string(tuple(a)) == path_string(tuple(b))) == alike


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        keys = parse_path(text)
    except StructureError:
        return
    assert path_string(keys) == text.removeprefix(".")


def test_a_path_may_be_copied_out_of_a_message():
    assert parse_path(".layers[1]") == parse_path("layers[1]")


BAD = {
    "two dots": ("a..b", 1),
    "a dot at the end": ("a.", 1),
    "a missing dot": ("layers[1]weight", 9),
    "a negative index": ("layers[-1]", 6),
    "a bracket left open": ("layers[1", 6),
    "a key in single quotes": ("a['b']", 1),
    "a bare key": ("a[b]", 1),
    "a bad escape": (r'a["\q"]', 1),
    "a line break in quotes": ('a["\n"]', 1),
    "a space": ("a b", 1),
    "a digit first": ("1a", 0),
    "a number too long": ("a[" + "9" * 19 + "]", 1),
    "digits of other scripts": ("a[٣]", 1),
    "no text": (3, 0),
}


@pytest.mark.parametrize(("text", "position"), BAD.values(), ids=BAD)
def test_what_is_no_path_is_refused_at_its_first_bad_character(text, position):
    with pytest.raises(StructureError) as caught:
        parse_path(text)
    assert caught.value.fix == f"rewrite it from character {position} on"


def test_any_index_stands_for_indices_only():
    assert matches(ANY, SequenceKey(3))
    assert not matches(ANY, GetAttrKey("weight"))
    assert not matches(ANY, DictKey("*"))
    assert not matches(SequenceKey(1), SequenceKey(2))


@pytest.mark.parametrize(
    ("head", "tail", "whole"),
    [("a", "b", "a.b"), ("a", "[0]", "a[0]"), ("", "b", "b"), ("a", "", "a"), ("", "", "")],
)
def test_paths_are_joined(head, tail, whole):
    assert joined(head, tail) == whole


@pytest.mark.parametrize(("path", "where"), [("a[0]", ".a[0]"), ("[0].a", "[0].a"), ("", "")])
def test_a_path_follows_the_word_model(path, where):
    assert as_where(path) == where
