# SPDX-License-Identifier: Apache-2.0
"""The members of a zip archive as regions, each held to its checksum."""

import zlib
from collections.abc import Iterator

from rosin.errors import shown
from rosin.scan.region import Region
from rosin.scan.unpacked import deflated, unpack
from rosin.scan.zips import STORED, Member


def zip_members(region: Region, members: list[Member]) -> Iterator[Region]:
    """Yield each file of an archive, unpacked and held to its checksum."""
    for member in members:
        region.context.members += 1
        region.expect_within("max_members", region.context.members, unit="members")
        if not member.name.endswith("/"):
            yield zip_member(region, member)
        elif member.size:
            region.refuse("zip-layout", member.begin, got="a folder that holds bytes")


def zip_member(region: Region, member: Member) -> Region:
    """Return the bytes of one member, unpacked and held to its checksum."""
    if member.method == STORED:
        check_sum(region, member)
        return section(region, member)
    packed = region.section(member.begin, member.packed)
    return unpack(packed, deflated(member.crc), member.name, member.size)


def section(region: Region, member: Member) -> Region:
    """Return the bytes of a stored member."""
    return region.section(member.begin, member.packed, member.name)


def check_sum(region: Region, member: Member) -> None:
    """Hold a stored member to its checksum."""
    crc = 0
    for chunk in region.chunks(member.begin, member.begin + member.packed):
        crc = zlib.crc32(chunk, crc)
    if crc != member.crc:
        region.refuse("archive-checksum", member.begin, got=f"another one for {shown(member.name)}")
