# SPDX-License-Identifier: Apache-2.0
"""Reading a foreign file: scan it, refuse it or turn all of it into arrays and plain values."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from rosin.errors import FileError, LimitError, UnsafeFileError, shortened
from rosin.files.importers.arrays import Buffers
from rosin.limits import Limits
from rosin.scan.parsed import Parsed, Tensor
from rosin.scan.region import Refused
from rosin.scan.report import Finding, Level
from rosin.scan.scanner import examine, opened
from rosin.scan.values import Blob

_Result = TypeVar("_Result")
_MAX_DETAILS = 10


def read(path: str | os.PathLike[str], *, limits: Limits = Limits()) -> dict[str, np.ndarray]:
    """Read the arrays of a model file of another library, as data.

    The first bytes say what the format is. The parser is that of `rosin.scan`: a file that
    scans as anything but safe is refused, and nothing in a file is ever imported, called or
    evaluated. Nested containers become dotted names: `state["model"]["fc.weight"]` is
    `"model.fc.weight"`, the second item of a list ends in `.1`.

    Args:
        path: A regular file, or a symbolic link to one.
        limits: Bounds on what is accepted.

    Returns:
        Read-only arrays by name, in the order of the file. Arrays that shared a storage
        share memory. Numbers and texts beside them are left out; `read_tree` keeps them.

    Raises:
        UnsafeFileError: Loading the file as its own library does could run code.
        FileError: The file is damaged, or of no format that is read.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened, for example because it is not there.

    Examples:
        >>> import pickle, tempfile  # written here only to have a file; reading uses neither
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "model.pkl")
        ...     _ = path.write_bytes(pickle.dumps({"fc": {"weight": np.ones((2, 3))}}))
        ...     {name: array.shape for name, array in read(path).items()}
        {'fc.weight': (2, 3)}

    Source:
        PyTorch's `torch.load(weights_only=True)` has an allow-list too, but it builds
        PyTorch's own objects, believes sizes, and falls back to reading everything when asked.
    """

    def build(parsed: Parsed, buffers: Buffers) -> dict[str, np.ndarray]:
        return {name: buffers.array(tensor) for name, tensor in parsed.arrays.items()}

    return _read(path, limits, build)


def read_tree(path: str | os.PathLike[str], *, limits: Limits = Limits()) -> Any:
    """Read everything in a model file of another library, as plain values.

    Args:
        path: A regular file, or a symbolic link to one.
        limits: Bounds on what is accepted.

    Returns:
        Dicts, lists, tuples, texts, numbers, bytes and `None` as they were nested in the
        file, with read-only arrays in place of tensors. Sets become lists; dtypes and
        devices become texts.

    Raises:
        UnsafeFileError: Loading the file as its own library does could run code.
        FileError: The file is damaged, or of no format that is read.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened, for example because it is not there.

    Examples:
        >>> import pickle, tempfile  # written here only to have a file; reading uses neither
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "run.pkl")
        ...     _ = path.write_bytes(pickle.dumps({"epoch": 3, "loss": [0.5, 0.25]}))
        ...     read_tree(path)
        {'epoch': 3, 'loss': [0.5, 0.25]}
    """
    return _read(path, limits, lambda parsed, buffers: _built(parsed.tree, buffers))


def _built(tree: object, buffers: Buffers) -> object:
    if isinstance(tree, Tensor):
        return buffers.array(tree)
    if isinstance(tree, Blob):
        return tree.whole()
    if isinstance(tree, dict):
        return {key: _built(value, buffers) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_built(value, buffers) for value in tree)
    return tree


def _read(
    path: str | os.PathLike[str], limits: Limits, build: Callable[[Parsed, Buffers], _Result]
) -> _Result:
    """Scan a file, then build from what the scan understood, while it is open."""
    found: list[Parsed] = []
    try:
        with opened(path, limits) as region:
            findings = examine(region, found.append).findings
            if any(finding.level > Level.NOTE for finding in findings):
                _refuse(region.name, findings)
            models = [parsed for parsed in found if parsed.readable]
            if len(models) != 1:
                raise FileError(
                    subject=shortened(repr(region.name)),
                    expected="one file that holds arrays",
                    got=f"{found[0].format} with {len(models) or 'none'} of them",
                    fix="unpack the archive and read the file you want",
                )
            return build(models[0], Buffers())
    except Refused as refused:
        _refuse(refused.finding.file, [refused.finding])


def _refuse(name: str, findings: Sequence[Finding]) -> NoReturn:
    """Raise the error for the worst finding, and list the others."""
    order = (Level.DANGEROUS, Level.SUSPICIOUS, Level.UNKNOWN)
    failing = [finding for finding in findings if finding.level > Level.NOTE]
    worst = min(failing, key=lambda finding: order.index(finding.level))
    kind = FileError if worst.level == Level.UNKNOWN else UnsafeFileError
    others = [finding for finding in failing if finding is not worst][:_MAX_DETAILS]
    raise (LimitError if worst.limit else kind)(
        subject=shortened(repr(name)),
        where=_place(worst, name),
        expected=worst.expected,
        got=worst.got,
        fix=worst.way_out,
        details=tuple(f"also {finding.got}, {_place(finding, name)}" for finding in others),
    )


def _place(finding: Finding, name: str) -> str:
    member = finding.file.removeprefix(name).removeprefix("!")
    return ", ".join(part for part in (shortened(member), finding.inside) if part)
