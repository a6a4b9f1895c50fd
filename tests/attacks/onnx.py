# SPDX-License-Identifier: Apache-2.0
"""ONNX: numbers in other files, operators of other libraries, fields that lie."""

from rosin.scan import Level
from tests.attacks.assemble import archive
from tests.attacks.case import Case

SAFE, SUSPICIOUS, UNKNOWN, DANGEROUS = Level.SAFE, Level.SUSPICIOUS, Level.UNKNOWN, Level.DANGEROUS
FILE = "model.onnx"
FLOAT, INT64, STRING, INT4 = 1, 7, 8, 22


def varint(value):
    """Write a whole number, seven bits a byte; a negative one as 64 bits."""
    value &= (1 << 64) - 1
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def field(number, value):
    """Write a number, or bytes, a text or a message with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def packed(number, values):
    """Write whole numbers without a tag for each."""
    return field(number, b"".join(map(varint, values)))


def tensor(name="w", shape=(2,), kind=FLOAT, data=None, more=b""):
    """Write a tensor; `data` is the field of its numbers."""
    data = field(9, bytes(8)) if data is None else data
    return (
        b"".join(field(1, size) for size in shape) + field(2, kind) + field(8, name) + data + more
    )


def external(place, *others):
    """Say that the numbers lie in another file."""
    pairs = [("location", place), *others]
    return b"".join(field(13, field(1, key) + field(2, value)) for key, value in pairs) + field(
        14, 1
    )


def node(operator="Relu", domain="", attributes=()):
    """Write a node."""
    head = field(1, "x") + field(2, "y") + field(4, operator)
    return head + b"".join(field(5, one) for one in attributes) + field(7, domain)


def graph(*tensors, nodes=(), more=b""):
    """Write a graph of these initialisers."""
    value = field(1, "x") + field(2, field(1, field(1, 1) + field(2, field(1, field(2, "n")))))
    head = b"".join(field(1, one) for one in nodes) + field(2, "main")
    return head + b"".join(field(5, one) for one in tensors) + field(11, value) + more


def onnx(*tensors, nodes=(), more=b"", tail=b""):
    """Write a model."""
    head = field(1, 9) + field(2, "tests") + field(8, field(1, "") + field(2, 20))
    return head + field(7, graph(*tensors, nodes=nodes, more=more)) + tail


def broken(data, rule="onnx-layout", verdict=UNKNOWN, byte=None, file=FILE, **limits):
    """Make a model that breaks a rule."""
    return Case(data, rule, verdict, byte, file, limits)


def elsewhere(place, rule="onnx-path", verdict=DANGEROUS):
    """Make a model whose numbers lie in another file."""
    return broken(onnx(tensor(data=external(place))), rule, verdict)


def nested(depth):
    """Write graphs in graphs."""
    inner = graph()
    for _ in range(depth):
        inner = graph(nodes=[node("If", attributes=[field(1, "then_branch") + field(6, inner)])])
    return field(1, 9) + field(7, inner)


HIDDEN = field(1, "value") + field(5, tensor(data=external("../../etc/passwd")))
MINE = field(25, field(1, "f") + field(7, node()) + field(10, "mine"))

CASES = {
    "numbers in a file above": elsewhere("../weights.bin"),
    "numbers in a file above, further down": elsewhere("a/../../weights.bin"),
    "numbers in a file of the system": elsewhere("/etc/passwd"),
    "numbers in a file of Windows": elsewhere("C:\\weights.bin"),
    "numbers in a file without a name": elsewhere(""),
    "numbers in a file of control characters": elsewhere("a\nb"),
    "numbers in a file beside it": elsewhere("model.onnx.data", "onnx-external", UNKNOWN),
    "numbers in another file, of a constant": broken(
        onnx(nodes=[node("Constant", attributes=[HIDDEN])]), "onnx-path", DANGEROUS
    ),
    "numbers in two files, one of them above": broken(
        onnx(tensor(data=external("a.bin")), tensor("v", data=external("../b.bin"))),
        "onnx-path",
        DANGEROUS,
    ),
    "a location that comes twice": broken(
        onnx(tensor(data=external("a.bin", ("location", "../b.bin")))), "onnx-path", DANGEROUS
    ),
    "numbers in another file that is not named": broken(
        onnx(tensor(data=field(14, 1))), "onnx-path", DANGEROUS
    ),
    "an operator of a library": broken(
        onnx(nodes=[node("Mine", "my.library")]), "onnx-domain", SUSPICIOUS
    ),
    "an operator that runs Python": broken(
        onnx(nodes=[node("PythonOp", "com.microsoft")]), "onnx-domain", SUSPICIOUS
    ),
    "an operator of a library in a branch": broken(
        onnx(nodes=[node("If", attributes=[field(6, graph(nodes=[node("A", "b")]))])]),
        "onnx-domain",
        SUSPICIOUS,
    ),
    "a field unheard of": broken(onnx(tail=field(99, 1))),
    "a field unheard of in a tensor": broken(onnx(tensor(more=field(3, b"")))),
    "two graphs": broken(onnx() + field(7, graph())),
    "raw numbers twice": broken(onnx(tensor(more=field(9, bytes(8))))),
    "numbers in two fields": broken(onnx(tensor(more=field(4, bytes(8))))),
    "numbers in the field of another dtype": broken(onnx(tensor(data=field(10, bytes(16))))),
    "a group": broken(onnx(tail=b"\x13\x14")),
    "a message longer than the one around": broken(
        onnx(tensor(more=varint(12 << 3 | 2) + b"\x7f"))
    ),
    "a model that is cut short": broken(onnx(tensor())[:-9]),
    "a number that does not end": broken(field(1, 9) + field(7, graph()) + b"\x28" + b"\xff" * 11),
    "bytes after the last field": broken(onnx() + bytes(5)),
    "packed numbers that do not end": broken(onnx(tensor(kind=INT64, data=field(7, b"\1\x80")))),
    "a text of no UTF-8": broken(onnx(tensor(b"\xff"))),
    "too few numbers": broken(onnx(tensor(shape=(3,)))),
    "too many numbers": broken(onnx(tensor(shape=(1,)))),
    "no numbers": broken(onnx(tensor(data=b""))),
    "a negative size": broken(onnx(tensor(shape=(-2,)))),
    "a size that wraps": broken(onnx(tensor(shape=(2**62 + 1, 4)))),
    "a number too large for its dtype": broken(
        onnx(tensor(kind=3, data=packed(5, [1, 200]))),
    ),
    "texts": broken(onnx(tensor(kind=STRING, data=field(6, b"a") * 2)), "onnx-type"),
    "numbers of 4 bits": broken(onnx(tensor(kind=INT4, data=field(9, b"\0"))), "onnx-type"),
    "a sparse initialiser": broken(
        onnx(more=field(15, field(1, tensor()) + field(2, tensor()))), "onnx-type"
    ),
    "an initialiser twice": broken(onnx(tensor(), tensor()), "tensor-name"),
    "an initialiser without a name": broken(onnx(tensor("")), "tensor-name"),
    "graphs in graphs beyond the bound": broken(nested(40), "limit"),
    "more fields than the bound": broken(onnx(tensor()), "limit", max_pickle_steps=8),
    "more text than the bound in ONNX": broken(onnx(tensor()), "limit", max_text_bytes=4),
    "more initialisers than the bound": broken(onnx(tensor(), tensor("v")), "limit", max_tensors=1),
    "more axes than the bound in ONNX": broken(onnx(tensor(shape=(1, 2))), "limit", max_axes=1),
    "a model under another name": broken(
        onnx(tensor()), "format-mismatch", SUSPICIOUS, file="model.bin"
    ),
    "a model with a zip archive at its end": broken(
        onnx(tensor()) + archive({"a.md": b"text"}), "polyglot", UNKNOWN, 0
    ),
    # what is sound
    "a model": broken(onnx(tensor()), None, SAFE),
    "a model without initialisers": broken(onnx(), None, SAFE),
    "a model with branches": broken(nested(3), None, SAFE),
    "a model with a function of its own": broken(
        onnx(nodes=[node("f", "mine")], tail=MINE), None, SAFE
    ),
}
