"""What every metric keeps, whatever it measures. A new metric is found by its file name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.audit.bounds import OneRun
from synthgen.evaluation.audit.twin import TwinAudit
from synthgen.evaluation.audit.twin_inference import TwinInference
from synthgen.evaluation.base import HEADS, Claim, Inputs, MetricResult
from synthgen.evaluation.catalogue import load_metric, metric_names
from synthgen.evaluation.results_json import results_from_json, results_to_json
from synthgen.evaluation.run import evaluate_all, is_of_images
from synthgen.schema.schema import Schema

FIELDS: list[dict[str, Any]] = [
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
    {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100}},
    {"name": "lab", "type": "number", "constraints": {"minimum": 0.0, "maximum": 10.0}},
    {"name": "died", "type": "boolean", "role": "label"},
]
NO_RECORD = ("leakage_claim", "leakage_audit", "leakage_decimals", "utility_twin_inference")
"""What these look at is no record of anybody."""
AUDIT = TwinAudit(OneRun(100, 20, 11, 0.0, 2.6, 0.0, 1.7, 1.0), crowd=100, records=500)
NAMES = [name for name in metric_names() if not is_of_images(name)]


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.model_validate_json(
        json.dumps(
            {
                "unit": {"column": "pid", "max_records": 2},
                "fields": FIELDS,
                "rules": ["died implies age >= 18"],
            }
        )
    )


def draw(schema: Schema, n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, lab = rng.integers(18, 101, n).astype(float), np.round(rng.uniform(0, 10, n), 2)
    died = rng.random(n) < 1 / (1 + np.exp(-(age - 60) / 10))
    lab[rng.random(n) < 0.1] = np.nan
    sexes = pd.Categorical(rng.choice(["F", "M"], n), categories=["F", "M"])
    return pd.DataFrame(
        {"sex": sexes, "age": age, "lab": lab, "died": pd.Categorical(died, categories=[False, True])}
    )[[column.name for column in schema.columns]]


@pytest.fixture(scope="module")
def inputs(schema: Schema) -> Inputs:
    def real(n: int, seed: int) -> RealTable:
        frame = draw(schema, n, seed)
        return RealTable(
            schema, frame, np.array([f"secret-{seed}-{i // 2 if i < n // 3 else i}" for i in range(n)])
        )

    synthetic = SyntheticTable(schema, draw(schema, 400, 9))
    parts = real(600, 1), real(400, 2), real(300, 3)
    twins = AUDIT, TwinInference(0.95, 0.8, 60, 3, 600)
    return Inputs(schema, *parts, synthetic, "died", ("sex",), Claim(1.0, 1e-5), *twins)


def linked(inputs: Inputs) -> Inputs:
    """Return the same records as histories: what a metric of linked records is about."""
    unit = inputs.schema.unit.model_copy(update={"records": "linked"})
    schema = inputs.schema.model_copy(update={"unit": unit})
    parts = {
        part: replace(getattr(inputs, part), schema=schema) for part in ("train", "holdout", "reference")
    }
    units = 1 + np.arange(len(inputs.synthetic)) // 2
    return replace(
        inputs, schema=schema, synthetic=replace(inputs.synthetic, schema=schema, units=units), **parts
    )


def run(name: str, inputs: Inputs, seed: int = 0) -> MetricResult:
    metric = load_metric(name)
    if getattr(metric, "LINKED_ONLY", False) and len(inputs.schema.columns) > 1:
        inputs = linked(inputs)
    result: MetricResult = metric.evaluate(inputs, rng=np.random.default_rng(seed))
    return result


@pytest.mark.parametrize("name", [n for n in NAMES if getattr(load_metric(n), "LINKED_ONLY", False)])
def test_a_metric_of_linked_records_does_not_judge_single_ones(name: str, inputs: Inputs) -> None:
    result: MetricResult = load_metric(name).evaluate(inputs, rng=np.random.default_rng(0))
    assert (result.status, result.estimates) == ("not-applicable", {})
    assert result.note


def test_every_head_has_a_metric() -> None:
    assert {name.partition("_")[0] for name in NAMES} == set(HEADS)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_named_as_its_file_and_says_what_it_measures(name: str, inputs: Inputs) -> None:
    result = run(name, inputs)
    assert (result.name, result.head) == (name, name.partition("_")[0])
    assert result.title
    assert result.definition
    assert result.estimates
    assert result.status == "ok", result.note


@pytest.mark.parametrize("name", NAMES)
def test_the_same_inputs_and_seed_give_the_same_result(name: str, inputs: Inputs) -> None:
    first = results_to_json([run(name, inputs)])
    assert first == results_to_json([run(name, replace(inputs))])


@pytest.mark.parametrize("name", NAMES)
def test_every_number_lies_within_its_interval(name: str, inputs: Inputs) -> None:
    result = run(name, inputs)
    families = [result.estimates, *result.groups.values()]
    for estimate in (estimate for family in families for estimate in family.values()):
        if estimate.status == "ok":
            claimed = math.isfinite(estimate.low) or math.isfinite(estimate.high)
            assert not claimed or estimate.low <= estimate.value <= estimate.high
            assert math.isfinite(estimate.value)
        else:
            assert math.isnan(estimate.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_does_not_change_what_it_looks_at(name: str, inputs: Inputs) -> None:
    parts = (inputs.train, inputs.holdout, inputs.reference, inputs.synthetic)
    before = [part.frame.copy() for part in parts]
    run(name, inputs)
    for part, frame in zip(parts, before, strict=True):
        pd.testing.assert_frame_equal(part.frame, frame)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_inputs_lack_is_said_and_raises_nothing(name: str, inputs: Inputs) -> None:
    bare = run(name, replace(inputs, target=None, groups=(), claim=None))
    assert bare.status == "ok" or bare.note


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_RECORD])
def test_a_few_patients_or_no_synthetic_record_never_pass_for_an_answer(name: str, inputs: Inputs) -> None:
    few = np.arange(len(inputs.train)) < 12
    small = replace(
        inputs,
        train=inputs.train.select(few),
        holdout=inputs.holdout.select(few[: len(inputs.holdout)]),
        reference=inputs.reference.select(few[: len(inputs.reference)]),
    )
    empty = replace(inputs, synthetic=SyntheticTable(inputs.schema, inputs.synthetic.frame.iloc[:0]))
    assert run(name, small).status != "ok" or not run(name, small).reads_real
    if name != "leakage_exact_match":  # no record holds no copy, which is an answer
        assert run(name, empty).status != "ok"


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_one_column_raises_nothing(name: str) -> None:
    text = json.dumps({"unit": {"column": "pid", "max_records": 2}, "fields": FIELDS[:2]})
    narrow = Schema.model_validate_json(text)
    frame = pd.DataFrame({"sex": pd.Categorical(["F", "M"] * 100, categories=["F", "M"])})
    real = [RealTable(narrow, frame, np.array([f"{part}{i}" for i in range(200)])) for part in "abc"]
    run(name, Inputs(narrow, *real, SyntheticTable(narrow, frame), "sex", ("sex",), Claim(1.0, 1e-5)))


@pytest.mark.parametrize("name", NAMES)
def test_a_result_survives_json_and_names_no_patient(name: str, inputs: Inputs) -> None:
    result = run(name, inputs)
    text = json.dumps(results_to_json([result]), allow_nan=False)
    assert "secret" not in text
    again = results_to_json(results_from_json(json.loads(text)))
    assert json.loads(json.dumps(again)) == json.loads(text)


def test_all_metrics_run_in_alphabetical_order_and_report_progress(inputs: Inputs) -> None:
    told: list[tuple[str, float]] = []
    progress: Callable[[str, float], None] = lambda name, done: told.append((name, done))  # noqa: E731
    results = evaluate_all(inputs, seed=0, progress=progress)
    assert [result.name for result in results] == NAMES == sorted(NAMES)
    assert [name for name, _ in told] == [*NAMES, "done"]
    assert told[-1][1] == 1.0
