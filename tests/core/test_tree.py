# SPDX-License-Identifier: Apache-2.0
"""A model as a whole: split and joined, listed, flattened, pinned, frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.locate import walk_modules
from rosin.core.module import Module
from rosin.core.paths import path_string
from rosin.core.tree import (
    Split,
    automode,
    combine,
    destructure,
    expect_trainable,
    freeze,
    modules,
    partition,
    slots,
    thaw,
    trainables,
    trainmode,
)
from rosin.core.tree import testmode as pin_to_inference
from rosin.core.types import Array, Buffer, Static
from rosin.errors import DtypeError, ShapeError, StructureError
from tests.core.toys import Affine, Centre, Noise, Seq, X, array, assert_trees_close


class Many(Module):
    """Leaves of every kind, directly and in a dict beside modules."""

    weights: tuple[Array, ...]
    parts: dict[str, Array]
    counts: Array
    inner: Buffer[Affine]
    size: Static[int] = 3

    def __init__(self):
        self.weights = (
            array(2),
            array(1).astype(jnp.bfloat16),
            jax.lax.complex(array(2), array(2)),
        )
        self.parts = {"encoder": Affine(2, 2), "bias": array(3), "state": Noise()}
        self.counts = jnp.arange(3)
        self.inner = Affine(1, 1)


def model():
    return Seq(Affine(3, 2), Centre(2), Noise(), Affine(2, 2, bias=False))


PARAMETERS = ["layers[0].weight", "layers[0].bias", "layers[1].scale", "layers[3].weight"]
MANY = [
    *("weights[0]", "weights[1]", "weights[2]"),
    *("parts.bias", "parts.encoder.weight", "parts.encoder.bias"),
]


# --- leaves and their kinds -------------------------------------------------------------


def test_slots_name_every_leaf_in_the_order_of_jax():
    tree = {"a": (Many(), model())}
    leaves, structure = jax.tree.flatten(tree)
    paths = [path_string(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(tree)]
    assert [slot.path for slot in slots(structure)] == paths
    assert len(paths) == len(leaves)


def test_what_stands_in_a_buffer_is_a_buffer_at_any_depth():
    buffers = [slot.path for slot in slots(jax.tree.structure(Many())) if slot.buffer]
    assert buffers == ["parts.state.key", "inner.weight", "inner.bias"]


def test_trainables_are_the_floats_that_are_neither_buffers_nor_frozen():
    assert list(trainables(model(), paths=True)) == PARAMETERS
    assert list(trainables(Many(), paths=True)) == MANY
    listed = trainables(model())
    assert [leaf.shape for leaf in listed] == [(3, 2), (2,), (2,), (2, 2)]


def test_arrays_outside_of_modules_are_trainable_too():
    assert list(trainables({"a": jnp.ones(1), "b": np.ones(1), "c": 3}, paths=True)) == ["a", "b"]


def test_a_model_of_descriptions_has_the_same_trainables():
    described = jax.eval_shape(model)
    assert list(trainables(described, paths=True)) == PARAMETERS


def test_split_takes_a_tree_apart_and_joins_it_again():
    tree = Many()
    split = Split(tree)
    assert split.join(split.trained, split.rest) == tree
    assert split.rest_of(tree) == split.rest
    only = split.only([0] * len(split.trained))
    assert jax.tree.leaves(only) == [0] * len(MANY)
    assert only.counts is None
    assert only.parts["state"].key is None
    assert split.paths == MANY


# --- partition and combine --------------------------------------------------------------


def test_partition_gives_two_trees_of_the_same_shape():
    parameters, state = partition(model())
    assert [leaf.shape for leaf in jax.tree.leaves(parameters)] == [(3, 2), (2,), (2,), (2, 2)]
    assert parameters.layers[1].mean is None
    assert state.layers[0].weight is None
    assert len(jax.tree.leaves(state)) == 3
    assert combine(parameters, state) == combine(state, parameters) == model()


def test_partition_by_a_choice_of_ones_own():
    biases, others = partition(model(), lambda path, leaf: path.endswith("bias") and leaf.size == 2)
    assert [leaf.shape for leaf in jax.tree.leaves(biases)] == [(2,)]
    assert combine(biases, others) == model()


def test_combine_takes_changed_copies():
    parameters, state = partition(model())
    moved = combine(jax.tree.map(lambda leaf: leaf + 1, parameters), state)
    np.testing.assert_array_equal(moved.layers[0].weight, model().layers[0].weight + 1)


def test_combine_refuses_trees_that_do_not_belong_together():
    parameters, state = partition(model())
    with pytest.raises(StructureError, match="two trees built alike"):
        combine(parameters, state.layers)
    with pytest.raises(StructureError, match="None where the other has a leaf"):
        combine(parameters, model())


# --- destructure ------------------------------------------------------------------------


def test_destructure_lays_the_parameters_end_to_end():
    flat, rebuild = destructure(model())
    parts = [np.ravel(leaf) for leaf in trainables(model())]
    np.testing.assert_array_equal(flat, np.concatenate(parts))
    assert rebuild(flat) == model()
    moved = rebuild(flat + 1)
    np.testing.assert_array_equal(moved.layers[3].weight, model().layers[3].weight + 1)
    assert moved.layers[1].mean is not None


def test_destructure_promotes_dtypes_and_restores_them():
    tree = Many()
    flat, rebuild = destructure(tree)
    assert flat.dtype == jnp.complex64
    assert rebuild(flat) == tree
    assert [leaf.dtype for leaf in trainables(rebuild(flat + 1j))] == [
        leaf.dtype for leaf in trainables(tree)
    ]


def test_destructure_can_be_differentiated():
    layer = Affine(3, 2)
    flat, rebuild = destructure(layer)
    gradient = rebuild(jax.grad(lambda v: rebuild(v)(X).sum())(flat))
    expected = jax.grad(lambda m: m(X).sum())(layer)
    assert_trees_close(gradient, expected)


@pytest.mark.parametrize("change", [lambda v: v[:-1], lambda v: v[None], lambda v: v[0]])
def test_a_vector_of_another_length_is_refused(change):
    flat, rebuild = destructure(model())
    with pytest.raises(ShapeError) as caught:
        rebuild(change(flat))
    assert caught.value.expected == "a vector of shape (14,)"


def test_a_model_without_parameters_has_an_empty_vector():
    flat, rebuild = destructure(Noise())
    assert (flat.shape, flat.dtype) == ((0,), jnp.float32)
    assert rebuild(flat) == Noise()


# --- modules ----------------------------------------------------------------------------


def test_modules_are_listed_outer_ones_first():
    tree = Seq(Many(), Seq(Affine(1, 1)))
    assert list(modules(tree)) == [
        *("", "layers[0]", "layers[0].parts.encoder", "layers[0].parts.state", "layers[0].inner"),
        *("layers[1]", "layers[1].layers[0]"),
    ]
    assert modules(tree)["layers[1]"] is tree.layers[1]
    assert list(modules((3, [tree.layers[1]]))) == ["[1][0]", "[1][0].layers[0]"]
    assert modules(jnp.ones(2)) == {}


# --- mode -------------------------------------------------------------------------------


def modes(tree):
    return {module.training for _, module in walk_modules(tree)}


def test_modes_reach_every_module_trainable_or_not():
    tree = {"a": (Seq(Many(), model()),)}
    assert modes(tree) == {False}
    assert modes(trainmode(tree)) == {True}
    assert modes(pin_to_inference(trainmode(tree))) == {False}
    assert modes(automode(trainmode(tree))) == {False}
    assert modes(tree) == {False}


def test_automode_gives_back_the_model_as_it_was():
    assert automode(trainmode(model())) == model()
    assert trainmode(model()) != model()


def test_the_mode_survives_what_jax_does():
    assert modes(jax.tree.map(jnp.copy, trainmode(model()))) == {True}
    assert jax.jit(lambda m: jnp.array(m.training))(trainmode(model()))


# --- freezing ---------------------------------------------------------------------------


FROZEN = {
    "a layer": ("layers[0]", ["layers[1].scale", "layers[3].weight"]),
    "a field": ("layers[0].bias", ["layers[0].weight", "layers[1].scale", "layers[3].weight"]),
    "any index": ("layers[*].weight", ["layers[0].bias", "layers[1].scale"]),
    "a field of layers": ("layers", []),
    "any steps": ("**.bias", ["layers[0].weight", "layers[1].scale", "layers[3].weight"]),
    "part of a name": ("layers[*].*s*", ["layers[0].weight", "layers[3].weight"]),
    "a key in quotes": ('["layers"]', []),
}


@pytest.mark.parametrize(("path", "left"), FROZEN.values(), ids=FROZEN)
def test_freezing_takes_parameters_out(path, left):
    frozen = freeze(model(), path)
    assert list(trainables(frozen, paths=True)) == left
    assert thaw(frozen, path) == model()
    assert thaw(frozen) == model()
    assert_trees_close(jax.tree.leaves(frozen), jax.tree.leaves(model()))


def test_freezing_reaches_into_dicts():
    left = list(trainables(freeze(Many(), "parts.encoder", "weights"), paths=True))
    assert left == ["parts.bias"]
    # A field is frozen as a whole, beside the modules in it.
    assert list(trainables(freeze(Many(), "parts"), paths=True)) == MANY[:3]


def test_freezing_without_paths_freezes_everything():
    assert trainables(freeze({"a": [model(), Many()]})) == []


def test_a_part_of_a_frozen_model_can_be_thawed():
    left = thaw(freeze(model()), "layers[3]", "layers[0].bias")
    assert list(trainables(left, paths=True)) == ["layers[0].bias", "layers[3].weight"]


def test_freezing_twice_is_freezing_once():
    once = freeze(model(), "layers[0]")
    assert freeze(once, "layers[0]") == once


def test_several_paths_may_overlap():
    assert freeze(model(), "layers[0]", "layers[0].weight") == freeze(model(), "layers[0]")


BAD_PATHS = {
    "no such layer": "layers[9]",
    "no such field": "layers[0].wieght",
    "a buffer": "layers[1].mean",
    "a layer of buffers": "layers[2]",
    "a field that is empty": "layers[3].bias",
    "a static field": "layers[0].activation",
    "too deep": "layers[0].weight[0]",
    "a glob": "**.bais",
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
@pytest.mark.parametrize("change", [freeze, thaw])
def test_a_path_to_nothing_that_can_be_trained_is_refused(path, change):
    with pytest.raises(StructureError) as caught:
        change(model(), "layers[0]", path)
    assert caught.value.got == repr(path)
    assert caught.value.subject == change.__name__
    assert caught.value.details == ("modules: layers[0], layers[1], layers[2], layers[3]",)


def test_the_field_of_the_nearest_name_is_suggested():
    with pytest.raises(StructureError) as caught:
        freeze(model(), "layers[0].wieght")
    assert caught.value.fix.endswith("; 'layers[0].weight' is the nearest")


def test_a_tree_without_modules_cannot_be_frozen():
    with pytest.raises(StructureError, match="no module inside"):
        freeze(jnp.ones(2))


NOTHING = {
    "whole numbers": (jnp.arange(3), "int32[3]"),
    "only state": (Noise(), "key<fry>[]"),
    "frozen": (freeze(Affine(3, 2)), "float32[2], float32[3,2]"),
    "nothing at all": ((), "no arrays at all"),
}


@pytest.mark.parametrize(("tree", "got"), NOTHING.values(), ids=NOTHING)
def test_a_model_with_nothing_to_train_is_refused(tree, got):
    with pytest.raises(DtypeError) as caught:
        expect_trainable(Split(tree), subject="setup")
    assert (caught.value.subject, caught.value.got) == ("setup", got)
