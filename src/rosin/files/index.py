# SPDX-License-Identifier: Apache-2.0
"""The index of a model that is spread over several files: foreign JSON to checked names.

The layout is that of the Hugging Face hub: `model.safetensors.index.json` says under
`weight_map` which file beside it holds which array, and under `metadata` how many bytes all
arrays have together. Nothing here opens a file.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Final, cast

from rosin.errors import shortened, shown
from rosin.files.source import Source
from rosin.scan.json_text import brackets, count_values, expect_shallow, outline, parse_object

SUFFIX: Final = ".safetensors.index.json"
SHARD_SUFFIX: Final = ".safetensors"
TOTAL: Final = "total_size"
SAVE: Final = "rosin_save"
"""Under this name the index and each of its files say which save they come from."""

_KEYS: Final = ("metadata", "weight_map")
_MAX_NAME_BYTES: Final = 255  # of a file, on every common file system
_VALUES_BESIDE_TENSORS: Final = 100_000  # metadata is bounded by its bytes
_SEPARATORS: Final = re.compile(r"[/\\:]")


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """What an index says.

    Args:
        shards: The names of arrays by the file that holds them.
        metadata: Free-form text.
        total_size: Bytes of all arrays together, if it says so.
    """

    shards: dict[str, set[str]]
    metadata: dict[str, str]
    total_size: int | None


def encode_index(shards: Mapping[str, list[str]], metadata: Mapping[str, str], size: int) -> bytes:
    """Write an index, as the Hugging Face hub writes it.

    Examples:
        >>> encode_index({"a-00001-of-00001.safetensors": ["w"]}, {}, 4).count(b"total_size")
        1
    """
    weight_map = {name: shard for shard, names in shards.items() for name in names}
    content = {
        "metadata": {TOTAL: size, **dict(sorted(metadata.items()))},
        "weight_map": dict(sorted(weight_map.items())),
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"


def decode_index(data: bytes, source: Source) -> Index:
    """Check all that an index can be held to by itself.

    Raises:
        FileError: It is no index, or names something that is no file beside it.
        LimitError: It names more than a bound allows.
    """
    count = (count_values(data) - _VALUES_BESIDE_TENSORS) // 2  # a colon and a comma for each
    source.expect_within("max_tensors", max(count, 0), unit="tensors", where="index")
    expect_shallow(brackets(data), source, "index")
    content = parse_object(data, source, what="index")
    if not {"weight_map"} <= content.keys() <= set(_KEYS):
        keys = ", ".join(map(shown, content)) or "none"
        source.refuse("index", expected=f"the keys {' and '.join(_KEYS)}", got=shortened(keys))
    weight_map = _texts(content["weight_map"], "weight_map", source)
    source.expect_within("max_tensors", len(weight_map), unit="tensors", where="weight_map")
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if shard not in shards:
            _expect_file_name(shard, source)
            source.expect_within("max_shards", len(shards) + 1, unit="files", where="weight_map")
        shards.setdefault(shard, set()).add(name)
    metadata, total = _metadata(content.get("metadata", {}), source)
    return Index(shards, metadata, total)


def is_file_name(name: str) -> bool:
    """Tell whether a text names a safetensors file in a folder, and nothing elsewhere."""
    return (
        name.endswith(SHARD_SUFFIX)
        and name.isprintable()
        and not name.startswith(".")
        and not _SEPARATORS.search(name)
        and len(name.encode()) <= _MAX_NAME_BYTES
    )


def _expect_file_name(name: str, source: Source) -> None:
    if not is_file_name(name):
        source.refuse(
            "weight_map",
            expected="the name of a safetensors file beside the index, without a folder",
            got=shown(name),
        )


def _texts(value: object, where: str, source: Source) -> dict[str, str]:
    texts = cast("dict[str, str]", value) if isinstance(value, dict) else None
    if texts is None or not all(isinstance(text, str) for text in texts.values()):
        source.refuse(where, expected="an object of texts", got=outline(value))
    return texts


def _metadata(value: object, source: Source) -> tuple[dict[str, str], int | None]:
    """Keep what is text; other programs note numbers too, which nobody needs."""
    if not isinstance(value, dict):
        source.refuse("metadata", expected="an object", got=outline(value))
    noted = cast("dict[str, object]", value)
    total = noted.get(TOTAL)
    if total is not None and (type(total) is not int or total < 0):
        source.refuse("metadata", expected=f"{TOTAL} in whole bytes", got=shown(total))
    texts = {name: text for name, text in noted.items() if isinstance(text, str)}
    try:
        size = sum(len(text.encode()) for pair in texts.items() for text in pair)
    except UnicodeEncodeError:
        source.refuse("metadata", expected="texts of Unicode", got="half of a surrogate pair")
    source.expect_within("max_metadata_bytes", size, unit="bytes", where="metadata")
    return texts, total
