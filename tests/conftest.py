# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: compiled programs do not fill the memory."""

import resource
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

ROOM_BYTES = 2_000_000_000  # how much a worker may grow before JAX forgets its programs
STATM = Path("/proc/self/statm")
room_until = [0]


def resident_bytes() -> int:
    """Tell the memory that this process occupies; 0 where the system does not say."""
    if not STATM.exists():
        return 0
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


@pytest.fixture(autouse=True)
def _programs_are_forgotten() -> Iterator[None]:
    """Let JAX forget what it compiled as soon as a worker has grown too much."""
    yield
    now = resident_bytes()
    if now > room_until[0]:
        if room_until[0]:
            jax.clear_caches()
        room_until[0] = max(now, resident_bytes()) + ROOM_BYTES
