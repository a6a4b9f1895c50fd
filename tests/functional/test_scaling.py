# SPDX-License-Identifier: Apache-2.0
"""RMS norm, vectors of length 1, local response norm: values, extremes, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.scaling import l2_normalise, lengths, local_response_norm, rms_norm

pytestmark = pytest.mark.optimised  # digits are counted

MAX = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).tiny)  # below it XLA may flush to 0
DRAW = np.random.default_rng(0)
X = DRAW.normal(1.0, size=(6, 5, 4)).astype(np.float32)
SCALE = np.array([0.5, -2.0, 1.5, 3.0], np.float32)  # ones would hide their own loss


def rms(x, axes, epsilon=1e-5):
    x = np.asarray(x, np.float64)
    return x / np.sqrt((x**2).mean(axes, keepdims=True) + epsilon)


def unit(x, axes=-1):
    x = np.asarray(x, np.float64)
    return x / np.sqrt((x**2).sum(axes, keepdims=True))


@pytest.mark.parametrize("axes", [0, -1, (0, 1), (1, 2), (0, 1, 2)])
def test_values_are_the_formulas(axes):
    np.testing.assert_allclose(rms_norm(X, axes=axes), rms(X, axes), rtol=1e-6)
    np.testing.assert_allclose(rms_norm(X, axes=axes, epsilon=3), rms(X, axes, 3), rtol=1e-6)
    np.testing.assert_allclose(l2_normalise(X, axes), unit(X, axes), rtol=1e-6)
    got = lengths(jnp.asarray(X), tuple(np.arange(3)[[axes]].ravel().tolist()))
    np.testing.assert_allclose(got, np.sqrt((X**2).sum(axes, keepdims=True)), rtol=1e-6)


def test_rms_norm_scales():
    np.testing.assert_allclose(rms_norm(X, SCALE), rms(X, -1) * SCALE, rtol=1e-6)


ROWS = [
    [MAX, -MAX, MAX / 2],
    [MAX, 0, 0],
    [1e30, 2e30, 3e30],
    [1e19, 1, 0],
    [1e-30, 2e-30, -1e-30],
    [3e-38, 0, 4e-38],
]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    ("function", "formula"),
    [
        (functools.partial(rms_norm, epsilon=0), functools.partial(rms, axes=-1, epsilon=0)),
        (rms_norm, functools.partial(rms, axes=-1)),
        (l2_normalise, unit),
    ],
)
def test_no_size_is_too_large_or_too_small(row, function, formula):
    x = np.array(row, np.float32)
    y, pull = jax.vjp(jax.jit(function), jnp.asarray(x))
    np.testing.assert_allclose(y, formula(x), rtol=1e-6)
    assert np.isfinite(pull(jnp.array([1.0, 2.0, 4.0]))[0]).all()
    wide = x.astype(np.float64)
    with jax.enable_x64(True):
        graded = jax.jit(jax.grad(lambda x: (function(x) * jnp.array([1.0, 2.0, 4.0])).sum()))
        want = graded(wide)
    got = np.asarray(pull(jnp.array([1.0, 2.0, 4.0]))[0], np.float64)
    # One over the root of MAX is flushed to 0, and with it what is 4 times as large.
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6 * np.abs(want).max() + 4 * TINY)


def test_zeros_stay_zeros_with_finite_derivatives():
    zero = jnp.zeros((2, 3))
    for function in (l2_normalise, rms_norm, functools.partial(rms_norm, epsilon=0)):
        y, pull = jax.vjp(function, zero)
        assert not y.any()
        assert np.isfinite(pull(jnp.ones((2, 3)))[0]).all()
        bend = jax.jvp(jax.grad(lambda x, f=function: f(x)[0, 0]), (zero,), (zero + 1,))[1]
        assert np.isfinite(bend).all()
    assert not jax.grad(lambda x: l2_normalise(x)[0, 0])(zero).any()


def test_what_is_not_a_number_stays_so():
    x = jnp.array([[1.0, jnp.nan], [3.0, 4.0]])
    for function in (l2_normalise, rms_norm):
        y = np.asarray(function(x))
        assert np.isnan(y[0]).all()
        assert np.isfinite(y[1]).all()


def test_gradients_match_finite_differences_to_second_order():
    with jax.enable_x64(True):
        x = np.asarray(X[:2, :2], np.float64)
        # The others are compared as layers, in the contract.
        check_grads(jax.jit(l2_normalise), [x], order=2, modes=["rev"], rtol=1e-4)
        check_grads(jax.jit(l2_normalise), [x], order=1, modes=["fwd"], rtol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_local_response_norm_is_the_formula(size):
    x = X.astype(np.float64)
    padded = np.pad(x**2, [(0, 0), (0, 0), (size // 2, (size - 1) // 2)])
    total = np.lib.stride_tricks.sliding_window_view(padded, size, axis=-1).sum(-1)
    expected = x / (2 + 0.3 / size * total) ** 0.8
    got = local_response_norm(X, size, alpha=0.3, beta=0.8, k=2)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("row", [[1e30, 1.0, 0], [MAX, -MAX, MAX], [0, 0, 0], [1e-30, 0, 0]])
def test_local_response_norm_does_not_overflow(row):
    x = np.array(row, np.float32)
    wide = x.astype(np.float64)
    y, pull = jax.vjp(lambda x: local_response_norm(x, 5), jnp.asarray(x))
    expected = wide * (1 + 1e-4 / 5 * (wide**2).sum()) ** -0.75
    # A power of numbers around 2**-100, whose logarithm is rounded.
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=TINY)
    assert np.isfinite(pull(jnp.ones(3))[0]).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_computed_in_float32_and_rounded_once(dtype):
    x = jnp.asarray(X * 300, dtype)
    wide = np.asarray(x, np.float64)
    for got, expected in [
        (rms_norm(x, jnp.asarray(SCALE, dtype)), rms(wide, -1) * SCALE),
        (l2_normalise(x), unit(wide)),
        (local_response_norm(x, 1), wide * (1 + 1e-4 * wide**2) ** -0.75),
    ]:
        assert got.dtype == dtype
        eps = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(got, np.float64), expected, rtol=eps * 0.51)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (ShapeError, lambda: rms_norm(X, SCALE[:3])),
        (ShapeError, lambda: rms_norm(jnp.ones((3, 0)))),
        (RangeError, lambda: rms_norm(X, epsilon=-1)),
        (RangeError, lambda: rms_norm(X, axes=3)),
        (RangeError, lambda: l2_normalise(X, axes=3)),
        (DtypeError, lambda: l2_normalise(np.arange(3))),
        (DtypeError, lambda: rms_norm(np.ones(3, complex))),
        (RangeError, lambda: local_response_norm(X, 0)),
        (RangeError, lambda: local_response_norm(X, 3, k=0)),
        (RangeError, lambda: local_response_norm(jnp.ones(()), 3)),
        (DtypeError, lambda: local_response_norm(np.arange(3), 3)),
    ],
)
def test_what_does_not_fit_is_refused(kind, call):
    with pytest.raises(kind):
        call()


def test_empty_batches_pass():
    assert rms_norm(jnp.ones((0, 4))).shape == (0, 4)
    assert l2_normalise(jnp.ones((0, 4))).shape == (0, 4)
    assert local_response_norm(jnp.ones((0, 4)), 3).shape == (0, 4)
