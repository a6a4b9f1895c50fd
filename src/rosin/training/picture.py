# SPDX-License-Identifier: Apache-2.0
"""The picture of a history: the losses on one pair of axes, metrics on others below."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rosin.core.validation import refuse
from rosin.errors import StateError

LOSSES = ("loss", "validation_loss")
BESIDE = (*LOSSES, "epoch", "step", "skipped", "seconds", "examples_per_second")
"""What is drawn as a loss, or not at all."""

DECADES = 10.0
"""From the least loss to the greatest, from which on the scale is logarithmic."""

FEW = 30
"""Up to so many epochs each is marked; one between two that are NaN would be no line."""

LEGEND_ENTRIES = 8

Columns = Mapping[str, Any]


def draw(columns: Columns, figure: Any) -> Any:
    """Draw the columns of a history on a figure of matplotlib, a new one for None."""
    pyplot = _pyplot()
    groups = _groups(columns)
    if figure is None:
        height = 3.2 + 1.8 * len(groups)
        figure = pyplot.figure(figsize=(7, height), layout="constrained")
    heights = [2.0, *[1.2] * len(groups)]
    panels = figure.subplots(
        1 + len(groups), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    _draw_losses(panels[0], columns)
    for panel, (label, names) in zip(panels[1:], groups.items(), strict=True):
        _draw_metrics(panel, columns, label, names)
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.margins(x=0.02)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels()
    return figure


def _pyplot() -> Any:
    try:
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        refuse(
            StateError,
            subject="history.plot",
            expected="matplotlib to be installed",
            got="no module of that name",
            fix="pip install 'rosin[plots]'",
        )


def _draw_losses(panel: Any, columns: Columns) -> None:
    epochs = columns["epoch"]
    names = [name for name in LOSSES if name in columns]
    for name in names:
        panel.plot(epochs, columns[name], _style(epochs), label=_words(name))
    values = np.concatenate([columns[name] for name in names]) if names else np.ones(1)
    known = values[np.isfinite(values)]
    if known.size and known.min() > 0 and known.max() >= DECADES * known.min():
        panel.set_yscale("log")
    skipped = np.nan_to_num(columns.get("skipped", np.zeros(len(epochs)))) > 0
    if skipped.any():
        low = np.full(int(skipped.sum()), 0.03)
        panel.plot(
            epochs[skipped],
            low,
            "v",
            color="tab:red",
            transform=panel.get_xaxis_transform(),
            label="batches skipped",
        )
    panel.set_ylabel("loss")
    if panel.get_legend_handles_labels()[0]:
        panel.legend(loc="upper right")


def _draw_metrics(panel: Any, columns: Columns, label: str, names: list[str]) -> None:
    epochs = columns["epoch"]
    colours = _colours(len(names))
    named = len(names) <= LEGEND_ENTRIES
    for name, colour in zip(names, colours, strict=True):
        plain = name.removeprefix("validation_")
        text = _words(name if plain in names else plain) if named else None
        panel.plot(epochs, columns[name], _style(epochs), color=colour, label=text)
    panel.set_ylabel(label)
    if named and len(names) > 1:
        panel.legend(loc="best", ncols=1 + (len(names) > 3), fontsize="small")
    if not named:
        ends = (_words(names[end].removeprefix("validation_")) for end in (0, -1))
        panel.set_title(" to ".join(ends), fontsize="small")


def _groups(columns: Columns) -> dict[str, list[str]]:
    """Collect metrics that share a pair of axes: shares from 0 to 1, or one quantity."""
    quantities: dict[str, list[str]] = {}
    for name in columns:
        if name not in BESIDE and "," not in name.partition("[")[2]:  # no table of classes
            quantity = name.removeprefix("validation_").partition("[")[0]
            quantities.setdefault(quantity, []).append(name)
    groups: dict[str, list[str]] = {}
    for quantity, names in quantities.items():
        single = len(names) <= 2 and all(_is_share(columns[name]) for name in names)
        groups.setdefault("" if single else quantity, []).extend(names)
    shares = groups.pop("", [])
    label = _words(shares[0].removeprefix("validation_")) if len(shares) == 1 else "metrics"
    first = {label: shares} if shares else {}
    return first | {_words(quantity): names for quantity, names in groups.items()}


def _is_share(values: Any) -> bool:
    known = values[np.isfinite(values)]
    return bool(known.size) and 0 <= known.min() <= known.max() <= 1


def _colours(count: int) -> list[Any]:
    if count <= LEGEND_ENTRIES:
        return [f"C{index}" for index in range(count)]
    colormaps: Any = importlib.import_module("matplotlib").colormaps
    return list(colormaps["viridis"](np.linspace(0, 0.95, count)))


def _style(epochs: Any) -> str:
    return ".-" if len(epochs) <= FEW else "-"


def _words(name: str) -> str:
    return name.replace("_", " ")
