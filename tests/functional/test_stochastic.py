# SPDX-License-Identifier: Apache-2.0
"""Dropout: share, scale, shared masks, ends, dtypes, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.errors import DtypeError, RangeError
from rosin.functional.stochastic import dropout

KEY = jax.random.key(0)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_rest_scaled_up(probability):
    x = jnp.full(100_000, 3.0)
    y = np.asarray(dropout(x, probability, KEY))
    kept = y != 0
    deviation = np.sqrt(probability * (1 - probability) / x.size)
    assert abs(kept.mean() - (1 - probability)) < 5 * deviation
    np.testing.assert_allclose(y[kept], 3 / (1 - probability), rtol=1e-6)


def test_keys_decide_the_mask():
    x = jnp.ones(100)
    np.testing.assert_array_equal(dropout(x, 0.5, KEY), dropout(x, 0.5, KEY))
    assert (dropout(x, 0.5, KEY) != dropout(x, 0.5, jax.random.key(1))).any()


@pytest.mark.parametrize("axes", [0, 1, -1, (0, 2), (1, -1)])
def test_the_mask_is_equal_along_the_axes_that_are_not_named(axes):
    x = jnp.ones((20, 30, 40))
    y = np.asarray(dropout(x, 0.5, KEY, axes=axes))
    named = {a % 3 for a in (axes if isinstance(axes, tuple) else (axes,))}
    for axis in range(3):
        same = (y == y.take([0], axis)).all()
        assert same == (axis not in named)


@pytest.mark.parametrize("probability", [0, 0.0])
def test_probability_zero_keeps_everything(probability):
    x = jnp.array([1.0, jnp.inf, -2.0])
    np.testing.assert_array_equal(dropout(x, probability, KEY), x)


@pytest.mark.parametrize("probability", [1, 1.0])
def test_probability_one_is_zero_and_so_is_its_gradient(probability):
    x = jnp.array([1.0, 1e38, jnp.inf, jnp.nan])
    np.testing.assert_array_equal(dropout(x, probability, KEY), np.zeros(4))
    gradient = jax.grad(lambda x: dropout(x, probability, KEY).sum())(x)
    np.testing.assert_array_equal(gradient, np.zeros(4))


def test_the_gradient_is_the_mask():
    x = jnp.arange(1.0, 101)
    gradient = jax.grad(lambda x: dropout(x, 0.25, KEY).sum())(x)
    np.testing.assert_allclose(gradient, dropout(x, 0.25, KEY) / x, rtol=1e-6)


def test_what_is_dropped_may_be_infinite():
    y = np.asarray(dropout(jnp.full(100, jnp.inf), 0.5, KEY))
    assert set(y) == {0, np.inf}


def test_complex_numbers_keep_their_argument():
    x = jnp.full(100, 1 + 2j, jnp.complex64)
    y = np.asarray(dropout(x, 0.5, KEY))
    assert y.dtype == np.complex64
    assert set(y) == {0, 2 + 4j}


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_factor_is_not_rounded_to_a_half_type(dtype):
    x = jnp.arange(1, 101).astype(dtype)
    y = dropout(x, 0.1, KEY)
    assert y.dtype == dtype
    kept = np.asarray(y != 0)
    expected = jnp.asarray(np.arange(1, 101) / 0.9, dtype)
    np.testing.assert_array_equal(np.asarray(y)[kept], np.asarray(expected)[kept])


def test_it_works_under_jit_and_on_an_empty_batch():
    x = jnp.ones((4, 5))
    np.testing.assert_array_equal(
        jax.jit(lambda x, key: dropout(x, 0.5, key))(x, KEY), dropout(x, 0.5, KEY)
    )
    assert dropout(jnp.ones((0, 5)), 0.5, KEY).shape == (0, 5)


@pytest.mark.parametrize("probability", [-0.1, 1.1, np.nan, True, "0.5"])
def test_a_probability_that_is_none_is_refused(probability):
    with pytest.raises(RangeError) as caught:
        dropout(jnp.ones(3), probability, KEY)
    assert caught.value.subject == "dropout"


def test_axes_and_dtypes_that_do_not_fit_are_refused():
    with pytest.raises(RangeError) as caught:
        dropout(jnp.ones(3), 0.5, KEY, axes=1, subject="Dropout(0.5)")
    assert caught.value.subject == "Dropout(0.5)"
    with pytest.raises(DtypeError):
        dropout(np.arange(3), 0.5, KEY)
