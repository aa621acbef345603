"""From files to canonical records: what is read, what is refused, and that no message holds a cell."""

import datetime
import decimal
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen import datasets
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.tables.table import canonical, read_raw, read_table, row_units
from synthgen.schema.schema import Schema, load_schema

DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


def real(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"SYNTHGEN_TEST_DATA has no {name}")
    return path


def schema(*fields, unit=None, **more):
    document = {"unit": unit or {"level": "row"}, "fields": list(fields), **more}
    return Schema.model_validate_json(json.dumps(document))


def one(values, field, *, name="x", **options):
    """Return the canonical column and the report of a table with a single column."""
    table, report = canonical(pd.DataFrame({name: values}), None, schema({"name": name, **field}), **options)
    return table.frame[name], report


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(call, *arguments, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    return caught.value


NUMBER = {"type": "number", "constraints": {"minimum": -10, "maximum": 1000}}
INTEGER = {"type": "integer", "constraints": {"minimum": 0, "maximum": 100}}
DATE = {
    "type": "date",
    "origin": "2020-01-01",
    "constraints": {"minimum": "2019-01-01", "maximum": "2021-01-01"},
}
SEX = {"type": "string", "constraints": {"enum": ["F", "M"]}}


# reading


def test_every_cell_of_a_csv_stays_text_and_the_index_is_its_line(tmp_path):
    text = 'a,b,c\n007,NA,""\n\n"x\ny",1e-6,no\nz,"a,b",None\n'
    frame = read_raw(write(tmp_path / "t.csv", text))
    assert frame.to_numpy().tolist() == [["007", "NA", ""], ["x\ny", "1e-6", "no"], ["z", "a,b", "None"]]
    assert frame.index.tolist() == [2, 4, 6]
    assert frame.index.name == "line"


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path, ends):
    content = b"\xef\xbb\xbf" + ends.join(["a;b", "1;ü", ""]).encode()
    frame = read_raw(write(tmp_path / "t.csv", content), delimiter=";")
    assert frame.to_dict("records") == [{"a": "1", "b": "ü"}]


def test_gzip_and_other_encodings_are_read(tmp_path):
    content = "a,b\n1,Größe\n".encode("cp1252")
    frame = read_raw(write(tmp_path / "t.csv.gz", gzip.compress(content, mtime=0)), encoding="cp1252")
    assert frame.b.tolist() == ["Größe"]
    wide = "a,b\n1,Größe\n".encode("utf-16")
    assert read_raw(write(tmp_path / "u.csv", wide), encoding="utf-16").b.tolist() == ["Größe"]


def test_only_the_columns_asked_for_are_kept_and_an_unknown_one_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c\n1,2,3\n")
    assert list(read_raw(path, columns=["c", "a"]).columns) == ["a", "c"]
    assert "'d'" in str(refusal(read_raw, path, columns=["d"]))


def test_a_column_without_a_name_is_called_by_its_position(tmp_path):
    assert list(read_raw(write(tmp_path / "t.csv", ",age\n1,2\n")).columns) == ["column_1", "age"]


def test_a_large_file_keeps_its_order_over_chunks(tmp_path):
    n = 45_000
    frame = read_raw(write(tmp_path / "t.csv", "a,b\n" + "".join(f"{i},x\n" for i in range(n))))
    assert frame.a.astype(int).tolist() == list(range(n))
    assert frame.index[-1] == n + 1


SECRET = "Miller-1960"  # noqa: S105 - what a cell may hold


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (f"a,b\n1,2\n{SECRET}\n", 3, "Expected 2 fields as in the first line, got 1"),
        (f"a,b\n1,2\n1,2,{SECRET}\n", 3, "got 3"),
        (f'a,b\n"x\ny",2\n\n{SECRET}\n', 5, "got 1"),
        (f'a,b\n1,"{SECRET}\n2,3\n', 2, "closing quote"),
        (f'a,b\n1,"{SECRET}"x\n', 2, "after a closing quote"),
        (f"a,b\n1,2\n1,{SECRET}ü\n".encode("latin-1"), 3, "Expected text in utf-8"),
        (f"a,b\n1,{SECRET}\0\n", 2, "NUL"),
        (f"a,b\n1,{SECRET * 100_000}\n", 2, "at most 131072 characters"),
        (f"{SECRET},b,{SECRET}\n1,2,3\n", 1, "columns 1 and 3 are named alike"),
    ],
)
def test_a_malformed_csv_is_refused_with_its_line_and_without_its_content(tmp_path, content, line, words):
    path = write(tmp_path / "t.csv", content)
    error = refusal(read_raw, path)
    assert words in error.message
    assert error.where == f"{path}:{line}"
    assert SECRET not in str(error)
    assert error.next_step
    assert error.exit_code == 3


