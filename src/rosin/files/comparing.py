# SPDX-License-Identifier: Apache-2.0
"""A tree and a file, compared as a whole: what may differ, and every difference in words."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rosin.core.paths import Glob
from rosin.core.validation import expect_kind, refuse
from rosin.errors import StructureError, shortened, shown
from rosin.files.dtypes import Conversion, is_exact, is_possible
from rosin.files.items import Item

MAX_LISTED = 20
_BUILD_ALIKE = (
    "build like as the model was built that was saved; names= renames, partial= lists what may "
    "be missing or left over, rs.load_arrays reads any file"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """What tree and file need not have in common, for `load(..., partial=...)`.

    A leaf that the file lacks stays as it is in `like`. A leaf that is covered by both
    lists stays too where shape or dtype differ, as for a head of another size.

    Args:
        missing: Globs of paths in the tree that the file may lack: `"head"` covers all
            inside of it, `*` stands for anything within a step, `**` for any steps.
        unexpected: Globs of names that may be left over in the file.

    Raises:
        StructureError: An argument is no tuple or list of globs.

    Examples:
        >>> Partial(missing=["head"]).may_lack("head.bias")
        True
    """

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the globs."""
        expect_kind(
            (tuple, list), subject="Partial", missing=self.missing, unexpected=self.unexpected
        )
        for glob in self.missing:
            Glob(glob)
        for glob in self.unexpected:
            Glob(glob, foreign=True)

    def may_lack(self, path: str) -> bool:
        """Tell whether the file may lack a leaf of the tree."""
        return any(Glob(glob).covers(path) for glob in self.missing)

    def may_be_left(self, name: str) -> bool:
        """Tell whether something in the file may have no place in the tree."""
        return any(Glob(glob, foreign=True).covers(name) for glob in self.unexpected)


class Difference(NamedTuple):
    """One difference, and the conversion that would mend it, if one would."""

    text: str
    remedy: Conversion | None = None


def take(
    name: str,
    wanted: Mapping[str, Any],
    items: Mapping[str, Item],
    *,
    convert: Conversion | None,
    partial: Partial,
) -> dict[str, Item]:
    """Choose for each leaf what the file has for it, or refuse with every difference.

    Args:
        name: The file's own name.
        wanted: The leaves of the tree by path.
        items: What the file holds.
        convert: Which conversions of dtypes are allowed.
        partial: What may be missing or left over.

    Returns:
        What is to be read, by path; leaves that are to stay are left out.

    Raises:
        StructureError: Tree and file differ in more than is allowed.
    """
    taken: dict[str, Item] = {}
    differences: list[Difference] = []
    for path, leaf in wanted.items():
        if path not in items:
            differences += _lacking(path, leaf, partial)
    for path, item in items.items():
        if path not in wanted:
            if not partial.may_be_left(path):
                differences.append(Difference(f"unexpected: {shortened(path)} {found(item)}"))
            continue
        difference = _mismatch(path, wanted[path], item, convert)
        if difference is None:
            taken[path] = item
        elif partial.may_lack(path) and partial.may_be_left(path):
            differences += _lacking(path, wanted[path], partial)
        else:
            differences.append(difference)
    if differences:
        refuse_all(name, [one.text for one in differences], fix=_fix(differences))
    return taken


def refuse_all(name: str, differences: Sequence[str], *, fix: str) -> None:
    """Refuse with the first differences and the number of all."""
    more = len(differences) - MAX_LISTED
    listed = [*differences[:MAX_LISTED], *([f"and {more} more"] if more > 0 else [])]
    refuse(
        StructureError,
        subject=shortened(repr(name)),
        expected="the arrays of the tree given as like",
        got=f"{len(differences)} that differ",
        fix=fix,
        details=tuple(listed),
    )


def is_array(leaf: Any) -> bool:
    """Tell an array, concrete or described, from a number or a text."""
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


def _lacking(path: str, leaf: Any, partial: Partial) -> Iterator[Difference]:
    if not partial.may_lack(path):
        yield Difference(f"missing: {path} {_described(leaf)}")
    elif isinstance(leaf, jax.ShapeDtypeStruct):
        yield Difference(f"missing: {path} {_described(leaf)}, of which like has no values either")


def _mismatch(path: str, leaf: Any, item: Item, convert: Conversion | None) -> Difference | None:
    expected, got = _described(leaf), found(item)
    remedy = None
    if expected != got:
        remedy = _remedy(leaf, item)
        if remedy is None or (remedy, convert) not in _ALLOWED:
            text = f"different: {path} is {got} in the file, {expected} in the tree"
            return Difference(text, remedy)
    if is_array(leaf) and _is_narrowed(leaf):
        text = f"different: {path} is {expected}, which JAX narrows unless jax_enable_x64 is set"
        return Difference(text)
    return None


_ALLOWED = {("exact", "exact"), ("exact", "rounded"), ("rounded", "rounded")}


def _remedy(leaf: Any, item: Item) -> Conversion | None:
    """Name the conversion that makes an array out of the file fit the tree."""
    plain = is_array(leaf) and item.dtype is not None and item.kind is None
    if not plain or tuple(leaf.shape) != item.shape or not isinstance(leaf.dtype, np.dtype):
        return None
    if is_exact(item.dtype, leaf.dtype):  # pyright: ignore[reportArgumentType]
        return "exact"
    return "rounded" if is_possible(item.dtype, leaf.dtype) else None  # pyright: ignore[reportArgumentType]


def _is_narrowed(leaf: Any) -> bool:
    """Tell whether JAX cannot hold the dtype of a leaf that it is to hold."""
    if isinstance(leaf, (np.ndarray, np.generic)) or not isinstance(leaf.dtype, np.dtype):
        return False
    return jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype


def _fix(differences: Sequence[Difference]) -> str:
    remedies = {one.remedy for one in differences}
    if None in remedies:
        return _BUILD_ALIKE
    if remedies == {"exact"}:
        return "pass convert='exact' to convert what loses nothing, or build like with these dtypes"
    return "pass convert='rounded' to round to the nearest value, or build like with these dtypes"


def _described(leaf: Any) -> str:
    """Say what a leaf of the tree wants: a dtype and a shape, or a kind of number."""
    return shown(leaf) if is_array(leaf) else type(leaf).__name__


def found(item: Item) -> str:
    """Say what the file has, in the same words."""
    if item.kind is None:
        return str(item)
    try:
        one = jax.eval_shape(lambda: jax.random.key(0, impl=item.kind))
    except ValueError:  # not a kind that this version of JAX knows
        return f"a random key of kind {shown(item.kind)}"
    data = jax.eval_shape(jax.random.key_data, one)
    batch = item.shape[: len(item.shape) - data.ndim]
    if (item.dtype, item.shape) != (data.dtype, (*batch, *data.shape)):
        return f"{shown(item)} as a random key of kind {shown(item.kind)}"
    return shown(jax.ShapeDtypeStruct(batch, one.dtype))
