# SPDX-License-Identifier: Apache-2.0
"""Renaming rules in JSON: what reads back, and what is refused, with the rule's number."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rosin as rs
from rosin.errors import FileError, LimitError
from rosin.files.renaming import (
    Add,
    Drop,
    Flip,
    Join,
    Rename,
    Renaming,
    Reorder,
    Reshape,
    Same,
    Split,
    Stack,
    Transpose,
    Unstack,
)
from rosin.files.rule_files import STEPS, read_rules, write_rules

RULES = Renaming(
    [
        Rename("a.{i}", "b[{i}]", Transpose("OI->IO"), Flip((0,)), Reshape((2, -1))),
        Rename(["q", "k"], ["x", "y"], Join(1, (2, 3)), Reorder((1, 0)), Split((1, 4), axis=1)),
        Rename("h.{i}", "stack", Stack(1)),
        Rename("stack", "h.{i}", Unstack()),
        Rename(["c", "d"], "größe", Add()),
        Rename(["e", "f"], "g", Same()),
        Drop("**.steps"),
    ]
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "map.json"


def test_every_step_reads_back(path):
    write_rules(path, RULES)
    assert read_rules(path).rules == RULES.rules
    used = {type(step) for rule in RULES.rules if isinstance(rule, Rename) for step in rule.steps}
    assert used == set(STEPS.values())


def test_the_text_is_short_and_for_people(path):
    write_rules(path, Renaming([Rename("a", "b", Transpose("OI->IO")), Drop("c")]))
    assert json.loads(path.read_text()) == {
        "rosin_renaming": 1,
        "rules": [
            {"from": "a", "to": "b", "steps": [{"step": "transpose", "axes": "OI->IO"}]},
            {"drop": "c"},
        ],
    }


def test_what_has_a_default_may_be_left_out(path):
    steps = [{"step": "split", "parts": 2}]
    path.write_text(json.dumps({"rosin_renaming": 1, "rules": [rule(to=["b", "c"], steps=steps)]}))
    assert read_rules(path).rules == (Rename("a", ["b", "c"], Split(2)),)


def rule(**changes):
    return {"from": "a", "to": "b", **changes}


def step(**fields):
    return rule(steps=[fields])


BAD_RULES = {
    "a text": ("a", "rule 1"),
    "nothing": ({}, "rule 1"),
    "no target": ({"from": "a"}, "rule 1"),
    "a key too many": (rule(code="x"), "rule 1"),
    "drop and more": ({"drop": "a", "to": "b"}, "rule 1"),
    "drop of a list": ({"drop": ["a"]}, "rule 1"),
    "a source that is a number": (rule(**{"from": 1}), "rule 1, from"),
    "a target that is an object": (rule(to={}), "rule 1, to"),
    "sources of numbers": (rule(**{"from": [1]}), "rule 1, from"),
    "a bad pattern": (rule(to="b.{"), "rule 1"),
    "placeholders that differ": (rule(to="b.{i}"), "rule 1"),
    "steps as an object": (rule(steps={}), "rule 1"),
    "a step as a text": (rule(steps=["transpose"]), "rule 1, steps"),
    "a step without a name": (step(axes="OI->IO"), "rule 1, steps"),
    "an unknown step": (step(step="eval", code="1"), "rule 1, steps"),
    "a step with a name in a list": (step(step=["add"]), "rule 1, steps"),
    "a step of the base class": (step(step="step"), "rule 1, steps"),
    "a step without an argument": (step(step="transpose"), "rule 1, steps"),
    "a step with one too many": (step(step="stack", arity="each"), "rule 1, steps"),
    "axes that are none": (step(step="transpose", axes="OI"), "rule 1"),
    "axes of numbers": (step(step="transpose", axes=[1, 0]), "rule 1"),
    "a fraction": (step(step="flip", axes=[0.5]), "rule 1"),
    "a boolean": (step(step="stack", axis=True), "rule 1"),
    "null": (step(step="stack", axis=None), "rule 1"),
    "a list in a list": (step(step="flip", axes=[[0]]), "rule 1"),
    "very many parts": (step(step="split", parts=10**12), "rule 1"),
}


@pytest.mark.parametrize(("bad", "where"), BAD_RULES.values(), ids=BAD_RULES)
def test_a_bad_rule_is_refused_by_its_number(path, bad, where):
    path.write_text(json.dumps({"rosin_renaming": 1, "rules": [rule(), bad]}))
    with pytest.raises(FileError) as caught:
        read_rules(path)
    assert caught.value.where == where
    assert len(str(caught.value)) < 600


BAD_FILES = {
    "no JSON": "import os",
    "a list": "[]",
    "another version": '{"rosin_renaming": 2, "rules": []}',
    "a boolean version": '{"rosin_renaming": true, "rules": []}',
    "no version": '{"rules": []}',
    "no rules": '{"rosin_renaming": 1}',
    "rules as an object": '{"rosin_renaming": 1, "rules": {}}',
    "a key too many": '{"rosin_renaming": 1, "rules": [], "run": "x"}',
    "a key twice": '{"rosin_renaming": 1, "rules": [], "rules": []}',
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_holds_no_rules_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(FileError):
        read_rules(path)


def test_bounds_hold(path):
    write_rules(path, RULES)
    for limits in (
        rs.Limits(max_index_bytes=20),
        rs.Limits(max_tensors=3),
        rs.Limits(max_nesting=2),
    ):
        with pytest.raises(LimitError):
            read_rules(path, limits=limits)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.sampled_from(["a", "b.{i}", "OI->IO"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["from", "to", "steps", "drop", "step", "axes", "axis", "parts", "order"]
            ),
            inner | st.sampled_from(sorted(STEPS)),
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(JSON, max_size=3))
def test_any_json_is_rules_or_a_fault_of_the_file(tmp_path_factory, rules):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({"rosin_renaming": 1, "rules": rules}))
    try:
        read_rules(path)
    except FileError:
        return
