"""Intervals from refits on fifths, where records and patients add errors of known size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from synthgen.evaluate._patients import half_samples
from synthgen.evaluate._refits import SPLITS, from_fifths


def drawn(rng: np.random.Generator, *, records: float, patients: float, n: int = 100) -> Any:
    """A figure of truth 0: an error of the training records, alike for all patients, and one a patient."""
    refits = [SimpleNamespace(n_units=n, effect=e) for e in rng.normal(0, records * np.sqrt(5), 5)]
    whole = SimpleNamespace(n_units=n, effect=float(np.mean([refit.effect for refit in refits])))
    of_patients = rng.normal(0, patients * np.sqrt(n), n)

    def statistic(found: Any, draws: np.ndarray) -> np.ndarray:
        return np.asarray(found.effect + draws @ of_patients / draws.sum(axis=1))

    return from_fifths(statistic, whole, refits, half_samples(n, SPLITS, rng=rng), n=n)


@pytest.mark.parametrize(("records", "patients"), [(1.0, 0.3), (0.5, 1.0), (0.0, 1.0)])
def test_the_interval_covers_errors_of_records_and_of_patients(records: float, patients: float) -> None:
    """1,000 repetitions: .95 lies between .93 and .97 but for 4e-3; half of an interval covers .75."""
    rng = np.random.default_rng(4)
    found = [drawn(rng, records=records, patients=patients) for _ in range(1000)]
    assert 0.93 <= np.mean([e.low <= 0 <= e.high for e in found]) <= 0.97
    assert np.mean([abs(e.value) <= (e.high - e.value) / 2 for e in found]) < 0.8


def test_degrees_of_freedom_are_four_where_records_are_all_and_many_where_patients_are() -> None:
    rng = np.random.default_rng(5)
    assert drawn(rng, records=1.0, patients=0.01).freedom < 5
    assert np.median([drawn(rng, records=0.0, patients=1.0).freedom for _ in range(20)]) > 30


def test_a_figure_that_never_varies_has_an_interval_of_one_point() -> None:
    same = SimpleNamespace(n_units=50, effect=0.0)
    found = from_fifths(
        lambda one, draws: np.zeros(len(draws)),
        same,
        [same] * 5,
        half_samples(50, SPLITS, rng=np.random.default_rng(6)),
        n=50,
    )
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
