# SPDX-License-Identifier: Apache-2.0
"""`at` reads a place of a tree, or copies the tree with something else there."""

import collections
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from rosin.core.module import Module
from rosin.core.paths import parse_path
from rosin.core.surgery import at, reach
from rosin.core.types import Static
from rosin.errors import StateError, StructureError
from tests.core.toys import Affine, Centre, Seq, array


class Pair(NamedTuple):
    left: object
    right: object


class Holder(Module):
    parts: Any
    name: Static[tuple[str, ...]] = ("a", "b")


def model():
    return Seq(Affine(3, 2), Centre(2), Seq(Affine(2, 2)))


def holder():
    return Holder(
        {"a b": (array(1), array(2)), "plain": Affine(2, 2), "pair": Pair(array(3), None)}
    )


PLACES = {
    "layers[0].weight": model,
    "layers[2].layers[0].bias": model,
    "layers[1]": model,
    "layers": model,
    "": model,
    'parts["a b"][1]': holder,
    "parts.plain.weight": holder,
    "parts.pair.left": holder,
}


@pytest.mark.parametrize(("path", "make"), PLACES.items(), ids=PLACES)
def test_what_stands_at_a_place_can_be_read_and_changed(path, make):
    tree = make()
    before = at(tree, path).get()
    expression = "tree" + ("." if path and path[0] != "[" else "") + path
    expression = expression.replace("parts.plain", "parts['plain']").replace(
        "parts.pair", "parts['pair']"
    )
    assert before is eval(expression, {"tree": tree})
    leaves = jax.tree.leaves(before)
    after = at(tree, path).apply(lambda part: jax.tree.map(lambda leaf: leaf + 1, part))
    assert type(after) is type(tree)
    assert sum(
        a is not b for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(tree), strict=True)
    ) == len(leaves)
    for old, new in zip(leaves, jax.tree.leaves(at(after, path).get()), strict=True):
        assert (new == old + 1).all()


def test_set_puts_a_value_and_leaves_the_original():
    tree = model()
    other = at(tree, "layers[0].bias").set(jnp.zeros(2))
    assert not other.layers[0].bias.any()
    assert tree.layers[0].bias.any()
    assert other.layers[1] is tree.layers[1]


def test_a_static_field_is_a_place_too():
    assert at(model(), "layers[0].activation").set(jnp.sin).layers[0].activation is jnp.sin
    assert at(holder(), "name[1]").set("z").name == ("a", "z")


def test_a_star_stands_for_every_index():
    tree = Seq(Affine(3, 2), Affine(2, 2))
    assert [w.shape for w in at(tree, "layers[*].weight").get()] == [(3, 2), (2, 2)]
    zeroed = at(tree, "layers[*].bias").apply(jnp.zeros_like)
    assert not any(layer.bias.any() for layer in zeroed.layers)
    assert zeroed.layers[0].weight is tree.layers[0].weight
    assert len(at(tree, "layers[*]").get()) == 2
    assert at(Seq(tree), "layers[*]").get() == [tree]


def test_plain_trees_have_places_too():
    tree = ([1, (2, 3)], {"a": {5: 4}}, collections.OrderedDict(b=1))
    assert at(tree, "[0][1][0]").set(9) == ([1, (9, 3)], {"a": {5: 4}}, {"b": 1})
    assert at(tree, "[1].a[5]").get() == 4
    assert at(tree, "[1].a[5]").set(0)[1] == {"a": {5: 0}}
    assert type(at(tree, "[2].b").set(7)[2]) is collections.OrderedDict
    assert at((Pair(1, 2),), "[0].right").set(3) == (Pair(1, 3),)
    assert at(tree, "[*]").get() == list(tree)


def test_the_gradient_of_a_model_has_the_places_of_the_model():
    grads = jax.grad(lambda m: m.parts["plain"](jnp.ones((1, 2))).sum(), allow_int=True)(holder())
    assert at(grads, "parts.plain.bias").get().shape == (2,)
    assert type(at(grads.parts, "plain.bias").set(array(2))) is type(grads.parts)


WRONG = {
    "a field that is not there": (model, "layers[0].wieght", ".wieght", "Affine", "weight, bias"),
    "an index too high": (model, "layers[3]", "[3]", "tuple", "[0] to [2]"),
    "an index into a module": (model, "[0]", "[0]", "Seq", "layers"),
    "inside an array": (model, "layers[0].weight[0]", "[0]", "float32[3,2]", "nothing is inside"),
    "a key that is not there": (holder, "parts.z", "z", "FrozenDict", "'a b', 'pair', 'plain'"),
    "a field of a named tuple": (holder, "parts.pair.middle", "middle", "Pair", "left, right"),
    "in an empty tuple": (Seq, "layers[0]", "[0]", "tuple", "it is empty"),
    "any of an empty tuple": (Seq, "layers[*]", "[*]", "tuple", "it is empty"),
    "in an empty dict": (dict, "a", "a", "dict", "it is empty"),
    "in a module without fields": (type("Bare", (Module,), {}), "a", "a", "Bare", "no fields"),
}


@pytest.mark.parametrize(("make", "path", "step", "kind", "choices"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("use", [lambda p: p.get(), lambda p: p.set(1)])
def test_a_path_that_does_not_exist_is_refused(make, path, step, kind, choices, use):
    with pytest.raises(StructureError) as caught:
        use(at(make(), path))
    assert f"there is no {step.removeprefix('.')} in " in caught.value.expected
    assert kind in caught.value.expected
    assert choices in caught.value.fix
    assert path in caught.value.got


def test_what_is_set_is_checked_as_at_construction():
    with pytest.raises(StructureError, match="to hold arrays and modules"):
        at(model(), "layers[0].weight").set(3)


def test_a_dict_in_a_model_is_changed_in_a_copy_only():
    tree = holder()
    with pytest.raises(StateError):
        tree.parts["plain"] = 1
    assert at(tree, "parts.plain").set(None).parts["plain"] is None


def test_reach_follows_a_path_that_exists():
    tree = holder()
    assert reach(tree, parse_path("parts.plain")) is tree.parts["plain"]
    assert reach(tree, ()) is tree
