# SPDX-License-Identifier: Apache-2.0
"""All rows of the contract, gathered from `layer_rows/`; a new layer adds its own there."""

import importlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import rosin as rs
from tests.layer_row import Row

LAYERS: dict[str, Row] = {}
for _path in sorted(Path(__file__).with_name("layer_rows").glob("*.py")):
    _rows = importlib.import_module(f"tests.layer_rows.{_path.stem}").ROWS
    if LAYERS.keys() & _rows.keys():
        raise ValueError(f"two rows of one name: {LAYERS.keys() & _rows.keys()}")
    LAYERS |= _rows

NAMES: dict[str, Any] = {
    **{name: getattr(rs, name) for name in rs.__all__},
    "add": jnp.add,
    "multiply": jnp.multiply,
    "float32": np.float32,
}
"""What a printed layer may name."""
