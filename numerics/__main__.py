# SPDX-License-Identifier: Apache-2.0
"""Measure all sections, write `docs/numerics.md`, and fail if a bar is missed.

`python -m numerics activations` measures the sections of that name only, and prints them.
"""

import sys
import time
from pathlib import Path

from benchmarks.paired import machine
from numerics import activations, losses, norms, precise, softmax

SECTIONS = {
    "activations": activations.section,
    "precise": precise.section,
    "norms": norms.section,
    "softmax": softmax.section,
    "losses": losses.section,
}
PAGE = Path(__file__).parent.parent / "docs" / "numerics.md"
INTRODUCTION = """# Numerics

`make numerics` measures these and writes this page; it fails if a bar is missed, and the row
is bold then. References are computed in float64, or in mpmath where float64 does not do.
"""


def main(names: list[str]) -> int:
    """Measure, print and write; return the exit status."""
    start = time.monotonic()
    sections = {name: SECTIONS[name]() for name in names or SECTIONS}
    page = "\n".join([INTRODUCTION, _machine(), *(s.markdown() for s in sections.values())])
    print(page)
    if not names:
        PAGE.write_text(page, encoding="utf-8")
    misses = [f"{name}: {miss}" for name, s in sections.items() for miss in s.misses]
    print(*(misses or ["every bar is met"]), sep="\n", file=sys.stderr)
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    return 1 if misses else 0


def _machine() -> str:
    where = machine()
    return f"Machine: {where['processor']}; jax {where['jax']}, jaxlib {where['jaxlib']}.\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
