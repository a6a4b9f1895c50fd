# SPDX-License-Identifier: Apache-2.0
"""Transformer blocks and stacks: PyTorch's numbers, decoding, dropout, one compilation."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.functional.masks import make_padding_mask

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
X, MEMORY = (jnp.asarray(RANDOM.normal(size=(2, n, 8)), jnp.float32) for n in (5, 3))
REFERENCE = np.load(Path(__file__).parents[1] / "reference/attention.npz", allow_pickle=False)


def encoder_block(**options):
    return rs.TransformerEncoderBlock(8, key=KEY, **{"heads": 2, "hidden_size": 6, **options})


def decoder_block(**options):
    return rs.TransformerDecoderBlock(8, key=KEY, **{"heads": 2, "hidden_size": 6, **options})


def with_attention(model, path, prefix):
    """Put PyTorch's packed projections, stored under `prefix`, into an attention layer."""
    weights = np.split(REFERENCE[f"{prefix}in_proj_weight"], 3)
    biases = np.split(REFERENCE[f"{prefix}in_proj_bias"], 3)
    for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
        model = with_dense(model, f"{path}.{part}", weight, bias)
    out = REFERENCE[f"{prefix}out_proj.weight"], REFERENCE[f"{prefix}out_proj.bias"]
    return with_dense(model, f"{path}.out", *out)


def with_dense(model, path, weight, bias):
    model = rs.at(model, f"{path}.weight").set(jnp.asarray(weight.T, jnp.float32))
    return rs.at(model, f"{path}.bias").set(jnp.asarray(bias, jnp.float32))


def with_pytorch(block, name, norms):
    """Put the stored weights of a PyTorch layer into a block."""
    block = with_attention(block, "attention", f"{name}/self_attn.")
    for index, path in ((1, "feedforward.layers[0]"), (2, "feedforward.layers[1]")):
        weight, bias = (REFERENCE[f"{name}/linear{index}.{p}"] for p in ("weight", "bias"))
        block = with_dense(block, path, weight, bias)
    for index, path in enumerate(norms, 1):
        for ours, theirs in (("scale", "weight"), ("shift", "bias")):
            value = jnp.asarray(REFERENCE[f"{name}/norm{index}.{theirs}"], jnp.float32)
            block = rs.at(block, f"{path}.{ours}").set(value)
    return block


def stored(name):
    return jnp.asarray(REFERENCE[name], jnp.float32)


