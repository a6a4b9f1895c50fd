# SPDX-License-Identifier: Apache-2.0
"""The models of `tests/reference/foreign.py` built from Rosin's layers, and their names.

Each model comes with the rules that take the published names and layouts to its own.
"""

from typing import Any

import jax
import jax.numpy as jnp

import rosin as rs
from rosin.files.renaming import Add, Drop, Rename, Renaming, Same, Split, Stack, Transpose

KEY = jax.random.key(0)
CONV = Transpose("OIHW->HWIO")
DENSE = Transpose("OI->IO")


def batch_norm(source, target):
    names = {
        "weight": "scale",
        "bias": "shift",
        "running_mean": "running_mean",
        "running_var": "running_variance",
    }
    return [Rename(f"{source}.{ours}", f"{target}.{theirs}") for ours, theirs in names.items()]


# --- ResNet-18 --------------------------------------------------------------------------


def conv(kernel, inside, outside, stride=1):
    return rs.Conv(
        (kernel, kernel), inside, outside, stride=stride, pad=kernel // 2, bias=False, key=KEY
    )


class BasicBlock(rs.Module):
    """Two convolutions with a way around them."""

    conv1: rs.Conv
    norm1: rs.BatchNorm
    conv2: rs.Conv
    norm2: rs.BatchNorm
    around: Any

    def __init__(self, inside, outside, stride):
        self.conv1 = conv(3, inside, outside, stride)
        self.norm1 = rs.BatchNorm(outside, rs.relu)
        self.conv2 = conv(3, outside, outside)
        self.norm2 = rs.BatchNorm(outside)
        self.around = None
        if stride != 1 or inside != outside:
            self.around = rs.Chain(conv(1, inside, outside, stride), rs.BatchNorm(outside))

    def __call__(self, x):
        around = x if self.around is None else self.around(x)
        return rs.relu(self.norm2(self.conv2(self.norm1(self.conv1(x)))) + around)


class ResNet18(rs.Module):
    """He et al. 2015, as torchvision has it."""

    stem: rs.Chain
    stages: tuple[Any, ...]
    head: rs.Dense

    def __init__(self, channels=(3, 4, 6, 8), classes=5):
        first = channels[0]
        self.stem = rs.Chain(
            conv(7, 3, first, 2), rs.BatchNorm(first, rs.relu), rs.MaxPool((3, 3), stride=2, pad=1)
        )
        pairs = zip((first, *channels[:-1]), channels, strict=True)
        self.stages = tuple(
            (BasicBlock(before, width, 2 if number else 1), BasicBlock(width, width, 1))
            for number, (before, width) in enumerate(pairs)
        )
        self.head = rs.Dense(channels[-1], classes, key=KEY)

    def __call__(self, x):
        x = self.stem(x)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.head(x.mean((1, 2)))


TORCHVISION = Renaming(
    [
        Drop("**.num_batches_tracked"),
        Rename("conv1.weight", "stem.layers[0].weight", CONV),
        *batch_norm("bn1", "stem.layers[1]"),
        Rename("layer{s}.{b}.conv{k}.weight", "stages[{s-1}][{b}].conv{k}.weight", CONV),
        *batch_norm("layer{s}.{b}.bn{k}", "stages[{s-1}][{b}].norm{k}"),
        Rename(
            "layer{s}.{b}.downsample.0.weight", "stages[{s-1}][{b}].around.layers[0].weight", CONV
        ),
        *batch_norm("layer{s}.{b}.downsample.1", "stages[{s-1}][{b}].around.layers[1]"),
        Rename("fc.weight", "head.weight", DENSE),
        Rename("fc.bias", "head.bias"),
    ]
)


# --- GPT-2 --------------------------------------------------------------------------------


