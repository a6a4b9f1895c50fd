# SPDX-License-Identifier: Apache-2.0
"""Summaries: the numbers against a count by hand, and nothing computed on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.core.module import Module
from rosin.core.sharing import share
from rosin.core.summary import outputsize, summary
from rosin.core.transforms import remat, scan_layers, vmap
from rosin.core.types import Array, Static
from rosin.errors import ShapeError, StructureError
from tests.core.toys import Affine, Centre, Noise, Seq, array


class Conv(Module):
    kernel: Array
    groups: Static[int] = 1

    def __call__(self, x):
        return jax.lax.conv_general_dilated(
            x,
            self.kernel,
            (1, 2),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )


class Meet(Module):
    """Takes two inputs and returns a tree."""

    left: Affine
    right: Affine

    def __call__(self, a, b):
        return {"sum": self.left(a) + self.right(b), "parts": (self.left(a), b)}


class Product(Module):
    def __call__(self, pair):
        return pair[0] @ pair[1]


class Lookup(Module):
    table: Array

    def __call__(self, index):
        return self.table[index]


def meet():
    return Meet(Affine(3, 4), Affine(5, 4))


def rows(model, *inputs, **options):
    return {row.path: row for row in summary(model, *inputs, **options).rows}


def test_every_layer_has_a_row_with_its_numbers():
    model = Seq(Affine(3, 4), Seq(Centre(4), Noise()))
    table = rows(model, (2, 3))
    assert list(table) == [
        "layers[0]",
        "layers[1]",
        "layers[1].layers[0]",
        "layers[1].layers[1]",
        "",
    ]
    numbers = {
        path: (row.parameters, row.state, row.size_bytes, row.multiply_adds)
        for path, row in table.items()
    }
    assert numbers == {
        "layers[0]": (3 * 4 + 4, 0, 16 * 4, 2 * 3 * 4),
        "layers[1]": (4, 4 + 1 + 1, (4 + 4 + 1) * 4 + 8, 0),
        "layers[1].layers[0]": (4, 5, 9 * 4, 0),
        "layers[1].layers[1]": (0, 1, 8, 0),
        "": (20, 6, 64 + 44, 24),
    }
    assert {row.output for row in table.values()} == {"float32[2,4]"}
    assert table["layers[0]"].layer.startswith("Affine(weight=float32[3,4]")
    assert len(table["layers[1]"].layer) <= 48
    assert table[""].layer == "Seq"
    assert summary(model, (2, 3)).total == table[""]


def test_the_text_is_a_table_whose_last_row_is_the_whole():
    lines = str(summary(Seq(Affine(300, 4), Noise()), (2, 300))).splitlines()
    assert lines[0].split() == [
        "path",
        "layer",
        "output",
        "parameters",
        "state",
        "bytes",
        "multiply-adds",
    ]
    assert lines[1].split()[-5:] == ["float32[2,4]", "1_204", "0", "4_816", "2_400"]
    assert set(lines[3]) == {"-", " "}
    assert lines[4].split() == ["total", "Seq", "float32[2,4]", "1_204", "1", "4_824", "2_400"]
    assert len({len(line) for line in lines}) == 1
    assert repr(summary(Noise())) == str(summary(Noise()))


def test_columns_without_contents_are_left_out():
    header = str(summary(Seq(Affine(3, 4)))).splitlines()[0]
    assert header.split() == ["path", "layer", "parameters", "bytes"]
    total = summary(Seq(Affine(3, 4))).total
    assert (total.output, total.multiply_adds, total.parameters) == ("", 0, 16)


def test_bytes_follow_the_dtype():
    assert summary(rs.bf16(Affine(3, 4))).total.size_bytes == 16 * 2


def test_flags_name_the_arrays_that_look_wrong():
    zero, nan, inf, both = jnp.zeros(2), jnp.array([0, np.nan]), jnp.array([1, -np.inf]), None
    both = jnp.array([np.nan, np.inf])
    model = Seq(
        Affine(2, 2).replace(weight=array(2, 2), bias=zero),
        Affine(2, 2).replace(bias=nan),
        Affine(2, 2).replace(bias=inf),
        Affine(2, 2).replace(bias=both.astype(jnp.bfloat16)),
        Affine(2, 2).replace(bias=jnp.zeros(0)),
        Affine(2, 2).replace(bias=jnp.zeros(2, jnp.int32)),
        Affine(2, 2).replace(bias=zero.astype(jnp.bfloat16)),
        Affine(2, 2).replace(bias=jnp.array([0, 1j * np.nan])),
        Noise(),
    )
    table = summary(model)
    assert table.total.flags == (
        "all zero: layers[0].bias",
        "some NaN: layers[1].bias",
        "some Inf: layers[2].bias",
        "some NaN: layers[3].bias",
        "all zero: layers[6].bias",
        "some NaN: layers[7].bias",
    )
    assert str(table).splitlines()[-3:] == [
        "all zero: layers[0].bias, layers[6].bias",
        "some NaN: layers[1].bias, layers[3].bias, layers[7].bias",
        "some Inf: layers[2].bias",
    ]
    assert not any(row.flags for row in table.rows[:-1])


# Of a matrix product (2, 3) by (3, 3), and of a convolution: each of the output's numbers
# takes one multiply-add for each number of a kernel.
MATMUL = 2 * 3 * 3
CONV = (2 * 6 * 3 * 5) * (3 * 2 * 3)


@pytest.mark.parametrize(
    ("model", "shape", "count"),
    [
        (Affine(3, 3), (2, 3), MATMUL),
        (Affine(3, 4), (2, 3), 2 * 3 * 4),
        (Affine(3, 4), (7, 2, 3), 7 * 2 * 3 * 4),
        (Conv(array(3, 2, 3, 5)), (2, 8, 7, 3), CONV),
        (Conv(array(3, 2, 2, 6), groups=2), (2, 8, 7, 4), (2 * 6 * 3 * 6) * (3 * 2 * 2)),
        (Seq(Affine(3, 3), Affine(3, 3)), (2, 3), 2 * MATMUL),
        (remat(Affine(3, 3)), (2, 3), MATMUL),
        (vmap(Affine(3, 3)), (5, 2, 3), 5 * MATMUL),
        (scan_layers([Affine(3, 3)] * 5), (2, 3), 5 * MATMUL),
        (scan_layers([scan_layers([Affine(3, 3)] * 2)] * 3), (2, 3), 6 * MATMUL),
        (remat(scan_layers([remat(Seq(Affine(3, 3), Centre(3)))] * 4)), (2, 3), 4 * MATMUL),
        (Centre(3), (2, 3), 0),
    ],
)
def test_multiply_adds_are_those_counted_by_hand(model, shape, count):
    whole = Seq(Seq(model))
    if len(shape) == 3 and isinstance(model, Affine):
        whole = Seq(Seq(model.replace(bias=None)))
    table = rows(whole, shape)
    assert table[""].multiply_adds == count
    assert table["layers[0].layers[0]"].multiply_adds == count
    inner = [row for path, row in table.items() if row.layer.startswith("Affine")]
    assert sum(row.multiply_adds for row in inner) == (
        0 if isinstance(model, (Conv, Centre)) else count
    )


def test_multiply_adds_go_to_the_layer_that_does_them():
    model = Seq(*(Affine(3, 3) for _ in range(12)), Affine(3, 4))
    table = rows(model, (2, 3))
    assert table["layers[1]"].multiply_adds == MATMUL  # and not those of layers[10] too
    assert table["layers[12]"].multiply_adds == 2 * 3 * 4
    tied = share(Affine(3, 3))
    shared = rows(Seq(tied, Noise(), tied), (2, 3))
    assert shared["layers[0]"].multiply_adds == 2 * MATMUL
    assert shared[""].multiply_adds == 2 * MATMUL


class Outside(Module):
    weight: Array

    def __call__(self, x):
        return jax.jit(lambda x: x @ self.weight)(x) @ self.weight


def test_work_outside_of_the_inner_layers_counts_for_the_whole():
    assert rows(Outside(array(3, 3)), (2, 3))[""].multiply_adds == 2 * MATMUL


def test_any_tree_of_modules_is_tabulated_without_inputs():
    table = rows({"a": Affine(3, 4), "b": [Noise(), Centre(2)]})
    assert list(table) == ["a", "b[0]", "b[1]", ""]
    assert (table[""].parameters, table[""].layer) == (16 + 2, "dict")


def test_several_inputs_and_outputs_of_any_shape():
    assert outputsize(meet(), (2, 3), (2, 5)) == {"sum": (2, 4), "parts": ((2, 4), (2, 5))}
    assert outputsize(Product(), [(2, 3), (3, 7)]) == (2, 7)
    assert outputsize(Noise(), ()) == ()
    assert outputsize(Affine(3, 4), np.zeros((0, 3), np.float32)) == (0, 4)
    table = rows(meet(), jnp.ones((2, 3)), (2, 5))
    assert table["left"].output == "float32[2,4]"
    assert table[""].output == "float32[2,4], float32[2,5], float32[2,4]"
    assert table["left"].multiply_adds == 2 * (2 * 3 * 4)
    assert table["right"].multiply_adds == 2 * 5 * 4


def test_shapes_are_of_the_dtype_that_was_asked_for_and_arrays_of_their_own():
    half = rs.bf16(Affine(3, 4))
    assert rows(half, (2, 3), dtype=jnp.bfloat16)[""].output == "bfloat16[2,4]"
    assert rows(half, jnp.ones((2, 3), jnp.bfloat16))[""].output == "bfloat16[2,4]"
    assert outputsize(Lookup(array(4, 2)), (5,), dtype=jnp.int32) == (5, 2)


@pytest.mark.xfail(raises=TypeError, reason="outputsize takes the function itself for a leaf")
def test_a_plain_function_has_an_output_size_too():
    assert outputsize(lambda x: x * 2, (2, 3)) == (2, 3)


@pytest.mark.parametrize("look", [summary, outputsize])
@pytest.mark.parametrize("wrong", [3, "abc", (2, -3), (2, 3.0), (True, 3), Affine(3, 3), object()])
def test_an_input_that_is_neither_a_shape_nor_an_array_is_refused(look, wrong):
    with pytest.raises(StructureError) as caught:
        look(Affine(3, 4), wrong)
    assert "(1, 28, 28, 1)" in caught.value.expected


@pytest.mark.parametrize("look", [summary, outputsize])
def test_a_shape_that_does_not_fit_says_where(look):
    with pytest.raises(ShapeError) as caught:
        look(Seq(Affine(3, 4), Affine(3, 4)), (2, 3))
    assert (caught.value.where, caught.value.got) == (".layers[1]", "float32[2,4]")
    with pytest.raises(StructureError):
        look((Affine(3, 4),), (2, 3))


@pytest.mark.parametrize("look", [summary, outputsize])
def test_nothing_is_computed_or_recorded(look):
    huge = jax.ShapeDtypeStruct((10**6, 10**6), jnp.float32)
    model = Seq(Affine(1, 1).replace(weight=huge, bias=None), Noise())
    before = model.layers[1].key
    result = look(model, (10**6, 10**6))
    if look is summary:
        assert result.total.multiply_adds == 10**18
        assert result.total.size_bytes == 4 * 10**12 + 8
    else:
        assert result == (10**6, 10**6)
    assert model.layers[1].key is before
    computed = []

    def reveal(x):
        jax.debug.callback(lambda _: computed.append(1), x)
        return x

    look(Affine(3, 3, reveal), (2, 3))
    jax.effects_barrier()
    assert not computed


def test_a_model_that_is_being_traced_is_summed_up_without_looking_at_its_numbers():
    totals = []
    jax.jit(lambda m: totals.append(summary(m, (2, 3)).total))(Seq(Affine(3, 4), Centre(4)))
    assert (totals[0].parameters, totals[0].multiply_adds, totals[0].flags) == (20, 24, ())