def test_a_wrong_byte_far_down_a_file_is_found_in_its_line(tmp_path):
    content = b"a,b\n" + b"1,2\n" * 30_000 + b"1,\xff\n" + b"1,2\n" * 10
    assert refusal(read_raw, write(tmp_path / "t.csv", content)).where.endswith(":30002")


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.csv.gz"])
def test_a_missing_or_empty_file_is_a_data_error(tmp_path, name):
    assert "found none" in str(refusal(read_raw, tmp_path / name))
    assert "empty" in str(refusal(read_raw, write(tmp_path / name, b"")))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.parquet", b"a,b\n1,2\n", "Expected Parquet"),
        ("t.parquet", b"PAR1" + b"x" * 100 + b"PAR1", "Expected Parquet"),
        ("t.csv.gz", b"a,b\n1,2\n", "Expected gzip"),
        ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 9999, mtime=0)[:-20], "Expected gzip"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:10] + b"\xff" * 40, "Expected gzip"),
        ("t.csv", b"\n\n", "empty"),
    ],
)
def test_other_content_than_the_name_says_is_a_data_error(tmp_path, name, content, words):
    assert words in str(refusal(read_raw, write(tmp_path / name, content)))


@pytest.mark.parametrize(
    "options", [{"encoding": "utf-88"}, {"delimiter": ";;"}, {"delimiter": "\n"}, {"decimal": "x"}]
)
def test_an_option_that_cannot_be_meant_is_a_config_error(tmp_path, options):
    assert refusal(read_raw, write(tmp_path / "t.csv", "a\n1\n"), kind=ConfigError, **options).exit_code == 2


def test_parquet_columns_named_alike_are_refused(tmp_path):
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    assert "columns 1 and 2" in str(refusal(read_raw, tmp_path / "t.parquet"))


def test_parquet_keeps_its_types_and_integers_with_gaps_stay_integers(tmp_path):
    table = pa.table({"i": pa.array([1, None], pa.int32()), "b": [True, None], "s": ["007", None]})
    pq.write_table(table, tmp_path / "t.parquet")
    frame = read_raw(tmp_path / "t.parquet")
    assert [str(kind) for kind in frame.dtypes] == ["Int32", "boolean", "string"]
    assert frame.s.tolist()[0] == "007"


# canonical columns


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
    [
        (["1", "2.5", "-3e0", " 4 ", "+5", ""], {}, [1, 2.5, -3, 4, 5, np.nan]),
        (["1", "2,5", "0,125"], {"decimal": ","}, [1, 2.5, 0.125]),
        ([decimal.Decimal("1.5"), None], {}, [1.5, np.nan]),
        (pd.array([1, None], dtype="Int64"), {}, [1, np.nan]),
        (np.array([1.5, np.nan], dtype="float32"), {}, [1.5, np.nan]),
    ],
)
def test_numbers_are_read_from_text_and_from_native_types(cells, options, expected):
    values, report = one(cells, NUMBER, **options)
    np.testing.assert_allclose(values.to_numpy(), expected)
    assert report.missing["x"] == int(np.isnan(expected).sum())


@pytest.mark.parametrize(
    "cell",
    ["nan", "inf", "-inf", "1,5", "1 000", "0x1F", "1_000", "True", "12 mg", "9" * 400, "١", "1e400", "--1"],
)
def test_a_text_that_is_no_finite_number_is_refused(cell):
    error = refusal(one, ["1", cell, cell], NUMBER)
    assert "column 'x': 2 cells that are no number, first in record 2" in error.message
    assert cell not in error.message.replace("column 'x': 2 cells", "")


