# SPDX-License-Identifier: Apache-2.0
"""Models and other trees on disk: every array under its path, nothing that names code.

The file is plain safetensors. What is no array (numbers, texts, the kind of a random key)
stands as JSON in the header's metadata under the name `rosin`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.paths import path_string
from rosin.core.random import is_key
from rosin.core.sharing import expect_settled
from rosin.core.validation import refuse
from rosin.errors import FileError, StructureError, shortened, shown
from rosin.files.tensors import TensorFile, read_tensors, write_tensors
from rosin.limits import Limits

T = TypeVar("T")

NOTES = "rosin"
VERSION = 1
ROOT = "(root)"
MAX_LISTED = 20
_DEFAULT = Limits()


class _Notes(NamedTuple):
    """What a file says beside its arrays."""

    keys: dict[str, str]
    values: dict[str, Any]


def save(
    path: str | os.PathLike[str], tree: Any, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a model, or any tree, as one safetensors file, whole or not at all.

    Args:
        path: The file to create or to replace. It is replaced in one step: whoever reads
            it sees the old file or the new one, never a part.
        tree: Modules, optimiser states, arrays, random keys, numbers and texts in any
            nesting of tuples, lists and dicts. Static fields are not written: they are
            part of the program.
        metadata: Free-form text to keep with it.

    Raises:
        StructureError: The tree holds something else, such as a function.
        DtypeError: The format has no place for the dtype of an array.
        OSError: The system cannot write the file; what stood there before is untouched.

    Examples:
        >>> import tempfile, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rs.save(f"{folder}/model.safetensors", {"model": rs.Dense(2, 3), "step": 10})
        ...     list(rs.load_arrays(f"{folder}/model.safetensors"))
        ['model.bias', 'model.weight']
    """
    expect_settled(tree, subject="save")
    arrays: dict[str, Any] = {}
    notes = _Notes({}, {})
    for name, leaf in _named(tree):
        if is_key(leaf):
            notes.keys[name] = str(jax.random.key_impl(leaf))
            arrays[name] = np.asarray(jax.random.key_data(leaf))
        elif hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
            arrays[name] = leaf
        elif isinstance(leaf, (bool, int, float, str)):
            notes.values[name] = leaf
        else:
            refuse(
                StructureError,
                subject="save",
                expected=f"arrays, random keys, numbers and texts; {name} is none of them",
                got=shown(leaf),
                fix="leave it out, and build it again by code",
            )
    text = json.dumps({"version": VERSION, **notes._asdict()})
    write_tensors(path, arrays, {**(metadata or {}), NOTES: text})


def load(path: str | os.PathLike[str], like: T, *, limits: Limits = _DEFAULT) -> T:
    """Read a file that `save` wrote into a new tree, built like the one given.

    Everything is compared before anything is read: what is missing, what is too much,
    which shapes and dtypes differ. Nothing in the file decides what is built.

    Args:
        path: The file.
        like: A tree of the structure that was saved, such as a freshly built model; its
            arrays may be `jax.ShapeDtypeStruct`. It is not changed.
        limits: Bounds on what is accepted.

    Returns:
        A tree of the structure of `like` with the file's arrays.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        StructureError: File and tree differ; every difference is listed.
        OSError: The file cannot be opened.

    Examples:
        >>> import tempfile, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = rs.Dense(2, 3)
        ...     rs.save(f"{folder}/model.safetensors", model)
        ...     rs.load(f"{folder}/model.safetensors", like=rs.Dense(2, 3)) == model
        True
    """
    expect_settled(like, subject="load")
    file = read_tensors(path, limits=limits)
    notes = _notes(path, file)
    wanted = dict(_named(like))
    _expect_alike(path, wanted, file.arrays, notes)
    leaves = [_as_like(file, notes, name, leaf) for name, leaf in wanted.items()]
    return jax.tree.structure(like).unflatten(leaves)


def load_arrays(
    path: str | os.PathLike[str], *, limits: Limits = _DEFAULT, mmap: bool = True
) -> dict[str, np.ndarray[Any, Any]]:
    """Read the named arrays of any safetensors file, as they are.

    Args:
        path: The file.
        limits: Bounds on what is accepted.
        mmap: Whether the arrays are views of the file, paged in when touched.

    Returns:
        Read-only NumPy arrays by name; random keys as the numbers they consist of.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened.
    """
    return read_tensors(path, limits=limits, mmap=mmap).arrays


