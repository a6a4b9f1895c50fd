# SPDX-License-Identifier: Apache-2.0
"""Writing a file so that its name shows either the old contents or the new, never a part."""

import contextlib
import errno
import os
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

# Some network file systems cannot sync a folder; by then the file itself is safe.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP}


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str]) -> Generator[BinaryIO]:
    """Yield a new file that takes the place of `path` once the block ends well.

    The bytes go to a temporary name in the same folder, are synced to disk, and only then
    renamed. After any error the temporary is gone and what stood at `path` is untouched.
    A symbolic link at `path` is itself replaced; what it points to is not written to.

    Args:
        path: The file to create or to replace; its folder exists.

    Raises:
        OSError: The system refuses to create, write, sync or rename; a folder that does not
            exist, or takes no file, is named.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replace_file(Path(folder, "note")) as file:
        ...         _ = file.write(b"whole")
        ...     Path(folder, "note").read_bytes()
        b'whole'
    """
    target = Path(path)
    temporary = target.parent / f".rosin-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(temporary, flags, 0o666)  # less the umask
    except OSError as error:
        error.filename = str(target.parent)  # the temporary name tells nobody anything
        raise
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            yield file
            file.flush()
            os.fsync(descriptor)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Write the rename itself to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
