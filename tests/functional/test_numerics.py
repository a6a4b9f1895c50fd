# SPDX-License-Identifier: Apache-2.0
"""Moments that stay exact, and the small helpers around them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.numerics import (
    at_least_float32,
    expand_axes,
    mean_and_variance,
    real_array,
    scaled_deviations,
)

pytestmark = pytest.mark.optimised  # digits are counted

MAX = float(np.finfo(np.float32).max)
NOISE = np.random.default_rng(0).normal(size=(3, 50, 4))


@pytest.mark.parametrize("offset", [0, 1e4, 1e6, 1e7])
@pytest.mark.parametrize("axes", [-1, 0, (0, 1), (1, -1), (0, 1, 2)])
def test_moments_stay_exact_where_the_mean_is_large(axes, offset):
    x = (NOISE + offset).astype(np.float32)
    wide = x.astype(np.float64)
    mean, variance = mean_and_variance(x, axes)
    assert mean.dtype == variance.dtype == jnp.float32
    # A few roundings of float32 each, whatever the offset.
    np.testing.assert_allclose(mean, wide.mean(axes, keepdims=True), rtol=3e-7, atol=1e-7)
    np.testing.assert_allclose(variance, wide.var(axes, keepdims=True), rtol=1e-6, atol=1e-12)


def test_reduced_axes_stay_or_go():
    kept, _ = mean_and_variance(NOISE.astype(np.float32), (0, 2))
    mean, variance = mean_and_variance(NOISE.astype(np.float32), (0, 2), keepdims=False)
    assert kept.shape == (1, 50, 1)
    assert mean.shape == variance.shape == (50,)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_summed_in_float32(dtype):
    x = jnp.full(70_000, 1, dtype).at[::2].set(3)
    mean, variance = mean_and_variance(x, 0, keepdims=False)
    assert mean.dtype == variance.dtype == jnp.float32
    np.testing.assert_allclose([mean, variance], [2, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("row", "mean", "variance"),
    [
        ([MAX, MAX, MAX], MAX, 0),
        ([MAX, -MAX, MAX / 2], MAX / 6, np.inf),  # the variance itself is out of range
        ([1e18, 2e18, 3e18], 2e18, 2e36 / 3),  # squares and sum are not
        ([1e17, 1e17, 1e17], 1e17, 0),
        ([1e-30, 3e-30], 2e-30, 0),  # 1e-60, below the least float32
    ],
)
def test_extreme_rows_overflow_only_where_the_truth_does(row, mean, variance):
    got = mean_and_variance(np.array(row, np.float32), 0, keepdims=False)
    np.testing.assert_allclose(got, [mean, variance], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_passed_on(value):
    mean, variance = mean_and_variance(np.array([value, 1, 2], np.float32), 0)
    assert not np.isfinite(mean).any()
    assert np.isnan(variance).all()


def test_gradients_match_finite_differences_to_second_order():
    with jax.enable_x64(True):
        check_grads(lambda x: mean_and_variance(x, (0, 2)), [NOISE[:, :3]], order=2, rtol=1e-4)


def test_the_gradient_of_the_variance_is_exact_at_a_large_mean():
    x = (NOISE[0, :, 0] + 1e6).astype(np.float32)
    got = jax.grad(lambda x: mean_and_variance(x, 0, keepdims=False)[1])(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(got, 2 * (wide - wide.mean()) / wide.size, rtol=1e-5, atol=1e-7)


def test_deviations_come_with_their_scale():
    x = np.array([[3e38, -3e38], [1, 3]], np.float32)
    centred, mean, scale = scaled_deviations(jnp.asarray(x), (1,), subject="here")
    assert np.log2(scale[0, 0]) == round(np.log2(scale[0, 0])) < -100
    assert scale[1, 0] == 1
    np.testing.assert_allclose(centred / scale, x - np.array([[0], [2]]), rtol=1e-6)
    np.testing.assert_allclose(mean / scale, [[0], [2]])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_to_average_is_refused_and_an_empty_batch_is_not(shape):
    reduced = shape.index(0)
    with pytest.raises(ShapeError) as caught:
        mean_and_variance(jnp.ones(shape), reduced)
    assert caught.value.subject == "mean_and_variance"
    assert mean_and_variance(jnp.ones(shape), 1 - reduced)[0].size == 0


@pytest.mark.parametrize("axes", [2, -3, (0, 0), (0, -2), (), 1.0, True, (0, "1"), None])
def test_axes_that_the_array_does_not_have_are_refused(axes):
    with pytest.raises(RangeError) as caught:
        expand_axes(axes, 2, subject="here")
    assert caught.value.expected.endswith("at least -2 and below 2")


def test_axes_are_counted_from_the_front():
    assert expand_axes((-1, 0), 3, subject="here") == (0, 2)
    assert expand_axes(np.int64(-2), 3, subject="here") == (1,)


@pytest.mark.parametrize("x", [1, np.arange(2), np.ones(2, bool), np.ones(2, np.complex64)])
def test_real_arrays_are_of_real_floating_point(x):
    with pytest.raises(DtypeError) as caught:
        real_array(x, subject="here", name="logits")
    assert caught.value.expected.startswith("logits of a")


def test_at_least_float32_is_the_widest():
    half, single = jnp.ones(1, jnp.float16), jnp.ones(1, jnp.float32)
    assert at_least_float32(half, half) == jnp.float32
    assert at_least_float32(single, jnp.ones(1, jnp.complex64)) == jnp.complex64
    with jax.enable_x64(True):
        assert at_least_float32(half, jnp.ones(1, jnp.float64)) == jnp.float64
