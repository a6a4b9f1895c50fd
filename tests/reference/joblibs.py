# SPDX-License-Identifier: Apache-2.0
"""Write `joblibs/*` and `joblibs.npz`: files of `joblib.dump`, and the arrays they hold.

Run it with joblib 1.5 and NumPy 2 installed: `python tests/reference/joblibs.py`.
"""

from pathlib import Path

import joblib
import numpy as np

FOLDER = Path(__file__).parent / "joblibs"
VALUE = {
    "coefficients": np.linspace(-1, 1, 12).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "empty": np.zeros((0, 2), np.float32),
    "scalar": np.float32(0.5),
    "same": [np.arange(3, dtype=">u4")] * 2,
    "classes": ["cat", "dog"],
    "steps": (1, 2.5, None, True),
}
COMPRESSED = ("zlib", "gzip", "bz2", "xz", "lzma")


def main():
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    joblib.dump(VALUE, FOLDER / "plain.joblib")
    for protocol in (2, 3, 4, 5):
        joblib.dump(VALUE, FOLDER / f"protocol{protocol}.pkl", protocol=protocol)
    for form in COMPRESSED:
        joblib.dump(VALUE, FOLDER / f"{form}.joblib", compress=(form, 3))
    arrays = {name: value for name, value in VALUE.items() if isinstance(value, np.ndarray)}
    arrays |= {"scalar": VALUE["scalar"], "same.0": VALUE["same"][0], "same.1": VALUE["same"][1]}
    np.savez_compressed(FOLDER.with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
