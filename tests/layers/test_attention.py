# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention and its cache: Flux's forms, PyTorch's numbers, decoding, refusals."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.functional.masks import make_causal_mask, make_padding_mask

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 8)), jnp.float32)
REFERENCE = np.load(Path(__file__).parents[1] / "reference/attention.npz", allow_pickle=False)


def build(*sizes, **options):
    return rs.MultiHeadAttention(*sizes or (8,), key=KEY, **{"heads": 2, **options})


def stored(part):
    return jnp.asarray(REFERENCE[f"mha/{part}"], jnp.float32)


def test_output_and_scores_are_those_of_pytorch():
    layer = build((6, 5, 4), bias=True)
    biases = jnp.split(stored("in_proj_bias"), 3)
    for name, bias in zip(("q", "k", "v"), biases, strict=True):
        part = {"q": "query", "k": "key", "v": "value"}[name]
        layer = rs.at(layer, f"{part}.weight").set(stored(f"{name}_proj_weight").T)
        layer = rs.at(layer, f"{part}.bias").set(bias)
    layer = rs.at(layer, "out.weight").set(stored("out_proj.weight").T)
    layer = rs.at(layer, "out.bias").set(stored("out_proj.bias"))
    inputs = [stored(part) for part in ("q", "k", "v")]
    y, scores = layer(*inputs, mask=make_padding_mask([5, 3], 5), return_scores=True)
    np.testing.assert_allclose(y, stored("y"), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores, stored("scores"), rtol=1e-5, atol=1e-6)


def test_fluxs_shapes_and_forms():
    layer = rs.MultiHeadAttention(4, heads=2, qk_size=10, out_size=5, key=KEY)
    x = jax.random.normal(KEY, (5, 3, 4))
    y, scores = layer(x, return_scores=True)
    assert (y.shape, scores.shape) == ((5, 3, 5), (5, 2, 3, 3))
    np.testing.assert_array_equal(y, layer(x, x, x))
    other = x[:, ::-1]
    np.testing.assert_array_equal(layer(x, other), layer(x, other, other))
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-6)


def test_fluxs_causal_mask_and_infinite_bias():
    _, scores = build()(X, mask=make_causal_mask(5), return_scores=True)
    above = np.triu(np.ones((5, 5), bool), 1)
    np.testing.assert_array_equal(scores[:, :, above], 0)
    np.testing.assert_array_equal(scores, build(causal=True)(X, return_scores=True)[1])
    bias = jnp.where(make_causal_mask(5), jnp.inf, 0.0)  # as in Flux's own test
    y, scores = build()(X, bias=bias, return_scores=True)
    np.testing.assert_array_equal(scores[:, :, above], 0)
    assert np.isfinite(y).all()


