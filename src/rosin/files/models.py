# SPDX-License-Identifier: Apache-2.0
"""Models and other trees on disk: every array under its path, nothing that names code.

The file is plain safetensors. What is no array (numbers, texts, the kind of a random key)
stands in its metadata, as `rosin.files.notes` writes and reads it.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np

from rosin.core.paths import Glob
from rosin.core.random import is_key
from rosin.core.sharing import expect_settled
from rosin.core.validation import expect_kind, expect_one_of, refuse, suggestion
from rosin.errors import StructureError, shortened, shown
from rosin.files import notes as noted
from rosin.files.comparing import Partial, is_array, take
from rosin.files.dtypes import CONVERSIONS, Conversion
from rosin.files.index import SUFFIX
from rosin.files.items import Item
from rosin.files.leaves import below, named, read_all
from rosin.files.notes import Notes
from rosin.files.renaming import as_renaming
from rosin.files.sharded import DEFAULT_SHARD_BYTES, write_shards
from rosin.files.shards import is_index, open_arrays
from rosin.files.stored import OWN, Names, free_text, open_stored
from rosin.files.tensors import write_tensors
from rosin.limits import Limits

T = TypeVar("T")

MAX_INT_BITS = 4096  # Python itself reads no more than 4 300 digits back
_DEFAULT = Limits()
_WHOLE = Partial()


def save(
    path: str | os.PathLike[str],
    tree: Any,
    metadata: Mapping[str, str] | None = None,
    *,
    max_shard_bytes: int | None = None,
) -> None:
    """Write a model, or any tree, as safetensors, whole or not at all.

    Args:
        path: The file to create or to replace. It is replaced in one step: whoever reads
            it sees the old file or the new one, never a part. A path that ends in
            `.safetensors.index.json` is an index: the arrays go into several files beside
            it, `model-00001-of-00003.safetensors`, as the Hugging Face hub has them.
        tree: Modules, optimiser states, arrays, random keys, numbers and texts in any
            nesting of tuples, lists and dicts. Static fields are not written: they are
            part of the program.
        metadata: Free-form text to keep with it.
        max_shard_bytes: For an index: the arrays of one file have at most so many bytes
            together; 5 000 000 000 when left out.

    Raises:
        StructureError: The tree holds something else, such as a function, or there is a
            `max_shard_bytes` without an index.
        DtypeError: The format has no place for the dtype of an array.
        RangeError: `max_shard_bytes` is not a whole number of at least 1.
        OSError: The system cannot write the file; what stood there before is untouched.

    Examples:
        >>> import tempfile, jax.numpy as jnp, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rs.save(f"{folder}/model.safetensors", {"scales": (jnp.ones(2),), "step": 10})
        ...     list(rs.load_arrays(f"{folder}/model.safetensors"))
        ['scales[0]']
    """
    expect_settled(tree, subject="save")
    given = _expect_metadata(metadata)
    arrays: dict[str, Any] = {}
    notes = Notes({}, {})
    for name, leaf in named(tree).items():
        if isinstance(leaf, jax.ShapeDtypeStruct):
            _expect_plain(name, leaf)
        elif is_key(leaf):
            notes.keys[name] = str(jax.random.key_impl(leaf))
            arrays[name] = jax.random.key_data(leaf)
        elif is_array(leaf):
            arrays[name] = leaf
        else:
            _expect_plain(name, leaf)
            notes.values[name] = leaf
    own = {noted.NAME: noted.encode(notes)}
    if is_index(path):
        most = DEFAULT_SHARD_BYTES if max_shard_bytes is None else max_shard_bytes
        write_shards(path, arrays, given, index_metadata=own, max_shard_bytes=most)
    elif max_shard_bytes is not None:
        refuse(
            StructureError,
            subject="save",
            expected=f"max_shard_bytes with a path such as model{SUFFIX}",
            got=shown(Path(path).name),
            fix=f"pass the path of an index, which ends in {SUFFIX}",
        )
    else:
        write_tensors(path, arrays, {**given, **own})


def load(
    path: str | os.PathLike[str],
    like: T,
    *,
    at: str = "",
    names: Names = None,
    partial: Partial = _WHOLE,
    convert: Conversion | None = None,
    limits: Limits = _DEFAULT,
) -> T:
    """Read a file that `save` wrote into a new tree, built like the one given.

    Everything is compared before anything is read: what is missing, what is too much,
    which shapes and dtypes differ. Nothing in the file decides what is built. Only the
    arrays that the tree needs are read, and they are copied: the file is free afterwards.

    Args:
        path: The file, or the index of several, `model.safetensors.index.json`. The first
            bytes decide what it is; a file of another library is read by
            `rosin.files.read`.
        like: A tree of the structure that was saved, such as a freshly built model; its
            arrays may be `jax.ShapeDtypeStruct`. It is not changed.
        at: The place in the file where the tree stands, such as `"model"` in a file that
            holds a model and more; nothing outside of it is read.
        names: Renaming rules, for a file with other names and layouts than the tree has:
            a `Renaming`, or a list of `Rename` and `Drop`.
        partial: What may be missing in the file, or left over, as globs; nothing when
            left out. Leaves that are missing stay as they are in `like`.
        convert: Which dtypes may be converted to those of the tree: `"exact"`, where
            every value stays what it is (float16 to float32), or `"rounded"`, to the
            nearest value too; a value that would overflow is refused. None when left out.
        limits: Bounds on what is accepted.

    Returns:
        A tree of the structure of `like` with the file's arrays: NumPy's where `like`
        has those, JAX's elsewhere.

    Raises:
        UnsafeFileError: It is a file of another library, which could run code there.
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        StructureError: File and tree differ, or the renaming rules do not fit the file;
            every difference is listed. Or `like` is a class.
        RangeError: `convert` is not one of its values.
        OSError: The file cannot be opened.

    Examples:
        >>> import tempfile, jax.numpy as jnp, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rs.save(f"{folder}/run.safetensors", {"scale": jnp.arange(2.0), "step": 10})
        ...     rs.load(f"{folder}/run.safetensors", like=jnp.zeros(2), at="scale")
        Array([0., 1.], dtype=float32)

    Source:
        Flux.jl `loadmodel!`, which writes into the model array by array and so can stop
        halfway. PyTorch's `strict=False` lets anything be missing or left over; here each
        such place is named.
    """
    return load_with_metadata(
        path, like, at=at, names=names, partial=partial, convert=convert, limits=limits
    )[0]


def load_with_metadata(
    path: str | os.PathLike[str],
    like: T,
    *,
    at: str = "",
    names: Names = None,
    partial: Partial = _WHOLE,
    convert: Conversion | None = None,
    limits: Limits = _DEFAULT,
) -> tuple[T, dict[str, str]]:
    """Read a tree as `load` does, and the free-form text from the same opening of the file."""
    _expect_arguments("load", like, partial, convert)
    name = Path(path).name
    with open_stored(path, limits) as (stored, metadata):
        part = below(at, stored, name) if at else stored
        return _filled(name, like, part, names, partial, convert), metadata


def loadmodel(
    like: T,
    arrays: Mapping[str, Any],
    *,
    names: Names = None,
    partial: Partial = _WHOLE,
    convert: Conversion | None = None,
) -> T:
    """Put named arrays that are at hand into a new tree, built like the one given.

    This is `load` for arrays that come from elsewhere, such as another library's file.

    Args:
        like: A tree, such as a freshly built model. It is not changed.
        arrays: NumPy arrays, numbers and texts by name.
        names: Renaming rules, as for `load`.
        partial: What may be missing or left over, as for `load`.
        convert: Which dtypes may be converted, as for `load`.

    Raises:
        StructureError: Arrays and tree differ, or the renaming rules do not fit; every
            difference is listed. Or `like` is a class.
        RangeError: `convert` is not one of its values.

    Examples:
        >>> import rosin as rs
        >>> from rosin.files.renaming import Rename, Transpose
        >>> arrays = {"fc.weight": np.ones((3, 2), np.float32), "fc.bias": np.ones(3, np.float32)}
        >>> rules = [Rename("fc.weight", "weight", Transpose("OI->IO")), Rename("fc.bias", "bias")]
        >>> loadmodel(rs.Dense(2, 3), arrays, names=rules)
        Dense(2, 3)

    Source:
        Flux.jl `loadmodel!`, which changes its model and stops halfway at a mismatch.
    """
    _expect_arguments("loadmodel", like, partial, convert)
    stored = {name: Item.of(value) for name, value in arrays.items()}
    return _filled("arrays", like, stored, names, partial, convert)


def _filled(
    name: str,
    like: Any,
    stored: dict[str, Item],
    names: Names,
    partial: Partial,
    convert: Conversion | None,
) -> Any:
    """Compare, then read what the tree needs, and build it."""
    if names is not None:
        stored = as_renaming(names).apply(stored)
    wanted = named(like)
    taken = take(name, wanted, stored, convert=convert, partial=partial)
    return jax.tree.structure(like).unflatten(read_all(wanted, taken, name))


def _expect_arguments(
    subject: str, like: Any, partial: Partial, convert: Conversion | None
) -> None:
    expect_kind(Partial, subject=subject, partial=partial)
    if convert is not None:
        expect_one_of(CONVERSIONS, subject=subject, convert=convert)
    if isinstance(like, type):
        refuse(
            StructureError,
            subject=subject,
            expected="like to be a model built like the saved one",
            got=shown(like),
            fix=f"build it: rs.load(path, like={like.__name__}(...))",
        )
    expect_settled(like, subject=subject)


def load_arrays(
    path: str | os.PathLike[str],
    only: str | Sequence[str] = "**",
    *,
    limits: Limits = _DEFAULT,
    mmap: bool = True,
) -> dict[str, np.ndarray[Any, Any]]:
    """Read the named arrays of any safetensors file, as they are.

    Args:
        path: The file, or the index of several, `model.safetensors.index.json`.
        only: A glob, or several, of the names wanted: `"encoder"` covers all inside of
            it, `*` stands for anything within a step, `**` for any steps. Other arrays
            are not touched.
        limits: Bounds on what is accepted.
        mmap: Whether the arrays are views of the file, paged in when touched. They keep
            the file open until the last of them is gone. Until then nobody may write to
            it: a view shows what is written, and a file cut short ends the process
            (SIGBUS). Pass `False` to copy what is wanted.

    Returns:
        Read-only NumPy arrays by name; random keys as the numbers they consist of.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        StructureError: A glob is no text, or covers no array of the file.
        OSError: The file cannot be opened.

    Examples:
        >>> import tempfile, jax.numpy as jnp, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rs.save(f"{folder}/model.safetensors", {"scales": [jnp.ones(2), jnp.ones(3)]})
        ...     arrays = rs.load_arrays(f"{folder}/model.safetensors")
        >>> {name: array.shape for name, array in arrays.items()}
        {'scales[0]': (2,), 'scales[1]': (3,)}
    """
    globs = (only,) if isinstance(only, str) else tuple(only)
    covering = [(glob, Glob(glob, foreign=True)) for glob in globs]
    with open_arrays(path, limits) as file:
        names = [name for name in file.entries if any(glob.covers(name) for _, glob in covering)]
        for text, glob in covering:
            if text != "**" and not any(map(glob.covers, names)):
                _refuse_glob(path, text, list(file.entries))
        return {name: file.view(name) if mmap else _still(file.read(name)) for name in names}


def _still(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.flags.writeable = False
    return array


def _refuse_glob(path: str | os.PathLike[str], glob: str, names: Sequence[str]) -> NoReturn:
    refuse(
        StructureError,
        subject="load_arrays",
        expected=f"only to cover arrays of {shortened(repr(Path(path).name))}",
        got=f"{shown(glob)}, which covers none of {len(names)}",
        fix=f"choose among the names that load_arrays(path) lists{suggestion(glob, names)}",
    )


def load_metadata(path: str | os.PathLike[str], *, limits: Limits = _DEFAULT) -> dict[str, str]:
    """Read the free-form text that was saved with a file.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened.

    Examples:
        >>> import tempfile, jax.numpy as jnp, rosin as rs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rs.save(f"{folder}/model.safetensors", jnp.ones(2), {"author": "ada"})
        ...     rs.load_metadata(f"{folder}/model.safetensors")
        {'author': 'ada'}
    """
    with open_arrays(path, limits) as file:
        return free_text(file.metadata)


def _expect_metadata(metadata: Any) -> Mapping[str, str]:
    if metadata is None:
        return {}
    expect_kind(Mapping, subject="save", metadata=metadata)
    taken = [name for name in OWN if name in metadata]
    if taken:
        refuse(
            StructureError,
            subject="save",
            expected=f"metadata under names other than {taken[0]!r}, which Rosin uses itself",
            got=f"a text for {taken[0]!r}",
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