def test_a_point_among_decimal_commas_is_refused_and_not_taken_for_thousands():
    assert "no number" in str(refusal(one, ["1,5", "1.234"], NUMBER, decimal=","))


@pytest.mark.parametrize("values", [np.array([1.0, np.inf]), np.array([True, False]), np.array([b"1", b"2"])])
def test_native_values_that_are_no_finite_number_are_refused(values):
    assert "no number" in str(refusal(one, values, NUMBER))


def test_a_missing_token_that_looks_like_a_number_means_missing_in_native_numbers_too():
    field = {**NUMBER, "missingValues": ["-9", "NA"]}
    assert one(np.array([-9, 3]), field)[0].isna().tolist() == [True, False]
    assert one(["-9", "NA"], field)[0].isna().all()


def test_integers_take_whole_decimals_and_refuse_others():
    assert one(["3", "3.0", "003", " 7"], INTEGER)[0].tolist() == [3, 3, 3, 7]
    assert "1 cells that are no integer" in str(refusal(one, ["3", "3.5"], INTEGER))
    assert "1 cells that are no integer" in str(refusal(one, np.array([3, 3.5]), INTEGER))


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
    [
        (["2020-01-01", "2020-03-01", ""], {}, [0, 60, np.nan]),
        (["31.12.2019", "02.01.2020"], {"date_format": "%d.%m.%Y"}, [-1, 1]),
        (["20200102"], {"date_format": "%Y%m%d"}, [1]),
        (np.array([20200102]), {"date_format": "%Y%m%d"}, [1]),
        ([datetime.date(2020, 1, 3), None], {}, [2, np.nan]),
        (pd.to_datetime(["2020-01-02", None]), {}, [1, np.nan]),
    ],
)
def test_dates_become_days_from_the_public_origin(cells, options, expected):
    np.testing.assert_allclose(one(cells, DATE, **options)[0].to_numpy(), expected)


@pytest.mark.parametrize(
    "cells",
    [
        pd.to_datetime(["2020-01-02 23:59"]),
        pd.to_datetime(["2020-01-02"]).tz_localize("America/New_York"),
        ["2020-01-02T23:59:00"],
        ["2020-01-02+01:00"],
    ],
)
def test_a_time_of_day_or_a_zone_is_refused_in_a_date_and_not_lost(cells):
    assert "1 cells that are no date" in str(refusal(one, cells, DATE))


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M%z", "%Y-%m-%d %Z", "%Y-%m", "%y"])
def test_a_date_format_that_cannot_give_back_the_day_is_refused_before_anything_is_read(form):
    with pytest.raises(ConfigError, match="format"):
        one(["2020-01-02"], DATE, date_format=form)


@pytest.mark.parametrize(
    "cell", ["31.12.2019", "2019-02-29", "today", "now", "NaT", "2020-13-01", "1577836800", "zzz"]
)
def test_a_text_that_is_no_date_of_the_format_is_refused(cell):
    error = refusal(one, [cell, "2020-01-01"], DATE)
    assert "1 cells that are no date, first in record 1" in error.message
    assert cell not in error.message.replace("no date", "")


def test_a_fields_own_date_format_goes_before_the_tables():
    values, _ = one(["02/01/2020"], {**DATE, "format": "%d/%m/%Y"}, date_format="%Y-%m-%d")
    assert values.tolist() == [1]


def test_a_date_format_that_is_none_is_a_config_error():
    assert refusal(one, ["2020-01-01"], DATE, kind=ConfigError, date_format="%Q").exit_code == 2


