"""Drafts keep values: what a draft guesses, once confirmed, reads the table and gives back each cell."""

import csv
import datetime
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from synthgen.cli import file_commands as files
from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.schema_draft import from_file
from synthgen.ingest.schema_draft.table_draft import Named
from synthgen.ingest.tables import check
from synthgen.ingest.tables.table import read_raw, read_table
from synthgen.pipeline.schema_confirmation import confirm
from synthgen.sampling.draw import write_table
from synthgen.schema.schema import load_schema

DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
N = 40


def table(tmp_path, columns, delimiter=","):
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def confirmed(tmp_path, path, **options):
    """Return the draft's text, and its schema with every column confirmed."""
    draft = from_file.init(path, suggest=True, **options)
    place = tmp_path / "s.yaml"
    place.write_text(draft.text, encoding="utf-8")
    confirm(place, None)
    return draft, load_schema(place, unpaid=True)


def field(tmp_path, cells, name="x", **options):
    path = table(tmp_path, {"filler": [i % 3 for i in range(len(cells))], name: cells})
    draft, schema = confirmed(tmp_path, path, **options)
    return next(one for one in schema.fields if one.name == name), draft.text


def spread(values):
    return [values[i % len(values)] for i in range(N)]


@pytest.mark.parametrize("token", ["NA", "NaN", "nan", "null", "NULL", "None", "N/A", "Null", "<NA>"])
@pytest.mark.parametrize("others", [["BW", "ZA"], ["BW"], ["BW", "ZA", ""]])
def test_a_category_that_reads_like_missing_stays_a_category(tmp_path, token, others):
    found, text = field(tmp_path, spread([token, *others]), "country")
    assert found.constraints.enum == tuple(sorted({token, *others} - {""}))
    assert found.missing_values is None
    assert f"{token!r} kept as a category" in text


@pytest.mark.parametrize("token", ["NA", "?", ".", "null", "-", "unknown", " "])
@pytest.mark.parametrize("values", [["1", "2", "3"], ["1.5", "2.25"], ["2020-01-31", "2021-12-01"]])
def test_a_text_among_numbers_or_dates_means_missing_there_and_only_there(tmp_path, token, values):
    found, text = field(tmp_path, spread([token, *values]))
    assert found.type in ("integer", "number", "date")
    assert found.missing_values == (token, "")
    assert repr(token) in text
    assert not found.constraints.required


def test_the_token_of_most_cells_is_the_one_that_is_written(tmp_path):
    found, _ = field(tmp_path, spread(["1", "2", "NA", "NA", "?", ""]))
    assert found.missing_values[0] == "NA"


def test_two_signs_for_missing_among_texts_are_not_merged(tmp_path):
    found, _ = field(tmp_path, spread(["a", "b", "?", ""]))
    assert found.constraints.enum == ("?", "a", "b")
    found, _ = field(tmp_path, spread(["a", "b", "?"]))
    assert (found.constraints.enum, found.missing_values) == (("a", "b"), ("?", ""))


@pytest.mark.parametrize(
    "cells",
    [
        ["001", "002", "113"],
        ["00", "01"],
        ["12345678901234567890", "12345678901234567891", "1"],
        ["22298006", "73211009", "195662009", "38822007", "10509002"],
        ["1234567890", "2234567891", "3234567892"],
        ["-01", "5", "6"],
    ],
)
def test_digits_that_are_codes_stay_text(tmp_path, cells):
    found, text = field(tmp_path, spread(cells))
    assert (found.type, found.constraints.enum) == ("string", tuple(sorted(cells)))
    assert "code" in text


@pytest.mark.parametrize("name", ["CODE", "icd_code", "drug code", "icd9code", "drg"])
def test_a_name_says_that_digits_are_codes(tmp_path, name):
    found, _ = field(tmp_path, spread(["10", "113", "49"]), name)
    assert (found.type, found.constraints.enum) == ("string", ("10", "113", "49"))


