# SPDX-License-Identifier: Apache-2.0
"""Files that are of no known format, or not of the format that they are called after."""

from rosin.scan import Level
from tests.attacks.assemble import archive
from tests.attacks.case import Case

UNREAD = {
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n", "model.weights.h5"),
    "a file of JLD2": (b"HDF5-based Julia Data Format, version 0.1.1\0", "model.jld2"),
    "a model of TensorFlow Lite": (b"\x1c\0\0\0TFL3", "model.tflite"),
    "an archive of 7-Zip": (b"7z\xbc\xaf\x27\x1c\0\4", "model.7z"),
    "an archive of RAR": (b"Rar!\x1a\x07\1\0", "model.rar"),
    "a file of Zstandard": (b"\x28\xb5\x2f\xfd", "model.tar.zst"),
    "a file of LZ4": (b"\x04\x22\x4d\x18", "model.lz4"),
}

CASES = {
    "zeros": Case(bytes(64), "format-unknown", Level.UNKNOWN, 0),
    **{
        f"{name}, which is not read": Case(
            data + bytes(64), "format-unread", Level.UNKNOWN, 0, file
        )
        for name, (data, file) in UNREAD.items()
    },
    "weights of Keras in a model of Keras": Case(
        archive({"config.json": b"{}", "model.weights.h5": UNREAD["an HDF5 file"][0]}),
        "format-unread",
        Level.UNKNOWN,
        0,
        "model.keras",
    ),
    "text called an HDF5 file": Case(b"text", "format-mismatch", Level.SUSPICIOUS, file="model.h5"),
    "text that turns into something else": Case(
        b"a" * 5000 + b"\0", "format-unknown", Level.UNKNOWN, 5000, file="README.md"
    ),
    "text that is not UTF-8": Case(
        b"a" * 5000 + b"\xff", "format-unknown", Level.UNKNOWN, file="README.md"
    ),
    "a file larger than the bound": Case(
        b"a" * 101, "limit", Level.UNKNOWN, file="README.md", limits={"max_file_bytes": 100}
    ),
}
