"""From a REDCap data dictionary to a schema: field types, branching logic, and what stays with a person."""

import csv
import json
from pathlib import Path

import pytest

from synthgen.cli import app as cli
from synthgen.errors import ConfigError
from synthgen.ingest.schema_draft import redcap
from synthgen.ingest.schema_draft import redcap_dictionary as dictionary
from synthgen.ingest.schema_draft.redcap_logic import UntranslatableError, box_name, rule_of
from synthgen.ingest.tables.check import check
from synthgen.ingest.tables.table import read_table
from synthgen.schema.fields import Field
from synthgen.schema.schema import load_schema

FILES = Path(__file__).resolve().parents[2] / "data" / "redcap"
DICTIONARY, EXPORT = FILES / "dictionary.csv", FILES / "export.csv"


def schema_of(tmp_path, found, *changes):
    text = found.text
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return load_schema(path, complete=False)


def fields_of(tmp_path, *rows):
    """Return the fields that lines of a dictionary become; a line is given as a mapping."""
    path = write(tmp_path, *rows)
    return {field.name: field for field in schema_of(tmp_path, redcap.draft(path)).fields}


def write(tmp_path, *rows):
    path = tmp_path / "d.csv"
    first = {"name": "record_id", "form": "a", "type": "text"}
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([titles[0] for titles in dictionary.TITLES.values()])
        for row in (first, *({"form": "a", **row} for row in rows)):
            writer.writerow([row.get(key, "") for key in dictionary.TITLES])
    return path


def test_the_dictionary_covers_every_field_type():
    variables = dictionary.read(DICTIONARY)
    assert len(variables) >= 40
    assert {variable.type for variable in variables} == dictionary.TYPES


def test_an_export_keeps_to_the_schema_that_its_dictionary_becomes(tmp_path):
    found = redcap.draft(DICTIONARY, table=EXPORT)
    schema = schema_of(tmp_path, found)
    assert [field.name for field in schema.fields] == EXPORT.read_text().splitlines()[0].split(",")
    errors = [one for one in check(EXPORT, schema) if one.severity == "error"]
    assert errors == []
    assert schema.unit.column == "record_id"
    assert all(field.confirmed for field in schema.fields)


DECISIONS = (
    ("max_records: 1", "max_records: 4"),
    ("name: redcap_event_name  #", "name: redcap_event_name\n    role: drop\n  #"),
    ("name: redcap_data_access_group  #", "name: redcap_data_access_group\n    role: drop\n  #"),
    ("name: insurer  #", "name: insurer\n    role: drop\n  #"),
    ("name: reason  #", "name: reason\n    role: drop\n  #"),
    ("name: region  #", "name: region\n    role: drop\n  #"),
    ("{minimum: 1}", "{minimum: 1, maximum: 20}"),
    ('{minimum: "1990-01-01"}', '{minimum: "1990-01-01", maximum: "2024-12-31"}'),
    ('{minimum: "2019-01-01T00:00:00"}', '{minimum: "2019-01-01", maximum: "2024-12-31"}'),
    ("{minimum: 5}", "{minimum: 5, maximum: 90}"),
    ('title: "Body mass index"', 'title: "Body mass index"\n    constraints: {minimum: 8, maximum: 120}'),
)


def test_once_a_person_has_decided_what_is_left_open_the_export_can_be_read(tmp_path):
    found = redcap.draft(DICTIONARY, table=EXPORT)
    assert len(found.decide) == len(DECISIONS)
    schema = schema_of(tmp_path, found, *DECISIONS)
    schema.require_complete()
    _, report = read_table(EXPORT, schema)
    assert (report.units, report.missing["age"]) == (60, report.records - 60)
    assert len(schema.parsed_rules) == len(found.rules) == 7


