# SPDX-License-Identifier: Apache-2.0
"""What the tests of files share."""

import os
import signal

import pytest


@pytest.fixture
def next_descriptor():
    """Say which descriptor is free: a higher one than before means that one leaked."""

    def free():
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    return free


@pytest.fixture
def impatient():
    """Interrupt a test that waits, or that computes for far too long."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 30)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
