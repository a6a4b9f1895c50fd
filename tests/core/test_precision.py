# SPDX-License-Identifier: Apache-2.0
"""Conversion of a whole model between precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.module import Module
from rosin.core.precision import bf16, f16, f32, f64
from rosin.core.types import Array, Buffer
from rosin.errors import StateError
from tests.core.toys import Affine, Centre, Noise, Seq, array


class Kinds(Module):
    weight: Array
    wave: Array
    counts: Array
    flags: Array
    mean: Buffer[Array]
    spectrum: Buffer[Array]
    key: Buffer[Array]
    nothing: Array | None = None


def kinds():
    wave = jax.lax.complex(array(2), array(2))
    return Kinds(
        array(2),
        wave,
        jnp.arange(2, dtype=jnp.int32),
        jnp.array([True]),
        array(2),
        wave,
        jax.random.key(0),
    )


def dtypes(tree):
    return [str(leaf.dtype) for leaf in jax.tree.leaves(tree)]


KEPT = ["int32", "bool"]
HALF = ["float32", "complex64", "key<fry>"]


@pytest.mark.parametrize(("convert", "dtype"), [(f16, "float16"), (bf16, "bfloat16")])
def test_half_precision_is_for_parameters_only(convert, dtype):
    half = convert(kinds())
    assert dtypes(half) == [dtype, "complex64", *KEPT, *HALF]
    np.testing.assert_array_equal(half.weight, kinds().weight.astype(dtype))
    assert half.nothing is None


@pytest.mark.parametrize("convert", [f16, bf16])
def test_the_way_back_restores_every_dtype(convert):
    assert dtypes(f32(convert(kinds()))) == dtypes(kinds())
    assert f32(kinds()) == kinds()


def test_leaves_that_have_the_dtype_are_not_copied():
    tree = Affine(3, 2)
    assert f32(tree).weight is tree.weight


def test_double_precision_takes_everything_along():
    with jax.enable_x64(True):
        double = f64(kinds())
        assert dtypes(double) == ["float64", "complex128", *KEPT, "float64", "complex128", HALF[2]]
        assert dtypes(f32(double)) == dtypes(kinds())
        np.testing.assert_array_equal(double.weight, kinds().weight)


def test_double_precision_is_refused_where_jax_has_none():
    with pytest.raises(StateError) as caught:
        f64(Affine(3, 2))
    assert "jax_enable_x64" in caught.value.fix


def test_any_tree_is_converted():
    tree = {"a": (Seq(Centre(2), Noise()), np.ones(2)), "b": 3, "c": 0.5}
    half = bf16(tree)
    assert half["a"][0].layers[0].scale.dtype == jnp.bfloat16
    assert half["a"][0].layers[0].mean.dtype == jnp.float32
    assert half["a"][1].dtype == jnp.bfloat16
    assert (half["b"], half["c"]) == (3, 0.5)


def test_descriptions_are_converted_too():
    described = jax.eval_shape(kinds)
    assert dtypes(bf16(described)) == dtypes(bf16(kinds()))


def test_a_converted_model_computes_in_its_dtype():
    assert bf16(Affine(3, 2))(jnp.ones((1, 3), jnp.bfloat16)).dtype == jnp.bfloat16
