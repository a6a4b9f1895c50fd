# SPDX-License-Identifier: Apache-2.0
"""Files that the `gguf` and `onnx` packages wrote are read as their own numbers, without them."""

import numpy as np
import pytest

from rosin.files import read
from rosin.scan import Level, scan
from tests.stored import FOLDER

VERDICTS = {"gguf": Level.NOTE, "onnx": Level.SAFE}  # the first has a template of a chat


@pytest.mark.parametrize("kind", VERDICTS)
def test_the_numbers_are_those_of_the_package_that_wrote_them(kind):
    path = FOLDER / "exchanged" / f"model.{kind}"
    report = scan(path)
    arrays = read(path)
    with np.load(FOLDER / "exchanged.npz", allow_pickle=False) as stored:
        wanted = {n.partition("/")[2]: stored[n] for n in stored.files if n.startswith(kind)}
    assert (report.verdict, report.files[0].tensors) == (VERDICTS[kind], len(wanted))
    assert list(arrays) == list(wanted)
    for name, array in arrays.items():
        assert array.shape == wanted[name].shape
        np.testing.assert_array_equal(array.astype(wanted[name].dtype), wanted[name], name)
