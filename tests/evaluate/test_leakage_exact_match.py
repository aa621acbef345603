"""Copies of unique records, counted by patient on a hand-made table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.evaluate import leakage_exact_match
from synthgen.evaluate._base import Inputs
from synthgen.schema import Schema


@pytest.fixture
def inputs(tiny: Callable[..., Any], tiny_schema: Schema) -> Inputs:
    """100 training patients, each a record of its own and a shared one; 60 holdout; 20 copied, 3 by luck."""
    own = [("F", 0, 0.01 * i, True) for i in range(100)]
    shared = [("M", 1, 5.0, False)] * 100
    held = [("F", 2, 0.01 * i, np.nan) for i in range(60)]
    train = tiny([*own, *shared], [f"t{i}" for i in range(100)] * 2)
    holdout = tiny(held, [f"h{i}" for i in range(60)])
    reference = tiny([("M", 1, 5.0, False)], ["r"])
    drawn = tiny([*own[:20], *held[:3], *shared[:50], ("M", 3, -0.0, True)])
    return Inputs(tiny_schema, train, holdout, reference, drawn)


def test_shares_are_of_patients_with_a_unique_record(inputs: Inputs) -> None:
    result = leakage_exact_match.evaluate(inputs, rng=np.random.default_rng(0))
    assert result.estimates["train"].value == pytest.approx(0.2)
    assert result.estimates["holdout"].value == pytest.approx(0.05)
    assert result.estimates["difference"].value == pytest.approx(0.15)
    assert result.estimates["difference"].low > 0
    assert result.control == pytest.approx(0.05)


def test_a_record_that_two_patients_share_is_nobodys(inputs: Inputs, tiny: Callable[..., Any]) -> None:
    also = tiny([("F", 0, 0.01 * i, True) for i in range(20)], [f"x{i}" for i in range(20)])
    result = leakage_exact_match.evaluate(replace(inputs, reference=also), rng=np.random.default_rng(0))
    assert result.estimates["train"].value == 0.0


def test_a_change_in_the_last_digit_is_no_exact_match(inputs: Inputs) -> None:
    frame = inputs.synthetic.frame.assign(lab=inputs.synthetic.frame["lab"] + 1e-9)
    changed = replace(inputs, synthetic=replace(inputs.synthetic, frame=frame))
    result = leakage_exact_match.evaluate(changed, rng=np.random.default_rng(0))
    assert result.estimates["train"].value == 0.0


def test_minus_zero_is_zero_and_missing_equals_missing(tiny: Callable[..., Any], inputs: Inputs) -> None:
    same = tiny([("M", 3, 0.0, True), ("M", np.nan, 1.0, True)]).frame
    other = tiny([("M", 3, -0.0, True), ("M", np.nan, 1.0, True)]).frame
    first, second = (leakage_exact_match._hashes(inputs, frame) for frame in (same, other))
    assert (first == second).all()


def test_the_same_record_of_one_patient_in_two_parts_of_a_table_counts_once(inputs: Inputs) -> None:
    twice = inputs.train.select(np.r_[np.arange(200)] < 200)
    assert leakage_exact_match.evaluate(replace(inputs, train=twice), rng=np.random.default_rng(0)).estimates[
        "train"
    ].value == pytest.approx(0.2)


def test_with_few_unique_records_there_is_no_answer(inputs: Inputs) -> None:
    few = inputs.holdout.select(np.arange(60) < 30)
    result = leakage_exact_match.evaluate(replace(inputs, holdout=few), rng=np.random.default_rng(0))
    assert result.status == "insufficient"
