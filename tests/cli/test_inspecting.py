# SPDX-License-Identifier: Apache-2.0
"""`rosin inspect`: names, dtypes, shapes, bytes and metadata, escaped."""

import json

import jax
import jax.numpy as jnp

import rosin as rs
from rosin.files.tensors import write_tensors


def test_an_own_file_is_listed_with_its_metadata(rosin, tmp_path):
    tree = {"w": jnp.ones((2, 3)), "b": jnp.ones(3), "s": jnp.ones(()), "step": 5,
            "key": jax.random.key(0)}  # fmt: skip
    rs.save(tmp_path / "a.safetensors", tree, {"author": "ada \x1b[31m"})
    result = rosin("inspect", "a.safetensors")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["name", "dtype", "shape", "bytes"],
        ["b", "float32", "(3,)", "12"],
        ["s", "float32", "()", "4"],
        ["w", "float32", "(2,", "3)", "24"],
        ["key", "key<threefry2x32>", "(2,)", "8"],
        ["step", "int", "5"],
        ["5", "in", "all,", "48", "bytes"],
        [],
        ["metadata"],
        ["author:", r"'ada", r"\x1b[31m'"],
    ]


def test_an_empty_file_is_listed(rosin, tmp_path):
    write_tensors(tmp_path / "a.safetensors", {})
    assert rosin("inspect", "a.safetensors").stdout.splitlines()[-1] == "0 in all, 0 bytes"


def test_what_could_run_code_is_refused(rosin, evil):
    result = rosin("inspect", evil.name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "got a call of os.system" in result.stderr


def test_a_name_from_a_stranger_is_escaped(rosin, tmp_path):
    notes = {"version": 2, "needs": "0.1.0", "keys": {}, "values": {"\x1b[31mstep": "\x1b[1m"}}
    write_tensors(tmp_path / "a.safetensors", {}, {"rosin": json.dumps(notes)})
    lines = rosin("inspect", "a.safetensors").stdout.splitlines()
    assert lines[1].split() == [r"\x1b[31mstep", "str", r"'\x1b[1m'"]
