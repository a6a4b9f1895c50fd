# SPDX-License-Identifier: Apache-2.0
"""GGUF is read as its numbers; quantised blocks as the published layouts say, in float64."""

import struct

import ml_dtypes
import numpy as np
import pytest

from rosin.files import read, read_tree
from rosin.files.importers.blocks import BLOCKS
from rosin.scan import Level, scan
from rosin.scan.gguf import PACKINGS
from tests.attacks.gguf import SCORES, TEMPLATE, WORDS, entry, gguf, pair

PLAIN = {0: "f4", 1: "f2", 24: "i1", 25: "i2", 26: "i4", 27: "i8", 28: "f8", 30: ml_dtypes.bfloat16}
KINDS = {packing: kind for kind, (packing, _, _) in PACKINGS.items()}


def half(block, at):
    return float(np.frombuffer(block, "<f2", 1, at)[0])


def signed(byte):
    return byte - 256 if byte > 127 else byte


def low_then_high(block, begin, j):
    """Return number j of 32: the first half is in low nibbles, the second in high ones."""
    return block[begin + j] & 15 if j < 16 else block[begin + j - 16] >> 4


def fifth(block, begin, j):
    return (int.from_bytes(block[begin : begin + 4], "little") >> j & 1) << 4


def scale_and_minimum(packed, j):
    """`get_scale_min_k4` of ggml."""
    if j < 4:
        return packed[j] & 63, packed[j + 4] & 63
    scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4
    return scale, packed[j + 4] >> 4 | (packed[j] >> 6) << 4


def four_bits(block, begin, i):
    """Return number i of 256: chunks of 64 from 32 bytes each, low nibbles first."""
    byte = block[begin + i // 64 * 32 + i % 32]
    return byte & 15 if i % 64 < 32 else byte >> 4


def of_32(block, i, whole):
    scale, minimum = scale_and_minimum(block[4:16], i // 32)
    return half(block, 0) * scale * whole - half(block, 2) * minimum


def q6(block, i):
    part, quarter, lane = i // 128, i % 128 // 32, i % 32
    byte = block[64 * part + lane + 32 * (quarter % 2)]
    low = byte & 15 if quarter < 2 else byte >> 4
    high = block[128 + 32 * part + lane] >> 2 * quarter & 3
    scale = signed(block[192 + 8 * part + 2 * quarter + lane // 16])
    return half(block, 208) * scale * ((low | high << 4) - 32)


# Number i of a block, as ggml's `dequantize_row_*` has it.
FORMULAS = {
    "Q4_0": lambda b, i: half(b, 0) * (low_then_high(b, 2, i) - 8),
    "Q4_1": lambda b, i: half(b, 0) * low_then_high(b, 4, i) + half(b, 2),
    "Q5_0": lambda b, i: half(b, 0) * ((low_then_high(b, 6, i) | fifth(b, 2, i)) - 16),
    "Q5_1": lambda b, i: half(b, 0) * (low_then_high(b, 8, i) | fifth(b, 4, i)) + half(b, 2),
    "Q8_0": lambda b, i: half(b, 0) * signed(b[2 + i]),
    "Q4_K": lambda b, i: of_32(b, i, four_bits(b, 16, i)),
    "Q5_K": lambda b, i: of_32(b, i, four_bits(b, 48, i) | (b[16 + i % 32] >> i // 32 & 1) << 4),
    "Q6_K": q6,
}
SCALES = {"Q4_0": [0], "Q5_0": [0], "Q8_0": [0], "Q6_K": [208]}


def blocks(packing, count):
    """Draw blocks of random bits, with scales that are finite."""
    _, _, size = PACKINGS[KINDS[packing]]
    chance = np.random.default_rng(0)
    data = chance.integers(0, 256, (count, size), np.uint8)
    for at in SCALES.get(packing, [0, 2]):
        data[:, at : at + 2] = chance.normal(size=(count, 1)).astype("<f2").view(np.uint8)
    return [row.tobytes() for row in data]


@pytest.mark.parametrize("packing", FORMULAS)
def test_blocks_are_the_numbers_of_the_published_layout(tmp_path, packing):
    kind = KINDS[packing]
    _, length, _ = PACKINGS[kind]
    rows = blocks(packing, 6)
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf(entries=[entry(shape=(2 * length, 3), kind=kind)], data=b"".join(rows)))
    array = read(path)["w"]
    wanted = [[FORMULAS[packing](row, i) for i in range(length)] for row in rows]
    assert (array.dtype, array.shape) == (np.float32, (3, 2 * length))
    # Every product is exact in float64, so rounding it once is what float32 can do at best.
    np.testing.assert_array_equal(array.reshape(6, length), np.float32(wanted))
    assert not array.flags.writeable


def test_an_infinite_scale_gives_what_its_products_are(tmp_path):
    path = tmp_path / "a.gguf"
    block = np.float16(np.inf).tobytes() + bytes([0, 1, 255]) + bytes(29)
    path.write_bytes(gguf(entries=[entry(shape=(32,), kind=KINDS["Q8_0"])], data=block))
    np.testing.assert_array_equal(read(path)["w"][:3], [np.nan, np.inf, -np.inf])


def test_every_packing_that_is_scanned_is_read():
    assert {name: size for name, _, size in PACKINGS.values()} == {
        name: size for name, (size, _) in BLOCKS.items()
    }
    assert FORMULAS.keys() == BLOCKS.keys()


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_numbers_are_read_with_the_first_axis_last(tmp_path, kind):
    wanted = np.arange(-3, 3).reshape(2, 3).astype(PLAIN[kind])
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf(entries=[entry(shape=(3, 2), kind=kind)], data=wanted.tobytes()))
    array = read(path)["w"]
    assert array.dtype == wanted.dtype
    np.testing.assert_array_equal(array, wanted)


def test_keys_are_plain_values_and_a_template_is_text(tmp_path):
    numbers = [
        pair("layers", 4, struct.pack("<I", 7)),
        pair("small", 1, b"\xff"),
        pair("rate", 6, struct.pack("<f", 0.5)),
        pair("far", 11, struct.pack("<q", -(2**40))),
        pair("tied", 7, b"\1"),
    ]
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf([*numbers, WORDS, SCORES, TEMPLATE]))
    report = scan(path)
    assert (report.verdict, report.files[0].tensors) == (Level.NOTE, 1)
    values = read_tree(path)["metadata"]
    np.testing.assert_array_equal(values.pop("scores"), np.float32([0.5, 1.5]))
    assert values.pop("tokenizer.chat_template") == "{{ ''.__class__ }}"
    expected = {"layers": 7, "small": -1, "rate": 0.5, "far": -(2**40), "tied": True}
    assert values == {**expected, "words": ["a", "b"]}
