# SPDX-License-Identifier: Apache-2.0
"""What holds for every rule of the table: its formula, dtypes, resuming, sizes of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import GetAttrKey

import rosin as rs
from rosin.optimisers.hyperparameters import LAST_STEP
from tests.optimisers.rule_table import RULES, Objective, Row

STEPS = 20
STEP = GetAttrKey("step")
START = np.array([[0.5, -1.5, 2.0], [3.0, -0.25, 1.0]])
TARGET = np.array([[0.25, -1.0, 1.0], [2.0, 0.5, 0.75]])
STEEP = np.array([[1.0, 0.5, 2.0], [0.25, 1.5, 1.0]])
DTYPES = {jnp.dtype(dtype).name: jnp.dtype(dtype) for dtype in ("f4", jnp.bfloat16, "f2")}


def waves(theta, step):
    """Give a gradient that does not depend on the parameters; its size and signs change."""
    return np.sin(1.7 * step + np.arange(6).reshape(2, 3)) * (1 + 0.3 * step)


def bowl(theta, step):
    """Give the gradient of a square."""
    return STEEP * (theta - TARGET)


OBJECTIVES = {"waves": waves, "bowl": bowl}


def models():
    """Give the start in each dtype, as one model, so that one program serves them all."""
    return {name: jnp.asarray(START, dtype) for name, dtype in DTYPES.items()}


def rounded(dtype):
    """Round numbers of float64 to a dtype; those beyond its largest become that."""
    top = float(jnp.finfo(dtype).max)
    return lambda x: np.clip(x, -top, top).astype(dtype).astype(np.float64)


def expected_of(row: Row, gradient_of, steps):
    """Follow the formula for the start in each dtype; `gradient_of` takes its name first."""
    rounding = {name: rounded(dtype) for name, dtype in DTYPES.items()}

    def objective(name):
        gradient = lambda x, t: rounding[name](gradient_of(name, x, t))
        return Objective(gradient, rounding[name])

    each = {name: objective(name) for name in DTYPES}
    if not row.together:
        return {name: row.formula(START, each[name], steps) for name in DTYPES}
    joint = Objective(
        lambda x, t: np.stack([each[n](part, t) for n, part in zip(DTYPES, x, strict=True)]),
        lambda x: np.stack([rounding[n](part) for n, part in zip(DTYPES, x, strict=True)]),
    )
    return dict(zip(DTYPES, row.formula(np.stack([START] * 3), joint, steps), strict=True))


@jax.jit
def run(opt_state, model, gradients, steep):
    """Take a step for each gradient in one compiled loop; add that of a square."""

    def body(carry, given):
        opt_state, model = carry

        def gradient(leaf):
            square = STEEP.astype("f4") * (leaf.astype("f4") - TARGET.astype("f4"))
            return (given + steep * square).astype(leaf.dtype)

        return rs.update(opt_state, model, jax.tree.map(gradient, model)), None

    return jax.lax.scan(body, (opt_state, model), gradients)[0]


@pytest.mark.parametrize("case", RULES)
def test_twenty_steps_are_the_formula_in_float64_and_can_be_interrupted(case, tmp_path):
    row: Row = RULES[case]
    half = STEPS // 2
    for name, gradient_of in OBJECTIVES.items():
        steep = jnp.float32(name == "bowl")
        given = np.stack([waves(None, t) for t in range(STEPS)]).astype("f4") * (1 - steep)
        model = models()
        opt_state, model = run(rs.setup(row.rule, model), model, given[:half], steep)
        rs.save(tmp_path / "run.safetensors", {"model": model, "opt_state": opt_state})
        fresh = jax.tree.map(jnp.zeros_like, model)
        fresh = {"model": fresh, "opt_state": rs.setup(row.rule, fresh)}
        loaded = rs.load(tmp_path / "run.safetensors", like=fresh)
        assert rs.equal(loaded, {"model": model, "opt_state": opt_state})
        opt_state, model = run(loaded["opt_state"], loaded["model"], given[half:], steep)
        assert int(opt_state.state.step) == STEPS
        assert int(opt_state.skipped) == 0
        expected = expected_of(row, lambda _, x, t, of=gradient_of: of(x, t), STEPS)
        for dtype in DTYPES:
            # float32 rounds twenty times, at 6e-8 of values up to 5; Muon's polynomial magnifies.
            # In half precision what lies between two numbers may go to the other one.
            one = float(jnp.finfo(dtype).eps) * (2 if dtype != "float32" else 0)
            np.testing.assert_allclose(model[dtype], expected[dtype], rtol=one, atol=2e-5)


def sized(of):
    """Give a gradient for each dtype, of the size that `of` says."""
    signs = np.sign(waves(None, 0) + 1e-3)
    return {n: jnp.asarray(of(jnp.finfo(d)) * signs, d) for n, d in DTYPES.items()}


SIZES = {
    "zero": lambda info: 0.0,
    "least": lambda info: float(info.tiny),
    "small": lambda info: 1e-3,
    "one": lambda info: 1.0,
    "beyond the root of the largest": lambda info: 2 * float(info.max) ** 0.5,
    "largest": lambda info: float(info.max),
}


@pytest.mark.optimised  # the ends of the range
@pytest.mark.parametrize("case", RULES)
def test_one_step_is_that_of_float64_for_gradients_of_any_size_in_every_dtype(case):
    row: Row = RULES[case]
    start = models()
    for size, of in SIZES.items():
        gradients = sized(of)
        opt_state, moved = rs.update(rs.setup(row.rule, start), start, gradients)
        assert int(opt_state.skipped) == 0
        given = {name: np.asarray(g, np.float64) for name, g in gradients.items()}
        # Of a gradient of zero some formulas are 0 / 0; there it is to be finite.
        wanted = {} if size == "zero" else expected_of(row, lambda n, x, t, g=given: g[n], 1)
        for name, before in start.items():
            assert moved[name].dtype == before.dtype
            expect_near(before, moved[name], wanted.get(name))


def expect_near(before, moved, wanted):
    """Compare a step with the formula in float64: within a tenth, and what rounding may do."""
    theta, after = (np.asarray(x, np.float64) for x in (before, moved))
    assert np.isfinite(after).all()
    if wanted is not None:
        rounding = 2 * float(jnp.finfo(before.dtype).eps) * np.abs(theta) + 1e-7
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


@pytest.mark.parametrize("case", RULES)
def test_at_the_last_count_of_steps_a_rule_still_moves(case):
    start = models()
    opt_state = rs.setup(RULES[case].rule, start)
    late = jax.tree_util.tree_map_with_path(
        lambda keys, x: jnp.full_like(x, LAST_STEP) if keys[-1] == STEP else x, opt_state.state
    )
    after, moved = rs.update(opt_state.replace(state=late), start, start)
    assert int(after.state.step) == LAST_STEP
    assert int(after.skipped) == 0
    # Has seen one gradient of three; the rate has fallen to 0; the first strides are set at step 0.
    waits = case in {"AccumGrad", "a schedule", "Rprop"}
    assert rs.equal(moved, start) is waits


@pytest.mark.parametrize("case", RULES)
def test_a_rule_of_other_numbers_is_the_same_program(case):
    opt_state = rs.setup(RULES[case].rule, models())
    for where, name, value in numbers(opt_state.rule):
        changed = rs.adjust(opt_state, *where, **{name: value})
        assert not rs.equal(changed, opt_state)
        assert jax.tree.structure(changed) == jax.tree.structure(opt_state)
        for old, new in zip(jax.tree.leaves(opt_state), jax.tree.leaves(changed), strict=True):
            assert (new.dtype, new.shape, new.weak_type) == (old.dtype, old.shape, old.weak_type)


def numbers(rule, where=()):
    """List the hyperparameters of a rule and of those inside, each with another value."""
    for name in rule.ranges:
        old = getattr(rule, name)
        if isinstance(old, rs.Schedule):
            yield where, name, jax.tree.map(lambda x: x / 2 if x.dtype.kind == "f" else x + 1, old)
        else:
            whole = old.dtype.kind == "i"
            yield where, name, int(old) + 1 if whole or old >= 1 else float(old) / 2 + 0.29
    for label, part in rule.parts().items():
        yield from numbers(part, (*where, label))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e25, 3e38])
@pytest.mark.parametrize(("p", "per_array"), [(2, False), (2, True), (1, False), (np.inf, False)])
def test_clipping_keeps_the_direction_and_gives_the_norm(size, p, per_array):
    gradients = {
        "a": np.array([3.0, -4.0], np.float32) / 4 * np.float32(size),
        "b": np.array([[1.0], [0.5]], np.float32) * np.float32(size),
    }
    zeros = jax.tree.map(jnp.zeros_like, gradients)
    rule = rs.OptimiserChain(rs.ClipNorm(0.5, p=p, per_array=per_array), rs.Descent(1.0))
    _, moved = rs.update(rs.setup(rule, zeros), zeros, jax.tree.map(jnp.asarray, gradients))
    exact = {k: g.astype(np.float64) for k, g in gradients.items()}
    together = np.linalg.norm(np.concatenate([g.ravel() for g in exact.values()]), p)
    for key, g in exact.items():
        norm = np.linalg.norm(g.ravel(), p) if per_array else together
        np.testing.assert_allclose(moved[key], -g * min(1, 0.5 / norm), rtol=1e-6)


@pytest.mark.parametrize("p", [0.5, 0, -1, np.nan, "2"])
def test_a_norm_that_is_none_is_refused(p):
    with pytest.raises(rs.errors.RangeError):
        rs.ClipNorm(p=p)
