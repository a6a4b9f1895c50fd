# SPDX-License-Identifier: Apache-2.0
"""PyTorch's checkpoints since 1.6: a zip archive of one pickle and the storages."""

import re
from collections.abc import Mapping
from typing import Final

from rosin.errors import grouped, shown
from rosin.scan.cursor import Cursor
from rosin.scan.machine import Profile
from rosin.scan.members import check_sum, section
from rosin.scan.parsed import Parsed
from rosin.scan.pytorch import PYTORCH, Storages
from rosin.scan.region import Region
from rosin.scan.streams import run_stream
from rosin.scan.tree import parsed_tree
from rosin.scan.zips import STORED, Member

_PICKLE: Final = "data.pkl"
_STORAGE: Final = "data/"
# What the small members hold; all of it is checked, little of it is used.
_SMALL: Final[Mapping[str, re.Pattern[bytes]]] = {
    "version": re.compile(rb"[0-9]{1,4}\n?"),
    "byteorder": re.compile(rb"little|big"),
    ".data/serialization_id": re.compile(rb"[0-9]{1,64}"),
    ".format_version": re.compile(rb"[0-9]{1,4}"),
    ".storage_alignment": re.compile(rb"[0-9]{1,8}"),
}
_MAX_SMALL_BYTES: Final = 64


def claims(members: list[Member]) -> bool:
    """Say whether an archive has PyTorch's pickle in its one folder."""
    return any(_inner(member) == _PICKLE for member in members)


def _inner(member: Member) -> str:
    return member.name.partition("/")[2]


def parse(region: Region, members: list[Member]) -> Parsed:
    """Check the pickle, the storages and that there is nothing else."""
    parts = {_inner(member): member for member in members}
    if len({member.name.partition("/")[0] for member in members}) != 1:
        region.refuse("pytorch-layout", expected="one folder", got="several")
    script = [name for name in parts if name == "constants.pkl" or name.startswith("code/")]
    if script:
        region.report("torchscript", got=f"the member {shown(script[0])}")
    for member in members:
        if member.method != STORED and not script:
            region.refuse("pytorch-layout", got=f"{shown(member.name)}, compressed")
        if member.method == STORED:
            check_sum(region, member)
    if script:
        return Parsed("torchscript")
    big_endian = _small(region, parts).get("byteorder") == b"big"
    stream = section(region, parts[_PICKLE])
    cursor = Cursor(stream)
    storages = Storages(view_metadata=False)
    value = run_stream(cursor, Profile(PYTORCH, storages.persistent))
    if cursor.left:
        stream.refuse("trailing-bytes", cursor.position, got=f"{grouped(cursor.left)} more bytes")
    regions = _storages(region, parts, storages)
    _expect_nothing_else(region, parts, storages)
    return parsed_tree("pytorch-zip", value, stream, regions, big_endian=big_endian)


def _small(region: Region, parts: Mapping[str, Member]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, pattern in _SMALL.items():
        if name in parts:
            data = region.read(parts[name].begin, min(parts[name].size, _MAX_SMALL_BYTES + 1))
            if not pattern.fullmatch(data):
                region.refuse("pytorch-layout", parts[name].begin, got=f"another {name}")
            found[name] = data
    return found


def _storages(region: Region, parts: Mapping[str, Member], storages: Storages) -> dict[str, Region]:
    """Find the member of each storage, of exactly its size."""
    regions: dict[str, Region] = {}
    for key, storage in storages.by_key.items():
        member = parts.get(_STORAGE + key)
        if member is None or member.size != storage.size:
            got = "none" if member is None else f"{grouped(member.size)} bytes"
            region.refuse(
                "pytorch-layout",
                None if member is None else member.begin,
                expected=f"{grouped(storage.size)} bytes for storage {shown(key)}",
                got=got,
            )
        regions[key] = section(region, member)
    return regions


def _expect_nothing_else(region: Region, parts: Mapping[str, Member], storages: Storages) -> None:
    used = {_PICKLE, *_SMALL, *(_STORAGE + key for key in storages.by_key)}
    for name, member in parts.items():
        if name not in used:
            region.refuse("pytorch-layout", member.begin, got=f"a member {shown(member.name)}")
