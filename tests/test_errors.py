# SPDX-License-Identifier: Apache-2.0
"""The tree of errors, the grammar of a message, and what a value looks like in one."""

import collections
import copy
import dataclasses
import gc
import pickle
import weakref

import ml_dtypes
import numpy as np
import pytest

from rosin import errors
from rosin.errors import (
    DataError,
    DtypeError,
    FileError,
    LimitError,
    NonFiniteError,
    RangeError,
    RosinError,
    ShapeError,
    StateError,
    StructureError,
    TrustError,
    UnsafeFileError,
    UsageError,
    shortened,
    shown,
)

PARTS = {"subject": "Dense(2, 3)", "expected": "shape (..., 2)", "got": "float32[7]", "fix": "do"}

TREE = {
    UsageError: (RosinError,),
    ShapeError: (UsageError, ValueError),
    DtypeError: (UsageError, TypeError),
    RangeError: (UsageError, ValueError),
    StructureError: (UsageError, TypeError),
    StateError: (UsageError, RuntimeError),
    NonFiniteError: (RosinError, ArithmeticError),
    DataError: (RosinError, ValueError),
    FileError: (RosinError, ValueError),
    UnsafeFileError: (FileError,),
    LimitError: (FileError,),
    TrustError: (RosinError, ValueError),
}


@pytest.mark.parametrize(("kind", "bases"), TREE.items(), ids=str)
def test_the_tree_is_the_one_that_is_drawn(kind, bases):
    assert kind.__bases__ == bases
    assert kind.__name__ in (errors.__doc__ or "")


def test_no_error_is_missing_in_the_drawing_or_here():
    kinds = {value for value in vars(errors).values() if isinstance(value, type)}
    assert {k for k in kinds if issubclass(k, RosinError)} == {*TREE, RosinError}


def test_a_message_is_subject_place_expectation_and_fix():
    error = ShapeError(**PARTS, where=".layers[1]")
    assert str(error) == (
        "Dense(2, 3) at model.layers[1]: expected shape (..., 2), got float32[7].\n  fix: do."
    )


def test_a_message_without_a_place_names_none():
    assert str(ShapeError(**PARTS)).startswith("Dense(2, 3): expected")


def test_details_stand_on_lines_of_their_own():
    error = ShapeError(**PARTS, details=("missing: a", "unexpected: b"))
    assert str(error).splitlines()[1:] == ["  - missing: a", "  - unexpected: b", "  fix: do."]


@pytest.mark.parametrize("kind", [DataError, FileError, LimitError, UnsafeFileError, TrustError])
def test_errors_about_files_name_the_place_in_the_words_of_the_file(kind):
    text = str(kind(**{**PARTS, "subject": "'a.csv'"}, where="row 3, field 'x'"))
    assert text.startswith("'a.csv', row 3, field 'x': expected shape")


def test_a_place_may_hold_braces():
    assert "model{0}" in str(ShapeError(**PARTS, where="{0}"))


@pytest.mark.parametrize("kind", TREE)
def test_errors_survive_pickling_by_their_parts(kind):
    error = kind(**PARTS, where="here", details=("one",))
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert (again.where, again.details) == ("here", ("one",))


def test_a_subject_that_is_no_text_is_shown():
    assert RangeError(**{**PARTS, "subject": np.zeros(3)}).subject == "float64[3]"


class Subject:
    def __repr__(self):
        return "Subject()"


def test_an_error_starts_from_its_subject_but_keeps_it_not_alive():
    subject = Subject()
    error = RangeError(**{**PARTS, "subject": subject})
    assert error.anchor is subject
    gone = weakref.ref(subject)
    del subject
    gc.collect()
    assert gone() is None
    assert error.anchor is None
    assert str(error).startswith("Subject():")


@pytest.mark.parametrize("subject", ["text", None, 3, (1, 2)])
def test_texts_and_plain_values_are_no_place_to_start_from(subject):
    assert RangeError(**{**PARTS, "subject": subject}).anchor is None


class Hostile:
    def __repr__(self):
        raise ValueError("no")


@dataclasses.dataclass
class Output:
    loss: object
    more: object = None


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024  a plain one is meant
SELF = Output(1)
SELF.more = SELF

SHOWN = {
    "array": (np.zeros((4, 3), np.float32), "float32[4,3]"),
    "scalar": (np.float64(2.5), "float64[]"),
    "bfloat16": (np.zeros(2, ml_dtypes.bfloat16), "bfloat16[2]"),
    "text": ("a", "'a'"),
    "control characters": ("a\x1b[31m\n", "'a\\x1b[31m\\n'"),
    "characters that turn the line around": ("\u202eabc", "'\\u202eabc'"),
    "number": (3, "3"),
    "a number of many digits": (-(2**20000), "a whole number of 20001 bits"),
    "none": (None, "None"),
    "class": (Subject, "class Subject"),
    "function": (len, "function len"),
    "arrays in a list": ([np.ones(2), np.ones(3)], "[float64[2], float64[3]]"),
    "arrays in a dict": ({"a": np.ones(2)}, "{'a': float64[2]}"),
    "arrays in a named tuple": (Point(np.ones(2), 1), "(float64[2], 1)"),
    "arrays in an ordered dict": (collections.OrderedDict(a=np.ones(2)), "{'a': float64[2]}"),
    "arrays in a dataclass": (Output(np.ones(2)), "Output(loss=float64[2], more=None)"),
    "a repr that fails": (Hostile(), "<Hostile>"),
    "many items": (tuple(range(100)), "(0, 1, 2, 3, 4, 5, …)"),
    "deep nesting": ([[[[[[1]]]]]], "[[[[…]]]]"),
}


@pytest.mark.parametrize(("value", "text"), SHOWN.values(), ids=SHOWN)
def test_a_value_is_shown_without_contents_and_control_characters(value, text):
    assert shown(value) == text


def test_a_value_that_holds_itself_is_shown():
    items = []
    items.append(items)
    assert shown(items) == "[[[[…]]]]"
    assert shown(SELF).startswith("Output(loss=1, more=Output(")


@pytest.mark.parametrize("value", ["x" * 500, b"x" * 500, ["y" * 60] * 5, {1: "z" * 99}])
def test_a_value_takes_at_most_eighty_characters(value):
    assert 70 < len(shown(value)) <= 80


def test_shortened_text_is_one_line():
    assert shortened("Chain(\n    Dense(2),\n    Dense(3),\n)") == "Chain(Dense(2), Dense(3))"
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"
