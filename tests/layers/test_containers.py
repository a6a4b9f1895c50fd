# SPDX-License-Identifier: Apache-2.0
"""Chain, Parallel, SkipConnection: how layers are put together and reached."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(3, 2)


def dense(a, b, *more):
    return rs.Dense(a, b, *more, key=KEY)


def test_a_chain_is_the_composition_of_its_layers():
    first, second = dense(2, 4, jnp.tanh), dense(4, 1)
    np.testing.assert_array_equal(rs.Chain(first, second)(X), second(first(X)))


def test_an_empty_chain_returns_its_argument():
    assert rs.Chain()(X) is X


def test_the_first_layer_of_a_chain_may_take_several_arguments():
    assert (rs.Chain(jnp.add, jnp.negative)(X, X) == -2 * X).all()


def test_a_tuple_is_taken_apart_so_that_a_chain_may_pass_on_several():
    a, b = dense(2, 3), dense(3, 3)
    several = rs.Chain(lambda x, y: (x, y), rs.Parallel(jnp.subtract, a, b))
    y = jnp.ones((3, 3))
    np.testing.assert_array_equal(several(X, y), a(X) - b(y))
    one = rs.Parallel(jnp.subtract, a)
    np.testing.assert_array_equal(one((X, 2 * X)), a(X) - a(2 * X))
    with pytest.raises(rs.ShapeError) as caught:
        rs.Parallel(jnp.add, a, b)((X, y, y))
    assert caught.value.got == "3 arguments"


@pytest.mark.parametrize(
    "function",
    [jnp.tanh, jax.nn.relu, lambda x: 2 * x, functools.partial(jnp.sum, axis=-1)],
)
def test_any_callable_may_stand_in_a_chain(function):
    model = rs.Chain(dense(2, 3), function)
    np.testing.assert_allclose(jax.jit(model)(X), function(dense(2, 3)(X)), rtol=1e-6)
    assert model[1] is function
    assert len(rs.trainables(model)) == 2


def test_a_callable_that_jax_knows_as_a_tree_keeps_its_leaves():
    scaled = jax.tree_util.Partial(jnp.multiply, jnp.full(3, 2.0))
    model = rs.Chain(dense(2, 3), scaled)
    assert len(rs.trainables(model)) == 3
    np.testing.assert_allclose(model(X), 2 * dense(2, 3)(X))


def test_a_chain_is_indexed_sliced_counted_and_gone_through():
    chain = rs.Chain(dense(2, 3), rs.relu, dense(3, 1))
    assert (len(chain), chain[0], chain[-1], chain[1]) == (3, chain.layers[0], dense(3, 1), rs.relu)
    assert list(chain) == [dense(2, 3), rs.relu, dense(3, 1)]
    assert chain[:2] == rs.Chain(dense(2, 3), rs.relu)
    with pytest.raises(IndexError):
        chain[3]


def test_a_chain_with_names_is_reached_by_name():
    chain = rs.Chain(encoder=dense(2, 3), head=dense(3, 1))
    assert chain["head"] == dense(3, 1)
    assert repr(chain) == "Chain(encoder=Dense(2, 3), head=Dense(3, 1))"
    assert chain[1:].names == ("head",)
    with pytest.raises(rs.StructureError) as caught:
        chain["haed"]
    assert "encoder, head" in caught.value.expected


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: rs.Chain(dense(2, 3), other=dense(3, 1)), "with names"),
        (lambda: rs.Chain([dense(2, 3)]), "arguments of their own"),
        (lambda: rs.Chain(rs.Dense), "a layer"),
        (lambda: rs.Chain(3), "callable"),
        (lambda: rs.Parallel(jnp.add), "at least one layer"),
        (lambda: rs.SkipConnection(dense(2, 2), None), "callable"),
    ],
)
def test_what_is_no_layer_is_refused(build, word):
    with pytest.raises(rs.StructureError) as caught:
        build()
    assert word in caught.value.expected


def test_a_long_chain_prints_one_layer_a_line():
    text = repr(rs.Chain(*(dense(100 + i, 101 + i, rs.relu) for i in range(4))))
    assert text.splitlines()[1] == "    Dense(100, 101, relu),"
    assert text.endswith(",\n)")


def test_parallel_gives_one_input_to_all_and_connects_once():
    a, b = dense(2, 3), dense(2, 3, rs.tanh)
    np.testing.assert_array_equal(rs.Parallel(jnp.subtract, a, b)(X), a(X) - b(X))


def test_parallel_gives_each_input_to_its_layer():
    a, b = dense(2, 3), dense(3, 3)
    y = jnp.ones((3, 3))
    np.testing.assert_array_equal(rs.Parallel(jnp.add, left=a, right=b)(X, y), a(X) + b(y))


def test_a_single_layer_in_parallel_maps_over_the_inputs():
    model = rs.Parallel(jnp.subtract, dense(2, 3))
    np.testing.assert_array_equal(model(X, 2 * X), dense(2, 3)(X) - dense(2, 3)(2 * X))


def test_parallel_refuses_a_wrong_number_of_inputs():
    model = rs.Parallel(jnp.add, dense(2, 3), dense(2, 3))
    for inputs in [(), (X, X, X)]:
        with pytest.raises(rs.ShapeError) as caught:
            model(*inputs)
        assert caught.value.got == f"{len(inputs)} arguments"


def test_a_skip_connection_puts_the_layer_s_output_first():
    layer = dense(2, 2)
    np.testing.assert_array_equal(rs.SkipConnection(layer, jnp.subtract)(X), layer(X) - X)


def test_a_connection_may_have_parameters():
    bilinear = rs.SkipConnection(dense(2, 2), rs.Chain(jnp.add, dense(2, 1)))
    assert len(rs.trainables(bilinear)) == 4
    grads = rs.gradient(lambda m: m(X).sum(), bilinear)
    assert grads.connection.layers[1].weight.shape == (2, 1)


def test_activations_are_what_each_layer_returns():
    chain = rs.Chain(dense(2, 3, rs.tanh), rs.relu, dense(3, 1))
    first, second, third = rs.activations(chain, X)
    np.testing.assert_array_equal(first, chain[0](X))
    np.testing.assert_array_equal(second, chain[:2](X))
    np.testing.assert_array_equal(third, chain(X))
    assert rs.activations(rs.Chain(), X) == ()
    np.testing.assert_array_equal(rs.activations(rs.Chain(jnp.add), X, X)[0], X + X)
    with pytest.raises(rs.StructureError, match="Chain"):
        rs.activations(dense(2, 3), X)


def test_activations_reach_shared_layers_and_are_differentiable():
    tied = rs.share(dense(2, 2))
    chain = rs.Chain(tied, rs.tanh, tied)
    assert len(rs.activations(chain, X)) == 3
    grads = rs.gradient(lambda m: sum(y.sum() for y in rs.activations(m, X)), chain)
    assert grads.layers[0].layer.weight.any()


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda layer: rs.Chain(layers=layer), "layers"),
        (lambda layer: rs.Parallel(jnp.add, layers=layer), "layers"),
        (lambda layer: rs.Parallel(jnp.add, connection=layer), "connection"),
    ],
)
def test_names_of_fields_are_no_names_of_layers(build, name):
    with pytest.raises(rs.StructureError) as caught:
        build(dense(2, 3))
    assert caught.value.got == name


def test_a_chain_is_lengthened_by_unpacking_it():
    chain = rs.Chain(dense(2, 3), rs.relu)
    longer = rs.Chain(*chain, dense(3, 1))
    assert longer[:2] == chain
    named = rs.Chain(encoder=dense(2, 3), act=rs.relu)
    longer = rs.Chain(**dict(zip(named.names, named, strict=True)), head=dense(3, 1))
    assert longer.names == ("encoder", "act", "head")
    assert longer[:2] == named


def test_a_slice_of_parallel_is_parallel():
    model = rs.Parallel(jnp.add, a=dense(2, 3), b=dense(2, 3), c=dense(2, 3))
    assert model[1:] == rs.Parallel(jnp.add, b=dense(2, 3), c=dense(2, 3))
    assert model["b"] == model[1] == dense(2, 3)


def test_a_connection_is_called_once_for_any_number_of_layers():
    calls = []

    def connection(*outputs):
        calls.append(len(outputs))
        return jnp.concatenate(outputs, axis=-1)

    model = rs.Parallel(connection, *(dense(2, n) for n in (1, 2, 3)))
    assert model(X).shape == (3, 6)
    assert calls == [3]


def test_every_map_over_a_chain_keeps_its_names():
    chain = rs.Chain(encoder=dense(2, 3), head=dense(3, 1))
    doubled = jax.tree.map(lambda leaf: 2 * leaf, chain)
    assert doubled.names == chain.names
    np.testing.assert_array_equal(doubled["head"].weight, 2 * chain["head"].weight)
