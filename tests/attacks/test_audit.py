# SPDX-License-Identifier: Apache-2.0
"""An audit hook watches while every hostile file is scanned and read: nothing but reading."""

import os
import subprocess
import sys

import pytest

from tests.attacks.test_attacks import CASES
from tests.stored import FOLDER

PROGRAM = """
import os, sys
started = set(sys.modules)
from rosin.scan import scan
{imports}

folder = sys.argv[1]
scan(__file__)
before = set(sys.modules)

def hook(event, arguments):
    path = arguments[0] if event == "open" else None  # a number is a file that is open
    outside = not isinstance(path, (int, type(None))) and not os.fsdecode(path).startswith(folder)
    writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    if outside or writing or event.partition(".")[0] in {events}:
        os.write(2, f"{{event}} {{arguments}}".encode())
        os._exit(42)

sys.addaudithook(hook)
{act}
if set(sys.modules) - before:
    sys.exit(f"imported {{set(sys.modules) - before}}")
"""
EVENTS = {"import", "exec", "compile", "pickle", "marshal", "ctypes", "subprocess", "socket"}
SCAN = "print(len(scan(folder).files))"
READ = """
count = 0
for name in sorted(os.listdir(folder)):
    try:
        read(os.path.join(folder, name))
    except FileError:
        count += 1
print(count)
"""
ALONE = """
strange = {name.partition(".")[0] for name in set(sys.modules) - started}
strange -= {*sys.stdlib_module_names, "rosin"}
loads = {"pickle", "_pickle", "shelve", "dill", "zipfile", "tarfile"} & set(sys.modules)
sys.exit(f"{strange} {loads}" if strange or loads else 0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write every hostile file, and every checkpoint, into one folder."""
    folder = tmp_path_factory.mktemp("hostile")
    for index, (name, case) in enumerate(CASES.items()):
        if "bomb" not in name:
            (folder / f"{index}.{case.file}").write_bytes(case.build())
    for path in (FOLDER / "checkpoints").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def audit(folder, act, imports=""):
    program = folder.parent / "program.py"
    program.write_text(PROGRAM.format(imports=imports, act=act, events=EVENTS))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(program), str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment
    )


def test_scanning_imports_runs_and_opens_nothing_else(folder):
    result = audit(folder, SCAN)
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) == len(list(folder.iterdir()))


def test_reading_imports_runs_and_opens_nothing_else(folder):
    imports = "from rosin.errors import FileError\nfrom rosin.files import read"
    imports += f"\nread({str(FOLDER / 'checkpoints' / 'dtypes.pt')!r})"
    result = audit(folder, READ, imports)
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) > 200


def test_the_audit_sees_a_pickle_that_is_loaded(folder):
    act = r"pickle.loads(b'cos\ngetcwd\n.')"
    assert audit(folder, act, "import pickle").returncode == 42


def test_the_scanner_stands_on_the_standard_library_alone(folder):
    result = audit(folder, ALONE)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_probe_sees_what_stands_on_more(folder):
    assert audit(folder, ALONE, "import numpy").returncode == 1
