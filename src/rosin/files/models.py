# SPDX-License-Identifier: Apache-2.0
"""Models and other trees on disk: every array under its path, nothing that names code.

The file is plain safetensors. What is no array (numbers, texts, the kind of a random key)
stands in its metadata, as `rosin.files.notes` writes and reads it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.paths import path_string
from rosin.core.random import is_key
from rosin.core.sharing import expect_settled
from rosin.core.validation import expect_kind, refuse
from rosin.errors import StructureError, shortened, shown
from rosin.files import notes as noted
from rosin.files.notes import Notes
from rosin.files.tensors import read_tensors, write_tensors
from rosin.limits import Limits

T = TypeVar("T")

ROOT = "(root)"
MAX_LISTED = 20
MAX_INT_BITS = 4096  # Python itself reads no more than 4 300 digits back
_DEFAULT = Limits()


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
        ...     rs.save(f"{folder}/model.safetensors", {"scales": (jnp.ones(2),), "step": 10})
        ...     list(rs.load_arrays(f"{folder}/model.safetensors"))
        ['scales[0]']
    """
    expect_settled(tree, subject="save")
    given = _expect_metadata(metadata)
    arrays: dict[str, Any] = {}
    notes = Notes({}, {})
    for name, leaf in _named(tree).items():
        if isinstance(leaf, jax.ShapeDtypeStruct):
            _expect_plain(name, leaf)
        elif is_key(leaf):
            notes.keys[name] = str(jax.random.key_impl(leaf))
            arrays[name] = jax.random.key_data(leaf)
        elif _is_array(leaf):
            arrays[name] = leaf
        else:
            _expect_plain(name, leaf)
            notes.values[name] = leaf
    write_tensors(path, arrays, {**given, noted.NAME: noted.encode(notes)})


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
        A tree of the structure of `like` with the file's arrays: NumPy's where `like`
        has those, JAX's elsewhere.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        StructureError: File and tree differ; every difference is listed. Or `like` is a
            class.
        OSError: The file cannot be opened.

    Examples:
        >>> import tempfile, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rs.save(f"{folder}/model.safetensors", {"scale": jnp.arange(2.0), "step": 10})
        ...     rs.load(f"{folder}/model.safetensors", like={"scale": jnp.zeros(2), "step": 0})
        {'scale': Array([0., 1.], dtype=float32), 'step': 10}
    """
    return load_with_metadata(path, like, limits=limits)[0]


def load_with_metadata(
    path: str | os.PathLike[str], like: T, *, limits: Limits = _DEFAULT
) -> tuple[T, dict[str, str]]:
    """Read a tree as `load` does, and the free-form text from the same opening of the file."""
    if isinstance(like, type):
        refuse(
            StructureError,
            subject="load",
            expected="like to be a model built like the saved one",
            got=shown(like),
            fix=f"build it: rs.load(path, like={like.__name__}(...))",
        )
    expect_settled(like, subject="load")
    file = read_tensors(path, limits=limits)
    notes = noted.decode(path, file, limits)
    wanted = _named(like)
    _expect_alike(path, wanted, file.arrays, notes)
    leaves = [
        notes.values[name]
        if name in notes.values
        else _as_like(leaf, file.arrays[name], notes.keys.get(name))
        for name, leaf in wanted.items()
    ]
    return jax.tree.structure(like).unflatten(leaves), _free(file.metadata)


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

    Examples:
        >>> import tempfile, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rs.save(f"{folder}/model.safetensors", {"scales": [jnp.ones(2), jnp.ones(3)]})
        ...     arrays = rs.load_arrays(f"{folder}/model.safetensors")
        >>> {name: array.shape for name, array in arrays.items()}
        {'scales[0]': (2,), 'scales[1]': (3,)}
    """
    return read_tensors(path, limits=limits, mmap=mmap).arrays


def load_metadata(path: str | os.PathLike[str], *, limits: Limits = _DEFAULT) -> dict[str, str]:
    """Read the free-form text that was saved with a file.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened.

    Examples:
        >>> import tempfile, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rs.save(f"{folder}/model.safetensors", jnp.ones(2), {"author": "ada"})
        ...     rs.load_metadata(f"{folder}/model.safetensors")
        {'author': 'ada'}
    """
    return _free(read_tensors(path, limits=limits).metadata)


