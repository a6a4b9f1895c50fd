# SPDX-License-Identifier: Apache-2.0
"""Pooling against loops, ties, long windows, padding, gradients, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.adaptive import global_mean_pool
from rosin.functional.pooling import lp_pool, max_pool, mean_pool

DRAW = np.random.default_rng(0)


def windows(x, size, stride, pad):
    """Yield the place of each window and the places of its elements, padding included."""
    spaces = [
        range((n + low + high - k) // s + 1)
        for n, k, s, (low, high) in zip(x.shape[1:-1], size, stride, pad, strict=True)
    ]
    for p in itertools.product(*spaces):
        corners = [i * s - low for i, s, (low, _) in zip(p, stride, pad, strict=True)]
        places = itertools.product(*(range(c, c + k) for c, k in zip(corners, size, strict=True)))
        inside = [
            at for at in places if all(0 <= i < n for i, n in zip(at, x.shape[1:-1], strict=True))
        ]
        yield p, inside


def loops(x, size, stride, pad):
    """Return the largest, the mean with padding, the mean without, in float64."""
    x = np.asarray(x, np.float64)
    found = list(windows(x, size, stride, pad))
    shape = (x.shape[0], *(n + 1 for n in found[-1][0]), x.shape[-1])
    most, mean, inner = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for p, inside in found:
        values = np.stack([x[(slice(None), *at)] for at in inside])
        most[(slice(None), *p)] = values.max(0)
        mean[(slice(None), *p)] = values.sum(0) / np.prod(size)
        inner[(slice(None), *p)] = values.mean(0)
    return most, mean, inner


# Space, window, stride, pad.
CASES = [
    ((6,), (2,), (2,), ((0, 0),)),
    ((7,), (3,), (2,), ((1, 1),)),
    ((50,), (40,), (3,), ((2, 0),)),
    ((6, 6), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((7, 5), (3, 2), (2, 1), ((0, 1), (1, 0))),
    ((7, 8), (3, 3), (1, 3), ((2, 2), (1, 2))),
    ((40, 5), (33, 2), (1, 2), ((0, 3), (1, 0))),
    ((4, 5, 6), (2, 3, 1), (2, 1, 2), ((1, 0), (0, 2), (0, 0))),
]


@pytest.mark.parametrize(("space", "size", "stride", "pad"), CASES)
def test_pools_are_the_windows_written_as_loops(space, size, stride, pad):
    x = DRAW.normal(size=(2, *space, 3)).astype(np.float32)
    most, mean, inner = loops(x, size, stride, pad)
    options = {"stride": stride, "pad": pad}
    np.testing.assert_array_equal(max_pool(x, size, **options), most)
    np.testing.assert_allclose(mean_pool(x, size, **options), mean, atol=1e-6)
    got = mean_pool(x, size, count_padding=False, **options)
    np.testing.assert_allclose(got, inner, atol=1e-6)


@pytest.mark.parametrize(("space", "size", "stride", "pad"), CASES[1::2])
def test_of_equal_values_the_first_has_the_whole_gradient(space, size, stride, pad):
    x = DRAW.integers(0, 3, size=(2, *space, 2)).astype(np.float32)
    y, pull = jax.vjp(jax.jit(lambda x: max_pool(x, size, stride=stride, pad=pad)), x)
    g = DRAW.normal(size=y.shape).astype(np.float32)
    expected = np.zeros(x.shape)
    for p, inside in windows(x, size, stride, pad):
        for b, c in itertools.product(range(2), repeat=2):
            first = max(inside, key=lambda at: x[(b, *at, c)])
            expected[(b, *first, c)] += g[(b, *p, c)]
    np.testing.assert_allclose(jax.jit(pull)(jnp.asarray(g))[0], expected, atol=1e-5)


@pytest.mark.parametrize(("space", "size", "stride", "pad"), CASES[1::3])
def test_gradients_match_finite_differences_to_second_order(space, size, stride, pad):
    options = {"stride": stride, "pad": pad}
    with jax.enable_x64(True):
        x = DRAW.permutation(int(np.prod(space)) * 2).reshape(1, *space, 2) / 10.0
        # The square makes the second derivative differ from 0.
        for pool in (max_pool, mean_pool):
            square = jax.jit(lambda x, pool=pool: pool(x, size, **options) ** 2)
            check_grads(square, [x], order=2, modes=["rev"], rtol=1e-4, eps=1e-3)


def test_jit_and_vmap_agree_with_the_plain_call():
    x = jnp.asarray(DRAW.normal(size=(3, 2, 6, 6, 2)), jnp.float32)
    expected = jnp.stack([max_pool(a, 2) for a in x])
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda a: max_pool(a, 2)))(x), expected)
    gradient = jax.vmap(jax.grad(lambda a: max_pool(a, 2).sum()))(x)
    assert gradient.sum() == expected.size


def test_the_stride_is_the_window_when_left_out_and_sizes_may_be_one_number():
    x = DRAW.normal(size=(2, 6, 9, 3)).astype(np.float32)
    np.testing.assert_array_equal(max_pool(x, 3), max_pool(x, (3, 3), stride=(3, 3)))
    np.testing.assert_array_equal(mean_pool(x, (2, 3)), mean_pool(x, (2, 3), stride=(2, 3)))


def test_same_keeps_the_size_at_stride_one():
    x = DRAW.normal(size=(1, 5, 4, 1)).astype(np.float32)
    most, _, inner = loops(x, (2, 3), (1, 1), ((0, 1), (1, 1)))
    np.testing.assert_array_equal(max_pool(x, (2, 3), stride=1, pad="same"), most)
    got = mean_pool(x, (2, 3), stride=1, pad="same", count_padding=False)
    np.testing.assert_allclose(got, inner, atol=1e-6)


def test_padding_never_wins_and_nan_always_does():
    x = jnp.full((1, 2, 2, 1), -5.0)
    np.testing.assert_array_equal(max_pool(x, 2, stride=1, pad=1), np.full((1, 3, 3, 1), -5))
    assert np.isnan(max_pool(x.at[0, 0, 0, 0].set(jnp.nan), 2)).all()
    assert np.isnan(max_pool(jnp.ones((1, 40, 1)).at[0, 3, 0].set(jnp.nan), 40)).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_summed_in_float32(dtype):
    x = jnp.asarray(DRAW.uniform(1, 2, size=(1, 100, 100, 1)), dtype)
    wide = np.asarray(x, np.float64)
    for y in (mean_pool(x, 100), global_mean_pool(x)):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, jnp.asarray(wide.mean(), dtype))
    assert max_pool(x, 100).dtype == dtype


def test_a_float16_mean_does_not_overflow():
    largest = jnp.full((1, 4, 4, 1), jnp.finfo(jnp.float16).max, jnp.float16)
    np.testing.assert_array_equal(mean_pool(largest, 2), largest[:, :2, :2])


def test_global_mean_pool_keeps_the_rank():
    x = DRAW.normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    got = global_mean_pool(x)
    assert got.shape == (2, 1, 1, 1, 6)
    np.testing.assert_allclose(got, x.mean((1, 2, 3), keepdims=True, dtype=np.float64), atol=1e-7)


def test_means_of_complex_numbers_and_empty_batches_work():
    x = (DRAW.normal(size=(1, 4, 2)) * (1 + 2j)).astype(np.complex64)
    np.testing.assert_allclose(mean_pool(x, 4), x.mean(1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(global_mean_pool(x), x.mean(1, keepdims=True), atol=1e-6)
    empty = jnp.ones((0, 4, 4, 2))
    assert max_pool(empty, 2).shape == mean_pool(empty, 2).shape == (0, 2, 2, 2)
    assert global_mean_pool(empty).shape == (0, 1, 1, 2)


@pytest.mark.parametrize("p", [1, 1.5, 2])
@pytest.mark.parametrize(
    ("space", "size", "stride", "pad"), [CASES[2], CASES[4]], ids=["long", "2-D"]
)
def test_lp_pools_are_the_norms_of_the_windows(space, size, stride, pad, p):
    x = DRAW.normal(size=(2, *space, 3)).astype(np.float32)
    powers = np.abs(x.astype(np.float64)) ** p
    _, mean, _ = loops(powers, size, stride, pad)
    expected = (mean * np.prod(size)) ** (1 / p)
    np.testing.assert_allclose(lp_pool(x, p, size, stride=stride, pad=pad), expected, rtol=2e-6)


@pytest.mark.parametrize("p", [2, 2.5])
def test_lp_gradients_match_finite_differences(p):
    with jax.enable_x64(True):
        x = DRAW.choice([-1, 1], (1, 4, 6, 1)) * DRAW.uniform(0.5, 1.5, (1, 4, 6, 1))
        square = jax.jit(lambda x: lp_pool(x, p, (2, 3), stride=(2, 1)) ** 2)
        check_grads(square, [x], order=2, modes=["rev"], rtol=1e-4, eps=1e-5)
        check_grads(square, [x], order=1, modes=["fwd"], rtol=1e-4, eps=1e-5)


@pytest.mark.parametrize("p", [1, 1.5, 100])
def test_lp_pools_stay_finite_at_zero_and_at_the_largest_numbers(p):
    def pooled(x):
        return lp_pool(x, p, 2).sum()

    most = float(jnp.finfo(jnp.float32).max) / 4
    for values in ([0, 0, 0, 1], [most, most, most, 0], [1e-30, 2e-30, -1e-30, 0]):
        x = jnp.asarray(values, jnp.float32).reshape(1, 4, 1)
        scale = max(np.abs(values))
        scaled = np.asarray(values, np.float64).reshape(2, 2) / scale
        norms = scale * np.linalg.norm(scaled, p, axis=1)
        np.testing.assert_allclose(lp_pool(x, p, 2).ravel(), norms, rtol=1e-6)
        assert np.isfinite(jax.grad(pooled)(x)).all()
    hessian = jax.jit(jax.hessian(pooled))(jnp.array([0, 0, 0, 1.0]).reshape(1, 4, 1))
    assert np.isfinite(hessian).all()
    np.testing.assert_array_equal(jax.grad(pooled)(jnp.zeros((1, 2, 1))), np.zeros((1, 2, 1)))
    edge = jnp.array([jnp.inf, 1, 1, jnp.nan]).reshape(1, 4, 1)
    np.testing.assert_array_equal(lp_pool(edge, p, 2).ravel(), [np.inf, np.nan])
    np.testing.assert_array_equal(jax.grad(lambda x: pooled(x[:, :2]))(edge).ravel(), [1, 0, 0, 0])


@pytest.mark.parametrize("p", [0.5, 0, -1, np.inf, np.nan, "2", True])
def test_exponents_that_make_no_norm_are_refused(p):
    with pytest.raises(RangeError) as caught:
        lp_pool(X, p, 2)
    assert caught.value.expected == "p to be a number of at least 1"


def cubic_pool(x, window, subject="cubic_pool", **options):
    return lp_pool(x, 3, window, subject=subject, **options)


X = np.ones((1, 4, 4, 2), "f4")
POOLS = [max_pool, mean_pool, cubic_pool]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("window", "options", "expected"),
    [
        (0, {}, "window to be a whole number of at least 1, or 2 of them"),
        ((2, -1), {}, "window to be a whole number of at least 1, or 2 of them"),
        (2.0, {}, "window to be a whole number of at least 1, or 2 of them"),
        (2, {"stride": 0}, "stride to be a whole number of at least 1, or 2 of them"),
        (2, {"stride": (1, 2, 3)}, "stride to be a whole number of at least 1, or 2 of them"),
        (2, {"pad": -1}, "pad to be 'same', a whole"),
        (2, {"pad": 2}, "pad below the window (2, 2)"),
        ((3, 2), {"pad": ((2, 2), (0, 2))}, "pad below the window (3, 2)"),
    ],
)
def test_numbers_out_of_range_are_refused(pool, window, options, expected):
    with pytest.raises(RangeError) as caught:
        pool(X, window, **options)
    assert caught.value.expected.startswith(expected)
    assert caught.value.subject == pool.__name__


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("x", "window", "expected"),
    [
        (X, 5, "a padded input of at least (5, 5) along the spatial axes"),
        (X, (2, 5), "a padded input of at least (2, 5) along the spatial axes"),
        (X, (2,), "shape (batch, length, channels)"),
        (X[0], (2, 2), "shape (batch, height, width, channels)"),
        (X[0, 0], 2, "shape (batch, *space, channels)"),
        (X[:, :0], 1, "a padded input of at least (1, 1) along the spatial axes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(pool, x, window, expected):
    with pytest.raises(ShapeError) as caught:
        pool(x, window, subject="Pool")
    assert (caught.value.expected, caught.value.subject) == (expected, "Pool")


def test_what_cannot_be_pooled_is_refused():
    for pool in POOLS:
        with pytest.raises(DtypeError):
            pool(X.astype(int), 2)
    with pytest.raises(DtypeError):
        max_pool(X.astype(jnp.complex64), 2)
    with pytest.raises(DtypeError):
        global_mean_pool(X.astype(int))
    with pytest.raises(ShapeError):
        global_mean_pool(X[0, 0])
    with pytest.raises(ShapeError) as caught:
        global_mean_pool(X[:, :0], subject="GlobalMeanPool()")
    assert caught.value.subject == "GlobalMeanPool()"
