# SPDX-License-Identifier: Apache-2.0
"""Settings beside a model: keys by which the libraries that read them run code.

A file of settings is data, but some libraries do what it says: import what it names, fetch
the code of a folder, unmarshal a function. Only such keys are looked for, after escapes are
resolved; everything else in the settings is left to those who use them.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Final

from rosin.errors import shown
from rosin.scan.json_text import AsFindings, brackets, expect_shallow
from rosin.scan.names import known_to_run_code
from rosin.scan.region import Region

_FETCHED: Final = frozenset({"auto_map", "custom_pipelines", "custom_pipeline"})
_SWITCH: Final = "trust_remote_code"
_TARGETS: Final = frozenset({"_target_", "py/object", "py/type", "py/function", "py/reduce"})
_KERAS_FUNCTIONS: Final = frozenset({"Lambda", "__lambda__"})
# Where Keras keeps what it makes from settings; elsewhere a name is imported from anywhere.
_KERAS_PARTS: Final = (
    "activations",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "regularizers",
)
_KERAS_MODULE: Final = re.compile(rf"keras(\.(src\.)?({'|'.join(_KERAS_PARTS)})(\.\w+)*)?")
_MAX_SHOWN: Final = 100  # findings of one rule, so that others are not crowded out

# What PyYAML makes objects of; any tag that is not of YAML's own types.
_YAML_CODE: Final = re.compile(rb"!!python/|!<?tag:yaml\.org,2002:python/")
_YAML_TAG: Final = re.compile(
    rb"(?m)(?:^[ \t]*|:[ \t]+|-[ \t]+|[\[{,][ \t]*)"
    rb"!(?!!(?:str|int|float|bool|null|map|seq|binary|timestamp|set|omap)\b)[\w!<]"
)
_YAML_KEY: Final = re.compile(
    rb"(?m)(?:^|[\s{,?])[\"']?(auto_map|custom_pipelines?|trust_remote_code|_target_)[\"']?[ \t]*:"
    rb"[ \t]*([^\s#]*)"
)

_OBJECT: Final = object()  # stands for one that was looked at
_Report = Callable[[str, str, str], None]


def check_json(region: Region, *, lines: bool = False) -> bool:
    """Look through a JSON text, or one on each line; say whether it is any."""
    region.expect_within("max_index_bytes", region.size, unit="bytes of settings")
    data = b"".join(region.chunks())
    stand = 0
    for part in data.splitlines(keepends=True) if lines else [data]:
        if part.strip() and not _check_object(region, part, stand):
            return False
        stand += len(part)
    return True


def _check_object(region: Region, data: bytes, begin: int) -> bool:
    """Parse one text, keeping no more of it than the objects that are open."""
    told: set[tuple[str, str]] = set()

    def report(rule: str, key: str, got: str) -> None:
        if (rule, got) not in told and [seen for seen, _ in told].count(rule) < _MAX_SHOWN:
            told.add((rule, got))
            at = data.find(json.dumps(key).encode())
            region.report(rule, begin + max(at, 0), got=got)

    def look(pairs: list[tuple[str, object]]) -> object:
        # All of a key that comes twice count; which one a reader takes is its own affair.
        for key, value in pairs:
            _check_key(key, value, report)
        if any(key == "class_name" for key, _ in pairs):
            _check_keras(dict(pairs), report)
        return _OBJECT if pairs else None

    expect_shallow(brackets(data), AsFindings(region, "settings-malformed"), "settings")
    try:
        json.loads(data.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=look)
    except (ValueError, RecursionError):
        return False
    return True


def _check_key(key: str, value: object, report: _Report) -> None:
    if key in _FETCHED and value:
        report("settings-code", key, f"{shown(key)}, which names code in this folder")
    elif key == _SWITCH and value is True:
        report("settings-code", key, f"{shown(key)} that is true")
    elif key in _TARGETS:
        module, _, name = (value if isinstance(value, str) else "").rpartition(".")
        rule = "settings-call" if known_to_run_code(module, name) else "settings-code"
        report(rule, key, f"{shown(key)} of {shown(value)}")
    elif key == "_class_name" and isinstance(value, list):
        report("settings-code", key, f"{shown(key)} that is in a file of this folder")
    elif key == "chat_template" and value:
        report("template", key, f"{shown(key)}")


def _check_keras(parts: dict[str, object], report: _Report) -> None:
    """Hold an object that Keras would make to what Keras itself has."""
    kind = parts.get("class_name")
    if not isinstance(kind, str) or not parts.keys() & {"config", "module", "registered_name"}:
        return
    module, registered = parts.get("module"), parts.get("registered_name")
    known = isinstance(module, str) and known_to_run_code(module, kind)
    if kind in _KERAS_FUNCTIONS:
        report("settings-call", kind, f"a layer of Keras that is a function: {shown(kind)}")
    elif known or (module is not None and not _is_keras(module)):
        rule = "settings-call" if known else "settings-code"
        report(rule, "module", f"{shown(module)} as the module of {shown(kind)}")
    elif registered is not None and registered != kind:
        report("settings-code", "registered_name", f"a class of its own: {shown(registered)}")


def _is_keras(module: object) -> bool:
    return isinstance(module, str) and _KERAS_MODULE.fullmatch(module) is not None


def check_yaml(region: Region) -> None:
    """Look for tags and keys in a YAML text; without its grammar, so they are taken widely."""
    region.expect_within("max_index_bytes", region.size, unit="bytes of settings")
    data = b"".join(region.chunks())
    told: list[str] = []
    for rule, byte, got in _yaml_findings(data):
        told.append(rule)
        if told.count(rule) <= _MAX_SHOWN:
            region.report(rule, byte, got=got)


def _yaml_findings(data: bytes) -> Iterator[tuple[str, int, str]]:
    code = _YAML_CODE.search(data)
    tag = _YAML_TAG.search(data)
    if code is not None:
        yield "settings-call", code.start(), "a tag of PyYAML that makes an object of Python"
    elif tag is not None:
        yield "settings-code", tag.end() - 2, "a tag that YAML itself does not have"
    for match in _YAML_KEY.finditer(data):
        key, value = match[1].decode(), match[2].decode(errors="replace").strip("\"',}")
        if key == "_target_":
            module, _, name = value.rpartition(".")
            rule = "settings-call" if known_to_run_code(module, name) else "settings-code"
            yield rule, match.start(1), f"{shown(key)} of {shown(value)}"
        elif key != "trust_remote_code" or value.lower() in {"true", "yes", "on", "y"}:
            yield "settings-code", match.start(1), shown(key)
