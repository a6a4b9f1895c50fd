# SPDX-License-Identifier: Apache-2.0
"""Cross-entropies at their ends: infinite, huge, tied and confident rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.functional.entropy import (
    binary_cross_entropy,
    cross_entropy,
    label_cross_entropy,
    surprise,
)

pytestmark = pytest.mark.optimised  # digits are counted

INF, NAN = np.inf, np.nan
MAX = float(np.finfo(np.float32).max)


def exact(x, y):
    """Compute loss, gradient and curvature of a row, as sums that do not cancel."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    e = np.exp(x - x.max())
    rest = np.array([np.delete(e, i).sum() for i in range(len(e))])
    p, against = e / e.sum(), rest / (rest + e)
    with np.errstate(divide="ignore", invalid="ignore"):  # at logits of -inf
        surprises = np.where(p > 0.5, np.log1p(rest / e), np.log(e.sum()) - (x - x.max()))
        loss = np.where(y == 0, 0, y * surprises).sum()
    others = np.array([np.delete(y, i).sum() for i in range(len(y))])
    gradient = p * others - y * against
    curvature = y.sum() * (np.diag(p * against) - np.outer(p, p) * (1 - np.eye(len(p))))
    return loss, gradient, curvature


# Logits, label, in place of a label a whole distribution.
ROWS = {
    "plain": ([1.0, -2.0, 0.5], 2, None),
    "confident and right": ([20.0, 0.0, 0.0, 0.0], 0, None),
    "very confident and right": ([80.0, 0.0, -5.0], 0, None),
    "confident and wrong": ([20.0, 0.0, 0.0], 1, None),
    "all tied": ([3.0, 3.0, 3.0], 1, None),
    "two tied at the top": ([3.0, 3.0, -30.0], 1, None),
    "two tied at the top, the third is right": ([3.0, 3.0, -30.0], 2, None),
    "impossible others": ([-INF, 1.0, -INF], 1, None),
    "one impossible other": ([-INF, 1.0, 0.0], 1, None),
    "soft": ([1.0, -2.0, 0.5], None, [0.2, 0.3, 0.5]),
    "soft, tied": ([0.0, 0.0, 0.0], None, [0.2, 0.3, 0.5]),
    "soft, confident": ([30.0, 0.0, 1.0], None, [1 - 2**-20, 2**-21, 2**-21]),
    "soft, impossible": ([20.0, -INF, 0.0], None, [0.5, 0.0, 0.5]),
    "not normalised": ([25.0, 1.0, 0.0], None, [2.0, 0.25, 0.0]),
    "huge": ([1e30, -1e30, 0.0], 0, None),
    "huge and wrong": ([1e30, -1e30, 0.0], 1, None),
    "largest, soft": ([MAX, -MAX, 0.0], None, [0.75, 0.125, 0.125]),
}


@pytest.mark.parametrize("name", ROWS)
def test_loss_gradient_and_curvature_keep_their_digits(name):
    x, label, y = ROWS[name]
    x = jnp.array(x, jnp.float32)
    y = np.eye(len(x), dtype=np.float32)[label] if y is None else np.array(y, np.float32)
    functions = [lambda x: cross_entropy(x, y)]
    if label is not None:
        functions.append(lambda x: label_cross_entropy(x, jnp.array(label)))
    loss, gradient, curvature = exact(x, y)
    for function in functions:
        # exp and log1p of float32 are off by a few units; nothing else adds to it.
        np.testing.assert_allclose(function(x), loss, rtol=1e-6)
        np.testing.assert_allclose(jax.grad(function)(x), gradient, rtol=2e-6, atol=1e-38)
        np.testing.assert_allclose(jax.hessian(function)(x), curvature, rtol=3e-6, atol=1e-38)


