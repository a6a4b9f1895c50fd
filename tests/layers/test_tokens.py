# SPDX-License-Identifier: Apache-2.0
"""Tokens: patches are a strided convolution, a class token comes first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("patch", "space"), [((2,), (6,)), ((2, 3), (4, 9)), ((1, 2, 2), (2, 4, 2))]
)
def test_patches_are_what_a_strided_convolution_gives(patch, space):
    layer = rs.PatchEmbedding(patch, 3, 5, key=KEY)
    layer = layer.replace(bias=jnp.arange(5.0))
    conv = rs.Conv(patch, 3, 5, stride=patch).replace(weight=layer.weight, bias=layer.bias)
    x = jax.random.normal(KEY, (2, *space, 3))
    y = conv(x)
    np.testing.assert_allclose(layer(x), y.reshape(2, -1, 5), rtol=1e-5, atol=1e-6)


def test_a_patch_is_one_product_with_its_pixels():
    x = np.arange(2 * 2 * 4, dtype=np.float32).reshape(1, 2, 4, 2)
    layer = rs.PatchEmbedding((2, 2), 2, 1, bias=False, key=KEY).replace(
        weight=jnp.ones((2, 2, 2, 1))
    )
    np.testing.assert_array_equal(layer(x).ravel(), [x[:, :, :2].sum(), x[:, :, 2:].sum()])
    assert layer.bias is None


def test_a_class_token_comes_first():
    layer = rs.ClassToken(3, key=KEY)
    x = jax.random.normal(KEY, (2, 4, 3))
    y = layer(x)
    np.testing.assert_array_equal(y[:, 1:], x)
    np.testing.assert_array_equal(y[:, 0], jnp.stack([layer.weight] * 2))


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda: rs.PatchEmbedding((2, 0), 3, 4), rs.RangeError, "patch to be a tuple"),
        (lambda: rs.PatchEmbedding((2, 2), 0, 4), rs.RangeError, "in_channels to be"),
        (
            lambda: rs.PatchEmbedding((2, 2), 3, 4)(jnp.ones((1, 4, 5, 3))),
            rs.ShapeError,
            "sizes of which (2, 2) are divisors",
        ),
        (
            lambda: rs.PatchEmbedding((2, 2), 3, 4)(jnp.ones((1, 3, 4, 4))),
            rs.ShapeError,
            "shape (..., 3)",
        ),
        (
            lambda: rs.PatchEmbedding((2, 2), 3, 4)(jnp.ones((4, 4, 3))),
            rs.ShapeError,
            "shape (batch, height, width, channels)",
        ),
        (lambda: rs.ClassToken(3)(jnp.ones((4, 3))), rs.ShapeError, "shape (batch, time"),
        (lambda: rs.ClassToken(0), rs.RangeError, "features to be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, expected):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.expected.startswith(expected)
