# SPDX-License-Identifier: Apache-2.0
"""Turn the formulas of the documentation into MathML while it is built.

A page then needs no program of somebody else's to show them: browsers draw MathML by
themselves. MkDocs calls `on_page_content`; a formula that cannot be converted fails the
build.
"""

import functools
import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<kind>[(\[])(?P<latex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)


def on_page_content(page_html: str, page: Any, **_: object) -> str:
    """Replace the formulas of a page."""

    def formula(found: re.Match[str]) -> str:
        display = "block" if found["kind"] == "[" else "inline"
        try:
            return mathml(html.unescape(found["latex"]), display)
        except Exception as error:  # whatever it was, the build ends and names page and formula
            message = f"{page.file.src_path}: cannot draw {found['latex']!r}: {error!r}"
            raise PluginError(message) from error

    return FORMULA.sub(formula, page_html)


@functools.cache
def mathml(latex: str, display: str) -> str:
    """Convert one formula."""
    converted = convert(" ".join(latex.split()), display=display)
    left_over = re.search(r"<m[io]>(\\[A-Za-z]+)", converted)
    if left_over:
        message = f"unknown command {left_over[1]}"
        raise ValueError(message)
    return converted
