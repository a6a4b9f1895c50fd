# SPDX-License-Identifier: Apache-2.0
"""Errors and explained variance: far from zero, of constants, and what is refused."""

import math

import numpy as np
import pytest

import rosin as rs
from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.training.metrics import MAE, MSE, R2, RMSE, Mean, Perplexity

pytestmark = pytest.mark.optimised  # digits are counted

RNG = np.random.default_rng(4)


def r2(x, y):
    x, y = np.float64(x), np.float64(y)
    return 1 - ((x - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e7])
def test_r2_is_right_far_from_zero_however_the_data_is_cut(offset):
    spacing = max(abs(offset) * 2.0**-20, 1e-3)  # a few units in the last place
    y = (offset + spacing * RNG.integers(-9, 9, 600)).astype(np.float32)
    x = (y + spacing * RNG.integers(-4, 5, 600)).astype(np.float32)
    states = [R2().update(R2().empty(), x[i : i + 100], y[i : i + 100]) for i in range(0, 600, 100)]
    together = states[0]
    for state in states[1:]:
        together = R2().merge(together, state)
    assert R2().result(together) == pytest.approx(r2(x, y), rel=3e-7)
    assert R2()(x, y) == pytest.approx(r2(x, y), rel=3e-7)


def test_r2_of_targets_in_order_is_merged_about_their_means():
    y = np.repeat(np.float32([1e5, -3e4, 7.0]), 100) + np.tile(np.float32([0, 1]), 150)
    x = y + np.float32(0.5)
    state = R2().empty()
    for i in range(0, 300, 100):
        state = R2().update(state, x[i : i + 100], y[i : i + 100])
    assert R2().result(state) == pytest.approx(r2(x, y), rel=1e-7)
    np.testing.assert_allclose(1 - R2().result(state), 1 - r2(x, y), rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_targets_without_spread_have_no_r2(value):
    y = np.full(7, value, np.float32)
    assert math.isnan(R2()(y, y))
    assert math.isnan(R2()(y + 1, y))
    assert math.isnan(R2()(y[:1], y[:1]))


def test_one_of_several_outputs_may_have_no_spread():
    y = np.float32([[1, 5], [2, 5], [4, 5]])
    x = np.float32([[1, 5], [3, 5], [4, 6]])
    np.testing.assert_allclose(R2(outputs=2)(x, y), [r2(x[:, 0], y[:, 0]), np.nan], rtol=1e-6)


def test_the_root_is_taken_of_the_mean_of_all_batches():
    x, y = RNG.normal(size=(2, 6)).astype(np.float32)
    state = RMSE().empty()
    for i in (0, 3):
        state = RMSE().update(state, x[i : i + 3], y[i : i + 3])
    assert RMSE().result(state) == pytest.approx(np.sqrt(((x - y) ** 2).mean()), rel=1e-6)


def test_an_infinite_error_is_an_infinite_mean():
    x, y = np.float32([1, np.inf]), np.float32([0, 0])
    assert [MSE()(x, y), RMSE()(x, y), MAE()(x, y)] == [math.inf] * 3


REFUSED = {
    "whole numbers": (MSE(), (np.arange(3), np.arange(3)), DtypeError),
    "shapes that would broadcast": (MAE(), (np.ones((3, 1)), np.ones(3)), ShapeError),
    "a mask that would broadcast": (
        RMSE(),
        (np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 1), bool)),
        ShapeError,
    ),
    "other outputs": (R2(outputs=3), (np.ones((3, 2)), np.ones((3, 2))), ShapeError),
    "complex numbers": (Mean(), (np.ones(3) * 1j,), DtypeError),
    "weights below zero": (Mean(), (np.ones(3), np.float32([1, -1, 0])), RangeError),
    "weights that would broadcast": (Mean(), (np.ones((3, 1)), np.ones(3)), ShapeError),
    "labels in place of logits": (Perplexity(), (np.arange(3), np.arange(3)), DtypeError),
    "a distribution": (Perplexity(), (np.ones((3, 4)), np.ones((3, 4))), DtypeError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    metric, inputs, error = REFUSED[case]
    with pytest.raises(error):
        metric(*inputs)


def test_no_outputs_are_refused():
    with pytest.raises(RangeError):
        R2(outputs=0)


# --- means ----------------------------------------------------------------------------


def test_a_weight_of_zero_leaves_nan_out_and_batches_with_and_without_weights_mix():
    values = np.float32([1, np.nan, 4])
    state = Mean().update(Mean().empty(), values, np.float32([1, 0, 3]))
    assert Mean().result(state) == 13 / 4
    assert Mean().result(Mean().update(state, np.array([2, 3]))) == 18 / 6


def test_whole_numbers_have_a_mean():
    assert Mean()(np.array([2**30 + 1, 2])) == (2**30 + 3) / 2
    assert Mean()(np.array([[True, False], [True, True]])) == 0.75


# --- perplexity -----------------------------------------------------------------------


def test_perplexity_is_a_mean_over_tokens_not_over_batches():
    logits = RNG.normal(size=(2, 5, 7)).astype(np.float32)
    labels = RNG.integers(1, 7, (2, 5))
    labels[1, 1:] = 0  # padding
    metric = Perplexity(ignore_index=0)
    state = metric.empty()
    for x, y in zip(logits, labels, strict=True):
        state = metric.update(state, x, y)
    log_p = np.float64(logits) - np.log(np.exp(np.float64(logits)).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p, labels[..., None], -1)[..., 0][labels != 0]
    assert metric.result(state) == pytest.approx(np.exp(-picked.mean()), rel=1e-6)


def test_perplexity_beyond_floats_is_infinite():
    assert Perplexity()(np.float32([[0, 1e4]]), np.array([0])) == math.inf
    assert Perplexity()(np.float32([[0, -np.inf]]), np.array([1])) == math.inf


def test_a_token_that_is_none_is_refused_or_traced_to_nan():
    data = (np.ones((2, 3), np.float32), np.array([0, 3]))
    with pytest.raises(RangeError, match="Perplexity: expected labels"):
        Perplexity()(*data)
    assert math.isnan(rs.evaluate(rs.Chain(rs.identity), [data], Perplexity())["Perplexity"])
