# SPDX-License-Identifier: Apache-2.0
"""Reference numbers of other libraries, as the scripts in `tests/reference/` stored them."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "reference"


def stored(family, group):
    """Load the arrays `group.*` of a file, rounded to float32."""
    with np.load(FOLDER / f"{family}.npz", allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith(group + ".")]
        return {n.removeprefix(group + "."): file[n].astype(np.float32) for n in names}
