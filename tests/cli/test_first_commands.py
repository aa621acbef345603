"""From a table to a run's config: schema init, schema confirm, config init, as a person types them."""

import gzip
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from synthgen.cli import app as cli
from synthgen.config.run_config import load_config, tables_of
from synthgen.ingest.tables.file_form import written_as
from synthgen.pipeline.config_draft import suggested_delta
from synthgen.schema.file_dialect import Dialect
from synthgen.schema.schema import load_schema

ROWS = [
    f"p{i},{20 + i % 60},{'FM'[i % 2]},{('yes', 'no', 'no')[i % 3]},{60 + i % 30}.{i % 10}"
    for i in range(200)
]
TABLE = "patient,age,sex,died,weight\n" + "\n".join(ROWS) + "\n"


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cohort.csv").write_text(TABLE)
    return tmp_path


def drafted(capsys):
    assert call(capsys, "schema", "init", "cohort.csv", "-o", "cohort.schema.yaml", "--suggest")[0] == 0
    assert call(capsys, "schema", "confirm", "cohort.schema.yaml", "--all")[0] == 0


def test_four_commands_lead_to_a_plan(place, capsys):
    drafted(capsys)
    code, shown = call(capsys, "config", "init", "cohort.schema.yaml", "--patients", 200)
    assert (code, shown["fill_in"]) == (0, [])
    code, plan = call(capsys, "plan", "cohort.config.yaml")
    assert (code, plan["patients"], plan["generator"]) == (0, 200, "marginal")


def test_a_config_says_what_a_person_has_to_fill_in_and_neither_plan_nor_run_goes_on_without(place, capsys):
    drafted(capsys)
    code, shown = call(capsys, "config", "init", "cohort.schema.yaml", "-o", "c.yaml")
    assert (code, shown["fill_in"]) == (0, ["budget.patients"])
    for verb in (["plan"], ["run", "--output", "r"]):
        code, error = call(capsys, verb[0], "c.yaml", *verb[1:])
        assert code == 2
        assert "budget.patients" in error["error"]["message"]
        assert "FILL_IN" in error["error"]["message"]
    assert not Path("r").exists()
    assert not Path("ledger.db").exists()
    Path("c.yaml").write_text(Path("c.yaml").read_text().replace("patients: FILL_IN", "patients: 200"))
    assert call(capsys, "plan", "c.yaml")[0] == 0


def test_all_that_is_to_be_filled_in_is_listed_at_once(place, capsys):
    drafted(capsys)
    Path("cohort.csv").rename("elsewhere.parquet")
    code, shown = call(capsys, "config", "init", "cohort.schema.yaml", "-o", "c.yaml")
    assert (code, shown["fill_in"]) == (0, ["data path", "budget.patients"])
    code, error = call(capsys, "plan", "c.yaml")
    assert code == 2
    assert "data.table.path (line " in error["error"]["message"]
    assert "budget.patients (line " in error["error"]["message"]


def test_the_drafted_config_has_every_key_that_exists(place, capsys):

    from synthgen.config.data_section import TableSource
    from synthgen.config.run_config import BudgetSection, EvaluateSection, ReleaseSection, SampleSection

    drafted(capsys)
    call(capsys, "config", "init", "cohort.schema.yaml", "-o", "c.yaml", "--patients", 200)
    document = YAML(typ="safe").load(Path("c.yaml"))
    sections = {
        "budget": BudgetSection,
        "evaluate": EvaluateSection,
        "release": ReleaseSection,
        "sample": SampleSection,
    }
    for name, section in sections.items():
        assert set(document[name]) == {f.alias or n for n, f in section.model_fields.items()}
    assert set(document["data"]["table"]) == {f.alias or n for n, f in TableSource.model_fields.items()}
    text = Path("c.yaml").read_text()
    assert all(
        "#" in line
        for line in text.splitlines()
        if ": " in line and "{" not in line and "path" not in line and "schema:" not in line
    )