@pytest.mark.parametrize(
    ("cells", "field", "expected"),
    [
        (["F", "M", "", "F"], SEX, ["F", "M", None, "F"]),
        (pd.array(["F", None], dtype="category"), SEX, ["F", None]),
        (np.array([1, 2]), {"type": "string", "constraints": {"enum": ["1", "2"]}}, ["1", "2"]),
        (["1", "2.0", "02"], {"type": "integer", "constraints": {"enum": [1, 2]}}, [1, 2, 2]),
        (np.array([1.0, np.nan]), {"type": "integer", "constraints": {"enum": [1, 2]}}, [1, None]),
        (["-1"], {"type": "integer", "constraints": {"enum": [-1, 1]}}, [-1]),
        (["true", "False", "1", "0", ""], {"type": "boolean"}, [True, False, True, False, None]),
        (["Y", "N"], {"type": "boolean", "trueValues": ["Y"], "falseValues": ["N"]}, [True, False]),
        (
            np.array([True, False]),
            {"type": "boolean", "trueValues": ["Y"], "falseValues": ["N"]},
            [True, False],
        ),
        (pd.array([True, None], dtype="boolean"), {"type": "boolean"}, [True, None]),
        (np.array([1.0, 0.0, np.nan]), {"type": "boolean"}, [True, False, None]),
    ],
)
def test_categories_are_read_from_text_and_from_native_types(cells, field, expected):
    values, _ = one(cells, field)
    assert [None if pd.isna(value) else value for value in values] == expected
    assert isinstance(values.dtype, pd.CategoricalDtype)


def test_categories_are_the_schemas_whatever_occurs():
    table, _ = canonical(pd.DataFrame({"x": ["M"]}), None, schema({"name": "x", **SEX}))
    assert table.frame.x.cat.categories.tolist() == ["F", "M"]
    boolean, _ = one(["true"], {"type": "boolean"})
    assert boolean.cat.categories.tolist() == [False, True]


def test_what_is_outside_is_refused_clipped_or_put_under_other_as_the_schema_says():
    assert "2 cells outside the bounds, first in record 2" in str(refusal(one, ["1", "-1", "101"], INTEGER))
    values, report = one(["1", "-1", "101"], {**INTEGER, "outside": "clip"})
    assert (values.tolist(), report.clipped) == ([1, 0, 100], {"x": 2})
    assert "2 cells outside the categories" in str(refusal(one, ["F", "D", "f"], SEX))
    values, report = one(["F", "D", ""], {**SEX, "outside": "other"})
    assert values.tolist()[:2] == ["F", "other"]
    assert (report.other, report.missing) == ({"x": 1}, {"x": 1})
    codes, _ = one(["1", "unknown"], {"type": "integer", "constraints": {"enum": [1]}, "outside": "other"})
    assert codes.tolist() == [1, "other"]


def test_a_text_that_is_no_number_is_never_clipped():
    assert "no integer" in str(refusal(one, ["1", "many"], {**INTEGER, "outside": "clip"}))


def test_blanks_around_a_category_are_not_cut_but_named():
    assert "(blanks around a category)" in str(refusal(one, ["F", " M"], SEX))
    assert "(blanks" not in str(refusal(one, ["F", " X"], SEX))


def test_a_missing_value_in_a_required_column_is_an_error():
    required = {"type": "string", "constraints": {"enum": ["F"], "required": True}}
    assert "1 cells missing in a required column" in str(refusal(one, ["F", ""], required))


def test_nested_parquet_values_are_refused_as_no_value_of_the_type(tmp_path):
    pq.write_table(pa.table({"x": [[1, 2], [3]]}), tmp_path / "t.parquet")
    raw = read_raw(tmp_path / "t.parquet")
    assert "2 cells that are no number" in str(refusal(canonical, raw, None, schema({"name": "x", **NUMBER})))
    assert "x" in str(refusal(canonical, raw, None, schema({"name": "x", **SEX})))


TABLE = schema(
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "age", **INTEGER},
    {"name": "sex", **SEX},
    {"name": "note", "type": "string", "role": "drop"},
    unit={"column": "pid", "max_records": 2},
    missingValues=["", "NA"],
)


