# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that PyTorch wrote are read as PyTorch's numbers, without PyTorch."""

import ml_dtypes
import numpy as np
import pytest

from rosin.errors import FileError, UnsafeFileError
from rosin.files import read, read_tree
from rosin.scan import Level, scan
from tests.attacks.assemble import checkpoint, storage, stream, tensor
from tests.stored import FOLDER

CHECKPOINTS = FOLDER / "checkpoints"
SOUND = sorted(p.name for p in CHECKPOINTS.glob("*.pt") if not p.name.startswith("refused."))
REFUSED = sorted(path.name for path in CHECKPOINTS.glob("refused.*"))
EIGHT_BITS = [name for name in dir(ml_dtypes) if name.startswith("float8")]


def expected(file):
    with np.load(FOLDER / "checkpoints.npz", allow_pickle=False) as stored:
        group = file.partition(".")[0] + "/"
        return {n.removeprefix(group): stored[n] for n in stored.files if n.startswith(group)}


@pytest.mark.parametrize("file", SOUND)
def test_the_numbers_are_those_of_pytorch(file):
    arrays, wanted = read(CHECKPOINTS / file), expected(file)
    assert list(arrays) == list(wanted)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array.astype(wanted[name].dtype), wanted[name], name)
        assert array.shape == wanted[name].shape
        assert not array.flags.writeable


@pytest.mark.parametrize("file", SOUND)
def test_what_is_read_scans_as_safe(file):
    report = scan(CHECKPOINTS / file)
    assert report.verdict == Level.SAFE, report.to_json()
    assert report.files[0].tensors == len(expected(file))


def test_dtypes_are_kept():
    for name, array in read(CHECKPOINTS / "dtypes.pt").items():
        assert array.dtype == np.dtype(getattr(ml_dtypes, name, name)), name
        assert array.dtype.isnative


def test_arrays_of_one_storage_share_memory():
    arrays = read(CHECKPOINTS / "views.pt")
    for name in ("transposed", "row", "column", "stepped"):
        assert np.shares_memory(arrays["base"], arrays[name])
    assert arrays["expanded"].strides == (0, 0)


def test_a_tree_keeps_what_stands_beside_the_arrays():
    run = read_tree(CHECKPOINTS / "run.pt")
    assert (run["epoch"], run["best"], run["note"]) == (3, float("inf"), "a run with ünïcode")
    assert run["flags"] == [True, False, None, (1, 2), {"a": 1j}]
    assert (run["size"], run["dtype"], run["device"]) == ((2, 3), "torch.bfloat16", "cpu")
    assert run["optimiser"]["param_groups"][0]["lr"] == 1e-3
    assert run["optimiser"]["state"][0]["exp_avg"].shape == (2, 1, 3, 3)
    assert list(run["model"]) == list(read(CHECKPOINTS / "state_dict.pt"))


@pytest.mark.parametrize("kind", ["FloatStorage", "BFloat16Storage", "BoolStorage"])
def test_numbers_of_the_other_byte_order_are_turned_round(tmp_path, kind):
    dtype = {"FloatStorage": "f4", "BFloat16Storage": ml_dtypes.bfloat16, "BoolStorage": "?"}[kind]
    numbers = np.array([1, 0, 1, 1]).astype(dtype)
    size = numbers.itemsize
    data = numbers.view(f"u{size}").astype(f">u{size}").tobytes()
    pickle = stream(tensor(storage(kind=kind), shape=(2, 2), strides=(1, 2)))
    path = tmp_path / "a.pt"
    path.write_bytes(checkpoint(pickle, {"0": data}, {"byteorder": b"big"}))
    array = read(path)["tensor"]
    np.testing.assert_array_equal(array, numbers.reshape(2, 2).T)
    assert array.dtype == numbers.dtype


@pytest.mark.parametrize("file", REFUSED)
def test_what_needs_more_than_plain_tensors_is_refused(file):
    error = UnsafeFileError if file in {"refused.module.pt", "refused.script.pt"} else FileError
    with pytest.raises(error) as caught:
        read(CHECKPOINTS / file)
    assert type(caught.value) is error
    assert scan(CHECKPOINTS / file).fails()


def test_the_error_says_what_a_file_wants_to_call_where_and_what_to_do():
    with pytest.raises(UnsafeFileError) as caught:
        read(CHECKPOINTS / "refused.module.pt")
    assert str(caught.value) == (
        "'refused.module.pt', refused.module/data.pkl, byte 2: expected only names"
        " that plain data is made with, got a call of torch.nn.modules.linear.Linear.\n"
        "  fix: ask its author for the arrays alone: a state dict, or a safetensors file."
    )
