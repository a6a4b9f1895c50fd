# SPDX-License-Identifier: Apache-2.0
"""Timing contenders against each other: in turns, in one process, on one machine."""

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROUNDS = 41


@dataclasses.dataclass(frozen=True)
class Result:
    """Times of one contender over all rounds, in microseconds for one call."""

    name: str
    times_us: list[float]

    @property
    def median_us(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.times_us)


def paired(contenders: Mapping[str, Callable[[], object]], *, calls: int) -> list[Result]:
    """Time each contender `calls` times in each round, in an order that turns.

    A round in which any contender takes more than twice its own median is left out: some
    other program was running.
    """
    names = list(contenders)
    for name in names:
        contenders[name]()
    rounds: list[dict[str, float]] = []
    for index in range(ROUNDS):
        turned = names[index % len(names) :] + names[: index % len(names)]
        rounds.append({name: _time(contenders[name], calls) for name in turned})
    medians = {name: statistics.median(r[name] for r in rounds) for name in names}
    calm = [r for r in rounds if all(r[name] <= 2 * medians[name] for name in names)]
    return [Result(name, [r[name] for r in calm]) for name in names]


def _time(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        result = function()
    block = getattr(result, "block_until_ready", None)
    if block is not None:
        block()
    return (time.perf_counter() - start) / calls * 1e6


def machine() -> dict[str, str]:
    """Name the machine and the versions."""
    packages = ("jax", "jaxlib", "numpy", "optax", "equinox", "flax")
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **found,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
