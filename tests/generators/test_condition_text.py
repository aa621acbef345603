"""Conditions as text: categories first, quoting wins, and every column and category can be named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.cli.sample_command import sample
from synthgen.data.tables import RealTable
from synthgen.encode.simulate import simulate
from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError
from synthgen.generators.condition_text import column_named, parse_where, quote, resolved
from synthgen.generators.conditions import conditions
from synthgen.generators.longitudinal.model import for_schema
from synthgen.generators.marginal.config import Config
from synthgen.generators.saved_model import save_model
from synthgen.privacy.noise import NoiseSource
from synthgen.schema.schema import Schema


def category(name: str, *labels: Any, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "constraints": {"enum": list(labels)}, **more}


def schema_of(*fields: dict[str, Any], missing: tuple[str, ...] = ("",)) -> Schema:
    document = {"unit": {"level": "row"}, "missingValues": list(missing), "fields": list(fields)}
    return Schema.model_validate_json(json.dumps(document))


COLUMNS = schema_of(
    category("sex", "F", "M"),
    category("grade", "A", "B", "A|B", "C|D", "x"),
    category("band", "0..64", "65..80", "80+"),
    category("a", "b=c", "d", "e"),
    category("a=b", "c", "d"),
    category("col name", "yes | no", " padded ", 'say "hi"', "<5"),
    category('"quoted"', "1", "2"),
    category("p<q", "1", "2"),
    category("stage", 1, 2, 3, 4, kind="integer"),
    {"name": "died", "type": "boolean", "trueValues": ["Y"], "falseValues": ["N"]},
    {"name": "age", "type": "integer", "constraints": {"minimum": -10, "maximum": 110}},
    {"name": "seen", "type": "date", "constraints": {"minimum": "2020-01-01", "maximum": "2021-12-31"}},
    missing=("?", ""),
)


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("sex=F", "sex", ["F"]),
        ("sex = F", "sex", ["F"]),
        ("sex=F|M", "sex", ["F", "M"]),
        ("sex=", "sex", None),
        ("sex=?", "sex", None),
        ("grade=A|B", "grade", ["A|B"]),
        ("grade=C|D", "grade", ["C|D"]),
        ("grade=A|x", "grade", ["A", "x"]),
        ('grade="A"|"B"', "grade", ["A", "B"]),
        ('grade="A|B"|x', "grade", ["A|B", "x"]),
        ('grade="A|B" | "C|D"', "grade", ["A|B", "C|D"]),
        ("band=65..80", "band", ["65..80"]),
        ("band=65..80|80+", "band", ["65..80", "80+"]),
        ("a=b=c", "a", None),
        ("a=d", "a", ["d"]),
        ("a=b=d", "a=b", ["d"]),
        ('"a"=b=c', "a", ["b=c"]),
        ('"a=b"=c', "a=b", ["c"]),
        ("col name=yes | no", "col name", ["yes | no"]),
        ("col name= padded ", "col name", [" padded "]),
        ('"col name"=" padded "', "col name", [" padded "]),
        ('col name=say "hi"', "col name", ['say "hi"']),
        ('"col name"="say ""hi"""', "col name", ['say "hi"']),
        ("col name=<5", "col name", ["<5"]),
        ('"quoted"=1', '"quoted"', ["1"]),
        ('"""quoted"""="1"', '"quoted"', ["1"]),
        ("p<q=2", "p<q", ["2"]),
        ("stage=2..", "stage", ["2", "3", "4"]),
        ("stage=1|3", "stage", ["1", "3"]),
        ("died=Y", "died", ["Y"]),
        ("died=true", "died", ["true"]),
        ("age=65..80", "age", ("65", "80")),
        ("age=-5..-1", "age", ("-5", "-1")),
        ("age=65..", "age", ("65", 110.0)),
        ("age=..9", "age", (-10.0, "9")),
        ("age=65", "age", ("65", "65")),
        ("age=", "age", None),
        ("seen=2020-03-01..2020-04-01", "seen", ("2020-03-01", "2020-04-01")),
    ],
)
def test_a_text_is_read_by_the_schemas_columns_and_categories(text: str, column: str, value: Any) -> None:
    if text == "a=b=c":
        with pytest.raises(ConfigError, match=re.escape('"a"=b=c or "a=b"=c')):
            parse_where(text, COLUMNS)
        return
    found = parse_where(text, COLUMNS)
    assert found == {column: value}
    held = conditions(COLUMNS, Encoder.of(COLUMNS), found)[column]
    assert held.cells.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sex", "such as sex=F"),
        ("=F", "on one of"),
        ("sax=F", "on one of"),
        ("sex=X", "expected a category"),
        ("sex=F|X", "expected a category"),
        ("sex=F..M", "expected a category"),
        ('sex="?"', "expected a category"),
        ("stage=7..9", "expected a category"),
        ("age=65|70", "one value or one interval"),
        ("age=65,5..80", "decimal point"),
        ("age=..80,5", "decimal point"),
        ("age=65,5", "decimal point"),
        ('sex="F', "closed"),
        ('"sex=F', "closed"),
        ('sex=F|"M', "closed"),
        ('age="65', "closed"),
        ('"col name"="A|B', "closed"),
    ],
)
def test_a_text_that_fits_nothing_is_refused_with_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_where(text, COLUMNS)


