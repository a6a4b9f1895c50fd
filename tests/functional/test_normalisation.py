# SPDX-License-Identifier: Apache-2.0
"""Normalisation: values, large means, extremes, half types, gradients, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.normalisation import (
    batch_norm,
    batch_norm_with_statistics,
    group_norm,
    instance_norm,
    instance_norm_with_statistics,
    layer_norm,
    normalise,
)

pytestmark = pytest.mark.optimised  # digits are counted

MAX = float(np.finfo(np.float32).max)
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(6, 5, 4)).astype(np.float32)
SCALE = np.array([0.5, -2.0, 1.5, 3.0], np.float32)  # ones would hide their own loss
SHIFT = np.array([1.0, -0.5, 0.25, 2.0], np.float32)


def standardised(x, axes, epsilon=1e-5):
    x = np.asarray(x, np.float64)
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize("axes", [0, -1, (0, 1), (1, 2), (0, 1, 2)])
def test_normalise_is_the_formula(axes):
    np.testing.assert_allclose(normalise(X, axes), standardised(X, axes), atol=2e-6)
    got = normalise(X, axes, epsilon=0.3)
    np.testing.assert_allclose(got, standardised(X, axes, 0.3), atol=2e-6)


def test_layer_norm_scales_and_shifts_each_sample():
    expected = standardised(X, -1)
    np.testing.assert_allclose(layer_norm(X), expected, atol=2e-6)
    got = layer_norm(X, SCALE, SHIFT)
    np.testing.assert_allclose(got, expected * SCALE + SHIFT, atol=5e-6)
    got = layer_norm(X, None, SHIFT, epsilon=0.1)
    np.testing.assert_allclose(got, standardised(X, -1, 0.1) + SHIFT, atol=5e-6)


def test_layer_norm_over_several_axes_takes_parameters_of_their_shape():
    scale = DRAW.normal(size=(5, 4)).astype(np.float32)
    got = layer_norm(X, scale, axes=(-2, -1))
    np.testing.assert_allclose(got, standardised(X, (1, 2)) * scale, atol=5e-6)
    got = layer_norm(X, SHIFT[None, :].repeat(6, 0), axes=(0, 2))
    np.testing.assert_allclose(got, standardised(X, (0, 2)) * SHIFT, atol=5e-6)


def test_batch_norm_uses_the_moments_it_is_given():
    mean, variance = SHIFT * 2, SCALE**2
    got = batch_norm(X, mean, variance, SCALE, SHIFT, epsilon=0.1)
    expected = (X - mean) / np.sqrt(variance + 0.1) * SCALE + SHIFT
    np.testing.assert_allclose(got, expected, atol=1e-5)
    got = batch_norm(X, mean, variance)
    np.testing.assert_allclose(got, (X - mean) / np.sqrt(variance + 1e-5), atol=1e-5)


def test_batch_norm_with_statistics_returns_those_of_the_batch():
    y, mean, variance = batch_norm_with_statistics(X, SCALE, SHIFT)
    np.testing.assert_allclose(y, standardised(X, (0, 1)) * SCALE + SHIFT, atol=5e-6)
    np.testing.assert_allclose(mean, X.mean((0, 1), dtype=np.float64), atol=1e-7)
    np.testing.assert_allclose(variance, X.var((0, 1), dtype=np.float64), rtol=1e-6)


def test_instance_norm_takes_each_channel_of_each_example():
    y, mean, variance = instance_norm_with_statistics(X, SCALE, SHIFT)
    np.testing.assert_allclose(y, standardised(X, 1) * SCALE + SHIFT, atol=5e-6)
    np.testing.assert_allclose(mean, X.mean(1, dtype=np.float64), atol=1e-7)
    np.testing.assert_allclose(variance, X.var(1, dtype=np.float64), rtol=1e-6)
    np.testing.assert_array_equal(instance_norm(X, SCALE, SHIFT), y)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_takes_neighbouring_channels(groups):
    parts = X.reshape(6, 5, groups, -1)
    expected = standardised(parts, (1, 3), 0.1).reshape(X.shape)
    np.testing.assert_allclose(group_norm(X, groups, epsilon=0.1), expected, atol=2e-6)
    got = group_norm(X, groups, SCALE, SHIFT, epsilon=0.1)
    np.testing.assert_allclose(got, expected * SCALE + SHIFT, atol=5e-6)


@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_values_and_gradients_are_exact_at_a_large_mean(offset):
    x = (X + offset).astype(np.float32)
    weights = np.cos(np.arange(x.size)).reshape(x.shape).astype(np.float32)
    for function, axes in [
        (layer_norm, -1),
        (functools.partial(normalise, axes=(0, 1)), (0, 1)),
        (lambda x: batch_norm_with_statistics(x)[0], (0, 1)),
        (instance_norm, 1),
        (functools.partial(group_norm, groups=1), (1, 2)),
    ]:
        y, pull = jax.vjp(jax.jit(function), jnp.asarray(x))
        np.testing.assert_allclose(y, standardised(x, axes), atol=5e-6)
        expected = normalise_gradient(x, weights, axes)
        np.testing.assert_allclose(pull(jnp.asarray(weights))[0], expected, atol=5e-6)


def normalise_gradient(x, g, axes):
    x, g = np.asarray(x, np.float64), np.asarray(g, np.float64)
    y = standardised(x, axes)
    centred = g - g.mean(axes, keepdims=True) - y * (g * y).mean(axes, keepdims=True)
    return centred / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize(
    "row",
    [
        [MAX, -MAX, MAX / 2],
        [MAX, MAX, MAX],
        [MAX, 0, 0],
        [1e30, 2e30, 3e30],
        [1e16, 1e16, 1.000001e16],
        [1e-30, 2e-30, -1e-30],
        [0, 0, 0],
        [-7, -7, -7],
    ],
)
def test_extreme_rows_have_finite_values_and_gradients(row):
    x = np.array(row, np.float32)
    expected = standardised(x, 0)
    y, pull = jax.vjp(layer_norm, jnp.asarray(x))
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    assert np.isfinite(pull(jnp.array([1.0, 2.0, 4.0]))[0]).all()
    bend = jax.jvp(jax.grad(lambda x: layer_norm(x)[0]), (x,), (jnp.ones(3),))[1]
    assert np.isfinite(bend).all()


def test_epsilon_may_be_zero_and_a_constant_row_is_zero_then():
    np.testing.assert_array_equal(normalise(np.full(3, 5.0, np.float32), 0, epsilon=0), 0)
    got = normalise(np.array([1e-10, 3e-10], np.float32), 0, epsilon=0)
    np.testing.assert_allclose(got, [-1, 1], rtol=1e-6)
    slope = jax.grad(lambda x: normalise(x, 0, epsilon=0)[0])(jnp.full(3, 5.0))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_computed_in_float32_and_rounded_once(dtype):
    x = jnp.asarray(X * 100 + 300, dtype)
    scale, shift = jnp.asarray(SCALE, dtype), jnp.asarray(SHIFT, dtype)
    wide = np.asarray(x, np.float64)
    close = functools.partial(
        np.testing.assert_allclose, rtol=float(jnp.finfo(dtype).eps) * 0.51, atol=2e-6
    )
    y = layer_norm(x, scale, shift)
    assert y.dtype == dtype
    close(np.asarray(y, np.float64), standardised(wide, -1) * SCALE + SHIFT)
    y, mean, variance = batch_norm_with_statistics(x, SCALE, SHIFT)
    assert (y.dtype, mean.dtype, variance.dtype) == (dtype, jnp.float32, jnp.float32)
    close(np.asarray(y, np.float64), standardised(wide, (0, 1)) * SCALE + SHIFT)
    again = batch_norm(x, mean, variance, SCALE, SHIFT)
    assert again.dtype == dtype
    close(
        np.asarray(again, np.float64), np.asarray(y, np.float64), rtol=float(jnp.finfo(dtype).eps)
    )


def test_gradients_match_finite_differences_to_second_order():
    with jax.enable_x64(True):
        x, scale, shift = (np.asarray(a, np.float64) for a in (X[:2, :2], SCALE, SHIFT))
        # The others are compared as layers, in the contract.
        check = functools.partial(check_grads, order=2, modes=["rev"], rtol=1e-4)
        check(jax.jit(batch_norm), [x, shift, scale**2, scale, shift])
        check(jax.jit(batch_norm_with_statistics), [x, scale, shift])


def test_an_infinite_variance_is_nan_and_not_a_silent_zero():
    got = batch_norm(np.ones((2, 2), np.float32), np.zeros(2), np.array([np.inf, 1]))
    assert np.isnan(got[:, 0]).all()
    assert np.isfinite(got[:, 1]).all()


def test_an_empty_batch_passes_where_nothing_is_averaged_over_it():
    assert layer_norm(jnp.ones((0, 4))).shape == (0, 4)
    assert batch_norm(jnp.ones((0, 4)), SHIFT, SCALE**2).shape == (0, 4)
    with pytest.raises(ShapeError):
        batch_norm_with_statistics(jnp.ones((0, 4)))


@pytest.mark.parametrize("groups", [0, 3, 2.0, True])
def test_groups_that_are_no_divisor_are_refused(groups):
    with pytest.raises(RangeError):
        group_norm(X, groups)


@pytest.mark.parametrize("epsilon", [-1e-5, np.nan, np.inf, "1", None])
def test_an_epsilon_out_of_range_is_refused(epsilon):
    with pytest.raises(RangeError) as caught:
        layer_norm(X, epsilon=epsilon)
    assert caught.value.expected == "epsilon to be a number of at least 0"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layer_norm(X, SCALE[:3]), "scale of shape (4,)"),
        (lambda: layer_norm(X, SCALE, axes=(1, 2)), "scale of shape (5, 4)"),
        (lambda: layer_norm(X, SCALE, SHIFT[None]), "shift of shape (4,)"),
        (lambda: batch_norm(X, SHIFT[:1], SCALE), "mean of shape (4,)"),
        (lambda: batch_norm(X, SHIFT, SCALE[:3]), "variance of shape (4,)"),
        (lambda: batch_norm_with_statistics(X[0, 0]), "shape (batch, ..., channels)"),
        (lambda: instance_norm(X[0]), "shape (batch, *space, channels)"),
        (lambda: instance_norm(X[:, :1]), "at least 2 values for each channel of an example"),
        (lambda: instance_norm(X, SCALE[:3]), "scale of shape (4,)"),
        (lambda: group_norm(X[0, 0], 2), "shape (batch, *space, channels)"),
        (lambda: group_norm(X[0], 4), "at least 2 values for each group of an example"),
        (lambda: group_norm(X, 2, None, SHIFT[:2]), "shift of shape (4,)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, expected):
    with pytest.raises(ShapeError) as caught:
        call()
    assert caught.value.expected == expected


def test_the_subject_is_named():
    with pytest.raises(ShapeError) as caught:
        batch_norm(X, SHIFT[:1], SCALE, subject="BatchNorm(4)")
    assert caught.value.subject == "BatchNorm(4)"
    with pytest.raises(DtypeError) as caught:
        layer_norm(np.arange(4))
    assert caught.value.subject == "layer_norm"