def test_a_config_of_images_has_their_keys(place, capsys):

    from synthgen.config.data_section import ImageSource

    text = "unit: row\nimages: {channels: 1, bits: 8}\nfields: [{name: ill, type: boolean, role: label}]\n"
    Path("scans.schema.yaml").write_text(text)
    Path("scans").mkdir()
    code, shown = call(capsys, "config", "init", "scans.schema.yaml", "--data", "scans", "--patients", 99)
    assert (code, shown["fill_in"]) == (0, [])
    document = YAML(typ="safe").load(Path("scans.config.yaml"))
    assert set(document["data"]["images"]) == {f.alias or n for n, f in ImageSource.model_fields.items()}
    assert call(capsys, "plan", "scans.config.yaml")[0] == 0


def test_nothing_is_overwritten_without_force(place, capsys):
    drafted(capsys)
    call(capsys, "config", "init", "cohort.schema.yaml")
    before = Path("cohort.schema.yaml").read_bytes(), Path("cohort.config.yaml").read_bytes()
    init = ["schema", "init", "cohort.csv", "-o", "cohort.schema.yaml"]
    for command in (init, ["config", "init", "cohort.schema.yaml"]):
        code, shown = call(capsys, *command)
        assert code == 2
        assert "--force" in shown["error"]["next"]
    assert before == (Path("cohort.schema.yaml").read_bytes(), Path("cohort.config.yaml").read_bytes())
    assert call(capsys, *init, "--force")[0] == 0
    assert Path("cohort.schema.yaml").read_bytes() != before[0]


def test_a_draft_says_the_next_commands_with_the_dialect(place, capsys):
    Path("semi.csv").write_bytes(TABLE.replace(".", "x").replace(",", ";").replace("x", ",").encode())
    options = ["--delimiter", ";", "--decimal", ","]
    code, shown = call(capsys, "schema", "init", "semi.csv", "-o", "semi.schema.yaml", "--suggest", *options)
    assert code == 0
    assert "synthgen schema confirm semi.schema.yaml --all" in shown["next"]
    assert (
        "synthgen config init semi.schema.yaml --data semi.csv --delimiter ';' --decimal ," in shown["next"]
    )


@pytest.mark.parametrize("suggest", [["--suggest"], []])
def test_what_a_person_said_of_the_dialect_is_said_once(place, capsys, suggest):
    Path("semi.csv").write_bytes(TABLE.replace(".", "x").replace(",", ";").replace("x", ",").encode())
    options = ["--delimiter", ";", "--decimal", ",", "--encoding", "cp1252"]
    assert call(capsys, "schema", "init", "semi.csv", "-o", "s.yaml", *suggest, *options)[0] == 0
    if suggest:
        assert call(capsys, "schema", "confirm", "s.yaml", "--all")[0] == 0
        assert call(capsys, "schema", "check", "s.yaml", "semi.csv")[0] == 0
        assert call(capsys, "schema", "check", "s.yaml", "semi.csv", "--decimal", ".")[0] == 3
    assert call(capsys, "config", "init", "s.yaml", "--data", "semi.csv", "--patients", 200)[0] == 0
    config = YAML(typ="safe").load(Path("s.config.yaml"))["data"]["table"]
    assert (config["delimiter"], config["decimal"], config["encoding"]) == (";", ",", "cp1252")
    schema = written_as(
        load_schema(Path("s.yaml"), complete=False),
        Path("semi.csv"),
        delimiter=";",
        encoding="cp1252",
        decimal=",",
    )
    assert schema.dialect == Dialect(delimiter=";", encoding="cp1252", decimalChar=",", lineTerminator="\n")
    Path("semi.csv").write_bytes(Path("semi.csv").read_bytes().replace(b"\n", b"\r\n"))
    found = written_as(
        schema.model_copy(update={"dialect": Dialect(decimalChar=",")}),
        Path("semi.csv"),
        delimiter=";",
        encoding="cp1252",
        decimal=".",
    ).dialect
    assert (found.decimal_char, found.delimiter, found.line_terminator) == (",", ";", "\r\n")


