# SPDX-License-Identifier: Apache-2.0
"""SARIF: what the standard asks for, and where each finding is said to be."""

import json
import re

from rosin.scan import FileReport, Finding, Level, Report
from rosin.scan.findings import RULES, finding
from rosin.scan.sarif import to_sarif


def file_of(*findings, path="models/a b.pkl", size=21, **options):
    return FileReport(path, "pickle", size, "ab" * 32, findings=findings, **options)


def run_of(*files):
    log = json.loads(to_sarif(Report(files), version="1.2.3"))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    return run


def result_of(one, **options):
    (result,) = run_of(file_of(one, **options))["results"]
    return result


def test_every_rule_is_described_once():
    driver = run_of()["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("Rosin", "1.2.3")
    rules = driver["rules"]
    assert [rule["id"] for rule in rules] == sorted(RULES)
    code = next(rule for rule in rules if rule["id"] == "pickle-code")
    assert code["help"]["text"] == f"Way out: {RULES['pickle-code'].way_out}."
    assert code["fullDescription"]["text"] == f"{RULES['pickle-code'].danger}."
    assert code["defaultConfiguration"]["level"] == "error"
    assert code["properties"]["security-severity"] == "9.5"


def test_a_finding_is_a_result_at_its_byte():
    one = finding("pickle-code", "models/a b.pkl", 2, got="a call of os.system")
    run = run_of(FileReport("b.md", "text", 5, "cd" * 32), file_of(one))
    (result,) = run["results"]
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["ruleId"] == "pickle-code"
    assert result["level"] == "error"
    assert result["message"]["text"] == (
        "models/a b.pkl, byte 2: expected only names that plain data is made with, got a call of "
        "os.system. Loading the file runs this, with arguments from the file: any program, as you."
    )
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "models/a%20b.pkl", "index": 1},
        "region": {"byteOffset": 2, "byteLength": 1},
    }


def test_an_artifact_has_its_digest_and_its_size():
    artifacts = run_of(file_of(), FileReport("b", "unknown", 0, ""))["artifacts"]
    assert artifacts[0]["hashes"] == {"sha-256": "ab" * 32}
    assert (artifacts[0]["length"], artifacts[0]["location"]) == (21, {"uri": "models/a%20b.pkl"})
    assert "hashes" not in artifacts[1]


def test_a_byte_of_a_member_is_no_byte_of_the_archive():
    one = finding("pickle-code", "a.zip!b.pkl", 2, got="a call of os.system")
    (location,) = result_of(one, path="a.zip")["locations"]
    assert "region" not in location["physicalLocation"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "a.zip"
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "a.zip!b.pkl"


def test_the_end_of_a_file_is_a_region_without_bytes():
    one = finding("cut-short", "a.pkl", 21, got="the end of the file")
    region = result_of(one, path="a.pkl")["locations"][0]["physicalLocation"]["region"]
    assert region == {"byteOffset": 21, "byteLength": 0}


def test_a_finding_about_the_whole_file_has_no_region():
    one = finding("link", "a", None, got="a symbolic link")
    assert "region" not in result_of(one, path="a")["locations"][0]["physicalLocation"]


def test_each_level_has_its_counterpart():
    levels = {
        level.label: result_of(Finding("limit", level, "models/a b.pkl"))["level"]
        for level in Level
    }
    assert levels == {
        "safe": "none", "note": "note", "suspicious": "warning", "unknown": "warning",
        "dangerous": "error",
    }  # fmt: skip


def test_words_from_a_file_are_neither_links_nor_placeholders():
    one = finding("pickle-name", "models/a b.pkl", 0, got="a call of [x](http://y) {0} \x1b[m")
    text = result_of(one)["message"]["text"]
    assert r"\[x\](http://y) {{0}} \x1b\[m" in text
    assert not re.search(r"(?<!\\)[\[\]]", text)


def test_a_path_is_spelt_byte_for_byte():
    paths = ("a:b#c?.pkl", "\udcff.pkl", "/tmp/a.pkl", "../a.pkl")
    artifacts = run_of(*(file_of(path=path) for path in paths))["artifacts"]
    assert [artifact["location"]["uri"] for artifact in artifacts] == [
        "a%3Ab%23c%3F.pkl", "%FF.pkl", "file:///tmp/a.pkl", "../a.pkl"
    ]  # fmt: skip


def test_the_same_report_gives_the_same_text():
    report = Report((file_of(finding("pickle-code", "models/a b.pkl", 2, got="x")),))
    assert to_sarif(report, version="1") == to_sarif(report, version="1")
