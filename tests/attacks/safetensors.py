# SPDX-License-Identifier: Apache-2.0
"""safetensors: the hostile files of its reader, and lengths that look like other formats."""

import json

from rosin.scan import Level
from tests.attacks.assemble import archive
from tests.attacks.case import Case
from tests.files.test_header import BOUNDS, HOSTILE, container, tensor

SAFE, SUSPICIOUS, UNKNOWN = Level.SAFE, Level.SUSPICIOUS, Level.UNKNOWN
FILE = "model.safetensors"


def hostile(data):
    """Take a file that its own reader refuses; without an object it is of no format at all."""
    begins = data[4:8] == bytes(4) and data[8:9] == b"{"
    return Case(data, None if begins else "format-unknown", UNKNOWN, file=FILE)


def of_length(size):
    """Write a sound file whose header takes this many bytes."""
    header = {"a": tensor()}
    spare = size - len(json.dumps({**header, "__metadata__": {"": ""}}))
    header["__metadata__"] = {"": "-" * spare}
    return Case(container(header, bytes(4)), None, SAFE, file=FILE)


# The lengths that begin as a pickle, an lzma or a zlib file does.
LENGTHS = (128, 640, 1152, 93, 376, 24184, 40056)
SOUND = container({"__metadata__": {"a": "b"}, "w": tensor("F32", (1,))}, bytes(4))

CASES = {
    **{name: hostile(data) for name, (data, *_) in HOSTILE.items() if data},
    **{
        f"a file beyond {bound}": Case(data, "limit", UNKNOWN, file=FILE, limits={bound: least - 1})
        for bound, (data, least, _) in BOUNDS.items()
    },
    "a header that is not what it says": Case(
        container(b"{}", length=3), "safetensors-header", UNKNOWN, 0, FILE
    ),
    "bytes after the last array": Case(SOUND + b"evil", "safetensors-header", UNKNOWN, file=FILE),
    "a file under another name": Case(
        SOUND, "format-mismatch", SUSPICIOUS, file="pytorch_model.bin"
    ),
    "a file with a zip archive at its end": Case(
        SOUND + archive({"a.md": b"text"}), "polyglot", UNKNOWN, 0, FILE
    ),
    # what is sound
    "arrays and metadata": Case(SOUND, None, SAFE, file=FILE),
    "no arrays": Case(container(b"{}"), None, SAFE, file=FILE),
    "a file in an archive": Case(archive({FILE: SOUND}), None, SAFE, file="models.zip"),
    **{
        f"a header of {size} bytes": of_length(size) for size in (128, 640, 1152, 376, 24184, 40056)
    },
}
