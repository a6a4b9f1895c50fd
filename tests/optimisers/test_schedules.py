# SPDX-License-Identifier: Apache-2.0
"""Schedules: their formulas, their ends, and that they move a hyperparameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, StructureError
from rosin.optimisers.hyperparameters import LAST_STEP
from tests.training.compilations import compilations

T = np.arange(25)
FAR = np.array([2**24, 2**24 + 1, 10**9, LAST_STEP], np.int32)


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
    "Interpolator to whole epochs": (
        rs.Interpolator(rs.Exp(1.0, 0.9), 3, whole=True),
        0.9 ** (T // 3),
    ),
    "Reversed": (rs.Reversed(rs.Exp(1.0, 0.9), 20), 0.9 ** np.maximum(20 - T, 0)),
    "Symmetric": (
        rs.Symmetric(rs.Exp(1.0, 0.9), 9),
        0.9 ** np.where(T < 9 / 2, T, np.maximum(9 - T, 0)),
    ),
    "ComposedSchedule": (
        rs.ComposedSchedule(rs.CosAnneal(9.0, 0.1, 8), l0=rs.Exp(1.0, 0.99)),
        0.1 + (0.99**T - 0.1) * (1 + np.cos(np.pi * (T % 8) / 8)) / 2,
    ),
    "CombinedSchedule": (
        rs.CombinedSchedule(jnp.multiply, rs.Exp(1.0, 0.9), rs.Step(1.0, 0.5, 3)),
        0.9**T * 0.5 ** (T // 3),
    ),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_a_schedule_is_its_formula_from_step_0_on_and_finite_far_beyond(case):
    schedule, expected = SCHEDULES[case]
    # Powers and sines of float32: some units in the last of 7 digits.
    np.testing.assert_allclose(schedule(jnp.asarray(T)), expected, rtol=2e-5, atol=1e-6)
    far = np.asarray(schedule(FAR))
    assert (far >= 0).all()
    assert (far <= max(expected) + 1e-6).all()
    np.testing.assert_allclose(schedule(10**12), far[-1])
    np.testing.assert_allclose(schedule(3), expected[3], rtol=2e-5)


def test_whole_steps_are_exact_where_float32_is_not():
    step = jnp.int32(2**24 + 1)
    assert float(rs.Triangle(0.0, 1.0, 2)(step)) == 1
    np.testing.assert_allclose(rs.Poly(2.0**24, 1, 2**24 + 2)(step), 1, rtol=1e-6)
    assert float(rs.Step(1.0, 0.5, (2**24 + 1,))(step - 1)) == 1
    assert float(rs.Sequence((1.0, 2**24 + 1), (0.5, 1))(step - 1)) == 1


def test_lengths_beyond_any_count_of_steps_are_taken():
    assert float(rs.Sequence((1.0, 2**31 - 2), (0.5, 2**40), (0.25, 1))(LAST_STEP - 1)) == 0.5
    assert float(rs.Step(1.0, 0.5, (2**40, 2**40))(LAST_STEP - 1)) == 1
    assert float(rs.Shifted(rs.Exp(1.0, 0.5), 10)(LAST_STEP)) == 0


@pytest.mark.parametrize("steps", [7, 13, 39, 100])
def test_one_cycle_reaches_its_largest_value_in_the_step_that_its_share_says(steps):
    for turn in range(1, steps, 3):
        schedule = rs.OneCycle(steps, 1.0, percent_start=turn / steps)
        assert float(schedule(turn)) == 1
        assert float(schedule(turn - 1)) < 1


def test_a_schedule_moves_the_rate_and_compiles_once():
    rule = rs.Descent(rs.Step(1.0, 0.5, 2))
    model = jnp.zeros(3)
    opt_state, model = rs.update(rs.setup(rule, model), model, jnp.ones(3))
    with compilations() as compiled:
        for _ in range(3):
            opt_state, model = rs.update(opt_state, model, jnp.ones(3))
    assert not compiled
    np.testing.assert_allclose(model, -(1 + 1 + 0.5 + 0.5))
    with compilations() as compiled:
        other = rs.adjust(opt_state, learning_rate=rs.Step(10.0, 0.5, 2))
        _, moved = rs.update(other, model, jnp.ones(3))
    assert "_guarded" not in compiled
    np.testing.assert_allclose(moved, model - 2.5)


def test_a_number_may_take_the_place_of_a_schedule():
    model = jnp.zeros(1)
    opt_state = rs.setup(rs.Descent(rs.Exp(1.0, 0.5)), model)
    opt_state, model = rs.update(opt_state, model, jnp.ones(1))
    _, model = rs.update(rs.adjust(opt_state, learning_rate=0.25), model, jnp.ones(1))
    assert float(model[0]) == -1.25


def test_a_schedule_that_leaves_the_range_is_refused_with_its_step():
    with pytest.raises(RangeError) as caught:
        rs.Adam(rs.CombinedSchedule(lambda x: x - 0.5, rs.Exp(1.0, 0.5)))
    assert caught.value.expected.startswith("learning_rate at step 2")
    with pytest.raises(RangeError):
        rs.Adam(beta1=rs.Constant(1.0))


def test_a_schedule_prints_as_the_call_that_builds_it():
    schedule = rs.WarmUp(rs.CosAnneal(0.1, 0.01, 50, restart=False), 10)
    assert eval(repr(schedule), vars(rs)) == schedule
    assert repr(rs.Sequence((0.1, 5))) == "Sequence((Constant(value=0.1), 5))"
    step = rs.Step(1.0, 0.5, (3, 4))
    assert eval(repr(step), vars(rs)) == step


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        (RangeError, lambda: rs.CosAnneal(1.0, 0.0, 0)),
        (RangeError, lambda: rs.Step(1.0, 0.5, 0)),
        (RangeError, lambda: rs.Step(1.0, 0.5, [])),
        (RangeError, lambda: rs.OneCycle(1, 1.0)),
        (RangeError, lambda: rs.OneCycle(9, 1.0, percent_start=0.0)),
        (RangeError, lambda: rs.Poly(1.0, 0, 10)),
        (RangeError, lambda: rs.WarmUp(1.0, 0)),
        (StructureError, rs.Sequence),
        (StructureError, lambda: rs.Sequence(rs.Exp(1.0, 0.5))),
        (StructureError, lambda: rs.CombinedSchedule(3, 1.0)),
        (StructureError, lambda: rs.CombinedSchedule(jnp.maximum)),
        (StructureError, lambda: rs.ComposedSchedule(jnp.maximum, l0=1.0)),
        (StructureError, lambda: rs.ComposedSchedule(rs.Exp(1.0, 0.5), period=3)),
        (RangeError, lambda: rs.ComposedSchedule(rs.Exp(1.0, 0.5), decay=-1)),
        (RangeError, lambda: rs.ComposedSchedule(rs.Loop(1.0, 3), period=rs.Exp(9.0, 0.5))),
        (RangeError, lambda: rs.Exp(rs.Exp(1.0, 0.5), 0.5)),
        (RangeError, lambda: rs.Symmetric(1.0, 0)),
        (StructureError, lambda: rs.Interpolator(1.0, 2, whole=1)),
    ],
)
def test_arguments_out_of_range_are_refused_at_construction(kind, build):
    with pytest.raises(kind):
        build()


def test_schedules_are_trees_of_numbers():
    leaves = jax.tree.leaves(rs.WarmUp(rs.Exp(1.0, 0.5), 3))
    assert [float(leaf) for leaf in leaves] == [1.0, 0.5, 3.0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (rs.Step(1.0, 0.5, 3), rs.Step(2.0, 0.25, 7)),
        (rs.Step(1.0, 0.5, (3, 9)), rs.Step(2.0, 0.25, (1, 5))),
        (rs.Sequence((1.0, 3), (0.5, 1)), rs.Sequence((2.0, 5), (0.5, 9))),
        (rs.OneCycle(8, 1.0), rs.OneCycle(9, 2.0, percent_start=0.5)),
        (rs.Loop(rs.Exp(1.0, 0.5), 3), rs.Loop(rs.Exp(0.5, 0.25), 9)),
        (
            rs.ComposedSchedule(rs.Triangle(0.0, 1.0, 4), l1=rs.Exp(1.0, 0.5)),
            rs.ComposedSchedule(rs.Triangle(0.0, 2.0, 9), l1=rs.Exp(2.0, 0.5)),
        ),
    ],
)
def test_a_schedule_of_other_numbers_is_the_same_program(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    kinds = [[(x.dtype, x.shape, x.weak_type) for x in jax.tree.leaves(s)] for s in (one, other)]
    assert kinds[0] == kinds[1]