def test_all_problems_of_all_columns_are_one_error_with_counts_and_lines(tmp_path):
    rows = ["pid,age,sex,note", 'p1,30,F,"two', 'lines"', " ,31,M,n", "NA,x,Q,n", "p2,999,F,n"]
    error = refusal(read_table, write(tmp_path / "t.csv", "\n".join(rows)), TABLE)
    assert error.message.splitlines() == [
        "Expected values as the schema says, got 4 problems:",
        "  column 'pid': 2 records without a patient, first in line 4",
        "  column 'age': 1 cells that are no integer, first in line 5",
        "  column 'age': 1 cells outside the bounds, first in line 6",
        "  column 'sex': 1 cells outside the categories, first in line 5",
    ]
    assert not any(cell in error.message for cell in ("999", "Q", "p1", "x,"))


def test_a_table_is_read_with_its_patients_and_a_report(tmp_path):
    path = write(tmp_path / "t.csv", "note,sex,pid,age\n,F,p1,30\n,,p1,\n,M, p2,40\n")
    table, report = read_table(path, TABLE)
    assert list(table.frame.columns) == ["age", "sex"]
    assert table.units.tolist() == ["p1", "p1", "p2"]
    assert report.to_json() == {
        "records": 3,
        "units": 2,
        "missing": {"age": 1, "sex": 1},
        "clipped": {},
        "other": {},
    }
    json.dumps(report.to_json())


def test_unknown_and_missing_columns_are_refused_and_ids_may_be_optional(tmp_path):
    bare = write(tmp_path / "bare.csv", "age,sex\n30,F\n30,F\n")
    assert "['pid', 'note']" in str(refusal(read_table, bare, TABLE))
    table, report = read_table(bare, TABLE, ids="optional")
    assert (report.units, len(set(table.units))) == (2, 2)
    extra = write(tmp_path / "extra.csv", "pid,age,sex,note,phone\n1,2,F,n,0123\n")
    error = refusal(read_table, extra, TABLE)
    assert "phone" in str(error)
    assert "0123" not in str(error)


def test_a_file_without_a_header_is_refused_without_repeating_its_first_record(tmp_path):
    error = refusal(read_table, write(tmp_path / "t.csv", f"{SECRET},30,F,n\n"), TABLE)
    assert "first line" in str(error)
    assert SECRET not in str(error)


def test_a_table_without_records_is_refused(tmp_path):
    error = refusal(read_table, write(tmp_path / "t.csv", "pid,age,sex,note\n"), TABLE)
    assert "without any" in str(error)


def test_many_problems_are_cut_to_a_readable_number():
    fields = [{"name": f"c{i}", **INTEGER} for i in range(50)]
    frame = pd.DataFrame({field["name"]: ["x"] for field in fields})
    error = refusal(canonical, frame, None, schema(*fields))
    assert "got 50 problems" in error.message
    assert "and 30 more problems" in error.message


def test_units_must_fit_the_level_of_the_schema():
    with pytest.raises(ValueError, match="units"):
        canonical(pd.DataFrame({"age": ["1"], "sex": ["F"]}), None, TABLE)


# row-level units


def rows(records):
    frame = pd.DataFrame(records, columns=["age", "sex"])
    fields = ({"name": "age", **INTEGER}, {"name": "sex", **SEX})
    return canonical(frame, None, schema(*fields))[0]


records = st.lists(
    st.tuples(st.sampled_from(["1", "2", ""]), st.sampled_from(["F", "M", ""])), min_size=2, max_size=9
)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(records=records, data=st.data())
def test_without_one_record_all_others_keep_their_names(records, data):
    gone = data.draw(st.integers(0, len(records) - 1))
    every = set(rows(records).units)
    rest = set(rows(records[:gone] + records[gone + 1 :]).units)
    assert len(every) == len(records)
    assert rest < every


def test_row_numbers_as_names_would_rename_the_records_behind_a_removed_one():
    cells = [("1", "F"), ("2", "M"), ("1", "M")]
    every, rest = (
        dict(zip(cells, rows(cells).units, strict=True)),
        dict(zip(cells[1:], rows(cells[1:]).units, strict=True)),
    )
    assert rest.items() < every.items()
    numbers, fewer = {c: i for i, c in enumerate(cells)}, {c: i for i, c in enumerate(cells[1:])}
    assert not fewer.items() < numbers.items()


