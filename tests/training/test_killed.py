# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment leaves the last complete checkpoint, which goes on bit for bit."""

import os
import random
import subprocess
import sys
import time

import pytest

TRAINED = """
import sys
import rosin as rs
from tests.training.test_killed import run
run(10**6, checkpoint=rs.Checkpoint(sys.argv[1], every_steps=1))
"""

# Resumed and compared in one process, so that both sides were compiled alike.
COMPARED = """
import sys
from tests.training.test_killed import steps_after_resumption
print(*map(steps_after_resumption, sys.argv[1:]))
"""


def run(epochs, **options):
    """Train the toy model from its start."""
    import rosin as rs
    from tests.training.toys import loader, loss, net

    model = net()
    return rs.train(
        loss,
        model,
        loader(),
        rs.setup(rs.Adam(0.01), model),
        epochs=epochs,
        callbacks=[rs.EarlyStopping("loss", patience=10**6, restore_best=True)],
        progress=False,
        **options,
    )


def steps_after_resumption(path):
    """Go on to the end of the epoch and compare with a run that was never killed."""
    import json

    import rosin as rs
    from tests.training.toys import assert_same_bits

    done = json.loads(rs.load_metadata(path)["training"])
    resumed = run(done["epoch"] + 1, checkpoint=rs.Checkpoint(path, resume=True))
    whole = run(done["epoch"] + 1)
    assert_same_bits(resumed[:2], whole[:2])
    assert resumed.history["loss"].tolist() == whole.history["loss"].tolist()
    return done["step"]


def start(program, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(path, delay_s):
    """Start a process that saves after each step, and kill it some time after the first."""
    process = start(TRAINED, path)
    try:
        until = time.monotonic() + 120
        while not path.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(delay_s)
        assert process.poll() is None, process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    return path


@pytest.mark.parametrize("count", [3, pytest.param(30, marks=pytest.mark.sweep)])
def test_whenever_a_process_is_killed_its_last_checkpoint_goes_on(tmp_path, count):
    moments = random.Random(count)
    paths = [
        killed(tmp_path / f"{number}.safetensors", moments.uniform(0, 0.4))
        for number in range(count)
    ]
    process = start(COMPARED, *paths)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    steps = [int(word) for word in out.split()]
    assert len(steps) == count
    assert max(steps) > 1  # not all of them were killed at the first
