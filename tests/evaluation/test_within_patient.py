"""Metrics of linked records, against brute force and with controls that they must catch."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.features.histories import Histories
from synthgen.evaluation.fidelity import lag_pairs, rows_per_patient
from synthgen.evaluation.run import evaluate_all
from synthgen.evaluation.statistics.patients import one_row_each
from synthgen.schema.schema import Schema

MOST = 5
METRICS = {"rows": rows_per_patient, "lag": lag_pairs}


def make_schema() -> Schema:
    fields: list[dict[str, Any]] = [
        {"name": "pid", "type": "string", "role": "id"},
        {"name": "sex", "type": "string", "static": True, "constraints": {"enum": ["F", "M"]}},
        {"name": "day", "type": "integer", "constraints": {"minimum": 0, "maximum": 999, "required": True}},
        {"name": "ward", "type": "string", "constraints": {"enum": ["a", "b", "c"]}},
        {"name": "pulse", "type": "number", "constraints": {"minimum": 0, "maximum": 10}},
    ]
    unit = {"column": "pid", "max_records": MOST, "records": "linked", "order": "day"}
    return Schema.model_validate_json(json.dumps({"unit": unit, "fields": fields}))


@pytest.fixture(scope="module")
def schema() -> Schema:
    return make_schema()


def simulate(n_patients: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Patients of 1 to 7 rows (the schema uses 5), persistent wards and pulses, rows in random order."""
    rng = np.random.default_rng(seed)
    k = rng.choice(np.arange(1, 8), n_patients, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])
    owner = np.repeat(np.arange(n_patients), k)
    n = len(owner)
    ward, pulse = rng.integers(0, 3, n), rng.uniform(0, 10, n)
    for i in range(1, n):
        if owner[i] == owner[i - 1]:
            ward[i] = ward[i - 1] if rng.random() < 0.8 else ward[i]
            pulse[i] = np.clip(pulse[i - 1] + rng.normal(0, 1), 0, 10)
    day = np.concatenate([np.sort(rng.choice(1000, size, replace=False)) for size in k]).astype(float)
    pulse[rng.random(n) < 0.1] = np.nan
    frame = pd.DataFrame(
        {
            "sex": pd.Categorical.from_codes(rng.integers(0, 2, n_patients)[owner], categories=["F", "M"]),
            "day": day,
            "ward": pd.Categorical.from_codes(ward, categories=["a", "b", "c"]),
            "pulse": pulse,
        }
    )
    order = rng.permutation(n)
    return frame.iloc[order].reset_index(drop=True), np.array([f"s{seed}p{i}" for i in owner], object)[order]


def real(schema: Schema, n: int, seed: int) -> RealTable:
    return RealTable(schema, *simulate(n, seed))


def synthetic(schema: Schema, n: int, seed: int) -> SyntheticTable:
    frame, units = simulate(n, seed)
    return SyntheticTable(schema, frame, units=pd.factorize(units)[0] + 1)