def test_texts_for_different_columns_go_together_and_twice_the_same_is_refused() -> None:
    found = parse_where(["sex=F", "age=65..80"], COLUMNS)
    assert found == {"sex": ["F"], "age": ("65", "80")}
    assert resolved({"sex": "F"}, COLUMNS) == {"sex": "F"}
    assert resolved("sex=F", COLUMNS) == {"sex": ["F"]}
    assert resolved(None, COLUMNS) == {}
    with pytest.raises(ConfigError, match="one condition for each column"):
        parse_where(["sex=F", "sex=M"], COLUMNS)


def test_a_column_to_balance_may_stand_in_quotes() -> None:
    assert column_named("col name", COLUMNS) == "col name"
    assert column_named('"col name"', COLUMNS) == "col name"
    assert column_named('"quoted"', COLUMNS) == '"quoted"'
    with pytest.raises(ConfigError, match="Expected one of"):
        column_named("other", COLUMNS)


ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
SHARP = st.text(alphabet='ab"|=.<> ', min_size=1, max_size=5)
TEXTS = st.one_of(SHARP, ANY)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    names=st.lists(TEXTS, min_size=1, max_size=4, unique=True),
    labels=st.lists(TEXTS, min_size=1, max_size=5, unique=True),
    data=st.data(),
)
def test_any_column_and_any_category_can_be_named_by_quoting(
    names: list[str], labels: list[str], data: st.DataObject
) -> None:
    schema = schema_of(*(category(name, *labels, identifier=False) for name in names), missing=())
    name, label = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(labels))
    assert parse_where(f"{quote(name)}={quote(label)}", schema) == {name: [label]}
    assert parse_where(f" {quote(name)} = {quote(label)} ", schema) == {name: [label]}
    assert column_named(quote(name), schema) == name
    other = data.draw(st.sampled_from(labels))
    joined = parse_where(f"{quote(name)}={quote(label)}|{quote(other)}", schema)[name]
    assert joined in ([label, other], [f"{quote(label)}|{quote(other)}"])
    grid = Encoder.of(schema).grids[name]
    held = conditions(schema, Encoder.of(schema), {name: [label]})[name]
    assert [grid.column.labels[i] for i in held.cells.nonzero()[0]] == [label]


@settings(derandomize=True, max_examples=200, deadline=None)
@given(text=st.text(alphabet='sexgrade=a|b". FM65-', max_size=14))
def test_any_text_is_a_condition_or_a_refusal(text: str) -> None:
    try:
        found = parse_where(text, COLUMNS)
    except ConfigError:
        return
    assert set(found) <= {column.name for column in COLUMNS.columns}


@pytest.mark.parametrize("linked", [False, True])
def test_the_command_line_draws_what_quoted_conditions_name(linked: bool, tmp_path: Path) -> None:
    odd, balanced = 'which "ward"=|', "a=b"
    unit: dict[str, Any] = {"column": "p", "max_records": 3}
    fields = [
        {"name": "p", "type": "string", "role": "id"},
        category(odd, "A", "A|B", "1..3", 'say "no', static=linked),
        category(balanced, "x=1", "<5", static=linked),
        {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 99, "required": True}},
    ]
    if linked:
        unit |= {"records": "linked", "order": "age"}
    schema = Schema.model_validate_json(json.dumps({"unit": unit, "fields": fields}))
    rng = np.random.default_rng(0)
    frame = simulate(schema, 400, rng=rng)
    units = np.array([f"p{i}" for i in np.asarray(frame.units)], dtype=object)
    config = for_schema(Config(iterations=50), schema)
    plan = config.plan(schema, epsilon=4.0, delta=1e-6, patients=300)
    model = config.fit(RealTable(schema, frame.frame, units), plan, noise=NoiseSource.for_tests(0))
    save_model(model, schema, "marginal", tmp_path)
    out = tmp_path / "drawn.csv"
    drawn = {"shards": 1, "seed": 1, "progress": lambda what, done: None}
    for label in ("A", "A|B", "1..3", 'say "no'):
        where = [f"{quote(odd)}={quote(label)}" if label != "1..3" else f"{odd}=1..3"]
        sample(tmp_path, 40, out, where=where, balance=quote(balanced), force=True, **drawn)
        table = pd.read_csv(out, dtype=str)
        assert set(table[odd]) == {label}
        by_patient = table.drop_duplicates("p")
        counts = by_patient[balanced].value_counts()
        assert abs(counts["x=1"] - counts["<5"]) <= 1


def test_a_date_that_counts_days_says_so_where_it_is_given_a_day() -> None:
    schema = schema_of(
        {"name": "seen", "type": "date", "constraints": {"minimum": "2020-01-01", "maximum": "2021-12-31"}},
        {"name": "left", "type": "date", "since": "seen", "constraints": {"minimum": 0, "maximum": 30}},
    )
    with pytest.raises(ConfigError, match="a number of days since 'seen'"):
        conditions(schema, Encoder.of(schema), parse_where(["left=2020-02-01..2020-03-01"], schema))
