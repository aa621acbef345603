"""Total variation against brute force, its weights, its ceiling, its interval."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.fidelity import tvd
from synthgen.schema.schema import Schema

VALUES = [("F", 0, 1.0, True), ("M", 1, 2.0, False), ("M", 3, 9.0, True), ("F", 2, np.nan, False)]


def shares(rows: list[tuple[Any, ...]], weights: list[float], columns: tuple[int, ...]) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for row, weight in zip(rows, weights, strict=True):
        key = tuple("missing" if row[j] != row[j] else row[j] for j in columns)
        found[key] = found.get(key, 0.0) + weight / sum(weights)
    return found


def brute(
    rows: list[Any], weights: list[float], other: list[Any], other_weights: list[float], way: int
) -> float:
    distances = []
    for columns in combinations(range(4), way):
        p, q = shares(rows, weights, columns), shares(other, other_weights, columns)
        distances.append(sum(abs(p.get(k, 0) - q.get(k, 0)) for k in p.keys() | q.keys()) / 2)
    return float(np.mean(distances))


def test_total_variation_is_the_brute_force_mean_with_patients_weighing_one(
    tiny: Callable[..., Any], tiny_schema: Schema
) -> None:
    rng = np.random.default_rng(0)
    drawn = [VALUES[i] for i in rng.choice(4, 60, p=[0.4, 0.3, 0.2, 0.1])]
    held = [VALUES[i] for i in rng.choice(4, 90, p=[0.1, 0.2, 0.3, 0.4])]
    units = [f"h{i // 2}" if i < 60 else f"h{i}" for i in range(90)]
    weights = [0.5 if i < 60 else 1.0 for i in range(90)]
    real = tiny(drawn, [f"t{i}" for i in range(60)])
    inputs = Inputs(tiny_schema, real, tiny(held, units), real, tiny(drawn))
    result = tvd.evaluate(inputs, rng=np.random.default_rng(1))
    for way in (1, 2):
        expected = brute(drawn, [1.0] * 60, held, weights, way)
        assert result.estimates[f"tvd{way}"].value == pytest.approx(expected)
        assert result.estimates[f"ceiling{way}"].value == pytest.approx(expected)
        assert result.estimates[f"excess{way}"].value == pytest.approx(0, abs=1e-12)
    assert result.details["unweighted"]["tvd1"] == pytest.approx(
        brute(drawn, [1.0] * 60, held, [1.0] * 90, 1)
    )


def test_the_excess_of_an_independent_sample_lies_around_zero_and_its_interval_covers(
    build: Callable[..., Inputs], rows: Callable[[int, int], pd.DataFrame]
) -> None:
    """20 seeds: a mean beyond 3 standard errors has probability 3e-3, more than 4 misses have 3e-3."""
    found = []
    for seed in range(20):
        inputs = build(lambda train, n, seed=seed: rows(n, 300 + seed), n=400, seed=50 + seed)
        found.append(tvd.evaluate(inputs, rng=np.random.default_rng(seed)).estimates["excess2"])
    values = np.array([estimate.value for estimate in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(20)
    assert sum(not estimate.low <= 0 <= estimate.high for estimate in found) <= 4


def test_a_shifted_column_shows_in_the_excess_and_is_named_first(
    build: Callable[..., Inputs], rows: Callable[[int, int], pd.DataFrame]
) -> None:
    inputs = build(lambda train, n: rows(n, 400).assign(age=lambda f: f["age"].clip(upper=50)), n=1000)
    result = tvd.evaluate(inputs, rng=np.random.default_rng(0))
    assert result.details["columns"][0]["columns"] == ["age"]
    assert "age" in result.details["worst_pairs"][0]["columns"]
    assert result.estimates["excess1"].low > 0.05


def test_under_fifty_patients_there_is_no_answer(
    build: Callable[..., Inputs], rows: Callable[[int, int], pd.DataFrame]
) -> None:
    result = tvd.evaluate(build(lambda t, n: rows(n, 1), n=60), rng=np.random.default_rng(0))
    assert result.status == "insufficient"
    assert result.estimates["excess1"].status == "insufficient"