def inputs(schema: Schema, table: SyntheticTable, seed: int = 0, n: int = 1500) -> Inputs:
    parts = [real(schema, size, 100 * seed + i) for i, size in ((1, n), (2, n // 2), (3, n // 2))]
    return Inputs(schema, *parts[:2], parts[2], table)


def evaluate(metric: str, given: Inputs) -> MetricResult:
    return METRICS[metric].evaluate(given, rng=np.random.default_rng(0))


def test_histories_are_what_a_loop_over_patients_makes(schema: Schema) -> None:
    table = real(schema, 40, 5)
    found = Histories.of(table)
    frame = table.frame.assign(unit=table.units)
    for number, unit in enumerate(dict.fromkeys(table.units)):
        mine = frame[frame["unit"] == unit].sort_values("day").head(MOST)
        rows = found.frame[found.owner == number]
        assert rows["day"].tolist() == mine["day"].tolist()
        assert found.place[found.owner == number].tolist() == list(range(len(mine)))


def test_rows_per_patient_is_the_distance_of_two_histograms(schema: Schema) -> None:
    given = inputs(schema, synthetic(schema, 1500, 9))
    shares = []
    for table in (given.synthetic, given.holdout):
        sizes = np.minimum(pd.Series(table.units).value_counts(), MOST)
        shares.append(np.bincount(sizes, minlength=MOST + 1) / len(sizes))
    expected = np.abs(shares[0] - shares[1]).sum() / 2
    assert evaluate("rows", given).estimates["tvd"].value == pytest.approx(expected)


def test_lag_pairs_is_the_mean_distance_of_pair_tables_in_which_a_patient_weighs_one(schema: Schema) -> None:
    given = inputs(schema, synthetic(schema, 1000, 9))  # fewer than train, so that all of them are compared

    def tables(table: RealTable | SyntheticTable) -> list[dict[Any, float]]:
        frame = table.frame.assign(unit=table.units)
        out: list[dict[Any, float]] = [{}, {}, {}]
        n = 0
        for _, rows in frame.groupby("unit"):
            mine = rows.sort_values("day").head(MOST)
            if len(mine) < 2:
                continue
            n += 1
            wards = [str(w) for w in mine["ward"]]
            pulses = ["none" if np.isnan(p) else min(int(p), 9) for p in mine["pulse"]]
            gaps = np.floor(20 * np.log1p(np.diff(mine["day"])) / np.log1p(999)).astype(int)
            seen = [itertools.pairwise(wards), itertools.pairwise(pulses), gaps]
            for held, pairs in zip(out, seen, strict=True):
                for pair in pairs:
                    held[pair] = held.get(pair, 0.0) + 1 / (len(mine) - 1)
        return [{key: value / n for key, value in held.items()} for held in out]

    expected = [
        sum(abs(a.get(key, 0) - b.get(key, 0)) for key in {*a, *b}) / 2
        for a, b in zip(tables(given.synthetic), tables(given.holdout), strict=True)
    ]
    result = evaluate("lag", given)
    rows = {row["columns"][-1]: row["synthetic"] for row in result.details["worst_pairs"]}
    assert [rows[name] for name in ("ward", "pulse", "time to the next row")] == pytest.approx(expected)
    assert result.estimates["tvd"].value == pytest.approx(np.mean(expected))


def test_an_independent_sample_is_at_the_ceiling_and_broken_histories_are_not(schema: Schema) -> None:
    """Of 20 seeds, at most 4 intervals of an independent sample may miss 0: by chance in 1 of 400 runs."""
    missed = {"rows": 0, "lag": 0}
    for seed in range(20):
        given = inputs(schema, synthetic(schema, 400, 900 + seed), seed=seed, n=400)
        for name in missed:
            excess = evaluate(name, given).estimates["excess"]
            missed[name] += not excess.low <= 0 <= excess.high
    print(f"independent samples outside the interval, of 20: {missed}")
    assert max(missed.values()) <= 4
    good = synthetic(schema, 1500, 9)
    order = np.random.default_rng(0).permutation(len(good))
    shuffled = SyntheticTable(schema, good.frame.iloc[order].reset_index(drop=True), units=good.units)
    assert evaluate("lag", inputs(schema, shuffled)).estimates["excess"].low > 0.05
    single = SyntheticTable(schema, good.frame, units=1 + np.arange(len(good)))
    assert evaluate("rows", inputs(schema, single)).estimates["excess"].low > 0.3
    assert evaluate("rows", inputs(schema, shuffled)).estimates["excess"].low < 0.05


def test_other_metrics_see_one_row_of_each_synthetic_patient(schema: Schema, monkeypatch: Any) -> None:
    table = synthetic(schema, 300, 4)
    one = one_row_each(table, rng=np.random.default_rng(0))
    assert (len(one), one.units) == (300, None)
    plain = SyntheticTable(schema, table.frame)
    assert one_row_each(plain, rng=np.random.default_rng(0)) is plain
    seen: dict[str, int] = {}
    for metric in (rows_per_patient, __import__("synthgen.evaluation.fidelity.tvd", fromlist=["x"])):
        original = metric.evaluate

        def spy(given: Inputs, *, rng: Any, name: str = metric.__name__, of: Any = original) -> MetricResult:
            seen[name.rpartition(".")[2]] = len(given.synthetic)
            result: MetricResult = of(given, rng=rng)
            return result

        monkeypatch.setattr(metric, "evaluate", spy)
    evaluate_all(inputs(schema, table, n=300), seed=0)
    assert seen == {"rows_per_patient": len(table), "tvd": 300}
