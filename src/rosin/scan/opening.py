# SPDX-License-Identifier: Apache-2.0
"""Opening a file of unknown kind without waiting for it."""

import os
import stat

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


def open_at_once(
    path: str | os.PathLike[str], *, follow: bool = True, folder: int | None = None
) -> tuple[int, os.stat_result]:
    """Open whatever stands at a path for reading; a pipe or a device cannot hang it.

    Args:
        path: Any path.
        follow: Whether a symbolic link at the end of the path is followed.
        folder: The descriptor of the folder that a relative path starts from.

    Returns:
        A descriptor, and what the system says about what was opened, not about the name.

    Raises:
        OSError: The system cannot open it, for example because there is no such file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW, dir_fd=folder)
    try:
        return descriptor, os.fstat(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def kind_of(status: os.stat_result) -> str | None:
    """Name what is no regular file; `None` for what is one.

    Examples:
        >>> kind_of(os.stat("/")), kind_of(os.stat(__file__))
        ('a folder', None)
    """
    if stat.S_ISREG(status.st_mode):
        return None
    return KINDS.get(stat.S_IFMT(status.st_mode), "something else")
