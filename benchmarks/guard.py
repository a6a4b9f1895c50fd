# SPDX-License-Identifier: Apache-2.0
"""What the guard against non-finite numbers costs: the step of `rs.train` with and without it.

Both are compiled on a flat list of arrays whose memory they reuse, as `train` does; without
the guard the new values are taken as they come. A row gives the median of the ratios of
neighbouring rounds. The bar is 1.01 for networks, and none for the smallest, whose whole
step takes as long as a few calls.
"""

import functools
import itertools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import rosin as rs
from benchmarks.paired import paired
from rosin.core.gradient import withgradient
from rosin.optimisers.update import apply
from rosin.training.step import guarded_step

TITLE = "The guard: a training step with and without it"
BAR = 1.01


def _perceptron(*sizes: int, batch: int) -> tuple[Any, Any]:
    inner = [rs.Dense(a, b, rs.relu) for a, b in itertools.pairwise(sizes[:-1])]
    model = rs.Chain(*inner, rs.Dense(sizes[-2], sizes[-1]))
    return model, _labelled((batch, sizes[0]), sizes[-1])


def _convolutions() -> tuple[Any, Any]:
    layers = [rs.Conv((3, 3), a, b, rs.relu, pad="same") for a, b in ((3, 32), (32, 32))]
    norms = [rs.BatchNorm(32), rs.MaxPool((2, 2))]
    model = rs.Chain(
        layers[0], *norms, layers[1], *norms, rs.GlobalMeanPool(), rs.flatten, rs.Dense(32, 10)
    )
    return model, _labelled((64, 32, 32, 3), 10)


def _transformer() -> tuple[Any, Any]:
    model = rs.Chain(
        rs.Embedding(256, 128),
        *(rs.TransformerEncoderBlock(128, heads=4) for _ in range(2)),
        rs.Dense(128, 256),
    )
    tokens = jax.random.randint(jax.random.key(0), (8, 128), 0, 256)
    return model, (tokens, tokens[:, ::-1])


WORKLOADS: dict[str, tuple[Callable[[], tuple[Any, Any]], int]] = {
    "perceptron 64-128-128-10, batch 64": (
        functools.partial(_perceptron, 64, 128, 128, 10, batch=64),
        50,
    ),
    "perceptron 784-512-512-10, batch 128": (
        functools.partial(_perceptron, 784, 512, 512, 10, batch=128),
        4,
    ),
    "perceptron 784-512-512-10, batch 1024": (
        functools.partial(_perceptron, 784, 512, 512, 10, batch=1024),
        1,
    ),
    "two convolutions of 32 channels on 32 by 32, batch 64": (_convolutions, 1),
    "transformer, 2 blocks, width 128, 8 by 128 tokens": (_transformer, 1),
}
"""Each with the number of calls in a round."""


def measure() -> dict[str, dict[str, float]]:
    """Time each workload with and without the guard, in pairs."""
    rows: dict[str, dict[str, float]] = {}
    for name, (build, calls) in WORKLOADS.items():
        with rs.seed(0):
            model, batch = build()
        contenders = {f.__name__: _running(f, model, batch) for f in (_without, _with)}
        without, guarded = paired(contenders, calls=calls)
        pairs = zip(guarded.times_us, without.times_us, strict=True)
        rows[name] = {
            "without_us": without.median_us,
            "with_us": guarded.median_us,
            "ratio": statistics.median(a / b for a, b in pairs),
        }
    return rows


def section(rows: dict[str, dict[str, float]]) -> str:
    """Write the table."""
    lines = [f"## {TITLE}", "", (__doc__ or "").partition("\n\n")[2].strip(), ""]
    lines += ["| step | without | with | ratio | bar |", "|---|--:|--:|--:|--:|"]
    for index, (name, row) in enumerate(rows.items()):
        times = f"{row['without_us']:.0f} µs | {row['with_us']:.0f} µs"
        verdict = f"≤ {BAR}: {'met' if row['ratio'] <= BAR else 'not met'}" if index else ""
        lines.append(f"| {name} | {times} | {row['ratio']:.3f} | {verdict} |")
    return "\n".join([*lines, ""])


def _labelled(shape: tuple[int, ...], classes: int) -> tuple[jax.Array, jax.Array]:
    x = jax.random.normal(jax.random.key(0), shape)
    return x, jax.random.randint(jax.random.key(1), shape[:1], 0, classes)


def _loss(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return rs.logitcrossentropy(model(x), y)


def _with(model: Any, opt_state: Any, batch: Any) -> Any:
    result = guarded_step(_loss, model, opt_state, batch)
    return (result.model, result.opt_state), (result.loss, result.finite)


def _without(model: Any, opt_state: Any, batch: Any) -> Any:
    value, grads, recorded = withgradient(_loss, model, *batch)
    opt_state, model = apply(opt_state, recorded, grads)
    return (model, opt_state), (value, value)


def _running(step: Callable[..., Any], model: Any, batch: Any) -> Callable[[], Any]:
    tree = jax.tree.map(jnp.copy, (model, rs.setup(rs.Adam(1e-3), model)))
    leaves, structure = jax.tree.flatten(tree)

    @functools.partial(jax.jit, donate_argnums=0)
    def flat(leaves: list[Any], batch: Any) -> Any:
        tree, beside = step(*structure.unflatten(leaves), batch)
        return jax.tree.leaves(tree), beside

    held = [leaves]

    def call() -> Any:
        held[0], (value, _) = flat(held[0], batch)
        return value

    return call


if __name__ == "__main__":
    print(section(measure()))
