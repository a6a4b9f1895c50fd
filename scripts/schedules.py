# SPDX-License-Identifier: Apache-2.0
"""Draw the schedules of the guide: writes `docs/assets/schedules.svg`.

Run it again after a schedule has changed: `python scripts/schedules.py`.
"""

from pathlib import Path

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np

import rosin as rs

mpl.use("svg")

import matplotlib.pyplot as plt

TARGET = Path(__file__).parent.parent / "docs" / "assets" / "schedules.svg"
STEPS = np.arange(101)
COLUMNS = 4
SHOWN = {
    "Step(1, 0.5, 25)": rs.Step(1.0, 0.5, 25),
    "Exp(1, 0.97)": rs.Exp(1.0, 0.97),
    "Poly(1, 2, 80)": rs.Poly(1.0, 2, 80),
    "Inv(1, 0.05, 1)": rs.Inv(1.0, 0.05, 1),
    "CosAnneal(1, 0, 80, restart=False)": rs.CosAnneal(1.0, 0.0, 80, restart=False),
    "CosAnneal(1, 0, 25)": rs.CosAnneal(1.0, 0.0, 25),
    "OneCycle(80, 1)": rs.OneCycle(80, 1.0),
    "WarmUp(CosAnneal(…), 20)": rs.WarmUp(rs.CosAnneal(1.0, 0.0, 80, restart=False), 20),
    "Triangle(0, 1, 20)": rs.Triangle(0.0, 1.0, 20),
    "TriangleExp(0, 1, 20, 0.98)": rs.TriangleExp(0.0, 1.0, 20, 0.98),
    "SinDecay2(0, 1, 25)": rs.SinDecay2(0.0, 1.0, 25),
    "Sequence((1, 30), (Exp(0.5, 0.95), 70))": rs.Sequence((1.0, 30), (rs.Exp(0.5, 0.95), 70)),
}


def main() -> None:
    """Draw each in a field of its own."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rosin", "font.size": 8})
    rows = -(-len(SHOWN) // COLUMNS)
    figure, axes = plt.subplots(
        rows, COLUMNS, figsize=(10, 1.7 * rows), sharex=True, sharey=True, layout="constrained"
    )
    for field, (title, schedule) in zip(axes.flat, SHOWN.items(), strict=True):
        field.plot(STEPS, schedule(jnp.asarray(STEPS)), color="#3f51b5", linewidth=1.4)
        field.set_title(title, family="monospace", fontsize=7)
        field.set(xlim=(0, 100), ylim=(-0.05, 1.1), xticks=(0, 50, 100), yticks=(0, 0.5, 1))
        field.grid(color="#dddddd", linewidth=0.5)
        field.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("step", fontsize=8)
    figure.savefig(TARGET, metadata={"Date": None})


if __name__ == "__main__":
    main()
