# SPDX-License-Identifier: Apache-2.0
"""Positions: values, exact angles far out, the relative property, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.functional.attention import dot_product_attention
from rosin.functional.masks import make_causal_mask
from rosin.functional.positions import alibi_bias, rotate, sinusoids

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3, 6)), jnp.float32)


def angles(places, features, base=10_000.0):
    return np.multiply.outer(places, base ** (-np.arange(0, features, 2) / features))


def turned(x, places, pairing, base=10_000.0):
    """Turn pairs of features as complex numbers, in float64."""
    x = np.asarray(x, np.float64)
    turn = np.exp(1j * angles(places, x.shape[-1], base))[:, None]
    if pairing == "interleaved":
        z = (x[..., ::2] + 1j * x[..., 1::2]) * turn
        return np.stack([z.real, z.imag], -1).reshape(x.shape)
    half = x.shape[-1] // 2
    z = (x[..., :half] + 1j * x[..., half:]) * turn
    return np.concatenate([z.real, z.imag], -1)


@pytest.mark.parametrize("pairing", ["halves", "interleaved"])
@pytest.mark.parametrize("offset", [0, 7, 1_000_000])
def test_rotation_is_the_formula_in_complex_numbers_however_far_out(pairing, offset):
    layer = rs.RotaryPositions(base=500.0, pairing=pairing)
    expected = turned(X, offset + np.arange(5), pairing, 500.0)
    # An angle of float32 between -pi and pi; a product of floats would be off by 0.06.
    np.testing.assert_allclose(layer(X, offset), expected, rtol=1e-5, atol=2e-6)
    traced = jax.jit(layer)(X, offset)
    np.testing.assert_allclose(traced, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("pairing", ["halves", "interleaved"])
def test_scores_depend_on_the_distance_only(pairing):
    layer = rs.RotaryPositions(pairing=pairing)
    q, k = X[:1, :1], X[1:, :1]

    def score(i, j):
        return jnp.einsum("bthf,bthf->bth", layer(q, i), layer(k, j))

    for distance in (0, 1, 30):
        near, far = score(0, distance), score(5_000, 5_000 + distance)
        np.testing.assert_allclose(near, far, rtol=1e-4, atol=1e-5)
    assert not np.allclose(score(0, 0), score(0, 1), atol=1e-2)


def test_rotation_keeps_lengths_and_takes_places_of_each_example():
    places = jnp.array([[0, 1, 2, 3, 4], [9, 8, 7, 6, 5]])
    y = rotate(X, places)
    np.testing.assert_allclose((y**2).sum(-1), (X**2).sum(-1), rtol=1e-5)
    expected = turned(X[1:], np.arange(9, 4, -1), "halves")
    np.testing.assert_allclose(y[1:], expected, rtol=1e-5, atol=1e-6)
    half = rotate(X.astype(jnp.bfloat16), places)
    assert half.dtype == jnp.bfloat16
    with jax.enable_x64(True):
        wide = rotate(jnp.asarray(X, jnp.float64), jnp.arange(5))
        np.testing.assert_allclose(wide, turned(X, np.arange(5), "halves"), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("offset", [0, 3, 1_000_000])
def test_sinusoids_are_the_formula_written_again_in_numpy(offset):
    angle = angles(offset + np.arange(5), 6)
    expected = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(5, 6)
    np.testing.assert_allclose(sinusoids(5, 6, offset=offset), expected, atol=2e-6)
    y = rs.SinusoidalPositions(6)(X[:, :, 0], offset)
    np.testing.assert_allclose(y - X[:, :, 0], np.stack([expected] * 2), atol=2e-6)
    assert rs.SinusoidalPositions(6)(X[:, :, 0].astype(jnp.float16)).dtype == jnp.float16


def test_learnt_positions_add_their_rows():
    layer = rs.LearnedPositions(7, 6, key=KEY)
    x = X[:, :, 0]
    np.testing.assert_array_equal(layer(x), x + jnp.stack([layer.weight[:5]] * 2))
    moved = x + jnp.stack([layer.weight[2:]] * 2)
    np.testing.assert_array_equal(layer(x, 2), moved)
    np.testing.assert_array_equal(jax.jit(layer)(x, 2), moved)
    y = jax.jit(layer)(x, 4)
    assert np.isfinite(y[:, :3]).all()
    assert np.isnan(y[:, 3:]).all()
    assert 0.01 < layer.weight.std() < 0.03
    for wrong in (3, -1, jnp.int32(3)):
        with pytest.raises(rs.RangeError):
            layer(x, wrong)


def test_alibi_lowers_scores_by_the_distance():
    bias = alibi_bias(8, 4)
    slopes = 2.0 ** -np.arange(1, 9)
    distance = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    np.testing.assert_array_equal(bias[0], -slopes[:, None, None] * distance)
    # Of the paper's program, get_slopes(6).
    slopes = np.array([0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125])
    np.testing.assert_allclose(alibi_bias(6, 2)[0, :, 0, 1], -slopes)
    np.testing.assert_array_equal(alibi_bias(8, 1, 4, offset=3)[0, :, 0], bias[0, :, 3])
    y = dot_product_attention(X, X, X, alibi_bias(3, 5), mask=make_causal_mask(5))
    assert y.shape == X.shape


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda: rs.SinusoidalPositions(5), rs.RangeError, "features to be even"),
        (lambda: rs.SinusoidalPositions(4, base=1), rs.RangeError, "base to be a number above 1"),
        (lambda: rs.SinusoidalPositions(4)(X[:, :, 0]), rs.ShapeError, "shape (..., 4)"),
        (lambda: rs.SinusoidalPositions(6)(X[0, 0]), rs.ShapeError, "shape (batch, time"),
        (lambda: rs.SinusoidalPositions(6)(X[0], 0.5), rs.DtypeError, "offset of an integer"),
        (lambda: rs.RotaryPositions(pairing="half"), rs.RangeError, "pairing to be one of"),
        (lambda: rs.RotaryPositions()(X[..., :5]), rs.RangeError, "features to be even"),
        (lambda: rs.RotaryPositions()(X[0]), rs.ShapeError, "shape (batch, time, heads"),
        (lambda: rotate(X, jnp.arange(4)), rs.ShapeError, "positions of shape (5,) or (2, 5)"),
        (lambda: rotate(X, jnp.ones(5)), rs.DtypeError, "positions of an integer dtype"),
        (lambda: rs.LearnedPositions(0, 3), rs.RangeError, "length to be a whole number"),
        (lambda: alibi_bias(0, 3), rs.RangeError, "heads to be a whole number"),
        (lambda: sinusoids(-1, 4), rs.RangeError, "time to be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, expected):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.expected.startswith(expected)