def test_a_quantity_of_eight_digits_or_less_stays_a_number(tmp_path):
    found, _ = field(tmp_path, [str(1000 + 37 * i) for i in range(N)], "cost")
    assert (found.type, found.constraints.minimum) == ("integer", 1000)


@pytest.mark.parametrize(
    ("form", "iso"),
    [("%Y%m%d", False), ("%d.%m.%Y", False), ("%Y-%m-%d", True), ("%d-%b-%Y", False), ("%Y/%m/%d", False)],
)
def test_dates_are_dates_also_without_signs(tmp_path, form, iso):
    days = [datetime.date(2019, 1, 1) + datetime.timedelta(17 * i) for i in range(N)]
    found, _ = field(tmp_path, [day.strftime(form) for day in days], "visit")
    assert (found.type, found.format) == ("date", None if iso else form)
    assert found.constraints.minimum == "2019-01-01"


MOMENTS = [pd.Timestamp("2019-02-27 23:59:01") + pd.Timedelta(hours=37 * i, seconds=i) for i in range(N)]


@pytest.mark.parametrize(
    ("form", "kind", "keys"),
    [
        ("%Y-%m-%d %H:%M:%S", "datetime", {"format": "%Y-%m-%d %H:%M:%S"}),
        ("%Y-%m-%dT%H:%M:%S", "datetime", {"format": None}),
        ("%Y-%m-%dT%H:%M:%SZ", "datetime", {"format": "%Y-%m-%dT%H:%M:%SZ", "timezone": None}),
        ("%d.%m.%Y %H:%M", "datetime", {"format": "%d.%m.%Y %H:%M"}),
        ("%m/%d/%Y %I:%M %p", "datetime", {}),
        ("%Y%m%d%H%M%S", "datetime", {"format": "%Y%m%d%H%M%S"}),
        ("%H:%M:%S", "time", {"format": None}),
        ("%H:%M", "time", {"format": "%H:%M"}),
        ("%-d.%-m.%Y", "date", {"format": "%-d.%-m.%Y"}),
    ],
)
def test_times_of_day_and_moments_keep_their_parts(tmp_path, form, kind, keys):
    path = table(tmp_path, {"filler": spread("123"), "x": [moment.strftime(form) for moment in MOMENTS]})
    _, schema = confirmed(tmp_path, path)
    found = schema.column("x").field
    assert found.type == kind
    assert {key: getattr(found, key) for key in keys} == keys
    assert files.schema_check(tmp_path / "s.yaml", path, dialect={})["violations"] == []


def test_moments_far_from_the_origin_are_not_a_second_off(tmp_path):
    start = pd.Timestamp("2160-01-31 06:55:00")
    cells = [str(start + pd.Timedelta(minutes=7919 * i)) for i in range(400)]
    path = table(tmp_path, {"filler": ["1", "2"] * 200, "admittime": cells})
    _, schema = confirmed(tmp_path, path)
    assert schema.column("admittime").field.type == "datetime"
    assert files.schema_check(tmp_path / "s.yaml", path, dialect={})["violations"] == []


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/New_York", "Etc/GMT-7"])
def test_offsets_become_a_zone(tmp_path, zone):
    instants = pd.Series(MOMENTS).dt.tz_localize("UTC") + pd.to_timedelta(range(0, 5 * N, 5), unit="D")
    cells = [moment.isoformat() for moment in instants.dt.tz_convert(zone)]
    path = table(tmp_path, {"filler": spread("123"), "x": cells})
    _, schema = confirmed(tmp_path, path)
    assert (schema.column("x").field.type, schema.column("x").field.timezone) == ("datetime", zone)
    assert files.schema_check(tmp_path / "s.yaml", path, dialect={})["violations"] == []


