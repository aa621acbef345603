"""The mutation gate of the whole package: every listed defect can be planted, and is caught where it is."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.package_faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_listed_defect_can_be_planted_and_its_tests_exist(fault):
    """Who changes a line that a defect replaces writes the defect anew in `package_faults.py`."""
    for edit in fault.edits:
        text = (ROOT / "synthgen" / edit.file).read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, f"expected this text once in synthgen/{edit.file}:\n{edit.old}"
        assert edit.old != edit.new
        ast.parse(text.replace(edit.old, edit.new))
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        named = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        found = {node.name for node in ast.walk(named) if isinstance(node, ast.FunctionDef)}
        assert name.partition("[")[0] in found, f"expected {test} to exist"


def test_names_are_unique_and_each_kind_of_defect_is_there():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 56
    known = {"splits", "records", "weights", "denominators", "exact sums", "noise", "noise reuse", "seeds"}
    known |= {"votes", "clipping", "sampling rate", "warm starts", "PATE", "thresholds", "bounds", "ledger"}
    assert {fault.area for fault in FAULTS} == known | {
        "ledger order",
        "accountant",
        "record",
        "public files",
    }


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the script found: it runs in a process that has not imported the package."""
    results = tmp_path_factory.mktemp("planted") / "results.json"
    script = [
        sys.executable,
        "-W",
        "ignore",
        str(ROOT / "scripts" / "plant_faults.py"),
        "--json",
        str(results),
    ]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert results.exists(), done.stdout + done.stderr
    return {result["name"]: result for result in json.loads(results.read_text())}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_defect_is_caught_by_each_of_its_tests(fault, planted: dict[str, dict[str, Any]]):
    assert planted[fault.name]["caught"], planted[fault.name]["why"]


@pytest.mark.slow
def test_a_defect_that_breaks_nothing_is_not_called_caught():
    """The control: a comment is planted, the tests pass, and the script says so."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import plant_faults
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    assert plant_faults._together(["passed", "passed"]) == "passed"
    assert plant_faults._together(["passed", "failed"]) == "failed"
    assert plant_faults._together(["failed", "error"]) == "failed"
    assert plant_faults._together(["error"]) == "error"
    assert plant_faults._together([]) == "missing"
