# SPDX-License-Identifier: Apache-2.0
"""GGUF: counts, sizes and offsets that lie, and values that are more than data."""

import struct

from rosin.scan import Level
from tests.attacks.assemble import archive
from tests.attacks.case import Case

SAFE, NOTE, SUSPICIOUS, UNKNOWN = Level.SAFE, Level.NOTE, Level.SUSPICIOUS, Level.UNKNOWN
FILE = "model.gguf"
F32, F16, Q4_0, Q8_0, Q2_K = 0, 1, 2, 8, 10


def text(value):
    """Write a text with its length."""
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, data):
    """Write a key and its value."""
    return text(key) + struct.pack("<I", kind) + data


def entry(name="w", shape=(4,), kind=F32, offset=0):
    """Describe a tensor; the first axis varies fastest."""
    head = text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return head + struct.pack("<IQ", kind, offset)


def gguf(
    pairs=(), entries=None, data=bytes(16), *, version=3, counts=None, alignment=32, fill=b"\0"
):
    """Write a file; `counts` are those of tensors and pairs, if they are to lie."""
    entries = [entry()] if entries is None else entries
    tensors, keys = counts or (len(entries), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys)
    head += b"".join([*pairs, *entries])
    return head + fill * (-len(head) % alignment) + data


def broken(rule="gguf-layout", verdict=UNKNOWN, byte=None, file=FILE, limits=None, **parts):
    """Make a file that breaks a rule."""
    return Case(gguf(**parts), rule, verdict, byte, file, limits or {})


