# SPDX-License-Identifier: Apache-2.0
"""The checks: what passes, what does not, and in which words."""

import decimal
import fractions
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosin.core import validation as v
from rosin.errors import (
    DtypeError,
    RangeError,
    RosinError,
    ShapeError,
    StateError,
    StructureError,
)
from tests.core.toys import Affine

INF = math.inf


def words(call):
    """Return kind and parts of the error that a check raises."""
    with pytest.raises(RosinError) as caught:
        call()
    error = caught.value
    assert error.subject == "it"
    assert all(text and not text.endswith(".") for text in (error.expected, error.got, error.fix))
    return type(error), error.expected, error.got, error.fix


# --- numbers and options ----------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 7, np.int64(1), np.uint8(200), 10**30])
def test_whole_numbers_from_the_bound_on_pass(value):
    v.expect_at_least(1, subject="it", n=value)


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", None, True, math.nan, np.float32(2), [1]])
def test_other_values_are_not_at_least_one(value):
    kind, expected, _, fix = words(lambda: v.expect_at_least(1, subject="it", ok=3, n=value))
    assert kind is RangeError
    assert expected == "n to be a whole number of at least 1"
    assert fix == "pass n=1 or more"


def test_a_bound_of_zero_advises_one():
    v.expect_at_least(0, subject="it", n=0)
    assert words(lambda: v.expect_at_least(0, subject="it", n=-1))[3] == "pass n=1 or more"


@pytest.mark.parametrize("sizes", [(1,), (3, 4), (np.int32(2), 9)])
def test_tuples_of_sizes_pass(sizes):
    v.expect_sizes(sizes, subject="it", name="kernel")


@pytest.mark.parametrize("sizes", [(), 3, [3, 3], (3, 0), (3, 1.0), (True,), None, "33"])
def test_other_values_are_no_sizes(sizes):
    kind, expected, *_ = words(lambda: v.expect_sizes(sizes, subject="it", name="kernel"))
    assert kind is RangeError
    assert expected == "kernel to be a tuple of whole numbers of at least 1"


def test_the_fix_keeps_the_numbers_that_were_meant():
    fixes = [
        words(lambda value=value: v.expect_sizes(value, subject="it", name="kernel"))[3]
        for value in ([3, 5], 3, [], [0])
    ]
    assert fixes[0] == "pass kernel=(3, 5), in round brackets"
    assert fixes[1:] == [
        "pass kernel=(3, 3) for two axes",
        *["pass kernel=(1, 1) for two axes"] * 2,
    ]
    for value, size in [(3.0, "3"), (0.0, "1 or more"), (2.5, "1 or more"), (INF, "1 or more")]:
        fix = words(lambda value=value: v.expect_at_least(1, subject="it", size=value))[3]
        assert fix == f"pass size={size}"
    fix = words(lambda: v.expect_callable(subject="it", activation="relu"))[3]
    assert fix.endswith("the object itself and not its name")


@pytest.mark.parametrize("value", [[1.0, 2.0], (1, 2), None, "float32"])
def test_what_is_no_array_is_to_be_made_one(value):
    kind, _, _, fix = words(lambda: v.expect_floating(value, subject="it"))
    assert (kind, fix) == (DtypeError, "convert it with jnp.asarray(x, jnp.float32)")
    kind, _, _, fix = words(lambda: v.expect_integer(value, subject="it"))
    assert kind is DtypeError
    assert fix.endswith(" jnp.asarray(x, jnp.int32)")