def load_metadata(path: str | os.PathLike[str], *, limits: Limits = _DEFAULT) -> dict[str, str]:
    """Read the free-form text that was saved with a file.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened.
    """
    metadata = read_tensors(path, limits=limits).metadata
    return {name: text for name, text in metadata.items() if name != NOTES}


def _named(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(path_string(keys) or ROOT, leaf) for keys, leaf in leaves]


def _notes(path: str | os.PathLike[str], file: TensorFile) -> _Notes:
    """Read Rosin's notes; a file of another program has none."""
    text = file.metadata.get(NOTES)
    if text is None:
        return _Notes({}, {})
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad_notes(path, "JSON", shown(str(error))) from error
    match read:
        case {"version": int(version), "keys": dict(keys), "values": dict(values)}:
            if version != VERSION:
                raise _bad_notes(path, f"format version {VERSION}", f"version {version}")
            if not all(isinstance(kind, str) for kind in keys.values()):  # pyright: ignore[reportUnknownVariableType]
                raise _bad_notes(path, "the kind of each random key as text", "other values")
            return _Notes(keys, values)  # pyright: ignore[reportUnknownArgumentType]
        case _:
            raise _bad_notes(path, "an object with version, keys and values", shown(type(read)))


def _bad_notes(path: str | os.PathLike[str], expected: str, got: str) -> FileError:
    return FileError(
        subject=_name(path),
        where=f"metadata {NOTES!r}",
        expected=expected,
        got=got,
        fix="read the file with the version of Rosin that wrote it, or use rs.load_arrays",
    )


def _name(path: str | os.PathLike[str]) -> str:
    return shortened(repr(Path(path).name))


def _expect_alike(
    path: str | os.PathLike[str],
    wanted: dict[str, Any],
    arrays: dict[str, np.ndarray[Any, Any]],
    notes: _Notes,
) -> None:
    """Compare tree and file as a whole, and refuse with every difference."""
    stored = {**arrays, **notes.values}
    differences = [
        f"missing: {name} {shown(leaf)}" for name, leaf in wanted.items() if name not in stored
    ]
    differences += [
        f"unexpected: {shortened(name)} {shown(stored[name])}"
        for name in stored
        if name not in wanted
    ]
    for name, leaf in wanted.items():
        if name in stored:
            expected, got = _described(leaf), _stored(name, stored[name], notes)
            if expected != got:
                differences.append(
                    f"different: {name} is {got} in the file, {expected} in the tree"
                )
    if not differences:
        return
    more = len(differences) - MAX_LISTED
    listed = differences[:MAX_LISTED] + ([f"and {more} more"] if more > 0 else [])
    refuse(
        StructureError,
        subject=_name(path),
        expected="the arrays of the tree given as like",
        got=f"{len(differences)} that differ",
        fix="build like as the model was built that was saved; rs.load_arrays reads any file",
        details=tuple(listed),
    )


def _described(leaf: Any) -> str:
    if is_key(leaf):
        impl = "" if isinstance(leaf, jax.ShapeDtypeStruct) else str(jax.random.key_impl(leaf))
        return f"random key {impl or leaf.dtype.name} {leaf.shape}"
    return shown(leaf) if hasattr(leaf, "dtype") else type(leaf).__name__


def _stored(name: str, value: Any, notes: _Notes) -> str:
    if name in notes.keys and hasattr(value, "dtype"):
        return f"random key {notes.keys[name]} {value.shape[:-1]}"
    return shown(value) if hasattr(value, "dtype") else type(value).__name__


def _as_like(file: TensorFile, notes: _Notes, name: str, leaf: Any) -> Any:
    """Make the leaf that stands for `leaf`, with memory of its own."""
    if name in notes.values:
        return notes.values[name]
    stored = file.arrays[name]
    if name in notes.keys:
        return jax.random.wrap_key_data(jnp.array(stored), impl=notes.keys[name])
    if getattr(leaf, "weak_type", False):
        return jnp.asarray(stored.item())
    return jnp.array(stored)