ALIGNED = pair("general.alignment", 4, struct.pack("<I", 64))
WORDS = pair("words", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b"))
SCORES = pair("scores", 9, struct.pack("<IQ2f", 6, 2, 0.5, 1.5))
TEMPLATE = pair("tokenizer.chat_template", 8, text("{{ ''.__class__ }}"))
TWO = [entry("a"), entry("b", offset=32)]

CASES = {
    "version 1": broken(version=1),
    "version 4": broken(version=4),
    "the other byte order": broken(version=3 << 24),
    "more tensors than fit": broken(counts=(2**61, 0)),
    "more keys than fit": broken(counts=(1, 2**64 - 1)),
    "fewer keys than there are": broken(pairs=[WORDS], counts=(1, 0)),
    "a text longer than the file": broken(pairs=[struct.pack("<Q", 2**63) + b"a"]),
    "a text whose end wraps": broken(pairs=[struct.pack("<Q", 2**64 - 8) + b"a"]),
    "a text of no UTF-8": broken(pairs=[pair("a", 8, text(b"\xff"))]),
    "an array longer than the file": broken(pairs=[pair("a", 9, struct.pack("<IQ", 6, 2**62))]),
    "an array of texts longer than the file": broken(
        pairs=[pair("a", 9, struct.pack("<IQ", 8, 2**61))]
    ),
    "an array of arrays": broken(pairs=[pair("a", 9, struct.pack("<IQ", 9, 1))]),
    "an array of a type unheard of": broken(pairs=[pair("a", 9, struct.pack("<IQ", 13, 1))]),
    "a value of a type unheard of": broken(pairs=[pair("a", 13, b"")]),
    "a boolean of 2": broken(pairs=[pair("a", 7, b"\2")]),
    "an array of booleans of 2": broken(pairs=[pair("a", 9, struct.pack("<IQ", 7, 1) + b"\2")]),
    "a key twice": broken("tensor-name", pairs=[WORDS, WORDS]),
    "a key of control characters": broken("tensor-name", pairs=[pair("\x1b[31m", 7, b"\1")]),
    "a key of nothing": broken("tensor-name", pairs=[pair("", 7, b"\1")]),
    "an alignment of 0": broken(pairs=[pair("general.alignment", 4, bytes(4))]),
    "an alignment of 33": broken(pairs=[pair("general.alignment", 4, b"\x21\0\0\0")]),
    "an alignment of gigabytes": broken(pairs=[pair("general.alignment", 4, b"\0\0\0\x80")]),
    "an alignment of text": broken(pairs=[pair("general.alignment", 8, text("32"))]),
    "an alignment that is true": broken(pairs=[pair("general.alignment", 7, b"\1")]),
    "a tensor of five axes": broken(entries=[entry(shape=(1, 1, 1, 1, 4))]),
    "a tensor of billions of axes": broken(
        entries=[text("w") + struct.pack("<I", 2**32 - 1) + bytes(64)]
    ),
    "a tensor whose size wraps": broken(entries=[entry(shape=(2**62 + 1, 4))]),
    "a tensor of nothing beyond all memory": broken(entries=[entry(shape=(0, 2**63))]),
    "a tensor of a type that is not read": broken("gguf-type", entries=[entry(kind=Q2_K)]),
    "a tensor of a type unheard of": broken("gguf-type", entries=[entry(kind=2**32 - 1)]),
    "rows that are no whole blocks": broken(
        entries=[entry(shape=(16, 2), kind=Q8_0)], data=bytes(34)
    ),
    "a block without axes": broken(entries=[entry(shape=(), kind=Q8_0)], data=bytes(34)),
    "a tensor twice": broken("tensor-name", entries=[entry(), entry(offset=32)], data=bytes(64)),
    "a tensor without a name": broken("tensor-name", entries=[entry("")]),
    "a tensor with a name of control characters": broken("tensor-name", entries=[entry("a\n")]),
    "an offset beyond the end": broken(entries=[entry(offset=32)]),
    "an offset that wraps": broken(entries=[entry(offset=2**64 - 16)]),
    "tensors that overlap": broken(entries=[entry("a"), entry("b")], data=bytes(64)),
    "an offset that is not aligned": broken(
        entries=[entry("a"), entry("b", offset=16)], data=bytes(64)
    ),
    "a hole between tensors": broken(entries=[entry("a"), entry("b", offset=64)], data=bytes(96)),
    "data between tensors": broken(
        "trailing-bytes", entries=TWO, data=bytes(16) + b"evil" + bytes(28), byte=112
    ),
    "data between header and tensors": broken("trailing-bytes", fill=b"x"),
    "a file that is cut short": broken("cut-short", data=bytes(15)),
    "a file that is cut in its header": Case(gguf()[:40], "cut-short", UNKNOWN, file=FILE),
    "a file of its mark": Case(b"GGUF", "cut-short", UNKNOWN, 4, FILE),
    "bytes after the last tensor": broken("trailing-bytes", data=bytes(33), byte=96),
    "bytes in the last padding": broken("trailing-bytes", data=bytes(31) + b"x", byte=64 + 16),
    "a file under another name": broken("format-mismatch", SUSPICIOUS, file="model.bin"),
    "a file with a zip archive at its end": Case(
        gguf() + archive({"a.md": b"text"}), "polyglot", UNKNOWN, 0, FILE
    ),
    "more tensors than the bound": broken(
        "limit", entries=TWO, data=bytes(48), limits={"max_tensors": 1}
    ),
    "more text than the bound": broken("limit", pairs=[WORDS], limits={"max_text_bytes": 6}),
    "more texts than the bound": broken("limit", pairs=[WORDS], limits={"max_pickle_steps": 2}),
    "a header larger than the bound": broken(
        "limit", pairs=[WORDS, SCORES], limits={"max_header_bytes": 40}
    ),
    "a name longer than the bound": broken("limit", entries=[entry("w" * 1025)]),
    "a template of a chat in GGUF": broken("template", NOTE, 24, pairs=[TEMPLATE]),
    # what is sound
    "a tensor": broken(None, SAFE),
    "a tensor in version 2": broken(None, SAFE, version=2),
    "a tensor, then zeros": broken(None, SAFE, data=bytes(32)),
    "two tensors": broken(None, SAFE, entries=TWO, data=bytes(48)),
    "two tensors of another alignment": broken(
        None,
        SAFE,
        pairs=[ALIGNED],
        entries=[entry("a"), entry("b", offset=64)],
        data=bytes(80),
        alignment=64,
    ),
    "values and no tensors": Case(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + WORDS + SCORES, None, SAFE, file=FILE
    ),
}
