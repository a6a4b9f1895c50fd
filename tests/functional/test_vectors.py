# SPDX-License-Identifier: Apache-2.0
"""Lengths and angles: any scale, zero vectors, parallel vectors, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import rosin as rs
from rosin.functional.vectors import cosine, norm, unit

pytestmark = pytest.mark.optimised  # digits are counted

MAX = float(np.finfo(np.float32).max)
V = np.array([3.0, -4.0, 12.0])
W = np.array([1.0, 2.0, 0.5])


@pytest.mark.parametrize("size", [1e-37, 1e-30, 1.0, 1e19, 1e30, MAX / 13])
def test_any_scale_gives_the_same_direction(size):
    v, w = (V * size).astype(np.float32), W.astype(np.float32)
    np.testing.assert_allclose(norm(v), 13 * size, rtol=1e-6)
    np.testing.assert_allclose(unit(v), V / 13, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(norm)(v), V / 13, rtol=1e-6)
    expected = (V * W).sum() / 13 / np.linalg.norm(W)
    np.testing.assert_allclose(rs.cosine_similarity(v, w), expected, rtol=2e-6)
    slope = jax.grad(rs.cosine_similarity, argnums=1)(v, w)
    true = (V / 13 - expected * W / np.linalg.norm(W)) / np.linalg.norm(W)
    np.testing.assert_allclose(slope, true, rtol=0, atol=4e-7)


def test_entries_as_large_as_there_are_keep_their_direction():
    v = np.array([MAX, 1.0, MAX / 4], np.float32)
    np.testing.assert_allclose(unit(v), np.array([4, 0, 1]) / 17**0.5, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(jax.jit(unit)(v), unit(v))


def test_the_zero_vector_has_no_direction_and_no_derivative():
    zero, w = jnp.zeros(3), jnp.asarray(W, jnp.float32)
    assert norm(zero) == 0
    assert rs.cosine_similarity(zero, w) == 0
    for function in (norm, lambda z: rs.cosine_similarity(z, w), lambda z: unit(z).sum()):
        assert not jax.grad(function)(zero).any()
        assert not jax.hessian(function)(zero).any()


def test_parallel_vectors_are_not_further_than_rounding_from_1():
    draw = np.random.default_rng(0)
    a = draw.normal(size=(1000, 7)).astype(np.float32)
    for b, sign in ((a, 1), (3 * a, 1), (-a, -1)):
        similarity, distance = cosine(jnp.asarray(a), jnp.asarray(b))
        assert (jnp.abs(similarity) <= 1).all()
        np.testing.assert_allclose(similarity, sign, rtol=1e-6)
        assert (distance >= 0).all()
    # Of vectors at a small angle t the distance is t²/2, of which 1 - cosine keeps nothing.
    near = jnp.array([[1.0, 1e-4, 0.0]])
    np.testing.assert_allclose(cosine(near, jnp.array([[1.0, 0.0, 0.0]]))[1], 5e-9, rtol=1e-6)


def test_derivatives_match_finite_differences():
    with jax.enable_x64(True):
        for function in (norm, unit):
            check_grads(function, [np.stack([V, W])], order=2)
        check_grads(rs.cosine_similarity, [V, W], order=2)
        check_grads(rs.cosine_similarity, [V, V + 0.1 * W], order=2)


def test_half_types_and_refusals():
    assert rs.cosine_similarity(V.astype(np.float16), W.astype(np.float16)).dtype == jnp.float32
    with pytest.raises(rs.ShapeError) as caught:
        rs.cosine_similarity(V, W[:2])
    assert caught.value.subject == "cosine_similarity"
    with pytest.raises(rs.ShapeError):
        rs.cosine_similarity(1.0, 1.0)
    with pytest.raises(rs.DtypeError):
        rs.cosine_similarity(V.astype(int), V.astype(int))
