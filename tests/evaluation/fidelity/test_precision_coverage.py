"""Precision and coverage against brute force; each sees the fault that it is about, and not the other's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synthgen.data.tables import SyntheticTable
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.fidelity import precision_coverage
from synthgen.evaluation.statistics.intervals import from_halves, wilson
from synthgen.evaluation.statistics.manifold import (
    SPLITS,
    Places,
    compare,
    density,
    in_halves,
    radii,
    share,
    share_ratio,
    squared_distances,
)

Build = Callable[..., Inputs]
Rows = Callable[[int, int], pd.DataFrame]


def run(inputs: Inputs) -> MetricResult:
    return precision_coverage.evaluate(inputs, rng=np.random.default_rng(0))


def naive(real: np.ndarray, other: np.ndarray, k: int) -> dict[str, float]:
    """The three figures of Naeem et al., point by point."""
    reach = [sorted(float(np.linalg.norm(x - y)) for y in real)[k] for x in real]
    inside = [
        [float(np.linalg.norm(x - y)) <= r + 1e-9 for y in other] for x, r in zip(real, reach, strict=True)
    ]
    balls = [sum(column) for column in zip(*inside, strict=True)]
    return {
        "precision": float(np.mean([n > 0 for n in balls])),
        "density": float(np.mean(balls)) / k,
        "coverage": float(np.mean([any(row) for row in inside])),
    }


@pytest.mark.parametrize("grid", [False, True])
def test_figures_are_those_of_brute_force_also_where_points_coincide(grid: bool) -> None:
    rng = np.random.default_rng(0)
    real, other = rng.normal(size=(60, 3)), 1.5 * rng.normal(size=(45, 3))
    if grid:
        real, other = np.round(real), np.round(other)
    found = compare(squared_distances(real, other), radii(squared_distances(real, real), k=5), k=5)
    assert found == pytest.approx(naive(real, other, 5))


def test_a_split_looks_at_two_halves_that_share_no_point() -> None:
    seen: list[set[int]] = []

    def figures(places: dict[str, np.ndarray]) -> dict[str, float]:
        seen.append(set(places["a"].tolist()))
        return {"size": float(len(places["a"]))}

    draws = in_halves(figures, {"a": np.arange(10, 21)}, rng=np.random.default_rng(1))["size"]
    assert draws.tolist() == [11] + 2 * SPLITS * [5]
    assert seen[0] == set(range(10, 21))
    assert not any(
        first & other for first, other in zip(seen[1 : 1 + SPLITS], seen[1 + SPLITS :], strict=True)
    )
    assert len({frozenset(half) for half in seen}) > SPLITS


def test_two_equal_samples_have_the_known_coverage() -> None:
    """1 - 2^-k in the limit of equal sizes (Naeem et al., section 3.2): .969 for k = 5; deviation .004."""
    rng = np.random.default_rng(2)
    real, other = rng.normal(size=(3000, 2)), rng.normal(size=(3000, 2))
    found = compare(squared_distances(real, other), radii(squared_distances(real, real)))
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=0.013)
    assert found["density"] == pytest.approx(1.0, abs=0.05)


def test_a_dropped_group_has_no_coverage_and_an_interval_that_is_not_a_point() -> None:
    nothing = compare(np.zeros((80, 0)), np.ones(80))
    none, base = {key: np.full(1 + 2 * SPLITS, value) for key, value in nothing.items()}, np.full(41, 0.97)
    for found in (share_ratio(none["coverage"], base, 80), share(none["coverage"], 80)):
        assert found.value == found.low == 0.0
        assert 0.0 < found.high < 0.1
    assert share_ratio(none["precision"], base, 80).status == "insufficient"
    assert share(none["precision"], 80).status == "insufficient"
    assert density(none["density"], 80).status == "insufficient"


def test_independent_points_have_wilsons_interval_and_points_that_fall_out_in_twos_a_wider_one() -> None:
    halves = np.random.default_rng(5).binomial(100, 0.9, size=2 * SPLITS) / 100
    steps = np.mean((halves[:SPLITS] - halves[SPLITS:]) ** 2) / 2
    spread, draws = halves.mean() * (1 - halves.mean()), np.concatenate([[0.9], halves])
    found = share(draws, 200)
    freedom = 1 / (1 / 199 + 1 / SPLITS)
    size = spread / steps * 2 * (1.959964 / stats.t.ppf(0.975, freedom)) ** 2
    assert (found.low, found.high) == pytest.approx(wilson(0.9 * size, size))
    twice = np.concatenate([[0.9], 0.9 + np.sqrt(2) * (halves - 0.9)])
    assert share(twice, 200).low < found.low


def test_a_share_that_is_high_by_chance_has_no_narrow_interval() -> None:
    """Sixty points: none of 400 truths may lie below Wilson's interval but 1 %, of the halves' own 3 % do.

    The truth is the chance that a point's five nearest of all others are its own kind. False alarms 1e-3.
    """
    rng, n = np.random.default_rng(6), 60
    truth = 1 - float(np.prod((n - 1 - np.arange(5)) / (2 * n - 1 - np.arange(5))))
    ends: dict[str, list[tuple[float, float]]] = {"wilson": [], "plain": []}
    for _ in range(400):
        real, other = rng.normal(size=(2, n, 2))
        between, across = squared_distances(real, real), squared_distances(real, other)

        def figures(
            places: Places, between: np.ndarray = between, across: np.ndarray = across
        ) -> dict[str, float]:
            mine = places["real"]
            return compare(across[np.ix_(mine, places["other"])], radii(between[np.ix_(mine, mine)]))

        draws = in_halves(figures, {"real": np.arange(n), "other": np.arange(n)}, rng=rng)["coverage"]
        for name, found in (("wilson", share(draws, n)), ("plain", from_halves(draws, n=n, units=n))):
            ends[name].append((found.low, found.high))
    low, high = (np.array(ends["wilson"])[:, i] for i in (0, 1))
    assert 0.915 <= np.mean((low <= truth) & (truth <= high)) <= 0.985
    assert np.mean(truth < low) < 0.01
    assert np.mean(truth < np.array(ends["plain"])[:, 0]) > 0.025


def test_mode_collapse_costs_coverage_and_no_precision(build: Build, rows: Rows) -> None:
    def collapsed(train: object, n: int) -> pd.DataFrame:
        drawn = rows(4 * n, 50)
        typical = drawn[drawn["ward"].isin(["w3", "w4"]) & (drawn["origin"] == "A")]
        return typical.iloc[np.random.default_rng(1).integers(0, len(typical), n)]

    found = run(build(collapsed, n=3000)).estimates
    assert found["coverage.ratio"].high < 0.5
    assert found["precision.ratio"].low > 0.95


def test_broadened_noise_costs_precision(build: Build, rows: Rows) -> None:
    """A third of the records have numbers from the whole public range."""

    def broadened(train: object, n: int) -> pd.DataFrame:
        drawn, rng = rows(n, 51), np.random.default_rng(2)
        wide = rng.random(n) < 0.35
        drawn["age"] = np.where(wide, rng.integers(18, 101, n), drawn["age"])
        drawn["creatinine"] = np.where(wide, rng.uniform(0, 10, n), drawn["creatinine"])
        drawn["sodium"] = np.where(wide, rng.uniform(110, 170, n), drawn["sodium"])
        return drawn

    found = run(build(broadened, n=3000)).estimates
    assert found["precision.ratio"].high < 0.8
    assert found["coverage.ratio"].value > found["precision.ratio"].value + 0.1


def test_a_collapsed_group_is_named_and_the_others_are_not(build: Build, rows: Rows) -> None:
    def men_alike(train: object, n: int) -> pd.DataFrame:
        drawn = rows(2 * n, 52)
        men = (drawn["sex"] == "M") & (drawn["ward"] == "w4") & (drawn["origin"] == "A")
        alike = drawn[men].iloc[np.random.default_rng(3).integers(0, int(men.sum()), n // 2)]
        return pd.concat([drawn[drawn["sex"] == "F"][: n - n // 2], alike], ignore_index=True)

    found = run(build(men_alike, n=3000)).groups["coverage"]
    assert found["sex=M"].high < 0.5
    assert found["sex=F"].low > 0.9


def test_a_small_group_and_a_small_table_are_insufficient(build: Build, rows: Rows) -> None:
    inputs = build(lambda train, n: rows(n, 53), n=300)
    assert run(inputs).groups["precision"]["origin=C"].status == "insufficient"
    few = replace(inputs, synthetic=SyntheticTable(inputs.schema, inputs.synthetic.frame[:40]))
    assert run(few).status == "insufficient"