INTERVALS = {
    "closed": ((0, 1), {}, [0, 1, 0.5, np.float32(1)], [-0.1, 1.1], "of at least 0 and at most 1"),
    "open below": ((0, 1), {"include_low": False}, [1, 1e-9], [0, 2], "above 0 and at most 1"),
    "open above": ((0, 1), {"include_high": False}, [0], [1], "of at least 0 and below 1"),
    "half infinite": ((0, INF), {}, [0, 10**400, INF], [-1], "of at least 0"),
    "positive": ((0, INF), {"include_low": False}, [5e-324], [0], "above 0"),
    "finite": ((0, INF), {"include_high": False}, [1e308], [INF], "of at least 0"),
    "infinite below": ((-INF, 1), {}, [-(10**400), 1], [2], "of at most 1"),
    "negative": ((-INF, 0), {"include_high": False}, [-1], [0], "below 0"),
    "other numbers": (
        *((0, 1), {}),
        [fractions.Fraction(1, 2)],
        [decimal.Decimal("0.5"), 1j, "0.5", None, True, math.nan, np.nan, jnp.ones(())],
        "of at least 0 and at most 1",
    ),
}


@pytest.mark.parametrize(
    ("interval", "options", "inside", "outside", "text"), INTERVALS.values(), ids=INTERVALS
)
def test_numbers_are_held_to_an_interval(interval, options, inside, outside, text):
    for value in inside:
        v.expect_between(*interval, subject="it", rate=value, **options)
    for value in outside:
        kind, expected, _, fix = words(
            lambda value=value: v.expect_between(*interval, subject="it", rate=value, **options)
        )
        assert kind is RangeError
        assert expected == f"rate to be a number {text}"
        assert fix == f"pass rate {text}"


@given(st.floats() | st.integers(), st.floats(-5, 5), st.floats(-5, 5))
def test_an_interval_holds_what_lies_between(value, a, b):
    low, high = sorted((a, b))
    try:
        v.expect_between(low, high, subject="it", rate=value)
    except RangeError:
        assert not low <= value <= high
    else:
        assert low <= value <= high


def test_options_are_compared_as_they_are():
    v.expect_one_of(("a", "b"), subject="it", mode="b")
    v.expect_one_of((0, None), subject="it", mode=None)
    v.expect_one_of((jnp.mean, jnp.sum), subject="it", mode=jnp.sum)


@pytest.mark.parametrize("value", ["c", None, 3, ["a"], np.ones(2), jnp.ones(2)])
def test_what_is_no_option_is_refused_with_all_that_are(value):
    kind, expected, *_ = words(lambda: v.expect_one_of(("a", "b"), subject="it", mode=value))
    assert kind is RangeError
    assert expected == "mode to be one of 'a', 'b'"


def test_true_is_not_one():
    with pytest.raises(RangeError):
        v.expect_one_of((0, 1), subject="it", mode=True)


def test_the_nearest_option_is_suggested():
    fix = words(lambda: v.expect_one_of(("same", "valid"), subject="it", pad="valld"))[3]
    assert fix == "pass pad='same'; 'valid' is the nearest"
    fix = words(lambda: v.expect_one_of(("same", "valid"), subject="it", pad="qqq"))[3]
    assert fix == "pass pad='same'"


def test_callables_pass_and_other_values_do_not():
    v.expect_callable(subject="it", f=jnp.sin, g=Affine, h=Affine(1, 1))
    kind, expected, got, fix = words(lambda: v.expect_callable(subject="it", f=jnp.sin, g=3))
    assert (kind, expected, got) == (StructureError, "g to be callable", "3")
    assert fix == "pass a function or a layer as g"


def test_classes_are_checked_and_a_truth_is_no_number():
    v.expect_kind((int, str), subject="it", a=3, b="x")
    v.expect_kind(bool, subject="it", flag=True)
    v.expect_kind(jax.Array, subject="it", x=jnp.ones(1))
    for value in (True, 3.0, None):
        call = functools.partial(v.expect_kind, (int, str), subject="it", a=value)
        assert words(call)[:2] == (StructureError, "a to be of class int or str")
    assert words(lambda: v.expect_kind(jax.Array, subject="it", a=1))[1] == "a to be of class Array"