@pytest.mark.parametrize("value", ["0", "1.5", "136.00", "x", "2020-01-31", "007", "-3"])
@pytest.mark.parametrize("missing", [[], [""], ["NA"]])
def test_one_value_in_every_record_is_a_category_of_one(tmp_path, value, missing):
    path = table(tmp_path, {"filler": spread(["1", "2", "3"]), "x": spread([value, *missing])})
    _, schema = confirmed(tmp_path, path)
    found = schema.column("x")
    assert found.kind == "category"
    assert str(value) in map(str, found.labels)
    assert files.schema_check(tmp_path / "s.yaml", path, dialect={})["valid"]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("1", "0"), ("1", "0")),
        (("True", "False"), ("True", "False")),
        (("true", "false"), None),
        (("Y", "N"), ("Y", "N")),
        (("Ja", "Nein"), ("Ja", "Nein")),
        (("1.0", "0.0"), ("1.0", "0.0")),
        (("T", "F"), ("T", "F")),
    ],
)
def test_a_boolean_keeps_its_spelling(tmp_path, pair, words):
    found, _ = field(tmp_path, spread(pair))
    assert found.type == "boolean"
    assert (found.true_values, found.false_values) == (
        (("true", "True", "TRUE", "1"), ("false", "False", "FALSE", "0"))
        if words is None
        else ((words[0],), (words[1],))
    )


@pytest.mark.parametrize("cells", [["?"], ["?", ""], ["-"], ["?", "-"]])
def test_a_column_of_missing_signs_alone_is_a_category(tmp_path, cells):
    rows = [f"P{i},{cells[i % len(cells)]},{i % 3}" for i in range(40)]
    (tmp_path / "t.csv").write_text("id,x,y\n" + "\n".join(rows) + "\n")
    text = from_file.init(tmp_path / "t.csv", suggest=True, named=Named("id")).text
    (tmp_path / "s.yaml").write_text(text.replace("confirmed: false", "confirmed: true"))
    schema = load_schema(tmp_path / "s.yaml")
    assert schema.column("x").labels
    assert [v for v in check.check(tmp_path / "t.csv", schema) if v.severity == "error"] == []


def test_sentences_are_dropped_with_the_reason_and_never_shown(tmp_path):
    notes = [f"Zebra seen on day {i}, no other findings, to be continued" for i in range(N)]
    found, text = field(tmp_path, notes, "remarks")
    assert found.role == "drop"
    assert "free text" in text
    assert "Zebra" not in text


def test_words_that_differ_in_every_record_are_an_id(tmp_path):
    found, _ = field(tmp_path, [f"K{i * 7919 % 100_000:05d}x" for i in range(N)], "sample")
    assert found.role == "id"


def test_decimals_are_those_of_the_cells(tmp_path):
    found, text = field(tmp_path, spread(["1.5", "2", "3.25", "0.1"]))
    assert (found.type, found.decimals) == ("number", 2)
    assert "decimals: 2" in text


def test_required_is_suggested_exactly_where_no_cell_is_empty(tmp_path):
    for cells, required in (
        (["1", "2"], True),
        (["1", "2", ""], False),
        (["a", "b"], True),
        (["a", "?"], False),
    ):
        assert field(tmp_path, spread(cells))[0].constraints.required is required


def test_an_end_counts_from_its_start_where_it_never_precedes_it(tmp_path):
    rng = np.random.default_rng(3)
    start = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), unit="D")
    end = start + pd.to_timedelta(rng.integers(0, 40, N), unit="D")
    ends = [day.strftime("%Y-%m-%d") if i % 4 else "" for i, day in enumerate(end)]
    path = table(tmp_path, {"START": start.strftime("%Y-%m-%d"), "END": ends, "sex": spread("FM")})
    _, schema = confirmed(tmp_path, path)
    found = schema.column("END").field
    assert (found.since, found.constraints.minimum) == (
        "START",
        min((end - start).days[i] for i in range(N) if i % 4),
    )
    assert files.schema_check(tmp_path / "s.yaml", path, dialect={})["valid"]
    starts = list(start.strftime("%Y-%m-%d"))
    starts[3] = ""  # an end without a start would be missing
    path = table(tmp_path, {"START": starts, "END": end.strftime("%Y-%m-%d"), "sex": spread("FM")})
    assert confirmed(tmp_path, path)[1].column("END").field.since is None


