# SPDX-License-Identifier: Apache-2.0
"""Adaptive and global pools against loops over their bins; ties, gradients, refusals."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.adaptive import (
    adaptive_max_pool,
    adaptive_mean_pool,
    global_max_pool,
    global_mean_pool,
)
from rosin.functional.pooling import max_pool, mean_pool

DRAW = np.random.default_rng(0)


def bins(n, m):
    return [range(math.floor(q * n / m), math.ceil((q + 1) * n / m)) for q in range(m)]


def loops(x, size, reduce):
    y = np.zeros((x.shape[0], *size, x.shape[-1]))
    along = [bins(n, m) for n, m in zip(x.shape[1:-1], size, strict=True)]
    for q in itertools.product(*map(range, size)):
        seen = x[:, *np.ix_(*(b[i] for b, i in zip(along, q, strict=True)))]
        y[(slice(None), *q)] = reduce(seen, tuple(range(1, x.ndim - 1)))
    return y


CASES = [
    ((5,), (3,)),
    ((3,), (7,)),
    ((7, 6), (3, 4)),
    ((6, 8), (3, 4)),
    ((7, 9), (7, 1)),
    ((4, 5, 3), (3, 5, 2)),
]


@pytest.mark.parametrize(("space", "size"), CASES)
def test_each_value_is_that_of_its_bin(space, size):
    x = DRAW.normal(size=(2, *space, 3)).astype(np.float32)
    np.testing.assert_array_equal(adaptive_max_pool(x, size), loops(x, size, np.max))
    np.testing.assert_allclose(adaptive_mean_pool(x, size), loops(x, size, np.mean), atol=1e-6)


def test_where_sizes_divide_they_are_the_plain_pools():
    x = DRAW.normal(size=(2, 6, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(adaptive_max_pool(x, (3, 4)), max_pool(x, (2, 2)))
    np.testing.assert_allclose(adaptive_mean_pool(x, (3, 4)), mean_pool(x, (2, 2)), atol=1e-6)
    np.testing.assert_array_equal(adaptive_max_pool(x, 1), global_max_pool(x))
    np.testing.assert_allclose(adaptive_mean_pool(x, 1), global_mean_pool(x), atol=1e-6)


@pytest.mark.parametrize("pool", [adaptive_max_pool, adaptive_mean_pool])
def test_gradients_match_finite_differences_to_second_order(pool):
    with jax.enable_x64(True):
        x = DRAW.permutation(60).reshape(1, 5, 6, 2) / 10.0
        square = jax.jit(lambda x: pool(x, (3, 4)) ** 2)
        check_grads(square, [x], order=2, modes=["rev"], rtol=1e-4, eps=1e-3)
        check_grads(square, [x], order=1, modes=["fwd"], rtol=1e-4, eps=1e-3)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (lambda x: adaptive_max_pool(x, 3), [1, 1, 0, 1, 0]),  # bins 0-1, 1-3, 3-4
        (lambda x: adaptive_max_pool(x, 1), [1, 0, 0, 0, 0]),
        (global_max_pool, [1, 0, 0, 0, 0]),
    ],
)
def test_of_equal_values_the_first_has_the_whole_gradient(pool, expected):
    gradient = jax.grad(lambda x: pool(x).sum())(jnp.ones((1, 5, 1))).ravel()
    np.testing.assert_array_equal(gradient, expected)


def test_infinity_stays_in_its_bins_and_nan_wins():
    x = jnp.zeros((1, 5, 1)).at[0, 4, 0].set(jnp.inf)
    np.testing.assert_array_equal(adaptive_mean_pool(x, 3).ravel(), [0, 0, jnp.inf])
    x = x.at[0, 0, 0].set(jnp.nan)
    assert np.isnan(adaptive_max_pool(x, 3)[0, 0, 0])
    assert np.isnan(global_max_pool(x)).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_summed_in_float32(dtype):
    x = jnp.asarray(DRAW.uniform(1, 2, size=(1, 201, 1)), dtype)
    y = adaptive_mean_pool(x, 2)
    assert y.dtype == dtype
    wide = loops(np.asarray(x, np.float64), (2,), np.mean)
    np.testing.assert_array_equal(y, jnp.asarray(wide, dtype))
    assert adaptive_max_pool(x, 2).dtype == global_max_pool(x).dtype == dtype


def test_global_max_pool_keeps_the_rank():
    x = DRAW.normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    got = global_max_pool(x)
    np.testing.assert_array_equal(got, x.max((1, 2, 3), keepdims=True))


def test_complex_means_and_empty_batches_work():
    x = (DRAW.normal(size=(1, 5, 2)) * (1 + 2j)).astype(np.complex64)
    np.testing.assert_allclose(adaptive_mean_pool(x, 1), x.mean(1, keepdims=True), atol=1e-6)
    empty = jnp.ones((0, 5, 4, 2))
    assert adaptive_max_pool(empty, 3).shape == adaptive_mean_pool(empty, 3).shape == (0, 3, 3, 2)
    assert global_max_pool(empty).shape == (0, 1, 1, 2)
    assert global_max_pool(jnp.ones((2, 3, 0))).shape == (2, 1, 0)


X = np.ones((1, 4, 4, 2), "f4")


@pytest.mark.parametrize("pool", [adaptive_max_pool, adaptive_mean_pool])
def test_what_cannot_be_pooled_is_refused(pool):
    for size in (0, (2, -1), (2.0, 2), True, None):
        with pytest.raises(RangeError) as caught:
            pool(X, size)
        assert caught.value.expected == "size to be a whole number of at least 1, or 2 of them"
    for x, size in [(X[0], (2, 2)), (X, (2,)), (X[0, 0], 2), (X[:, :0], 1)]:
        with pytest.raises(ShapeError) as caught:
            pool(x, size, subject="Pool")
        assert caught.value.subject == "Pool"
    with pytest.raises(DtypeError):
        pool(X.astype(int), 2)


def test_the_greatest_of_no_numbers_is_refused():
    for x in (X[0, 0], X[:, :0]):
        with pytest.raises(ShapeError):
            global_max_pool(x)
    for dtype in (int, jnp.complex64):
        for pool in (global_max_pool, lambda x: adaptive_max_pool(x, 2)):
            with pytest.raises(DtypeError):
                pool(X.astype(dtype))
