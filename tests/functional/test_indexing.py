# SPDX-License-Identifier: Apache-2.0
"""Gather and scatter: against loops, with their derivatives, and at the edges of the range."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError, StructureError
from rosin.functional.indexing import NEUTRAL, gather, scatter

SOURCE = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
INDICES = np.array([3, 0, 3, 3, 1])
STEPS = {
    "add": lambda total, x: total + x,
    "sub": lambda total, x: total - x,
    "mul": lambda total, x: total * x,
    "div": lambda total, x: total / x,
    "max": np.maximum,
    "min": np.minimum,
}


def looped(operation, source, places, size, init=None):
    """Scatter with a loop, in float64."""
    source = np.asarray(source, np.float64)
    rest = source.shape[len(np.shape(places[0])) :]
    start = NEUTRAL[operation] if init is None else init
    result = np.broadcast_to(np.asarray(start, np.float64), (*size, *rest)).copy()
    taken = {}
    for place in np.ndindex(np.shape(places[0])):
        target = tuple(int(p[place]) for p in places)
        if operation == "mean":
            taken.setdefault(target, []).append(source[place])
        else:
            result[target] = STEPS[operation](result[target], source[place])
    for target, entries in taken.items():
        result[target] += np.mean(entries, axis=0)
    return result


# --- gather -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_gather_reads_along_the_first_axis(shape):
    indices = np.arange(np.prod(shape, dtype=int)).reshape(shape) % 5
    np.testing.assert_array_equal(gather(SOURCE, indices), SOURCE[indices])
    np.testing.assert_array_equal(jax.jit(gather)(SOURCE, indices), SOURCE[indices])


def test_gather_takes_an_array_of_indices_for_each_axis():
    places = np.array([[0, 4], [1, 1]]), np.array([[2, 0], [1, 1]])
    np.testing.assert_array_equal(gather(SOURCE, places), SOURCE[places])
    images = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(gather(images, ((1, 0), (2, 0))), images[[1, 0], [2, 0]])


@pytest.mark.parametrize("index", [-1, 5, 2**31 - 1])
def test_gather_refuses_an_index_out_of_range_or_gives_nan(index):
    with pytest.raises(RangeError) as caught:
        gather(SOURCE, np.array([0, index]), subject="the table")
    assert (caught.value.subject, caught.value.expected) == ("the table", "indices from 0 to 4")
    y = jax.jit(gather)(SOURCE, np.array([0, index]))
    np.testing.assert_array_equal(y[0], SOURCE[0])
    assert np.isnan(y[1]).all()


def test_gather_of_whole_numbers_gives_the_least_for_what_is_out_of_range():
    y = jax.jit(gather)(np.arange(3, dtype=np.int32), np.array([1, 3]))
    assert y.tolist() == [1, -(2**31)]
    y = jax.jit(gather)(np.arange(3, dtype=np.uint8), np.array([1, 3]))
    assert y.tolist() == [1, 255]


def test_the_gradient_of_gather_adds_up_over_equal_indices():
    y, back = jax.vjp(lambda source: gather(source, INDICES), SOURCE)
    (grad,) = back(jnp.ones_like(y))
    np.testing.assert_array_equal(grad[:, 0], np.bincount(INDICES, minlength=5))


def test_the_gradient_of_an_index_out_of_range_goes_nowhere():
    grad = jax.jit(jax.grad(lambda s, i: jnp.nansum(gather(s, i))))(SOURCE, np.array([0, 7]))
    np.testing.assert_array_equal(grad, np.eye(5, 1) * np.ones(3))


# --- scatter ----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", NEUTRAL)
def test_scatter_is_a_loop(operation):
    for init in (None, 2.0, np.linspace(1, 2, 18, dtype=np.float32).reshape(6, 3)):
        expected = looped(operation, SOURCE, (INDICES,), (6,), init)
        take = functools.partial(scatter, operation, size=6, init=init)
        # a few roundings of float32
        np.testing.assert_allclose(jax.jit(take)(SOURCE, INDICES), expected, rtol=1e-6)
    np.testing.assert_allclose(take(SOURCE, INDICES), expected, rtol=1e-6)


@pytest.mark.parametrize("operation", NEUTRAL)
def test_scatter_takes_an_array_of_indices_for_each_axis(operation):
    places = np.array([[0, 2, 0], [1, 2, 0]]), np.array([[1, 0, 1], [1, 0, 1]])
    source = np.random.default_rng(1).normal(size=(2, 3, 2)).astype(np.float32)
    expected = looped(operation, source, places, (3, 2))
    np.testing.assert_allclose(scatter(operation, source, places), expected, rtol=1e-6)
    np.testing.assert_allclose(scatter(operation, source, places, size=(3, 2)), expected, rtol=1e-6)


@pytest.mark.parametrize("operation", NEUTRAL)
def test_derivatives_of_scatter_are_those_of_finite_differences(operation):
    with jax.enable_x64(True):
        source = jnp.linspace(0.6, 1.7, 8).reshape(4, 2) ** 2
        init = jnp.linspace(1, 2, 6).reshape(3, 2)

        @jax.jit
        def call(source, init):
            return jnp.tanh(scatter(operation, source, np.array([2, 0, 2, 0]), init=init))

        # A step of 1e-5 errs by about 1e-10 in curvature and 1e-11 in rounding.
        check_grads(call, (source, init), order=1, eps=1e-5, rtol=1e-5, atol=1e-6)
        slope = jax.jit(jax.grad(lambda *args: call(*args).sum(), argnums=(0, 1)))
        check_grads(slope, (source, init), order=1, modes=["rev"], eps=1e-5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("zeros", [(), (0,), (0, 2), (1,)])
def test_the_gradient_of_a_product_is_that_of_the_other_factors(zeros):
    source = np.array([2.0, 3.0, 5.0, 7.0], np.float32)
    source[list(zeros)] = 0
    indices = np.array([1, 1, 1, 0])
    grad = jax.grad(lambda s: scatter("mul", s, indices).sum())(source)
    others = [np.prod([source[j] for j in range(3) if j != i]) for i in range(3)]
    np.testing.assert_allclose(grad, [*others, 1], rtol=1e-6)


def test_equal_maxima_share_the_gradient():
    grad = jax.grad(lambda s: scatter("max", s, np.array([0, 0, 1])).sum())(np.ones(3, "f4"))
    np.testing.assert_array_equal(grad, [0.5, 0.5, 1])


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16, jnp.bfloat16])
def test_scatter_keeps_the_dtype(dtype):
    source = jnp.array([3, 2, 1], dtype)
    for operation in ("add", "sub", "mul", "max", "min"):
        y = scatter(operation, source, np.array([0, 0, 1]), init=9)
        assert y.dtype == dtype
        expected = looped(operation, [3, 2, 1], (np.array([0, 0, 1]),), (2,), 9)
        np.testing.assert_array_equal(np.asarray(y, np.float64), expected)


def test_places_that_nothing_reaches_hold_what_every_entry_beats():
    assert scatter("max", np.array([3]), np.array([1])).tolist() == [-(2**31), 3]
    assert scatter("min", np.array([3], "u1"), np.array([1])).tolist() == [255, 3]
    np.testing.assert_array_equal(scatter("min", np.ones(1, "f4"), np.array([1])), [np.inf, 1])


def test_half_precision_is_added_in_float32():
    ones = np.ones(3000, np.float16)  # beyond 2048 a float16 no longer counts
    assert scatter("add", ones, np.zeros(3000, int)).item() == 3000
    assert scatter("mean", ones, np.zeros(3000, int)).item() == 1


def test_no_entries_leave_the_start():
    for operation in NEUTRAL:
        y = scatter(operation, np.zeros((0, 2), "f4"), np.zeros(0, int), size=3)
        np.testing.assert_array_equal(y, np.full((3, 2), NEUTRAL[operation]))
    assert scatter("add", np.zeros((0, 2), "f4"), np.zeros(0, int)).shape == (0, 2)


@pytest.mark.parametrize("operation", NEUTRAL)
def test_an_index_out_of_range_is_refused_or_left_out(operation):
    source = np.array([2.0, 4.0], np.float32)
    call = jax.jit(lambda i: scatter(operation, source, i, size=3))
    for index in (-1, 3, -(2**31)):
        with pytest.raises(RangeError, match="indices from 0 to 2"):
            scatter(operation, source, np.array([0, index]), size=3)
        y = call(np.array([0, index]))
        np.testing.assert_array_equal(y, looped(operation, source[:1], (np.array([0]),), (3,)))


def test_an_index_out_of_range_of_one_axis_is_not_read_in_another():
    places = jnp.array([0, 0]), jnp.array([0, 3])  # (0, 3) of (2, 3) is no (1, 0)
    y = jax.jit(lambda p: scatter("add", np.ones(2, "f4"), p, size=(2, 3)))(places)
    assert y.sum() == 1
    assert np.isnan(jax.jit(gather)(SOURCE, places)[1])


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: gather(SOURCE, np.array([0.0])), DtypeError),
        (lambda: gather(SOURCE, ()), ShapeError),
        (lambda: gather(SOURCE, (np.array([0]), np.array([0, 1]))), ShapeError),
        (lambda: gather(SOURCE, (np.array([0]),) * 3), ShapeError),
        (lambda: scatter("plus", SOURCE, INDICES), RangeError),
        (lambda: scatter("add", SOURCE, INDICES[:2]), ShapeError),
        (lambda: scatter("add", SOURCE, INDICES, size=(5, 5)), ShapeError),
        (lambda: scatter("add", SOURCE, INDICES, size=-1), RangeError),
        (lambda: scatter("add", SOURCE, INDICES, init=np.zeros((5, 2))), ShapeError),
        (lambda: scatter("mean", INDICES, INDICES), DtypeError),
        (lambda: scatter("div", INDICES, INDICES), DtypeError),
        (lambda: jax.jit(functools.partial(scatter, "add"))(SOURCE, INDICES), StructureError),
    ],
)
def test_what_does_not_fit_is_refused(call, kind):
    with pytest.raises(kind):
        call()
