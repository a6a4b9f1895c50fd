# SPDX-License-Identifier: Apache-2.0
"""Run all benchmarks, write `docs/benchmarks.md` and `docs/benchmarks.json`."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

from benchmarks import activations, attention, dispatch, guard, norms, optimisers, recurrent, steps
from benchmarks.paired import machine, paired

DOCS = Path(__file__).parent.parent / "docs"
INTRODUCTION = """# Benchmarks

`make bench` measures these and writes this page. Contenders run in turns, in one process
on one machine; a row gives the median over the rounds and its ratio to the first row.
Ratios carry over to other machines better than times do; trust them to about 10 %.
"""


def main() -> None:
    """Measure, print and write."""
    where = machine()
    measured: dict[str, Any] = {
        "machine": where,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }
    page = [INTRODUCTION, _machine_text(where)]
    for module in (dispatch, steps, recurrent, norms.LayerNorms, norms.BatchNorms, attention):
        results = paired(module.contenders(), calls=module.CALLS)
        base = results[0].median_us
        rows = {r.name: {"median_us": r.median_us, "ratio": r.median_us / base} for r in results}
        measured[module.__name__.rpartition(".")[2]] = rows
        page.append(_section(module.TITLE, module.__doc__ or "", rows, module.BARS))
        print(page[-1])
    for table in (guard, optimisers, activations):
        name = table.__name__.rpartition(".")[2]
        measured[name] = table.measure()
        page.append(table.section(measured[name]))
        print(page[-1])
    (DOCS / "benchmarks.json").write_text(json.dumps(measured, indent=2) + "\n")
    (DOCS / "benchmarks.md").write_text("\n".join(page))


def _machine_text(where: dict[str, str]) -> str:
    versions = ", ".join(f"{name} {text}" for name, text in where.items() if name != "processor")
    return f"Machine: {where['processor']}; {versions}.\n"


def _section(
    title: str, text: str, rows: dict[str, dict[str, float]], bars: dict[str, float]
) -> str:
    lines = [f"## {title}", "", text.strip(), "", "| contender | median | ratio | bar |"]
    lines.append("|---|--:|--:|--:|")
    for name, row in rows.items():
        bar = bars.get(name)
        verdict = "" if bar is None else f"≤ {bar}: {'met' if row['ratio'] <= bar else 'not met'}"
        lines.append(f"| {name} | {row['median_us']:.1f} µs | {row['ratio']:.2f} | {verdict} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
