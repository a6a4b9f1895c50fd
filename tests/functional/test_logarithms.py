# SPDX-License-Identifier: Apache-2.0
"""xlogx, xlogy and their like: zeros, subnormal numbers, NaN, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import rosin as rs
from rosin.functional.logarithms import log, log_ratio, times

pytestmark = pytest.mark.optimised  # digits are counted

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("x", "y", "product"),
    [(0, 1, 0), (0, 0, 0), (0, INF, 0), (2, 0, -INF), (NAN, 1, NAN), (1, NAN, NAN), (0, NAN, NAN)],
)
def test_a_zero_factor_gives_zero_and_nan_stays(x, y, product):
    np.testing.assert_equal(float(rs.xlogy(float(x), float(y))), product)
    np.testing.assert_equal(float(jax.jit(rs.xlogy)(float(x), float(y))), product)


def test_values_and_derivatives():
    np.testing.assert_allclose(rs.xlogx(jnp.array([0.0, 2.0])), [0, 2 * np.log(2)], rtol=1e-6)
    assert np.isnan(rs.xlogx(NAN))
    assert jax.grad(rs.xlogx)(0.0) == -INF
    np.testing.assert_allclose(rs.xlogy(2.0, jnp.array([1.0, 3.0])), [0, 2 * np.log(3)], rtol=1e-6)
    assert jax.grad(rs.xlogy, argnums=1)(0.0, 0.0) == 0
    assert jax.grad(rs.xlogy)(0.0, 0.0) == -INF
    with jax.enable_x64(True):
        check_grads(rs.xlogx, [np.array([0.3, 2.0])], order=2)
        check_grads(rs.xlogy, [np.array([0.3, 2.0]), np.array([0.5, 3.0])], order=2)


def test_a_mixed_derivative_at_a_zero_factor_is_not_lost():
    mixed = jax.grad(jax.grad(rs.xlogy, argnums=1))
    assert mixed(0.0, 4.0) == 0.25


def test_a_second_derivative_needs_no_square_of_the_divisor():
    """The square of 1e-30 is no float32, but the quotients below are."""
    bent = jax.jit(jax.vmap(jax.grad(jax.grad(rs.xlogy, argnums=1), argnums=1)))
    np.testing.assert_allclose(bent(np.float32([0, 1e-30]), np.float32([1e-30] * 2)), [0, -1e30])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_the_dtype_stays(dtype):
    x = jnp.array([0.5, 2.0], dtype)
    assert rs.xlogx(x).dtype == rs.xlogy(x, x).dtype == dtype
    assert rs.xlogy(x, 2.0).dtype == dtype
    assert jax.grad(lambda x: rs.xlogx(x).sum())(x).dtype == dtype


@pytest.mark.parametrize("bad", [1, np.array([True]), 1j])
def test_other_dtypes_are_refused(bad):
    for call in (lambda: rs.xlogx(bad), lambda: rs.xlogy(bad, 1.0), lambda: rs.xlogy(1.0, bad)):
        with pytest.raises(rs.DtypeError):
            call()


def test_the_logarithm_of_a_subnormal_number_is_finite():
    x = np.array([1e-45, 1e-40, 1.1754942e-38, 1.1754944e-38, 1.0, 0.0, -1.0], np.float32)
    expected = [*np.log(x[:5].astype(np.float64)), -INF, NAN]
    np.testing.assert_allclose(log(jnp.asarray(x)), expected, rtol=2e-7)
    np.testing.assert_allclose(jax.jit(log)(x), expected, rtol=2e-7)
    with jax.enable_x64(True):
        tiny = np.array([5e-324, 1e-310, 1.0])
        np.testing.assert_allclose(log(jnp.asarray(tiny)), np.log(tiny), rtol=1e-15)
    assert np.isfinite(rs.crossentropy(jnp.array([1e-40, 1.0]), jnp.array([0.5, 0.5])))


def test_a_ratio_near_1_keeps_its_digits():
    a = np.array([1 + 2.0**-20, 1.0, 3.0, 1e30], np.float32)
    b = np.array([1.0, 1 + 2.0**-20, 1.0, 1e-30], np.float32)
    true = np.log(a.astype(np.float64)) - np.log(b.astype(np.float64))
    np.testing.assert_allclose(log_ratio(a, b), true, rtol=5e-7)


def test_a_weight_of_0_makes_an_infinite_cost_0():
    weight, cost = jnp.array([0.0, 2.0, 0.0]), jnp.array([INF, 3.0, NAN])
    np.testing.assert_array_equal(times(weight, cost), [0, 6, NAN])
    slope = jax.grad(lambda w, c: times(w, c).sum(), argnums=(0, 1))(weight[:2], cost[:2])
    np.testing.assert_array_equal(slope, [[INF, 3], [0, 2]])
