# SPDX-License-Identifier: Apache-2.0
"""`--limit`: other bounds, for every verb that reads."""

import numpy as np
import pytest

from rosin.cli.bounds import bounded
from rosin.files.tensors import write_tensors
from rosin.limits import Limits


@pytest.fixture
def arrays(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": np.ones(2), "y": np.ones(3)})
    return path


def test_what_is_not_given_keeps_its_default():
    assert bounded(None) == bounded([]) == Limits()
    given = bounded(["max_axes=4", "max_tensors=1_000"])
    assert given == Limits(max_axes=4, max_tensors=1000)


@pytest.mark.parametrize(
    "verb", [("inspect", "a.safetensors"), ("convert", "a.safetensors", "b.safetensors")]
)
def test_a_bound_holds_for_what_is_read(rosin, arrays, verb):
    result = rosin(*verb, "--limit", "max_tensors=1")
    assert result.exit_code == 1
    assert result.stderr.startswith("LimitError: 'a.safetensors'")
    assert rosin(*verb, "--limit", "max_tensors=2").exit_code == 0


def test_a_bound_holds_for_a_scan(rosin, safe):
    result = rosin("scan", safe.name, "--limit", "max_file_bytes=5")
    assert result.exit_code == 1
    assert "limit: expected" in result.stdout
    assert rosin("scan", safe.name, "--limit", "max_file_bytes=6").exit_code == 0


@pytest.mark.parametrize("pair", ["max_tensor=5", "max_tensors", "max_tensors=", "max_tensors=1.5",
                                  "max_tensors=" + "9" * 5000, "=5", "max_tensors=0"])  # fmt: skip
def test_what_is_no_bound_is_refused(rosin, safe, pair):
    result = rosin("scan", safe.name, "--limit", pair)
    assert result.exit_code == 2
    assert "max_tensors" in result.stderr
    assert result.stdout == ""
