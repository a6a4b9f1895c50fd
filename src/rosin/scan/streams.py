# SPDX-License-Identifier: Apache-2.0
"""Single pickle streams: run one, look for others in its bytes, try whether bytes are one."""

import contextlib
from typing import Final

from rosin.errors import shortened
from rosin.scan.arrays import NUMPY
from rosin.scan.cursor import Cursor
from rosin.scan.literals import LITERALS
from rosin.scan.machine import Machine, Profile
from rosin.scan.opcodes import HANDLERS, run
from rosin.scan.region import Context, MemoryRegion, Refused, Region

PLAIN_PROFILE: Final = Profile(NUMPY)
OPENING: Final = frozenset(bytes([code]) for code in {*LITERALS, *HANDLERS})
"""The bytes that a stream can begin with."""

_MIN_NESTED_BYTES: Final = 8
_MAX_NESTED_BYTES: Final = 1 << 24
_MAX_NESTED: Final = 2


def acts(region: Region) -> bool:
    """Run it as if it were a pickle, and say whether it calls anything or ends well."""
    machine = trial(region)
    called = any(mention.called for mention in machine.mentions.values())
    return called or (machine.ended and (machine.cursor.left == 0 or bool(machine.mentions)))


def trial(region: Region) -> Machine:
    """Run it as a plain pickle as far as it goes, reporting nothing."""
    quiet = region.section(0, region.size)
    quiet.context = Context(region.context.limits)
    machine = Machine(Cursor(quiet), PLAIN_PROFILE)
    with contextlib.suppress(Refused):
        run(machine)
    return machine


def run_stream(cursor: Cursor, profile: Profile) -> object:
    """Run one stream, look for pickles hidden in its bytes, and return its value."""
    machine = Machine(cursor, profile)
    try:
        return run(machine)
    finally:
        region = cursor.region
        for blob in machine.blobs:
            _look_inside(blob.region.section(blob.begin, blob.size), region, blob.begin)
        for at, data in machine.recoded:
            _look_inside(MemoryRegion(region.name, data, region.context), region, at)


def _look_inside(data: Region, region: Region, at: int, depth: int = 0) -> None:
    """Report bytes that are themselves a pickle which asks for more than data."""
    if not _MIN_NESTED_BYTES <= data.size <= _MAX_NESTED_BYTES:
        return
    if data.read(0, 1) not in OPENING:
        return
    machine = trial(data)
    for (module, name), mention in machine.mentions.items():
        if mention.called and (module, name) not in PLAIN_PROFILE.names:
            got = f"bytes that are a pickle with a call of {module}.{name}"
            region.report("pickle-nested", at, got=shortened(got))
            return
    for inner in machine.blobs if depth < _MAX_NESTED else ():
        _look_inside(data.section(inner.begin, inner.size), region, at, depth + 1)
