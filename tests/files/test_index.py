# SPDX-License-Identifier: Apache-2.0
"""The index of a model of several files: what it may say, and what is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rosin.errors import FileError, LimitError
from rosin.files.index import decode_index, encode_index, is_file_name
from rosin.files.source import Source
from rosin.limits import Limits

SHARD = "model-00001-of-00002.safetensors"
SOURCE = Source.of("model.safetensors.index.json", Limits())


def index(weight_map=None, metadata=None, **more):
    content = {"weight_map": {"a": SHARD} if weight_map is None else weight_map, **more}
    return json.dumps(content | ({} if metadata is None else {"metadata": metadata})).encode()


def test_an_index_reads_back():
    shards = {SHARD: ["b", "a"], "x.safetensors": ["ü"]}
    got = decode_index(encode_index(shards, {"author": "ada"}, 12), SOURCE)
    assert got.shards == {SHARD: {"a", "b"}, "x.safetensors": {"ü"}}
    assert (got.metadata, got.total_size) == ({"author": "ada"}, 12)


def test_the_text_is_that_of_the_hugging_face_hub():
    text = encode_index({SHARD: ["b", "a"]}, {}, 12).decode()
    assert text == (
        '{\n  "metadata": {\n    "total_size": 12\n  },\n  "weight_map": {\n'
        f'    "a": "{SHARD}",\n    "b": "{SHARD}"\n  }}\n}}\n'
    )


def test_what_others_note_beside_texts_is_left_out():
    metadata = {"total_size": 4, "total_parameters": 1, "list": [1], "format": "pt"}
    assert decode_index(index(metadata=metadata), SOURCE).metadata == {"format": "pt"}
    assert decode_index(index(), SOURCE).total_size is None


BAD = {
    "nothing": b"",
    "no JSON": b"import os",
    "a list": b"[]",
    "cut short": index()[:-2],
    "more behind": index() + b"x",
    "not UTF-8": b'{"weight_map":{"\xff":1}}',
    "no weight_map": b'{"metadata":{}}',
    "a key too many": index(auto_map="x"),
    "weight_map twice": b'{"weight_map":{},"weight_map":{}}',
    "a name twice": index().replace(b'"a":', f'"a":"{SHARD}","a":'.encode()),
    "weight_map of numbers": index({"a": 1}),
    "weight_map of lists": index({"a": [SHARD]}),
    "weight_map a list": index([]),
    "metadata a text": index(metadata="x"),
    "a size below zero": index(metadata={"total_size": -1}),
    "a size with a fraction": index(metadata={"total_size": 4.0}),
    "a size as a text": index(metadata={"total_size": "4"}),
    "an endless size": index(metadata={"total_size": 10**30}),
    "a boolean size": index(metadata={"total_size": True}),
    "half a character": index(metadata={"a": "\ud800"}),
    "NaN": b'{"metadata":{"a":NaN},"weight_map":{}}',
    "a folder above": index({"a": f"../{SHARD}"}),
    "a folder below": index({"a": f"x/{SHARD}"}),
    "a path from the root": index({"a": f"/etc/{SHARD}"}),
    "a folder of Windows": index({"a": f"x\\{SHARD}"}),
    "a drive": index({"a": f"c:{SHARD}"}),
    "a stream": index({"a": f"{SHARD}:x.safetensors"}),
    "a pickle": index({"a": "pytorch_model-00001-of-00002.bin"}),
    "no name": index({"a": ""}),
    "only an ending": index({"a": ".safetensors"}),
    "a hidden file": index({"a": ".x.safetensors"}),
    "a line break": index({"a": "x\n.safetensors"}),
    "a null": index({"a": "x\0.safetensors"}),
    "a mark that turns the text": index({"a": "x\u202e.safetensors"}),
    "an endless name": index({"a": "x" * 300 + ".safetensors"}),
    "half a character in a name": index({"a": "\ud800.safetensors"}),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_index_is_refused(case, impatient):
    with pytest.raises(FileError) as caught:
        decode_index(BAD[case], SOURCE)
    assert not isinstance(caught.value, LimitError)
    assert len(str(caught.value)) < 600


LIMITED = {
    "tensors": (index({"a": SHARD, "b": SHARD}), "max_tensors", 1),
    "files": (index({"a": SHARD, "b": "b.safetensors"}), "max_shards", 1),
    "metadata": (index(metadata={"a": "x" * 9}), "max_metadata_bytes", 9),
    "nesting": (index(metadata={"a": [[[1]]]}), "max_nesting", 4),
}


@pytest.mark.parametrize(("data", "limit", "bound"), LIMITED.values(), ids=LIMITED)
def test_bounds_hold(data, limit, bound):
    with pytest.raises(LimitError, match=limit):
        decode_index(data, Source.of("x", Limits(**{limit: bound})))
    decode_index(data, Source.of("x", Limits(**{limit: bound + 1})))


@pytest.mark.parametrize(
    "data",
    [
        b'{"weight_map":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"metadata":[' + b"1," * 3_000_000 + b'1],"weight_map":{}}',
        b'{"metadata":[' + b"[]," * 3_000_000 + b'1],"weight_map":{}}',
    ],
    ids=["deep", "long", "many lists"],
)
def test_size_and_depth_are_bounded_before_json_is_parsed(data, impatient, monkeypatch):
    monkeypatch.setattr("rosin.files.index.parse_object", None)
    with pytest.raises(LimitError):
        decode_index(data, SOURCE)


def test_quotes_that_never_close_are_read_in_linear_time(impatient):
    with pytest.raises(FileError):
        decode_index(b'{"' + b'\\"' * 2_000_000, SOURCE)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_a_damaged_index_is_read_or_refused_and_nothing_else(place, patch):
    data = bytearray(encode_index({SHARD: ["a", "b"], "c.safetensors": ["c"]}, {"d": "e"}, 3))
    data[place : place + len(patch)] = patch
    try:
        got = decode_index(bytes(data), SOURCE)
    except FileError:
        return
    assert all(map(is_file_name, got.shards))
