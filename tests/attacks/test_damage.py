# SPDX-License-Identifier: Apache-2.0
"""Damaged files: whatever a byte is changed to, a reader reads or refuses, as the scan says."""

import contextlib
import random

import pytest

from rosin.errors import FileError
from rosin.files import read
from rosin.scan import Level, scan
from tests.attacks.test_attacks import CASES
from tests.stored import FOLDER

NAMES = (
    "a.pt",
    "a.pkl",
    "a.zip",
    "a.joblib",
    "a.pkl.gz",
    "a.tar",
    "a.npy",
    "a.safetensors",
    "a.gguf",
    "a.onnx",
    "a",
)
ROUNDS = 2_000


def seeds():
    """List what is damaged: checkpoints, joblib's files, and the smaller hostile ones."""
    stored = [*(FOLDER / "checkpoints").iterdir(), *(FOLDER / "joblibs").iterdir()]
    small = [case.data for case in CASES.values() if isinstance(case.data, bytes)]
    return [path.read_bytes() for path in sorted(stored)] + small


def damaged(data, chance):
    """Change, insert, drop or copy some bytes."""
    data = bytearray(data or b"N.")
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(data) or 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                data[at:at] = chance.randbytes(2)
            case 2:
                del data[at : at + chance.choice((1, 8, 100))]
            case 3:
                data[at : at + 4] = b"\xff\xff\xff\xff"
            case 4:
                data[at:at] = data[: chance.randrange(40)]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused_or_read_and_nothing_else(tmp_path, seed):
    chance = random.Random(seed)
    files = seeds()
    for _ in range(ROUNDS // 4):
        path = tmp_path / chance.choice(NAMES)
        path.write_bytes(damaged(chance.choice(files), chance))
        verdict = scan(path).verdict
        if verdict > Level.NOTE:
            with pytest.raises(FileError):
                read(path)
            continue
        with contextlib.suppress(FileError):  # sound, but without arrays or with several files
            read(path)
