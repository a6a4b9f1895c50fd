# SPDX-License-Identifier: Apache-2.0
"""Between trees and files: the leaves of a tree by path, and leaves made from what was read."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.paths import path_string
from rosin.core.validation import expect_kind, refuse, suggestion
from rosin.errors import StructureError, shortened, shown
from rosin.files.comparing import refuse_all
from rosin.files.dtypes import converted
from rosin.files.items import Item

ROOT = "(root)"


def named(tree: Any) -> dict[str, Any]:
    """List the leaves of a tree by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {path_string(keys) or ROOT: leaf for keys, leaf in leaves}
    if len(named) < len(leaves):
        refuse(
            StructureError,
            subject="the tree",
            expected="a path of its own for each leaf",
            got=f"{len(leaves)} leaves at {len(named)} paths",
            fix="give the keys of a custom node texts that differ",
        )
    return named


def below(at: str, items: dict[str, Item], name: str) -> dict[str, Item]:
    """Keep what stands inside of one place of a file, under its path from there."""
    expect_kind(str, subject="load", at=at)
    below: dict[str, Item] = {}
    for path, item in items.items():
        rest = path.removeprefix(at)
        if path.startswith(at) and (not rest or rest[0] in ".["):
            below[rest.removeprefix(".") or ROOT] = item
    if not below:
        heads = {re.split(r"[.\[]", path, maxsplit=1)[0] for path in items}
        refuse(
            StructureError,
            subject=shortened(repr(name)),
            expected=f"something inside of at={shown(at)}",
            got=f"a file of {shortened(', '.join(sorted(heads)))}" if heads else "an empty file",
            fix=f"pass the path of a part that the file has{suggestion(at, heads)}",
        )
    return below


def read_all(wanted: dict[str, Any], taken: dict[str, Item], name: str) -> list[Any]:
    """Read what was chosen; leaves for which there is nothing stay."""
    leaves: list[Any] = []
    lost: list[str] = []
    for path, leaf in wanted.items():
        made = _made(leaf, taken[path]) if path in taken else leaf
        if made is None:
            lost.append(f"different: {path} has values beyond the range of {leaf.dtype}")
        leaves.append(made)
    if lost:
        refuse_all(name, lost, fix="build like with a wider dtype for these")
    return leaves


def _made(leaf: Any, item: Item) -> Any:
    """Make the leaf that stands for `leaf`, with memory of its own; None if it has no place."""
    stored = item.read()
    if item.kind is not None:
        return jax.random.wrap_key_data(jnp.array(stored), impl=item.kind)
    if item.dtype is None:
        return stored
    array = converted(stored, np.dtype(leaf.dtype))
    return None if array is None else _like(leaf, array)


def _like(leaf: Any, array: np.ndarray) -> Any:
    """Make an array of the kind that `leaf` is."""
    if isinstance(leaf, np.ndarray):
        return np.array(array, order="C", copy=None)
    if isinstance(leaf, np.generic):
        return array[()]
    if array.ndim == 0 and getattr(leaf, "weak_type", False):
        return jnp.asarray(array.item())
    return jnp.array(array)
