"""Linked records on their way in: in order, the first of each patient, static where the schema says so."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable
from synthgen.encode.simulate import simulate
from synthgen.errors import DataError
from synthgen.ingest.tables.check import check
from synthgen.ingest.tables.linked import kept_in_order
from synthgen.privacy.splits import first_records
from synthgen.schema.schema import Schema

SCHEMA = {
    "unit": {"column": "pid", "max_records": 2, "records": "linked", "order": "day"},
    "fields": [
        {"name": "pid", "type": "string", "role": "id"},
        {"name": "sex", "type": "string", "static": True, "constraints": {"enum": ["F", "M"]}},
        {"name": "day", "type": "integer", "constraints": {"minimum": 0, "maximum": 9, "required": True}},
        {"name": "died", "type": "boolean", "constraints": {"required": True}},
    ],
    "rules": ["died implies day > 2"],
}


@pytest.fixture
def schema() -> Schema:
    return Schema.model_validate_json(json.dumps(SCHEMA))


def table(schema: Schema, rows: list[tuple[str, str | None, int]]) -> RealTable:
    sex = pd.Categorical([row[1] for row in rows], categories=["F", "M"])
    died = pd.Categorical([False] * len(rows), categories=[False, True])
    frame = pd.DataFrame({"sex": sex, "day": [float(row[2]) for row in rows], "died": died})
    return RealTable(schema, frame, np.array([row[0] for row in rows], dtype=object))


def test_the_first_records_in_time_are_kept_whatever_their_order_in_the_file(schema: Schema) -> None:
    rows = [("b", "M", 5), ("a", "F", 9), ("a", "F", 1), ("b", "M", 5), ("a", "F", 4)]
    kept = kept_in_order(table(schema, rows))
    assert list(zip(kept.units, kept.frame["day"], strict=True)) == [("b", 5), ("b", 5), ("a", 1), ("a", 4)]


@pytest.mark.parametrize("n_rows", [1, 2, 300])
def test_what_is_kept_of_a_patient_depends_on_no_other_patient(schema: Schema, n_rows: int) -> None:
    rng = np.random.default_rng(0)
    base = [(f"p{i}", "F", int(rng.integers(10))) for i in range(30) for _ in range(rng.integers(1, 5))]
    worst = [("worst", "M", int(rng.integers(10))) for _ in range(n_rows)]
    mixed = [(base + worst)[i] for i in rng.permutation(len(base) + n_rows)]
    alone, both = kept_in_order(table(schema, base)), kept_in_order(table(schema, mixed))
    for unit in set(alone.units):
        days = [part.frame["day"][part.units == unit].tolist() for part in (alone, both)]
        assert days[0] == days[1]
    assert (both.units == "worst").sum() == min(n_rows, 2)


def test_first_records_are_those_of_a_loop() -> None:
    units = np.random.default_rng(1).choice(["a", "b", "c", "d"], 50).astype(object)
    seen: dict[str, int] = {}
    expected = []
    for unit in units:
        seen[unit] = seen.get(unit, 0) + 1
        expected.append(seen[unit] <= 3)
    assert first_records(units, max_records=3).tolist() == expected
    assert first_records(np.array([], dtype=object), max_records=3).tolist() == []
    with pytest.raises(ValueError, match="max_records"):
        first_records(units, max_records=0)


def test_a_static_column_that_differs_is_refused_and_named_without_a_value(schema: Schema) -> None:
    with pytest.raises(DataError, match="column 'sex': 1 patients") as error:
        kept_in_order(table(schema, [("a", "F", 1), ("a", None, 2), ("b", "M", 3)]))
    assert "a" not in str(error.value).split()[-1]


def test_check_finds_it_too(schema: Schema, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("pid,sex,day,died\na,F,1,false\na,M,2,false\nb,M,3,false\n")
    found = [(v.column, v.rule, v.count) for v in check(path, schema)]
    assert found == [("sex", "static, and differs within a patient", 1)]


def test_a_simulated_table_keeps_patients_in_order_and_static_and_lawful(schema: Schema) -> None:
    drawn = simulate(schema, 400, rng=np.random.default_rng(0))
    frame = drawn.frame.assign(unit=drawn.units)
    assert frame.groupby("unit")["day"].is_monotonic_increasing.all()
    assert (frame.groupby("unit")["sex"].nunique(dropna=False) == 1).all()
    assert frame.groupby("unit").size().max() == 2
    assert (frame["day"][frame["died"].astype(bool)] > 2).all()