def test_names_do_not_depend_on_order_and_a_zero_has_no_sign():
    a, b = rows([("1", "F"), ("2", "M")]).units, rows([("2", "M"), ("1", "F")]).units
    assert a.tolist() == b.tolist()[::-1]
    zeros = row_units(pd.DataFrame({"x": [0.0, -0.0]}))
    assert zeros[0].split("#")[0] == zeros[1].split("#")[0]
    assert [name.split("#")[1] for name in zeros] == ["0", "1"]


# properties and real files


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.sampled_from(["", "F", "M"]), st.one_of(st.none(), st.integers(0, 100))),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_written_is_read_back(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    frame = pd.DataFrame(
        {"sex": [c[0] for c in cells], "age": pd.array([c[1] for c in cells], dtype="Int64")}
    )
    frame.to_csv(path, index=False)
    table, _ = read_table(path, schema({"name": "sex", **SEX}, {"name": "age", **INTEGER}))
    assert table.frame.sex.astype(object).where(table.frame.sex.notna(), "").tolist() == frame.sex.tolist()
    assert table.frame.age.astype("Int64").equals(frame.age)


def test_the_demo_cohort_is_read_from_parquet_and_from_csv_alike(tmp_path):
    folder = datasets.path("diabetes130")
    demo = load_schema(folder / "encounters.schema.yaml")
    table, report = read_table(folder / "encounters.parquet", demo)
    frame = pd.read_parquet(folder / "encounters.parquet")
    assert (report.records, report.units) == (len(frame), frame.patient_nbr.nunique())
    assert report.missing["race"] == frame.race.isna().sum() > 1_000
    assert sum(report.clipped.values()) == 0
    sample = pd.read_parquet(folder / "encounters.parquet").head(3_000)
    sample.to_csv(tmp_path / "t.csv", index=False)
    again, _ = read_table(tmp_path / "t.csv", demo)
    pd.testing.assert_frame_equal(again.frame, table.frame.head(3_000))
    assert again.units.tolist() == table.units[:3_000].tolist()


def test_support2_is_read_with_its_row_numbers_dropped_and_its_gaps_counted():
    path = real("support2/support2.csv.gz")
    raw = read_raw(path)
    kept = {
        "age": {"type": "number", "constraints": {"minimum": 18, "maximum": 105}},
        "sex": {"type": "string", "constraints": {"enum": ["female", "male"]}},
        "race": {"type": "string", "constraints": {"enum": ["asian", "black", "hispanic", "other", "white"]}},
        "meanbp": {"type": "number", "constraints": {"minimum": 0, "maximum": 200}},
        "hospdead": {"type": "boolean", "role": "label"},
    }
    fields = [{"name": name, **kept.get(name, {"type": "string", "role": "drop"})} for name in raw.columns]
    assert raw.columns[0] == "column_1"
    table, report = read_table(path, schema(*fields, missingValues=["", "NA"]))
    assert (report.records, report.missing["race"]) == (9_105, 42)
    assert (table.frame.sex == "male").sum() == 5_125
    assert round(float(table.frame.hospdead.eq(True).mean()), 3) == 0.259


def test_adult_names_its_blanks_after_commas_instead_of_reading_them_silently(tmp_path):
    lines = gzip.decompress(real("adult/adult.data.gz").read_bytes()).decode()
    names = "age workclass fnlwgt education education_num marital occupation relationship race sex gain loss "
    names += "hours country income"
    path = write(tmp_path / "adult.csv", ",".join(names.split()) + "\n" + lines)
    kept = {
        "age": {"type": "integer", "constraints": {"minimum": 16, "maximum": 90}},
        "sex": {"type": "string", "constraints": {"enum": ["Female", "Male"]}},
    }
    fields = [{"name": name, **kept.get(name, {"type": "string", "role": "drop"})} for name in names.split()]
    error = refusal(read_table, path, schema(*fields))
    assert (
        "column 'sex': 32561 cells outside the categories, first in line 2 (blanks around a category)"
        in error.message
    )
    path.write_text(path.read_text().replace(", ", ","))
    table, _ = read_table(path, schema(*fields))
    assert table.frame.sex.value_counts().to_dict() == {"Male": 21_790, "Female": 10_771}
