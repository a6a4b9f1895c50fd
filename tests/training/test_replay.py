# SPDX-License-Identifier: Apache-2.0
"""Evaluating a program operation by operation gives what the program gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.training.replay import Fault, Replay, Traced, kind_of, written

X = np.linspace(0.5, 2, 12, dtype=np.float32).reshape(4, 3)


def weighted(carry, row):
    return 0.5 * carry + row, carry * row


PROGRAMS = {
    "scan": lambda x: jax.lax.scan(weighted, x[0], x),
    "scan from the end": lambda x: jax.lax.scan(weighted, x[0], x, reverse=True),
    "scan with constants": lambda x: jax.lax.scan(lambda c, r: (c + x[1], (r * x[2], c)), x[0], x),
    "scan without rows": lambda x: jax.lax.scan(lambda c, _: (2 * c, None), x, length=3),
    "scan of nothing": lambda x: jax.lax.scan(weighted, x[0], x[:0]),
    "while with constants": lambda x: jax.lax.while_loop(
        lambda v: v.sum() < 9 + x[0, 0], lambda v: v + x[1], x[0]
    ),
    "cond": lambda x: jax.lax.cond(x[0, 0] > 9, jnp.sin, jnp.cos, x),
    "the other branch": lambda x: jax.lax.cond(x[0, 0] < 9, jnp.sin, jnp.cos, x),
    "switch below": lambda x: jax.lax.switch(
        x[0, 0].astype(int) - 5, [jnp.sin, jnp.cos, jnp.tan], x
    ),
    "switch above": lambda x: jax.lax.switch(
        x[0, 0].astype(int) + 5, [jnp.sin, jnp.cos, jnp.tan], x
    ),
    "jit": lambda x: jax.jit(lambda a, b: (b, a - b))(x, 2 * x),
    "sort": lambda x: jax.lax.sort_key_val(x[:, 0], -x[:, 1]),
    "one value twice": lambda x: x * x,
    "an input handed on": lambda x: (x, 1.0, x),
    "constants": lambda x: x + np.arange(12.0, dtype=np.float32).reshape(4, 3),
    "keys": lambda x: jax.lax.scan(
        lambda k, r: (jax.random.split(k)[0], (k, jax.random.normal(k) * r)), jax.random.key(0), x
    ),
    "gradient": jax.grad(lambda x: jax.lax.scan(weighted, x[0], x)[1].sum()),
    "checkpoint": jax.grad(lambda x: jax.checkpoint(lambda v: jnp.sin(jnp.sin(v)))(x).sum()),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_the_values_are_those_of_the_program(case):
    program = PROGRAMS[case]
    results = Replay(lambda stack: "").call(jax.make_jaxpr(program)(X), [Traced(jnp.asarray(X))])
    expected = jax.tree.leaves(program(X))
    assert len(results) == len(expected)
    for result, value in zip(results, map(jnp.asarray, expected), strict=True):
        assert result.fault is None
        assert result.value.dtype == value.dtype
        np.testing.assert_allclose(plain(result.value), plain(value), rtol=1e-5)


def plain(value):
    is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(value) if is_key else value


def faults_of(function, *values):
    """Return the faults of a program's results, with all its operations in one layer."""
    given = [Traced(jnp.asarray(value)) for value in values]
    results = Replay(lambda stack: "layer").call(jax.make_jaxpr(function)(*values), given)
    for result in results:
        assert (result.fault is None) == (not kind_of(result.value))
    return [result.fault for result in results]


def test_a_row_of_a_scan_that_is_sound_is_not_blamed_on_another():
    x = np.array([-1.0, 1.0, np.nan], np.float32)
    source = Fault("", "", "NaN", "float32[3]", "the batch", firm=False)
    program = jax.make_jaxpr(lambda x: jax.lax.scan(lambda c, v: (c, jnp.log(v)), 0.0, x)[1])(x)
    (result,) = Replay(lambda stack: "layer").call(program, [Traced(jnp.asarray(x), source)])
    assert (result.fault.operation, result.fault.source) == ("log", "")


def test_of_several_rows_the_one_that_came_first_is_named():
    def step(carry, row):
        return carry, jnp.where(row > 1, jnp.log(-row), jnp.exp(row * 999))

    x = np.array([1.0, 2.0], np.float32)
    first = faults_of(lambda x: jax.lax.scan(step, 0.0, x)[1], x)
    last = faults_of(lambda x: jax.lax.scan(step, 0.0, x, reverse=True)[1], x)
    assert [first[0].operation, last[0].operation] == ["exp", "log"]


def test_a_fault_is_carried_through_a_scan():
    def step(carry, row):
        return jnp.where(row > 1, jnp.log(-row), carry + 1), carry

    x = np.array([0.0, 2.0, 0.0], np.float32)
    final, rows = faults_of(lambda x: jax.lax.scan(step, 0.0, x), x)
    assert final == rows
    assert (final.path, final.operation, final.value, final.result) == (
        "layer",
        "log",
        "NaN",
        "float32[]",
    )


def test_results_are_judged_one_by_one():
    sound, bad = faults_of(lambda x: (x + 1, jnp.log(x)), np.float32(-1))
    assert sound is None
    assert bad.operation == "log"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (jnp.array([1, 2]), ""),
        (jnp.array([True]), ""),
        (jax.random.key(0), ""),
        (jnp.zeros(0), ""),
        (3.0, ""),
        (jnp.array([1.0, jnp.inf]), "infinity"),
        (jnp.array([-jnp.inf, jnp.nan]), "NaN"),
        (jnp.array([1 + 1j * jnp.inf]), "NaN"),
        (jnp.array(jnp.inf, jnp.bfloat16), "infinity"),
        (jnp.array(jnp.nan, jnp.float8_e4m3fn), "NaN"),
    ],
    ids=str,
)
def test_what_is_not_finite_has_a_name(value, kind):
    assert kind_of(value) == kind
    assert (written(value).fault is None) == (not kind)