def test_comparisons_and_sums_that_always_hold_are_shown_as_comments(tmp_path):
    rng = np.random.default_rng(4)
    diastolic = rng.integers(50, 110, 400)
    systolic = diastolic + rng.integers(10, 60, 400)
    ward, theatre = rng.integers(0, 90, 400), rng.integers(0, 90, 400)
    pulse = rng.integers(40, 180, 400)
    columns = {
        "diastolic": diastolic,
        "systolic": systolic,
        "ward": ward,
        "theatre": theatre,
        "total": ward + theatre,
        "pulse": pulse,
        "height cm": rng.integers(185, 210, 400),
    }
    path = table(tmp_path, columns)
    text = from_file.init(path, suggest=True).text
    head, lines = text.split("# rules:\n")
    (tmp_path / "s.yaml").write_text(head + "rules:\n" + lines.replace("#   - ", "  - "))
    confirm(tmp_path / "s.yaml", None)
    assert len(load_schema(tmp_path / "s.yaml").parsed_rules) == 2
    assert files.schema_check(tmp_path / "s.yaml", path, dialect={})["valid"]
    rules = [line.split('"')[1] for line in text.splitlines() if line.startswith("#   - ")]
    assert rules == ["total = ward + theatre", "diastolic < systolic"]
    columns["total"] = columns["total"].copy()
    columns["total"][7] += 1
    assert "total =" not in from_file.init(table(tmp_path, columns), suggest=True).text


def test_a_total_of_three_parts_is_seen(tmp_path):
    rng = np.random.default_rng(5)
    parts = {name: rng.integers(0, 50, 300) for name in "abc"}
    path = table(tmp_path, {**parts, "other": rng.integers(0, 50, 300), "sum": sum(parts.values())})
    assert '"sum = a + b + c"' in from_file.init(path, suggest=True).text


def test_a_score_of_few_points_adds_up_too(tmp_path):
    rng = np.random.default_rng(6)
    motor, verbal = rng.integers(0, 5, 400), rng.integers(0, 4, 400)
    path = table(tmp_path, {"motor": motor, "verbal": verbal, "score": motor + verbal})
    assert '"score = motor + verbal"' in from_file.init(path, suggest=True).text


def test_numbers_with_decimal_commas_that_hardly_come_back_are_no_ids(tmp_path):
    cells = [f"{20 + i // 9},{i % 100:02d}" for i in range(300)]
    draft = from_file.init(table(tmp_path, {"crea": cells, "sex": ["F", "M"] * 150}), suggest=True)
    assert draft.notes == ("Columns ['crea'] seem to hold decimal commas: draft anew with --decimal ,",)


def test_an_outcome_comes_before_a_class_of_something(tmp_path):
    columns = {"insurance_class": spread(["private", "public"]), "died": spread("01")}
    assert confirmed(tmp_path, table(tmp_path, columns))[1].with_role("label") == ("died",)
    assert confirmed(tmp_path, table(tmp_path, {"class": spread("AB")}))[1].with_role("label") == ("class",)


def test_a_number_that_stands_apart_is_asked_about(tmp_path):
    _, text = field(tmp_path, spread(["45", "51", "62", "39", "999"]), "weight")
    assert "999 stands apart" in text
    _, text = field(tmp_path, spread(["45", "51", "62", "39", "70"]), "weight")
    assert "stands apart" not in text


