# SPDX-License-Identifier: Apache-2.0
"""Embedding and EmbeddingBag: rows, padding, bags, refusals, printing."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)
STORED = Path(__file__).parents[1] / "reference" / "basic.npz"


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


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3), (0,)])
def test_an_embedding_takes_any_shape(shape):
    assert rs.Embedding(5, 4, key=KEY)(np.zeros(shape, int)).shape == (*shape, 4)


# --- padding ----------------------------------------------------------------------------


def test_the_row_for_padding_starts_at_zero_and_stays_there():
    table = rs.Embedding(5, 3, padding_index=2, key=KEY)
    assert not table.weight[2].any()
    assert table.weight[jnp.array([0, 1, 3, 4])].all()
    indices = np.array([[2, 4, 2], [0, 2, 1]])

    def loss(model):
        return ((model(indices) - 1.0) ** 2).sum()

    state = rs.setup(rs.Adam(0.1), table)
    for _ in range(3):
        state, table = rs.update(state, table, rs.gradient(loss, table))
    assert not table.weight[2].any()
    assert not np.isclose(table.weight[4], rs.Embedding(5, 3, key=KEY).weight[4]).any()


def test_no_gradient_reaches_the_row_for_padding_even_if_the_loss_is_nan_there():
    table = rs.Embedding(4, 2, padding_index=0, key=KEY)

    def loss(model):
        return jnp.sqrt((model(np.array([0, 3])) ** 2).sum(-1)).sum()  # infinite slope at zero

    grads = rs.gradient(loss, table)
    assert not grads.weight[0].any()
    assert np.isfinite(grads.weight).all()
    assert grads.weight[3].any()


@pytest.mark.parametrize("index", [-1, 5, 1.0, True, "0"])
def test_a_padding_index_that_is_no_row_is_refused(index):
    for build in (rs.Embedding, rs.EmbeddingBag):
        with pytest.raises(rs.RangeError, match="padding_index to be a whole number from 0 to 4"):
            build(5, 3, padding_index=index, key=KEY)


def test_embeddings_print_as_the_call_that_builds_them():
    assert repr(rs.Embedding(5, 3)) == "Embedding(5, 3)"
    assert repr(rs.Embedding(5, 3, padding_index=0)) == "Embedding(5, 3, padding_index=0)"
    assert repr(rs.EmbeddingBag(5, 3)) == "EmbeddingBag(5, 3)"
    assert repr(rs.EmbeddingBag(5, 3, "max")) == "EmbeddingBag(5, 3, 'max')"
    assert repr(rs.EmbeddingBag(5, 3, jnp.max, padding_index=None)) == "EmbeddingBag(5, 3, max)"


# --- bags -------------------------------------------------------------------------------

REFERENCE = np.load(STORED, allow_pickle=False)


def compare(name, call, table, *more):
    """Compare an output and its gradients with those of PyTorch."""
    with jax.enable_x64(True):
        arguments = [jnp.asarray(REFERENCE[part]) for part in (table, *more)]
        y, back = jax.vjp(jax.jit(call), *arguments)
        grads = back(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))
    # float64; the sums run in another order
    np.testing.assert_allclose(y, REFERENCE[name], rtol=1e-13, atol=1e-14)
    for index, grad in enumerate(grads):
        np.testing.assert_allclose(grad, REFERENCE[f"{name}_grad{index}"], rtol=1e-13, atol=1e-14)


def bag(weight, *inputs, reduction="mean", padding_index=None, **more):
    layer = rs.EmbeddingBag(7, 3, reduction, padding_index=padding_index, key=KEY)
    return layer.replace(weight=weight)(*inputs, **more)


def test_an_embedding_with_padding_is_pytorch_s():
    layer = rs.Embedding(7, 3, padding_index=2, key=KEY)
    compare("embedding", lambda w: layer.replace(weight=w)(REFERENCE["indices"]), "table")


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
def test_bags_are_pytorch_s(reduction):
    take = functools.partial(bag, reduction=reduction)
    indices, row, offsets = (REFERENCE[name] for name in ("indices", "row", "offsets"))
    compare(f"bag_{reduction}", lambda w: take(w, indices), "table")
    compare(f"ragged_{reduction}", lambda w: take(w, row, offsets), "table")
    padded = functools.partial(take, padding_index=2)
    compare(f"padded_{reduction}", lambda w: padded(w, row, offsets), "table")


def test_weights_of_a_bag_are_pytorch_s():
    row, offsets = REFERENCE["row"], REFERENCE["offsets"]
    take = functools.partial(bag, reduction="sum")
    compare("weighted", lambda w, s: take(w, row, offsets, weights=s), "table", "scores")


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
def test_padded_rows_and_offsets_say_the_same(reduction):
    layer = rs.EmbeddingBag(7, 3, reduction, padding_index=6, key=KEY)
    ragged = layer(np.array([1, 2, 1, 5]), np.array([0, 3, 3]))
    padded = layer(np.array([[1, 2, 1], [6, 6, 6], [6, 5, 6]]))
    np.testing.assert_allclose(ragged, padded, rtol=1e-6)
    assert not ragged[1].any()


@pytest.mark.parametrize("function", [jnp.mean, jnp.sum, jnp.max, jax.nn.logsumexp])
def test_any_function_may_reduce_bags_of_equal_length(function):
    layer = rs.EmbeddingBag(7, 3, function, key=KEY)
    indices = np.array([[[0, 1], [2, 2]]])
    np.testing.assert_allclose(layer(indices), function(layer.weight[indices], axis=-2), rtol=1e-6)


def test_a_mean_in_half_precision_is_summed_in_float32():
    layer = rs.f16(rs.EmbeddingBag(2, 1, "sum")).replace(weight=jnp.array([[1.0], [2000.0]], "f2"))
    many = np.array([0] * 100 + [1])  # in float16 ones added to 2000 vanish in part
    assert layer(many).item() == 2100
    assert layer(many, np.array([0])).item() == 2100
    assert layer(many).dtype == jnp.float16


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3, 2], [0, 5], [0, -1], []])
def test_offsets_out_of_order_are_refused_or_give_nan_under_jit(offsets):
    layer = rs.EmbeddingBag(7, 3, key=KEY)
    row = np.array([1, 2, 3, 4])
    with pytest.raises(rs.RangeError) as caught:
        rs.Chain(layer)(row, np.array(offsets, int))
    assert caught.value.where == ".layers[0]"
    assert "end at 4 at most" in caught.value.expected
    assert np.isnan(jax.jit(layer)(row, np.array(offsets, int))).all()


def test_an_index_out_of_range_spoils_its_own_bag_only():
    layer = rs.EmbeddingBag(7, 3, key=KEY)
    with pytest.raises(rs.RangeError, match="indices from 0 to 6"):
        layer(np.array([[0, 7]]))
    for y in (
        jax.jit(layer)(np.array([[0, 7], [1, 2]])),
        jax.jit(layer)(np.array([0, 7, 1, 2]), np.array([0, 2])),
    ):
        assert np.isnan(y[0]).all()
        assert np.isfinite(y[1]).all()


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda m: m(np.array(1)), rs.ShapeError),
        (lambda m: m(np.zeros((2, 3), int), np.array([0])), rs.ShapeError),
        (lambda m: m(np.zeros(3, int), np.array([[0]])), rs.ShapeError),
        (lambda m: m(np.zeros(3, int), np.array([0.0])), rs.DtypeError),
        (lambda m: m(np.zeros(3)), rs.DtypeError),
        (lambda m: m(np.zeros(3, int), weights=np.ones(3)), rs.StructureError),
        (lambda m: sums(m)(np.zeros(3, int), weights=np.ones(2)), rs.ShapeError),
        (lambda m: m.replace(reduction=jnp.max)(np.zeros(3, int), np.zeros(1, int)), TypeError),
        (lambda m: rs.EmbeddingBag(2, 2, "median"), rs.RangeError),
    ],
)
def test_what_does_not_fit_a_bag_is_refused(call, kind):
    with pytest.raises(kind) as caught:
        call(rs.EmbeddingBag(7, 3, key=KEY))
    assert isinstance(caught.value, rs.UsageError)


def sums(layer):
    return layer.replace(reduction="sum")
