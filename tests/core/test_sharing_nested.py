# SPDX-License-Identifier: Apache-2.0
"""Shared layers inside shared layers, settled in any order: still one set of leaves for each."""

import pickle
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.gradient import gradient, withgradient
from rosin.core.module import Module
from rosin.core.sharing import Shared, SharedAgain, share
from rosin.core.surgery import at
from rosin.core.transforms import remat
from rosin.core.tree import freeze, trainables
from rosin.core.tree import testmode as pin_to_inference
from rosin.core.types import Array
from rosin.errors import StateError, StructureError
from tests.core.toys import Affine, Seq, X

ONE = jnp.float32(0.7)


class Wave(Module):
    weight: Array

    def __call__(self, x):
        return jnp.sin(x * self.weight + 0.1)


class Parts(Module):
    parts: dict[str, Any]

    def __call__(self, x):
        for layer in self.parts.values():
            x = layer(x)
        return x


def wave(number):
    return Wave(jnp.float32(number))


def run(waves, x):
    for layer in waves:
        x = layer(x)
    return x


def expect_tied(model, waves):
    """Compare with the plain layers in a row: value, number of leaves, gradient."""
    np.testing.assert_allclose(model(ONE), run(waves, ONE), rtol=1e-5)
    weights = {float(layer.weight): layer.weight for layer in waves}
    assert len(jax.tree.leaves(model)) == len(weights)

    def plain(weights):
        return run([Wave(weights[float(layer.weight)]) for layer in waves], ONE)

    expected = jax.grad(plain)(weights)
    value, grads, _ = withgradient(lambda m: m(ONE), model)
    np.testing.assert_allclose(value, run(waves, ONE), rtol=1e-5)
    for weight, slope in zip(trainables(model), trainables(grads), strict=True):
        np.testing.assert_allclose(slope, expected[float(weight)], rtol=1e-4, atol=1e-6)


def built(draw, depth, pool):
    """Return a random model, and its waves in the order they are called."""
    choice = draw.random()
    if choice < 0.35 and pool:
        return draw.choice(pool)
    if not depth or choice < 0.5:
        layer = wave(draw.uniform(0.3, 2))
        return layer, [layer]
    parts = [built(draw, depth - 1, pool) for _ in range(draw.randint(1, 3))]
    layers, waves = [part for part, _ in parts], [one for _, some in parts for one in some]
    make = draw.choice(
        [
            lambda: Seq(*layers),
            lambda: Parts({f"k{i}": layer for i, layer in enumerate(layers)}),
            lambda: remat(Seq(*layers)),
        ]
    )
    model = make()
    if draw.random() < 0.3:
        pool.append((share(model), waves))
        return pool[-1]
    return model, waves


@pytest.mark.parametrize("seed", range(40))
def test_any_nesting_computes_what_the_plain_layers_do(seed):
    draw = random.Random(seed)
    pool = [(share(layer), [layer]) for layer in map(wave, (0.5, 1.5)[: draw.randint(1, 2)])]
    model, waves = built(draw, 4, pool)
    expect_tied(Seq(model), waves)


# --- the orders that are hard, one by one -----------------------------------------------


A, B, C = wave(0.5), wave(1.5), wave(1.1)


def test_a_layer_settled_inside_joins_one_outside():
    a = share(A)
    expect_tied(Seq(Seq(a, B, a), a), [A, B, A, A])
    expect_tied(Seq(a, Seq(a, B, a)), [A, A, B, A])


def test_two_parts_that_were_settled_apart_are_joined():
    a = share(A)
    expect_tied(Seq(Seq(a, a), Seq(B, a, a)), [A, A, B, A, A])


def test_a_shared_layer_holds_a_shared_layer():
    inner = share(A)
    outer = share(Seq(inner, B))
    expect_tied(Seq(outer, outer, inner), [A, B, A, B, A])
    expect_tied(Seq(inner, outer, outer), [A, A, B, A, B])
    expect_tied(Seq(Seq(inner, outer), outer), [A, A, B, A, B])
    expect_tied(Seq(outer, Seq(inner, outer)), [A, B, A, A, B])
    expect_tied(Seq(outer, Seq(outer, inner)), [A, B, A, B, A])


def test_a_layer_that_is_found_may_hold_further_places_of_its_own():
    inner = share(A)
    outer = share(Seq(inner))
    expect_tied(Seq(Seq(inner, outer), Seq(outer, B)), [A, A, A, B])


def test_a_model_that_stands_in_another_twice_is_two_models():
    a = share(A)
    net = Seq(a, B, a)
    for pair in (Seq(net, net), Seq(net, jax.tree.map(jnp.copy, net)), Seq(net, freeze(net))):
        assert len(jax.tree.leaves(pair)) == 4
        np.testing.assert_allclose(pair(ONE), net(net(ONE)), rtol=1e-6)
    changed = at(Seq(net, net), "layers[1].layers[0].layer.weight").set(C.weight)
    np.testing.assert_allclose(changed(ONE), run([A, B, A, C, B, C], ONE), rtol=1e-6)


