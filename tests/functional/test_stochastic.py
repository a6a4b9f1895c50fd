# SPDX-License-Identifier: Apache-2.0
"""Dropout and its kin: share, scale, shared masks, ends, dtypes, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.stochastic import alpha_dropout, drop_block, drop_path, dropout

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


# --- alpha_dropout ----------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_alpha_dropout_keeps_mean_and_variance_and_drops_to_one_value(probability):
    n = 400_000
    x = jax.random.normal(jax.random.key(1), (n,))
    y = np.asarray(alpha_dropout(x, probability, KEY), np.float64)
    # Standard errors of mean and variance; the fourth moment is below 8 here.
    assert abs(y.mean()) < 5 / np.sqrt(n)
    assert abs(y.var() - 1) < 5 * np.sqrt(7 / n)
    low = -1.0507009873554805 * 1.6732632423543772
    q = 1 - probability
    a = (q + low**2 * q * probability) ** -0.5
    b = -a * probability * low
    values, counts = np.unique(y, return_counts=True)
    assert abs(counts.max() / n - probability) < 5 * np.sqrt(q * probability / n)
    np.testing.assert_allclose(values[counts.argmax()], a * low + b, rtol=1e-6)
    kept = y != values[counts.argmax()]
    np.testing.assert_allclose(y[kept], a * np.asarray(x)[kept] + b, rtol=1e-5, atol=1e-6)


def test_the_ends_of_alpha_dropout():
    x = jnp.array([1.0, jnp.inf, -2.0])
    np.testing.assert_array_equal(alpha_dropout(x, 0, KEY), x)
    np.testing.assert_array_equal(alpha_dropout(x, 1, KEY), 0)


# --- drop_path --------------------------------------------------------------------------


def test_drop_path_drops_whole_examples():
    y = np.asarray(drop_path(jnp.ones((2000, 3, 2)), 0.3, KEY))
    assert (y == y[:, :1, :1]).all()
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    assert abs((y[:, 0, 0] == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / 2000)
    with pytest.raises(ShapeError):
        drop_path(jnp.ones(()), 0.5, KEY)


# --- drop_block -------------------------------------------------------------------------


@pytest.mark.parametrize("space", [(40,), (14, 17), (6, 5, 7)])
@pytest.mark.parametrize("block", [1, 3])
def test_what_drop_block_drops_is_made_of_whole_blocks(space, block):
    y = np.asarray(drop_block(jnp.ones((3, *space, 4)), 0.2, block, KEY))
    dropped = np.moveaxis(y == 0, -1, 1).reshape(12, *space)
    for mask in dropped:
        windows = np.lib.stride_tricks.sliding_window_view(mask, (block,) * len(space))
        full = windows.all(tuple(range(-len(space), 0)))
        covered = np.zeros_like(mask)
        for corner in np.argwhere(full):
            covered[tuple(slice(c, c + block) for c in corner)] = True
        np.testing.assert_array_equal(covered, mask)
    assert 0 < dropped.mean() < 0.5
    assert (dropped[0] != dropped[1]).any()


def test_drop_block_keeps_the_sum_of_ones_in_each_example():
    y = np.asarray(drop_block(jnp.ones((50, 9, 8, 3)), 0.3, 3, KEY), np.float64)
    np.testing.assert_allclose(y.sum((1, 2, 3)), 9 * 8 * 3, rtol=1e-6)
    assert len(np.unique(y.max((1, 2, 3)))) > 5  # each by its own share


@pytest.mark.parametrize("block", [1, 4])
def test_seeds_of_drop_block_have_the_probability_of_the_paper(block):
    n, batch = 12, 4000
    y = np.asarray(drop_block(jnp.ones((batch, n, 1)), 0.25, block, KEY))
    gamma = 0.25 * n / block / (n - block + 1)
    # A position is kept if none of the blocks that reach it starts.
    reach = np.minimum.reduce([np.arange(1, n + 1), np.arange(n, 0, -1), np.full(n, block)])
    reach = np.minimum(reach, n - block + 1)
    kept = (y[..., 0] != 0).mean(0)
    np.testing.assert_allclose(kept, (1 - gamma) ** reach, atol=5 * 0.5 / np.sqrt(batch))


def test_drop_block_on_axes_shorter_than_the_block_drops_all_of_them():
    y = np.asarray(drop_block(jnp.ones((400, 2, 3, 1)), 0.3, 5, KEY))
    whole = y.reshape(400, 6)
    assert (whole == whole[:, :1]).all()
    assert abs((whole[:, 0] == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / 400)


def test_drop_block_passes_what_it_cannot_drop():
    x = jnp.full((2, 3, 4), 2.0)
    np.testing.assert_array_equal(drop_block(x, 0, 2, KEY), x)
    assert drop_block(x[:0], 0.5, 2, KEY).shape == (0, 3, 4)
    y = drop_block(jnp.full((2, 30, 4), 1 + 2j, jnp.complex64), 0.5, 2, KEY)
    assert y.dtype == np.complex64
    assert drop_block(x.astype(jnp.bfloat16), 0.5, 2, KEY).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (RangeError, lambda: drop_block(jnp.ones((1, 3, 1)), 1, 2, KEY)),
        (RangeError, lambda: drop_block(jnp.ones((1, 3, 1)), 0.5, 0, KEY)),
        (ShapeError, lambda: drop_block(jnp.ones((1, 3)), 0.5, 2, KEY)),
        (DtypeError, lambda: drop_block(np.ones((1, 3, 1), int), 0.5, 2, KEY)),
        (RangeError, lambda: alpha_dropout(jnp.ones(3), 2, KEY)),
        (DtypeError, lambda: alpha_dropout(np.ones(3, int), 0.5, KEY)),
        (RangeError, lambda: drop_path(jnp.ones(3), -1, KEY)),
    ],
)
def test_what_does_not_fit_is_refused(kind, call):
    with pytest.raises(kind):
        call()
