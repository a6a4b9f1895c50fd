# SPDX-License-Identifier: Apache-2.0
"""One update of 100 arrays, 1.9 million parameters in float32, beside optax.

Each contender is one compiled program that is given its parameters and state to reuse. Rosin's
has the guard in it: gradient and new values are looked at before any of them is stored.
`optax.apply_if_finite` is optax's guard, and looks at the gradient alone.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

import rosin as rs
from benchmarks.paired import paired

TITLE = "Optimisers: one update"
LAYERS, WIDTH = 50, 192
CALLS = 3
RULES: dict[str, tuple[Any, optax.GradientTransformation]] = {
    "Momentum": (rs.Momentum(1e-2), optax.sgd(1e-2, momentum=0.9)),
    "Adam": (rs.Adam(1e-3), optax.adam(1e-3)),
    "AdamW": (rs.AdamW(1e-3, decay="**"), optax.adamw(1e-3, weight_decay=0.01)),
    "Lion": (rs.Lion(1e-4, weight_decay=0.1, decay="**"), optax.lion(1e-4, weight_decay=0.1)),
    "Muon": (rs.Muon(1e-2), contrib.muon(1e-2)),
}


def measure() -> dict[str, dict[str, float]]:
    """Time each rule, in turns with optax's."""
    rows = {}
    for name, (ours, theirs) in RULES.items():
        contenders = {
            "optax": _optax(theirs),
            "guarded": _optax(optax.apply_if_finite(theirs, 5)),
            "rosin": _rosin(ours),
        }
        optax_us, guarded_us, rosin_us = (r.median_us for r in paired(contenders, calls=CALLS))
        rows[name] = {
            "optax_us": optax_us,
            "guarded_us": guarded_us,
            "rosin_us": rosin_us,
            "ratio": rosin_us / optax_us,
            "guarded_ratio": rosin_us / guarded_us,
        }
    return rows


def section(rows: dict[str, dict[str, float]]) -> str:
    """Write the table."""
    lines = [f"## {TITLE}", "", (__doc__ or "").strip(), ""]
    lines += [
        "| rule | optax | optax, apply_if_finite | rosin | ratio to optax | to apply_if_finite |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        times = " | ".join(f"{row[f'{who}_us']:.0f} µs" for who in ("optax", "guarded", "rosin"))
        lines.append(f"| {name} | {times} | {row['ratio']:.2f} | {row['guarded_ratio']:.2f} |")
    return "\n".join([*lines, ""])


def _model(scale: float) -> dict[str, dict[str, jax.Array]]:
    keys = jax.random.split(jax.random.key(int(1 / scale)), LAYERS)
    return {
        f"layer{i}": {
            "weight": scale * jax.random.normal(key, (WIDTH, WIDTH)),
            "bias": scale * jax.random.normal(key, (WIDTH,)),
        }
        for i, key in enumerate(keys)
    }


def _optax(rule: optax.GradientTransformation) -> Callable[[], Any]:
    def step(model: Any, state: Any, grads: Any) -> Any:
        changes, state = rule.update(grads, state, model)
        return optax.apply_updates(model, changes), state

    model = _model(0.05)
    return _repeated(step, model, rule.init(model))


def _rosin(rule: Any) -> Callable[[], Any]:
    def step(model: Any, opt_state: Any, grads: Any) -> Any:
        opt_state, model = rs.update(opt_state, model, grads)
        return model, opt_state

    model = _model(0.05)
    return _repeated(step, model, rs.setup(rule, model))


def _repeated(step: Callable[..., Any], model: Any, state: Any) -> Callable[[], Any]:
    """Compile a step that reuses the memory of what it changes; each call goes on."""
    compiled = functools.partial(jax.jit, donate_argnums=(0, 1))(step)
    grads, held = _model(0.01), [jax.tree.map(jnp.copy, model), jax.tree.map(jnp.copy, state)]

    def call() -> Any:
        held[:] = compiled(*held, grads)
        return jax.block_until_ready(held[0]["layer0"]["bias"])

    return call


if __name__ == "__main__":
    print(section(measure()))