def test_models_that_were_trained_apart_stay_apart():
    a = share(A)
    first, second = Seq(a, a), Seq(B, a, a)
    moved = jax.tree.map(lambda leaf: leaf + 1, second)
    both = Seq(first, moved)
    assert len(jax.tree.leaves(both)) == 3
    np.testing.assert_allclose(both(ONE), moved(first(ONE)), rtol=1e-6)


def test_a_layer_added_after_training_is_refused_as_not_the_same():
    a = share(A)
    with pytest.raises(StructureError, match="changed one by one"):
        Seq(jax.tree.map(lambda leaf: leaf + 1, Seq(a, a)), a)


@pytest.mark.parametrize(
    "again",
    [
        lambda m: pickle.loads(pickle.dumps(m)),
        jax.jit(lambda m: m),
        pin_to_inference,
        lambda m: m.replace(layers=m.layers),
        lambda m: Seq(*m.layers),
    ],
)
def test_ties_survive(again):
    a = share(A)
    expect_tied(again(Seq(a, B, Seq(a))), [A, B, A])


# --- parts that are put elsewhere -------------------------------------------------------


def test_layers_may_change_places():
    a = share(A)
    model = Seq(a, B, a, C)
    expect_tied(model.replace(layers=model.layers[::-1]), [C, A, B, A])
    expect_tied(model.replace(layers=(wave(0.9), *model.layers)), [wave(0.9), A, B, A, C])
    expect_tied(model.replace(layers=model.layers[1:]), [B, A, C])
    expect_tied(model.replace(layers=model.layers[:2]), [A, B])
    assert type(model.replace(layers=model.layers[1:]).layers[1]) is Shared


def test_the_next_of_several_places_takes_over():
    a = share(A)
    model = Seq(a, B, a, Seq(a))
    shorter = model.replace(layers=model.layers[1:])
    expect_tied(shorter, [B, A, A])
    assert type(shorter.layers[1]) is Shared
    assert type(shorter.layers[2].layers[0]) is SharedAgain


def test_a_part_may_be_wrapped_in_place():
    a = share(A)
    model = Seq(a, B, Seq(a))
    expect_tied(at(model, "layers[2]").apply(remat), [A, B, A])
    expect_tied(at(model, "layers[0]").apply(remat), [A, B, A])


def test_a_new_layer_of_an_old_name_is_another():
    a, b = share(A), share(B)
    model = Seq(a, C, a)
    longer = model.replace(layers=(b, *model.layers, b))
    expect_tied(longer, [B, A, C, A, B])
    names = {str(node.name) for node in (*longer.layers[:2], longer.layers[-1]) if node is not C}
    assert len(names) == 2


def test_a_part_that_calls_its_own_layer_by_the_same_name_is_not_mistaken():
    a, b = share(A), share(B)
    model = Seq(a, C, a)
    expect_tied(model.replace(layers=(Seq(b, b), *model.layers)), [B, B, A, C, A])
    c = share(wave(0.9))
    expect_tied(model.replace(layers=(Seq(c, c), Seq(b, b), *model.layers)).layers[1], [B, B])


def test_copies_with_other_arrays_may_stand_in_a_plain_tree():
    a = share(A)
    moved = jax.tree.map(lambda leaf: leaf + 1, a)
    grads = gradient(lambda pair: pair[0](pair[1](ONE)), (a, moved))
    assert len(jax.tree.leaves(grads)) == 2


def test_further_places_of_another_model_find_nothing():
    a, b = share(A), share(B)
    one, two = Seq(a, C, Seq(a)), Seq(C, b, b)
    with pytest.raises(StateError, match="as a part of the model that holds all its places"):
        two.replace(layers=(*two.layers, one.layers[2]))(ONE)
    assert Seq(one.layers[2], two.layers[2]).layers[0] is one.layers[2]


def test_no_link_is_left_when_nothing_is_shared_any_more():
    a = share(A)
    model = Seq(a, B, a)
    assert model.replace(layers=(A, B)) == Seq(A, B)


# --- inside transforms and compiled functions -------------------------------------------


def test_a_compiled_part_never_keeps_old_weights():
    class Compiled(Module):
        inner: Module
        again: Module
        run = staticmethod(jax.jit(lambda layer, x: layer(x)))

        def __call__(self, x):
            return self.run(self.again, self.inner(x))

    tied = share(Affine(3, 3))
    with pytest.raises(StateError, match="a part that JAX rebuilt"):
        Compiled(tied, tied)(X)


def test_a_plain_closure_inside_the_call_sees_the_layer():
    class Closing(Module):
        first: Module
        again: Module

        def __call__(self, x):
            x = jax.vmap(lambda row: self.again(row[None])[0])(self.first(x))
            return jax.lax.scan(lambda c, _: (self.again(c), None), x, None, length=2)[0]

    tied = share(Affine(3, 3))
    model = Closing(tied, tied)
    expected = X
    for _ in range(4):
        expected = tied(expected)
    np.testing.assert_allclose(model(X), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(model)(X), expected, rtol=1e-5)
    assert gradient(lambda m: m(X).sum(), model).first.layer.weight.any()