def test_output_is_the_formula_written_again_in_numpy():
    layer = build(heads=4, kv_heads=2, bias=True)
    layer = rs.at(layer, "value.bias").set(jnp.arange(4.0))
    x = np.asarray(X, np.float64)

    def projected(part):
        dense = getattr(layer, part)
        return x @ np.asarray(dense.weight, np.float64) + np.asarray(dense.bias)

    q, k, v = projected("query"), projected("key"), projected("value")
    rows = []
    for h in range(4):
        own, shared = slice(2 * h, 2 * h + 2), slice(2 * (h // 2), 2 * (h // 2) + 2)
        s = np.einsum("btf,bsf->bts", q[..., own], k[..., shared]) / np.sqrt(2)
        e = np.exp(s)
        rows.append(e / e.sum(-1, keepdims=True) @ v[..., shared])
    y = np.concatenate(rows, -1) @ np.asarray(layer.out.weight)
    np.testing.assert_allclose(layer(X), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rotary": rs.RotaryPositions()},
        {"heads": 4, "kv_heads": 1, "rotary": rs.RotaryPositions(pairing="interleaved")},
    ],
)
@pytest.mark.parametrize("sizes", [(1,) * 5, (3, 1, 1)])
def test_decoding_gives_what_the_whole_sequence_gives(options, sizes):
    layer = build(causal=True, bias=True, **options)
    cache = layer.empty_cache(2, 7)
    step = jax.jit(layer.decode)
    rows, start = [], 0
    for size in sizes:
        y, cache = step(X[:, start : start + size], cache)
        rows.append(y)
        start += size
    np.testing.assert_allclose(jnp.concatenate(rows, 1), layer(X), rtol=1e-5, atol=1e-6)
    assert cache.position == 5


def test_a_full_cache_is_refused_and_gives_nan_where_it_is_traced():
    layer = build(causal=True)
    _, cache = layer.decode(X[:, :3], layer.empty_cache(2, 4))
    with pytest.raises(rs.StateError) as caught:
        layer.decode(X[:, 3:], cache)
    assert caught.value.expected == "a cache of length 4 to have room for 2 more"
    with pytest.raises(rs.StateError):
        layer.decode(X, layer.empty_cache(2, 4))
    y, cache = jax.jit(layer.decode)(X[:, 3:], cache)
    assert np.isnan(y).all()
    assert np.isnan(jax.jit(layer.decode)(X[:, 4:], cache)[0]).all()


def test_a_mask_keeps_padding_out():
    mask = make_padding_mask([2, 5], 5)
    y = build()(X, mask=mask)
    np.testing.assert_allclose(y[:1, :2], build()(X[:1, :2]), rtol=1e-5, atol=1e-6)
    junk = X.at[0, 2:].set(1e6)
    np.testing.assert_allclose(build()(junk, mask=mask)[0, :2], y[0, :2], rtol=1e-6)


def test_dropout_acts_in_training_and_moves_the_stream_on():
    layer = build(dropout=0.5)
    (first, second), after = rs.recording(lambda m: (m(X), m(X)), layer)
    third, _ = rs.recording(lambda m: m(X), after)
    assert len({float(y.sum()) for y in (first, second, third, layer(X))}) == 4
    np.testing.assert_array_equal(layer(X), build()(X))
    assert rs.gradient(lambda m: m(X).sum(), layer).query.weight.any()
    scores = rs.recording(lambda m: m(X, return_scores=True)[1], layer)[0]
    assert 0 < (scores == 0).mean() < 1


@pytest.mark.parametrize("convert", [rs.f16, rs.bf16])
def test_half_types_differentiate_on_every_device(convert):
    layer = convert(build(causal=True))
    x = X.astype(layer.query.weight.dtype)
    grads = rs.gradient(lambda m: m(x).astype(jnp.float32).sum(), layer)
    for leaf in rs.trainables(grads):
        assert leaf.dtype == x.dtype
        assert np.isfinite(leaf.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda: build(heads=3), rs.RangeError, "heads to divide qk_size=8"),
        (lambda: build(value_size=5), rs.RangeError, "heads to divide value_size=5"),
        (lambda: build(heads=4, kv_heads=3), rs.RangeError, "kv_heads to divide heads=4"),
        (lambda: build((8, 8)), rs.RangeError, "in_size to be one number, or three"),
        (lambda: build(0), rs.RangeError, "in_size to be a tuple of whole numbers"),
        (lambda: build(heads=0), rs.RangeError, "heads to be a whole number of at least 1"),
        (lambda: build(dropout=1.5), rs.RangeError, "dropout to be a number"),
        (lambda: build(causal=1), rs.StructureError, "causal to be of class bool"),
        (lambda: build(rotary=True), rs.StructureError, "rotary to be of class Rotary"),
        (
            lambda: build(heads=8, rotary=rs.RotaryPositions()),
            rs.RangeError,
            "an even number of features",
        ),
        (lambda: build()(X[0]), rs.ShapeError, "shape (batch, time, features)"),
        (lambda: build()(X[..., :4]), rs.ShapeError, "shape (..., 8)"),
        (lambda: build()(X, X[:1]), rs.ShapeError, "q (batch, time, ...)"),
        (lambda: build()(X, X, X[:, :3]), rs.ShapeError, "q (batch, time, ...)"),
        (lambda: build()(X, mask=np.ones((2, 5), bool)), rs.ShapeError, "mask that broadcasts"),
        (lambda: build().decode(X, None), rs.StateError, "a causal layer"),
        (lambda: build(causal=True).decode(X, None), rs.StructureError, "cache to be of class"),
        (
            lambda: build(causal=True).decode(X, build().empty_cache(1, 9)),
            rs.ShapeError,
            "a cache with keys of shape (2, length, 2, 4)",
        ),
        (lambda: build().empty_cache(1, 0), rs.RangeError, "length to be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, expected):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.expected.startswith(expected)
    assert caught.value.fix
