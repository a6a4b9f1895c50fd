# SPDX-License-Identifier: Apache-2.0
"""Schedules: their formulas and their ends."""

import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

T = np.arange(25)
FAR = 10**9


def triangle(t, period):
    return 2 / np.pi * np.abs(np.arcsin(np.sin(np.pi * t / period)))


def one_cycle(t):
    up = 0.1 + 0.9 * (1 - np.cos(np.pi * t / 5)) / 2
    down = 1 + (0.01 - 1) * (1 - np.cos(np.pi * np.minimum((t - 5) / 14, 1))) / 2
    return np.where(t < 5, up, down)


SCHEDULES = {
    "Constant": (rs.Constant(0.3), 0.3 + 0 * T),
    "Step": (rs.Step(2.0, 0.5, 10), 2 * 0.5 ** (T // 10)),
    "Step of several": (
        rs.Step(2.0, 0.5, [5, 10]),
        2 * 0.5 ** ((T >= 5).astype(float) + (T >= 15)),
    ),
    "Exp": (rs.Exp(2.0, 0.9), 2 * 0.9**T),
    "Poly": (rs.Poly(2.0, 3, 20), 2 * np.maximum(1 - T / 20, 0) ** 3),
    "Inv": (rs.Inv(2.0, 0.5, 2), 2 / (1 + 0.5 * T) ** 2),
    "Triangle": (rs.Triangle(0.9, 0.1, 8), 0.1 + 0.8 * triangle(T, 8)),
    "TriangleDecay2": (
        rs.TriangleDecay2(0.1, 0.9, 8),
        0.1 + 0.8 * triangle(T, 8) / 2 ** (T // 8),
    ),
    "TriangleExp": (rs.TriangleExp(0.1, 0.9, 8, 0.9), 0.1 + 0.8 * triangle(T, 8) * 0.9**T),
    "Sin": (rs.Sin(0.1, 0.9, 8), 0.1 + 0.8 * np.abs(np.sin(np.pi * T / 8))),
    "SinDecay2": (
        rs.SinDecay2(0.1, 0.9, 8),
        0.1 + 0.8 * np.abs(np.sin(np.pi * T / 8)) / 2 ** (T // 8),
    ),
    "SinExp": (rs.SinExp(0.1, 0.9, 8, 0.9), 0.1 + 0.8 * np.abs(np.sin(np.pi * T / 8)) * 0.9**T),
    "CosAnneal": (rs.CosAnneal(0.1, 0.9, 8), 0.1 + 0.4 * (1 + np.cos(np.pi * (T % 8) / 8))),
    "CosAnneal once": (
        rs.CosAnneal(0.9, 0.1, 8, restart=False),
        0.1 + 0.4 * (1 + np.cos(np.pi * np.minimum(T / 8, 1))),
    ),
    "OneCycle": (rs.OneCycle(20, 1.0, startval=0.1, endval=0.01), one_cycle(T)),
    "WarmUp": (
        rs.WarmUp(rs.Exp(1.0, 0.9), 4),
        np.minimum((T + 1) / 5, 1) * 0.9 ** np.maximum(T - 4, 0),
    ),
    "Sequence": (
        rs.Sequence((rs.Exp(1.0, 0.9), 5), (0.3, 5), (rs.Exp(0.2, 0.5), 5)),
        np.where(T < 5, 0.9**T, np.where(T < 10, 0.3, 0.2 * 0.5 ** np.maximum(T - 10.0, 0))),
    ),
    "Loop": (rs.Loop(rs.Exp(1.0, 0.9), 7), 0.9 ** (T % 7)),
    "Shortened": (rs.Shortened(rs.Exp(1.0, 0.9), 7), 0.9 ** np.minimum(T, 6)),
    "Shifted": (rs.Shifted(rs.Exp(1.0, 0.9), 3), 0.9 ** (T + 3)),
    "Interpolator": (rs.Interpolator(rs.Exp(1.0, 0.9), 4), 0.9 ** (T / 4)),
    "ComposedSchedule": (
        rs.ComposedSchedule(jnp.multiply, rs.Exp(1.0, 0.9), rs.Step(1.0, 0.5, 3)),
        0.9**T * 0.5 ** (T // 3),
    ),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_a_schedule_is_its_formula_from_step_0_on_and_finite_far_beyond(case):
    schedule, expected = SCHEDULES[case]
    # Powers and sines of float32: some units in the last of 7 digits.
    np.testing.assert_allclose(schedule(jnp.asarray(T)), expected, rtol=2e-5, atol=1e-6)
    far = float(schedule(jnp.int32(FAR)))
    assert np.isfinite(far)
    assert 0 <= far <= max(expected) + 1e-6


def test_whole_steps_are_exact_where_float32_is_not():
    step = jnp.int32(2**24 + 1)
    assert float(rs.Triangle(0.0, 1.0, 2)(step)) == 1
