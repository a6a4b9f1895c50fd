# SPDX-License-Identifier: Apache-2.0
"""What holds for every rule of the table: its formula, dtypes, resuming, sizes of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from tests.optimisers.rule_table import RULES, Row

STEPS = 20
START = np.array([[0.5, -1.5, 2.0], [3.0, -0.25, 1.0]])
TARGET = np.array([[0.25, -1.0, 1.0], [2.0, 0.5, 0.75]])
STEEP = np.array([[1.0, 0.5, 2.0], [0.25, 1.5, 1.0]])


DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)


def waves(theta, step):
    """Give a gradient that does not depend on the parameters; its size and signs change."""
    return np.sin(1.7 * step + np.arange(6).reshape(2, 3)) * (1 + 0.3 * step)


def bowl(theta, step):
    """Give the gradient of a square."""
    return STEEP * (theta - TARGET)


OBJECTIVES = {"waves": waves, "bowl": bowl}


@jax.jit
def run(opt_state, model, gradients, steep):
    """Take a step for each gradient in one compiled loop; add that of a square."""

    def body(carry, given):
        opt_state, model = carry
        g = given + steep * STEEP.astype("f4") * (model - TARGET.astype("f4"))
        return rs.update(opt_state, model, g), None

    return jax.lax.scan(body, (opt_state, model), gradients)[0]


@pytest.mark.parametrize("case", RULES)
def test_twenty_steps_are_the_formula_in_float64_and_can_be_interrupted(case, tmp_path):
    row: Row = RULES[case]
    half = STEPS // 2
    for name, gradient_of in OBJECTIVES.items():
        steep = jnp.float32(name == "bowl")
        given = np.stack([waves(None, t) for t in range(STEPS)]).astype("f4") * (1 - steep)
        model = jnp.asarray(START, jnp.float32)
        opt_state, model = run(rs.setup(row.rule, model), model, given[:half], steep)
        rs.save(tmp_path / "run.safetensors", {"model": model, "opt_state": opt_state})
        fresh = {"model": jnp.zeros_like(model), "opt_state": rs.setup(row.rule, model)}
        loaded = rs.load(tmp_path / "run.safetensors", like=fresh)
        assert rs.equal(loaded, {"model": model, "opt_state": opt_state})
        opt_state, model = run(loaded["opt_state"], loaded["model"], given[half:], steep)
        assert int(opt_state.state.step) == STEPS
        assert int(opt_state.skipped) == 0
        expected = row.formula(START, gradient_of, STEPS)
        # float32 rounds twenty times, at 6e-8 of values up to 5; Muon's polynomial magnifies.
        np.testing.assert_allclose(model, expected, rtol=0, atol=2e-5)


def models():
    """Give the start in each dtype, as one model, so that one program serves them all."""
    return {jnp.dtype(dtype).name: jnp.asarray(START, dtype) for dtype in DTYPES}


def sized(of):
    """Give a gradient for each dtype, of the size that `of` says."""
    signs = np.sign(waves(None, 0) + 1e-3)
    return {jnp.dtype(d).name: jnp.asarray(of(jnp.finfo(d)) * signs, d) for d in DTYPES}


SIZES = {
    "zero": lambda info: 0.0,
    "least": lambda info: float(info.tiny),
    "small": lambda info: 1e-3,
    "one": lambda info: 1.0,
    "beyond the root of the largest": lambda info: 2 * float(info.max) ** 0.5,
    "largest": lambda info: float(info.max),
}


@pytest.mark.parametrize("case", RULES)
def test_one_step_is_that_of_float64_for_gradients_of_any_size_in_every_dtype(case):
    row: Row = RULES[case]
    start = models()
    for of in SIZES.values():
        gradients = sized(of)
        opt_state, moved = rs.update(rs.setup(row.rule, start), start, gradients)
        assert int(opt_state.skipped) == 0
        for name, before in start.items():
            assert moved[name].dtype == before.dtype
            expect_near(row, before, gradients[name], moved[name])


def expect_near(row, before, gradient, moved):
    """Compare a step with the formula in float64: within a tenth, and what rounding may do."""
    info = jnp.finfo(before.dtype)
    theta, g, after = (np.asarray(x, np.float64) for x in (before, gradient, moved))
    assert np.isfinite(after).all()
    if row.published and g.any():
        wanted = np.clip(row.formula(theta, lambda x, t: g, 1), -float(info.max), float(info.max))
        rounding = float(info.eps) * np.abs(theta) + 1e-7
        assert (np.abs(after - wanted) <= 0.1 * np.abs(wanted - theta) + rounding).all()


@pytest.mark.parametrize("case", RULES)
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(case):
    start = models()
    opt_state, model = rs.update(rs.setup(RULES[case].rule, start), start, start)
    for value in (np.nan, np.inf):
        bad = start | {"float16": start["float16"].at[0, 1].set(value)}
        after, same = rs.update(opt_state, model, bad)
        assert rs.equal(same, model)
        assert rs.equal(after.state, opt_state.state)
        assert int(after.skipped) == 1


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e25, 3e38])
@pytest.mark.parametrize("per_array", [False, True])
def test_clipping_keeps_the_direction_and_gives_the_norm(size, per_array):
    gradients = {
        "a": np.array([3.0, -4.0], np.float32) / 4 * np.float32(size),
        "b": np.array([[1.0], [0.5]], np.float32) * np.float32(size),
    }
    zeros = jax.tree.map(jnp.zeros_like, gradients)
    rule = rs.OptimiserChain(rs.ClipNorm(0.5, per_array=per_array), rs.Descent(1.0))
    _, moved = rs.update(rs.setup(rule, zeros), zeros, jax.tree.map(jnp.asarray, gradients))
    exact = {k: g.astype(np.float64) for k, g in gradients.items()}
    together = np.sqrt(sum((g**2).sum() for g in exact.values()))
    for key, g in exact.items():
        norm = np.linalg.norm(g) if per_array else together
        np.testing.assert_allclose(moved[key], -g * min(1, 0.5 / norm), rtol=1e-6)
