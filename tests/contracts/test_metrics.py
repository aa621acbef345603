"""What every metric keeps to; a new file in `synthgen.evaluate` is found by itself."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.evaluate._base import HEADS, Claim, Estimate, Inputs, MetricResult
from synthgen.evaluate._run import PACKAGE, metric_names
from synthgen.evaluate._store import results_to_json
from synthgen.records import RealTable, SyntheticTable
from synthgen.schema import Schema

METRICS = metric_names()
FIELDS: list[dict[str, Any]] = [
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
    {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 120}, "role": "protected"},
    {"name": "lab", "type": "number", "constraints": {"minimum": 0.0, "maximum": 1.0}},
    {"name": "seen", "type": "date", "constraints": {"minimum": "2020-01-01", "maximum": "2020-12-31"}},
    {"name": "died", "type": "boolean", "role": "label"},
]
pytestmark = pytest.mark.parametrize("name", METRICS)


@pytest.fixture(scope="module")
def schema() -> Schema:
    text = json.dumps({"unit": {"column": "pid", "max_records": 2}, "fields": FIELDS})
    return Schema.model_validate_json(text)


def frame(schema: Schema, n: int, seed: int, *, missing: float = 0.1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for column in schema.columns:
        if column.kind == "category":
            values = np.array(column.labels, dtype=object)[rng.integers(0, len(column.labels), n)]
            values[rng.random(n) < missing] = None
            columns[column.name] = pd.Categorical(values, categories=list(column.labels))
        else:
            numbers = rng.uniform(column.minimum, column.maximum, n)
            numbers = np.floor(numbers) if column.kind != "number" else numbers
            columns[column.name] = np.where(rng.random(n) < missing, np.nan, numbers)
    return pd.DataFrame(columns)


def real(schema: Schema, n: int, seed: int, **more: Any) -> RealTable:
    return RealTable(schema, frame(schema, n, seed, **more), np.array([f"{seed}-{i // 2}" for i in range(n)]))


@pytest.fixture(scope="module")
def base(make: Callable[..., Inputs]) -> Inputs:
    """Return one set of inputs for all tests, so that learners are fitted once."""
    return make()


@pytest.fixture(scope="module")
def make(schema: Schema) -> Callable[..., Inputs]:
    def made(n: int = 400, **changes: Any) -> Inputs:
        given: dict[str, Any] = {
            "schema": schema,
            "train": real(schema, n, 1),
            "holdout": real(schema, n, 2),
            "reference": real(schema, n, 3),
            "synthetic": SyntheticTable(schema, frame(schema, n, 4)),
            "target": "died",
            "groups": ("sex", "age"),
            "claim": Claim(1.0, 1e-5),
        }
        return Inputs(**{**given, **changes})

    return made


def run(name: str, inputs: Inputs, seed: int = 0) -> MetricResult:
    result = plugins.load(PACKAGE, name).evaluate(inputs, rng=np.random.default_rng(seed))
    assert isinstance(result, MetricResult)
    return result


def estimates(result: MetricResult) -> Iterator[Estimate]:
    yield from result.estimates.values()
    for held in result.groups.values():
        yield from held.values()


def test_its_name_is_its_file_and_its_head_the_names_first_word(name: str, base: Inputs) -> None:
    result = run(name, base)
    assert result.name == name
    assert result.head == name.partition("_")[0]
    assert result.head in HEADS
    assert result.title
    assert result.definition


def test_it_takes_inputs_and_a_generator_and_says_so(name: str, make: Callable[..., Inputs]) -> None:
    function = plugins.load(PACKAGE, name).evaluate
    assert list(inspect.signature(function).parameters) == ["inputs", "rng"]
    assert "rng:" in (function.__doc__ or "")
    assert "Returns:" in (function.__doc__ or "")


def test_every_number_lies_in_its_interval_or_is_insufficient(name: str, base: Inputs) -> None:
    for estimate in estimates(run(name, base)):
        if estimate.status == "ok":
            assert estimate.low <= estimate.value <= estimate.high
        else:
            assert np.isnan([estimate.value, estimate.low, estimate.high]).all()


def test_the_same_seed_gives_the_same_result_and_the_inputs_stay_as_they_were(
    name: str, base: Inputs
) -> None:
    before = [table.frame.copy() for table in (base.train, base.holdout, base.reference, base.synthetic)]
    first, again = run(name, base), run(name, replace(base))
    assert results_to_json([first]) == results_to_json([again])
    for kept, table in zip(before, (base.train, base.holdout, base.reference, base.synthetic), strict=True):
        pd.testing.assert_frame_equal(kept, table.frame)


def test_it_draws_from_its_generator_only(name: str, make: Callable[..., Inputs]) -> None:
    np.random.seed(1)  # noqa: NPY002 - shows that the global generator is not touched
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    run(name, make(n=120))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_its_result_is_plain_json(name: str, base: Inputs) -> None:
    json.dumps(results_to_json([run(name, base)]), allow_nan=False)


def test_no_result_shows_a_unit(name: str, base: Inputs) -> None:
    secret = replace(base.train, units=np.array([f"secret{unit}" for unit in base.train.units]))
    assert "secret" not in json.dumps(results_to_json([run(name, replace(base, train=secret))]))


@pytest.mark.parametrize("n", [2, 6, 60])
def test_a_tiny_cohort_gives_an_answer_or_says_that_it_cannot(
    name: str, n: int, make: Callable[..., Inputs]
) -> None:
    result = run(name, make(n=n))
    assert result.status in ("ok", "insufficient", "not-applicable")
    assert result.status == "ok" or result.note


def test_an_empty_synthetic_table_is_no_crash_and_no_pass(
    name: str, schema: Schema, make: Callable[..., Inputs]
) -> None:
    result = run(name, make(synthetic=SyntheticTable(schema, frame(schema, 0, 0))))
    if result.reads_real and result.head != "leakage":
        assert result.status != "ok"


@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_columns_without_and_of_nothing_but_missing_values_are_no_crash(
    name: str, missing: float, schema: Schema, make: Callable[..., Inputs]
) -> None:
    tables = {part: real(schema, 200, 7, missing=missing) for part in ("train", "holdout", "reference")}
    run(name, make(synthetic=SyntheticTable(schema, frame(schema, 200, 8, missing=missing)), **tables))


def test_a_table_of_one_column_is_no_crash(name: str, make: Callable[..., Inputs]) -> None:
    text = json.dumps({"unit": {"column": "pid", "max_records": 2}, "fields": [FIELDS[0], FIELDS[1]]})
    narrow = Schema.model_validate_json(text)
    tables = {part: real(narrow, 200, i) for i, part in enumerate(("train", "holdout", "reference"))}
    synthetic = SyntheticTable(narrow, frame(narrow, 200, 9))
    run(name, make(schema=narrow, synthetic=synthetic, target="sex", groups=("sex",), **tables))


def test_it_reads_real_records_unless_it_says_that_it_does_not(
    name: str, schema: Schema, base: Inputs
) -> None:
    """What claims to read no real record may be published, so it must not change with them."""
    changed = replace(base, train=real(schema, 300, 11), holdout=real(schema, 300, 12))
    if not run(name, base).reads_real:
        assert results_to_json([run(name, base)]) == results_to_json([run(name, changed)])
