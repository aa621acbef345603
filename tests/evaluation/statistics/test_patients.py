"""Draws of whole patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from synthgen.evaluation.statistics.patients import (
    maximum_by_patient,
    multiplicities,
    one_record_each,
    sample_patients,
    sample_rows,
)


def test_one_record_each_draws_every_patient_once_and_their_records_evenly(tiny: Callable[..., Any]) -> None:
    """4,000 draws of 1 of 4 records: each share within .025 of .25 but for 1e-3."""
    rows = [("F", i % 4, float(i), True) for i in range(5)]
    table, rng = tiny(rows, ["a", "a", "a", "a", "b"]), np.random.default_rng(0)
    drawn = [one_record_each(table, 2, rng=rng)["lab"].to_numpy() for _ in range(4000)]
    assert all(4.0 in lab and len(lab) == 2 for lab in drawn)
    mine = np.concatenate([lab[lab < 4] for lab in drawn])
    shares = np.bincount(mine.astype(int), minlength=4) / 4000
    assert np.abs(shares - 0.25).max() < 0.025


def test_sampling_patients_keeps_all_records_of_each(tiny: Callable[..., Any]) -> None:
    table = tiny([("F", 0, float(i), True) for i in range(6)], ["a", "b", "a", "c", "b", "a"])
    part = sample_patients(table, 2, rng=np.random.default_rng(1))
    kept = set(part.units)
    assert len(kept) == 2
    assert len(part) == sum(unit in kept for unit in table.units)
    assert sample_patients(table, 3, rng=np.random.default_rng(1)) is table


def test_sampling_rows_has_a_cap_and_no_repeats(tiny: Callable[..., Any]) -> None:
    frame = tiny([("F", 0, float(i), True) for i in range(6)]).frame
    assert sample_rows(frame, 4, rng=np.random.default_rng(0))["lab"].nunique() == 4
    assert len(sample_rows(frame, 9, rng=np.random.default_rng(0))) == 6


def test_bootstrap_draws_keep_the_number_of_patients_and_start_with_the_data() -> None:
    draws = multiplicities(7, 20, rng=np.random.default_rng(0))
    assert draws.shape == (21, 7)
    assert (draws[0] == 1).all()
    assert (draws.sum(axis=1) == 7).all()


def test_a_patients_score_is_the_largest_of_the_records() -> None:
    assert maximum_by_patient(np.array([1.0, 5.0, 2.0]), np.array([0, 1, 0]), 2).tolist() == [2.0, 5.0]