def test_all_that_is_open_is_listed_and_nothing_else(tmp_path):
    found = redcap.draft(DICTIONARY, table=EXPORT)
    schema = schema_of(tmp_path, found)
    open_fields = set()
    for field in schema.fields:
        limits = field.constraints
        bounded = limits.minimum is not None and limits.maximum is not None
        if (
            field.role is None
            and field.type not in ("boolean", "time")
            and not bounded
            and limits.enum is None
        ):
            open_fields.add(field.name)
    assert {name for name, _ in found.decide} - {"unit"} == open_fields


def test_direct_identifiers_free_text_and_files_are_dropped(tmp_path):
    found = dict(redcap.draft(DICTIONARY, table=EXPORT).dropped)
    assert set(found) == {
        "enrolment_timestamp", "consent_pdf", "consent_sign", "given_names", "family", "contact_mail",
        "contact_tel", "soc_sec", "zip", "hosp_number", "birth_day", "narrative", "remark",
    }  # fmt: skip


def test_without_a_table_the_columns_are_those_of_a_project_without_events(tmp_path):
    found = redcap.draft(DICTIONARY)
    names = [field.name for field in schema_of(tmp_path, found).fields]
    assert not any(name.startswith("redcap_") for name in names)
    assert [name for name in names if name.endswith("_complete")] == [
        "enrolment_complete", "history_complete", "visit_complete"
    ]  # fmt: skip
    assert names[0] == "record_id"
    assert "about" not in names


def test_the_apis_names_of_the_columns_give_the_same_schema(tmp_path):
    names = {old: new for old, new in dictionary.TITLES.values()}
    rows = list(csv.reader(DICTIONARY.read_text(encoding="utf-8").splitlines()))
    with (tmp_path / "api.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([[names.get(cell, cell) for cell in rows[0]], *rows[1:]])
    assert redcap.draft(tmp_path / "api.csv") == redcap.draft(DICTIONARY)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"type": "text", "validation": "integer", "minimum": "0", "maximum": "9"}, ("integer", 0, 9)),
        (
            {"type": "text", "validation": "number_2dp", "minimum": "-1.5", "maximum": "2"},
            ("number", -1.5, 2),
        ),
        (
            {"type": "text", "validation": "number_1dp_comma_decimal", "minimum": "0,5", "maximum": "2"},
            ("number", 0.5, 2),
        ),
        ({"type": "slider"}, ("integer", 0, 100)),
        ({"type": "slider", "minimum": "1", "maximum": "7"}, ("integer", 1, 7)),
        (
            {"type": "text", "validation": "date_mdy", "minimum": "2001-02-03", "maximum": "04/05/2006"},
            ("date", "2001-02-03", "2006-04-05"),
        ),
        (
            {"type": "text", "validation": "date_dmy", "minimum": "3-2-2001".replace("3-2", "03-02")},
            ("date", "2001-02-03", None),
        ),
        (
            {"type": "text", "validation": "date_ymd", "minimum": "[start]", "maximum": "today"},
            ("date", None, None),
        ),
    ],
)
def test_ranges_are_taken_and_what_moves_with_the_day_stays_open(tmp_path, row, expected):
    field = fields_of(tmp_path, {"name": "x", **row})["x"]
    assert (field.type, field.constraints.minimum, field.constraints.maximum) == expected


@pytest.mark.parametrize(
    ("code", "column"),
    [("1", "x___1"), ("-1", "x____1"), ("CKD.3", "x___ckd_3"), ("a_b", "x___a_b"), ("é 1", "x___1")],
)
def test_a_box_is_called_as_the_export_calls_it(code, column):
    assert box_name("x", code) == column


def test_labels_lose_their_html_and_line_breaks(tmp_path):
    fields = fields_of(tmp_path, {"name": "x", "type": "yesno", "label": '<p class="a">One\n<b>two</b></p>'})
    assert fields["x"].title == "One two"


def test_a_field_named_like_an_identifier_is_left_to_a_person(tmp_path):
    path = write(tmp_path, {"name": "dob", "type": "text", "validation": "date_ymd"})
    assert dict(redcap.draft(path).decide)["dob"].startswith("its name says birth date")