@pytest.mark.parametrize(
    ("x", "label", "loss"),
    [
        ([-INF, 0.0], 0, INF),
        ([-MAX, MAX], 0, INF),  # twice the largest float32
        ([-INF, -INF], 0, NAN),
        ([INF, 0.0], 0, NAN),
        ([INF, 0.0], 1, NAN),
        ([INF, INF], 0, NAN),
        ([NAN, 0.0], 0, NAN),
        ([NAN, 0.0], 1, NAN),
        ([NAN], 0, NAN),
        ([-5.0], 0, 0.0),
        ([-MAX], 0, 0.0),
        ([0.0, 1.0], 2, NAN),
        ([0.0, 1.0], -1, NAN),
    ],
)
def test_what_has_no_finite_loss(x, label, loss):
    x = np.array(x, np.float32)
    np.testing.assert_equal(float(label_cross_entropy(x, jnp.array(label))), loss)
    if 0 <= label < len(x):
        y = np.eye(len(x), dtype=np.float32)[label]
        np.testing.assert_equal(float(cross_entropy(x, y)), loss)
    gradient = jax.grad(label_cross_entropy)(x, jnp.array(label))
    assert np.isnan(gradient).all() if np.isnan(loss) else np.isfinite(gradient).all()


def test_the_gradient_of_a_confident_row_sums_to_zero():
    x = jnp.array([20.0, 0.0, 0.0, 0.0])
    for gradient in (
        jax.grad(label_cross_entropy)(x, jnp.array(0)),
        jax.grad(cross_entropy)(x, jnp.eye(4)[0]),
    ):
        assert gradient[0] < 0 < gradient[1]
        assert abs(gradient.sum()) < 1e-15


def test_the_gradient_in_the_target_is_the_surprise():
    x, y = jnp.array([20.0, 0.0, -INF]), jnp.array([1.0, 0.0, 0.0])
    gradient = jax.grad(cross_entropy, argnums=1)(x, y)
    np.testing.assert_allclose(gradient, [2.0611537e-9, 20, INF], rtol=1e-6)
    np.testing.assert_allclose(surprise(x), gradient)


def test_a_target_that_is_held_does_not_disturb_the_gradient_in_the_logits():
    x, y = jnp.array([1.0, -INF]), jnp.array([1.0, 0.0])
    for wrap in (lambda f: f, jax.jit, jax.vmap):
        batch = wrap is jax.vmap
        arguments = (x[None], y[None]) if batch else (x, y)
        gradient = wrap(jax.grad(cross_entropy))(*arguments)
        np.testing.assert_array_equal(np.ravel(gradient), [0, 0])


def test_surprise_matches_finite_differences():
    with jax.enable_x64(True):
        check_grads(surprise, [jnp.array([[0.3, -1.0, 2.0], [0.0, 0.0, 0.0]])], order=2)


LOGITS = [-INF, -MAX, -100.0, -20.0, -3.0, -1.0, -1e-6, 0.0, 1e-6, 0.5, 3.0, 20.0, 100.0, MAX, INF]


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def logistic(x):
    n = np.exp(-np.abs(x))
    return np.where(x < 0, n, 1) / (1 + n)


@pytest.mark.parametrize("target", [0.0, 1.0, 0.5, 0.1])
def test_binary_loss_gradient_and_curvature_keep_their_digits(target):
    x = np.array(LOGITS, np.float32)
    y = np.full_like(x, target)
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 * inf, which `where` leaves out
        no, yes = (np.where(t == 0, 0, t * softplus(s * wide)) for t, s in ((1 - y, 1), (y, -1)))
        middle = 0.5 * np.tanh(wide / 2) + (0.5 - y)
        right = (1 - y) - logistic(-wide)
    slope = np.where(np.abs(wide) < 1, middle, np.where(wide < 0, logistic(wide) - y, right))
    np.testing.assert_allclose(binary_cross_entropy(x, y), no + yes, rtol=1e-6, atol=1e-38)
    got = jax.vmap(jax.grad(binary_cross_entropy))(x, y)
    np.testing.assert_allclose(got, slope, rtol=2e-6, atol=1e-38)
    got = jax.vmap(jax.grad(jax.grad(binary_cross_entropy)))(x, y)
    np.testing.assert_allclose(got, logistic(wide) * logistic(-wide), rtol=2e-6, atol=1e-38)


def test_binary_gradient_in_the_target_is_minus_the_logit():
    assert jax.grad(binary_cross_entropy, argnums=1)(3.0, 0.25) == -3
    assert np.isnan(binary_cross_entropy(jnp.float32(NAN), jnp.float32(1)))


def test_binary_matches_finite_differences():
    with jax.enable_x64(True):
        x, y = jnp.array([-2.0, -0.9, 0.1, 1.5]), jnp.array([0.0, 0.2, 0.5, 1.0])
        check_grads(binary_cross_entropy, [x, y], order=2)
