# SPDX-License-Identifier: Apache-2.0
"""Shared layers: one set of leaves, found from every place while the model is called."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.core.gradient import withgradient
from rosin.core.module import Module
from rosin.core.recording import recording
from rosin.core.sharing import Shared, SharedAgain, share
from rosin.core.transforms import remat, scan_layers, vmap
from rosin.core.tree import trainables
from rosin.core.types import Array
from rosin.errors import StateError, StructureError
from tests.core.toys import Affine, Centre, Noise, Seq, X


class Pair(Module):
    """Holds its parts in a dict."""

    parts: dict[str, Array]

    def __call__(self, x):
        return self.parts["b"](self.parts["a"](x))


def numpy_affine(layer, x):
    return np.tanh(x @ np.asarray(layer.weight) + np.asarray(layer.bias))


def squares(model):
    return (model(X) ** 2).sum()


def tied_model():
    tied = share(Affine(3, 3, seed=1))
    return Seq(tied, Affine(3, 3, seed=2), tied)


@pytest.mark.parametrize(
    "build",
    [
        lambda tied, other: Seq(tied, other, tied),
        lambda tied, other: Seq(Seq(tied), other, Seq(Seq(tied))),
        lambda tied, other: Seq(Seq(tied, other), tied),
        lambda tied, other: Pair({"a": Seq(tied, other), "b": tied}),
        lambda tied, other: Seq(tied, other, remat(Seq(tied))),
        lambda tied, other: Seq(remat(tied), other, vmap(tied)),
        lambda tied, other: remat(Seq(tied, other, tied)),
        lambda tied, other: Seq(remat(Seq(tied, scan_layers([other]))), tied),
    ],
)
def test_the_gradient_is_the_sum_over_all_places(build):
    first, middle = Affine(3, 3, jnp.sin, seed=1, bias=False), Affine(3, 3, seed=2)
    model = build(share(first), middle)

    def untied(one, two):
        return (jnp.sin(middle(jnp.sin(X @ one)) @ two) ** 2).sum()

    one, two = jax.grad(untied, (0, 1))(first.weight, first.weight)
    for run in (withgradient, jax.jit(withgradient, static_argnums=0)):
        value, grads, _ = run(squares, model)
        np.testing.assert_allclose(value, untied(first.weight, first.weight), rtol=1e-5)
        assert len(trainables(grads)) == 3
        found = [
            leaf for path, leaf in trainables(grads, paths=True).items() if ".layer.weight" in path
        ]
        np.testing.assert_allclose(found[0], one + two, rtol=1e-4, atol=1e-5)


def test_three_places_and_two_shared_layers_stay_apart():
    a, b = Affine(3, 3, seed=1), Affine(3, 3, seed=2)
    tied_a, tied_b = share(a), share(b)
    model = Seq(tied_a, tied_b, Seq(tied_b, tied_a), tied_a)
    expected = X
    for layer in (a, b, b, a, a):
        expected = numpy_affine(layer, expected)
    np.testing.assert_allclose(model(X), expected, rtol=1e-5)
    assert list(trainables(model, paths=True)) == [
        f"layers[{i}].layer.{name}" for i in range(2) for name in ("weight", "bias")
    ]


def test_layers_that_two_levels_call_by_the_same_name_stay_apart():
    a, b, c = (Affine(3, 3, seed=seed) for seed in (1, 2, 3))
    tied_a, tied_b, tied_c = share(a), share(b), share(c)
    left, right = Seq(tied_a, tied_a), Seq(tied_b, tied_b)
    model = Seq(tied_c, left, Seq(tied_c), right, tied_c)
    expected = X
    for layer in (c, a, a, c, b, b, c):
        expected = numpy_affine(layer, expected)
    np.testing.assert_allclose(model(X), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda m: m(X))(model), expected, rtol=1e-5)
    assert len(trainables(model)) == 6


def test_every_use_of_a_stateful_layer_sees_the_one_before():
    centre = share(Centre(3))
    y, new = recording(lambda m: m(X), Seq(centre, centre))
    once = (X - X.mean(0)) * np.float32(1.5)
    mean = 0.5 * (0.5 * X.mean(0)) + 0.5 * once.mean(0)
    np.testing.assert_allclose(y, once * 1.5, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new.layers[0].layer.mean, mean, atol=1e-6)
    assert new.layers[0].layer.steps == 2
    noise = share(Noise(3))
    y, new = recording(lambda m: m(jnp.zeros(4)), Seq(noise, noise))
    first, later = jax.random.split(jax.random.key(3))
    second, last = jax.random.split(later)
    expected = jax.random.normal(first, (4,)) + jax.random.normal(second, (4,))
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert new.layers[0].layer.key == last


def test_what_was_updated_at_the_first_place_is_used_at_all():
    model = tied_model()
    moved = jax.tree.map(lambda leaf: leaf + 0.25, model)
    expected = X
    for layer in (moved.layers[0].layer, moved.layers[1], moved.layers[0].layer):
        expected = numpy_affine(layer, expected)
    compiled = jax.jit(lambda m: m(X))
    assert not np.allclose(compiled(model), expected)
    np.testing.assert_allclose(compiled(moved), expected, rtol=1e-5)
    np.testing.assert_allclose(moved(X), expected, rtol=1e-5)


def test_a_layer_that_loses_its_first_place_moves_on_to_the_next():
    model = tied_model()
    layer, other = model.layers[0].layer, Affine(3, 3, seed=7)
    for changed in (
        model.replace(layers=(other, *model.layers[1:])),
        rs.at(model, "layers[0]").set(other),
    ):
        assert type(changed.layers[2]) is Shared
        assert changed.layers[2].layer == layer
        expected = numpy_affine(layer, numpy_affine(model.layers[1], numpy_affine(other, X)))
        np.testing.assert_allclose(changed(X), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda again: again(X),
        jax.jit(lambda part: part(X)),
        lambda again: Seq(again)(X),
        lambda again: recording(lambda part: part(X), again),
    ],
)
def test_a_further_place_is_not_called_outside_of_its_model(call):
    model = tied_model()
    with pytest.raises(StateError) as caught:
        call(model.layers[2])
    assert "the whole model" in caught.value.fix
    model(X)  # and it is not left open
    with pytest.raises(StateError):
        call(model.layers[2])


def test_a_part_that_jax_rebuilt_says_so():
    class Bare(Module):
        inner: Module

        def __call__(self, x):
            return jax.jit(lambda m, x: m(x))(self.inner, x)

    tied = share(Affine(3, 3))
    with pytest.raises(StateError) as caught:
        Seq(tied, Bare(tied))(X)
    assert caught.value.where == ".layers[1]…"


def test_both_places_in_a_plain_tree_are_refused(tmp_path):
    tied = share(Affine(3, 3))
    for tree, path in (((tied, tied), "[1]"), ({"a": [Seq(tied)], "b": Seq(tied)}, "b.layers[0]")):
        calls = {
            "withgradient": lambda tree: withgradient(lambda t: 0.0, tree),
            "recording": lambda tree: recording(lambda t: 0.0, tree),
            "setup": lambda tree: rs.setup(rs.Descent(0.1), tree),
            "save": lambda tree: rs.save(tmp_path / "x.safetensors", tree),
            "load": lambda tree: rs.load(tmp_path / "x.safetensors", like=tree),
        }
        for subject, call in calls.items():
            with pytest.raises(StructureError, match="shared layer") as caught:
                call(tree)
            if subject != "withgradient":  # it is the loss there
                assert caught.value.subject == subject
            assert path in caught.value.got
    assert not list(tmp_path.iterdir())
    rs.setup(rs.Descent(0.1), (tied, share(Affine(3, 3)), tied_model()))  # these are three


def test_two_builds_have_the_same_program_and_compile_once():
    traces = []

    @jax.jit
    def call(model):
        traces.append(model)
        return model(X)

    assert jax.tree.structure(tied_model()) == jax.tree.structure(tied_model())
    assert tied_model() == tied_model()
    np.testing.assert_array_equal(call(tied_model()), call(tied_model()))
    assert len(traces) == 1


def test_a_model_and_the_layer_that_was_shared_into_it_are_independent():
    tied = share(Affine(3, 3))
    first, second = Seq(tied, tied), Seq(Affine(3, 3, seed=5), tied, tied)
    np.testing.assert_allclose(first(X), tied(tied(X)), rtol=1e-6)
    np.testing.assert_allclose(second(X), tied(tied(Affine(3, 3, seed=5)(X))), rtol=1e-6)
    for copied in (copy.copy(first), copy.deepcopy(first)):
        assert copied == first
        np.testing.assert_array_equal(copied(X), first(X))


def test_places_whose_arrays_were_changed_one_by_one_are_refused():
    tied = share(Affine(3, 3))
    other = tied.replace(layer=Affine(3, 3, seed=8))
    with pytest.raises(StructureError, match="changed one by one"):
        Seq(tied, other)
    Seq(tied, share(other.layer))


def test_a_shared_layer_shows_what_the_layer_has():
    tied = share(Affine(3, 3))
    assert tied.weight is tied.layer.weight
    again = Seq(tied, tied).layers[1]
    assert type(again) is SharedAgain
    for place, name in ((tied, "nothing"), (again, "weight"), (again, "_private")):
        with pytest.raises(AttributeError):
            getattr(place, name)

    class Tied(Module):
        first: Module
        again: Module

        def __call__(self, x):
            return self.first(x) @ self.again.weight.T

    np.testing.assert_allclose(Tied(tied, tied)(X), tied(X) @ tied.weight.T, rtol=1e-6)


def test_it_prints_the_layer_and_further_places_print_the_name():
    tied = share(Centre(3))
    assert repr(tied) == f"Shared({Centre(3)!r})"
    assert (
        repr(Pair({"a": Noise(), "b": Seq(tied, tied)}).parts["b"].layers[1])
        == "SharedAgain('layers[0]')"
    )


@pytest.mark.parametrize("wrong", [3, None, jnp.ones(2)])
def test_only_what_can_be_called_is_shared(wrong):
    with pytest.raises(StructureError):
        share(wrong)
