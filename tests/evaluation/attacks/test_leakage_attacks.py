"""The two attacks on releases with known leaks."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable
from synthgen.evaluation.attacks import evidence
from synthgen.evaluation.base import Estimate, Inputs, MetricResult
from synthgen.evaluation.leakage import classifier, density_ratio, nearest_neighbour
from synthgen.evaluation.statistics.patients import one_record_each

Build = Callable[..., Inputs]
Rows = Callable[[int, int], pd.DataFrame]
ATTACKS = [density_ratio, nearest_neighbour]


def attacked(attack: ModuleType, inputs: Inputs) -> dict[str, Estimate]:
    result: MetricResult = attack.evaluate(inputs, rng=np.random.default_rng(0))
    assert result.status == "ok"
    return dict(result.estimates)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_copies_are_found_and_found_less_the_fewer_there_are(
    attack: ModuleType, build: Build, rows: Rows
) -> None:
    found = []
    for share in (0.0, 0.3, 1.0):

        def mixed(train: RealTable, n: int, share: float = share) -> pd.DataFrame:
            copied = one_record_each(train, int(share * n), rng=np.random.default_rng(1))
            return pd.concat([copied, rows(n - len(copied), 900)], ignore_index=True)

        estimates = attacked(attack, build(mixed, n=1500))
        found.append(estimates["advantage"])
    assert found[0].low <= 0.02
    assert found[0].value < found[1].value < found[2].value
    assert found[1].low > 0.09
    assert found[2].low > 0.5
    assert estimates["beyond_claim_10pct"].low > 0


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_results_carry_baseline_control_caps_and_groups(attack: ModuleType, build: Build, rows: Rows) -> None:
    inputs = build(lambda train, n: rows(n, 901), n=1000)
    result = attack.evaluate(inputs, rng=np.random.default_rng(0))
    assert result.baseline == 0.5
    assert result.control == pytest.approx(0.5, abs=0.15)
    assert result.details["caps"]["members"] == 1000
    assert result.groups["auc"]["sex=F"].status == "ok"
    assert result.details["control"]["detected"] is True


def test_attacks_share_one_search_and_one_forest_a_table(
    build: Build, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: list[int] = []
    forest = evidence.probability_synthetic

    def counted(*tables: Any, trees: int) -> np.ndarray:
        grown.append(trees)
        return forest(*tables, trees=trees)

    monkeypatch.setattr(evidence, "probability_synthetic", counted)
    inputs = build(lambda train, n: rows(n, 902), n=300)
    for attack in (*ATTACKS, classifier):
        attacked(attack, inputs)
    assert grown == [evidence.TREES, evidence.CONTROL_TREES]  # as released, and with planted copies
    around, tables = evidence.evidence(inputs), (inputs.train.frame, inputs.holdout.frame)
    both = pd.concat(tables, ignore_index=True)
    close, far = around.distances(inputs.train.frame, both)
    assert close[: len(tables[0]), 0].max() < 2e-3
    assert (np.diff(close, axis=1) >= 0).all()
    np.testing.assert_array_equal(far, around.distances(inputs.train.frame.iloc[:0], both)[1])


def test_nearest_is_the_brute_force_distance_across_chunks() -> None:
    rng = np.random.default_rng(0)
    points, base = rng.random((1500, 5), dtype=np.float32), rng.random((9000, 5), dtype=np.float32)
    expected = np.sqrt(((points[::100, None] - base[None]) ** 2).sum(axis=2).min(axis=1))
    np.testing.assert_allclose(nearest_neighbour.nearest(points, base)[::100], expected, atol=2e-3)
    assert nearest_neighbour.nearest(base[:3], base).max() < 2e-3
