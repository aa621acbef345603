"""Intervals from refits on fifths, where records, patients and both together add errors of known size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from synthgen.evaluation.learners.refits import SPLITS, from_fifths, from_fifths_and_halves, parts
from synthgen.evaluation.learners.tabular import ARMS
from synthgen.evaluation.statistics.patients import half_samples


def drawn(
    rng: np.random.Generator,
    *,
    records: float,
    patients: float,
    both: float = 0.0,
    n: int = 100,
) -> Any:
    """A figure of truth 0: an error of the training records in each arm, alike for all patients, one a
    patient, and one of each arm's learners on each patient, as large for learners of a fifth."""
    effects = rng.normal(0, records * np.sqrt(5 / 2), (5, len(ARMS)))
    whole, *refits = (
        SimpleNamespace(
            n_units=n,
            effect=dict(zip(ARMS, effect, strict=True)),
            single={arm: rng.normal(0, both * np.sqrt(n / 2), n) for arm in ARMS},
        )
        for effect in (effects.mean(axis=0), *effects)
    )
    of_patients = rng.normal(0, patients * np.sqrt(n), n)

    def statistic(found: Any, arm: str, draws: np.ndarray) -> np.ndarray:
        by_patient = found.single[arm] + of_patients * (arm == "synthetic")
        return np.asarray(found.effect[arm] + draws @ by_patient / draws.sum(axis=1))

    return from_fifths_and_halves(statistic, whole, refits, half_samples(n, SPLITS, rng=rng), n=n)


@pytest.mark.parametrize(
    ("records", "patients", "both"),
    [(1.0, 0.3, 0.0), (0.5, 1.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.0, 0.0, 1.0)],
)
def test_the_interval_covers_errors_of_records_and_of_patients_and_of_both(
    records: float, patients: float, both: float
) -> None:
    """1,000 repetitions: .95 lies between .93 and .97 but for 4e-3; half of an interval covers .75.

    Errors on single patients that are counted twice are covered by .99, as are those counted five times.
    """
    rng = np.random.default_rng(4)
    found = [drawn(rng, records=records, patients=patients, both=both) for _ in range(1000)]
    assert 0.93 <= np.mean([e.low <= 0 <= e.high for e in found]) <= 0.97
    assert np.mean([abs(e.value) <= (e.high - e.value) / 2 for e in found]) < 0.8


def test_degrees_of_freedom_are_four_an_arm_where_records_are_all_and_many_where_patients_are() -> None:
    rng = np.random.default_rng(5)
    freedom = [drawn(rng, records=1.0, patients=0.01).freedom for _ in range(50)]
    assert 4 <= min(freedom) < 6 < np.mean(freedom) < max(freedom) < 8.1
    assert np.median([drawn(rng, records=0.0, patients=1.0).freedom for _ in range(20)]) > 30


def test_a_sum_of_absolute_values_is_covered_by_halves_of_the_patients_and_not_by_fifths() -> None:
    """Ten cells of true error .1: among 20 patients chance outweighs it, among 50 less, among 100 little."""
    rng, n = np.random.default_rng(8), 100
    same = SimpleNamespace(n_units=n)
    found: list[Any] = []
    by_fifths: list[Any] = []
    for _ in range(300):
        cells = np.where(rng.random((n, 1)) * 10 // 1 == np.arange(10), 0.1 + rng.normal(0, 0.5, (n, 1)), 0.0)

        def statistic(_: Any, arm: str, draws: np.ndarray, cells: np.ndarray = cells) -> np.ndarray:
            error = np.asarray(np.abs(draws @ cells).sum(axis=1) / draws.sum(axis=1))
            return error if arm == "synthetic" else np.zeros(len(draws))

        found.append(
            from_fifths_and_halves(statistic, same, [same] * 5, half_samples(n, SPLITS, rng=rng), n=n)
        )
        by_fifths.append(
            from_fifths(
                lambda one, draws, of=statistic: of(one, "synthetic", draws),
                same,
                [same] * 5,
                parts(n, rng=rng),
                n=n,
            )
        )
    truth = np.mean([estimate.value for estimate in found])
    covered = [np.mean([e.low <= truth <= e.high for e in held]) for held in (found, by_fifths)]
    assert covered[0] > 0.9
    assert covered[1] < covered[0]


def test_a_figure_that_never_varies_has_an_interval_of_one_point() -> None:
    same = SimpleNamespace(n_units=50)
    held = half_samples(50, SPLITS, rng=np.random.default_rng(6))
    found = from_fifths_and_halves(lambda one, arm, draws: np.zeros(len(draws)), same, [same] * 5, held, n=50)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    held = parts(50, rng=np.random.default_rng(6))
    found = from_fifths(lambda one, draws: np.zeros(len(draws)), same, [same] * 5, held, n=50)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("records", "patients"), [(1.0, 0.3), (0.5, 1.0), (0.0, 1.0)])
def test_fifths_of_records_and_patients_at_once_cover_errors_of_both(records: float, patients: float) -> None:
    """1,000 repetitions: .95 lies between .93 and .97 but for 4e-3; half of an interval covers .75."""
    rng, n, found = np.random.default_rng(4), 100, []
    for _ in range(1000):
        effects = rng.normal(0, records * np.sqrt(5), 5)
        whole, *refits = (SimpleNamespace(n_units=n, effect=e) for e in (effects.mean(), *effects))
        single = rng.normal(0, patients * np.sqrt(n), n)

        def statistic(one: Any, draws: np.ndarray, single: np.ndarray = single) -> np.ndarray:
            return np.asarray(one.effect + draws @ single / draws.sum(axis=1))

        found.append(from_fifths(statistic, whole, refits, parts(n, rng=rng), n=n))
    assert 0.93 <= np.mean([e.low <= 0 <= e.high for e in found]) <= 0.97
    assert np.mean([abs(e.value) <= (e.high - e.value) / 2 for e in found]) < 0.8
    assert patients > 0.5 or np.median([e.freedom for e in found]) < 6
    assert records > 0.0 or np.median([e.freedom for e in found]) > 30
