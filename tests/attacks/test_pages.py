# SPDX-License-Identifier: Apache-2.0
"""Every rule has its page, as `scripts/findings.py` writes it."""

from scripts import findings


def test_the_pages_are_those_that_the_script_writes():
    stored = {path.name: path.read_text(encoding="utf-8") for path in findings.FOLDER.iterdir()}
    assert stored == findings.pages(), "run PYTHONPATH=src:. python scripts/findings.py"


def test_the_navigation_names_the_pages():
    settings = (findings.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert findings.navigation() in settings
