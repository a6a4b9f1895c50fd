# SPDX-License-Identifier: Apache-2.0
"""CycloneDX: what version 1.6 asks for, components with digests, findings that refer to them."""

import json
import re

from rosin.scan import FileReport, Finding, Level, Report
from rosin.scan.cyclonedx import to_cyclonedx
from rosin.scan.findings import RULES, finding

CODE = finding("pickle-code", "m/evil.pkl!a", 2, got="a call of os.system")
FILES = (
    FileReport("m/evil.pkl", "pickle", 21, "ab" * 32, findings=(CODE,)),
    FileReport("m/good.pt", "pytorch-zip", 1234, "cd" * 32, tensors=3),
    FileReport("m/\x1bodd", "unknown", 0, "", findings=(Finding("link", Level.UNKNOWN, "m"),)),
)


def bill_of(*files):
    return json.loads(to_cyclonedx(Report(files), version="1.2.3"))


def properties(entry):
    return {one["name"]: one["value"] for one in entry["properties"]}


def test_the_head_is_that_of_version_1_6():
    bill = bill_of(*FILES)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    # The pattern of the published schema.
    pattern = r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    assert re.fullmatch(pattern, bill["serialNumber"])
    (tool,) = bill["metadata"]["tools"]["components"]
    assert (tool["name"], tool["version"]) == ("rosin", "1.2.3")


def test_each_file_is_a_component_with_its_digest():
    evil, good, odd = bill_of(*FILES)["components"]
    assert (evil["type"], good["type"]) == ("file", "machine-learning-model")
    assert evil["name"] == "m/evil.pkl"
    assert evil["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert properties(good) == {
        "rosin:scan:format": "pytorch-zip", "rosin:scan:size": "1234",
        "rosin:scan:tensors": "3", "rosin:scan:verdict": "safe",
    }  # fmt: skip
    assert odd["name"] == r"m/\x1bodd"
    assert "hashes" not in odd


def test_each_finding_is_a_vulnerability_of_its_file():
    bill = bill_of(*FILES)
    code, link = bill["vulnerabilities"]
    references = [component["bom-ref"] for component in bill["components"]]
    assert len(set(references)) == 3
    assert code["affects"] == [{"ref": references[0]}]
    assert link["affects"] == [{"ref": references[2]}]
    assert code["id"] == "pickle-code"
    assert code["ratings"][0]["severity"] == "critical"
    assert link["ratings"][0]["severity"] == "unknown"
    wanted = RULES["pickle-code"]
    assert code["description"] == f"Expected {wanted.expected}, got a call of os.system."
    assert code["detail"] == f"{wanted.danger}."
    assert code["recommendation"].lower() == f"{wanted.way_out}.".lower()
    assert properties(code) == {
        "rosin:scan:level": "dangerous", "rosin:scan:where": "m/evil.pkl!a, byte 2",
        "rosin:scan:byte": "2",
    }  # fmt: skip


def test_the_serial_number_is_that_of_the_contents():
    assert bill_of(*FILES) == bill_of(*FILES)
    assert bill_of(*FILES)["serialNumber"] != bill_of(*FILES[:2])["serialNumber"]
