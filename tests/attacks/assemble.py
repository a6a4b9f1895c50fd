# SPDX-License-Identifier: Apache-2.0
"""Putting hostile files together, byte by byte."""

import io
import struct
import zipfile
import zlib

END = b"."
NONE = b"N"


def text(value):
    """Push a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    """Push a whole number."""
    return b"J" + struct.pack("<i", value)


def name(module, attribute):
    """Push a name, as protocols 0 to 3 spell it."""
    return f"c{module}\n{attribute}\n".encode()


def stacked(module, attribute):
    """Push a name, as protocol 4 spells it."""
    return text(module) + text(attribute) + b"\x93"


def group(*values):
    """Push a tuple."""
    return b"(" + b"".join(values) + b"t"


def call(callee, *arguments):
    """Call what `callee` pushes."""
    return callee + group(*arguments) + b"R"


def call_of(dotted, *arguments):
    """Call a name such as `os.system`."""
    module, _, attribute = dotted.rpartition(".")
    return call(name(module, attribute), *arguments)


def stream(*parts, protocol=2):
    """Put a stream together."""
    return bytes([0x80, protocol]) + b"".join(parts) + END


def framed(*frames, protocol=4):
    """Put a stream of frames together, each with its own length."""
    return bytes([0x80, protocol]) + b"".join(
        b"\x95" + struct.pack("<Q", len(frame)) + frame for frame in frames
    )


# --- PyTorch ---------------------------------------------------------------------------

ORDERED = call_of("collections.OrderedDict")


def storage(key="0", numel=4, kind="FloatStorage", more=()):
    """Refer to a storage."""
    parts = (text("storage"), name("torch", kind), text(key), text("cpu"), number(numel), *more)
    return group(*parts) + b"Q"


def tensor(of=None, offset=0, shape=(4,), strides=(1,), hooks=ORDERED, more=()):
    """Rebuild a tensor on a storage."""
    parts = (
        storage() if of is None else of,
        number(offset),
        group(*map(number, shape)),
        group(*map(number, strides)),
        b"\x89",
        hooks,
        *more,
    )
    return call_of("torch._utils._rebuild_tensor_v2", *parts)


def checkpoint(pickle, storages=None, members=()):
    """Put a zip checkpoint together; `members` are further ones, or take the place of some."""
    parts = {"data.pkl": pickle, "version": b"3\n", "byteorder": b"little"}
    for key, data in ({"0": bytes(16)} if storages is None else storages).items():
        parts[f"data/{key}"] = data
    parts |= dict(members)
    return archive({f"archive/{key}": data for key, data in parts.items()})


LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
LEGACY_VERSION = stream(b"M\xe9\x03")
LEGACY_SYSTEM = stream(b"}", text("little_endian"), b"\x88s")


LEGACY_STORAGE = struct.pack("<Q", 4) + bytes(16)


def legacy(pickle, keys=("0",), tail=LEGACY_STORAGE, **parts):
    """Put a legacy checkpoint together."""
    return (
        LEGACY_MAGIC
        + parts.get("version", LEGACY_VERSION)
        + parts.get("system", LEGACY_SYSTEM)
        + pickle
        + stream(b"](", *map(text, keys), b"e")
        + tail
    )


# --- zip -------------------------------------------------------------------------------


def archive(members, method=zipfile.ZIP_STORED):
    """Write a sound zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as writer:
        for member, data in members.items():
            writer.writestr(zipfile.ZipInfo(member), data, method)
    return file.getvalue()


def replaced(data, old, new, count=1):
    """Replace the first `count` places of a fragment, which has to be there."""
    assert old in data
    return data.replace(old, new, count)


def local(member, data, *, flags=0, method=0, crc=None, size=None, extra=b""):
    """Write the local header of a member and its data."""
    crc = zlib.crc32(data) if crc is None else crc
    size = len(data) if size is None else size
    encoded = member if isinstance(member, bytes) else member.encode()
    head = (20, flags, method, 0, 0, crc, size, size, len(encoded), len(extra))
    return b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", *head) + encoded + extra + data


def central(member, data, at, *, flags=0, method=0, crc=None, size=None, extra=b"", mode=0, by=3):
    """Write the entry of a member in the directory."""
    crc = zlib.crc32(data) if crc is None else crc
    size = len(data) if size is None else size
    encoded = member if isinstance(member, bytes) else member.encode()
    head = (by << 8, 20, flags, method, 0, 0, crc, size, size)
    tail = (len(encoded), len(extra), 0, 0, 0, mode << 16, at)
    return (
        b"PK\x01\x02"
        + struct.pack("<HHHHHHIII", *head)
        + struct.pack("<HHHHHII", *tail)
        + encoded
        + extra
    )


def end(count, size, begin, comment=b""):
    """Write the end record."""
    head = (0, 0, count, count, size, begin, len(comment))
    return b"PK\x05\x06" + struct.pack("<HHHHIIH", *head) + comment


def one_member(member="a.md", data=b"text", *, outside=None, inside=None, before=b"", after=b""):
    """Write an archive of one member, with other options in the directory or the header."""
    head = before + local(member, data, **(inside or {}))
    entry = central(member, data, len(before), **(outside or {}))
    return head + after + entry + end(1, len(entry), len(head) + len(after))
