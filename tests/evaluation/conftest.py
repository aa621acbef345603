"""A simulated cohort with a known joint distribution: several records a patient, a minority, a label."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.base import Claim, Inputs
from synthgen.evaluation.statistics.patients import one_record_each
from synthgen.schema.schema import Schema

FIELDS: list[dict[str, Any]] = [
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
    {"name": "origin", "type": "string", "role": "protected", "constraints": {"enum": ["A", "B", "C"]}},
    {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100}},
    {"name": "creatinine", "type": "number", "constraints": {"minimum": 0.0, "maximum": 10.0}},
    {"name": "sodium", "type": "number", "constraints": {"minimum": 110.0, "maximum": 170.0}},
    {"name": "ward", "type": "string", "constraints": {"enum": [f"w{i}" for i in range(8)]}},
    {"name": "emergency", "type": "boolean"},
    {"name": "died", "type": "boolean", "role": "label"},
]


def make_schema(fields: list[dict[str, Any]]) -> Schema:
    unit = {"column": "pid", "max_records": 4}
    return Schema.model_validate_json(json.dumps({"unit": unit, "fields": fields}))


@pytest.fixture(scope="session")
def with_rules() -> Callable[..., Schema]:
    """Return ``with_rules(schema, rule, ...)``: the same schema with hard rules, parsed anew."""

    def made(schema: Schema, *rules: str) -> Schema:
        content = schema.model_dump(mode="json", by_alias=True) | {"rules": list(rules)}
        return Schema.model_validate_json(json.dumps(content))

    return made


def canonical(schema: Schema, columns: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            column.name: pd.Categorical(columns[column.name], categories=list(column.labels))
            if column.kind == "category"
            else np.asarray(columns[column.name], dtype=float)
            for column in schema.columns
        }
    )


def simulate(n_patients: int, seed: int, schema: Schema) -> RealTable:
    """Draw patients with 1 to 4 records; death depends on age, creatinine, sodium and origin."""
    rng = np.random.default_rng(seed)
    k = rng.choice([1, 2, 3, 4], n_patients, p=[0.6, 0.25, 0.1, 0.05])
    owner = np.repeat(np.arange(n_patients), k)
    n = len(owner)
    sex = rng.choice(["F", "M"], n_patients)[owner]
    origin = rng.choice(["A", "B", "C"], n_patients, p=[0.65, 0.25, 0.1])[owner]
    age = np.clip(np.round(rng.normal(62, 15, n_patients)), 18, 100)[owner]
    frailty = rng.normal(0, 1, n_patients)[owner]
    creatinine = np.round(np.clip(np.exp(0.2 * frailty + 0.4 * rng.normal(0, 1, n)), 0, 10), 2)
    sodium = np.round(np.clip(138 - 2 * frailty + 3 * rng.normal(0, 1, n), 110, 170), 1)
    risk = 0.05 * (age - 62) + 1.2 * np.log(creatinine + 0.1) - 0.12 * (sodium - 138) + 0.5 * (origin == "C")
    ward = np.clip(np.round(risk + rng.normal(3.5, 1.5, n)), 0, 7).astype(int)
    died = rng.random(n) < 1 / (1 + np.exp(-(1.3 * risk - 0.3)))
    creatinine[rng.random(n) < 0.1] = np.nan
    columns = {
        "sex": sex,
        "origin": origin,
        "age": age,
        "creatinine": creatinine,
        "sodium": sodium,
        "ward": np.array([f"w{i}" for i in range(8)])[ward],
        "emergency": rng.random(n) < 0.2 + 0.4 * (ward > 3),
        "died": died,
    }
    return RealTable(schema, canonical(schema, columns), np.array([f"s{seed}p{i}" for i in owner]))


@pytest.fixture(scope="session")
def schema() -> Schema:
    return make_schema(FIELDS)


@pytest.fixture(scope="session")
def cohort(schema: Schema) -> Callable[[int, int], RealTable]:
    """Return ``cohort(n_patients, seed)``."""
    return lambda n_patients, seed: simulate(n_patients, seed, schema)


@pytest.fixture(scope="session")
def rows(cohort: Callable[[int, int], RealTable]) -> Callable[[int, int], pd.DataFrame]:
    """Return ``rows(n, seed)``: one record each of n fresh patients, as a perfect generator gives."""

    def draw(n: int, seed: int) -> pd.DataFrame:
        return one_record_each(cohort(n, seed), n, rng=np.random.default_rng(seed))

    return draw


@pytest.fixture(scope="session")
def build(cohort: Callable[[int, int], RealTable], schema: Schema) -> Callable[..., Inputs]:
    """Return ``build(make, n=..., seed=...)``, where ``make(train, n)`` returns the synthetic frame."""

    def made(
        make: Callable[[RealTable, int], pd.DataFrame], *, n: int = 3000, seed: int = 1, **changes: Any
    ) -> Inputs:
        train = cohort(n, 10 * seed)
        given: dict[str, Any] = {
            "schema": schema,
            "train": train,
            "holdout": cohort(n // 2, 10 * seed + 1),
            "reference": cohort(n // 2, 10 * seed + 2),
            "synthetic": SyntheticTable(schema, make(train, n).reset_index(drop=True)),
            "target": "died",
            "groups": ("sex", "origin"),
            "claim": Claim(epsilon=1.0, delta=1e-5),
        }
        return Inputs(**{**given, **changes})

    return made


@pytest.fixture(scope="session")
def tiny_schema() -> Schema:
    fields = [
        {"name": "pid", "type": "string", "role": "id"},
        {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
        {"name": "score", "type": "integer", "constraints": {"minimum": 0, "maximum": 3}},
        {"name": "lab", "type": "number", "constraints": {"minimum": 0.0, "maximum": 10.0}},
        {"name": "died", "type": "boolean", "role": "label"},
    ]
    return make_schema(fields)


@pytest.fixture(scope="session")
def tiny(tiny_schema: Schema) -> Callable[..., Any]:
    """Return ``tiny(rows, units)``: a table of hand-written rows (sex, score, lab, died)."""

    def made(rows: list[tuple[Any, ...]], units: list[str] | None = None) -> RealTable | SyntheticTable:
        names = [column.name for column in tiny_schema.columns]
        columns = {name: [row[j] for row in rows] for j, name in enumerate(names)}
        frame = canonical(tiny_schema, columns)
        if units is None:
            return SyntheticTable(tiny_schema, frame)
        return RealTable(tiny_schema, frame, np.array(units))

    return made