class GPT2(rs.Module):
    """Radford et al. 2019; the head is the embedding, turned round."""

    tokens: rs.Embedding
    positions: rs.LearnedPositions
    decoder: rs.TransformerEncoder

    def __init__(self, vocabulary=11, positions=12, size=8, heads=2, blocks=3):
        self.tokens = rs.Embedding(vocabulary, size, key=KEY)
        self.positions = rs.LearnedPositions(positions, size, key=KEY)
        self.decoder = rs.TransformerEncoder(
            [
                rs.TransformerEncoderBlock(
                    size, heads=heads, activation=rs.gelu_tanh, causal=True, key=KEY
                )
                for _ in range(blocks)
            ]
        )

    def __call__(self, tokens):
        x = self.decoder(self.positions(self.tokens(tokens)))
        return x @ self.tokens.weight.T


def stacked(source, target, *steps):
    """Bring one array of all blocks into one, with the blocks along the first axis."""
    targets = [f"decoder.blocks.blocks.{one}" for one in target.split()]
    return Rename(f"transformer.h.{{i}}.{source}", targets, Stack(), *steps)


def dense(source, target, *steps):
    return [
        stacked(f"{source}.{name}", " ".join(f"{one}.{name}" for one in target.split()), *steps)
        for name in ("weight", "bias")
    ]


def layer_norm(source, target):
    names = {"weight": "scale", "bias": "shift"}
    return [stacked(f"{source}.{ours}", f"{target}.{theirs}") for ours, theirs in names.items()]


HUGGING_FACE = Renaming(
    [
        Drop("**.attn.bias"),
        Rename(["transformer.wte.weight", "lm_head.weight"], "tokens.weight", Same()),
        Rename("transformer.wpe.weight", "positions.weight"),
        *layer_norm("ln_1", "attention_norm"),
        *dense("attn.c_attn", "attention.query attention.key attention.value", Split(3, axis=-1)),
        *dense("attn.c_proj", "attention.out"),
        *layer_norm("ln_2", "norm"),
        *dense("mlp.c_fc", "feedforward.layers[0]"),
        *dense("mlp.c_proj", "feedforward.layers[1]"),
        Rename("transformer.ln_f.weight", "decoder.norm.scale"),
        Rename("transformer.ln_f.bias", "decoder.norm.shift"),
    ]
)


# --- a classifier of sentences --------------------------------------------------------------


class Classifier(rs.Module):
    """Two bidirectional LSTM layers over words, and a dense layer on their last states."""

    embedding: rs.Embedding
    lstm: rs.LSTM
    head: rs.Dense

    def __init__(self, vocabulary=9, size=4, hidden=5, classes=3):
        self.embedding = rs.Embedding(vocabulary, size, key=KEY)
        self.lstm = rs.LSTM(size, hidden, layers=2, bidirectional=True, return_state=True, key=KEY)
        self.head = rs.Dense(2 * hidden, classes, key=KEY)

    def __call__(self, tokens):
        _, (_, ((forward, _), (backward, _))) = self.lstm(self.embedding(tokens))
        return self.head(jnp.concatenate([forward, backward], -1))


def cell(direction, ending):
    """Take one direction of a layer; the reverse goes first, for its names are longer."""
    home = f"lstm.layers[{{n}}].{direction}.cell"
    return [
        Rename(f"lstm.weight_ih_l{{n}}{ending}", f"{home}.weight", DENSE),
        Rename(f"lstm.weight_hh_l{{n}}{ending}", f"{home}.recurrent_weight", DENSE),
        Rename(
            [f"lstm.bias_ih_l{{n}}{ending}", f"lstm.bias_hh_l{{n}}{ending}"],
            f"{home}.bias",
            Add(),
        ),
    ]


PYTORCH = Renaming(
    [
        *cell("backward", "_reverse"),
        *cell("forward", ""),
        Rename("fc.weight", "head.weight", DENSE),
        Rename("fc.bias", "head.bias"),
    ]
)

MODELS = {
    "resnet18": (ResNet18, TORCHVISION, lambda x: x.transpose(0, 2, 3, 1)),
    "gpt2": (GPT2, HUGGING_FACE, lambda x: x.astype(int)),
    "bilstm": (Classifier, PYTORCH, lambda x: x.astype(int)),
}


def build(name):
    """Describe a model without drawing its weights, all of which come from a file."""
    return jax.eval_shape(MODELS[name][0])
