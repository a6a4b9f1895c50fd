# SPDX-License-Identifier: Apache-2.0
"""Dense, Scale, Bilinear: values, refusals, printing."""

import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)
STORED = Path(__file__).parents[1] / "reference" / "basic.npz"
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


@pytest.mark.parametrize("wrong", [[[1.0, 2.0, 3.0]], 3.0, None, "x"], ids=str)
def test_what_is_no_array_is_refused(wrong):
    with pytest.raises(rs.StructureError) as caught:
        rs.Chain(rs.Dense(3, 2, key=KEY))(wrong)
    assert caught.value.expected == "an array"
    assert caught.value.where == ".layers[0]"


@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 4, 3), (2, 5, 4, 3)])
def test_dense_takes_any_number_of_batch_axes(shape):
    layer = rs.Dense(3, 2, key=KEY).replace(bias=B)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 7
    expected = x.reshape(-1, 3) @ np.asarray(layer.weight) + B
    np.testing.assert_allclose(layer(x).reshape(-1, 2), expected, rtol=1e-5, atol=1e-6)


def test_an_activation_may_be_any_function_but_no_layer():
    softmax = rs.Dense(3, 2, jax.nn.softmax, key=KEY)
    np.testing.assert_allclose(softmax(X).sum(-1), 1, rtol=1e-6)
    assert repr(softmax) == "Dense(3, 2, softmax)"
    with pytest.raises(rs.StructureError) as caught:
        rs.Dense(3, 2, rs.BatchNorm(2), key=KEY)
    assert caught.value.got == "BatchNorm(2)"


@pytest.mark.parametrize("bias", [1, 0, None, np.zeros(2)], ids=str)
@pytest.mark.parametrize("build", [rs.Dense, rs.Bilinear, rs.Scale], ids=lambda f: f.__name__)
def test_whether_there_is_a_bias_is_true_or_false(build, bias):
    with pytest.raises(rs.StructureError, match="bias to be of class bool"):
        build(*((2,) if build is rs.Scale else (3, 2)), bias=bias, key=KEY)


# --- Scale ------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [3, (3,), (2, 3)])
@pytest.mark.parametrize("lead", [(), (4,), (5, 4), (0,)])
def test_scale_multiplies_and_adds_on_the_last_axes(sizes, lead):
    shape = sizes if isinstance(sizes, tuple) else (sizes,)
    s, b = (np.linspace(low, 1, np.prod(shape)).reshape(shape) for low in (-1, 0.5))
    layer = rs.Scale(sizes, jnp.tanh).replace(scale=jnp.float32(s), bias=jnp.float32(b))
    x = np.linspace(-2, 2, int(np.prod((*lead, *shape)))).reshape(*lead, *shape)
    y = layer(jnp.asarray(x, jnp.float32))
    assert y.shape == x.shape
    np.testing.assert_allclose(y, np.tanh(x * s + b), rtol=1e-5, atol=1e-6)


def test_scale_starts_as_the_identity_and_draws_no_key():
    np.testing.assert_array_equal(rs.Scale(3)(X), X)
    assert rs.Scale(3, bias=False).bias is None
    jax.eval_shape(lambda: rs.Scale(3))  # a draw from the ambient stream would refuse
    drawn = rs.Scale(3, init=rs.functional.normal, key=KEY)
    assert (drawn.scale != 1).all()


@pytest.mark.parametrize("shape", [(), (2,), (3, 1), (3, 2)])
def test_scale_stretches_nothing(shape):
    with pytest.raises(rs.ShapeError) as caught:
        rs.Chain(rs.Scale(3))(jnp.ones(shape))
    assert (caught.value.expected, caught.value.where) == ("shape (..., 3)", ".layers[0]")


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: rs.Scale(3), "Scale(3)"),
        (lambda: rs.Scale((2, 3), rs.relu, bias=False), "Scale((2, 3), relu, bias=False)"),
        (lambda: rs.Bilinear((3, 4), 2, key=KEY), "Bilinear((3, 4), 2)"),
        (lambda: rs.Bilinear(3, 2, rs.tanh, bias=False), "Bilinear((3, 3), 2, tanh, bias=False)"),
    ],
)
def test_scale_and_bilinear_print_as_the_call_that_builds_them(build, text):
    assert repr(build()) == text


# --- Bilinear ---------------------------------------------------------------------------


def test_bilinear_is_pytorch_s():
    ref = np.load(STORED, allow_pickle=False)
    with jax.enable_x64(True):
        layer = rs.f64(rs.Bilinear((3, 5), 2)).replace(
            weight=ref["weight"].transpose(1, 2, 0), bias=ref["bias"]
        )
        y, back = jax.vjp(lambda m, x, y: m(x, y), layer, ref["x"], ref["y"])
        weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        model, dx, dy = back(weights)
    # float64; the sums run in another order
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(y, ref["bilinear"], **close)
    np.testing.assert_allclose(dx, ref["bilinear_grad0"], **close)
    np.testing.assert_allclose(dy, ref["bilinear_grad1"], **close)
    np.testing.assert_allclose(model.weight.transpose(2, 0, 1), ref["bilinear_grad2"], **close)
    np.testing.assert_allclose(model.bias, ref["bilinear_grad3"], **close)


def test_one_input_of_bilinear_stands_for_both():
    layer = rs.Bilinear(3, 2, jnp.tanh, key=KEY).replace(bias=B)
    np.testing.assert_array_equal(layer(X), layer(X, X))
    expected = np.tanh(np.einsum("bi,ijo,bj->bo", X, np.asarray(layer.weight), X) + B)
    np.testing.assert_allclose(layer(X), expected, rtol=1e-5, atol=1e-6)


def test_bilinear_joins_two_streams_of_a_model():
    two = rs.Parallel(rs.Bilinear((4, 5), 2), rs.Dense(3, 4), rs.Dense(3, 5))
    assert two(X).shape == (4, 2)
    assert rs.SkipConnection(rs.Dense(3, 7), rs.Bilinear((7, 3), 2))(X).shape == (4, 2)


def test_bilinear_refuses_what_does_not_fit():
    layer = rs.Bilinear((3, 4), 2, key=KEY)
    for x, y, word in [
        (X, X, "(..., 4)"),
        (X[:, :2], np.ones((4, 4), "f4"), "(..., 3)"),
        (X, np.ones((5, 4), "f4"), "equal leading axes"),
        (X, np.ones((4,), "f4"), "equal leading axes"),
    ]:
        with pytest.raises(rs.ShapeError) as caught:
            layer(x, y)
        assert word in caught.value.expected
    with pytest.raises(rs.RangeError, match="two inputs"):
        rs.Bilinear((1, 2, 3), 2)
    with pytest.raises(rs.RangeError, match="in_sizes"):
        rs.Bilinear(0, 2)
