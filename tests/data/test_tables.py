"""The tables that pass from stage to stage: what they refuse, and what they write."""

import json

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable, SyntheticTable, require_columns, unit_texts
from synthgen.errors import DataError
from synthgen.schema.schema import Schema

FIELDS = [
    {"name": "died", "type": "boolean"},
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "smoker", "type": "boolean", "trueValues": ["Y", "1"], "falseValues": ["N"]},
    {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 120}},
    {"name": "visit", "type": "integer", "role": "id"},
    {"name": "stage", "type": "integer", "constraints": {"enum": [1, 2]}},
    {"name": "code", "type": "integer", "constraints": {"enum": [1, 2]}, "outside": "other"},
    {"name": "note", "type": "string", "role": "drop"},
    {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M"]}},
    {"name": "dose", "type": "number", "constraints": {"minimum": 0, "maximum": 9}},
    {
        "name": "seen",
        "type": "date",
        "origin": "2020-01-01",
        "constraints": {"minimum": "2020-01-01", "maximum": "2021-01-01"},
    },
    {
        "name": "left",
        "type": "date",
        "format": "%d.%m.%Y",
        "constraints": {"minimum": "1970-01-01", "maximum": "2021-01-01"},
    },
]


@pytest.fixture
def schema():
    document = {"unit": {"column": "pid", "max_records": 2}, "missingValues": ["", "?"], "fields": FIELDS}
    return Schema.model_validate_json(json.dumps(document))


@pytest.fixture
def frame(schema):
    labels = {c.name: list(c.labels) for c in schema.columns}
    values = {
        "died": [True, None],
        "smoker": [True, False],
        "stage": [2, None],
        "code": [1, "other"],
        "sex": ["M", None],
    }
    columns = {name: pd.Categorical(cells, categories=labels[name]) for name, cells in values.items()}
    numbers = {"age": [40.0, np.nan], "dose": [1.5, np.nan], "seen": [30.0, np.nan], "left": [0.0, np.nan]}
    return pd.DataFrame({c.name: columns.get(c.name, numbers.get(c.name)) for c in schema.columns})


def test_a_synthetic_table_is_written_as_the_input_was(schema, frame):
    table = SyntheticTable(schema, frame)
    written = table.to_pandas()
    assert list(written.columns) == table.columns == [f["name"] for f in FIELDS if f.get("role") != "drop"]
    first, second = written.iloc[0], written.iloc[1]
    assert first.drop("seen").to_dict() == {
        "died": True,
        "pid": "S00000001",
        "smoker": "Y",
        "age": 40,
        "visit": 1,
        "stage": 2,
        "code": "1",
        "sex": "M",
        "dose": 1.5,
        "left": "01.01.1970",
    }
    assert first.seen == pd.Timestamp("2020-01-31")
    assert second[["died", "age", "stage", "sex", "dose", "seen", "left"]].isna().all()
    assert second.code == "other"
    assert str(written.age.dtype) == "Int64"


def test_missing_cells_are_written_empty_and_never_as_the_word_nan(schema, frame):
    text = SyntheticTable(schema, frame).to_pandas().to_csv(index=False)
    assert text.splitlines()[2] == ",S00000002,N,,2,,other,,,,"


def test_records_of_a_synthetic_patient_share_the_patients_id_alone(schema, frame):
    written = SyntheticTable(schema, frame, units=np.array([1, 1])).to_pandas()
    assert written.pid.tolist() == ["S00000001", "S00000001"]
    assert written.visit.tolist() == [1, 2]


def test_one_unit_a_record_is_required(schema, frame):
    with pytest.raises(ValueError, match="one unit a record"):
        SyntheticTable(schema, frame, units=np.array([1]))
    with pytest.raises(ValueError, match="2 records, 1 units"):
        RealTable(schema, frame, np.array(["a"]))


def test_a_real_tables_text_shows_no_value_and_no_size(schema, frame):
    assert repr(RealTable(schema, frame, np.array(["zebra", "b"]))) == "RealTable(columns=9)"


def test_a_patients_records_share_one_weight(schema):
    table = RealTable(schema, pd.DataFrame({"x": range(4)}), np.array(["a", "b", "a", "a"], dtype=object))
    assert table.unit_weights().tolist() == [1 / 3, 1.0, 1 / 3, 1 / 3]
    kept = table.select(np.array([True, True, False, False]))
    assert kept.unit_weights().tolist() == [1.0, 1.0]
    assert kept.frame.index.tolist() == [0, 1]


def test_columns_must_be_the_schemas_unless_ids_may_lack(schema):
    names = [field["name"] for field in FIELDS]
    require_columns(names, schema, where="t.csv")
    fewer = [name for name in names if name not in ("pid", "visit", "note")]
    with pytest.raises(DataError, match=r"\['pid', 'visit', 'note'\]"):
        require_columns(fewer, schema, where="t.csv")
    require_columns(fewer, schema, where="t.csv", ids="optional")
    with pytest.raises(DataError, match="'extra'"):
        require_columns([*names, "extra"], schema, where="t.csv")


def test_a_first_line_without_any_known_column_is_not_repeated(schema):
    with pytest.raises(DataError, match="delimiter") as caught:
        require_columns(["Miller", "1960-05-01"], schema, where="t.csv")
    assert "Miller" not in str(caught.value)


def test_a_unit_is_the_same_text_however_the_file_holds_it(schema):
    assert unit_texts(pd.Series([1.0, np.nan, 2.5]), schema).tolist() == ["1", "", "2.5"]
    assert unit_texts(pd.Series([" 1", "?", None, " "], dtype=object), schema).tolist() == ["1", "", "", ""]
