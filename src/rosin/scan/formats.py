# SPDX-License-Identifier: Apache-2.0
"""The formats that a scan knows, found by their first bytes; extensions must agree."""

from typing import Final

from rosin.errors import shown
from rosin.scan.archives import ARCHIVES
from rosin.scan.gguf import GGUF
from rosin.scan.npy import NPY
from rosin.scan.onnx import ONNX
from rosin.scan.parsed import HEAD_BYTES, Format, Parsed
from rosin.scan.pickles import PICKLE
from rosin.scan.programs import PROGRAM
from rosin.scan.region import Region, suffix_of
from rosin.scan.safetensors import SAFETENSORS
from rosin.scan.tars import TAR
from rosin.scan.text import TEXT
from rosin.scan.unread import UNREAD

FORMATS: Final[tuple[Format, ...]] = (
    PICKLE,
    *ARCHIVES,
    TAR,
    NPY,
    SAFETENSORS,
    GGUF,
    ONNX,
    PROGRAM,
    UNREAD,
    TEXT,
)
"""In the order in which they are asked."""

_END_OF_ZIP: Final = b"PK\x05\x06"
_END_BYTES: Final = 22


def detect(region: Region) -> Format:
    """Find the format that a region begins as; more than one is reported.

    Raises:
        Refused: No format begins like this.
    """
    head = region.read(0, HEAD_BYTES)
    claims = [form for form in FORMATS if not form.last_resort and form.sniff(region, head)]
    if not claims:
        claims = [form for form in FORMATS if form.last_resort and form.sniff(region, head)][:1]
    names = [claim.name for claim in claims]
    if "zip" not in names and region.read(max(region.size - _END_BYTES, 0), 4) == _END_OF_ZIP:
        names = [*(names or ["something else"]), "a zip archive at its end"]
    if len(names) > 1:
        region.report("polyglot", 0, got=f"the marks of {' and '.join(names)}")
    if not claims:
        region.refuse("format-unknown", 0, got=_opening(head))
    return claims[0]


def parse(form: Format, region: Region) -> Parsed:
    """Parse a region and hold its extension to what it turned out to be.

    Raises:
        Refused: A rule of the format is broken and nothing more can be said.
    """
    parsed = form.parse(region)
    _expect_suffix(region, parsed.format)
    return parsed


def _expect_suffix(region: Region, exact: str) -> None:
    """Report an extension that belongs to other formats only, and text that may be a script."""
    suffix = suffix_of(region.name)
    homes = {name: suffixes for form in FORMATS for name, suffixes in form.suffixes.items()}
    known = any(suffix in suffixes for suffixes in homes.values())
    if suffix and known and suffix not in homes.get(exact, ()):
        region.report("format-mismatch", got=f"{exact} in a file called *{suffix}")
    elif exact == "text" and not known and suffix.strip(".0123456789"):
        region.report("script", got=f"text in a file called {shown('*' + suffix)}")


def _opening(head: bytes) -> str:
    return f"the first bytes {head[:8].hex(' ')}" if head else "an empty file"
