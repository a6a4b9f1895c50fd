# SPDX-License-Identifier: Apache-2.0
"""Dense and Embedding: values, refusals, printing."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
B = np.array([0.5, -2.0], np.float32)  # a zero bias would hide its own loss


def test_output_is_the_formula_written_again_in_numpy():
    layer = rs.Dense(3, 2, jnp.tanh, key=KEY).replace(bias=B)
    expected = np.tanh(X @ np.asarray(layer.weight) + B)
    np.testing.assert_allclose(layer(X), expected, rtol=1e-6)


def test_the_bias_starts_at_zero_and_can_be_left_out():
    assert not rs.Dense(3, 2, key=KEY).bias.any()
    assert len(jax.tree.leaves(rs.Dense(3, 2, bias=False, key=KEY))) == 1


@pytest.mark.parametrize("lead", [(), (4,), (4, 5), (0,)])
def test_leading_axes_are_kept(lead):
    assert rs.Dense(3, 2, key=KEY)(jnp.ones((*lead, 3))).shape == (*lead, 2)


def test_a_wrong_width_says_what_where_and_how_to_fix_it():
    model = rs.Chain(rs.Dense(3, 4, key=KEY), rs.Dense(5, 1, key=KEY))
    with pytest.raises(rs.ShapeError) as caught:
        jax.jit(model)(X)
    error = caught.value
    assert (error.expected, error.got) == ("shape (..., 5)", "float32[4,4]")
    assert error.where == ".layers[1]"
    assert "in_size=4" in error.fix


@pytest.mark.parametrize("sizes", [(0, 2), (3, -1), (2.5, 2), (True, 2), ("3", 2)])
def test_sizes_that_are_not_positive_whole_numbers_are_refused(sizes):
    with pytest.raises(rs.RangeError, match="at least 1"):
        rs.Dense(*sizes, key=KEY)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "Dense(3, 2)"),
        ({"activation": jnp.tanh, "bias": False}, "Dense(3, 2, tanh, bias=False)"),
        ({"activation": rs.relu}, "Dense(3, 2, relu)"),
    ],
)
def test_printing_shows_the_call_that_builds_the_layer(options, text):
    assert repr(rs.Dense(3, 2, key=KEY, **options)) == text


def test_an_initialiser_of_another_shape_or_dtype_is_refused():
    with pytest.raises(rs.ShapeError, match="init: expected an array of shape"):
        rs.Dense(3, 2, init=lambda key, shape: jnp.zeros(shape[::-1]), key=KEY)
    with pytest.raises(rs.DtypeError, match="floating"):
        rs.Dense(3, 2, init=lambda key, shape: jnp.zeros(shape, int), key=KEY)


def test_the_same_key_gives_the_same_layer_and_the_stream_another():
    assert rs.Dense(3, 2, key=KEY) == rs.Dense(3, 2, key=KEY)
    with rs.seed(0):
        first, second = rs.Dense(3, 2), rs.Dense(3, 2)
    assert first != second
    with rs.seed(0):
        assert rs.Dense(3, 2) == first


def test_float64_numpy_input_is_cast_with_one_warning_for_each_place():
    layer = rs.Dense(3, 2, key=KEY)
    model = rs.Chain(layer, rs.Dense(2, 1, key=KEY))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            y = model(X.astype(np.float64))
        layer(X.astype(np.float64))
    assert y.dtype == jnp.float32
    assert len(caught) == 2
    assert {w.filename for w in caught} == {__file__}
    assert "float64" in str(caught[0].message)


def test_a_layer_computes_in_the_dtype_of_its_parameters():
    half = rs.bf16(rs.Dense(3, 2, key=KEY))
    assert half(X).dtype == jnp.bfloat16
    assert rs.Dense(3, 2, key=KEY)(jnp.asarray(X, jnp.bfloat16)).dtype == jnp.float32


def test_an_embedding_looks_up_rows():
    table = rs.Embedding(5, 3, key=KEY)
    indices = np.array([[4, 0], [2, 2]])
    np.testing.assert_array_equal(table(indices), np.asarray(table.weight)[indices])


@pytest.mark.parametrize("index", [-1, 5])
def test_an_index_out_of_range_is_refused_or_gives_nan_under_jit(index):
    model = rs.Chain(rs.Embedding(5, 3, key=KEY))
    with pytest.raises(rs.RangeError) as caught:
        model(np.array([0, index]))
    assert caught.value.where == ".layers[0]"
    assert "0 to 4" in caught.value.expected
    traced = jax.jit(model)(np.array([0, index]))
    assert np.isfinite(traced[0]).all()
    assert np.isnan(traced[1]).all()


def test_the_gradient_of_an_embedding_sums_over_equal_indices():
    table = rs.Embedding(3, 2, key=KEY)
    grads = rs.gradient(lambda m: m(np.array([1, 1, 2])).sum(), table)
    np.testing.assert_array_equal(grads.weight, [[0, 0], [2, 2], [1, 1]])


@pytest.mark.parametrize("wrong", [[[1.0, 2.0, 3.0]], 3.0, None, "x"], ids=str)
def test_what_is_no_array_is_refused(wrong):
    with pytest.raises(rs.StructureError) as caught:
        rs.Chain(rs.Dense(3, 2, key=KEY))(wrong)
    assert caught.value.expected == "an array"
    assert caught.value.where == ".layers[0]"
