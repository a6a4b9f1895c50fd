# SPDX-License-Identifier: Apache-2.0
"""Activations: every half-type input, tails, limits, derivatives of higher order, refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError
from rosin.functional.activations import gelu, identity, relu, sigmoid, tanh

C, K = math.sqrt(2 / math.pi), 0.044715
gelu_erf = functools.partial(gelu, approximate=False)


def logistic(x):
    n = np.exp(-np.abs(x))
    return np.where(x < 0, n, 1) / (1 + n)


def bounded(x):
    # Beyond 64 both forms of gelu are x or 0 in float64 too; NumPy's inf * 0 would be NaN.
    return np.clip(x, -64, 64)


def gelu_value(x):
    z = bounded(x)
    return np.where(x < 0, z, x) * logistic(2 * C * (z + K * z**3))


def gelu_slope(x):
    x = bounded(x)
    u, v = 2 * C * (x + K * x**3), 2 * C * (1 + 3 * K * x**2)
    return logistic(u) + x * v * logistic(u) * logistic(-u)


def gelu_bend(x):
    x = bounded(x)
    u, v, w = 2 * C * (x + K * x**3), 2 * C * (1 + 3 * K * x**2), 12 * C * K * x
    s = logistic(u) * logistic(-u)
    return s * (2 * v + x * w + x * v**2 * (1 - 2 * logistic(u)))


def normal_cdf(x):
    return np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2


def normal_density(x):
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def erf_value(x):
    return np.where(x < 0, bounded(x), x) * normal_cdf(bounded(x))


def erf_slope(x):
    return normal_cdf(bounded(x)) + bounded(x) * normal_density(bounded(x))


# Function, value, first derivative, second derivative.
TABLE = {
    "relu": (relu, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), lambda x: 0 * x),
    "sigmoid": (
        sigmoid,
        logistic,
        lambda x: logistic(x) * logistic(-x),
        lambda x: -logistic(x) * logistic(-x) * np.tanh(x / 2),
    ),
    "tanh": (
        tanh,
        np.tanh,
        lambda x: 4 * logistic(2 * x) * logistic(-2 * x),
        lambda x: -8 * np.tanh(x) * logistic(2 * x) * logistic(-2 * x),
    ),
    "gelu": (gelu, gelu_value, gelu_slope, gelu_bend),
    "gelu_erf": (
        gelu_erf,
        erf_value,
        erf_slope,
        lambda x: (2 - bounded(x) ** 2) * normal_density(bounded(x)),
    ),
}
NAMES = list(TABLE)
SAMPLES = np.concatenate([np.linspace(-9, 9, 91), [1e-3, -1e-3, 30, -30, 1e4, -1e4]])


def slope_of(function, x, cotangent=1.0):
    y, pull = jax.vjp(function, x)
    return pull(jnp.full_like(y, cotangent))[0]


def in_ulps(got, true, dtype):
    """Measure |got - true| in units of the last place of `dtype`, rounding included.

    XLA on a CPU flushes what is below the least normal number of float32 and bfloat16.
    """
    info = ml_dtypes.finfo(dtype)
    least = float(info.tiny)
    got, true = np.asarray(got, np.float64), np.asarray(true, np.float64)
    unit = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(true), least))) - info.nmant)
    error = np.abs(got - true) / unit
    flushed = (np.abs(true) < least) & (np.abs(got) <= least) & (dtype != np.float16)
    return np.where(flushed, 0, error)


def every(dtype):
    """Return every finite number of a half type, subnormal bfloat16 left out."""
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):  # NaN in, NaN out, and NumPy warns
        wide = x.astype(np.float64)
    least = float(ml_dtypes.finfo(dtype).tiny) if dtype != np.float16 else 0.0
    return x[np.isfinite(wide) & ((np.abs(wide) >= least) | (wide == 0))]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["f16", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_every_half_input_is_rounded_once_in_value_and_gradient(name, dtype):
    function, value, slope, _ = TABLE[name]
    x = every(dtype)
    g = 0.6875  # exact in both types; a cotangent of 1 would hide a second rounding
    y, dy = jax.jit(function)(x), jax.jit(lambda x: slope_of(function, x, g))(x)
    assert y.dtype == dy.dtype == dtype
    wide = x.astype(np.float64)
    # 0.5 is correct rounding; the rest is what float32 adds.
    assert in_ulps(y, value(wide), dtype).max() <= 0.51
    assert in_ulps(dy, g * slope(wide), dtype).max() <= 0.51


# In float32: largest error in ulps between -4 and 100, and in the tail below, in multiples
# of the last place. XLA's exp and tanh themselves are off by 1.0 and 4.3.
FLOAT32 = {
    "relu": (0, 0, 0),
    "sigmoid": (3, 5, 5),
    "tanh": (5, 6, 6),
    "gelu": (25, 25, 220),
    "gelu_erf": (10, 10, 80),
}


@pytest.mark.parametrize("name", NAMES)
def test_float32_keeps_its_digits_into_the_tails(name):
    function, value, slope, _ = TABLE[name]
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.uniform(-20, 20, 2**16), draw.uniform(-0.77, -0.73, 2**12)])
    x = np.concatenate([x, 10 ** draw.uniform(-30, 2, 2**12)]).astype(np.float32)
    wide = x.astype(np.float64)
    errors = in_ulps(function(x), value(wide), np.float32)
    slope_errors = in_ulps(slope_of(function, x), slope(wide), np.float32)
    most, most_slope, most_tail = FLOAT32[name]
    assert errors[x > -4].max() <= most
    assert slope_errors[x > -4].max() <= most_slope
    assert max(errors.max(), slope_errors.max()) <= most_tail


@pytest.mark.parametrize("name", NAMES)
def test_float64_values_and_two_derivatives_match_the_formulas(name):
    function, *expected = TABLE[name]
    with jax.enable_x64(True):
        x = jnp.asarray(SAMPLES)
        assert x.dtype == jnp.float64
        slope = jax.jit(jax.vmap(jax.grad(function)))
        bend = jax.jit(jax.vmap(jax.grad(jax.grad(function))))
        for got, formula in zip((function, slope, bend), expected, strict=True):
            np.testing.assert_allclose(got(x), formula(SAMPLES), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_float32_second_derivative_matches_the_formula(name):
    bend = jax.vmap(jax.grad(jax.grad(TABLE[name][0])))(SAMPLES.astype(np.float32))
    expected = TABLE[name][3](SAMPLES.astype(np.float32).astype(np.float64))
    # Of values up to 1.6; the derivative of a fit keeps a digit less than the fit.
    np.testing.assert_allclose(bend, expected, atol=3e-6)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "gelu_erf"])
def test_gradients_match_finite_differences_in_both_modes(name):
    with jax.enable_x64(True):
        x = jnp.asarray([-3.1, -0.75, -0.2, 0.0, 0.4, 2.7])
        check_grads(TABLE[name][0], [x], order=2, modes=["fwd", "rev"], rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", NAMES)
def test_limits_and_extremes_are_right_and_nan_passes(name, dtype):
    function = TABLE[name][0]
    largest = float(jnp.finfo(dtype).max)
    x = jnp.asarray([-jnp.inf, -largest, largest, jnp.inf], dtype)
    high = {"relu": [largest, np.inf], "sigmoid": [1, 1], "tanh": [1, 1]}
    low = {"tanh": [-1, -1]}
    ends = [*low.get(name, [0, 0]), *high.get(name, [largest, np.inf])]
    linear = name in {"relu", "gelu", "gelu_erf"}
    np.testing.assert_array_equal(np.asarray(function(x), np.float64), ends)
    slopes = jax.jit(jax.vmap(jax.grad(function)))(x)
    np.testing.assert_array_equal(np.asarray(slopes, np.float64), [0, 0, linear, linear])
    bends = jax.jit(jax.vmap(jax.grad(jax.grad(function))))(x)
    np.testing.assert_array_equal(np.asarray(bends, np.float64), 0)
    assert np.isnan(function(jnp.asarray(jnp.nan, dtype)))


@pytest.mark.parametrize("name", NAMES)
def test_no_half_input_has_a_spurious_second_derivative(name):
    x = every(np.float16)
    bend = jax.jit(jax.vmap(jax.grad(jax.grad(TABLE[name][0]))))(x)
    assert np.isfinite(np.asarray(bend, np.float64)).all()


@pytest.mark.parametrize("name", NAMES)
def test_jit_vmap_and_jvp_agree_with_the_plain_call(name):
    function = TABLE[name][0]
    x = SAMPLES.astype(np.float32)
    plain = np.asarray(function(x))
    np.testing.assert_array_equal(jax.jit(function)(x), plain)
    np.testing.assert_array_equal(jax.vmap(function)(x), plain)
    value, tangent = jax.jvp(function, (x,), (jnp.full_like(x, 3),))
    np.testing.assert_array_equal(value, plain)
    np.testing.assert_allclose(tangent, 3 * slope_of(function, x), rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "third"), [(sigmoid, -1 / 8), (tanh, -2), (gelu, 0), (gelu_erf, 0)]
)
def test_the_third_derivative_is_right_where_the_magnitude_has_its_corner(function, third):
    with jax.enable_x64(True):
        got = jax.grad(jax.grad(jax.grad(function)))(0.0)
    np.testing.assert_allclose(got, third, atol=1e-12)


def test_relu_has_gradient_zero_at_zero():
    assert jax.grad(relu)(0.0) == jax.grad(relu)(-0.0) == 0


def test_gelu_takes_the_tanh_form_unless_told_otherwise():
    forms = [float(gelu(1.0)), float(gelu(1.0, approximate=False))]
    np.testing.assert_allclose(forms, [0.8411920, 0.8413447], rtol=1e-6)  # from the paper's forms


@pytest.mark.parametrize("function", [relu, sigmoid, tanh, gelu])
@pytest.mark.parametrize("x", [1, np.arange(3), jnp.ones(2, bool), np.ones(2, np.complex64)])
def test_what_is_not_real_floating_point_is_refused(function, x):
    with pytest.raises(DtypeError) as caught:
        function(x)
    assert caught.value.subject == function.__name__
    assert "floating-point" in caught.value.expected


@pytest.mark.parametrize(
    ("function", "name"),
    [(identity, "identity"), (relu, "relu"), (sigmoid, "sigmoid"), (tanh, "tanh"), (gelu, "gelu")],
)
def test_names_are_those_that_a_model_prints(function, name):
    assert function.__name__ == name


def test_identity_returns_the_very_same_object():
    x = np.arange(3)
    assert identity(x) is x
