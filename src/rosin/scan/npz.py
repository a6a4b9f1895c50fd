# SPDX-License-Identifier: Apache-2.0
"""NumPy's archives of arrays: a zip archive of nothing but arrays."""

import dataclasses
from typing import Final

from rosin.errors import shown
from rosin.scan import npy
from rosin.scan.members import zip_member
from rosin.scan.parsed import Parsed, Tensor
from rosin.scan.region import Region, Section
from rosin.scan.tree import named_arrays
from rosin.scan.unpacked import Unpacked, deflated
from rosin.scan.zips import STORED, Member

_ENDING: Final = ".npy"


def claims(members: list[Member]) -> bool:
    """Say whether an archive holds arrays of NumPy alone, by the names of its members."""
    return all(member.name.endswith(_ENDING) for member in members)


def parse(region: Region, members: list[Member]) -> Parsed:
    """Check every member; the name of an array is that of its member without the ending."""
    tree: dict[object, object] = {}
    inside: list[Region] = []
    for member in members:
        region.context.members += 1
        region.expect_within("max_members", region.context.members, unit="members")
        unpacked = zip_member(region, member)
        if not npy.sniff(unpacked, unpacked.read(0, len(npy.MARK))):
            region.refuse("npy-header", member.begin, got=f"a member {shown(member.name)}")
        parsed = npy.parse(unpacked)
        inside += parsed.inside
        if parsed.readable:
            tree[member.name.removesuffix(_ENDING)] = _let_go(parsed.tree, region, member)
    if inside:
        return Parsed("npz", inside=inside)
    return Parsed("npz", tree, named_arrays(tree, region), readable=True)


def _let_go(tree: object, region: Region, member: Member) -> object:
    """Keep where the numbers of a compressed array are, not the numbers."""
    if member.method == STORED:
        return tree
    if isinstance(tree, dict):
        return {key: _let_go(value, region, member) for key, value in tree.items()}
    if not isinstance(tree, Tensor) or not isinstance(tree.region, Section):
        return tree
    packed = region.section(member.begin, member.packed)
    again = Unpacked(tree.region.name, member.size, packed, deflated(member.crc))
    return dataclasses.replace(tree, region=again.section(tree.region.begin, tree.region.size))
