# SPDX-License-Identifier: Apache-2.0
"""Lock the dependencies: write `requirements/*.txt` with exact versions and hashes.

Each file is resolved from `pyproject.toml` by `uv pip compile`, once for every platform
and every Python from 3.11 on. `dev.txt` comes first and binds the others, so that all of
them fit into one environment. Only wheels are taken, and only releases that have been
public for a week, because most malicious ones are found sooner.

`make lock` keeps what is locked and adds what is missing; `make lock UPGRADE=1` moves
everything to the newest releases allowed. An urgent security fix may come sooner than a
week: `python scripts/lock.py --upgrade-package NAME --cooldown-days 0`.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COOLDOWN_DAYS = 7
EXTRAS = {
    "dev": ("dev", "examples"),
    "runtime": (),
    "docs": ("docs",),
    "bench": ("bench",),
}
ENTRY = re.compile(
    r"[a-z0-9-]+(\[[a-z0-9, -]+\])?==\S+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+"
)


def main() -> None:
    """Compile every lock file, then read each of them again."""
    parser = argparse.ArgumentParser(description="Lock the dependencies into requirements/*.txt.")
    parser.add_argument("--upgrade", action="store_true", help="take newer releases")
    parser.add_argument("--upgrade-package", action="append", default=[], metavar="NAME")
    parser.add_argument("--cooldown-days", type=int, default=COOLDOWN_DAYS, metavar="DAYS")
    options = parser.parse_args()
    arguments = [f"--exclude-newer={options.cooldown_days} days"]
    arguments += ["--upgrade"] * options.upgrade
    arguments += [f"--upgrade-package={name}" for name in options.upgrade_package]
    for name in EXTRAS:
        compile_lock(name, arguments)
        print(f"requirements/{name}.txt: {expect_locked(name)} packages")


def compile_lock(name: str, arguments: list[str]) -> None:
    """Resolve one set of requirements with uv, as set up in its environment variables."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--quiet"]
    command += [f"--extra={extra}" for extra in EXTRAS[name]]
    command += ["--constraints=requirements/dev.txt"] * (name != "dev")
    command += [
        "--universal",
        "--python-version=3.11",
        "--fork-strategy=fewest",
        "--only-binary=:all:",
        "--generate-hashes",
        "--no-strip-extras",  # pip before 23.3 looks for a pin of `name[extra]` itself
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--custom-compile-command=make lock",
        f"--output-file=requirements/{name}.txt",
    ]
    (ROOT / "requirements").mkdir(exist_ok=True)
    done = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, "UV_NO_CONFIG": "1"},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        sys.exit(f"requirements/{name}.txt could not be resolved; see above.")


def expect_locked(name: str) -> int:
    """Count the packages of a lock file; end if a line is anything but a pin with hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    bare = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)
    rest = ENTRY.sub("", bare).strip()
    if rest:
        sys.exit(f"requirements/{name}.txt: expected pins with hashes only, got {rest[:80]!r}.")
    return len(ENTRY.findall(bare))


if __name__ == "__main__":
    main()
