# SPDX-License-Identifier: Apache-2.0
"""The numbers that the tests of Flux.jl pin down, with classes on the last axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import rosin as rs

pytestmark = pytest.mark.optimised  # digits are counted

A = np.array
ONE_HOT = A([[0.0, 1], [0, 1], [1, 0], [1, 0]])
PREDICTED = A([[0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
V = np.log(0.1 / 0.9)
LOGITS = A([[V, 0], [0, V], [0, V], [V, 0]])
SMOOTHED = 0.9 * ONE_HOT + 0.05
MASK, MASK_HAT = A([1.0, 0.5, 0.3, 2.4]), A([0, 1.4, 0.5, 1.2])
YES, YES_HAT = (
    A([[0.0, 1, 0], [1, 0, 1]]),
    A([[0.268941, 0.5, 0.268941], [0.731059, 0.5, 0.731059]]),
)
FIVE = np.eye(3)[[0, 1, 2, 1, 0]]
FIVE_HAT = softmax(np.arange(-7.0, 8).reshape(5, 3), -1)
TWO, TWO_HAT = A([[1.0, 0, 0], [0, 0, 1]]), A([[0.4, 0.5, 0.1], [0.2, 0.5, 0.3]])
PAIRS_HAT, PAIRS = A([0.6, 0.4, 0.1, 0.2, 0.7]), A([1.0, 0, 0, 1, 1])
CTC = A([[1.0, 2, 3], [2, 1, 3], [3, 1, 2]])
LONG_CTC = A([[-3.0, 4, 8], [12, 20, -33], [8, -2, 6], [15, 20, 5]])

CASES = {
    "mse": (rs.mse, [A([0.9, 0.1, 0.1, 0.9]), A([1.0, 1, 0, 0])], {}, 0.41),
    "mae": (rs.mae, [A([0.9, 0.1, 0.1, 0.9]), A([1.0, 1, 0, 0])], {}, 0.5),
    "huber": (rs.huber_loss, [A([0.9, 0.1, 0.1, 0.9]), A([1.0, 1, 0, 0])], {}, 0.205),
    "msle": (rs.msle, [A([345.0, 332, 789]), A([123.0, 456, 789])], {}, 0.38813985859136585),
    "crossentropy": (rs.crossentropy, [PREDICTED, ONE_HOT], {}, 1.203972804325936),
    "crossentropy, smoothed": (rs.crossentropy, [PREDICTED, SMOOTHED], {}, 1.2039728043259348),
    "logitcrossentropy": (rs.logitcrossentropy, [LOGITS, ONE_HOT], {}, 1.203972804325936),
    "kldivergence": (
        rs.kldivergence,
        [A([[4.0], [5], [6]]), A([[1.0], [2], [3]])],
        {},
        -1.7661057888493457,
    ),
    "hinge": (rs.hinge_loss, [A([1.0, 2, 3, 4]), A([0.5, 1, 1.5, 2])], {}, 0.125),
    "squared hinge": (rs.squared_hinge_loss, [A([1.0, 2, 3, 4]), A([0.5, 1, 1.5, 2])], {}, 0.0625),
    "poisson": (rs.poisson_loss, [A([0.4, 0.5, 0.6]), A([0.1, 0.2, 0.3])], {}, 0.6278353988097339),
    "poisson, equal": (
        rs.poisson_loss,
        [A([0.1, 0.2, 0.3]), A([0.1, 0.2, 0.3])],
        {},
        0.5044459776946685,
    ),
    "dice": (rs.dice_coeff_loss, [MASK_HAT, MASK], {}, 0.2799999999999999),
    "dice, equal": (rs.dice_coeff_loss, [MASK, MASK], {}, 0),
    "tversky": (rs.tversky_loss, [MASK_HAT, MASK], {}, -0.06772009029345383),
    "tversky, beta": (rs.tversky_loss, [MASK_HAT, MASK], {"beta": 0.8}, -0.09490740740740744),
    "tversky, equal": (rs.tversky_loss, [MASK, MASK], {}, -0.5576923076923075),
    "binary focal": (rs.binary_focal_loss, [YES_HAT, YES], {}, 0.0728675615927385),
    "binary focal, two": (
        rs.binary_focal_loss,
        [A([[0.6, 0.3], [0.4, 0.7]]), np.eye(2)],
        {},
        0.05691642237852222,
    ),
    "focal": (rs.focal_loss, [FIVE_HAT, FIVE], {}, 1.1277571935622628),
    "focal, two": (rs.focal_loss, [TWO_HAT, TWO], {}, 0.45990566879720157),
    "siamese": (rs.siamese_contrastive_loss, [TWO_HAT, TWO], {}, 0.2333333333333333),
    "siamese, near": (rs.siamese_contrastive_loss, [TWO_HAT, TWO], {"margin": 0.5}, 0.1),
    "siamese, far": (
        rs.siamese_contrastive_loss,
        [TWO_HAT, TWO],
        {"margin": 1.5},
        0.5333333333333333,
    ),
    "siamese, none": (
        rs.siamese_contrastive_loss,
        [TWO_HAT, TWO],
        {"margin": 0},
        0.0916666666666666,
    ),
    "siamese, pairs": (rs.siamese_contrastive_loss, [PAIRS_HAT, PAIRS], {}, 0.21199999999999997),
    "ctc": (rs.ctc_loss, [CTC, A([0, 1])], {}, 3.6990738275138035),
    "ctc, long": (rs.ctc_loss, [LONG_CTC, A([0, 1])], {}, 8.02519869363453),
}


@pytest.mark.parametrize("case", CASES)
def test_flux_has_this_number(case):
    loss, arguments, options, number = CASES[case]
    # Its epsilon of 2e-16 shifts some, and XLA's functions are off by a few units. One was
    # computed in float32, with an epsilon of 1e-7.
    rtol = 1e-6 if case == "focal" else 3e-14
    with jax.enable_x64(True):
        np.testing.assert_allclose(loss(*arguments, **options), number, rtol=rtol, atol=1e-15)
    narrow = [a if a.dtype.kind == "i" else a.astype(np.float32) for a in arguments]
    np.testing.assert_allclose(loss(*narrow, **options), number, rtol=2e-6, atol=1e-7)


def test_the_gradients_of_ctc_are_those_of_flux():
    with jax.enable_x64(True):
        got = jax.grad(rs.ctc_loss)(CTC, A([0, 1])).T
        expected = [
            [-0.317671, -0.427729, 0.665241],
            [0.244728, -0.0196172, -0.829811],
            [0.0729422, 0.447346, 0.16457],
        ]
        np.testing.assert_allclose(got, expected, atol=1e-6)  # it prints six digits
        got = jax.grad(rs.ctc_loss)(LONG_CTC, A([0, 1])).T
        expected = [
            [-2.29294774655333e-06, -0.999662657278862, 1.75500863563993e-06, 0.00669284889063],
            [0.017985914969696, 0.999662657278861, -1.9907078755387e-06, -0.006693150917307],
            [-0.01798362202195, -2.52019580677916e-20, 2.35699239251042e-07, 3.02026677058789e-07],
        ]
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_what_is_zero_in_both_drops_out():
    with_zero, without = A([0.1, 0.0, 0.9]), A([0.1, 0.9])
    for loss in (rs.crossentropy, rs.kldivergence):
        assert loss(with_zero, with_zero) == loss(without, without)


def test_no_focus_is_the_cross_entropy():
    got = rs.focal_loss(FIVE_HAT, FIVE, gamma=0)
    np.testing.assert_allclose(got, rs.crossentropy(FIVE_HAT, FIVE), rtol=1e-6)
    got = rs.binary_focal_loss(YES_HAT, YES, gamma=0)
    np.testing.assert_allclose(got, rs.binarycrossentropy(YES_HAT, YES), rtol=1e-6)


def test_smoothing_costs_the_right_and_spares_the_wrong():
    y = np.eye(2)[[1, 1, 1, 0, 0]]
    right, wrong = 0.8 * y + 0.1, 0.8 * (1 - y) + 0.1
    smooth = rs.label_smoothing(y, 0.2)
    np.testing.assert_allclose(smooth, 0.8 * y + 0.1, rtol=1e-6)
    assert rs.crossentropy(right, y) < rs.crossentropy(right, smooth)
    assert rs.crossentropy(wrong, y) > rs.crossentropy(wrong, smooth)


@pytest.mark.parametrize("alpha", [1.2, 0.0, 1.0, -0.1, jnp.nan])
def test_a_share_to_smooth_is_above_0_and_below_1(alpha):
    with pytest.raises(rs.RangeError):
        rs.label_smoothing(A([0.0, 1.0]), alpha)
    with pytest.raises(rs.RangeError):
        rs.siamese_contrastive_loss(PAIRS_HAT, PAIRS, margin=-1)
