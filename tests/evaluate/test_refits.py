"""Intervals from refits on fifths, where records and patients add errors of known size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from synthgen.evaluate._patients import half_samples
from synthgen.evaluate._refits import SPLITS, from_fifths, from_fifths_and_halves, parts


def drawn(
    rng: np.random.Generator, *, records: float, patients: float, n: int = 100, halves: bool = False
) -> Any:
    """A figure of truth 0: an error of the training records, alike for all patients, and one a patient."""
    refits = [SimpleNamespace(n_units=n, effect=e) for e in rng.normal(0, records * np.sqrt(5), 5)]
    whole = SimpleNamespace(n_units=n, effect=float(np.mean([refit.effect for refit in refits])))
    of_patients = rng.normal(0, patients * np.sqrt(n), n)

    def statistic(found: Any, draws: np.ndarray) -> np.ndarray:
        return np.asarray(found.effect + draws @ of_patients / draws.sum(axis=1))

    if halves:
        return from_fifths_and_halves(statistic, whole, refits, half_samples(n, SPLITS, rng=rng), n=n)
    return from_fifths(statistic, whole, refits, parts(n, rng=rng), n=n)


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize(("records", "patients"), [(1.0, 0.3), (0.5, 1.0), (0.0, 1.0)])
def test_the_interval_covers_errors_of_records_and_of_patients(
    records: float, patients: float, halves: bool
) -> None:
    """1,000 repetitions: .95 lies between .93 and .97 but for 4e-3; half of an interval covers .75."""
    rng = np.random.default_rng(4)
    found = [drawn(rng, records=records, patients=patients, halves=halves) for _ in range(1000)]
    assert 0.93 <= np.mean([e.low <= 0 <= e.high for e in found]) <= 0.97
    assert np.mean([abs(e.value) <= (e.high - e.value) / 2 for e in found]) < 0.8


def test_degrees_of_freedom_are_four_where_records_are_all_and_many_where_patients_are() -> None:
    rng = np.random.default_rng(5)
    assert drawn(rng, records=1.0, patients=0.01).freedom < 5
    assert np.median([drawn(rng, records=0.0, patients=1.0).freedom for _ in range(20)]) > 30


def test_a_sum_of_absolute_values_is_covered_by_halves_of_the_patients_and_not_by_fifths() -> None:
    """Ten cells of true error .1: among 20 patients chance outweighs it, among 50 less, among 100 little."""
    rng, n = np.random.default_rng(8), 100
    same = SimpleNamespace(n_units=n)
    found: dict[bool, list[Any]] = {False: [], True: []}
    for _ in range(300):
        cells = np.where(rng.random((n, 1)) * 10 // 1 == np.arange(10), 0.1 + rng.normal(0, 0.5, (n, 1)), 0.0)

        def statistic(_: Any, draws: np.ndarray, cells: np.ndarray = cells) -> np.ndarray:
            return np.asarray(np.abs(draws @ cells).sum(axis=1) / draws.sum(axis=1))

        found[False].append(from_fifths(statistic, same, [same] * 5, parts(n, rng=rng), n=n))
        found[True].append(
            from_fifths_and_halves(statistic, same, [same] * 5, half_samples(n, SPLITS, rng=rng), n=n)
        )
    truth = np.mean([estimate.value for estimate in found[True]])
    covered = {key: np.mean([e.low <= truth <= e.high for e in held]) for key, held in found.items()}
    assert covered[True] > 0.9
    assert covered[False] < covered[True]


def test_a_figure_that_never_varies_has_an_interval_of_one_point() -> None:
    same = SimpleNamespace(n_units=50, effect=0.0)
    found = from_fifths(
        lambda one, draws: np.zeros(len(draws)),
        same,
        [same] * 5,
        parts(50, rng=np.random.default_rng(6)),
        n=50,
    )
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
