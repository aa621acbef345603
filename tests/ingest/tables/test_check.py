"""Drafts of a schema, and the list of what a table does against one."""

import csv
import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthgen import datasets
from synthgen.deidentify.identifier_values import Found
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.schema_draft import from_file
from synthgen.ingest.tables import files
from synthgen.ingest.tables.check import Violation, check
from synthgen.ingest.tables.table import read_table
from synthgen.schema.schema import Schema, load_schema

DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


def init(path, **options):
    return from_file.init(path, **options).text


def loaded(tmp_path, text):
    path = tmp_path / "draft.yaml"
    path.write_text(text, encoding="utf-8")
    return load_schema(path, complete=False)


def table(tmp_path, columns, name="t.csv"):
    path = tmp_path / name
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


N = 40
COLUMNS = {
    "patient_id": [f"p{i // 2}" for i in range(N)],
    "row": list(range(1000, 1000 + N)),
    "age": [20 + i % 7 for i in range(N)],
    "weight": [60.5 + i % 3 if i % 5 else "NA" for i in range(N)],
    "code": ["007" if i % 2 else "no" for i in range(N)],
    "smoker": ["Yes" if i % 2 else "No" for i in range(N)],
    "died": [i % 2 for i in range(N)],
    "seen": [f"2020-01-{1 + i % 28:02d}" for i in range(N)],
    "left": [f"{1 + i % 28:02d}.02.2020" for i in range(N)],
    "dateOfBirth": ["1960-01-01"] * N,
    "answer: yes?": ["1e-6" if i % 2 else "?" for i in range(N)],
    "no": ["a, b" if i % 2 else 'c "d" #e' for i in range(N)],
    "empty": [""] * N,
    "notes": [f"text {i}" for i in range(N)],
}


def test_a_draft_of_names_reads_only_the_first_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"patient_id,age,dateOfBirth\n" + b"broken,line\n" * 5)
    text = init(path)
    schema = loaded(tmp_path, text)
    assert [field.name for field in schema.fields] == ["patient_id", "age", "dateOfBirth"]
    assert schema.unit.column == "patient_id"
    assert "broken" not in text
    assert "birth date" in text
    assert "TODO" in text


def test_a_draft_of_names_reads_only_the_footer_of_parquet(tmp_path, monkeypatch):
    pq.write_table(pa.table({"age": [31, 47], "sex": ["F", "M"]}), tmp_path / "t.parquet")
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    schema = loaded(tmp_path, init(tmp_path / "t.parquet"))
    assert [(field.name, field.type) for field in schema.fields] == [("age", "string"), ("sex", "string")]


def test_a_draft_of_names_is_not_complete(tmp_path):
    text = init(table(tmp_path, COLUMNS))
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"constraints\.enum"):
        load_schema(tmp_path / "s.yaml")


def test_without_a_patients_column_the_draft_says_loudly_that_the_unit_is_not_set(tmp_path):
    text = init(table(tmp_path, {"age": [1], "sex": ["F"]}))
    assert "THE PRIVACY UNIT IS NOT SET" in text
    assert loaded(tmp_path, text).unit.level == "row"


def test_a_suggestion_guesses_types_domains_and_ids(tmp_path):
    text = init(table(tmp_path, COLUMNS), suggest=True)
    schema = loaded(tmp_path, text)
    fields = {field.name: field for field in schema.fields}
    assert list(fields) == list(COLUMNS)
    assert {name: field.type for name, field in fields.items()} == {
        "patient_id": "string",
        "row": "integer",
        "age": "integer",
        "weight": "number",
        "code": "string",
        "smoker": "boolean",
        "died": "boolean",
        "seen": "date",
        "left": "date",
        "dateOfBirth": "date",
        "answer: yes?": "string",
        "no": "string",
        "empty": "string",
        "notes": "string",
    }
    assert {name for name, field in fields.items() if field.role == "id"} == {"patient_id", "row"}
    dropped = {name for name, field in fields.items() if field.role == "drop"}
    assert dropped == {"notes", "dateOfBirth", "empty"}
    assert (fields["age"].constraints.minimum, fields["age"].constraints.maximum) == (20, 26)
    assert (fields["weight"].constraints.minimum, fields["weight"].constraints.maximum) == (60.5, 62.5)
    assert fields["code"].constraints.enum == ("007", "no")
    assert fields["smoker"].true_values == ("Yes",)
    assert fields["no"].constraints.enum == ("a, b", 'c "d" #e')
    assert fields["left"].format == "%d.%m.%Y"
    assert fields["left"].constraints.minimum == "2020-02-01"
    assert schema.missing_values == ("",)
    tokens = {name: field.missing_values for name, field in fields.items() if field.missing_values}
    assert tokens == {"weight": ("NA", ""), "answer: yes?": ("?", "")}
    assert "birth date" in text


