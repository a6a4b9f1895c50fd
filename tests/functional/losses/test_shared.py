# SPDX-License-Identifier: Apache-2.0
"""The mean: finite where it can be written, over what counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.functional.losses.shared import reduced

MAX = float(np.finfo(np.float32).max)


def mean(losses, **options):
    return reduced(jnp.asarray(losses, jnp.float32), jnp.mean, subject="test", **options)


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_a_mean_is_finite_where_its_sum_is_not(count):
    np.testing.assert_allclose(mean(np.full(count, MAX / 1.01)), MAX / 1.01, rtol=1e-6)
    slope = jax.grad(mean)(jnp.full(count, MAX / 1.01))
    np.testing.assert_allclose(slope, 1 / count, rtol=1e-6)


def test_a_mean_of_tiny_losses_is_not_lost():
    np.testing.assert_allclose(mean(np.full(1000, 2e-38)), 2e-38, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_loss_that_is_not_finite_is_not_hidden(bad):
    np.testing.assert_equal(float(mean([1.0, bad])), bad)
    np.testing.assert_equal(float(mean([1.0, MAX, MAX, bad])), bad)


def test_the_square_of_large_errors_has_a_mean():
    x = jnp.full(100, 1.8e19)
    np.testing.assert_allclose(rs.mse(x, 0 * x), 3.24e38, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(rs.mse)(x, 0 * x), 3.6e17, rtol=1e-6)


def test_a_share_of_0_everywhere_gives_0():
    losses = jnp.array([1.0, 2.0])
    share = jnp.zeros(2)
    assert mean(losses * share, share=share) == 0
    assert not jax.grad(lambda x: mean(x * share, share=share))(losses).any()


def test_another_function_receives_zeros_for_what_does_not_count():
    losses, mask = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True])
    assert reduced(losses, jnp.sum, subject="test", mask=mask) == 4
    np.testing.assert_array_equal(reduced(losses, None, subject="test", mask=mask), [1, 0, 3])
