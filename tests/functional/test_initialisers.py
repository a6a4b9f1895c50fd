# SPDX-License-Identifier: Apache-2.0
"""Initialisers: moments by the published rule, bounds, dtypes, refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.initialisers import (
    constant,
    glorot_normal,
    glorot_uniform,
    identity_init,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    orthogonal,
    sparse_init,
    truncated_normal,
    uniform,
    zeros,
)

KEY = jax.random.key(0)
# Shape, fan in, fan out: dense, convolutions with and without groups, a vector.
FANS = [
    ((200, 300), 200, 300),
    ((3, 3, 40, 80), 360, 720),
    ((5, 10, 700), 50, 3500),
    ((2, 3, 2, 10, 300), 120, 3600),
    ((40_000,), 1, 40_000),
]
# Initialiser, standard deviation from the fans, the bound in standard deviations.
RULES = {
    "glorot_uniform": (glorot_uniform, lambda i, o: math.sqrt(2 / (i + o)), math.sqrt(3)),
    "glorot_normal": (glorot_normal, lambda i, o: math.sqrt(2 / (i + o)), math.inf),
    "kaiming_uniform": (kaiming_uniform, lambda i, _: math.sqrt(2 / i), math.sqrt(3)),
    "kaiming_normal": (kaiming_normal, lambda i, _: math.sqrt(2 / i), math.inf),
    "lecun_uniform": (lecun_uniform, lambda i, _: math.sqrt(1 / i), math.sqrt(3)),
    "lecun_normal": (lecun_normal, lambda i, _: math.sqrt(1 / i), 2 / 0.8796),
}
EVERY = [
    *(rule[0] for rule in RULES.values()),
    *(normal, uniform, truncated_normal, orthogonal, identity_init, zeros, ones),
]
FIXED = {identity_init, zeros, ones}


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), FANS)
@pytest.mark.parametrize("name", RULES)
def test_mean_deviation_and_bound_follow_the_rule(name, shape, fan_in, fan_out):
    init, rule, bound = RULES[name]
    std = rule(fan_in, fan_out)
    w = np.asarray(init(KEY, shape), np.float64)
    assert w.shape == shape
    # Five standard errors of the sample.
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    assert abs(w.std() / std - 1) < 5 / math.sqrt(2 * w.size)
    assert abs(w).max() <= bound * std * (1 + 1e-4)
    if bound < math.inf:
        assert abs(w).max() > 0.99 * bound * std
    else:
        assert abs(w).max() > 3.5 * std


def test_numbers_are_those_that_jax_draws_for_the_shape():
    shape = (3, 2, 5)
    w = glorot_uniform(KEY, shape)
    expected = math.sqrt(6 / 21) * np.asarray(jax.random.uniform(KEY, shape, minval=-1, maxval=1))
    np.testing.assert_allclose(w, expected, rtol=1e-6)
    np.testing.assert_allclose(normal(KEY, shape), jax.random.normal(KEY, shape), rtol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_the_gain_scales_what_is_drawn(name):
    init = RULES[name][0]
    usual = math.sqrt(2) if name.startswith("kaiming") else 1.0
    got = functools.partial(init, gain=3.0)(KEY, (4, 5))
    np.testing.assert_allclose(got, init(KEY, (4, 5)) * (3 / usual), rtol=1e-6)


def test_normal_takes_mean_and_deviation():
    w = np.asarray(normal(KEY, (50_000,), mean=2.0, std=0.1))
    assert abs(w.mean() - 2) < 0.1 * 5 / math.sqrt(w.size)
    assert abs(w.std() / 0.1 - 1) < 5 / math.sqrt(2 * w.size)
    np.testing.assert_array_equal(normal(KEY, (3,), mean=2.0, std=0), 2)


@pytest.mark.parametrize(("lower", "upper"), [(0.0, 1.0), (-3.0, 5.0), (2.0, 2.5)])
def test_uniform_fills_its_interval_evenly(lower, upper):
    w = np.asarray(uniform(KEY, (200, 500), lower=lower, upper=upper), np.float64)
    std = (upper - lower) / math.sqrt(12)
    # Five standard errors of the sample.
    assert abs(w.mean() - (lower + upper) / 2) < 5 * std / math.sqrt(w.size)
    assert abs(w.std() / std - 1) < 5 / math.sqrt(2 * w.size)
    assert lower <= w.min() < lower + 1e-3 * std
    assert upper - 1e-3 * std < w.max() <= upper


def test_a_wide_interval_does_not_overflow():
    w = np.asarray(uniform(KEY, (1000,), lower=-3e38, upper=3e38))
    assert np.isfinite(w).all()
    assert abs(w).max() > 2.9e38


def test_constant_is_one_value():
    w = constant(None, (2, 3), value=0.25, dtype=jnp.bfloat16)
    assert w.dtype == jnp.bfloat16
    np.testing.assert_array_equal(w, np.full((2, 3), 0.25))


def cut_moments(low, high):
    """Integrate the standard normal between two bounds."""
    x = np.linspace(low, high, 100_001)
    weight = np.exp(-(x**2) / 2)
    weight /= weight.sum()
    mean = (x * weight).sum()
    return mean, math.sqrt(((x - mean) ** 2 * weight).sum())


@pytest.mark.parametrize(
    ("mean", "std", "lower", "upper"),
    [(0, 1, -2, 2), (1, 0.5, 0, 2), (0, 2, 1, 3), (-1, 1, 0.5, 4)],
)
def test_truncated_normal_has_the_moments_of_the_cut_and_stays_inside(mean, std, lower, upper):
    init = functools.partial(truncated_normal, mean=mean, std=std, lower=lower, upper=upper)
    w = np.asarray(init(KEY, (200, 500)), np.float64)
    assert w.min() >= lower
    assert w.max() <= upper
    centre, spread = cut_moments((lower - mean) / std, (upper - mean) / std)
    assert abs(w.mean() - (mean + std * centre)) < 5 * std * spread / math.sqrt(w.size)
    assert abs(w.std() / (std * spread) - 1) < 5 / math.sqrt(w.size)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (3, 2, 2, 5), (1, 1), (2, 2, 7)])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal_has_orthonormal_rows_or_columns(shape, gain):
    w = np.asarray(orthogonal(KEY, shape, gain=gain), np.float64).reshape(-1, shape[-1])
    square = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(square, gain**2 * np.eye(min(w.shape)), atol=1e-5)


def test_orthogonal_is_evenly_distributed_over_rotations_and_reflections():
    draws = jax.vmap(lambda key: orthogonal(key, (2, 2)))(jax.random.split(KEY, 4000))
    signs = np.sign(np.asarray(draws)).mean(0)  # QR alone has a diagonal of one sign
    assert abs(signs).max() < 5 / math.sqrt(4000)
    assert abs(np.mean(np.linalg.det(draws) > 0) - 0.5) < 2.5 / math.sqrt(4000)


def test_zeros_and_ones_need_no_key():
    np.testing.assert_array_equal(zeros(None, (2, 3)), np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(ones(None, (2, 3)), np.ones((2, 3), np.float32))


@pytest.mark.parametrize("init", EVERY, ids=lambda f: f.__name__)
def test_keys_decide_and_float32_is_the_default(init):
    w = init(KEY, (3, 4))
    assert w.dtype == jnp.float32
    np.testing.assert_array_equal(w, init(KEY, (3, 4)))
    if init not in FIXED:
        assert (w != init(jax.random.key(1), (3, 4))).any()


@pytest.mark.parametrize("init", EVERY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_what_float32_rounds_to(init, dtype):
    w = init(KEY, (3, 4), dtype=dtype)
    assert w.dtype == dtype
    np.testing.assert_array_equal(w, init(KEY, (3, 4)).astype(dtype))


@pytest.mark.parametrize("init", EVERY, ids=lambda f: f.__name__)
def test_float64_is_drawn_in_float64(init):
    with jax.enable_x64(True):
        w = np.asarray(init(KEY, (8, 8), dtype=jnp.float64))
    assert w.dtype == np.float64
    if init not in FIXED:
        assert (w != w.astype(np.float32)).all()


@pytest.mark.parametrize("init", EVERY, ids=lambda f: f.__name__)
def test_shapes_and_dtypes_that_are_none_are_refused(init):
    for shape in [(0, 2), (-1, 2), (2.0, 2), [2, 2], 2, (True, 2)]:
        with pytest.raises(RangeError) as caught:
            init(KEY, shape)
        assert caught.value.subject == init.__name__
    for dtype in [jnp.int32, jnp.complex64, bool]:
        with pytest.raises(DtypeError) as caught:
            init(KEY, (2, 2), dtype=dtype)
        assert caught.value.subject == init.__name__


@pytest.mark.parametrize("init", [f for f in EVERY if f is not orthogonal])
def test_a_scalar_parameter_is_possible(init):
    assert init(KEY, ()).shape == ()


@pytest.mark.parametrize(
    "call",
    [
        lambda: glorot_uniform(KEY, (2, 2), gain=math.nan),
        lambda: kaiming_normal(KEY, (2, 2), gain=math.inf),
        lambda: normal(KEY, (2,), std=-1),
        lambda: normal(KEY, (2,), mean=math.nan),
        lambda: uniform(KEY, (2,), lower=1),
        lambda: uniform(KEY, (2,), upper=math.inf),
        lambda: uniform(KEY, (2,), lower=-math.inf),
        lambda: constant(KEY, (2,), value=math.nan),
        lambda: identity_init(KEY, (2, 2), gain=math.inf),
        lambda: identity_init(KEY, (2, 2), shift=1.5),
        lambda: identity_init(KEY, (2, 2), shift=(1,)),
        lambda: sparse_init(KEY, (2, 2), sparsity=1.1),
        lambda: sparse_init(KEY, (2, 2), sparsity=0.5, std=-1),
        lambda: truncated_normal(KEY, (2,), std=0),
        lambda: truncated_normal(KEY, (2,), lower=1, upper=1),
        lambda: truncated_normal(KEY, (2,), lower=4, upper=5),
        lambda: truncated_normal(KEY, (2,), mean=7),
    ],
)
def test_numbers_out_of_range_are_refused(call):
    with pytest.raises(RangeError):
        call()


@pytest.mark.parametrize("shape", [(3,), ()])
def test_a_vector_is_not_orthogonal(shape):
    with pytest.raises(ShapeError) as caught:
        orthogonal(KEY, shape)
    assert caught.value.subject == "orthogonal"


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.75, 1.0])
def test_sparse_has_a_set_number_of_zeros_for_each_input(sparsity):
    w = np.asarray(sparse_init(KEY, (400, 30), sparsity=sparsity, std=0.1), np.float64)
    zeros_in_row = math.ceil(sparsity * 30)
    np.testing.assert_array_equal((w == 0).sum(axis=1), zeros_in_row)
    kept = w[w != 0]
    if kept.size:  # five standard errors of the sample
        assert abs(kept.std() / 0.1 - 1) < 5 / math.sqrt(2 * kept.size)
        assert abs(kept.mean()) < 5 * 0.1 / math.sqrt(kept.size)
    expected, p = 400 * zeros_in_row / 30, zeros_in_row / 30
    spread = math.sqrt(400 * p * (1 - p))
    assert abs((w == 0).sum(axis=0) - expected).max() <= 5 * spread  # and for each output alike


@pytest.mark.parametrize("shape", [(3,), (), (2, 3, 4)])
def test_only_a_matrix_is_sparse(shape):
    with pytest.raises(ShapeError) as caught:
        sparse_init(KEY, shape, sparsity=0.5)
    assert caught.value.subject == "sparse_init"


def test_identity_makes_layers_that_hand_their_input_on():
    x = jax.random.normal(KEY, (2, 5, 6, 3))
    init = identity_init
    np.testing.assert_array_equal(rs.Dense(3, 3, init=init, key=KEY)(x), x)
    for kernel in [(1, 1), (3, 3), (2, 4), (5, 2)]:
        conv = rs.Conv(kernel, 3, 3, pad="same", init=init, key=KEY)
        np.testing.assert_array_equal(conv(x), x)
    back = rs.ConvTranspose((3, 3), 3, 3, pad="same", init=init, key=KEY)
    np.testing.assert_array_equal(back(x), x)
    wider = rs.Dense(3, 5, init=init, key=KEY)(x)
    np.testing.assert_array_equal(wider, np.pad(x, [(0, 0)] * 3 + [(0, 2)]))
    narrower = rs.Dense(3, 2, init=functools.partial(init, gain=2.0), key=KEY)(x)
    np.testing.assert_array_equal(narrower, 2 * x[..., :2])


def test_identity_is_shifted_around_the_end():
    np.testing.assert_array_equal(identity_init(None, (3, 3), shift=1), np.roll(np.eye(3), 1, 1))
    np.testing.assert_array_equal(
        identity_init(None, (3, 4), shift=-1), np.roll(np.eye(3, 4), -1, 1)
    )
    kernel = identity_init(None, (3, 3, 2, 2), shift=(1, -1, 0, 1), gain=3)
    assert np.argwhere(kernel).tolist() == [[2, 0, 0, 1], [2, 0, 1, 0]]
    assert set(np.asarray(kernel[2, 0]).ravel()) == {0, 3}
    np.testing.assert_array_equal(identity_init(None, (3,)), np.zeros(3))


def test_no_gradient_is_asked_of_an_initialiser():
    def loss(scale):
        return (scale * kaiming_uniform(KEY, (3, 4))).sum()

    grad = jax.grad(loss)(1.0)
    np.testing.assert_allclose(grad, kaiming_uniform(KEY, (3, 4)).sum(), rtol=1e-6)
