# SPDX-License-Identifier: Apache-2.0
"""The command as a whole: help, version, what starting it loads."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rosin as rs

ROOT = Path(__file__).parents[2]
HEAVY = {"jax", "jaxlib", "numpy", "optax", "ml_dtypes"}
PROBE = """
import sys
from rosin.cli.app import main
sys.argv = ["rosin", {arguments}]
try:
    main()
except SystemExit:
    pass
sys.exit(42 if {heavy!r} & sys.modules.keys() else 0)
"""


def loads_something_heavy(*arguments):
    program = PROBE.format(arguments=", ".join(map(repr, arguments)), heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, timeout=120
    )
    return {0: False, 42: True}[done.returncode]


def test_the_version_is_that_of_the_package(rosin):
    assert rosin("--version").stdout == f"rosin {rs.__version__}\n"


def test_help_names_every_command(rosin):
    text = rosin("--help").stdout
    assert all(f"│ {verb}" in text for verb in ("scan", "convert", "inspect"))
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("verb", ["scan", "convert", "inspect"])
def test_the_help_of_a_command_says_what_its_exit_codes_mean(rosin, verb):
    text = " ".join(rosin(verb, "--help").stdout.split())
    assert "Exit codes: 0 " in text
    assert "; 1 " in text
    assert "; 2 " in text


@pytest.mark.parametrize("arguments", [(), ("scan",), ("scam",), ("scan", "--format", "xml", ".")])
def test_a_wrong_call_exits_with_2(rosin, arguments):
    assert rosin(*arguments).exit_code == 2


def test_the_program_begins_where_the_package_says():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["rosin"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_a_scan_loads_neither_jax_nor_numpy(evil):
    assert not loads_something_heavy("scan", str(evil))


def test_the_probe_sees_what_a_conversion_loads(evil):
    assert loads_something_heavy("inspect", str(evil))
