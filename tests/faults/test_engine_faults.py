"""Test 19, the mutation gate: every known defect of private training is planted and caught, or refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.faults.engine_table import FAULTS
from tests.support import distributed_worker as world_worker

PLANTED = [fault for fault in FAULTS if fault.how == "planted"]
REFUSED = [fault for fault in FAULTS if fault.how == "refused"]


@pytest.mark.parametrize("fault", PLANTED, ids=lambda f: f"{f.number} {f.defect}")
def test_a_planted_defect_is_caught(fault):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fault.plant(), pytest.raises(AssertionError):
            fault.check()


@pytest.mark.parametrize("check", {f.check for f in PLANTED if f.check is not None}, ids=lambda c: c.__name__)
def test_each_check_holds_when_nothing_is_planted(check):
    check()


@pytest.mark.parametrize("fault", REFUSED, ids=lambda f: f"{f.number} {f.defect}")
def test_a_feature_without_a_proof_is_refused(fault):
    fault.check()


def test_every_known_defect_has_a_row_and_every_row_a_test():
    assert {fault.number for fault in FAULTS} >= set(range(1, 21))
    tests = Path(__file__).parents[1] / "dpsgd"
    for fault in FAULTS:
        file, _, name = fault.test.partition("::")
        assert f"def {name}(" in (tests / f"{file}.py").read_text(), fault.test


def test_defects_of_several_processes_are_planted_there():
    planted = {int(name.split()[0]) for name in world_worker.FAULTS if name[0].isdigit()}
    assert planted == {f.number for f in FAULTS if f.how == "two processes"} - {10}
    assert "noise of every process" in world_worker.FAULTS


def test_the_table_in_the_docs_is_the_one_that_is_tested():
    from scripts.list_faults import table

    docs = Path(__file__).parents[2] / "docs" / "guarantees.md"
    assert table() in docs.read_text(encoding="utf-8"), "paste what scripts/list_faults.py prints"
