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


SIZES = [
    (lambda: rs.Dense(10, 5), (1, 10), (1, 5)),
    (lambda: rs.Chain(rs.Dense(10, 5), rs.Dense(5, 2)), (8, 10), (8, 2)),
    (
        lambda: rs.Chain(rs.Dense(10, 8, rs.relu), rs.Dense(8, 4), rs.Dense(4, 2)),
        (7, 3, 10),
        (7, 3, 2),
    ),
    (lambda: rs.flatten, (2, 5, 5, 3), (2, 75)),
    (lambda: rs.Chain(conv(), rs.Conv((3, 3), 16, 32)), IMAGE, (1, 6, 6, 32)),
    (conv, IMAGE, (1, 8, 8, 16)),
    (lambda: conv(stride=2), IMAGE, (1, 4, 4, 16)),
    (lambda: conv(dilation=2), IMAGE, (1, 6, 6, 16)),
    (lambda: conv(pad=1), IMAGE, (1, 10, 10, 16)),
    (lambda: conv(pad="same", stride=3), IMAGE, (1, 4, 4, 16)),
    (transposed, IMAGE, (1, 12, 12, 16)),
    (lambda: transposed(stride=2), IMAGE, (1, 21, 21, 16)),
    (lambda: transposed(dilation=2), IMAGE, (1, 14, 14, 16)),
    (lambda: transposed(pad=1), IMAGE, (1, 10, 10, 16)),
    (depthwise, IMAGE, (1, 8, 8, 3)),
    (lambda: depthwise(stride=2), IMAGE, (1, 4, 4, 3)),
    (lambda: depthwise(dilation=2), IMAGE, (1, 6, 6, 3)),
    (lambda: depthwise(pad=1), IMAGE, (1, 10, 10, 3)),
    (lambda: rs.MaxPool((2, 2)), IMAGE, (1, 5, 5, 3)),
    (lambda: rs.MaxPool((2, 2), stride=1), IMAGE, (1, 9, 9, 3)),
    (lambda: rs.MaxPool((2, 2), pad=1), IMAGE, (1, 6, 6, 3)),
    (lambda: rs.MeanPool((2, 2)), IMAGE, (1, 5, 5, 3)),
    (lambda: rs.MeanPool((2, 2), stride=1), IMAGE, (1, 9, 9, 3)),
    (lambda: rs.MeanPool((2, 2), pad=1), IMAGE, (1, 6, 6, 3)),
    (lambda: rs.BatchNorm(3), IMAGE, IMAGE),
    (lambda: rs.InstanceNorm(3), IMAGE, IMAGE),
    (lambda: rs.GroupNorm(3, 3), IMAGE, IMAGE),
    (lambda: rs.LayerNorm(3), IMAGE, IMAGE),
    (lambda: rs.Dropout(0.3), IMAGE, IMAGE),
    (lambda: rs.SkipConnection(rs.Dense(10, 10), jnp.add), (2, 10), (2, 10)),
    (lambda: rs.Parallel(jnp.add, rs.Dense(10, 4), rs.Dense(10, 4)), (2, 10), (2, 4)),
    (lambda: rs.Maxout(lambda: rs.Dense(10, 4), 3), (2, 10), (2, 4)),
]


@pytest.mark.parametrize(("build", "shape", "expected"), SIZES)
def test_sizes_are_those_of_flux(build, shape, expected):
    assert rs.outputsize(build(), shape) == expected


def test_several_inputs_and_outputs():
    assert rs.outputsize(rs.Bilinear((10, 7), 5), (2, 10), (2, 7)) == (2, 5)
    fusion = rs.PairwiseFusion(jnp.add, rs.Dense(2, 20), rs.Dense(20, 10))
    assert rs.outputsize(fusion, (3, 2), (3, 20)) == ((3, 20), (3, 10))
    table = rs.Embedding(7, 3)  # at which Flux's own fails
    assert rs.outputsize(table, (2, 5), dtype=jnp.int32) == (2, 5, 3)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: rs.Chain(rs.Dense(10, 8, rs.tanh), rs.Dense(5, 2)), (1, 10)),
        (lambda: rs.Chain(conv(), conv()), IMAGE),
        (conv, (10, 10, 3)),
        (lambda: rs.BatchNorm(4), IMAGE),
        (lambda: rs.GroupNorm(4, 2), IMAGE),
        (lambda: rs.InstanceNorm(4), IMAGE),
        (lambda: rs.LayerNorm(4), IMAGE),
    ],
)
def test_what_does_not_fit_is_refused(build, shape):
    model = build()
    with pytest.raises(rs.ShapeError):
        rs.outputsize(model, shape)
