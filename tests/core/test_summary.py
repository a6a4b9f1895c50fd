# SPDX-License-Identifier: Apache-2.0
"""The table of a model: every number in it counted by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.module import Module
from rosin.core.random import draw_key
from rosin.core.sharing import share
from rosin.core.summary import outputsize, summary
from rosin.core.transforms import remat, scan_layers, vmap
from rosin.core.tree import freeze, trainmode
from rosin.core.tree import testmode as pinned
from rosin.core.types import Array, Static
from rosin.core.validation import expect_integer
from rosin.errors import DtypeError, ShapeError, StructureError
from tests.core.toys import Affine, Centre, Noise, Seq, X, array


class Conv(Module):
    kernel: Array
    stride: Static[int]
    groups: Static[int]

    def __call__(self, x):
        return jax.lax.conv_general_dilated(
            x,
            self.kernel,
            (self.stride,) * 2,
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )


class Holder(Module):
    parts: Any

    def __call__(self, x):
        return self.parts["a/b"](x), self.parts["plain"](x)


def rows(*args, **kwargs):
    return {row.path: row for row in summary(*args, **kwargs).rows}


def test_the_table_has_a_row_for_every_module_and_one_for_all():
    model = Seq(Affine(3, 4), Seq(Centre(4), Noise()))
    table = rows(model, (5, 3))
    assert list(table) == [
        *("layers[0]", "layers[1]", "layers[1].layers[0]", "layers[1].layers[1]", ""),
    ]
    assert table["layers[0]"].layer.startswith("Affine(weight=float32[3,4], bias=")
    assert len(table["layers[1]"].layer) <= 48
    assert table[""].layer == "Seq"
    assert {row.output for row in table.values()} == {"float32[5,4]"}


def test_parameters_state_and_bytes_are_counted_inside_out():
    table = rows(Seq(Affine(3, 4), Seq(Centre(4), Noise())))
    counts = {path: (row.parameters, row.state, row.size_bytes) for path, row in table.items()}
    assert counts == {
        "layers[0]": (3 * 4 + 4, 0, 64),
        "layers[1]": (4, 4 + 1 + 1, 4 * 4 + 4 * 4 + 4 + 8),
        "layers[1].layers[0]": (4, 4 + 1, 36),
        "layers[1].layers[1]": (0, 1, 8),
        "": (20, 6, 64 + 44),
    }


def test_what_is_frozen_is_no_parameter():
    table = rows(freeze(Seq(Affine(3, 4), Affine(4, 2)), "layers[0]"))
    assert (table["layers[0]"].parameters, table["layers[0]"].state) == (0, 16)
    assert table[""].parameters == 10


def test_without_inputs_there_are_no_outputs_and_no_costs():
    table = summary(Seq(Affine(3, 4)))
    assert [row.output for row in table.rows] == ["", ""]
    assert "output" not in str(table)
    assert "multiply-adds" not in str(table)


@pytest.mark.parametrize("lead", [(), (5,), (2, 5)])
def test_multiply_adds_of_a_matrix_product(lead):
    class Product(Module):
        weight: Array

        def __call__(self, x):
            return x @ self.weight

    table = rows(Seq(Product(array(3, 4)), Product(array(4, 2))), (*lead, 3))
    times = int(np.prod(lead))
    assert table["layers[0]"].multiply_adds == times * 3 * 4
    assert table["layers[1]"].multiply_adds == times * 4 * 2
    assert table[""].multiply_adds == times * 20


@pytest.mark.parametrize(("stride", "groups", "out"), [(1, 1, 6), (2, 1, 6), (1, 2, 6), (1, 4, 4)])
def test_multiply_adds_of_a_convolution(stride, groups, out):
    conv = Conv(array(3, 2, 4 // groups, out), stride, groups)
    table = rows(Seq(conv), (5, 9, 8, 4))
    height, width = (9 - 3) // stride + 1, (8 - 2) // stride + 1
    assert table["layers[0]"].output == f"float32[5,{height},{width},{out}]"
    assert table["layers[0]"].multiply_adds == 5 * height * width * out * (3 * 2 * 4 // groups)


def test_a_product_of_batches_is_counted_once_for_each():
    class Scores(Module):
        weight: Array

        def __call__(self, x):
            return jnp.einsum("bqd,bkd->bqk", x, x)

    assert rows(Seq(Scores(array(1))), (2, 3, 5))["layers[0]"].multiply_adds == 2 * 3 * 3 * 5


COSTS = {
    "remat": (lambda: remat(Affine(4, 4)), {"layers[0].layer": 80}),
    "scan": (lambda: scan_layers([Affine(4, 4)] * 3), {"layers[0].blocks": 240}),
    "scan in remat": (
        lambda: remat(scan_layers([Affine(4, 4)] * 3)),
        {"layers[0].layer": 240, "layers[0].layer.blocks": 240},
    ),
    "scan in scan": (
        lambda: scan_layers([scan_layers([Affine(4, 4)] * 3)] * 2),
        {"layers[0].blocks.blocks": 480},
    ),
    "vmap": (lambda: vmap(Affine(4, 4)), {"layers[0].layer": 80}),
}


@pytest.mark.parametrize(("build", "costs"), COSTS.values(), ids=COSTS)
def test_multiply_adds_are_found_inside_of_transforms(build, costs):
    shape = (5, 1, 4) if "vmap" in str(build().__class__).lower() else (5, 4)
    table = rows(Seq(build()), shape)
    assert {path: table[path].multiply_adds for path in costs} == costs
    assert table["layers[0]"].multiply_adds == table[""].multiply_adds == max(costs.values())


def test_a_layer_inside_of_a_scan_is_shown_as_one_of_its_blocks():
    table = rows(Seq(scan_layers([scan_layers([Affine(4, 4)] * 3)] * 2)), (5, 4))
    assert table["layers[0].blocks.blocks"].layer == rows(Seq(Affine(4, 4)))["layers[0]"].layer
    assert table["layers[0].blocks.blocks"].parameters == 2 * 3 * 20


def test_multiply_adds_inside_jit_belong_to_the_layer_that_calls_it():
    product = jax.jit(jnp.matmul)

    class Jitted(Module):
        weight: Array

        def __call__(self, x):
            return product(product(x, self.weight), self.weight)

    table = rows(Seq(Affine(4, 4), Jitted(array(4, 4))), (5, 4))
    assert table["layers[1]"].multiply_adds == 160
    assert table["layers[0]"].multiply_adds == 80


def test_a_shared_layer_is_counted_once_and_its_work_twice():
    tied = share(Affine(3, 3))
    table = rows(Seq(tied, tied), (2, 3))
    assert table[""].parameters == 12
    assert table["layers[0]"].multiply_adds == table[""].multiply_adds == 2 * 18


def test_names_with_slashes_are_no_levels():
    table = rows(Holder({"a/b": Affine(3, 2), "plain": Affine(3, 4)}), (5, 3))
    assert table['parts["a/b"]'].multiply_adds == 30
    assert table["parts.plain"].multiply_adds == 60
    assert table[""].output == "float32[5,2], float32[5,4]"


def test_a_layer_is_not_taken_for_one_whose_name_begins_alike():
    model = Seq(*[Affine(2, 2) for _ in range(11)])
    table = rows(model, (1, 2))
    assert {row.multiply_adds for path, row in table.items() if path} == {4}
    assert table[""].multiply_adds == 44


# --- flags ----------------------------------------------------------------------------

ODD = {
    "zeros": (jnp.zeros(2), "all zero: weight"),
    "a NaN": (jnp.array([1, jnp.nan]), "some NaN: weight"),
    "an infinity": (jnp.array([1, -jnp.inf]), "some Inf: weight"),
    "both": (jnp.array([jnp.inf, jnp.nan]), "some NaN: weight"),
    "half precision": (jnp.zeros(2, jnp.bfloat16), "all zero: weight"),
    "a NaN of half precision": (jnp.array([jnp.nan], jnp.bfloat16), "some NaN: weight"),
    "a complex NaN": (jnp.array([1 + 1j, 1j * jnp.nan]), "some NaN: weight"),
    "complex": (jnp.array([1j]), None),
    "one zero": (jnp.array([0.0, 1.0]), None),
    "whole numbers": (jnp.zeros(2, jnp.int32), None),
    "no numbers": (jnp.zeros(0), None),
    "nothing": (None, None),
    "a description": (jax.ShapeDtypeStruct((2,), jnp.float32), None),
}


@pytest.mark.parametrize(("value", "flag"), ODD.values(), ids=ODD)
def test_what_is_odd_about_an_array_is_flagged(value, flag):
    model = Affine(1, 1).replace(weight=value, bias=jnp.ones(1))
    table = summary(Seq(model))
    expected = () if flag is None else (flag.replace("weight", "layers[0].weight"),)
    assert table.total.flags == expected
    assert str(table).endswith(expected or ("0", "8", "20", "12", "4"))


def test_what_is_frozen_or_pinned_is_flagged():
    model = Seq(Affine(1, 1), Seq(Centre(2), Noise()))
    model = model.replace(layers=(freeze(model.layers[0], "weight"), trainmode(model.layers[1])))
    flags = [flag for flag in summary(model).total.flags if "zero" not in flag]
    assert flags == ["frozen: layers[0].weight", "pinned to training: layers[1]"]
    flags = [f for f in summary(pinned(model)).total.flags if f.startswith("pinned")]
    assert flags == ["pinned to inference: the whole model"]
    mixed = pinned(model).replace(layers=(pinned(model).layers[0], model.layers[1]))
    flags = [f for f in summary(mixed).total.flags if f.startswith("pinned")]
    assert flags == [
        *("pinned to inference: the whole model", "pinned to training: layers[1]"),
    ]
    assert "\npinned to training: layers[1]" in str(summary(mixed))


def test_flags_of_one_kind_stand_together():
    model = Seq(*[Affine(1, 1).replace(bias=jnp.zeros(1)) for _ in range(20)])
    text = str(
        summary(model.replace(layers=(*model.layers, Affine(1, 1).replace(weight=X * np.nan))))
    )
    flags = text.splitlines()[-6:]
    assert flags[-1] == "some NaN: layers[20].weight"
    assert flags[-2].endswith("layers[19].bias")
    assert sum(line.startswith("all zero: ") for line in text.splitlines()) == 1
    assert all(f"layers[{i}].bias" in text for i in range(20))
    assert max(map(len, flags)) <= 100


def test_large_numbers_are_not_taken_for_infinities():
    with jax.enable_x64(True):
        assert summary(Affine(1, 1).replace(weight=jnp.array([1e300]))).total.flags == ()


# --- what is asked of it -----------------------------------------------------------------


def test_the_table_prints():
    model = Seq(Affine(3, 4, bias=False), Centre(4))
    assert str(summary(model, (2, 3))) == repr(summary(model, (2, 3)))
    lines = str(summary(model, (2, 3))).splitlines()
    assert lines[0].split() == [
        *("path", "layer", "output", "parameters", "state", "bytes", "multiply-adds"),
    ]
    assert lines[1].split()[-4:] == ["12", "0", "48", "24"]
    assert set(lines[3]) == {"-", " "}
    assert lines[4].split() == ["total", "Seq", "float32[2,4]", "16", "5", "84", "24"]
    assert lines[5:] == ["all zero: layers[1].mean"]
    assert len(set(map(len, lines[:5]))) == 1


def test_digits_are_grouped():
    assert "1_049_600" in str(summary(Affine(1024, 1024)))


def test_nothing_is_computed_and_nothing_changes():
    model = Seq(Noise(), Centre(3))
    before = jax.tree.leaves(model)
    summary(jax.eval_shape(lambda: Seq(Affine(3, 10**5), Affine(10**5, 3))), (10**6, 3))
    summary(model, (2, 3))
    assert all(a is b for a, b in zip(before, jax.tree.leaves(model), strict=True))


def test_a_model_is_called_in_inference_unless_it_is_pinned():
    summary(Seq(Centre(3), Noise()), (0, 3))
    assert rows(trainmode(Seq(Centre(3), Noise())), (2, 3))[""].output == "float32[2,3]"
    assert outputsize(trainmode(Seq(Centre(3), Noise())), (2, 3)) == (2, 3)


def test_inputs_are_shapes_arrays_or_trees_of_them():
    class Two(Module):
        weight: Array

        def __call__(self, x, pair):
            return x @ self.weight, pair["a"] + pair["b"][0]

    sizes = outputsize(Two(array(3, 2)), (5, 3), {"a": (7,), "b": [np.ones(7, np.float32)]})
    assert sizes == ((5, 2), (7,))


def test_whole_numbers_go_in_by_their_dtype():
    table = array(10, 4)
    lookup = lambda x: table[x]
    assert outputsize(lookup, (5,), dtype=jnp.int32) == (5, 4)
    assert outputsize(lookup, jnp.zeros(5, jnp.int32)) == (5, 4)
    assert outputsize(jnp.sum, ()) == ()
    assert summary(lookup, jnp.zeros(5, jnp.int32)).total.output == "float32[5,4]"


WRONG = {"a list": [1, 28], "a number": 3, "negative": (-1, 3), "a fraction": (1.5,), "text": "a"}


@pytest.mark.parametrize("call", [summary, outputsize])
@pytest.mark.parametrize("x", [*WRONG.values(), Affine(3, 2), (True, 3)], ids=str)
def test_what_is_no_input_is_refused(call, x):
    with pytest.raises(StructureError, match="each input as a shape"):
        call(Affine(3, 2), x)


def test_what_cannot_be_called_has_no_outputs():
    assert len(summary((Affine(3, 2), [Noise()])).rows) == 3
    with pytest.raises(StructureError, match="to be callable"):
        summary((Affine(3, 2),), (5, 3))


@pytest.mark.parametrize("call", [summary, outputsize])
def test_inputs_that_do_not_fit_are_refused_in_the_place(call):
    with pytest.raises(ShapeError) as caught:
        call(Seq(Affine(3, 2), Affine(3, 2)), X.shape)
    assert caught.value.where == ".layers[1]"


def test_a_model_that_draws_keys_when_it_is_called_is_refused():
    with pytest.raises(Exception, match="drawn from outside"):
        outputsize(lambda x: x + jax.random.normal(draw_key(), x.shape), (3,))


def test_a_dtype_that_only_a_shape_stands_for_is_asked_of_the_caller():
    class Lookup(Module):
        weight: Array

        def __call__(self, x):
            expect_integer(x, subject=self)
            return self.weight[x]

    model = Seq(Lookup(array(3, 2)))
    for call in (summary, outputsize):
        with pytest.raises(DtypeError) as caught:
            call(model, (4,))
        assert caught.value.where == ".layers[0]"
        assert caught.value.fix == (
            f"tell {call.__name__} the dtype of the input, such as dtype=jnp.int32"
        )
    assert outputsize(model, (4,), dtype=jnp.int32) == (4, 2)
    with pytest.raises(DtypeError) as caught:  # an array has a dtype of its own
        summary(model, jnp.zeros(4))
    assert "astype" in caught.value.fix
