# SPDX-License-Identifier: Apache-2.0
"""Upsample, pixel shuffling and Pad as layers; the arithmetic is tested in `functional`."""

import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("layer", "text", "expected"),
    [
        (rs.Upsample(scale=2), "Upsample(scale=2)", (2, 6, 10, 4)),
        (rs.Upsample(scale=(1.5, 2)), "Upsample(scale=(1.5, 2))", (2, 4, 10, 4)),
        (rs.Upsample(size=7), "Upsample(size=7)", (2, 7, 7, 4)),
        (
            rs.Upsample(size=(2, 9), mode="bicubic", align_corners=True),
            "Upsample(size=(2, 9), mode='bicubic', align_corners=True)",
            (2, 2, 9, 4),
        ),
        (
            rs.Upsample(scale=0.5, mode="linear", antialias=True),
            "Upsample(scale=0.5, mode='linear', antialias=True)",
            (2, 1, 2, 4),
        ),
        (rs.PixelShuffle(2), "PixelShuffle(2)", (2, 6, 10, 1)),
        (rs.PixelShuffle((1, 4)), "PixelShuffle((1, 4))", (2, 3, 20, 1)),
        (rs.PixelUnshuffle((3, 5)), "PixelUnshuffle((3, 5))", (2, 1, 1, 60)),
        (rs.Pad(1), "Pad(1)", (2, 5, 7, 4)),
        (rs.Pad((1, 2)), "Pad(((1, 1), (2, 2)))", (2, 5, 9, 4)),
        (rs.Pad(((0, 1), (2, 0)), value=3), "Pad(((0, 1), (2, 0)), value=3.0)", (2, 4, 7, 4)),
        (rs.Pad(2, mode="replicate"), "Pad(2, mode='replicate')", (2, 7, 9, 4)),
    ],
    ids=repr,
)
def test_a_layer_prints_itself_and_gives_its_size(layer, text, expected):
    assert repr(layer) == text
    assert rs.outputsize(layer, (2, 3, 5, 4)) == expected


def test_flux_s_linear_mode_is_with_aligned_corners():
    x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(1, 2, 2, 1)
    layer = rs.Upsample(size=(3, 3), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(layer(x)[0, ..., 0], [[1, 1.5, 2], [2, 2.5, 3], [3, 3.5, 4]])


@pytest.mark.parametrize(
    ("mode", "numpys"),
    [
        ("constant", "constant"),
        ("reflect", "reflect"),
        ("symmetric", "symmetric"),
        ("circular", "wrap"),
        ("replicate", "edge"),
    ],
)
def test_each_mode_of_pad_is_that_of_numpy(mode, numpys):
    x = DRAW.normal(size=(1, 3, 4, 2)).astype(np.float32)
    expected = np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), numpys)
    np.testing.assert_array_equal(rs.Pad((1, 2), mode=mode)(x), expected)


def test_a_padded_conv_sees_a_ring():
    layer = rs.Chain(rs.Pad(1, mode="circular"), rs.Conv((3,), 1, 1, bias=False))
    layer = rs.at(layer, "layers[1].weight").set(jnp.ones((3, 1, 1)))
    got = layer(jnp.arange(4.0).reshape(1, 4, 1)).ravel()
    np.testing.assert_array_equal(got, [4, 3, 6, 5])


@pytest.mark.parametrize(
    ("build", "kind", "subject"),
    [
        (rs.Upsample, rs.StructureError, "Upsample"),
        (lambda: rs.Upsample(scale=2, size=2), rs.StructureError, "Upsample"),
        (lambda: rs.Upsample(scale=-1), rs.RangeError, "Upsample"),
        (lambda: rs.Upsample(size=2.5), rs.RangeError, "Upsample"),
        (lambda: rs.Upsample(scale=2, mode="cubical"), rs.RangeError, "Upsample"),
        (lambda: rs.Upsample(scale=2, align_corners=True), rs.RangeError, "Upsample"),
        (lambda: rs.PixelShuffle(0), rs.RangeError, "PixelShuffle"),
        (lambda: rs.PixelShuffle(2.0), rs.RangeError, "PixelShuffle"),
        (lambda: rs.PixelUnshuffle((2, 0)), rs.RangeError, "PixelUnshuffle"),
        (lambda: rs.Pad(-1), rs.RangeError, "Pad"),
        (lambda: rs.Pad(()), rs.RangeError, "Pad"),
        (lambda: rs.Pad("same"), rs.RangeError, "Pad"),
        (lambda: rs.Pad(1, mode="edge"), rs.RangeError, "Pad"),
        (lambda: rs.Pad(1, mode="reflect", value=1), rs.RangeError, "Pad"),
        (lambda: rs.Pad(1, value=np.nan), rs.RangeError, "Pad"),
    ],
)
def test_arguments_out_of_range_are_refused_when_the_layer_is_built(build, kind, subject):
    with pytest.raises(kind) as caught:
        build()
    assert caught.value.subject == subject
    assert caught.value.fix
