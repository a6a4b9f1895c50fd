# SPDX-License-Identifier: Apache-2.0
"""Shapes of outputs: the sizes that Flux's tests of `outputsize` pin down, channels last."""

import jax.numpy as jnp
import pytest

import rosin as rs

IMAGE = (1, 10, 10, 3)


def conv(**options):
    return rs.Conv((3, 3), 3, 16, **options)


def transposed(**options):
    return rs.ConvTranspose((3, 3), 3, 16, **options)


def depthwise(**options):
    return rs.DepthwiseConv((3, 3), 3, **options)


def named(part):
    """Name a layer, a function or a shape in the same words in every process."""
    return getattr(part, "__name__", None) or str(part)


SIZES = [
    (rs.Dense(10, 5), (1, 10), (1, 5)),
    (rs.Chain(rs.Dense(10, 5), rs.Dense(5, 2)), (8, 10), (8, 2)),
    (rs.Chain(rs.Dense(10, 8, rs.relu), rs.Dense(8, 4), rs.Dense(4, 2)), (7, 3, 10), (7, 3, 2)),
    (rs.flatten, (2, 5, 5, 3), (2, 75)),
    (rs.Chain(conv(), rs.Conv((3, 3), 16, 32)), IMAGE, (1, 6, 6, 32)),
    (conv(), IMAGE, (1, 8, 8, 16)),
    (conv(stride=2), IMAGE, (1, 4, 4, 16)),
    (conv(dilation=2), IMAGE, (1, 6, 6, 16)),
    (conv(pad=1), IMAGE, (1, 10, 10, 16)),
    (conv(pad="same", stride=3), IMAGE, (1, 4, 4, 16)),
    (transposed(), IMAGE, (1, 12, 12, 16)),
    (transposed(stride=2), IMAGE, (1, 21, 21, 16)),
    (transposed(dilation=2), IMAGE, (1, 14, 14, 16)),
    (transposed(pad=1), IMAGE, (1, 10, 10, 16)),
    (depthwise(), IMAGE, (1, 8, 8, 3)),
    (depthwise(stride=2), IMAGE, (1, 4, 4, 3)),
    (depthwise(dilation=2), IMAGE, (1, 6, 6, 3)),
    (depthwise(pad=1), IMAGE, (1, 10, 10, 3)),
    (rs.MaxPool((2, 2)), IMAGE, (1, 5, 5, 3)),
    (rs.MaxPool((2, 2), stride=1), IMAGE, (1, 9, 9, 3)),
    (rs.MaxPool((2, 2), pad=1), IMAGE, (1, 6, 6, 3)),
    (rs.MeanPool((2, 2)), IMAGE, (1, 5, 5, 3)),
    (rs.MeanPool((2, 2), stride=1), IMAGE, (1, 9, 9, 3)),
    (rs.MeanPool((2, 2), pad=1), IMAGE, (1, 6, 6, 3)),
    (rs.BatchNorm(3), IMAGE, IMAGE),
    (rs.InstanceNorm(3), IMAGE, IMAGE),
    (rs.GroupNorm(3, 3), IMAGE, IMAGE),
    (rs.LayerNorm(3), IMAGE, IMAGE),
    (rs.Dropout(0.3), IMAGE, IMAGE),
    (rs.SkipConnection(rs.Dense(10, 10), jnp.add), (2, 10), (2, 10)),
    (rs.Parallel(jnp.add, rs.Dense(10, 4), rs.Dense(10, 4)), (2, 10), (2, 4)),
    (rs.Maxout(lambda: rs.Dense(10, 4), 3), (2, 10), (2, 4)),
]


@pytest.mark.parametrize(("model", "shape", "expected"), SIZES, ids=named)
def test_sizes_are_those_of_flux(model, shape, expected):
    assert rs.outputsize(model, shape) == expected


def test_several_inputs_and_outputs():
    assert rs.outputsize(rs.Bilinear((10, 7), 5), (2, 10), (2, 7)) == (2, 5)
    fusion = rs.PairwiseFusion(jnp.add, rs.Dense(2, 20), rs.Dense(20, 10))
    assert rs.outputsize(fusion, (3, 2), (3, 20)) == ((3, 20), (3, 10))
    table = rs.Embedding(7, 3)  # at which Flux's own fails
    assert rs.outputsize(table, (2, 5), dtype=jnp.int32) == (2, 5, 3)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (rs.Chain(rs.Dense(10, 8, rs.tanh), rs.Dense(5, 2)), (1, 10)),
        (rs.Chain(conv(), conv()), IMAGE),
        (conv(), (10, 10, 3)),
        (rs.BatchNorm(4), IMAGE),
        (rs.GroupNorm(4, 2), IMAGE),
        (rs.InstanceNorm(4), IMAGE),
        (rs.LayerNorm(4), IMAGE),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(model, shape):
    with pytest.raises(rs.ShapeError):
        rs.outputsize(model, shape)
