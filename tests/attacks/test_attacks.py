# SPDX-License-Identifier: Apache-2.0
"""Hostile files: the scan says what it must, and nothing it warns of is ever read.

A format adds a module with a dict `CASES` to `TABLES`.
"""

import pytest

from rosin.errors import FileError, LimitError, UnsafeFileError
from rosin.files import read, read_tree
from rosin.limits import Limits
from rosin.scan import Level, scan
from rosin.scan.findings import RULES
from tests.attacks import (
    archives,
    arrays,
    general,
    gguf,
    onnx,
    pickles,
    pytorch,
    safetensors,
    scripts,
)

TABLES = (general, pickles, pytorch, archives, arrays, safetensors, gguf, onnx, scripts)
CASES = {
    f"{table.__name__.rpartition('.')[2]}: {name}": case
    for table in TABLES
    for name, case in table.CASES.items()
}
BEYOND_ONE_FILE = {"changed", "depth", "link", "not-regular", "unreadable"}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    return request.param


@pytest.fixture
def path(tmp_path, case):
    path = tmp_path / case.file
    path.write_bytes(case.build())
    return path


def test_the_scan_says_what_it_must(case, path):
    report = scan(path, limits=Limits(**case.limits))
    found = {finding.id: finding for finding in reversed(report.findings)}
    assert report.verdict == case.verdict, report.to_json()
    assert case.rule is None or case.rule in found, report.to_json()
    if case.byte is not None:
        assert found[case.rule].byte == case.byte, report.to_json()


def test_what_the_scan_warns_of_is_refused_and_the_rest_is_read(case, path):
    limits = Limits(**case.limits)
    findings = scan(path, limits=limits).findings
    if case.verdict <= Level.NOTE and case.reads:
        read(path, limits=limits)
        read_tree(path, limits=limits)
        return
    asks_for_more = {Level.SUSPICIOUS, Level.DANGEROUS} & {finding.level for finding in findings}
    with pytest.raises(FileError) as caught:
        read(path, limits=limits)
    if asks_for_more:
        assert isinstance(caught.value, UnsafeFileError)
    elif case.rule == "limit":
        assert isinstance(caught.value, LimitError)
    else:
        assert type(caught.value) is FileError


def test_every_rule_is_broken_by_a_case():
    assert {*RULES} - {case.rule for case in CASES.values()} - BEYOND_ONE_FILE == set()


def test_there_are_as_many_cases_as_were_promised():
    assert len(CASES) >= 150