@pytest.mark.parametrize("first", [True, False])
def test_an_encoder_block_is_that_of_pytorch(first):
    name = f"encoder {first}"
    for part, causal in (("y", False), ("causal", True)):
        block = rs.TransformerEncoderBlock(
            6, heads=2, hidden_size=8, activation=rs.relu, pre_norm=first, causal=causal, key=KEY
        )
        block = with_pytorch(block, name, ("attention_norm", "norm"))
        y = block(stored(f"{name}/x"))
        np.testing.assert_allclose(y, stored(f"{name}/{part}"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_a_decoder_block_is_that_of_pytorch(first):
    name = f"decoder {first}"
    gelu = jax.tree_util.Partial(rs.gelu, approximate=False)
    block = rs.TransformerDecoderBlock(
        6, heads=2, hidden_size=8, activation=gelu, pre_norm=first, key=KEY
    )
    block = with_pytorch(block, name, ("attention_norm", "cross_norm", "norm"))
    block = with_attention(block, "cross", f"{name}/multihead_attn.")
    y = block(stored(f"{name}/x"), stored(f"{name}/memory"))
    np.testing.assert_allclose(y, stored(f"{name}/y"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_a_stack_is_its_blocks_one_after_the_other(pre_norm):
    keys = jax.random.split(KEY, 3)
    blocks = [
        rs.TransformerEncoderBlock(8, heads=2, pre_norm=pre_norm, causal=True, key=key)
        for key in keys
    ]
    stack = rs.TransformerEncoder(blocks)
    mask = make_padding_mask([3, 5], 5)
    y = X
    for block in blocks:
        y = block(y, mask=mask)
    y = y if stack.norm is None else stack.norm(y)
    np.testing.assert_allclose(stack(X, mask=mask), y, rtol=1e-4, atol=1e-5)
    assert (stack.norm is None) == (not pre_norm)
    assert len(stack.blocks) == 3


def decoded(model, x, *memory):
    """Run a model token by token, compiled."""
    step = jax.jit(lambda x, cache: model.decode(x, *memory, cache))
    cache, rows = model.empty_cache(x.shape[0], x.shape[1]), []
    for t in range(x.shape[1]):
        y, cache = step(x[:, t : t + 1], cache)
        rows.append(y)
    return jnp.concatenate(rows, 1)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_decoding_gives_what_the_whole_sequence_gives(pre_norm):
    options = {"pre_norm": pre_norm, "rotary": rs.RotaryPositions(), "kv_heads": 1}
    stack = rs.TransformerEncoder([encoder_block(causal=True, **options)] * 2)
    np.testing.assert_allclose(decoded(stack, X), stack(X), rtol=1e-4, atol=1e-5)
    stack = rs.TransformerDecoder([decoder_block(**options)] * 2)
    np.testing.assert_allclose(decoded(stack, X, MEMORY), stack(X, MEMORY), rtol=1e-4, atol=1e-5)


def test_masks_of_memory_and_tokens_reach_their_attention():
    block = decoder_block()
    kept = make_padding_mask([2, 3], 3)
    y = block(X, MEMORY, memory_mask=kept)
    np.testing.assert_allclose(y[:1], block(X[:1], MEMORY[:1, :2]), rtol=1e-4, atol=1e-5)
    masked = block(X, MEMORY, mask=make_padding_mask([1, 5], 5))
    assert not np.allclose(masked[0, 1:], block(X, MEMORY)[0, 1:])
    np.testing.assert_array_equal(masked[1], block(X, MEMORY)[1])


def test_a_memory_of_another_size():
    block = decoder_block(memory_size=3)
    assert block(X, MEMORY[..., :3]).shape == X.shape
    assert "memory_size=3" in repr(block)


def test_dropout_acts_in_training_in_every_block():
    stack = rs.TransformerEncoder([encoder_block(dropout=0.4) for _ in range(2)])
    twice = jax.jit(lambda m: rs.recording(lambda m: (m(X), m(X)), m))
    (first, second), after = twice(stack)
    assert not np.allclose(first, second)
    before, moved = stack.blocks.blocks, after.blocks.blocks
    for path in ("attention.dropout_key", "drop.key", "feedforward.layers[1].key"):
        assert (rs.at(before, path).get() != rs.at(moved, path).get()).all()
    np.testing.assert_array_equal(stack(X), stack(X))


def test_a_full_cache_of_a_stack_is_refused():
    stack = rs.TransformerEncoder([encoder_block(causal=True)] * 2)
    _, cache = stack.decode(X[:, :3], stack.empty_cache(2, 4))
    with pytest.raises(rs.StateError) as caught:
        stack.decode(X[:, 3:], cache)
    assert caught.value.got == "one that holds 3 tokens"


def test_depth_does_not_grow_the_program():
    def size(depth):
        stack = rs.TransformerEncoder([encoder_block() for _ in range(depth)])
        return len(jax.jit(lambda m: m(X)).lower(stack).as_text())

    assert size(9) < 1.02 * size(2)


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda: encoder_block(heads=3), rs.RangeError, "heads to divide qk_size=8"),
        (lambda: encoder_block(hidden_size=0), rs.RangeError, "hidden_size to be a whole"),
        (lambda: encoder_block(dropout=-1), rs.RangeError, "dropout to be a number"),
        (lambda: encoder_block(pre_norm="no"), rs.StructureError, "pre_norm to be of class"),
        (lambda: encoder_block()(X[0]), rs.ShapeError, "shape (batch, time, features)"),
        (lambda: encoder_block()(X[..., :4]), rs.ShapeError, "shape (..., 8)"),
        (lambda: encoder_block().decode(X, None), rs.StateError, "a causal layer"),
        (lambda: decoder_block()(X, X[..., :3]), rs.ShapeError, "shape (..., 8)"),
        (lambda: rs.TransformerEncoder([]), rs.RangeError, "number_of_layers to be"),
        (
            lambda: rs.TransformerEncoder([decoder_block()]),
            rs.StructureError,
            "block to be of class TransformerEncoderBlock",
        ),
        (
            lambda: rs.TransformerEncoder([encoder_block(), encoder_block(hidden_size=3)]),
            rs.StructureError,
            "layer 1 to be built like layer 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, expected):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.expected.startswith(expected)
