# SPDX-License-Identifier: Apache-2.0
"""Hostile files: the scan says what it must, and nothing it warns of is ever read."""

import pytest

from rosin.limits import Limits
from rosin.scan import Level, scan
from rosin.scan.findings import RULES
from tests.attacks import general

CASES = {
    f"{module.__name__.rpartition('.')[2]}: {name}": case
    for module in (general,)
    for name, case in module.CASES.items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_scan_says_what_it_must(tmp_path, case):
    path = tmp_path / case.file
    path.write_bytes(case.build())
    report = scan(path, limits=Limits(**case.limits))
    found = {finding.id: finding for finding in report.findings}
    assert report.verdict == case.verdict, report.to_json()
    assert case.rule is None or case.rule in found, report.to_json()
    if case.byte is not None:
        assert found[case.rule].byte == case.byte, report.to_json()


def test_every_rule_is_broken_by_a_case():
    beyond_a_single_file = {"changed", "depth", "link", "not-regular", "unreadable"}
    broken = {case.rule for case in CASES.values()}
    assert {*RULES} - broken - beyond_a_single_file - NOT_YET == set()


NOT_YET = {"cut-short", "format-mismatch", "polyglot", "trailing-bytes"}


def test_every_failing_rule_has_a_level_that_fails():
    assert all(rule.level > Level.SAFE for rule in RULES.values())
