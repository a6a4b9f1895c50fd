# SPDX-License-Identifier: Apache-2.0
"""Programs and office documents, by their first bytes; nothing in them is looked at."""

from typing import Final

from rosin.scan.parsed import Format, Parsed
from rosin.scan.region import Region

_MARKS: Final = {
    "elf": (b"\x7fELF",),
    "mach-o": (
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
    ),
    "java-class": (b"\xca\xfe\xba\xbe",),  # or Mach-O for several machines
    "webassembly": (b"\0asm",),
    "dalvik": (b"dex\n",),
    "windows-link": (b"L\0\0\0\x01\x14\x02\0",),
    "llvm-bitcode": (b"BC\xc0\xde",),
    "ole": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
}
_WORDS: Final = {
    "elf": "a program or a library of Linux",
    "mach-o": "a program or a library of macOS",
    "java-class": "a class of Java, or a program of macOS",
    "webassembly": "a module of WebAssembly",
    "dalvik": "a program of Android",
    "windows-link": "a link that starts a program on Windows",
    "llvm-bitcode": "a program as LLVM bitcode",
    "windows-program": "a program or a library of Windows",
    "python-bytecode": "compiled Python",
    "ole": "a document of Office, which can hold macros",
}
_DOS_HEADER_BYTES: Final = 64
_BYTECODE_FLAGS: Final = 4  # PEP 552: bit 0 for hashed, bit 1 for checked


def _kind(head: bytes) -> str | None:
    for name, marks in _MARKS.items():
        if head.startswith(marks):
            return name
    if head.startswith(b"MZ") and b"\0" in head[:_DOS_HEADER_BYTES]:
        return "windows-program"
    # The magic of CPython's files is a number that changes, then a line break (PEP 552).
    flags = int.from_bytes(head[4:8], "little")
    if head[2:4] == b"\r\n" and flags < _BYTECODE_FLAGS and len(head) > 16 and head[16] == 0xE3:
        return "python-bytecode"
    return None


def _parse(region: Region) -> Parsed:
    kind = _kind(region.read(0, _DOS_HEADER_BYTES)) or "program"
    region.report("office" if kind == "ole" else "program", 0, got=_WORDS[kind])
    return Parsed(kind)


PROGRAM: Final = Format("program", lambda _, head: _kind(head) is not None, _parse)
