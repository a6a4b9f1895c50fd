# SPDX-License-Identifier: Apache-2.0
"""Tables of numbers from strangers: what is read, what is refused and where."""

import numpy as np
import pytest

import rosin as rs
from rosin.files.tables import read_csv, read_json_lines, write_csv, write_json_lines

LIMITS = rs.Limits(max_table_bytes=200, max_name_characters=20)


def written(folder, text):
    path = folder / "table"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_table_of_csv_is_read(tmp_path):
    text = 'epoch,"a, b",loss\r\n1,-2.5e3,nan\n\n2,,inf\n'
    rows = read_csv(written(tmp_path, text), LIMITS)
    assert str(rows) == "[{'epoch': 1, 'a, b': -2500.0, 'loss': nan}, {'epoch': 2, 'loss': inf}]"


def test_json_lines_are_read(tmp_path):
    text = '{"epoch": 1, "loss": null}\n\n{"epoch": 2, "loss": "-Infinity", "a": 0.5}'
    rows = read_json_lines(written(tmp_path, text), LIMITS)
    assert str(rows) == "[{'epoch': 1, 'loss': nan}, {'epoch': 2, 'loss': -inf, 'a': 0.5}]"


CSV = {
    "nothing": ("", "line 1", "none"),
    "a name twice": ("a,b,a\n1,2,3", "line 1", "one twice"),
    "an empty name": ("a,\n1,2", "line 1", "one that is empty"),
    "a cell too few": ("a,b\n1,2\n3\n", "row 3", "1"),
    "a cell too many": ("a,b\n1,2,3\n", "row 2", "3"),
    "a word": ("a\n=cmd()\n", "row 2", "'=cmd()'"),
    "a number with a gap": ("a\n1_000\n", "row 2", "'1_000'"),
    "digits of another script": ("a\n\u0661\n", "row 2", "'\u0661'"),
    "more digits than a number has": ("a\n" + "1" * 41, "row 2", repr("1" * 41)),
    "a quote that is open": ('a\n"1', "line 2", "a fault: 'unexpected end of data'"),
    "a zero byte": ("a\n1\x002\n", "row 2", "'1\\x002'"),
    "other bytes": (b"a\n\xff\n", "byte 2", "a fault: invalid start byte"),
}

JSON = {
    "no object": ("[1]", "byte 0", "'['"),
    "no key": ("{}", "line 1", "none"),
    "a key twice": ('{"a": 1, "a": 2}', "row", "'a' twice"),
    "a word": ('{"a": 1}\n{"a": "b"}', "line 2", "'b'"),
    "a truth": ('{"a": true}', "line 1", "True"),
    "a list": ('{"a": [1]}', "line 1", "[1]"),
    "NaN": ('{"a": NaN}', "row", "NaN, which JSON lacks"),
    "two objects": ('{"a": 1}\n{"a": 1} {"a": 2}', "byte 18", "'{'"),
    "no end": ('{"a": 1', "byte 7", "a fault: Expecting ',' delimiter"),
    "hundreds of levels": ('{"a":' + "[" * 90 + "]" * 90 + "}", "line 1", "[[[[…]]]]"),
}


@pytest.mark.parametrize("case", CSV)
def test_what_is_no_table_of_csv_is_refused(tmp_path, case):
    text, where, got = CSV[case]
    with pytest.raises(rs.FileError) as caught:
        read_csv(written(tmp_path, text), LIMITS)
    assert (caught.value.where, caught.value.got) == (where, got)


@pytest.mark.parametrize("case", JSON)
def test_what_are_no_json_lines_is_refused(tmp_path, case):
    text, where, got = JSON[case]
    with pytest.raises(rs.FileError) as caught:
        read_json_lines(written(tmp_path, text), LIMITS)
    assert (caught.value.where, caught.value.got) == (where, got)


@pytest.mark.parametrize("read", [read_csv, read_json_lines])
def test_a_table_beyond_the_bounds_is_refused(tmp_path, read):
    with pytest.raises(rs.LimitError, match="max_table_bytes"):
        read(written(tmp_path, "a\n" + "1\n" * 100), LIMITS)
    long = "b" * 21
    with pytest.raises(rs.LimitError, match="max_name_characters"):
        read(written(tmp_path, f"{long}\n" if read is read_csv else f'{{"{long}": 1}}'), LIMITS)


def test_depth_beyond_what_python_can_parse_is_refused(tmp_path):
    text = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(rs.FileError, match="few nested levels"):
        read_json_lines(written(tmp_path, text), rs.Limits())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = written(tmp_path, "before")
    with pytest.raises(TypeError):
        write_json_lines(path, [{"a": 1}, {"a": "b"}])
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_csv(path, [{"a": 1, "b": 2}], ["a"])
    assert path.read_text() == "before"
    write_json_lines(path, [{"a": np.float32(0.5)}])
    assert path.read_text() == '{"a": 0.5}\n'
