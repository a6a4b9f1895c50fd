# SPDX-License-Identifier: Apache-2.0
"""Maxout and PairwiseFusion: values, parts, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(3, 2) - 2


def dense(a, b, *more):
    return rs.Dense(a, b, *more, key=KEY)


def test_maxout_keeps_the_greatest_value_at_each_place():
    model = rs.Maxout(jnp.sin, jnp.cos, lambda x: 0 * x)
    expected = np.maximum(np.maximum(np.sin(X), np.cos(X)), 0)
    np.testing.assert_allclose(model(X), expected, rtol=1e-6)


def test_maxout_of_a_function_makes_layers_that_differ():
    model = rs.Maxout(lambda: rs.Dense(2, 3), 4)
    assert len(rs.trainables(model)) == 8
    assert len({float(layer.weight[0, 0]) for layer in model.layers}) == 4
    expected = np.max([layer(X) for layer in model.layers], axis=0)
    np.testing.assert_array_equal(model(X), expected)
    assert repr(rs.Maxout(rs.relu, dense(2, 2))) == "Maxout(relu, Dense(2, 2))"
    assert len(model) == 4
    assert model[0] == model.layers[0]


def test_the_gradient_of_maxout_goes_to_the_winner():
    model = rs.Maxout(rs.Scale(2), rs.Scale(2).replace(bias=jnp.array([-1.0, 1.0])))
    grads = rs.gradient(lambda m: m(X).sum(), model)
    np.testing.assert_array_equal(grads.layers[0].bias, [3, 0])
    np.testing.assert_array_equal(grads.layers[1].bias, [0, 3])


def test_maxout_hands_a_nan_on():
    model = rs.Maxout(lambda x: x * jnp.nan, lambda x: x)
    assert np.isnan(model(X)).all()


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (rs.Maxout, rs.StructureError),
        (lambda: rs.Maxout(3, 2), rs.StructureError),
        (lambda: rs.Maxout(rs.Dense), rs.StructureError),
        (lambda: rs.Maxout(lambda: dense(2, 2), 0), rs.RangeError),
        (lambda: rs.Maxout(lambda: dense(2, 2), 1.5), rs.RangeError),
        (lambda: rs.Maxout(dense(2, 3), dense(2, 1))(X), rs.ShapeError),
        (lambda: rs.PairwiseFusion(jnp.add), rs.StructureError),
        (lambda: rs.PairwiseFusion(3, dense(2, 2)), rs.StructureError),
        (lambda: rs.PairwiseFusion(jnp.add, dense(2, 2), dense(2, 2))(X, X, X), rs.ShapeError),
        (rs.PairwiseFusion(jnp.add, dense(2, 2), dense(2, 2)), rs.ShapeError),
        (lambda: rs.PairwiseFusion(jnp.add, layers=dense(2, 2)), rs.StructureError),
        (lambda: rs.PairwiseFusion(jnp.add, connection=dense(2, 2)), rs.StructureError),
    ],
)
def test_what_does_not_fit_is_refused(build, kind):
    with pytest.raises(kind):
        build()


def test_fusion_joins_each_input_to_the_output_before():
    a, b, c = dense(2, 2, rs.tanh), dense(2, 3), dense(3, 1)
    inputs = X, X + 1, jnp.ones((3, 3))
    model = rs.PairwiseFusion(jnp.subtract, a, b, c)
    first = a(inputs[0])
    second = b(first - inputs[1])
    third = c(second - inputs[2])
    for y, expected in zip(model(*inputs), (first, second, third), strict=True):
        np.testing.assert_array_equal(y, expected)


def test_a_single_input_of_fusion_is_used_at_each_layer():
    a, b = dense(2, 2, rs.tanh), dense(2, 3)
    first, second = rs.PairwiseFusion(jnp.add, a, b)(X)
    np.testing.assert_array_equal(first, a(X))
    np.testing.assert_array_equal(second, b(a(X) + X))  # as Flux's code has it, not b(a(X)) + X


def test_fusion_is_indexed_named_and_sliced():
    model = rs.PairwiseFusion(jnp.add, first=dense(2, 2), second=dense(2, 3))
    assert model["second"] == model[1] == dense(2, 3)
    assert repr(model) == "PairwiseFusion(add, first=Dense(2, 2), second=Dense(2, 3))"
    assert model[:1] == rs.PairwiseFusion(jnp.add, first=dense(2, 2))
    assert len(model) == 2
