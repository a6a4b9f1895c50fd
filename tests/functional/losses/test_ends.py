# SPDX-License-Identifier: Apache-2.0
"""Losses at the ends of the range: the rows that `make numerics` measures, in float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from numerics import losses as sweep
from numerics.ulps import HALF, SINGLE

pytestmark = pytest.mark.optimised  # digits are counted

SUBJECTS = sweep.subjects()
MAX = float(np.finfo(np.float32).max)
INF = np.inf


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_what_can_be_written_is_finite_never_negative_and_exact(subject):
    assert sweep.measure(subject, SINGLE).misses(sweep.BARS[SINGLE]) == ()


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("name", ["mse", "logitcrossentropy", "logitbinary_focal_loss"])
def test_a_half_gradient_is_rounded_once(name, dtype):
    assert sweep.measure(SUBJECTS[name], dtype).misses(sweep.BARS[dtype]) == ()


def literal_binary(x, y, *, reduction):
    p = 1 / (1 + jnp.exp(-x))
    return reduction(-y * jnp.log(p) - (1 - y) * jnp.log(1 - p))


def literal_huber(p, y, *, reduction):
    e = jnp.abs(p - y)
    q = jnp.minimum(e, 1)
    return reduction(0.5 * q * q + (e - q))


def literal_kl(x, y, *, reduction):
    return reduction(jnp.sum(y * (jnp.log(y) - jax.nn.log_softmax(x)), -1))


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("logitbinarycrossentropy", literal_binary),
        ("huber_loss", literal_huber),
        ("logitkldivergence", literal_kl),
    ],
)
def test_the_sweep_sees_what_the_formula_as_printed_loses(name, loss):
    literal = dataclasses.replace(SUBJECTS[name], loss=loss)
    assert sweep.measure(literal, SINGLE).misses(sweep.BARS[SINGLE])


# Loss, arguments, value, gradient by the first; what has no finite value says so.
EDGES = {
    "mse, infinite": (rs.mse, [INF, 0.0], INF, INF),
    "mae, the same": (rs.mae, [2.0, 2.0], 0, 0),
    "huber, infinite": (rs.huber_loss, [-INF, 0.0], INF, -1),
    "huber, at the bound": (rs.huber_loss, [1.0, 0.0], 0.5, 1),
    "huber, farther than there is": (rs.huber_loss, [MAX, -MAX], INF, 1),
    "quantile, the same": (rs.quantile_loss, [2.0, 2.0], 0, 0),
    "msle, nothing of nothing": (rs.msle, [0.0, 0.0], 0, 0),
    "poisson, nothing of nothing": (rs.poisson_loss, [0.0, 0.0], 0, 1),
    "poisson, something of nothing": (rs.poisson_loss, [0.0, 1.0], INF, -INF),
    "log poisson, never": (rs.logpoisson_loss, [-INF, 0.0], 0, 0),
    "log gaussian, far too sure": (rs.loggaussian_nll_loss, [1.0, 0.0, -400.0], INF, INF),
    "hinge, at the margin": (rs.hinge_loss, [1.0, 1.0], 0, 0),
    "siamese, equal and far": (rs.siamese_contrastive_loss, [MAX, 1.0], 0, 0),
    "binary, certain and right": (rs.binarycrossentropy, [1.0, 1.0], 0, -1),
    "binary, certain and wrong": (rs.binarycrossentropy, [0.0, 1.0], INF, -INF),
    "binary focal, certain and right": (rs.binary_focal_loss, [0.0, 0.0], 0, 0),
    "binary focal, certain and wrong": (rs.binary_focal_loss, [1.0, 0.0], INF, INF),
    "logit binary, infinite and right": (rs.logitbinarycrossentropy, [INF, 1.0], 0, 0),
    "logit binary, infinite and wrong": (rs.logitbinarycrossentropy, [INF, 0.0], INF, 1),
    "logit focal, infinite and right": (rs.logitbinary_focal_loss, [-INF, 0.0], 0, 0),
    "logit focal, infinite and wrong": (rs.logitbinary_focal_loss, [-INF, 1.0], INF, -1),
    "logit focal, largest and wrong": (rs.logitbinary_focal_loss, [MAX, 0.0], MAX, 1),
}


@pytest.mark.parametrize("edge", EDGES)
def test_an_edge_has_its_value_and_gradient(edge):
    loss, arguments, value, slope = EDGES[edge]
    got = jax.jit(jax.value_and_grad(loss))(*map(jnp.float32, arguments))
    np.testing.assert_allclose(got, (value, slope), rtol=1e-6)


def test_a_focal_loss_has_its_curvature_at_no_logit():
    # Half the plane has another formula; the derivative of |x| would be 0 there.
    bend = jax.grad(jax.grad(rs.logitbinary_focal_loss))
    with jax.enable_x64(True):
        step = 1e-4
        for y in (0.0, 1.0, 0.3):
            slope = jax.grad(rs.logitbinary_focal_loss)
            expected = (slope(step, y) - slope(-step, y)) / (2 * step)
            np.testing.assert_allclose(bend(0.0, y), expected, rtol=1e-6)


def test_the_distance_of_equal_points_has_no_gradient():
    a, far = jnp.ones((1, 3)), jnp.zeros((1, 3))
    slopes = jax.grad(rs.triplet_loss, argnums=(0, 1, 2))(a, a, far, margin=2.0)
    assert np.isfinite(slopes).all()
    assert not slopes[1].any()
    assert slopes[2].any()


def test_empty_masks_agree_if_nothing_is_added():
    none = jnp.zeros((2, 3))
    for loss in (rs.dice_coeff_loss, rs.tversky_loss, rs.jaccard_loss):
        value, slope = jax.value_and_grad(lambda p, loss=loss: loss(p, none, smooth=0.0))(none)
        assert value == 0
        assert np.isfinite(slope).all()


def test_views_that_are_learnt_have_a_gradient_left():
    z = jnp.eye(4)
    for loss in (rs.nt_xent_loss, rs.info_nce_loss):
        value, slope = jax.value_and_grad(loss)(z, z, temperature=0.05)
        assert 0 < value < 1e-7
        assert np.isfinite(slope).all()
        assert jnp.abs(slope).max() > 0


# Loss, prediction, target and the second derivative, written down by hand.
CURVES = [
    ("poisson_loss", [1e-30], [0.0], 0.0),
    ("poisson_loss", [1e-30], [1e-30], 1e30),
    ("poisson_loss", [1e15], [1.0], 1e-30),
    ("binary_focal_loss", [1e-30], [0.0], 6e-30),
    ("logitbinary_focal_loss", [MAX], [0.0], 0.0),
    ("logitbinary_focal_loss", [-MAX], [1.0], 0.0),
    ("crossentropy", [1e-30, 1.0], [0.0, 1.0], 0.0),
    ("kldivergence", [1e-30, 1.0], [0.0, 1.0], 0.0),
]


@pytest.mark.parametrize(("name", "prediction", "target", "curve"), CURVES)
def test_a_second_derivative_that_can_be_written_is_finite(name, prediction, target, curve):
    rest, y = jnp.array(prediction[1:]), jnp.array(target)

    def loss(first):
        return getattr(rs, name)(jnp.append(first, rest), y)

    bent = jax.jit(jax.grad(jax.grad(loss)))(np.float32(prediction[0]))
    np.testing.assert_allclose(bent, curve, rtol=1e-6)


@pytest.mark.parametrize("loss", [rs.hinge_loss, rs.squared_hinge_loss])
def test_labels_of_0_and_1_are_no_signs(loss):
    prediction, labels = jnp.array([2.0, -1.0]), jnp.array([1.0, 0.0])
    with pytest.raises(rs.RangeError) as caught:
        loss(prediction, labels)
    assert caught.value.subject == loss.__name__
    assert caught.value.got == "0 among targets from 0.0 to 1.0"
    assert float(loss(prediction, 2 * labels - 1)) == 0
    assert float(loss(prediction, labels, mask=labels == 1)) == 0
