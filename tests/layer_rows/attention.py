# SPDX-License-Identifier: Apache-2.0
"""Attention, transformers, positions, tokens."""

import jax.numpy as jnp

import rosin as rs
from rosin.functional.masks import make_padding_mask
from tests.layer_row import KEY, Row


def encoder(**options):
    return rs.TransformerEncoderBlock(4, heads=2, hidden_size=3, key=KEY, **options)


def decoder(**options):
    return rs.TransformerDecoderBlock(4, memory_size=3, heads=2, hidden_size=5, key=KEY, **options)


def masked(layer, x):
    """Attend to the first three tokens only."""
    return layer(x, mask=make_padding_mask(jnp.full(x.shape[0], 3), x.shape[1]))


ROWS = {
    "MultiHeadAttention": Row(
        build=lambda: rs.MultiHeadAttention(
            6,
            heads=4,
            qk_size=8,
            value_size=12,
            out_size=5,
            kv_heads=2,
            bias=True,
            causal=True,
            rotary=rs.RotaryPositions(),
            key=KEY,
        ),
        shapes=((2, 5, 6),),
        refused=((2, 5, 3), (5, 6)),
    ),
    "MultiHeadAttention, three inputs": Row(
        build=lambda: rs.MultiHeadAttention((4, 3, 5), heads=2, key=KEY),
        shapes=((2, 5, 4), (2, 3, 3), (2, 3, 5)),
        refused=((2, 5, 3), (3, 5, 4)),
    ),
    "MultiHeadAttention, masked": Row(
        build=lambda: rs.MultiHeadAttention(4, heads=2, dropout=0.3, key=KEY),
        shapes=((2, 5, 4),),
        refused=((2, 5, 3),),
        call=masked,
        stateful=True,
    ),
    "TransformerEncoderBlock": Row(
        build=lambda: encoder(causal=True, dropout=0.2),
        shapes=((2, 5, 4),),
        refused=((2, 5, 3), (5, 4)),
        stateful=True,
    ),
    "TransformerEncoderBlock, norms last": Row(
        build=lambda: encoder(pre_norm=False, activation=rs.tanh, bias=False, epsilon=1e-3),
        shapes=((2, 5, 4),),
        refused=((2, 5, 3), (5, 4)),
    ),
    "TransformerDecoderBlock": Row(
        build=decoder, shapes=((2, 5, 4), (2, 2, 3)), refused=((2, 5, 3), (3, 5, 4))
    ),
    "TransformerEncoder": Row(
        build=lambda: rs.TransformerEncoder([encoder() for _ in range(2)]),
        shapes=((2, 5, 4),),
        refused=((2, 5, 3), (5, 4)),
    ),
    "TransformerDecoder": Row(
        build=lambda: rs.TransformerDecoder([decoder() for _ in range(2)]),
        shapes=((2, 3, 4), (2, 2, 3)),
        refused=((2, 5, 3),),
    ),
    "SinusoidalPositions": Row(
        build=lambda: rs.SinusoidalPositions(6, base=100.0),
        shapes=((2, 5, 6),),
        refused=((2, 5, 4), (5, 6)),
    ),
    "LearnedPositions": Row(
        build=lambda: rs.LearnedPositions(7, 3, key=KEY),
        shapes=((2, 5, 3),),
        refused=((2, 5, 4), (5, 3)),
    ),
    "RotaryPositions": Row(
        build=lambda: rs.RotaryPositions(base=50.0, pairing="interleaved"),
        shapes=((2, 5, 3, 6),),
        refused=((2, 5, 6),),
    ),
    "PatchEmbedding": Row(
        build=lambda: rs.PatchEmbedding((2, 3), 2, 5, key=KEY),
        shapes=((2, 4, 6, 2),),
        refused=((2, 4, 6, 3), (2, 5, 6, 2), (4, 6, 2)),
    ),
    "ClassToken": Row(
        build=lambda: rs.ClassToken(3, key=KEY),
        shapes=((2, 5, 3),),
        refused=((2, 5, 4), (5, 3)),
    ),
}
