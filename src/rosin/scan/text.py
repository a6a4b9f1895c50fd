# SPDX-License-Identifier: Apache-2.0
"""Plain text: the model card, the licence, a list of words, settings; and scripts, reported.

Text has no mark that says what it is, so here the extension decides: text that documents,
lists or sets something is on a list, and any other may be a script for some program.
"""

import codecs
import re
from typing import Final

from rosin.errors import shown
from rosin.scan import settings
from rosin.scan.parsed import Format, Parsed
from rosin.scan.region import Region, suffix_of

_ALLOWED: Final = bytes({9, 10, 12, 13, *range(32, 127), *range(128, 256)})
_PROSE: Final = frozenset(
    """
    .md .markdown .txt .rst .csv .tsv .log .cfg .ini .toml .conf .xml .bib .cff .spdx .lock
    .license .licence .vocab .merges .bpe .labels .names .classes .words .tags .prototxt
    .pbtxt .sha256 .sha1 .md5 .pem .asc .crt .sig
    """.split()  # noqa: SIM905  one word a line would fill pages
)
_JSON: Final = frozenset({".json", ".sigstore"})
_LINES: Final = frozenset({".jsonl", ".ndjson"})
_YAML: Final = frozenset({".yaml", ".yml"})
_TEMPLATES: Final = frozenset({".jinja", ".jinja2", ".j2"})
_RUN_BY_NAME: Final = re.compile(
    r"(makefile|dockerfile|jenkinsfile|rakefile|procfile|snakefile|vagrantfile|justfile|\.bashrc"
    r"|\.profile|\.bash_profile|\.zshrc|\.envrc|\.pythonrc)(\..*)?",
    re.IGNORECASE,
)
_HEAD_BYTES: Final = 4096


def _sniff(region: Region, head: bytes) -> bool:
    del region
    return not head.translate(None, _ALLOWED)


def _parse(region: Region) -> Parsed:
    """Read all of it: UTF-8 without control characters; then what it may do."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    for chunk in region.chunks():
        controls = chunk.translate(None, _ALLOWED)
        if controls:
            at = done + chunk.index(controls[:1])
            region.refuse("format-unknown", at, expected="text", got=f"byte {controls[0]:#04x}")
        _decode(decoder, chunk, done, region)
        done += len(chunk)
    _decode(decoder, b"", done, region)
    _look_through(region)
    return Parsed("text")


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, done: int, region: Region) -> None:
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        region.refuse("format-unknown", done, expected="UTF-8", got=f"a fault: {error.reason}")


def _look_through(region: Region) -> None:
    """Report scripts, and settings that make others run code."""
    head = region.read(0, _HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    suffix = suffix_of(region.name)
    last = region.name.rpartition("!")[2].rpartition("/")[2]
    if head.startswith(b"#!"):
        region.report("script", 0, got='text that begins with "#!", as scripts do')
    if _RUN_BY_NAME.fullmatch(last):
        region.report("script", got=f"text called {shown(last)}, which programs run")
    if suffix in _YAML:
        settings.check_yaml(region)
    elif suffix in _TEMPLATES:
        region.report("template", 0, got="a template in a file of its own")
    elif suffix in _JSON | _LINES:
        if not settings.check_json(region, lines=suffix in _LINES):
            region.report("settings-malformed", 0, got="other text")
    elif head.lstrip().startswith((b"{", b"[")):
        settings.check_json(region)  # whatever it is called


TEXT: Final = Format(
    "text",
    _sniff,
    _parse,
    {"text": _PROSE | _JSON | _LINES | _YAML | _TEMPLATES},
    last_resort=True,
)