def test_every_suggested_field_waits_for_a_persons_confirmation(tmp_path):
    text = init(table(tmp_path, COLUMNS), suggest=True)
    assert all(not field.confirmed for field in loaded(tmp_path, text).fields)
    with pytest.raises(ConfigError, match="not confirmed as public"):
        load_schema(tmp_path / "draft.yaml")


def test_a_confirmed_draft_reads_the_table_it_was_made_from(tmp_path):
    columns = {
        name: cells for name, cells in COLUMNS.items() if name not in ("empty", "answer: yes?", "dateOfBirth")
    }
    path = table(tmp_path, columns)
    text = init(path, suggest=True).replace("    confirmed: false\n", "")
    (tmp_path / "s.yaml").write_text(text)
    schema = load_schema(tmp_path / "s.yaml")
    _, report = read_table(path, schema)
    assert (report.records, report.units, report.missing["weight"]) == (N, N // 2, 8)
    assert check(path, schema) == [
        Violation(
            "patient_id", "patients with more than 1 records; the rest is not used", N // 2, "information"
        )
    ]


@pytest.mark.parametrize(
    "label", ["yes", "Null", "~", "1e-6", "007", "1_000", "#x", "a: b", "- a", " a", "ü", "'", '"']
)
def test_every_label_and_name_survives_the_drafts_yaml(tmp_path, label):
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["age", label], ["1", label], ["2", "zz"]])
    schema = loaded(tmp_path, init(path, suggest=True))
    assert schema.fields[1].name == label
    assert label in schema.fields[1].constraints.enum


def test_more_than_fifty_categories_are_not_listed(tmp_path):
    path = table(tmp_path, {"age": [1, 2] * 60, "ward": [f"w{i % 60}" for i in range(120)]})
    text = init(path, suggest=True)
    assert loaded(tmp_path, text).fields[1].constraints.enum is None
    assert "w59" not in text


