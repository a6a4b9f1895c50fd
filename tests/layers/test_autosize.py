# SPDX-License-Identifier: Apache-2.0
"""Sizes filled in from an example: what is built, in which places, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.core.auto import holds_auto

KEY = jax.random.key(0)
auto = rs.auto


class Block(rs.Module):
    """What a user writes: sizes inside that the caller need not know."""

    hidden: rs.Dense
    output: rs.Dense

    def __init__(self, in_size, out_size):
        self.hidden = rs.Dense(in_size, 7, rs.relu)
        self.output = rs.Dense(auto, out_size)

    def __call__(self, x):
        return self.output(self.hidden(x))


class Idle(rs.Module):
    used: rs.Dense
    idle: rs.Dense

    def __call__(self, x):
        return self.used(x)


FILLED = {
    "Dense": (lambda n: rs.Dense(n, 3, rs.relu), 5, [(2, 5)]),
    "Dense, both sizes": (lambda n: rs.Dense(n, 2 * n + 1), 5, [(2, 5)]),
    "Scale": (rs.Scale, 5, [(2, 5)]),
    "LayerNorm": (rs.LayerNorm, 5, [(2, 4, 5)]),
    "BatchNorm": (lambda n: rs.BatchNorm(n, rs.relu, momentum=0.2), 5, [(2, 4, 4, 5)]),
    "Conv": (lambda n: rs.Conv((3, 3), n, 8), 3, [(1, 8, 8, 3)]),
    "a kernel": (lambda n: rs.Conv((n, 1), n, 8), 3, [(1, 8, 8, 3)]),
    "Bilinear": (lambda n: rs.Bilinear(n, 2), 4, [(3, 4), (3, 4)]),
    "in a chain": (lambda n: rs.Chain(rs.Dense(n, 3), rs.tanh), 5, [(2, 5)]),
    "in parallel": (lambda n: rs.Parallel(jnp.add, a=rs.Dense(n, 3), b=rs.tanh), 3, [(2, 3)]),
    "beside a connection": (
        lambda n: rs.SkipConnection(rs.Dense(n, n), rs.Bilinear(n, n // 2)),
        6,
        [(2, 6)],
    ),
    "made by a function": (lambda n: rs.Maxout(lambda: rs.Dense(n, 3), 4), 5, [(2, 5)]),
    "in one's own layer": (lambda n: rs.Chain(Block(n, 2)), 5, [(2, 5)]),
    "under remat": (lambda n: rs.remat(rs.Dense(n, 3)), 5, [(2, 5)]),
    "under vmap": (lambda n: rs.vmap(rs.Dense(n, 3)), 5, [(2, 5)]),
    "GroupNorm": (lambda n: rs.GroupNorm(n, 2), 6, [(2, 4, 6)]),
    "ConvTranspose": (lambda n: rs.ConvTranspose((2, 2), n, n // 2), 6, [(1, 3, 3, 6)]),
    "LSTM": (lambda n: rs.LSTM(n, 4), 5, [(2, 3, 5)]),
    "a cell": (lambda n: rs.Recurrence(rs.GRUCell(n, 4)), 5, [(2, 3, 5)]),
    "two cells": (
        lambda n: rs.Bidirectional(rs.RNNCell(n, 4), rs.RNNCell(n, 4)),
        5,
        [(2, 3, 5)],
    ),
    "under weight norm": (lambda n: rs.WeightNorm(rs.Dense(n, 3)), 5, [(2, 5)]),
    "under spectral norm": (lambda n: rs.SpectralNorm(rs.Dense(n, 3)), 5, [(2, 5)]),
    "deep under weight norm": (
        lambda n: rs.Chain(
            rs.Dense(n, 4), rs.WeightNorm(rs.Chain(rs.Dense(4, 3), mixed(n)), "layers[1].weight")
        ),
        3,
        [(2, 3)],
    ),
    "a stack of blocks": (
        lambda n: rs.TransformerEncoder([rs.TransformerEncoderBlock(n, heads=2) for _ in range(2)]),
        4,
        [(1, 3, 4)],
    ),
    "shared": (lambda n: twice(rs.share(rs.Dense(n, n))), 5, [(2, 5)]),
}


def mixed(size):
    """Make a layer whose size is known, or found in the middle of a chain."""
    return rs.Dense(size, 2)


def twice(layer):
    return rs.Chain(layer, rs.tanh, layer)


@pytest.mark.parametrize(("build", "size", "shapes"), FILLED.values(), ids=FILLED)
def test_a_size_filled_in_is_the_size_written_out(build, size, shapes):
    with rs.seed(0):
        filled = rs.autosize(build(auto), *shapes)
    with rs.seed(0):
        written = rs.autosize(build(size), *shapes)
    assert repr(filled) == repr(written)
    if "one's own" not in repr(build):
        assert jax.tree.structure(filled) == jax.tree.structure(written)
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    assert jax.eval_shape(filled, *inputs).shape == rs.outputsize(filled, *shapes)


@pytest.mark.parametrize("name", [n for n in FILLED if n not in ("Scale", "in one's own layer")])
def test_a_layer_filled_in_has_the_parameters_of_one_written_out(name):
    build, size, shapes = FILLED[name]
    with rs.seed(0):
        filled = rs.autosize(rs.Chain(build(auto), rs.identity), *shapes)
    with rs.seed(0):
        written = rs.Chain(build(size), rs.identity)
    assert filled == written


def test_the_example_of_the_documentation_of_flux():
    def model(first, second, third, fourth):
        return rs.Chain(
            rs.Conv((3, 3), first, 6, rs.relu, stride=2),
            rs.flatten,
            rs.Dense(second, second // 4, rs.relu),
            rs.SkipConnection(rs.Dense(third, third, rs.relu), jnp.add),
            rs.Dense(fourth, 10),
        )

    with rs.seed(0):
        filled = rs.autosize(model(*[auto] * 4), (1, 12, 12, 3))
    with rs.seed(0):
        assert filled == model(3, 150, 37, 37)


def test_other_inputs_and_axes_are_taken_by_place():
    layer = rs.Bilinear((auto, auto[1]), auto[1, -2])
    assert repr(rs.autosize(layer, (4, 3), (4, 5))) == "Bilinear((3, 5), 4)"
    norm = rs.LayerNorm((auto[0, -2], auto))
    assert repr(rs.autosize(norm, (2, 3, 5))) == "LayerNorm((3, 5))"
    assert repr(norm) == "LayerNorm((auto[0, -2], auto))"


TEXTS = {
    "auto": (auto, 7),
    "auto[1]": (auto[1], 9),
    "auto[0, 0]": (auto[0, 0], 2),
    "auto // 4": (auto // 4, 1),
    "15 // auto": (15 // auto, 2),
    "2 * auto + 1": (2 * auto + 1, 15),
    "(auto + 1) * 2": ((auto + 1) * 2, 16),
    "1 - auto * auto": (1 - auto * auto, -48),
    "auto - (auto - 3)": (auto - (auto - 3), 3),
    "auto // (auto // 2)": (auto // (auto // 2), 2),
    "auto + auto[1]": (auto + auto[1], 16),
    "3 + auto": (3 + auto, 10),
    "auto * 3 // 2": (auto * 3 // 2, 10),
}


@pytest.mark.parametrize("text", TEXTS)
def test_sizes_print_and_reckon_as_python_reads_them(text):
    size, expected = TEXTS[text]
    inputs = jnp.zeros((2, 7)), jnp.zeros((2, 9))
    assert repr(size) == text
    assert size.size(inputs) == expected
    again = eval(text, {"auto": auto})  # our own text
    assert (repr(again), again.size(inputs)) == (text, expected)


def test_only_whole_numbers_are_reckoned_with():
    for call in (lambda: auto * 1.5, lambda: auto + True, lambda: "a" * auto, lambda: auto - None):
        with pytest.raises(rs.RangeError, match="a whole number to reckon with"):
            call()
    with pytest.raises(rs.RangeError, match="round down with auto // 2"):
        auto / 2
    with pytest.raises(rs.RangeError, match="input"):
        auto[-1]
    with pytest.raises(rs.RangeError, match="an axis as a whole number"):
        auto[0, None]


def test_a_size_is_found_in_tuples_and_lists_only():
    assert holds_auto((1, [auto + 1]))
    assert not holds_auto((1, 2, {"a": 3}))
    assert not holds_auto({"a": auto})


def test_arguments_by_name_and_the_key_are_kept():
    layer = rs.Dense(in_size=auto, out_size=3, bias=False, key=KEY)
    assert repr(layer) == "Dense(in_size=auto, out_size=3, bias=False)"
    assert rs.autosize(layer, (1, 5)) == rs.Dense(5, 3, bias=False, key=KEY)


def test_an_example_may_be_an_array_or_whole_numbers():
    model = rs.Chain(rs.Embedding(7, 4), rs.Dense(auto, 3))
    built = rs.autosize(model, np.zeros((2, 5), int))
    assert repr(built) == "Chain(Embedding(7, 4), Dense(4, 3))"
    assert built[0] == model[0]
    assert repr(rs.autosize(model, (2, 5), dtype=jnp.int32)) == repr(built)
    assert repr(rs.autosize(rs.Dense(auto, 3), jax.ShapeDtypeStruct((2, 6), jnp.bfloat16))) == (
        "Dense(6, 3)"
    )


def test_a_finished_model_is_returned_as_it_is():
    model = rs.Chain(rs.Dense(2, 3), rs.BatchNorm(3))
    assert rs.autosize(model, (4, 2)) == model


def test_a_layer_that_looks_inside_waits_with_the_one_inside():
    layer = rs.WeightNorm(rs.Dense(auto, 3))
    assert repr(layer) == "WeightNorm(Dense(auto, 3))"
    assert repr(rs.autosize(rs.Chain(layer), (2, 5))) == "Chain(WeightNorm(Dense(5, 3)))"
    with pytest.raises(rs.StateError):
        layer(jnp.ones((2, 5)))


def test_a_pinned_mode_goes_over_to_the_layer():
    model = rs.testmode(rs.Chain(rs.BatchNorm(auto), rs.Dense(auto, 2)))
    assert not any(m.training for m in rs.modules(rs.autosize(model, (3, 4))).values())
    pinned = rs.autosize(rs.trainmode(rs.Chain(rs.Dense(auto, 2))), (3, 4))
    assert pinned[0].training


def test_a_layer_filled_in_trains_and_is_saved(tmp_path):
    model = rs.autosize(rs.Chain(rs.Dense(auto, 4, rs.tanh), rs.Dense(auto, 1)), (5, 3))
    grads = rs.gradient(lambda m: (m(jnp.ones((5, 3))) ** 2).sum(), model)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, model)
    rs.save(tmp_path / "model.safetensors", model)
    assert rs.load(tmp_path / "model.safetensors", like=model) == model


# --- refusals ---------------------------------------------------------------------------

UNFINISHED = {
    "call": lambda m: m(jnp.ones((2, 3))),
    "jit": lambda m: jax.jit(m)(jnp.ones((2, 3))),
    "gradient": lambda m: rs.gradient(lambda m: m(jnp.ones((2, 3))).sum(), m),
    "setup": lambda m: rs.setup(rs.Adam(), m),
    "trainables": rs.trainables,
    "destructure": rs.destructure,
    "partition": rs.partition,
    "summary": rs.summary,
    "summary with an input": lambda m: rs.summary(m, (2, 3)),
    "outputsize": lambda m: rs.outputsize(m, (2, 3)),
    "freeze": lambda m: rs.freeze(m, "layers[0]"),
    "bf16": rs.bf16,
    "recording": lambda m: rs.recording(lambda m: m(jnp.ones((2, 3))), m),
    "save": lambda m: rs.save("nowhere.safetensors", m),
    "load": lambda m: rs.load("nowhere.safetensors", like=m),
    "scan_layers": lambda m: rs.scan_layers([m, m]),
}


@pytest.mark.parametrize("use", UNFINISHED.values(), ids=UNFINISHED)
def test_a_model_is_used_after_its_sizes_are_filled_in(use):
    model = rs.Chain(rs.Dense(3, 4), rs.Dense(auto, 2))
    with pytest.raises(rs.StateError) as caught:
        use(model)
    assert "Dense(auto, 2)" in str(caught.value)
    assert "layers[1]" in str(caught.value)
    assert "rs.autosize(model, " in caught.value.fix


def test_a_layer_without_sizes_has_no_arrays():
    layer = rs.Dense(auto, 2)
    assert not hasattr(layer, "weight")
    with pytest.raises(AttributeError, match=r"built by rosin\.autosize"):
        layer.weight


REFUSED = {
    "no input": (lambda: rs.autosize(rs.Dense(auto, 2)), rs.StructureError),
    "a layer that is not called": (
        lambda: rs.autosize(Idle(rs.Dense(auto, 2), rs.Dense(auto, 2)), (1, 3)),
        rs.StructureError,
    ),
    "a size of nothing": (lambda: rs.autosize(rs.Dense(auto // 4, 2), (1, 3)), rs.RangeError),
    "an input that is not there": (
        lambda: rs.autosize(rs.Dense(auto[1], 2), (1, 3)),
        rs.StructureError,
    ),
    "an axis that is not there": (lambda: rs.autosize(rs.Scale(auto), ()), rs.ShapeError),
    "a vocabulary": (
        lambda: rs.autosize(rs.Embedding(auto, 2), (2, 3), dtype=jnp.int32),
        rs.DtypeError,
    ),
    "two sizes for one layer": (
        lambda: rs.autosize(twice(rs.share(rs.Dense(auto, 4))), (2, 3)),
        rs.ShapeError,
    ),
    "no function": (lambda: rs.autosize(3, (2, 3)), rs.StructureError),
}


@pytest.mark.parametrize(("call", "kind"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_filled_in_is_refused(call, kind):
    with pytest.raises(kind):
        call()


def test_an_error_says_where_in_the_model():
    model = rs.Chain(rs.Dense(auto, 4), rs.Chain(rs.Conv((3, 3), auto, 2)))
    with pytest.raises(rs.ShapeError) as caught:
        rs.autosize(model, (2, 3))
    assert caught.value.where == ".layers[1].layers[0]"
    assert caught.value.subject == "Conv((3, 3), 4, 2)"
    with pytest.raises(rs.RangeError) as caught:
        rs.autosize(rs.Chain(rs.tanh, rs.Dense(auto - 3, 4)), (2, 3))
    assert caught.value.where == ".layers[1]"


def test_a_build_that_failed_leaves_nothing_behind():
    layer = rs.Dense(auto, 4)
    with pytest.raises(rs.StructureError):
        rs.autosize(Idle(layer, rs.Dense(auto, 2)), (1, 3))
    with pytest.raises(rs.StateError):
        layer(jnp.ones((1, 3)))
    assert repr(rs.autosize(layer, (1, 5))) == "Dense(5, 4)"