def test_names_that_are_not_known_are_listed():
    v.expect_known(["a"], ["a", "b"], subject="it", what="fields")
    kind, expected, got, fix = words(
        lambda: v.expect_known(["a", "rite", "z"], ["a", "rate"], subject="it", what="fields")
    )
    assert (kind, expected, got) == (StructureError, "fields among a, rate", "rite, z")
    assert fix == "use one of the names listed; 'rate' is the nearest"
    assert "fields among (none)" in words(
        lambda: v.expect_known(["a"], [], subject="it", what="fields")
    )


class Unhashable:
    def __eq__(self, other):
        return True

    __hash__ = None


class Failing:
    def __hash__(self):
        raise TypeError


@pytest.mark.parametrize("value", [1, "a", None, (1, "a"), jnp.sin, frozenset({1}), Affine(1, 1)])
def test_what_can_be_hashed_passes(value):
    v.expect_hashable(value, subject="it", name="size")


@pytest.mark.parametrize(
    "value", [[1], {}, ([],), jnp.ones(1), np.ones(1), Unhashable(), Failing()]
)
def test_what_cannot_be_hashed_is_refused(value):
    held = value() if isinstance(value, type) else value
    kind, expected, *_ = words(lambda: v.expect_hashable(held, subject="it", name="size"))
    assert (kind, expected) == (StructureError, "the static field size to be hashable")


# --- arrays -----------------------------------------------------------------------------

F, N = jnp.zeros((4, 3)), np.zeros((2, 0), np.int32)

PASS = {
    "last axis": lambda: v.expect_last_axis(F, 3, subject="it"),
    "last axes": lambda: v.expect_last_axes(F, (4, 3), subject="it"),
    "last axes behind a batch": lambda: v.expect_last_axes(F, (3,), subject="it"),
    "the first place": lambda: v.expect_index(3, subject="it", first=0, last=np.int32(2)),
    "rank": lambda: v.expect_rank(F, ("batch", "features"), subject="it"),
    "same shape": lambda: v.expect_same_shape(F, F + 1, subject="it", names=("a", "b")),
    "floating": lambda: v.expect_floating(F, subject="it"),
    "complex": lambda: v.expect_floating(1j, subject="it"),
    "integer": lambda: v.expect_integer(N, subject="it"),
    "not empty": lambda: v.expect_not_empty(F, subject="it", name="x"),
    "a loss": lambda: v.expect_scalar_loss(jnp.zeros(()), subject="it"),
    "a loss of Python": lambda: v.expect_scalar_loss(0.5, subject="it"),
    "a loss of half precision": lambda: v.expect_scalar_loss(jnp.bfloat16(1), subject="it"),
    "state": lambda: v.expect_state(True, subject="it", expected="a", got="b", fix="c"),
}


@pytest.mark.parametrize("call", PASS.values(), ids=PASS)
def test_what_fits_passes(call):
    assert call() is None


