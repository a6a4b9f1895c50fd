# SPDX-License-Identifier: Apache-2.0
"""Archives: names that lead elsewhere, members that programs find differently, bombs."""

import bz2
import functools
import gzip
import io
import lzma
import struct
import tarfile
import zlib

from rosin.scan import Level
from tests.attacks.assemble import (
    archive,
    call_of,
    central,
    checkpoint,
    end,
    local,
    one_member,
    stream,
    tensor,
    text,
)
from tests.attacks.case import Case

SAFE, SUSPICIOUS, UNKNOWN, DANGEROUS = Level.SAFE, Level.SUSPICIOUS, Level.UNKNOWN, Level.DANGEROUS
EVIL = stream(call_of("os.system", text("ls")))
FINE = stream(b"}")
BLANKS = b" " * 2**25


def broken(data, rule="zip-layout", verdict=UNKNOWN, byte=None, file="models.zip"):
    """Make an archive that breaks a rule."""
    return Case(data, rule, verdict, byte, file)


def named(member, rule="archive-name", verdict=DANGEROUS):
    """Make an archive with a member of this name."""
    return broken(archive({member: b"text"}), rule, verdict)


def two(first, second, flags=0):
    """Write two members of any names."""
    head = local(first, b"1", flags=flags)
    tail = local(second, b"2", flags=flags)
    entries = central(first, b"1", 0, flags=flags) + central(second, b"2", len(head), flags=flags)
    return head + tail + entries + end(2, len(entries), len(head) + len(tail))


def overlapping():
    """Write two entries that share one member."""
    data = local("a.md", b"text")
    entries = central("a.md", b"text", 0) + central("b.md", b"text", 0)
    return data + entries + end(2, len(entries), len(data))


def described(descriptor):
    """Write a member whose sizes come after it."""
    head = local("a.md", b"text", flags=8, crc=0, size=0)
    entry = central("a.md", b"text", 0, flags=8)
    return head + descriptor + entry + end(1, len(entry), len(head) + len(descriptor))


SIZES = struct.pack("<III", zlib.crc32(b"text"), 4, 4)
TORCH = checkpoint(stream(tensor()))


def nested(depth):
    """Write archives in archives."""
    data = archive({"a.md": b"text"})
    for _ in range(depth):
        data = archive({"a.zip": data})
    return data


def packed(data, name, form):
    """Make one compressed file."""
    rule = None if data == FINE else "pickle-code"
    verdict = SAFE if data == FINE else DANGEROUS
    return Case(lambda: form(data), rule, verdict, file="model.pkl" + FILES[name])


def alone(data):
    """Write the format before xz."""
    return lzma.compress(data, lzma.FORMAT_ALONE)


