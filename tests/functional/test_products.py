# SPDX-License-Identifier: Apache-2.0
"""Products of stacked matrices: against loops, with batches of one, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import ShapeError
from rosin.functional.products import (
    batched_adjoint,
    batched_product,
    batched_transpose,
    batched_vector,
)

pytestmark = pytest.mark.optimised  # digits are counted


def drawn(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((5, 2, 3), (5, 3, 4)),
        ((1, 2, 3), (5, 3, 4)),
        ((5, 2, 3), (1, 3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (3, 4)),
        ((2, 1, 2, 3), (2, 5, 3, 4)),
        ((0, 2, 3), (0, 3, 4)),
        ((5, 2, 0), (5, 0, 4)),
    ],
)
def test_each_pair_of_matrices_is_multiplied(left, right):
    a, b = drawn(*left), drawn(*right)
    expected = np.matmul(a.astype(np.float64), b.astype(np.float64))
    y = batched_product(a, b)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("matrices", "vectors"),
    [((5, 2, 3), (5, 3)), ((1, 2, 3), (5, 3)), ((5, 2, 3), (3,)), ((2, 3), (5, 3)), ((2, 3), (3,))],
)
def test_each_matrix_is_multiplied_with_its_vector(matrices, vectors):
    a, x = drawn(*matrices), drawn(*vectors)
    expected = np.einsum("...ij,...j->...i", a.astype(np.float64), x)
    np.testing.assert_allclose(batched_vector(a, x), expected, rtol=1e-5, atol=1e-6)


def test_transpose_and_adjoint_swap_the_last_two_axes():
    a = drawn(4, 5, 2, 3)
    np.testing.assert_array_equal(batched_transpose(a), np.swapaxes(a, 2, 3))
    np.testing.assert_array_equal(batched_adjoint(a + 1j * a), np.swapaxes(a - 1j * a, 2, 3))


def test_derivatives_are_those_of_finite_differences():
    with jax.enable_x64(True):
        a, b, x = (jnp.asarray(drawn(*s), jnp.float64) for s in ((1, 2, 3), (4, 3, 2), (4, 3)))
        check_grads(jax.jit(batched_product), (a, b), order=2, rtol=1e-5, atol=1e-6)
        check_grads(jax.jit(batched_vector), (a, x), order=2, rtol=1e-5, atol=1e-6)


def test_half_precision_stays_half():
    y = batched_product(jnp.ones((2, 1, 3000), jnp.float16), jnp.ones((2, 3000, 1), jnp.float16))
    assert y.dtype == jnp.float16
    np.testing.assert_array_equal(y, 3000)  # added up in float16 it would stay at 2048


@pytest.mark.parametrize(
    "call",
    [
        lambda: batched_product(drawn(5, 2, 3), drawn(5, 4, 3)),
        lambda: batched_product(drawn(5, 2, 3), drawn(4, 3, 2)),
        lambda: batched_product(drawn(5, 2, 3), drawn(2, 5, 3, 2)),
        lambda: batched_product(drawn(3), drawn(3, 2)),
        lambda: batched_vector(drawn(5, 2, 3), drawn(5, 2)),
        lambda: batched_vector(drawn(5, 2, 3), drawn(4, 3)),
        lambda: batched_vector(drawn(5, 2, 3), 1.0),
        lambda: batched_transpose(drawn(3)),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ShapeError):
        call()
