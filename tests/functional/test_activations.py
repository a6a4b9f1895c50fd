# SPDX-License-Identifier: Apache-2.0
"""Activations: values, parameters, second derivatives, transforms, refusals, names."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import rosin as rs
from numerics.formulas import FORMULAS
from numerics.precise import BARS, measure
from numerics.ulps import in_ulps
from rosin.errors import DtypeError, RangeError
from rosin.functional import activations
from tests.stored import stored

pytestmark = pytest.mark.optimised  # digits are counted

NAMES = list(FORMULAS)
SAMPLES = np.concatenate([np.linspace(-9, 9, 91) + 0.01, [1e-3, -1e-3, 30, -30, 1e4, -1e4]])


@pytest.mark.parametrize("name", NAMES)
def test_float64_values_and_two_derivatives_match_mpmath(name):
    # The bars, in ULP, have their reasons in numerics/precise.py.
    assert all(error <= bar for error, bar in zip(measure(name), BARS, strict=True))


def test_values_and_derivatives_are_those_of_pytorch_at_kinks_too():
    torch = stored("activations", "activations")
    names = {key.partition(".")[0] for key in torch if "." in key}
    assert len(names) == 23

    @jax.jit
    def valued(x):
        pairs = {name: jax.vjp(getattr(rs, name), x) for name in names}
        return {name: (y, pull(jnp.ones_like(y))[0]) for name, (y, pull) in pairs.items()}

    for name, (y, slope) in valued(torch["x"]).items():
        # Of either side 4 units of the last place, of numbers up to 10 in sums.
        near = {"rtol": 1e-6, "atol": 1e-6, "err_msg": name}
        np.testing.assert_allclose(y, torch[f"{name}.y"], **near)
        np.testing.assert_allclose(slope, torch[f"{name}.slope"], **near)


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "elu", "softplus"])
def test_gradients_match_finite_differences_in_both_modes(name):
    with jax.enable_x64(True):
        x = jnp.asarray([-3.1, -0.77, 0.3, 2.7])
        function = jax.jit(getattr(rs, name))
        check_grads(function, [x], order=2, modes=["fwd", "rev"], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_float32_second_derivative_is_that_of_float64(name):
    function = getattr(rs, name)
    bend = jax.jit(jax.vmap(jax.grad(jax.grad(function))))
    x = SAMPLES.astype(np.float32)
    with jax.enable_x64(True):
        expected = np.asarray(bend(x.astype(np.float64)))
    # Of values up to 1.6; the derivative of a fit keeps a digit less than the fit.
    np.testing.assert_allclose(bend(x), expected, atol=3e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_second_derivative_of_one_number_is_right_under_jit(name):
    # A program of one number is compiled otherwise: XLA gathers the constants of products,
    # and with a larger scale of the exponentials their product would be 0 times infinity.
    bend = jax.jit(jax.grad(jax.grad(getattr(rs, name))))
    points = [0.0, 1e-30, 0.3, -0.3, 5.2, -5.2, 95.0, -95.0, 1e20, -1e20, 3e38, -3e38]
    got = [float(bend(jnp.float32(x))) for x in points]
    with jax.enable_x64(True):
        expected = [float(bend(jnp.float64(np.float32(x)))) for x in points]
    np.testing.assert_allclose(got, expected, atol=3e-6)  # as above


@pytest.mark.parametrize("name", NAMES)
def test_jit_vmap_and_jvp_agree_with_the_plain_call(name):
    function, x = getattr(rs, name), SAMPLES.astype(np.float32)
    plain = np.asarray(function(x))
    np.testing.assert_array_equal(jax.jit(function)(x), plain)

    @jax.jit
    def transformed(x):
        slope = jax.vjp(function, x)[1](jnp.ones_like(x))[0]
        return jax.vmap(function)(x), *jax.jvp(function, (x,), (jnp.full_like(x, 3),)), slope

    mapped, value, tangent, slope = map(np.asarray, transformed(x))
    np.testing.assert_array_equal(mapped, plain)
    np.testing.assert_array_equal(value, plain)
    np.testing.assert_allclose(tangent, 3 * slope, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_hessian_is_diagonal_and_an_empty_or_scalar_input_is_fine(name):
    function = getattr(rs, name)
    hessian = jax.jit(jax.hessian(lambda x: function(x).sum()))(np.array([-0.7, 0.2, 1.9], "f4"))
    np.testing.assert_array_equal(hessian, np.diag(np.diag(hessian)))
    assert function(np.zeros((0, 3), "f4")).shape == (0, 3)
    assert jax.eval_shape(function, 0.25).shape == ()


@pytest.mark.parametrize(
    ("name", "third"),
    [("sigmoid", -1 / 8), ("tanh", -2), ("gelu", 0), ("gelu_erf", 0), ("swish", 0)],
)
def test_the_third_derivative_is_right_where_the_magnitude_has_its_corner(name, third):
    with jax.enable_x64(True):
        got = jax.jit(jax.grad(jax.grad(jax.grad(getattr(rs, name)))))(0.0)
    np.testing.assert_allclose(got, third, atol=1e-12)


# --- parameters ---------------------------------------------------------------------

X = np.array([-np.inf, -3.0, -0.4, 0.0, 0.4, 3.0, np.inf])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (functools.partial(rs.leakyrelu, slope=0.25), np.where(X > 0, X, 0.25 * X)),
        (functools.partial(rs.leakyrelu, slope=0), np.maximum(X, 0)),
        (functools.partial(rs.leakyrelu, slope=1), X),
        (functools.partial(rs.rrelu, lower=0.5, upper=1), np.where(X > 0, X, 0.75 * X)),
        (functools.partial(rs.rrelu, lower=0, upper=0), np.maximum(X, 0)),
        (functools.partial(rs.elu, alpha=0.5), np.where(X > 0, X, 0.5 * np.expm1(X))),
        (functools.partial(rs.elu, alpha=0), np.maximum(X, 0)),
        (functools.partial(rs.celu, alpha=2), np.where(X > 0, X, 2 * np.expm1(X / 2))),
        (functools.partial(rs.trelu, theta=0.4), [0, 0, 0, 0, 0, 3, np.inf]),
        (functools.partial(rs.softshrink, threshold=1), [-np.inf, -2, 0, 0, 0, 2, np.inf]),
        (functools.partial(rs.softshrink, threshold=0), X),
        (functools.partial(rs.hardshrink, threshold=1), [-np.inf, -3, 0, 0, 0, 3, np.inf]),
        (
            functools.partial(rs.squareplus, b=0.01),
            np.maximum(X, 0) + 0.005 / (np.hypot(X, 0.1) + np.abs(X)),
        ),
    ],
)
def test_parameters_change_the_function_as_its_equation_says(function, expected):
    with jax.enable_x64(True):
        np.testing.assert_allclose(function(X), expected, rtol=1e-14)
        slopes = jax.vmap(jax.grad(function))(X[1:-1])
        step = 1e-6
        higher, lower = (np.asarray(function(X[1:-1] + sign * step)) for sign in (1, -1))
        away = np.array([True, True, False, False, True])  # from kinks at 0 and 0.4
        # The quotient is off by its own second derivative's change, below 1e-8 here.
        np.testing.assert_allclose(slopes[away], ((higher - lower) / (2 * step))[away], rtol=1e-8)


@pytest.mark.parametrize("x", [-1e30, -1e10, -50.0, -1.0, 0.0, 1.0, 1e30])
@pytest.mark.parametrize("b", [1e-30, 0.01, 3.0, 1e30])
def test_squareplus_is_exact_for_every_size_of_its_parameter(x, b):
    root = math.hypot(x, math.sqrt(b))
    expected = b / 2 / (root + abs(x)) + max(x, 0)
    # Rounding of 1 / sqrt(b) adds a unit or two to those of b = 4.
    assert in_ulps(rs.squareplus(x, b=b), np.float64(np.float32(expected)), np.float32) <= 5


def test_rrelu_draws_a_slope_for_each_number_and_has_it_as_derivative():
    x = jnp.asarray([-1.0] * 1000 + [2.0])
    function = functools.partial(rs.rrelu, key=jax.random.key(0))
    y, slopes = function(x), jax.vmap(jax.grad(rs.rrelu))(x)
    drawn = -np.asarray(y[:-1])
    assert 1 / 8 <= drawn.min() < 0.13
    assert 0.32 < drawn.max() <= 1 / 3
    np.testing.assert_allclose(drawn.mean(), 11 / 48, atol=0.01)  # 5 standard errors
    assert y[-1] == 2
    np.testing.assert_allclose(slopes[:-1], 11 / 48, rtol=1e-6)  # without a key the mean
    gradient = jax.grad(lambda x: function(x).sum())(x)
    np.testing.assert_array_equal(gradient[:-1], drawn)
    assert gradient[-1] == 1
    assert rs.rrelu(jnp.ones(2, jnp.bfloat16), key=jax.random.key(0)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (rs.leakyrelu, {"slope": -0.1}),
        (rs.leakyrelu, {"slope": 1.5}),
        (rs.leakyrelu, {"slope": True}),
        (rs.rrelu, {"lower": -0.1}),
        (rs.rrelu, {"lower": 0.5, "upper": 0.4}),
        (rs.rrelu, {"upper": 1.1}),
        (rs.elu, {"alpha": -1}),
        (rs.elu, {"alpha": math.inf}),
        (rs.celu, {"alpha": 0}),
        (rs.celu, {"alpha": math.nan}),
        (rs.trelu, {"theta": -1}),
        (rs.softshrink, {"threshold": -0.5}),
        (rs.hardshrink, {"threshold": math.inf}),
        (rs.squareplus, {"b": 0}),
    ],
)
def test_a_parameter_out_of_its_range_is_refused(function, named):
    with pytest.raises(RangeError) as caught:
        function(jnp.ones(2), **named)
    assert caught.value.subject == function.__name__
    assert next(reversed(named)) in caught.value.expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("x", [1, np.arange(3), jnp.ones(2, bool), np.ones(2, np.complex64)])
def test_what_is_not_real_floating_point_is_refused(name, x):
    with pytest.raises(DtypeError, match="floating-point") as caught:
        getattr(rs, name)(x)
    # Without a key it is a leakyrelu, but it complains under its own name.
    assert caught.value.subject == name


# --- pinned -------------------------------------------------------------------------


def test_the_derivative_at_a_kink_is_that_of_the_flatter_side():
    kinks = {
        rs.relu: [0],
        rs.relu6: [0, 6],
        rs.hardtanh: [-1, 1],
        rs.hardsigmoid: [-3, 3],
        rs.sparse_sigmoid: [-1, 1],
        rs.softshrink: [-0.5, 0.5],
        rs.hardshrink: [-0.5, 0.5],
        rs.trelu: [1],
    }
    for function, points in kinks.items():
        assert [float(jax.grad(function)(float(x))) for x in points] == [0] * len(points)
    assert jax.grad(rs.relu)(-0.0) == 0
    assert jax.grad(rs.leakyrelu)(0.0) == np.float32(0.01)
    assert [float(jax.grad(rs.hardswish)(x)) for x in (-3.0, -1.5, 3.0)] == [0, 0, 1]
    assert jax.grad(rs.elu)(0.0) == 1


def test_tails_are_kept_where_the_usual_formulas_lose_them():
    got = {
        "swish": rs.swish(-90.0),
        "gelu": rs.gelu(-9.0),
        "mish": rs.mish(-90.0),
        "tanhshrink": rs.tanhshrink(1e-4),
        "logcosh": rs.logcosh(1e-10),
        "sigmoid'": jax.grad(rs.sigmoid)(80.0),
        "tanh'": jax.grad(rs.tanh)(-40.0),
    }
    expected = {
        "swish": -90 * math.exp(-90),
        "gelu": -9 / (1 + math.exp(2 * math.sqrt(2 / math.pi) * (9 + 0.044715 * 9**3))),
        "mish": -90 * math.exp(-90),
        "tanhshrink": 1e-12 / 3,
        "logcosh": 5e-21,
        "sigmoid'": math.exp(-80),
        "tanh'": 4 * math.exp(-80),
    }
    for name, value in got.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, err_msg=name)


def test_gelu_takes_the_tanh_form_unless_told_otherwise():
    forms = [rs.gelu(1.0), rs.gelu_tanh(1.0), rs.gelu(1.0, approximate=False), rs.gelu_erf(1.0)]
    # From the paper's forms.
    np.testing.assert_allclose(forms, [0.8411920, 0.8411920, 0.8413447, 0.8413447], rtol=1e-6)


@pytest.mark.parametrize("name", ["identity", "gelu", "silu", *NAMES])
def test_a_name_is_that_which_a_model_prints(name):
    assert getattr(rs, name).__name__ == name
    assert getattr(activations, name) is getattr(rs, name)


def test_a_layer_takes_an_activation_with_a_parameter_and_prints_it():
    layer = rs.Dense(2, 3, functools.partial(rs.leakyrelu, slope=0.2), key=jax.random.key(0))
    assert repr(layer) == "Dense(2, 3, partial(leakyrelu, slope=0.2))"
    x = jnp.asarray([[1.0, -2.0]])
    z = x @ layer.weight
    np.testing.assert_allclose(layer(x), np.where(z > 0, z, 0.2 * z), rtol=1e-6)


def test_other_names_are_the_same_functions():
    x = SAMPLES.astype(np.float32)
    for other, function in ((rs.silu, rs.swish), (rs.tanh_fast, rs.tanh)):
        np.testing.assert_array_equal(other(x), function(x))
    np.testing.assert_array_equal(rs.sigmoid_fast(x), rs.sigmoid(x))


def test_identity_returns_the_very_same_object():
    x = np.arange(3)
    assert rs.identity(x) is x
