# SPDX-License-Identifier: Apache-2.0
"""Derivatives of functions of a model: values, shapes, what is None, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.core.gradient import (
    gradient,
    hessian,
    jacobian,
    jacobian_vector,
    per_example_gradients,
    pullback,
    stop_gradient,
    vector_jacobian,
    withgradient,
)
from rosin.core.module import Module
from rosin.core.tree import destructure, freeze, trainables
from rosin.core.types import Array, Buffer
from rosin.errors import DtypeError, ShapeError, StateError, StructureError
from tests.core.toys import Affine, Centre, Noise, Seq, X, array, assert_trees_close, mean_of

Y = np.array([[0.5, -1.0], [0.25, 2.0]], np.float32)


def loss(model, x, y):
    return ((model(x) - y) ** 2).mean()


def by_hand(model):
    """Write the gradient of `loss` for tanh(x W + b) out."""
    weight, bias = np.asarray(model.weight, np.float64), np.asarray(model.bias, np.float64)
    out = np.tanh(X @ weight + bias)
    slope = 2 * (out - Y) / Y.size * (1 - out**2)
    return ((out - Y) ** 2).mean(), X.T @ slope, slope.sum(0)


# --- withgradient and gradient ----------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_value_and_gradient_are_those_of_the_formula(wrap):
    model = Affine(3, 2)
    value, grads, new = wrap(lambda m: withgradient(loss, m, X, Y))(model)
    expected, weight, bias = by_hand(model)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(grads.weight, weight, rtol=1e-5)
    np.testing.assert_allclose(grads.bias, bias, rtol=1e-5)
    assert type(grads) is Affine
    assert grads.activation is model.activation
    assert new == model


def test_gradient_is_the_second_part():
    assert gradient(loss, Affine(3, 2), X, Y) == withgradient(loss, Affine(3, 2), X, Y)[1]


def test_the_gradient_agrees_with_finite_differences():
    flat, rebuild = destructure(Seq(Affine(3, 4), Affine(4, 2, jnp.sin)))
    check_grads(
        lambda v: loss(rebuild(v), X, Y), [flat], order=1, modes=["rev"], rtol=2e-2, atol=2e-2
    )


def test_what_is_not_trained_is_none():
    class Kinds(Module):
        weight: Array
        counts: Array
        flags: Array
        mean: Buffer[Array]
        key: Buffer[Array]
        held: Array

    model = Kinds(array(2), jnp.arange(2), jnp.array([True]), array(2), jax.random.key(0), array(2))
    grads = gradient(lambda m: (m.weight * m.mean * m.held).sum(), freeze(model, "held"))
    np.testing.assert_array_equal(grads.weight, model.mean * model.held)
    assert [grads.counts, grads.flags, grads.mean, grads.key, grads.held] == [None] * 5
    assert len(jax.tree.leaves(grads)) == 1


def test_a_parameter_that_the_loss_does_not_reach_has_a_gradient_of_zeros():
    grads = gradient(lambda m: m.layers[0](X).sum(), Seq(Affine(3, 2), Affine(3, 4)))
    assert grads.layers[0].weight.any()
    np.testing.assert_array_equal(grads.layers[1].weight, np.zeros((3, 4)))


def test_any_tree_can_be_differentiated():
    tree = {"a": [jnp.array(2.0), 3], "b": (np.float32(4), None)}
    grads = gradient(lambda t: t["a"][0] ** 2 * t["a"][1] * t["b"][0], tree)
    assert grads == {"a": [48.0, None], "b": (12.0, None)}


@pytest.mark.parametrize("number", [3.0, np.float32(3), np.array(3.0), jnp.float32(3)])
def test_a_number_can_be_differentiated(number):
    assert gradient(lambda x: x**2, number) == 6


def test_a_complex_parameter_has_the_gradient_of_jax():
    z = jnp.array([1 + 2j])
    f = lambda z: (z * z.conj()).real.sum()
    np.testing.assert_array_equal(gradient(f, z), jax.grad(f)(z))


def test_half_precision_gradients_have_the_dtype_of_the_parameter():
    assert gradient(lambda x: (x**2).sum(), jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_arguments_are_handed_on_and_not_differentiated():
    seen = []
    gradient(lambda m, *args: seen.extend(args) or m, 2.0, "text", None, X)
    assert seen[:2] == ["text", None]
    assert seen[2] is X


def test_what_stands_beside_the_loss_comes_back_as_it_is():
    def f(m, x):
        out = m(x)
        return out.sum(), {
            "out": out,
            "name": "text",
            "rate": 0.5,
            "none": None,
            "count": 3,
            "f": f,
        }

    model = Affine(3, 2)
    value, _, _ = withgradient(f, model, X)
    assert type(value) is tuple
    np.testing.assert_array_equal(value[1]["out"], model(X))
    assert not isinstance(value[1]["out"], jax.core.Tracer)
    assert type(value[1]["rate"]) is float
    assert type(value[1]["count"]) is int
    assert (value[1]["name"], value[1]["none"], value[1]["f"]) == ("text", None, f)


def test_a_loss_may_return_a_single_entry_and_a_model():
    value, _, new = withgradient(lambda m: (m(X).sum(), m), Affine(3, 2))
    assert value[1] == new == Affine(3, 2)
    assert withgradient(lambda m: (m(X).sum(),), Affine(3, 2))[0][0].shape == ()


def test_inside_the_loss_the_model_is_in_training():
    modes = []
    gradient(
        lambda m: modes.append((m.training, m.layers[0].training)) or m(X).sum(), Seq(Affine(3, 2))
    )
    assert modes == [(True, True)]


def test_gradients_nest():
    assert gradient(lambda x: gradient(lambda y: y**3, x), 2.0) == 12
    inner = lambda w: gradient(lambda v: (w * v) ** 2, 3.0)
    assert gradient(inner, 2.0) == 24  # d/dw of 2 w² v


def test_a_gradient_step_can_be_differentiated():
    def adapted(m):
        grads = gradient(loss, m, X, Y)
        return loss(jax.tree.map(lambda p, g: p - 0.1 * g, m, grads), X, Y)

    flat, rebuild = destructure(Affine(3, 2))
    result = gradient(adapted, Affine(3, 2))
    expected = rebuild(jax.grad(lambda v: adapted(rebuild(v)))(flat))
    assert_trees_close(result, expected, rtol=1e-4)


# --- what is refused --------------------------------------------------------------------

OUTER = Affine(3, 2)
REFUSED = {
    "a vector": (lambda m: m(X)[0], ShapeError, "a loss of shape ()", "float32[2]"),
    "one entry": (lambda m: m(X)[:1, :1], ShapeError, "a loss of shape ()", "float32[1,1]"),
    "a whole number": (lambda m: m(X).argmax(), DtypeError, "a real floating-point", "int32[]"),
    "a truth": (lambda m: m(X).any(), DtypeError, "a real floating-point dtype", "bool[]"),
    "complex": (lambda m: jax.lax.complex(*m(X)[0]), DtypeError, "a real", "complex64[]"),
    "nothing": (lambda m: None, StructureError, "to return a number, or a tuple", "None"),
    "a list": (lambda m: [m(X).sum()], StructureError, "to return a number", "[float32[]]"),
    "no entry": (lambda m: (), StructureError, "to return a number", "()"),
    "a text first": (lambda m: ("a", m(X).sum()), StructureError, "to return a number", "'a'"),
    "constant": (lambda m: 3.0, StateError, "depends on at least one parameter", "none reaches"),
    "a constant array": (lambda m: jnp.ones(()), StateError, "depends on", "none reaches"),
    "another model": (lambda m: OUTER(X).sum(), StateError, "depends on", "none reaches"),
    "stopped": (lambda m: stop_gradient(m)(X).sum(), StateError, "depends", "none reaches"),
    "rounded": (lambda m: m(X).argmax().astype(float), StateError, "depends", "none reaches"),
}


@pytest.mark.parametrize(("f", "kind", "expected", "got"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_a_loss_that_cannot_be_differentiated_is_refused(f, kind, expected, got, wrap):
    with pytest.raises(kind) as caught:
        wrap(lambda m: gradient(f, m))(Affine(3, 2))
    assert expected in caught.value.expected
    assert got in caught.value.got
    assert caught.value.subject == "the function <lambda>"


def test_a_loss_that_reaches_a_parameter_with_no_effect_is_fine():
    assert not gradient(lambda m: (0 * m(X)).sum(), Affine(3, 2)).weight.any()
    assert not gradient(lambda m: jnp.where(m > 3, m, 0.0), 2.0).any()


@pytest.mark.parametrize("model", [3, jnp.arange(2), Noise(), freeze(Affine(3, 2)), (), "text"])
def test_a_model_with_nothing_to_train_is_refused(model):
    with pytest.raises(DtypeError, match="at least one trainable floating-point array"):
        gradient(lambda m: 1.0, model)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(StructureError, match="f to be callable"):
        gradient(Affine(3, 2)(X), Affine(3, 2))


# --- pullback and its relatives ---------------------------------------------------------


def test_a_pullback_is_the_transposed_jacobian():
    model = Affine(3, 2)
    y, back, new = pullback(lambda m, x: m(x), model, X)
    np.testing.assert_array_equal(y, model(X))
    full = jacobian(lambda m: m(X), model)
    expected = np.tensordot(Y, np.asarray(full.weight), axes=2)
    np.testing.assert_allclose(back(Y).weight, expected, rtol=1e-5)
    assert new == model
    assert vector_jacobian(lambda m: m(X), model, Y)[1] == back(Y)


def test_a_pullback_hands_on_the_recorded_state():
    _, back, new = pullback(lambda m: m(X), Seq(Affine(3, 2), Centre(2)))
    assert new.layers[1].steps == 1
    assert back(Y).layers[1].steps is None


def test_a_pullback_takes_trees_and_skips_whole_numbers_and_keys():
    key = jax.random.key(0)
    y, back, _ = pullback(lambda x: {"a": x**2, "b": (x.argmax(), jnp.int32(3)), "c": key}, X[0])
    assert y["b"][1] == 3
    grads = back({"a": np.ones(3), "b": (0, 5), "c": key})
    np.testing.assert_allclose(grads, 2 * X[0])


@pytest.mark.parametrize("cotangent", [Y[:1], Y[0], (Y,), (), None, {"a": Y}])
def test_a_cotangent_of_another_shape_is_refused(cotangent):
    _, back, _ = pullback(lambda m: m(X), Affine(3, 2))
    with pytest.raises(ShapeError) as caught:
        back(cotangent)
    assert caught.value.expected == "a cotangent like the value, float32[2,2]"


def test_the_empty_cotangent_of_a_number_is_refused():
    with pytest.raises(ShapeError):
        pullback(lambda x: x**2, 2.0)[1](())


def test_a_jacobian_times_a_vector_is_the_directional_derivative():
    model = Affine(3, 2)
    tangent = gradient(loss, model, X, Y)
    y, product = jacobian_vector(lambda m, x: m(x), model, tangent, X)
    full = jacobian(lambda m: m(X), model)
    expected = np.tensordot(full.weight, tangent.weight, 2) + np.tensordot(
        full.bias, tangent.bias, 1
    )
    np.testing.assert_allclose(product, expected, rtol=1e-5)
    np.testing.assert_array_equal(y, model(X))


def test_both_products_agree():
    model = Seq(Affine(3, 4), Affine(4, 2))
    tangent = jax.tree.map(lambda p: p * 0.5 + 0.25, model)
    _, forward = jacobian_vector(lambda m: m(X), model, tangent)
    _, backward = vector_jacobian(lambda m: m(X), model, Y)
    pairs = zip(trainables(tangent), trainables(backward), strict=True)
    np.testing.assert_allclose((forward * Y).sum(), sum((t * b).sum() for t, b in pairs), rtol=1e-4)


@pytest.mark.parametrize("like", [lambda m: m, lambda m: gradient(mean_of, m, X)])
def test_a_tangent_is_shaped_like_the_gradient_or_like_the_model(like):
    model = Seq(Affine(3, 2), Centre(2))
    y, product = jacobian_vector(lambda m: m(X), model, like(model))
    assert product.shape == y.shape


@pytest.mark.parametrize("tangent", [None, 1.0, Affine(2, 3), Affine(3, 2, bias=False), (X, X, X)])
def test_a_tangent_of_another_shape_is_refused(tangent):
    with pytest.raises(StructureError, match="a tangent shaped like the gradient"):
        jacobian_vector(lambda m: m(X), Affine(3, 2), tangent)


NO_ARRAYS = {
    "pullback": lambda f: pullback(f, Affine(3, 2)),
    "jvp": lambda f: jacobian_vector(f, Affine(3, 2), Affine(3, 2)),
    "jacobian": lambda f: jacobian(f, Affine(3, 2)),
}


@pytest.mark.parametrize("call", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_a_function_that_returns_no_arrays_is_refused(call):
    with pytest.raises(StructureError, match="returns an array, or a tree of arrays") as caught:
        call(lambda m: (m(X), "text"))
    assert caught.value.got == "'text'"


def test_the_jacobian_is_that_of_the_formula():
    model = Affine(3, 2)
    out = np.tanh(X @ np.asarray(model.weight) + np.asarray(model.bias))
    full = jacobian(lambda m: m(X), model)
    expected = np.einsum("bo,bi,op->boip", 1 - out**2, X, np.eye(2))
    np.testing.assert_allclose(full.weight, expected, rtol=1e-4, atol=1e-6)
    assert full.bias.shape == (2, 2, 2)


def test_a_jacobian_leaves_out_what_is_not_trained():
    full = jacobian(lambda m: m(X), Seq(Affine(3, 2), Centre(2)))
    assert full.layers[1].scale.shape == (2, 2, 2)
    assert full.layers[1].mean is None


@pytest.mark.parametrize("f", [lambda m: (m(X), m(X)), lambda m: {"a": m(X)}])
def test_the_jacobian_of_a_tree_is_refused(f):
    with pytest.raises(StructureError, match="a function that returns one array"):
        jacobian(f, Affine(3, 2))


def test_the_jacobian_of_whole_numbers_is_refused():
    with pytest.raises(DtypeError) as caught:
        jacobian(lambda m: m(X).argmax(0), Affine(3, 2))
    assert caught.value.got == "int32[2]"


# --- second derivatives -----------------------------------------------------------------


def test_the_hessian_is_that_of_the_formula():
    x = np.array([0.3, -1.2, 2.0])
    f = lambda v: jnp.log1p(jnp.exp(v)).sum() + v[0] * v[1] ** 2
    s = 1 / (1 + np.exp(-x))
    expected = np.diag(s * (1 - s))
    expected[0, 1] = expected[1, 0] = 2 * x[1]
    expected[1, 1] += 2 * x[0]
    np.testing.assert_allclose(hessian(f, jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(hessian(f, x), expected, rtol=1e-5, atol=1e-6)


def test_the_hessian_of_a_model_goes_through_its_vector():
    flat, rebuild = destructure(Affine(3, 2))
    full = hessian(lambda v: loss(rebuild(v), X, Y), flat)
    np.testing.assert_allclose(full, full.T, atol=1e-6)
    expected = jax.hessian(lambda v: loss(rebuild(v), X, Y))(flat)
    np.testing.assert_allclose(full, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("x", [Affine(3, 2), (jnp.ones(2),), 2.0, None])
def test_the_hessian_of_something_else_is_refused(x):
    with pytest.raises(StructureError, match="one array to differentiate by") as caught:
        hessian(lambda v: v, x)
    assert "rs.destructure(model)" in caught.value.fix


# --- each example for itself ------------------------------------------------------------


def test_gradients_of_examples_are_those_of_a_loop():
    model = Affine(3, 2)
    each = per_example_gradients(loss, model, X, Y)
    singles = [gradient(loss, model, x[None], y[None]) for x, y in zip(X, Y, strict=True)]
    assert_trees_close(each, jax.tree.map(lambda *g: jnp.stack(g), *singles), rtol=1e-5)
    np.testing.assert_allclose(each.weight.mean(0), gradient(loss, model, X, Y).weight, rtol=1e-5)


def test_every_example_has_random_numbers_of_its_own():
    model = Seq(Affine(3, 2, bias=False), Noise())
    same = np.repeat(X[:1], 4, axis=0)
    each = per_example_gradients(lambda m, x: (m(x) ** 2).sum(), model, same)
    rows = np.asarray(each.layers[0].weight).reshape(4, -1)
    assert len(np.unique(rows.round(4), axis=0)) == 4
    assert each.layers[1].key is None


def test_examples_may_be_trees():
    batch = {"x": X, "y": (Y, np.array([0.5, 2.0], np.float32))}
    each = per_example_gradients(
        lambda m, b: loss(m, b["x"], b["y"][0]) * b["y"][1][0], Affine(3, 2), batch
    )
    assert each.bias.shape == (2, 2)


@pytest.mark.parametrize("batch", [(), (X, Y[:1]), (X[:0],), (1.0,), (X, 1.0), ({},)])
def test_a_batch_without_a_common_first_axis_is_refused(batch):
    with pytest.raises(ShapeError, match="one and the same first axis"):
        per_example_gradients(mean_of, Affine(3, 2), *batch)


def test_stop_gradient_stops_through_a_tree():
    tree = {"a": X, "n": 3}
    np.testing.assert_array_equal(stop_gradient(tree)["a"], X)
    grads = gradient(lambda m: (stop_gradient(m)(X) * m.bias[None]).sum(), Affine(3, 2))
    assert not grads.weight.any()
    assert grads.bias.any()