FIELDS = {
    name: Field.model_validate_json(json.dumps({"name": name, **keys}))
    for name, keys in {
        "sex": {"type": "string", "constraints": {"enum": ["1", "2", "9"]}},
        "age": {"type": "integer"},
        "in": {"type": "boolean"},
        "died": {"type": "boolean"},
        "co___1": {"type": "boolean"},
        "co____1": {"type": "boolean"},
        "day": {"type": "date"},
        "grade": {"type": "string", "constraints": {"enum": ["low", "high"]}},
    }.items()
}


@pytest.mark.parametrize(
    ("logic", "rule"),
    [
        ("[sex] = '2'", 'x is missing or sex == "2"'),
        ('[sex]="2"', 'x is missing or sex == "2"'),
        ("[sex] = 2", 'x is missing or sex == "2"'),
        ("[sex] <> '2'", 'x is missing or sex != "2"'),
        ("[sex] > 1", 'x is missing or sex in ["2", "9"]'),
        ("[age] >= 18 AND [age] < '65'", "x is missing or age >= 18 and age < 65"),
        ("[died] = '1'", "x is missing or died"),
        ("[died] = '0'", "x is missing or not died"),
        ("[died] <> '1'", "x is missing or not died"),
        ("[in] = '1'", "x is missing or `in`"),
        ("[co(1)] = '1' or [co(-1)] = '0'", "x is missing or co___1 or not co____1"),
        ("([died] = '1' or [sex] = '1') and [age] > 5", 'x is missing or (died or sex == "1") and age > 5'),
        ("[age] = ''", "x is missing or age is missing"),
        ("[age] <> ''", "x is missing or not age is missing"),
    ],
)
def test_logic_becomes_a_rule(logic, rule):
    assert rule_of("x", logic, FIELDS, box=False, beside=set(FIELDS)) == rule


def test_a_box_that_is_hidden_is_not_ticked():
    assert rule_of("x___1", "[died] = '1'", FIELDS, box=True, beside=set(FIELDS)) == "not x___1 or died"


@pytest.mark.parametrize(
    "logic",
    [
        "datediff([day], 'today', 'd') > 3",
        "[baseline_arm_1][sex] = '1'",
        "[sex] = [age]",
        "'1' = [sex]",
        "[user-name] = 'x'",
        "[nowhere] = '1'",
        "[day] > '2020-01-01'",
        "[sex] = '3'",
        "[sex] > 9",
        "[grade] > 1",
        "[died] = 'yes'",
        "[age] = 'old'",
        "[sex] = '1' [age] = 3",
        "([sex] = '1'",
        "[sex] =",
        "(" * 40 + "[sex] = '1'" + ")" * 40,
        "[sex] = '1'" + " or [sex] = '1'" * 400,
    ],
)
def test_logic_that_says_more_than_a_rule_can_stays_with_a_person(logic):
    with pytest.raises(UntranslatableError):
        rule_of("x", logic, FIELDS, box=False, beside=set(FIELDS))


@pytest.mark.parametrize("logic", ["[age] <> ''", "[co(1)] = '1'"])
def test_nothing_follows_from_a_cell_that_another_row_may_fill(logic):
    with pytest.raises(UntranslatableError, match="another"):
        rule_of("x", logic, FIELDS, box=False, beside=set())
    assert rule_of("x", "[sex] = '2'", FIELDS, box=False, beside=set())


def test_a_rule_is_never_stricter_than_its_logic(tmp_path):
    """Every filling of two fields and the field they show, against REDCap's two-valued reading."""
    import itertools

    import pandas as pd

    from synthgen.schema.rules import parse_rule

    rule = parse_rule(
        rule_of("x", "[sex] = '2' and [age] >= 18 or [died] <> '1'", FIELDS, box=False, beside=set(FIELDS))
    )
    cases = list(itertools.product([None, "1", "2"], [None, 17.0, 18.0], [None, False, True], [None, 1.0]))
    frame = pd.DataFrame(cases, columns=["sex", "age", "died", "x"]).astype({"age": float, "x": float})
    violated = rule.violated({**frame, "died": pd.Categorical(frame["died"], categories=[False, True])})
    shown = [(s == "2" and a is not None and a >= 18) or d is not True for s, a, d, _ in cases]
    hidden_with_value = [not show and x is not None for show, (*_, x) in zip(shown, cases, strict=True)]
    assert all(hidden for hidden, wrong in zip(hidden_with_value, violated, strict=True) if wrong)
    assert any(violated)


