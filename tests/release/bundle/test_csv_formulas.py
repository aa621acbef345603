"""Cells that a spreadsheet would run: kept by default, escaped on request, and given back by every reader."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synthgen.cli.app import main
from synthgen.data.table_files import write_text
from synthgen.data.tables import SyntheticTable
from synthgen.encode.simulate import simulate
from synthgen.ingest.tables.check import check
from synthgen.release.bundle.bundle import verify_bundle, write_bundle
from synthgen.release.bundle.data_checks import checked
from synthgen.schema.file_dialect import escaped, is_formula, unescaped
from synthgen.schema.schema import Schema, load_schema

FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "＝1",
    "'=1",
    "''@a",
]
HARMLESS = ["-5", "+5", "-1.5e-3", "-", "a=b", "'a", "5-3", "", "a@b", "−5", "-1,5"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_runs_gets_an_apostrophe(text: str) -> None:
    assert is_formula(text)
    assert escaped(text) == f"'{text}"


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_single_signs_and_plain_texts_stay(text: str) -> None:
    assert escaped(text) == text


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.text(alphabet="'=+-@ \t\n1a,.;\ufeff＝", max_size=8))
@example("'" * 5 + "=")
def test_every_text_comes_back_and_none_is_run(text: str) -> None:
    cell = escaped(text)
    assert unescaped(cell) == text
    assert cell == text or cell.startswith("'")
    assert cell.lstrip(" \t\r\n\ufeff")[:1] not in "=+-@＝" or not is_formula(text)


def schema_of(**dialect: Any) -> Schema:
    labels = [*FORMULAS, "plain", "-5"]
    fields = [
        {"name": "id", "type": "string", "role": "id"},
        {"name": "=cmd|'/c calc'!A1", "type": "string", "constraints": {"enum": labels, "required": True}},
        {"name": "change", "type": "number", "decimals": 1, "constraints": {"minimum": -9, "maximum": 9}},
        {"name": "@late", "type": "boolean", "trueValues": ["+yes"], "falseValues": ["-no"]},
    ]
    content: dict[str, Any] = {"unit": {"column": "id", "max_records": 1}, "missingValues": ["-none", ""]}
    content |= {"fields": fields} | ({"dialect": dialect} if dialect else {})
    return Schema.model_validate_json(json.dumps(content))


@pytest.mark.parametrize("dialect", [{}, {"delimiter": ";", "decimalChar": ","}, {"quoting": "all"}])
@pytest.mark.parametrize("formulas", ["keep", "escape"])
def test_a_written_file_is_read_back_whole(tmp_path: Path, dialect: dict[str, Any], formulas: Any) -> None:
    schema = schema_of(**dialect)
    table = simulate(schema, 300, rng=np.random.default_rng(1)).written_with(formulas)
    path = tmp_path / "t.csv"
    with path.open("wb") as stream:
        write_text(table, stream, name="t.csv")
    with path.open(encoding="utf-8", newline="") as text:
        rows = list(csv.reader(text, delimiter=table.dialect.delimiter))
    risky = [cell for row in rows for cell in row if is_formula(cell) and not cell.startswith("'")]
    assert bool(risky) == (formulas == "keep")
    assert sum(cell.startswith("'") for row in rows for cell in row) > 10
    problems, back = checked(path, table.schema, records=300)
    assert problems == []
    assert back is not None
    pd.testing.assert_frame_equal(back.frame, table.frame, check_dtype=False, check_categorical=False)
    said = {"delimiter": table.dialect.delimiter, "decimal": table.dialect.decimal_char}
    assert [v for v in check(path, table.schema, **said) if v.severity == "error"] == []  # `schema check`
    if formulas == "escape":  # who is not told so, is told that the columns are others
        plain = table.schema.model_copy(update={"dialect": table.written_with("keep").dialect})
        assert checked(path, plain, records=300)[0]


@pytest.mark.parametrize("formulas", ["keep", "escape"])
def test_a_bundle_says_whether_its_formulas_are_escaped(
    tmp_path: Path, make_record: Any, formulas: Any
) -> None:
    schema = schema_of()
    table: SyntheticTable = simulate(schema, 40, rng=np.random.default_rng(2)).written_with(formulas)
    files = {"c.csv": 40, "c.parquet": 40}
    bundle = write_bundle(
        tmp_path / "b",
        data_files=dict.fromkeys(files, table),
        schema=table.schema,
        record=make_record(schema=schema, files=files),
    )
    assert verify_bundle(bundle) == []
    card = (bundle / "card.md").read_text(encoding="utf-8")
    package = json.loads((bundle / "datapackage.json").read_text(encoding="utf-8"))
    text, parquet = package["resources"]
    assert ("remove the first apostrophe" in card) == (formulas == "escape")
    assert ("Do not open the CSV files in a spreadsheet" in card) == (formulas == "keep")
    assert ("csvFormulas" in text) == (formulas == "escape")
    assert "csvFormulas" not in parquet
    assert load_schema(bundle / "schema.yaml").digest() == schema.public().digest()
    assert "'" not in str(pd.read_parquet(bundle / "data" / "c.parquet")["@late"].iloc[0])


CONFIG = """
cohort: formulas
data: {table: {path: t.csv, schema: s.yaml}}
budget: {ledger: "sqlite:///ledger.db", epsilon: 5.0, delta: 1.0e-5, patients: 400}
generator: {name: marginal}
sample: {records: 60}
release: {csv_formulas: escape}
"""


def test_run_and_sample_escape_as_the_config_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    schema = schema_of()
    Path("s.yaml").write_text(
        json.dumps(schema.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    )
    with Path("t.csv").open("wb") as stream:
        write_text(simulate(schema, 400, rng=np.random.default_rng(3)), stream, name="t.csv")
    Path("c.yaml").write_text(CONFIG)

    def call(*arguments: str) -> int:
        with pytest.raises(SystemExit) as stop:
            main([*arguments, "--json"])
        capsys.readouterr()
        return int(stop.value.code or 0)

    def header(path: str) -> str:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            return next(csv.reader(stream))[1]

    assert call("run", "c.yaml", "--output", "run") == 5  # not evaluated, so not signed
    assert header("run/public/synthetic.csv") == "'=cmd|'/c calc'!A1"
    assert call("sample", "run", "-n", "5", "-o", "s.csv") == 0
    assert header("s.csv") == "'=cmd|'/c calc'!A1"
    assert call("sample", "run", "-n", "5", "-o", "k.csv", "--csv-formulas", "keep") == 0
    assert header("k.csv") == "=cmd|'/c calc'!A1"
    assert call("sample", "run", "-n", "5", "-o", "x.csv", "--csv-formulas", "other") == 2
    assert call("run", "c.yaml", "--output", "run", "--resume", "--set", "release.csv_formulas=keep") == 5
    assert header("run/public/synthetic.csv") == "=cmd|'/c calc'!A1"
    assert call("sample", "run/public/model", "-n", "5", "-o", "m.csv") == 0
    assert header("m.csv") == "=cmd|'/c calc'!A1"