def test_many_categories_are_paid_for_where_patients_are_named_and_dropped_where_not(tmp_path):
    cells = [f"w{i % 70}" for i in range(210)]
    path = table(tmp_path, {"pid": [i // 2 for i in range(210)], "ward": cells, "sex": ["F", "M"] * 105})
    draft, schema = confirmed(tmp_path, path)
    assert schema.column("ward").field.categories == "paid"
    assert "w69" not in draft.text
    path = table(tmp_path, {"ward": cells, "sex": ["F", "M"] * 105})
    assert next(f for f in confirmed(tmp_path, path)[1].fields if f.name == "ward").role == "drop"


def test_codes_of_diseases_take_their_public_hierarchy(tmp_path):
    cells = [f"{'ABCEGIJKMN'[i % 10]}{10 + i % 60}.{i % 9}" for i in range(240)]
    path = table(tmp_path, {"icd10": cells, "sex": ["F", "M"] * 120})
    assert confirmed(tmp_path, path)[1].column("icd10").field.codes == "icd10"


def test_roles_follow_from_names_and_identifying_names_are_dropped(tmp_path):
    path = table(
        tmp_path,
        {
            "age": spread(["40", "50", "61"]),
            "sex": spread("FM"),
            "death": spread("10"),
            "zip": spread(["10115", "80331"]),
            "phone": spread(["1", "2"]),
        },
    )
    _, schema = confirmed(tmp_path, path)
    assert {one.name: one.role for one in schema.fields} == {
        "age": "protected",
        "sex": "protected",
        "death": "label",
        "zip": "drop",
        "phone": "drop",
    }


def test_a_decimal_comma_is_said(tmp_path):
    path = table(tmp_path, {"dose": spread(["1,5", "2,25", "3"]), "sex": spread("FM")}, delimiter=";")
    draft = from_file.init(path, suggest=True, delimiter=";")
    assert "--decimal ," in draft.notes[0]
    assert "decimal comma" in draft.text
    draft = from_file.init(path, suggest=True, delimiter=";", decimal=",")
    assert draft.notes == ()
    assert "decimals: 2" in draft.text


def test_a_person_names_the_unit(tmp_path):
    path = table(tmp_path, {"case": [f"c{i // 3}" for i in range(N)], "sex": spread("FM")})
    draft, schema = confirmed(tmp_path, path, named=Named(unit="case"))
    assert (schema.unit.column, schema.fields[0].role) == ("case", "id")
    assert "nine in ten at most 3 rows" in draft.text


def test_a_person_names_outcomes_and_groups(tmp_path):
    columns = {"num": spread("01234"), "sex": spread("FM"), "ward": spread("ab"), "d": spread(["1.5", "2"])}
    path = table(tmp_path, columns)
    _, schema = confirmed(tmp_path, path, named=Named(labels=("num",), protected=("ward",)))
    assert schema.column("num").labels == (0, 1, 2, 3, 4)
    roles = {one.name: one.role for one in schema.fields}
    assert roles == {"num": "label", "sex": "protected", "ward": "protected", "d": None}
    assert files.schema_check(tmp_path / "s.yaml", path, dialect={})["valid"]
    for wrong in (Named(unit="x"), Named(labels=("x",)), Named(labels=("sex",), protected=("sex",))):
        with pytest.raises(ConfigError):
            from_file.init(path, suggest=True, named=wrong)
        with pytest.raises(ConfigError):
            from_file.init(path, named=wrong)


def test_a_table_of_ids_and_texts_alone_is_refused(tmp_path):
    path = table(
        tmp_path, {"a": [f"k{i}" for i in range(N)], "b": [f"seen on day {i} of the study" for i in range(N)]}
    )
    with pytest.raises(DataError, match="modelled"):
        from_file.init(path, suggest=True)


# Any table


def column(texts, least=1, most=6):
    return st.lists(texts, min_size=least, max_size=most, unique=True).flatmap(
        lambda values: st.lists(st.sampled_from(values), min_size=N, max_size=N)
    )


DIGITS = st.text("0123456789", min_size=1, max_size=22)
NUMBERS = st.decimals(-9999, 9999, places=2).map(str) | st.integers(-(10**6), 10**6).map(str)
FREE = st.lists(NUMBERS, min_size=N, max_size=N)
DAYS = st.dates(datetime.date(1930, 1, 1), datetime.date(2030, 1, 1))
TOKENS = st.sampled_from(["", "NA", "NaN", "null", "?", ".", "-", "None", " ", "unknown"])
KINDS = {
    "text": column(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8)),
    "spaced": column(st.text(" ab1.-,", max_size=6)),
    "digits": column(DIGITS),
    "codes": st.lists(DIGITS, min_size=N, max_size=N),
    "tokens": column(TOKENS | st.sampled_from(["a", "b", "1", "2.50", "2020-01-31"])),
    "numbers": FREE,
    "few numbers": column(NUMBERS | TOKENS),
    "iso": st.lists(DAYS.map(str), min_size=N, max_size=N),
    "clock": st.lists(st.times().map(lambda time: time.strftime("%H:%M")), min_size=N, max_size=N),
    "seconds": st.lists(
        st.datetimes(pd.Timestamp("1950-01-01"), pd.Timestamp("2030-01-01")).map(
            lambda t: t.strftime("%d.%m.%Y %H:%M:%S")
        ),
        min_size=N,
        max_size=N,
    ),
    "compact": st.lists(DAYS.map(lambda day: day.strftime("%Y%m%d")), min_size=N, max_size=N),
    "german": column(DAYS.map(lambda day: day.strftime("%d.%m.%Y")) | TOKENS),
    "boolean": st.sampled_from(
        [("1", "0"), ("yes", "no"), ("TRUE", "FALSE"), ("J", "N"), ("1.0", "0.0")]
    ).flatmap(lambda pair: st.lists(st.sampled_from([*pair, ""]), min_size=N, max_size=N)),
    "integers": st.lists(st.integers(-50, 10**7).map(str), min_size=N, max_size=N),
    "wide": st.lists(st.floats(-1e100, 1e100).map(repr), min_size=N, max_size=N),
}
TABLES = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4).flatmap(
    lambda kinds: st.fixed_dictionaries({f"{kind} {i}": KINDS[kind] for i, kind in enumerate(kinds)})
)


@settings(
    deadline=None,
    max_examples=25,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(columns=TABLES)
def test_a_confirmed_draft_of_any_table_is_valid_and_gives_its_cells_back(tmp_path_factory, columns):
    tmp_path = tmp_path_factory.mktemp("t")
    path = table(tmp_path, {"group": spread(["ward a", "ward b"]), **columns})
    _, schema = confirmed(tmp_path, path)
    shown = files.schema_check(tmp_path / "s.yaml", path, dialect={})
    assert [row for row in shown["violations"] if row["severity"] == "error"] == []
    if any(one.unpaid for one in schema.fields):
        return
    read = read_table(path, schema)[0]
    write_table(SyntheticTable(schema, read.frame), tmp_path / "back.csv")
    back = read_raw(tmp_path / "back.csv")
    raw = read_raw(path)
    for one in schema.columns:
        if one.kind in ("category", "integer"):
            tokens = schema.tokens(one.field)
            before = [tokens[0] if cell in tokens else cell for cell in raw[one.name]]
            assert [str(cell) for cell in back[one.name]] == [_plain(cell, one) for cell in before]


def _plain(cell, column):
    """Return a cell as a whole number's shortest form; dates and categories come back as they are."""
    is_number = (
        column.field.type == "integer"
        and column.kind == "integer"
        and cell.strip().lstrip("+-")[:1].isdigit()
    )
    return str(int(float(cell))) if is_number else cell


@settings(
    deadline=None,
    max_examples=30,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1).filter(str.strip),
        min_size=3,
        max_size=3,
        unique=True,
    )
)
def test_any_column_name_survives_comments_and_rules(tmp_path_factory, names):
    tmp_path = tmp_path_factory.mktemp("t")
    low = [30 + 7 * i % 41 for i in range(N)]
    day = [datetime.date(2020, 1, 1) + datetime.timedelta(11 * i % 97) for i in range(N)]
    end = [one + datetime.timedelta(i % 5) for i, one in enumerate(day)]
    path = tmp_path / "t.parquet"
    columns = dict(zip(names, (low, day, end), strict=True))
    pd.DataFrame(
        {"group": spread(["ward a", "ward b"]), "above": [v + v % 3 for v in low], **columns}
    ).to_parquet(path)
    draft = from_file.init(path, suggest=True)
    (tmp_path / "s.yaml").write_text(draft.text, encoding="utf-8")
    assert [one.name for one in load_schema(tmp_path / "s.yaml", complete=False).fields][2:] == names