@pytest.mark.parametrize(
    ("name", "content", "dialect"),
    [
        ("cohort.csv", TABLE.replace(",", ";").encode(), (";", "utf-8")),
        ("cohort.csv.gz", gzip.compress(TABLE.replace(",", "|").encode()), ("|", "utf-8")),
        ("cohort.tsv", TABLE.replace(",", "\t").encode("utf-16"), ("\t", "utf-16")),
        ("cohort.txt", TABLE.replace("sex", "größe").encode("cp1252"), (",", "latin-1")),
    ],
)
def test_a_config_finds_the_schemas_table_and_how_it_is_written(
    tmp_path, monkeypatch, capsys, name, content, dialect
):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    Path("other.csv").write_text("a,b\n1,2\n")
    given = ["--delimiter", dialect[0], "--encoding", dialect[1]]
    assert call(capsys, "schema", "init", name, "-o", "s.schema.yaml", "--suggest", *given)[0] == 0
    assert call(capsys, "schema", "confirm", "s.schema.yaml", "--all")[0] == 0
    code, shown = call(capsys, "config", "init", "s.schema.yaml", "--patients", 200)
    assert (code, Path(shown["data"]).name) == (0, name)
    source = load_config("s.config.yaml").config.data.table
    assert (source.path, source.delimiter, source.encoding) == (name, *dialect)


def test_a_table_that_the_schema_does_not_describe_is_refused_without_showing_its_first_line(place, capsys):
    drafted(capsys)
    Path("headless.csv").write_text("zebra,31,F,yes,70\n")
    code, shown = call(capsys, "config", "init", "cohort.schema.yaml", "--data", "headless.csv")
    assert code == 2
    assert "zebra" not in json.dumps(shown)


def test_a_spreadsheet_is_called_one(place, capsys):
    drafted(capsys)
    Path("cohort.xlsx").write_bytes(b"PK\x03\x04" + bytes(300))
    for verb in (
        ["schema", "init", "cohort.xlsx", "-o", "n.yaml"],
        ["schema", "check", "cohort.schema.yaml", "cohort.xlsx", "--encoding", "latin-1"],
        ["config", "init", "cohort.schema.yaml", "--data", "cohort.xlsx"],
    ):
        code, shown = call(capsys, *verb)
        assert code == 3
        assert "spreadsheet" in shown["error"]["message"]
        assert "Export the table as CSV" in shown["error"]["next"]


def test_a_check_lists_every_unconfirmed_column_and_every_violation_at_once(place, capsys):
    call(capsys, "schema", "init", "cohort.csv", "-o", "s.yaml", "--suggest")
    code, shown = call(capsys, "schema", "check", "s.yaml", "cohort.csv")
    assert code == 2  # the schema is to be completed, the table keeps to it
    assert [row["column"] for row in shown["violations"]] == ["age", "sex", "died", "weight"]
    assert "synthgen schema confirm s.yaml age sex died weight" in shown["next"]
    Path("cohort.csv").write_text(TABLE.replace(",F,", ",X,", 3))
    code, shown = call(capsys, "schema", "check", "s.yaml", "cohort.csv")
    assert code == 3
    assert [row["column"] for row in shown["violations"]] == ["age", "sex", "died", "weight", "sex"]
    call(capsys, "config", "init", "s.yaml", "-o", "c.yaml", "--data", "cohort.csv", "--patients", 200)
    code, shown = call(capsys, "plan", "c.yaml")
    assert code == 2
    assert all(repr(name) in shown["error"]["message"] for name in ("age", "sex", "died", "weight"))


@pytest.mark.parametrize(("name", "kind"), [("t.csv", "csv"), ("t.csv.gz", "csv"), ("t.parquet", "parquet")])
def test_the_release_has_the_inputs_format_unless_the_config_says_another(tmp_path, name, kind):
    (tmp_path / "s.yaml").write_text("unit: row\nfields: [{name: a, type: boolean, role: label}]\n")
    text = (
        f"cohort: c\ndata: {{table: {{path: {name}, schema: s.yaml}}}}\nbudget: {{epsilon: 1, delta: 1e-6}}\n"
    )
    (tmp_path / "c.yaml").write_text(text)
    loaded = load_config(tmp_path / "c.yaml")
    assert tables_of(loaded.config) == (kind,)
    assert loaded.generator.name == "auto"
    (tmp_path / "d.yaml").write_text(text + f"release: {{formats: [{kind}]}}\ngenerator: {{name: auto}}\n")
    assert load_config(tmp_path / "d.yaml").digest == loaded.digest


def test_delta_is_below_a_tenth_over_the_patients():
    for patients in (1, 30, 303, 9_105, 71_518, 2_000_000):
        assert 0 < suggested_delta(patients) <= 0.1 / patients