BROKEN = {
    "no dictionary": ("a,b\nSECRETVALUE123,2\n", ":1", "Variable / Field Name"),
    "a name in capitals": (
        {"name": "SECRETVALUE123", "type": "text"},
        ':3, column "Variable / Field Name"',
        "",
    ),
    "twice": ({"name": "record_id", "type": "text"}, ':3, column "Variable / Field Name"', "lines 2 and 3"),
    "no form": ({"name": "x", "form": " ", "type": "text"}, ':3, column "Form Name"', ""),
    "type": ({"name": "x", "type": "SECRETVALUE123"}, ':3, column "Field Type"', ""),
    "no choices": ({"name": "x", "type": "radio"}, ':3, column "Choices, Calculations', ""),
    "choices": (
        {"name": "x", "type": "radio", "choices": "1, a | SECRETVALUE123"},
        ':3, column "Choi',
        "choice 2",
    ),
    "code twice": ({"name": "x", "type": "radio", "choices": "1, a | 1, b"}, ':3, column "Choi', "choice 2"),
    "identifier": (
        {"name": "x", "type": "text", "identifier": "SECRETVALUE123"},
        ':3, column "Identifier?"',
        "",
    ),
    "required": ({"name": "x", "type": "text", "required": "perhaps"}, ':3, column "Required Field?"', ""),
    "minimum": (
        {"name": "x", "type": "text", "validation": "integer", "minimum": "SECRETVALUE123"},
        ':3, column "Text Validation Min"',
        "'x'",
    ),
    "infinite": ({"name": "x", "type": "slider", "maximum": "inf"}, ':3, column "Text Validation Max"', ""),
    "bounds": ({"name": "x", "type": "slider", "minimum": "200"}, ':3, column "Text Validation Min"', ""),
    "day": (
        {"name": "x", "type": "text", "validation": "date_ymd", "maximum": "2020-02-30"},
        ':3, column "Text Validation Max"',
        "",
    ),
    "header alone": (",".join(f'"{titles[0]}"' for titles in dictionary.TITLES.values()), ":1", ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_dictionary_is_an_error_with_line_and_column_and_no_cell(tmp_path, name):
    content, place, words = BROKEN[name]
    path = tmp_path / "d.csv"
    if isinstance(content, str):
        path.write_text(content)
    else:
        write(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        redcap.draft(path)
    assert place in caught.value.where
    assert words in caught.value.message
    assert caught.value.next_step
    assert "SECRETVALUE123" not in str(caught.value)


@pytest.mark.parametrize(("header", "place"), [("record_id,Sex at birth\n", "2"), ("sex,age\n", "record_id")])
def test_an_export_of_another_project_or_with_labels_is_refused_by_place(tmp_path, header, place):
    path = tmp_path / "e.csv"
    path.write_text(header)
    with pytest.raises(ConfigError, match=place):
        redcap.draft(DICTIONARY, table=path)


def test_the_verb_writes_the_schema_and_says_what_is_left(tmp_path, capsys):
    target = tmp_path / "s.yaml"
    words = [
        "schema",
        "import",
        str(DICTIONARY),
        "--from",
        "redcap",
        "--table",
        str(EXPORT),
        "-o",
        str(target),
    ]
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert not stop.value.code
    assert (shown["columns"], shown["rules"], len(shown["decide"])) == (58, 7, 11)
    assert {"dropped", "untranslated", "left_out"} <= set(shown)
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--json"])
    assert stop.value.code == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "config"
