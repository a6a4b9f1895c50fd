# SPDX-License-Identifier: Apache-2.0
"""NumPy's files: headers that are more than a literal, objects, sizes that do not fit."""

import struct

from rosin.scan import Level
from tests.attacks.assemble import archive, call_of, stream, text
from tests.attacks.case import Case

SAFE, SUSPICIOUS, UNKNOWN, DANGEROUS = Level.SAFE, Level.SUSPICIOUS, Level.UNKNOWN, Level.DANGEROUS
EVIL = stream(call_of("os.system", text("ls")))
FIELDS = "[('a', '<f4'), ('b', '<i2', (2,)), ('c', '|u1', 3)]"


def npy(descr="'<f4'", shape="(2,)", order="False", data=bytes(8), *, header=None, version=1):
    """Write an array of NumPy with any header."""
    if header is None:
        header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    encoded = header if isinstance(header, bytes) else header.encode()
    encoded += b" " * (-(len(encoded) + 11) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(encoded))
    return b"\x93NUMPY" + bytes([version, 0]) + length + encoded + data


def broken(rule="npy-header", verdict=UNKNOWN, byte=None, file="a.npy", **parts):
    """Make an array that breaks a rule."""
    return Case(npy(**parts), rule, verdict, byte, file)


def objects(data, rule="npy-objects", verdict=SUSPICIOUS, descr="'|O'"):
    """Make an array of objects, which is a pickle."""
    return Case(npy(descr, data=data), rule, verdict, file="a.npy")


def npz(members, rule=None, verdict=SAFE, method=0, **more):
    """Make an archive of arrays."""
    return Case(archive(members, method=method), rule, verdict, file="a.npz", **more)


CASES = {
    "an array of objects": objects(stream(b"]")),
    "an array of objects that calls": objects(EVIL, "pickle-code", DANGEROUS),
    "an array of objects of the old code": objects(EVIL, "pickle-code", DANGEROUS, "'O4'"),
    "a record that holds objects": objects(EVIL, "pickle-code", DANGEROUS, "[('a', '|O')]"),
    "an array of objects in an archive": npz(
        {"a.npy": npy("'O'", data=EVIL)}, "npy-objects", DANGEROUS
    ),
    "texts": broken("npy-dtype", descr="'<U1'"),
    "bytes of no type": broken("npy-dtype", descr="'|V4'"),
    "dates": broken("npy-dtype", descr="'<M8[ns]'"),
    "long doubles": broken("npy-dtype", descr="'<f16'", data=bytes(32)),
    "records in records": broken("npy-dtype", descr="[('a', [('b', '<f4')])]"),
    "records with titles": broken("npy-dtype", descr="[(('t', 'a'), '<f4')]"),
    "a record without fields": broken("npy-dtype", descr="[]"),
    "a record with a field without a name": broken("npy-dtype", descr="[('', '<f4')]"),
    "a record with a field twice": broken("tensor-name", descr="[('a', '<f4'), ('a', '<f4')]"),
    "a record with a name of control characters": broken("tensor-name", descr="[('a\x1b', '<f4')]"),
    "a header that calls": broken(header="__import__('os').system('ls')"),
    "a header with a call in it": broken(shape="(int(2),)"),
    "a header with a sum": broken(shape="(1+1,)"),
    "a header with a text in parts": broken(descr="'<f' '4'"),
    "a header with an escape": broken(descr=r"'\x3cf4'"),
    "a header with a negative size": broken(shape="(-1,)"),
    "a header with a size that is no number": broken(shape="(True,)"),
    "a header with a size of many digits": broken(shape=f"({'9' * 5000},)"),
    "a header with a size beyond all memory": broken(shape="(9223372036854775807, 9)"),
    "a header with a size of nothing beyond all memory": broken(shape="(0, 9223372036854775807)"),
    "a header with a shape that is a number": broken(shape="2"),
    "a header with an order that is a number": broken(order="1"),
    "a header with too few keys": broken(header="{'descr': '<f4', 'shape': (2,)}"),
    "a header with more keys": broken(order="False, 'more': 1"),
    "a header with a key twice": broken(order="False, 'descr': '<f8'"),
    "a header of two dicts": broken(shape="(2,)}, {"),
    "a header without its end": broken(header="{'descr': '<f4'"),
    "a header of many levels": broken(shape="(" * 4000),
    "a header of no UTF-8": broken(header=b"{'\xff': 1}", version=3),
    "a header larger than the bound": broken(header=" " * 10_001, version=2),
    "a header longer than the file": Case(npy()[:30], "cut-short", UNKNOWN, 10, "a.npy"),
    "a header of another version": broken(version=4),
    "an array of too many axes": broken("limit", shape=f"({'1,' * 33})", data=bytes(4)),
    "an array that is cut short": broken("cut-short", data=bytes(7), byte=128),
    "bytes after an array": broken("trailing-bytes", data=bytes(9), byte=136),
    "an array called text": broken("format-mismatch", SUSPICIOUS, file="a.txt"),
    "an array with a zip archive at its end": broken(
        "polyglot", UNKNOWN, 0, data=archive({"a.md": b"text"})
    ),
    "an archive of arrays and a pickle": npz(
        {"a.npy": npy(), "b.pkl": EVIL}, "pickle-code", DANGEROUS
    ),
    "an archive of arrays and text": npz(
        {"a.npy": npy(), "b.md": b"text"}, "format-mismatch", SUSPICIOUS
    ),
    "an archive of something called arrays": npz({"a.npy": b"text"}, "npy-header", UNKNOWN),
    "an archive of arrays of one name": npz(
        {"a.b.npy": npy(), "a.npy": npy("[('b', '<f4')]")}, "tensor-name", UNKNOWN
    ),
    "an archive of more arrays than the bound": npz(
        {f"{i}.npy": npy() for i in range(9)}, "limit", UNKNOWN, limits={"max_members": 8}
    ),
    "an archive of an array that is cut short": npz({"a.npy": npy()[:-1]}, "cut-short", UNKNOWN, 8),
    # what is sound
    "an array": broken(None, SAFE),
    "an array of version 2": broken(None, SAFE, version=2),
    "an array of version 3": broken(None, SAFE, version=3),
    "an array of no axes": broken(None, SAFE, shape="()", data=bytes(4)),
    "an array of nothing": broken(None, SAFE, shape="(0, 3)", data=b""),
    "an array of Python 2": broken(None, SAFE, shape="(2L,)"),
    "an array of records": broken(None, SAFE, descr=FIELDS, data=bytes(22)),
    "an archive of arrays": npz({"a.npy": npy(), "b/c.npy": npy("'>i8'", "()")}),
    "an archive of arrays, compressed": npz({"a.npy": npy()}, method=8),
}