NATIVE = {
    "integer": st.lists(st.integers(-(2**40), 2**40), min_size=N, max_size=N),
    "few": st.lists(st.integers(0, 3), min_size=N, max_size=N),
    "gaps": st.lists(st.none() | st.integers(0, 90).map(float), min_size=N, max_size=N),
    "number": st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 3)), min_size=N, max_size=N),
    "boolean": st.lists(st.none() | st.booleans(), min_size=N, max_size=N),
    "date": st.lists(st.none() | DAYS, min_size=N, max_size=N),
    "midnight": st.lists(DAYS.map(pd.Timestamp), min_size=N, max_size=N),
    "moment": st.lists(
        st.datetimes(pd.Timestamp("1950-01-01"), pd.Timestamp("2030-01-01")), min_size=N, max_size=N
    ),
    "instant": st.lists(
        st.datetimes(pd.Timestamp("1950-01-01"), pd.Timestamp("2030-01-01"), timezones=st.just(datetime.UTC)),
        min_size=N,
        max_size=N,
    ),
    "time": st.lists(st.none() | st.times(), min_size=N, max_size=N),
    "text": column(st.none() | st.text("NA n0.", max_size=3)),
    "constant": st.sampled_from([0, 1.5, "x", datetime.date(2020, 1, 1), True]).map(
        lambda value: [value] * N
    ),
}


