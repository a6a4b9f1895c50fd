# SPDX-License-Identifier: Apache-2.0
"""Mel bands and decibels: the definitions written again, known pitches, derivatives."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError
from rosin.functional.mel import _hertz, _mel, db_to_power, mel_filterbank, power_to_db

SETTING = {"frequencies": 101, "bands": 12, "sample_rate_hz": 16_000}


def looped(scale, *, frequencies, bands, sample_rate_hz, lowest=0.0, highest=None):
    """Draw the triangles one by one."""
    highest = sample_rate_hz / 2 if highest is None else highest
    low, high = _mel(np.array([lowest, highest]), scale)
    corners = [
        float(_hertz(np.array(low + (high - low) * i / (bands + 1)), scale))
        for i in range(bands + 2)
    ]
    bank = np.zeros((frequencies, bands))
    for k in range(frequencies):
        tone = k * sample_rate_hz / 2 / (frequencies - 1)
        for b in range(bands):
            left, middle, right = corners[b : b + 3]
            if left < tone <= middle:
                bank[k, b] = (tone - left) / (middle - left)
            elif middle < tone < right:
                bank[k, b] = (right - tone) / (right - middle)
    return bank, corners


PITCHES = {  # hertz, mel
    "htk": [(0, 0), (700, 2595 * math.log10(2)), (1000, 999.9855)],
    "slaney": [(0, 0), (200, 3), (1000, 15), (6400, 42), (500, 7.5)],
}


@pytest.mark.parametrize("scale", PITCHES)
def test_known_pitches_and_the_way_back(scale):
    hertz, mel = (np.array(column, float) for column in zip(*PITCHES[scale], strict=True))
    np.testing.assert_allclose(_mel(hertz, scale), mel, rtol=1e-6)
    np.testing.assert_allclose(_hertz(_mel(hertz, scale), scale), hertz, atol=1e-9)


@pytest.mark.parametrize("scale", PITCHES)
def test_a_bank_is_made_of_triangles(scale):
    expected, _ = looped(scale, **SETTING)
    np.testing.assert_allclose(mel_filterbank(**SETTING, scale=scale), expected, atol=1e-6)
    part = mel_filterbank(**SETTING, scale=scale, lowest_hz=300, highest_hz=4000)
    expected, _ = looped(scale, **SETTING, lowest=300, highest=4000)
    np.testing.assert_allclose(part, expected, atol=1e-6)


def test_triangles_of_equal_area_have_area_one():
    bank = mel_filterbank(frequencies=8001, bands=12, sample_rate_hz=16_000, equal_area=True)
    step_hz = 1.0
    np.testing.assert_allclose(bank.sum(0) * step_hz, 1, rtol=1e-3)  # a sum for an integral
    plain = mel_filterbank(frequencies=8001, bands=12, sample_rate_hz=16_000)
    _, corners = looped("htk", frequencies=2, bands=12, sample_rate_hz=16_000)
    halves = (np.array(corners[2:]) - np.array(corners[:-2])) / 2
    np.testing.assert_allclose(bank, plain / halves, rtol=1e-5)


def test_neighbouring_triangles_add_up_to_one():
    bank = np.asarray(mel_filterbank(**SETTING))
    inside = (bank > 0).sum(1) == 2
    np.testing.assert_allclose(bank[inside].sum(1), 1, rtol=1e-6)


def test_decibels_are_ten_logarithms():
    x = np.array([[1.0, 10.0, 2.0, 1e-3]], np.float32)
    np.testing.assert_allclose(power_to_db(x), 10 * np.log10(x), rtol=1e-6)
    np.testing.assert_allclose(power_to_db(x, reference=10.0), 10 * np.log10(x / 10), atol=1e-5)
    np.testing.assert_allclose(db_to_power(power_to_db(x)), x, rtol=1e-6)
    again = db_to_power(power_to_db(x, reference=3.0), reference=3.0)
    np.testing.assert_allclose(again, x, rtol=1e-6)


def test_what_is_far_below_the_loudest_is_lifted_for_each_example_alone():
    x = np.array([[[1.0, 1e-12]], [[1e-6, 1e-9]]], np.float32)
    np.testing.assert_allclose(power_to_db(x, range_db=40), [[[0, -40]], [[-60, -90]]], rtol=1e-5)
    np.testing.assert_allclose(power_to_db(x[0], range_db=None), [[0, -100]], rtol=1e-5)
    np.testing.assert_allclose(power_to_db(x[0, 0], range_db=40), [0, -40], rtol=1e-5)
    assert power_to_db(jnp.zeros((0, 3, 4))).shape == (0, 3, 4)


def test_silence_is_finite_with_a_finite_slope():
    x = np.zeros((2, 3), np.float32)
    np.testing.assert_allclose(power_to_db(x), -100, rtol=1e-6)
    grad = jax.grad(lambda x: power_to_db(x).sum())(x)
    assert np.isfinite(grad).all()


def test_half_precision_is_converted_in_float32():
    y = power_to_db(jnp.array([1e-7], jnp.float16))
    assert y.dtype == jnp.float16
    np.testing.assert_allclose(y, 10 * np.log10(np.float32(np.float16(1e-7))), rtol=1e-3)
    assert db_to_power(jnp.array([20.0], jnp.bfloat16)).item() == 100


def test_derivatives_are_those_of_finite_differences():
    with jax.enable_x64(True):
        x = jnp.linspace(0.5, 2, 6).reshape(2, 3)
        check_grads(power_to_db, (x,), order=2, rtol=1e-5, atol=1e-6)
        check_grads(db_to_power, (x,), order=2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: mel_filterbank(**{**SETTING, "frequencies": 1}), RangeError),
        (lambda: mel_filterbank(**{**SETTING, "bands": 0}), RangeError),
        (lambda: mel_filterbank(**{**SETTING, "sample_rate_hz": 0}), RangeError),
        (lambda: mel_filterbank(**SETTING, lowest_hz=-1), RangeError),
        (lambda: mel_filterbank(**SETTING, highest_hz=8001), RangeError),
        (lambda: mel_filterbank(**SETTING, lowest_hz=500, highest_hz=500), RangeError),
        (lambda: mel_filterbank(**SETTING, scale="bark"), RangeError),
        (lambda: power_to_db(np.ones(3, int)), DtypeError),
        (lambda: power_to_db(1.0, floor=0), RangeError),
        (lambda: power_to_db(1.0, reference=-1), RangeError),
        (lambda: power_to_db(1.0, range_db=-1), RangeError),
        (lambda: db_to_power(1.0, reference=math.inf), RangeError),
    ],
)
def test_what_does_not_fit_is_refused(call, kind):
    with pytest.raises(kind):
        call()
