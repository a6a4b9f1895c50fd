# SPDX-License-Identifier: Apache-2.0
"""`rosin convert`: what is written, what is said of it, what is refused."""

import numpy as np
import pytest

import rosin as rs
from rosin.cli.converting import Dtype
from rosin.files.renaming import Drop, Rename, Renaming, Transpose
from rosin.files.rule_files import write_rules
from rosin.files.stored import FLOATING
from tests.stored import FOLDER

PT = FOLDER / "foreign" / "bilstm.pt"


def test_a_checkpoint_becomes_safetensors(rosin, tmp_path):
    result = rosin("convert", PT, "b.safetensors")
    assert (result.exit_code, result.stdout) == (0, "b.safetensors: 19 arrays\n")
    got = rs.load_arrays(tmp_path / "b.safetensors")
    wanted = rs.load_arrays(PT.with_suffix(".safetensors"))
    assert got.keys() == wanted.keys()
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted)


def test_rules_say_what_was_used_dropped_and_left_over(rosin, tmp_path):
    rules = [Drop("lstm.**"), Rename("fc.weight", "head.weight", Transpose("OI->IO"))]
    write_rules(tmp_path / "map.json", Renaming(rules))
    result = rosin("convert", PT, "b.safetensors", "--map", "map.json")
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "b.safetensors: 3 arrays",
        "  used by the rules: 1 name",
        "  dropped by the rules: 16 names",
    ]
    assert lines[3].startswith("    lstm.")
    assert lines[-3:] == [
        "  left over, and kept as they are: 2 names", "    embedding.weight", "    fc.bias"
    ]  # fmt: skip


def test_a_file_is_written_over_only_by_force(rosin, tmp_path):
    target = tmp_path / "b.safetensors"
    target.write_bytes(b"precious")
    result = rosin("convert", PT, target.name)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert target.read_bytes() == b"precious"
    assert rosin("convert", PT, target.name, "--force").exit_code == 0
    assert len(rs.load_arrays(target)) == 19


@pytest.mark.parametrize("name", ["b.pt", "safetensors", "b.safetensors.json"])
def test_a_name_of_another_format_is_refused(rosin, tmp_path, name):
    result = rosin("convert", PT, name)
    assert result.exit_code == 2
    assert ".safetensors" in result.stderr
    assert not list(tmp_path.iterdir())


def test_what_could_run_code_is_refused_in_the_library_s_words(rosin, evil):
    result = rosin("convert", evil.name, "b.safetensors")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "UnsafeFileError: 'evil.pkl', byte 0: expected only names that plain data is made with, "
        "got a call of os.system.\n"
        "  fix: ask its author for the arrays alone: a state dict, or a safetensors file.\n"
    )
    assert not evil.with_name("b.safetensors").exists()


def test_files_that_are_not_there_are_told(rosin):
    result = rosin("convert", "a.pt", "b.safetensors")
    assert (result.exit_code, result.stderr) == (
        2, "FileNotFoundError: 'a.pt': No such file or directory\n"
    )  # fmt: skip
    assert rosin("convert", PT, "b.safetensors", "--map", "map.json").exit_code == 2
    assert rosin("convert", PT, "no/b.safetensors").exit_code == 2


def test_the_dtypes_are_those_of_the_library():
    assert tuple(dtype.value for dtype in Dtype) == FLOATING


def test_numbers_are_rounded_to_a_dtype(rosin, tmp_path):
    assert rosin("convert", PT, "b.safetensors", "--dtype", "bfloat16").exit_code == 0
    assert {a.dtype.name for a in rs.load_arrays(tmp_path / "b.safetensors").values()} == {
        "bfloat16"
    }