def tarred(member, data, form=tarfile.GNU_FORMAT, **fields):
    """Write a tar archive of one member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as writer:
        info = tarfile.TarInfo(member)
        info.size = len(data)
        for key, value in fields.items():
            setattr(info, key, value)
        writer.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar(
    member, data=b"text", form=tarfile.GNU_FORMAT, *, rule="tar-layout", verdict=UNKNOWN, **fields
):
    """Make a tar archive that breaks a rule."""
    return Case(lambda: tarred(member, data, form, **fields), rule, verdict, file="a.tar")


FORMS = {"gzip": gzip.compress, "zlib": zlib.compress, "bzip2": bz2.compress}
FORMS |= {"xz": lzma.compress, "lzma": alone}
FILES = {"gzip": ".gz", "zlib": ".z", "bzip2": ".bz2", "xz": ".xz", "lzma": ".lzma"}


@functools.cache
def bomb(name):
    """Make a small file of much text."""
    return FORMS[name](BLANKS)


CASES = {
    "a pickle in an archive": Case(
        archive({"a/model.pkl": EVIL}), "pickle-code", DANGEROUS, 2, "models.zip"
    ),
    "a pickle in a compressed archive": Case(
        archive({"a/model.pkl": EVIL}, method=8), "pickle-code", DANGEROUS, 2, "models.zip"
    ),
    "a pickle in an archive in an archive": Case(
        archive({"b.zip": archive({"a/model.pkl": EVIL})}), "pickle-code", DANGEROUS, 2, "a.zip"
    ),
    "a pickle called text in an archive": Case(
        archive({"README.md": EVIL}), "pickle-code", DANGEROUS, 2, "models.zip"
    ),
    "archives deeper than the bound": Case(lambda: nested(5), "limit", UNKNOWN, file="models.zip"),
    # names
    "a path upwards": named("../a.md"),
    "a path upwards in the middle": named("a/../../b.md"),
    "an absolute path": named("/etc/a.md"),
    "a path of Windows": named("a\\b.md"),
    "a drive": named("C:a.md"),
    "an empty component": named("a//b.md"),
    "a component of one dot": named("./a.md"),
    "a name with a line break": named("a\nb.md"),
    "a name that is not ASCII and not marked as UTF-8": broken(
        one_member(b"\x84.md"), "archive-name", DANGEROUS
    ),
    "a name with a nought": broken(two(b"a.md", b"b\0.md"), "archive-name", DANGEROUS),
    "a link": broken(one_member(outside={"mode": 0o120777}), "archive-name", DANGEROUS),
    "a device": broken(one_member(outside={"mode": 0o020666}), "archive-name", DANGEROUS),
    "one name twice": broken(two("a.md", "a.md"), "archive-duplicate", SUSPICIOUS),
    "names that differ in capitals": broken(two("a.md", "A.md"), "archive-duplicate", SUSPICIOUS),
    "names that differ in their Unicode form": broken(
        two("é.md", "é.md", flags=1 << 11), "archive-duplicate", SUSPICIOUS
    ),
    "a name longer than the bound": broken(archive({"a" * 2000: b""}), "limit"),
    # the header against the directory
    "another name in the header": broken(one_member("a.md").replace(b"a.md", b"b.md", 1), byte=0),
    "another method in the header": broken(one_member(inside={"method": 8}), byte=0),
    "another size in the header": broken(one_member(inside={"size": 3}), byte=0),
    "another checksum in the header": broken(one_member(inside={"crc": 1}), byte=0),
    "other flags in the header": broken(one_member(inside={"flags": 6}), byte=0),
    "a checksum that is wrong in both": broken(
        one_member(inside={"crc": 1}, outside={"crc": 1}), "archive-checksum"
    ),
    "a checkpoint with a flipped bit": Case(
        TORCH.replace(bytes(16), bytes(15) + b"\1", 1),
        "archive-checksum",
        UNKNOWN,
        file="model.pt",
    ),
    "encryption": broken(one_member(inside={"flags": 1}, outside={"flags": 1}), "zip-feature"),
    "an unknown method": broken(
        one_member(inside={"method": 99}, outside={"method": 99}), "zip-feature"
    ),
    "an extra field with another name": broken(
        one_member(outside={"extra": b"\x75\x70\x02\0ab"}), "zip-feature"
    ),
    "extra fields that are cut short": broken(one_member(outside={"extra": b"\x55\x54\x09\0"})),
    "zip64 numbers that nobody asked for": broken(
        one_member(outside={"extra": b"\1\0\x08\0" + bytes(8)})
    ),
    "a size that stands nowhere": broken(one_member(outside={"size": 0xFFFFFFFF})),
    # bytes that belong to nobody
    "bytes before the first member": broken(b"PK\3\4" + one_member()),
    "a member before the first that is listed": broken(
        one_member(before=local("b.md", b"evil")), byte=0
    ),
    "bytes between the directory and the end": broken(
        one_member()[:-22] + b"evil" + one_member()[-22:]
    ),
    "bytes between member and directory": broken(one_member(after=b"evil")),
    "bytes after the end": broken(one_member() + b"evil"),
    "a comment": broken(one_member()[:-2] + b"\4\0evil"),
    "two entries for one member": broken(overlapping(), byte=0),
    "fewer entries than the end says": broken(one_member().replace(b"\1\0\1\0", b"\2\0\2\0", 1)),
    "more entries than the end says": broken(
        two("a.md", "b.md").replace(b"\2\0\2\0", b"\1\0\1\0", 1)
    ),
    "several volumes": broken(one_member().replace(b"PK\5\6\0\0", b"PK\5\6\1\0"), "zip-feature"),
    "no end record": broken(one_member()[:-22]),
    "an archive that is cut short": broken(one_member()[:40]),
    "no members": broken(local("a", b"")[:4] + end(0, 0, 4), byte=0),
    "a locator that points elsewhere": broken(
        one_member()[:-22] + b"PK\6\7" + bytes(16) + one_member()[-22:]
    ),
    "a descriptor that is wrong": broken(described(b"PK\7\x08" + bytes(12))),
    "a descriptor of another length": broken(described(bytes(13))),
    "a folder that holds bytes": broken(archive({"a/": b"text"})),
    # bombs
    "a bomb": Case(
        lambda: archive({"a.md": BLANKS}, method=8), "limit", UNKNOWN, file="models.zip"
    ),
    **{
        f"a bomb of {name}": Case(
            lambda name=name: bomb(name), "limit", UNKNOWN, file="a.md" + FILES[name]
        )
        for name in FORMS
    },
    "more members than the bound": Case(
        archive({f"{i}.md": b"" for i in range(9)}),
        "limit",
        UNKNOWN,
        file="a.zip",
        limits={"max_members": 8},
    ),
    "more unpacked than the bound": Case(
        archive({f"{i}.md": b"text" for i in range(9)}, method=8),
        "limit",
        UNKNOWN,
        file="a.zip",
        limits={"max_unpacked_bytes": 20},
    ),
    "a pickle with a zip archive at its end": Case(
        FINE + archive({"a.md": b"text"}), "polyglot", UNKNOWN, 0, file="model.pkl"
    ),
    "text with a zip archive at its end": Case(
        b"text" + archive({"a.md": b"text"}), "polyglot", UNKNOWN, 0, file="a.md"
    ),
    # tar
    "a pickle in a tar archive": tar("a/model.pkl", EVIL, rule="pickle-code", verdict=DANGEROUS),
    "a pickle in a tar archive of a long name": tar(
        "a" * 200 + ".pkl", EVIL, rule="pickle-code", verdict=DANGEROUS
    ),
    "a pickle in a pax archive of a long name": tar(
        "a" * 200 + ".pkl", EVIL, tarfile.PAX_FORMAT, rule="pickle-code", verdict=DANGEROUS
    ),
    "a pickle in a compressed tar archive": Case(
        lambda: gzip.compress(tarred("model.pkl", EVIL)), "pickle-code", DANGEROUS, 2, "a.tgz"
    ),
    "text in a tar archive": Case(
        lambda: tarred("a.md", b"text"), None, SAFE, file="a.tar", reads=False
    ),
    "text in a compressed tar archive": Case(
        lambda: gzip.compress(tarred("a.md", b"text")), None, SAFE, file="a.tgz", reads=False
    ),
    "a path upwards in tar": tar("../a.md", rule="archive-name", verdict=DANGEROUS),
    "an absolute path in tar": tar("/a.md", rule="archive-name", verdict=DANGEROUS),
    "a link in tar": tar("a", b"", type=tarfile.SYMTYPE, rule="archive-name", verdict=DANGEROUS),
    "a hard link in tar": tar(
        "a", b"", type=tarfile.LNKTYPE, rule="archive-name", verdict=DANGEROUS
    ),
    "a device in tar": tar("a", b"", type=tarfile.CHRTYPE, rule="archive-name", verdict=DANGEROUS),
    "a pax record that is not known": tar(
        "a.md", form=tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.name": "b"}
    ),
    "a pax size that is no number": tar(
        "a.md", form=tarfile.PAX_FORMAT, pax_headers={"size": "-1"}
    ),
    "bytes after a tar archive": Case(
        lambda: tarred("a.md", b"text") + b"evil", "trailing-bytes", UNKNOWN, file="a.tar"
    ),
    "bytes in the padding of tar": Case(
        lambda: tarred("a.md", b"text").replace(b"text\0", b"texte"),
        "trailing-bytes",
        UNKNOWN,
        file="a.tar",
    ),
    "a tar archive that is cut short": Case(
        lambda: tarred("a.md", b"text")[:600], "cut-short", UNKNOWN, file="a.tar"
    ),
    "a second tar header that is damaged": Case(
        lambda: tarred("a.md", b"text")[:1024] + b"x" * 512, "tar-layout", UNKNOWN, file="a.tar"
    ),
    # single files
    **{f"a call in {name}": packed(EVIL, name, form) for name, form in FORMS.items()},
    **{f"data in {name}": packed(FINE, name, form) for name, form in FORMS.items()},
    **{
        f"bytes after {name}": Case(
            lambda form=form: form(FINE) + b"evil", "trailing-bytes", UNKNOWN, file="a.pkl"
        )
        for name, form in FORMS.items()
    },
    **{
        f"{name} that is cut short": Case(
            lambda form=form: form(FINE)[:-3], "archive-damaged", UNKNOWN, file="a.pkl"
        )
        for name, form in FORMS.items()
        if name != "lzma"
    },
    "gzip with a wrong checksum": Case(
        gzip.compress(FINE)[:-8] + bytes(4) + gzip.compress(FINE)[-4:], "archive-damaged", UNKNOWN
    ),
    "two members of gzip": Case(
        gzip.compress(FINE) + gzip.compress(EVIL), "trailing-bytes", UNKNOWN
    ),
    # what is sound
    "text in an archive with a descriptor": Case(
        described(b"PK\7\x08" + SIZES), None, SAFE, file="a.zip", reads=False
    ),
}