@settings(
    deadline=None,
    max_examples=25,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    columns=st.lists(st.sampled_from(sorted(NATIVE)), min_size=1, max_size=4).flatmap(
        lambda kinds: st.fixed_dictionaries({f"{kind} {i}": NATIVE[kind] for i, kind in enumerate(kinds)})
    )
)
def test_a_confirmed_draft_of_any_parquet_file_is_valid(tmp_path_factory, columns):
    tmp_path = tmp_path_factory.mktemp("t")
    path = tmp_path / "t.parquet"
    pd.DataFrame({"group": spread(["ward a", "ward b"]), **columns}).to_parquet(path)
    confirmed(tmp_path, path)
    shown = files.schema_check(tmp_path / "s.yaml", path, dialect={})
    assert [row for row in shown["violations"] if row["severity"] == "error"] == []


REAL = {
    "heart_uci/heart_disease_uci.csv": {},
    "heart_uci/processed.cleveland.csv": {"delimiter": ";"},
    "survival_r/pbcseq.csv": {},
    "synthea/careplans.csv.gz": {},
    "synthea/patients.csv.gz": {},
    "eicu_demo/patient.csv.gz": {"named": Named(unit="uniquepid")},
    "mimic3_demo/ADMISSIONS.csv.gz": {},
    "covid_cxr_hannover/data.csv": {},
    "omop_synthea1k/person.csv.gz": {},
}


@pytest.mark.parametrize("name", REAL)
def test_a_confirmed_draft_of_a_real_table_is_valid(tmp_path, name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"SYNTHGEN_TEST_DATA has no {name}")
    confirmed(tmp_path, path, **REAL[name])
    dialect = {key: value for key, value in REAL[name].items() if key != "named"}
    shown = files.schema_check(tmp_path / "s.yaml", path, dialect=dialect)
    assert [row for row in shown["violations"] if row["severity"] == "error"] == []
