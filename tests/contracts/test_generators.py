"""What every table generator keeps to. Found by file name: a new generator is tested by being there."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.data.tables import RealTable
from synthgen.errors import ConfigError
from synthgen.generators.base import GivenModel, TableConfig, TableModel
from synthgen.generators.longitudinal.model import can_link, for_schema
from synthgen.generators.saved_model import load_model, save_model
from synthgen.privacy.accountant import calibrate_rho, get_epsilon
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema

NAMES = plugins.names("synthgen.generators.tabular")
QUICK = {"pretraining": 30, "steps": 5}  # settings of generators that train; the contract holds for any
GIVEN = [name for name in NAMES if can_link(name)]
SCHEMA: dict[str, Any] = {
    "unit": {"column": "patient", "max_records": 3},
    "fields": [
        {"name": "patient", "type": "string", "role": "id"},
        {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 110}},
        {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
        {"name": "ill", "type": "boolean", "role": "label", "constraints": {"required": True}},
    ],
}


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.model_validate_json(json.dumps(SCHEMA))


@pytest.fixture(scope="module")
def fitted(schema: Schema) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    n = 900
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 111, n)),
            "sex": pd.Categorical.from_codes(rng.integers(-1, 2, n), categories=["F", "M"]),
            "ill": pd.Categorical.from_codes(rng.integers(0, 2, n), categories=[False, True]),
        }
    )
    data = RealTable(schema, frame, np.array([f"p{i // 3}" for i in range(n)], dtype=object))
    models = {}
    for name in NAMES:
        made = plugins.load("synthgen.generators.tabular", name).Config
        config = made(**{key: value for key, value in QUICK.items() if key in made.model_fields})
        assert isinstance(config, TableConfig)
        plan = config.plan(schema, epsilon=2.0, delta=1e-6, patients=300)
        models[name] = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    return models


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_keeps_to_its_epsilon_and_is_the_same_each_time(name: str, schema: Schema) -> None:
    config = plugins.load("synthgen.generators.tabular", name).Config()
    plans = [config.plan(schema, epsilon=0.7, delta=1e-6, patients=300) for _ in range(2)]
    assert plans[0] == plans[1]
    assert get_epsilon([plans[0].event], 1e-6, adaptive=True) <= 0.7
    json.dumps(dict(plans[0].parameters))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_records", [0, 1, 5000])
def test_samples_have_the_schemas_columns_and_domains(
    name: str, n_records: int, fitted: dict[str, Any], schema: Schema
) -> None:
    assert isinstance(fitted[name], TableModel)
    table = draw(fitted[name], schema, n_records, seed=1)
    assert list(table.to_pandas().columns) == [field.name for field in schema.fields]
    assert len(table) == n_records
    assert table.frame["age"].dropna().between(0, 110).all()
    assert not table.frame["ill"].isna().any()


@pytest.mark.parametrize("name", NAMES)
def test_conditions_are_exact_and_a_saved_model_draws_the_same(
    name: str, fitted: dict[str, Any], schema: Schema, tmp_path: Path
) -> None:
    save_model(fitted[name], schema, name, tmp_path)
    assert not [file for file in tmp_path.iterdir() if file.suffix not in (".json", ".safetensors")]
    model, loaded_schema, generator = load_model(tmp_path)
    assert (loaded_schema, generator) == (schema, name)
    tables = [draw(m, schema, 200, seed=4, where={"sex": "F"}) for m in (fitted[name], model)]
    assert tables[0].frame.equals(tables[1].frame)
    assert (tables[0].frame["sex"] == "F").all()


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_given_is_kept_record_by_record_and_the_rest_is_drawn(
    name: str, fitted: dict[str, Any], schema: Schema
) -> None:
    assert isinstance(fitted[name], GivenModel)
    known = draw(fitted[name], schema, 300, seed=2).frame[["ill", "age"]]
    tables = [fitted[name].sample_given(known, rng=np.random.default_rng(5)) for _ in range(2)]
    assert tables[0].frame[["ill", "age"]].equals(known)
    assert tables[0].frame.equals(tables[1].frame)
    assert list(tables[0].frame.columns) == ["age", "sex", "ill"]
    assert set(tables[0].frame["sex"].dropna()) == {"F", "M"}
    assert len(fitted[name].sample_given(known.iloc[:0], rng=np.random.default_rng(0))) == 0


@pytest.mark.parametrize("name", NAMES)
def test_linked_rows_stay_together_or_the_generator_is_refused(
    name: str, schema: Schema, tmp_path: Path
) -> None:
    time = {"name": "day", "type": "integer", "constraints": {"minimum": 0, "maximum": 99, "required": True}}
    unit = {"column": "patient", "max_records": 3, "records": "linked", "order": "day"}
    text = json.dumps({"unit": unit, "fields": [*SCHEMA["fields"], time]})
    linked = Schema.model_validate_json(text)
    made = plugins.load("synthgen.generators.tabular", name).Config
    config = made(**{key: value for key, value in QUICK.items() if key in made.model_fields})
    if name not in GIVEN:
        with pytest.raises(ConfigError, match="row before"):
            for_schema(config, linked)
        return
    rng, n = np.random.default_rng(0), 600
    frame = pd.DataFrame(
        {
            "age": rng.integers(0, 111, n).astype(float),
            "sex": pd.Categorical.from_codes(rng.integers(-1, 2, n), categories=["F", "M"]),
            "ill": pd.Categorical.from_codes(rng.integers(0, 2, n), categories=[False, True]),
            "day": rng.integers(0, 100, n).astype(float),
        }
    )
    data = RealTable(linked, frame, np.array([f"p{i}" for i in rng.integers(0, 300, n)], dtype=object))
    whole = for_schema(config, linked)
    plan = whole.plan(linked, epsilon=2.0, delta=1e-6, patients=300)
    assert get_epsilon([plan.event], 1e-6, adaptive=True) <= 2.0
    model = whole.fit(data, plan, noise=NoiseSource.for_tests(0))
    save_model(model, linked, name, tmp_path)
    again, _, _ = load_model(tmp_path)
    tables = [draw(m, linked, 100, seed=3) for m in (model, again)]
    assert tables[0].frame.equals(tables[1].frame)
    drawn = tables[0].to_pandas()
    assert drawn["patient"].nunique() == 100
    assert drawn.groupby("patient").size().max() <= 3
    assert drawn.groupby("patient")["day"].is_monotonic_increasing.all()


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_never_promises_a_count_less_noise_than_all_its_budget_could_buy(
    name: str, schema: Schema
) -> None:
    """`plan` and the report tell from these numbers what error a rate has."""
    config = plugins.load("synthgen.generators.tabular", name).Config()
    plan = config.plan(schema, epsilon=1.0, delta=1e-6, patients=300)
    told = [stage.noise for stage in plan.stages if stage.noise is not None]
    assert told
    assert min(told) >= 1.0 / math.sqrt(2.0 * calibrate_rho(1.0, 1e-6))
    assert sum(stage.share for stage in plan.stages) == pytest.approx(1.0)
