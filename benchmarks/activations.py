# SPDX-License-Identifier: Apache-2.0
"""Value and derivative of an activation, of 2²⁰ numbers in float32, beside `jax.nn`.

One compiled call returns both, the derivative times a cotangent. The bars are 1.3 for each
function and 1.05 for the geometric mean of the ratios. What each costs in digits is on the
page [Numerics](numerics.md).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rosin as rs
from benchmarks.paired import paired
from numerics.activations import JAX

TITLE = "Activations: forward and backward"
COUNT = 2**20
CALLS = 3
BAR, MEAN_BAR = 1.3, 1.05


def measure() -> dict[str, dict[str, float]]:
    """Time each function that `jax.nn` has, in pairs."""
    rows = {}
    for name, theirs in JAX.items():
        contenders = {"jax.nn": _both(theirs), "rosin": _both(getattr(rs, name))}
        jax_us, rosin_us = (result.median_us for result in paired(contenders, calls=CALLS))
        rows[name] = {"jax_us": jax_us, "rosin_us": rosin_us, "ratio": rosin_us / jax_us}
    return rows


def section(rows: dict[str, dict[str, float]]) -> str:
    """Write the table."""
    lines = [f"## {TITLE}", "", (__doc__ or "").strip(), ""]
    lines += ["| function | jax.nn | rosin | ratio | bar |", "|---|--:|--:|--:|--:|"]
    for name, row in rows.items():
        times = f"{row['jax_us']:.0f} µs | {row['rosin_us']:.0f} µs"
        lines.append(f"| {name} | {times} | {row['ratio']:.2f} | {_verdict(row['ratio'], BAR)} |")
    mean = float(np.exp(np.mean([np.log(row["ratio"]) for row in rows.values()])))
    lines.append(f"| geometric mean | | | {mean:.2f} | {_verdict(mean, MEAN_BAR)} |")
    return "\n".join([*lines, ""])


def _verdict(ratio: float, bar: float) -> str:
    return f"≤ {bar}: {'met' if ratio <= bar else 'not met'}"


def _both(function: Callable[[Any], Any]) -> Callable[[], Any]:
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(0, 3, COUNT), jnp.float32)

    @jax.jit
    def value_and_derivative(x: Any, cotangent: Any) -> Any:
        y, pull = jax.vjp(function, x)
        return y, pull(cotangent)[0]

    return functools.partial(_wait, value_and_derivative, x, jnp.ones_like(x))


def _wait(function: Callable[..., Any], *arguments: Any) -> Any:
    return jax.block_until_ready(function(*arguments))


if __name__ == "__main__":
    print(section(measure()))
