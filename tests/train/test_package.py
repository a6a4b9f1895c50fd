# SPDX-License-Identifier: Apache-2.0
"""`rs.train` trains, whichever module of the package of that name was imported before."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import rosin as rs
{first}
import inspect
import jax
assert list(inspect.signature(rs.train).parameters)[:3] == ["loss", "model", "data"]
assert ">>>" in rs.train.__doc__
weight = jax.numpy.ones(2)
result = rs.train(
    lambda w, x: (w * x).sum(), weight, [weight],
    rs.setup(rs.Descent(0.5), weight), progress=False,
)
sys.exit(42 if result.model.tolist() == [0.5, 0.5] else 1)
"""


@pytest.mark.parametrize(
    "first",
    [
        "",
        "rs.trainstep",
        "rs.Checkpoint; rs.train",
        "import rosin.train",
        "import rosin.train.replay",
    ],
)
def test_train_is_the_function_whatever_came_first(first):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 42, done.stderr
