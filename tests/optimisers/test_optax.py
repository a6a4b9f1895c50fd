# SPDX-License-Identifier: Apache-2.0
"""Transformations of optax in place of rules, as they are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

import rosin as rs
from rosin.errors import StructureError

MODEL = {"weight": jnp.array([[0.5, -1.5], [3.0, -0.25]]), "bias": jnp.array([0.5, -2.0])}
GRADIENTS = [jax.tree.map(lambda x, t=t: jnp.sin(x * (t + 1)), MODEL) for t in range(3)]
LOSSES = [3.0, 2.0, 5.0]


def by_bias(tree):
    """Label parameters by path."""
    return {path: "ab"["bias" in path] for path in tree}


OPTAX = {
    "rmsprop": optax.rmsprop(0.01),
    "chain": optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.01)),
    "masked": optax.masked(optax.sgd(0.1), {"weight": True, "bias": False}),
    "partition": optax.partition({"a": optax.sgd(0.1), "b": optax.adam(0.01)}, by_bias),
    "injected": optax.inject_hyperparams(optax.adam)(0.01),
    "schedule": optax.sgd(optax.cosine_decay_schedule(0.1, 10)),
    "of parameters": optax.adamw(0.01, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
    "several steps": optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(),
    "schedule free": contrib.schedule_free_sgd(0.1),
    "muon": contrib.muon(0.1),
    "prodigy": contrib.prodigy(0.1),
    "mechanic": contrib.mechanize(optax.sgd(0.1)),
    "of the loss": optax.polyak_sgd(0.5),
    "plateau": optax.chain(optax.sgd(0.1), contrib.reduce_on_plateau(patience=1)),
}


@functools.partial(jax.jit, static_argnums=0)
def alone(given):
    """Take three steps in optax alone, on the dict."""
    parameters, state = MODEL, given.init(MODEL)
    for gradient, loss in zip(GRADIENTS, LOSSES, strict=True):
        more = {"value": loss} if isinstance(given, optax.GradientTransformationExtraArgs) else {}
        changes, state = given.update(gradient, state, parameters, **more)
        parameters = optax.apply_updates(parameters, changes)
    return parameters


@pytest.mark.parametrize("case", OPTAX)
def test_any_optax_transformation_does_what_it_does_on_a_dict(case):
    opt_state, model = rs.setup(OPTAX[case], MODEL), MODEL
    for gradient, loss in zip(GRADIENTS, LOSSES, strict=True):
        more = {"value": loss} if opt_state.rule.asks else {}
        opt_state, model = rs.update(opt_state, model, gradient, **more)
    expected = alone(OPTAX[case])
    for path, leaf in model.items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-6)
    assert not rs.equal(model, MODEL)


def test_the_compiled_step_hands_over_its_loss():
    def loss(model, x):
        return ((x @ model["weight"] + model["bias"]) ** 2).mean()

    x = jnp.ones((3, 2))
    rule = OPTAX["of the loss"]
    result = rs.trainstep(loss, MODEL, (x,), rs.setup(rule, MODEL))
    value, grads = jax.value_and_grad(loss)(MODEL, x)
    _, moved = rs.update(rs.setup(rule, MODEL), MODEL, grads, value=value)
    for path, leaf in moved.items():
        np.testing.assert_allclose(result.model[path], leaf, rtol=1e-6)


def test_an_argument_that_is_missing_is_named():
    with pytest.raises(StructureError) as caught:
        rs.update(rs.setup(OPTAX["of the loss"], MODEL), MODEL, GRADIENTS[0])
    assert caught.value.expected.endswith("asks for: 'value'")
    assert "value=loss" in caught.value.fix
    with pytest.raises(StructureError, match="trainables"):
        rs.update(rs.setup(optax.lbfgs(), MODEL), MODEL, GRADIENTS[0], value=1.0)


def test_an_argument_that_nobody_takes_is_refused():
    with pytest.raises(StructureError, match="no further argument"):
        rs.update(rs.setup(rs.Adam(), MODEL), MODEL, GRADIENTS[0], value=1.0)
    with pytest.raises(StructureError, match="numbers and arrays"):
        rs.update(rs.setup(OPTAX["plateau"], MODEL), MODEL, GRADIENTS[0], value_fn=sum)


def test_what_is_wrong_inside_a_transformation_stays_its_own_error():
    def update(updates, state, params=None):
        raise TypeError("mine")

    rule = optax.GradientTransformation(lambda params: (), update)
    with pytest.raises(TypeError, match="mine"):
        rs.update(rs.setup(rule, MODEL), MODEL, GRADIENTS[0])


def test_an_optax_transformation_has_nothing_to_adjust():
    opt_state = rs.setup(optax.sgd(0.1), MODEL)
    with pytest.raises(StructureError):
        rs.adjust(opt_state, learning_rate=0.2)
    assert repr(opt_state) == "OptimiserState(Transformation(), arrays=2)"
