# SPDX-License-Identifier: Apache-2.0
"""Write `src/rosin/__init__.pyi` from the table of public names, for type checkers."""

from pathlib import Path

import rosin

HEADER = "# SPDX-License-Identifier: Apache-2.0\n# Written by scripts/stub.py.\n"


def stub() -> str:
    """Spell the imports that the lazy table stands for."""
    lines = [
        f"from {home} import {name} as {name}"
        for home, names in sorted(rosin.PUBLIC.items())
        for name in names
    ]
    return HEADER + "\n".join([*lines, "", "__version__: str", ""])


if __name__ == "__main__":
    target = Path(rosin.__file__).with_suffix(".pyi")
    target.write_text(stub())
