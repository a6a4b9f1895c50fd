# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: programs compile in a hurry, and do not fill the memory."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from jax._src import compiler

# Most tests hold properties, or values to a tolerance far above a rounding: they need no
# optimised programs, and compile theirs in a third of the time. Those marked `optimised`
# count digits, and run what users run.
HURRY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
ROOM_BYTES = 2_000_000_000  # how much a worker may grow before JAX forgets its programs
STATM = Path("/proc/self/statm")
room_until = [0]
hurried = jax.make_user_context(default_value=False)  # JAX keeps programs by its value too
optimised_options = compiler.get_compile_options


def compile_options(*args: Any, **kwargs: Any) -> Any:
    """Choose how XLA compiles; JAX has no public switch for a whole process."""
    options = optimised_options(*args, **kwargs)
    if hurried.value:
        options.env_option_overrides = [*options.env_option_overrides, *HURRY.items()]
    return options


compiler.get_compile_options = compile_options
hurried.set_global(new_value=True)


def pytest_collection_finish() -> None:
    """Compile as for users again, once the tests are imported."""
    hurried.set_global(new_value=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Compile as the test is marked, for its fixtures and threads too."""
    hurried.set_global(item.get_closest_marker("optimised") is None)
    try:
        return (yield)
    finally:
        hurried.set_global(new_value=False)


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