REFUSED = {
    "last axis": (
        lambda: v.expect_last_axis(F, 5, subject="it"),
        *(ShapeError, "shape (..., 5)", "float32[4,3]"),
        "feed it 5 features on the last axis, or build the layer with in_size=3",
    ),
    "no axis": (
        lambda: v.expect_last_axis(2.0, 5, subject="it", argument="channels"),
        *(ShapeError, "shape (..., 5)", "2.0", "feed it 5 features on the last axis"),
    ),
    "last axes": (
        lambda: v.expect_last_axes(F, (3, 4), subject="it"),
        *(ShapeError, "shape (..., 3, 4)", "float32[4,3]"),
        "feed it these sizes on the last axes, or build the layer with sizes=(4, 3)",
    ),
    "fewer axes": (
        lambda: v.expect_last_axes(F, (1, 4, 3), subject="it"),
        *(ShapeError, "shape (..., 1, 4, 3)", "float32[4,3]"),
        "feed it these sizes on the last axes, or build the layer with sizes=(4, 3)",
    ),
    "a place too far": (
        lambda: v.expect_index(3, subject="it", first=3),
        *(RangeError, "first to be a whole number from 0 to 2", "3"),
        "count from 0: pass first=0 for the first",
    ),
    "a place that is true": (
        lambda: v.expect_index(3, subject="it", first=True),
        *(RangeError, "first to be a whole number from 0 to 2", "True"),
        "count from 0: pass first=0 for the first",
    ),
    "rank": (
        lambda: v.expect_rank(F, ("batch", "time", "features"), subject="it"),
        *(ShapeError, "shape (batch, time, features)", "float32[4,3]"),
        "give the array 3 axes; add a batch axis with x[None]",
    ),
    "higher rank": (
        lambda: v.expect_rank(F, ("features",), subject="it"),
        *(ShapeError, "shape (features)", "float32[4,3]", "give the array 1 axes; reshape it"),
    ),
    "shapes that broadcast": (
        lambda: v.expect_same_shape(F, F[0], subject="it", names=("prediction", "target")),
        *(ShapeError, "prediction and target of equal shape"),
        "prediction float32[4,3] and target float32[3]",
        "reshape one of them, for example target.reshape(prediction.shape)",
    ),
    "floating": (
        lambda: v.expect_floating(N, subject="it", name="logits"),
        *(DtypeError, "logits of a floating-point dtype", "int32[2,0]"),
        "convert it with logits.astype(jnp.float32)",
    ),
    "integer": (
        lambda: v.expect_integer(F, subject="it", name="labels"),
        *(DtypeError, "labels of an integer dtype", "float32[4,3]"),
        "pass whole numbers, for example labels.astype(jnp.int32)",
    ),
    "a truth": (
        lambda: v.expect_integer(F > 0, subject="it"),
        *(DtypeError, "x of an integer dtype", "bool[4,3]"),
        "pass whole numbers, for example x.astype(jnp.int32)",
    ),
    "empty": (
        lambda: v.expect_not_empty(N, subject="it", name="batch"),
        *(ShapeError, "batch with at least one element", "int32[2,0]"),
        "leave empty batches out; a mean over nothing is NaN",
    ),
    "state": (
        lambda: v.expect_state(False, subject="it", expected="a", got="b", fix="c"),
        *(StateError, "a", "b", "c"),
    ),
    "a loss of no class": (
        lambda: v.expect_scalar_loss("x", subject="it"),
        *(StructureError, "the loss function to return a number, or a tuple (number, aux)", "'x'"),
        "return the loss first, and anything else as the second entry of a tuple",
    ),
    "a loss of a shape": (
        lambda: v.expect_scalar_loss(F, subject="it"),
        *(ShapeError, "a loss of shape ()", "float32[4,3]"),
        "reduce it to one number, for example with jnp.mean",
    ),
    "a loss of whole numbers": (
        lambda: v.expect_scalar_loss(3, subject="it"),
        *(DtypeError, "a loss of a real floating-point dtype", "3"),
        "compute it in float32, for example from jnp.mean; of a complex loss take .real",
    ),
}


@pytest.mark.parametrize(("call", "kind", "expected", "got", "fix"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_in_these_words(call, kind, expected, got, fix):
    assert words(call) == (kind, expected, got, fix)


def test_a_check_works_while_jax_traces():
    with pytest.raises(ShapeError) as caught:
        jax.jit(lambda x: v.expect_last_axis(x, 5, subject="it"))(F)
    assert caught.value.got == "float32[4,3]"


def test_the_subject_may_be_a_module():
    layer = Affine(1, 1)
    with pytest.raises(StateError) as caught:
        v.refuse(StateError, subject=layer, expected="a", got="b", fix="c", details=("d",))
    assert caught.value.subject == repr(layer)
    assert caught.value.anchor is layer
    assert caught.value.details == ("d",)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (words, "the function words"),
        (Affine(1, 1), "the function Affine"),
        (functools.partial(words), "the function partial"),
    ],
)
def test_functions_are_named(function, name):
    assert v.name_of(function) == name
