"""Rules between columns hold in every record, whatever generator draws. Found by file name."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.data.tables import RealTable
from synthgen.generators.longitudinal.model import can_link, for_schema
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw, violations
from synthgen.schema.schema import Schema

NAMES = plugins.names("synthgen.generators.tabular")
QUICK = {"pretraining": 30, "steps": 5, "components": 50, "generator_steps": 5, "rounds": 2}
N = 600
RULES = [
    "diastolic < systolic",
    "admitted <= discharged",
    "total = ward + drugs",
    "died implies death = discharged",
]
FIELDS: list[dict[str, Any]] = [
    {"name": "systolic", "type": "integer", "constraints": {"minimum": 60, "maximum": 260}},
    {"name": "diastolic", "type": "integer", "constraints": {"minimum": 30, "maximum": 160}},
    {
        "name": "admitted",
        "type": "date",
        "constraints": {"minimum": "2010-01-01", "maximum": "2019-12-31", "required": True},
    },
    {
        "name": "discharged",
        "type": "date",
        "origin": "2010-01-01",
        "constraints": {"minimum": "2010-01-01", "maximum": "2020-12-31"},
    },
    {"name": "ward", "type": "number", "constraints": {"minimum": 0, "maximum": 20000}},
    {"name": "drugs", "type": "number", "constraints": {"minimum": 0, "maximum": 20000}},
    {"name": "total", "type": "number", "constraints": {"minimum": 0, "maximum": 40000}},
    {"name": "died", "type": "boolean", "role": "label", "constraints": {"required": True}},
    {"name": "death", "type": "date", "constraints": {"minimum": "2010-01-01", "maximum": "2020-12-31"}},
]
DAY_2010 = 14610.0


def schema_of(rules: list[str], unit: dict[str, Any] | None = None, fields: Any = FIELDS) -> Schema:
    unit = unit or {"column": "patient", "max_records": 1}
    document = {
        "unit": unit,
        "fields": [{"name": "patient", "type": "string", "role": "id"}, *fields],
        "rules": rules,
    }
    return Schema.model_validate_json(json.dumps(document))


def cohort(n: int = N) -> pd.DataFrame:
    """Return patients who keep the rules, with missing values."""
    rng = np.random.default_rng(0)
    systolic = np.clip(np.round(rng.normal(130, 20, n)), 60, 260)
    diastolic = np.minimum(np.clip(np.round(systolic * 0.6 + rng.normal(0, 8, n)), 30, 160), systolic - 1)
    admitted = rng.integers(14610, 18200, n).astype(float)
    discharged = np.minimum(admitted + np.round(rng.gamma(1.2, 40, n)), 18627) - DAY_2010
    severe = rng.normal(0, 1, n)
    ward = np.round(np.clip(np.exp(7 + severe / 2 + rng.normal(0, 0.5, n)), 0, 20000), 2)
    drugs = np.round(np.clip(np.exp(6 + severe / 2 + rng.normal(0, 0.7, n)), 0, 20000), 2)
    drugs[rng.random(n) < 0.3] = 0.0
    total = np.round(ward + drugs, 2)
    died = rng.random(n) < 1 / (1 + np.exp(2 - severe))
    death = np.where(died, discharged + DAY_2010, np.nan)
    columns = (systolic, diastolic, admitted, discharged, ward, drugs, total)
    names = [field["name"] for field in FIELDS[:7]]
    frame = pd.DataFrame(dict(zip(names, columns, strict=True)))
    frame.loc[rng.random(n) < 0.05, "diastolic"] = np.nan
    return frame.assign(died=pd.Categorical(died, categories=[False, True]), death=death)


def distance(one: pd.Series, other: pd.Series, n_bins: int = 10) -> float:
    """Return the total variation between two columns over the other's quantile bins, missing apart."""
    edges = np.unique(np.nanquantile(other, np.linspace(0, 1, n_bins + 1)))[1:-1]
    shares = []
    for values in (one.to_numpy(float), other.to_numpy(float)):
        cells = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
        shares.append(np.bincount(cells, minlength=len(edges) + 2) / len(values))
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


@pytest.mark.parametrize("name", NAMES)
def test_all_rules_hold_in_all_records_and_marginals_stay(name: str) -> None:
    schema, frame = schema_of(RULES), cohort()
    made = plugins.load("synthgen.generators.tabular", name).Config
    config = made(**{key: value for key, value in QUICK.items() if key in made.model_fields})
    plan = config.plan(schema, epsilon=8.0, delta=1e-6, patients=N)
    data = RealTable(schema, frame, np.array([f"p{i}" for i in range(N)], dtype=object))
    model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    raw = model.sample(4000, rng=np.random.default_rng(3))
    drawn = draw(model, schema, 4000, seed=3)
    assert violations(raw).mean() > 0.5  # the generator alone breaks the sum nearly always
    assert not violations(drawn).any()
    table = drawn.to_pandas()
    known = table.dropna(subset=["ward", "drugs", "total"])
    assert np.abs(known["total"] - known["ward"] - known["drugs"]).max() < 1e-6
    known = table.dropna(subset=["admitted", "discharged"])
    assert (known["admitted"] <= known["discharged"]).all()
    for column in raw.frame.columns.drop("died"):
        before, after = (distance(part.frame[column], frame[column]) for part in (raw, drawn))
        assert after < before + 0.08, column


LINKED = [name for name in NAMES if can_link(name)]
FEW = [name if name == "marginal" else pytest.param(name, marks=pytest.mark.slow) for name in LINKED]


@pytest.mark.parametrize("name", FEW)
def test_rules_between_time_static_and_other_columns_hold_in_linked_rows(name: str) -> None:
    fields = [
        {
            "name": "born",
            "type": "date",
            "static": True,
            "constraints": {"minimum": "1950-01-01", "maximum": "2015-12-31", "required": True},
        },
        *FIELDS[2:4],
        {"name": "stay", "type": "integer", "constraints": {"minimum": 0, "maximum": 4017}},
        *FIELDS[7:8],
    ]
    unit = {"column": "patient", "max_records": 3, "records": "linked", "order": "admitted"}
    rules = ["born <= admitted <= discharged", "stay = discharged - admitted"]
    schema, frame = schema_of(rules, unit, fields), cohort()
    units = np.array([f"p{i}" for i in np.random.default_rng(1).integers(0, 300, N)], dtype=object)
    born = pd.Series(frame["admitted"]).groupby(units).transform("min") - 1000
    stay = frame["discharged"] + DAY_2010 - frame["admitted"]
    linked = frame[["admitted", "discharged", "died"]].assign(born=born, stay=stay)
    made = plugins.load("synthgen.generators.tabular", name).Config
    config = for_schema(
        made(**{key: value for key, value in QUICK.items() if key in made.model_fields}), schema
    )
    plan = config.plan(schema, epsilon=8.0, delta=1e-6, patients=300)
    data = RealTable(schema, linked[[column.name for column in schema.columns]], units)
    model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    drawn = draw(model, schema, 200, seed=3)
    assert not violations(drawn).any()
    assert drawn.units is not None
    by_patient = drawn.frame.groupby(drawn.units)
    assert (by_patient["born"].nunique() == 1).all()
    assert by_patient["admitted"].apply(lambda times: times.is_monotonic_increasing).all()
