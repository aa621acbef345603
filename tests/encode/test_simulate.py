"""The fake table keeps to the schema and is drawn from nothing else."""

import json

import numpy as np
import pandas as pd
import pytest

from synthgen import datasets
from synthgen.encode import simulate as simulate_module
from synthgen.encode.simulate import MISSING_RATE, simulate
from synthgen.errors import ConfigError
from synthgen.schema.schema import Schema, load_schema


def schema(fields, *, rules=(), unit=None):
    document = {"unit": unit or {"level": "row"}, "fields": fields, "rules": list(rules)}
    return Schema.model_validate_json(json.dumps(document))


FIELDS = [
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M"], "required": True}},
    {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 20}},
    {"name": "dose", "type": "number", "constraints": {"minimum": -1.5, "maximum": 2.5}},
    {"name": "stage", "type": "integer", "constraints": {"enum": [1, 2, 4]}, "outside": "other"},
    {"name": "seen", "type": "date", "constraints": {"minimum": "2020-01-01", "maximum": "2020-01-31"}},
    {"name": "died", "type": "boolean"},
]
UNIT = {"column": "pid", "max_records": 3}


def test_every_value_lies_in_its_domain_and_every_value_of_a_small_domain_occurs():
    frame = simulate(schema(FIELDS, unit=UNIT), 5_000, rng=np.random.default_rng(0)).frame
    assert set(frame.age.dropna()) == {18, 19, 20}
    assert frame.dose.min() >= -1.5
    assert frame.dose.max() <= 2.5
    assert set(frame.stage.dropna()) == {1, 2, 4, "other"}
    assert frame.seen.nunique() == 31
    assert set(frame.died.dropna()) == {False, True}


def test_nullable_columns_miss_at_the_stated_rate_and_required_ones_never():
    # false alarms 1e-4 a column: 4 standard errors of a binomial
    n = 20_000
    frame = simulate(schema(FIELDS, unit=UNIT), n, rng=np.random.default_rng(1)).frame
    rates = frame.isna().mean()
    bound = 4 * np.sqrt(MISSING_RATE * (1 - MISSING_RATE) / n)
    assert rates["sex"] == 0
    nullable = rates.drop("sex")
    assert (nullable - MISSING_RATE).abs().max() < bound
    assert (nullable - 2 * MISSING_RATE).abs().min() > bound  # the test can fail: a doubled rate would


def test_patients_have_one_to_max_records_records_and_share_an_id():
    table = simulate(schema(FIELDS, unit=UNIT), 3_000, rng=np.random.default_rng(2)).to_pandas()
    sizes = table.groupby("pid").size()
    assert set(sizes) == {1, 2, 3}
    assert table.pid.iloc[0] == "S00000001"


def test_rules_hold_for_every_record_and_would_not_without_the_redraw():
    rules = ["died implies stage == 4", "age == 18 implies not died"]
    ruled = schema(FIELDS, unit=UNIT, rules=rules)
    frame = simulate(ruled, 2_000, rng=np.random.default_rng(3)).frame
    free = simulate(schema(FIELDS, unit=UNIT), 2_000, rng=np.random.default_rng(3)).frame
    assert [rule.violated(frame).sum() for rule in ruled.parsed_rules] == [0, 0]
    assert all(rule.violated(free).sum() > 100 for rule in ruled.parsed_rules)


def test_rules_that_random_records_almost_never_meet_are_an_error_with_a_next_step(monkeypatch):
    monkeypatch.setattr(simulate_module, "MAX_ROUNDS", 3)
    rare = [{"name": f"c{i}", "type": "boolean", "constraints": {"required": True}} for i in range(16)]
    ruled = schema(rare, rules=[" and ".join(f"c{i}" for i in range(16)) + " or c0 and not c0"])
    with pytest.raises(ConfigError, match="contradict"):
        simulate(ruled, 10, rng=np.random.default_rng(0))


def test_the_same_seed_draws_the_same_table():
    shape = schema(FIELDS, unit=UNIT)
    one, two, other = (simulate(shape, 50, rng=np.random.default_rng(s)).to_pandas() for s in (7, 7, 8))
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(other)


def test_no_records_are_refused():
    with pytest.raises(ValueError, match="n_records"):
        simulate(schema(FIELDS, unit=UNIT), 0, rng=np.random.default_rng(0))


def test_an_incomplete_schema_is_refused_by_column():
    with pytest.raises(ConfigError, match="'note'"):
        simulate(schema([{"name": "note", "type": "string"}]), 5, rng=np.random.default_rng(0))


def test_a_fake_demo_table_keeps_the_demo_rules():
    demo = load_schema(datasets.path("diabetes130") / "encounters.schema.yaml")
    table = simulate(demo, 5_000, rng=np.random.default_rng(4))
    assert list(table.to_pandas().columns) == [field.name for field in demo.fields]
    assert [rule.violated(table.frame).sum() for rule in demo.parsed_rules] == [0, 0]
