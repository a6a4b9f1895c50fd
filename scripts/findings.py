# SPDX-License-Identifier: Apache-2.0
"""Write one page for each rule of the scanner: `docs/scan/<id>.md`, and their index.

What stands on a page comes from the table of rules and from the table of hostile files, so
it needs the tests: `PYTHONPATH=src:. python scripts/findings.py`.
"""

import re
from pathlib import Path

from rosin.scan.findings import RULES, Rule
from tests.attacks.test_attacks import CASES

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "scan"
MAX_CASES = 12
LEVELS = """
| level | means | `fails()` |
|---|---|---|
| safe | data only, by rules that were all checked | no |
| note | worth knowing; no reason to refuse the file | no |
| suspicious | asks for more than data; not a way to run code that is known | yes |
| unknown | could not be read to the end, so nothing can be said | yes |
| dangerous | a known way to run code or to reach beyond the file | yes |
"""


def page(name: str, rule: Rule) -> str:
    """Write the page of one rule."""
    cases = [case.partition(": ")[2] for case, row in CASES.items() if row.rule == name]
    shown = "\n".join(f"- {case}" for case in cases[:MAX_CASES])
    more = f"\n- and {len(cases) - MAX_CASES} more" if len(cases) > MAX_CASES else ""
    examples = f"\n## Files that break it\n\nFrom the tests:\n\n{shown}{more}\n" if cases else ""
    return (
        f"# {name}\n\n"
        f"Level: **{rule.level.label}**. The rule wants {rule.expected}.\n\n"
        f"**What it could do.** {rule.danger}.\n\n"
        f"**Way out.** {rule.way_out[0].upper()}{rule.way_out[1:]}.\n"
        f"{examples}"
    )


def pages() -> dict[str, str]:
    """Return the text of every page by the name of its file."""
    rows = "\n".join(
        f"| [{name}]({name}.md) | {rule.level.label} | {rule.expected} |"
        for name, rule in sorted(RULES.items())
    )
    index = (
        "# Findings\n\nWhat [`scan`](../api/scan.md) reports, rule by rule. Each finding has one"
        " of these levels; the worst one counts.\n"
        f"{LEVELS}\n| rule | level | wants |\n|---|---|---|\n{rows}\n"
    )
    return {"index.md": index} | {f"{name}.md": page(name, rule) for name, rule in RULES.items()}


def navigation() -> str:
    """Return the lines of `mkdocs.yml` that name the pages."""
    lines = [f"      - {name}: scan/{name}.md" for name in sorted(RULES)]
    return "\n".join(["  - Findings:", "      - Overview: scan/index.md", *lines]) + "\n"


def main() -> None:
    """Write the pages, remove those of rules that are gone, and name them in `mkdocs.yml`."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.md"):
        if old.name not in pages():
            old.unlink()
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    settings = ROOT / "mkdocs.yml"
    text = settings.read_text(encoding="utf-8")
    text = re.sub(r"  - Findings:\n(      - .*\n)*", navigation(), text)
    settings.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
