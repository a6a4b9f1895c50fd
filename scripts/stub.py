# SPDX-License-Identifier: Apache-2.0
"""Write the `.pyi` files of the packages whose names are found lazily, for type checkers."""

from collections.abc import Mapping
from pathlib import Path

import rosin
from rosin import functional

HEADER = "# SPDX-License-Identifier: Apache-2.0\n# Written by scripts/stub.py.\n"


def stub(package: str, homes: Mapping[str, str]) -> str:
    """Spell the imports that stand for the names of a package."""
    sources = sorted(
        ((package if home == f"{package}.{name}" else home, name) for name, home in homes.items()),
        key=lambda pair: (pair[0], _place(pair[1])),
    )
    return HEADER + "\n".join([*(_line(source, name) for source, name in sources), ""])


def _place(name: str) -> tuple[bool, bool, str]:
    """Sort as ruff does: LSTM, then GRUv3, then activations; AdaBelief before AMSGrad."""
    return not name.isupper(), not name[0].isupper(), name.lower()


def _line(source: str, name: str) -> str:
    line = f"from {source} import {name} as {name}"
    return line if len(line) <= 100 else f"from {source} import (\n    {name} as {name},\n)"


def stubs() -> dict[Path, str]:
    """Spell all of them, by their files."""
    here = Path(rosin.__file__).with_suffix(".pyi")
    there = Path(functional.__file__).with_suffix(".pyi")
    return {
        here: stub("rosin", rosin._HOMES) + "\n__version__: str\n",
        there: stub("rosin.functional", functional._homes()),
    }


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text)