def _free(metadata: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in metadata.items() if name != noted.NAME}


def _named(tree: Any) -> dict[str, Any]:
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


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


def _expect_metadata(metadata: Any) -> Mapping[str, str]:
    if metadata is None:
        return {}
    expect_kind(Mapping, subject="save", metadata=metadata)
    if noted.NAME in metadata:
        refuse(
            StructureError,
            subject="save",
            expected=f"metadata under names other than {noted.NAME!r}, which Rosin uses itself",
            got=f"a text for {noted.NAME!r}",
            fix="choose another name for it",
        )
    return metadata


def _expect_plain(name: str, leaf: Any) -> None:
    """Refuse what would not come back as it is: subclasses, functions, endless numbers."""
    if type(leaf) in (bool, float, str):
        return
    if type(leaf) is int and leaf.bit_length() <= MAX_INT_BITS:
        return
    refuse(
        StructureError,
        subject="save",
        expected=f"arrays, random keys, numbers and texts; {shortened(name)} is none of them",
        got=f"an int of {leaf.bit_length()} bits" if type(leaf) is int else shown(leaf),
        fix="leave it out, and build it again by code",
    )


# --- comparing -----------------------------------------------------------------------


def _expect_alike(
    path: str | os.PathLike[str],
    wanted: dict[str, Any],
    arrays: dict[str, np.ndarray[Any, Any]],
    notes: Notes,
) -> None:
    """Compare tree and file as a whole, and refuse with every difference."""
    differences = list(_differences(wanted, {**arrays, **notes.values}, notes.keys))
    if not differences:
        return
    more = len(differences) - MAX_LISTED
    listed = differences[:MAX_LISTED] + ([f"and {more} more"] if more > 0 else [])
    refuse(
        StructureError,
        subject=shortened(repr(Path(path).name)),
        expected="the arrays of the tree given as like",
        got=f"{len(differences)} that differ",
        fix="build like as the model was built that was saved; rs.load_arrays reads any file",
        details=tuple(listed),
    )


def _differences(
    wanted: dict[str, Any], stored: dict[str, Any], kinds: dict[str, str]
) -> Iterator[str]:
    for name, leaf in wanted.items():
        if name not in stored:
            yield f"missing: {name} {_described(leaf)}"
    for name, value in stored.items():
        if name not in wanted:
            yield f"unexpected: {shortened(name)} {_found(value, kinds.get(name))}"
            continue
        leaf = wanted[name]
        expected, got = _described(leaf), _found(value, kinds.get(name))
        if expected != got:
            yield f"different: {name} is {got} in the file, {expected} in the tree"
        elif _is_narrowed(value) and not isinstance(leaf, (np.ndarray, np.generic)):
            yield f"different: {name} is {got}, which JAX narrows unless jax_enable_x64 is set"


def _described(leaf: Any) -> str:
    """Say what a leaf of the tree wants: a dtype and a shape, or a kind of number."""
    return shown(leaf) if _is_array(leaf) else type(leaf).__name__


def _found(value: Any, kind: str | None) -> str:
    """Say what the file has, in the same words."""
    if kind is None:
        return _described(value)
    try:
        one = jax.eval_shape(lambda: jax.random.key(0, impl=kind))
    except ValueError:  # not a kind that this version of JAX knows
        return f"a random key of kind {shown(kind)}"
    data = jax.eval_shape(jax.random.key_data, one)
    batch = value.shape[: value.ndim - data.ndim]
    if (value.dtype, value.shape) != (data.dtype, (*batch, *data.shape)):
        return f"{shown(value)} as a random key of kind {shown(kind)}"
    return shown(jax.ShapeDtypeStruct(batch, one.dtype))


def _is_narrowed(value: Any) -> bool:
    return _is_array(value) and jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype


def _as_like(leaf: Any, stored: np.ndarray[Any, Any], kind: str | None) -> Any:
    """Make the leaf that stands for `leaf`, with memory of its own."""
    if kind is not None:
        return jax.random.wrap_key_data(jnp.array(stored), impl=kind)
    if isinstance(leaf, np.ndarray):
        return np.array(stored)
    if isinstance(leaf, np.generic):
        return stored[()]
    if stored.ndim == 0 and getattr(leaf, "weak_type", False):
        return jnp.asarray(stored.item())
    return jnp.array(stored)