def test_a_draft_of_the_demo_cohort_finds_its_patients(tmp_path):
    schema = loaded(tmp_path, init(datasets.path("diabetes130") / "encounters.parquet", suggest=True))
    assert schema.unit.column == "patient_nbr"
    assert {field.name for field in schema.fields if field.role == "id"} == {"encounter_id", "patient_nbr"}
    assert schema.missing_values == ("",)
    assert len(schema.columns) == 24


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_draft_names_missing_tokens_by_field_where_each_column_has_its_own(tmp_path, ending):
    """Made like an export of a hospital: `?` in some columns and another token in others."""
    n = 60
    cells = pd.DataFrame({
        "encounter_id": [str(7000 + i) for i in range(n)],
        "patient_nbr": [str(100 + i // 2) for i in range(n)],
        "race": [["Asian", "White", "?"][i % 3] for i in range(n)],
        "weight": [str(50 + i % 9) if i % 4 else "?" for i in range(n)],
        "dose": [str(i % 5 + 0.5) if i % 4 else "n/a" for i in range(n)],
        "payer": [["MC", "HM", "?", "BC"][i % 4] for i in range(n)],
        "sex": [["F", "M"][i % 2] for i in range(n)],
        "readmitted": [["yes", "no"][i % 2] for i in range(n)],
    })  # fmt: skip
    path = tmp_path / f"encounters.{ending}"
    cells.to_csv(path, index=False) if ending == "csv" else cells.to_parquet(path)
    text = init(path, suggest=True)
    schema = loaded(tmp_path, text)
    assert schema.unit.column == "patient_nbr"
    assert {field.name for field in schema.fields if field.role == "id"} == {"encounter_id", "patient_nbr"}
    assert schema.missing_values == ("",)
    tokens = {field.name: field.missing_values for field in schema.fields if field.missing_values}
    marks = {"race": ("?", ""), "weight": ("?", ""), "payer": ("?", ""), "dose": ("n/a", "")}
    assert tokens == marks
    enums = {field.name: field.constraints.enum for field in schema.fields if field.constraints.enum}
    assert enums["race"] == ("Asian", "White")
    assert enums["payer"] == ("BC", "HM", "MC")
    (tmp_path / "s.yaml").write_text(text.replace("    confirmed: false\n", ""))
    confirmed = load_schema(tmp_path / "s.yaml")
    _, report = read_table(path, confirmed)
    lost = {"race": n // 3, "weight": n // 4, "dose": n // 4, "payer": n // 4}
    assert {name: report.missing[name] for name in lost} == lost
    assert all(found.severity == "information" for found in check(path, confirmed))


def test_support2_can_be_drafted_and_read(tmp_path):
    path = DATA / "support2" / "support2.csv.gz"
    if not path.exists():
        pytest.skip("SYNTHGEN_TEST_DATA has no support2/support2.csv.gz")
    text = init(path, suggest=True).replace("    confirmed: false\n", "")
    (tmp_path / "s.yaml").write_text(text)
    schema = load_schema(tmp_path / "s.yaml")
    assert schema.fields[0].role == "id"
    _, report = read_table(path, schema)
    assert report.records == 9_105
    assert check(path, schema) == []


SCHEMA = {
    "unit": {"column": "pid", "max_records": 2},
    "missingValues": ["", "NA"],
    "fields": [
        {"name": "pid", "type": "string", "role": "id"},
        {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 120, "required": True}},
        {"name": "dose", "type": "number", "constraints": {"minimum": 0, "maximum": 1}, "outside": "clip"},
        {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M"]}},
        {"name": "ward", "type": "string", "constraints": {"enum": ["A"]}, "outside": "other"},
        {"name": "died", "type": "boolean"},
        {"name": "back", "type": "boolean"},
        {"name": "gone", "type": "string", "role": "drop"},
    ],
    "rules": ["died implies not back"],
}


def schema_of(document):
    return Schema.model_validate_json(json.dumps(document))


def test_every_violation_is_listed_by_column_and_count(tmp_path):
    path = table(
        tmp_path,
        {
            "pid": ["a", "a", "a", "", "zebra"],
            "age": ["1", "x", "130", "", "2.5"],
            "dose": ["0.5", "2", "-1", "", "much"],
            "sex": ["F", "f", "M", "NA", ""],
            "ward": ["A", "B", "C", "", "A"],
            "died": ["1", "true", "maybe", "0", ""],
            "back": ["1", "true", "1", "1", "1"],
            "zip": ["1"] * 5,
        },
    )
    found = check(path, schema_of(SCHEMA))
    assert found == [
        Violation("gone", "in the schema, not in the table", 1),
        Violation("zip", "in the table, not in the schema", 1),
        Violation("pid", "blank: a record without a patient", 1),
        Violation("pid", "patients with more than 2 records; the rest is not used", 1, "information"),
        Violation("age", "no integer", 2),
        Violation("age", "outside the bounds", 1),
        Violation("age", "missing in a required column", 1),
        Violation("dose", "no number", 1),
        Violation("dose", "outside the bounds; clipped", 2, "information"),
        Violation("sex", "not among the categories", 1),
        Violation("ward", "not among the categories; put under other", 2, "information"),
        Violation("died", "no boolean", 1),
        Violation("died", "read, and written in another spelling", 2, "information"),
        Violation("back", "read, and written in another spelling", 4, "information"),
        Violation("back, died", "rule: died implies not back", 2),
    ]
    assert not any(cell in repr(found) for cell in ("zebra", "much", "130", "maybe"))


def test_a_table_that_keeps_to_its_schema_has_no_violation(tmp_path):
    cells = {
        "gone": "x",
        "pid": "a",
        "age": 1,
        "dose": 0.5,
        "sex": "F",
        "ward": "A",
        "died": "true",
        "back": "false",
    }
    path = table(tmp_path, {name: [cell] for name, cell in cells.items()})
    assert check(path, schema_of(SCHEMA)) == []


def test_a_domain_that_is_not_declared_yet_is_not_checked(tmp_path):
    document = {
        "unit": {"level": "row"},
        "fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "number"}],
    }
    assert check(table(tmp_path, {"a": ["x", "y"], "b": [1, 2]}), schema_of(document)) == []


def test_a_file_without_a_header_is_refused_and_nothing_of_it_shown(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("zebra,31\nlion,32\n")
    with pytest.raises(DataError) as caught:
        check(path, schema_of(SCHEMA))
    assert "zebra" not in str(caught.value)


def test_a_draft_asks_for_no_more_of_a_csv_than_its_first_record(tmp_path, monkeypatch):
    taken = []
    records = files._Rows._records

    def counted(self):
        for record in records(self):
            taken.append(record)
            yield record

    monkeypatch.setattr(files._Rows, "_records", counted)
    init(table(tmp_path, COLUMNS))
    assert len(taken) == 1


def contacts(tmp_path, n=40):
    mails = [f"zebra{i}@example.org" for i in range(n)]
    return table(tmp_path, {"pid": list(range(n)), "contact": mails, "age": [20 + i % 9 for i in range(n)]})


def test_a_suggestion_drops_a_column_of_identifiers_and_lists_none(tmp_path):
    draft = from_file.init(contacts(tmp_path), suggest=True)
    assert draft.identifiers == (Found("contact", "e-mail address", 40),)
    assert "zebra" not in draft.text
    assert {f.name: f.role for f in loaded(tmp_path, draft.text).fields}["contact"] == "drop"


def test_a_check_counts_cells_that_look_like_identifiers_unless_a_person_answered(tmp_path):
    path = contacts(tmp_path, 4)
    mails = [f"zebra{i}@example.org" for i in range(4)]
    for more, count in (({}, 1), ({"identifier": False}, 0), ({"role": "drop"}, 0)):
        fields = [
            {"name": "pid", "type": "string", "role": "id"},
            {"name": "contact", "type": "string", "constraints": {"enum": mails}, **more},
            {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 99}},
        ]
        found = check(path, schema_of({"unit": {"column": "pid"}, "fields": fields}))
        violation = Violation("contact", "cells that look like identifiers (e-mail address)", 4)
        assert found == [violation] * count
