# SPDX-License-Identifier: Apache-2.0
"""Files that joblib wrote are read as what was dumped, without joblib."""

import numpy as np
import pytest

from rosin.files import read, read_tree
from rosin.scan import Level, scan
from tests.stored import FOLDER

FILES = sorted(path.name for path in (FOLDER / "joblibs").iterdir())


@pytest.mark.parametrize("file", FILES)
def test_the_numbers_are_those_that_were_dumped(file):
    arrays = read(FOLDER / "joblibs" / file)
    with np.load(FOLDER / "joblibs.npz", allow_pickle=False) as wanted:
        assert set(arrays) == set(wanted.files)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, wanted[name], name)
            assert array.dtype == wanted[name].dtype.newbyteorder("=")
    assert arrays["fortran"].flags.f_contiguous


@pytest.mark.parametrize("file", FILES)
def test_what_joblib_writes_scans_as_safe(file):
    report = scan(FOLDER / "joblibs" / file)
    assert report.verdict == Level.SAFE, report.to_json()


def test_what_stands_beside_the_arrays_is_kept():
    tree = read_tree(FOLDER / "joblibs" / "plain.joblib")
    assert tree["classes"] == ["cat", "dog"]
    assert tree["steps"] == (1, 2.5, None, True)
