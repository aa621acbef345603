"""Settling: rules between numbers hold, little else changes, and what cannot be met says so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from synthgen.encode.rule_repair import settle
from synthgen.encode.simulate import simulate
from synthgen.release.bundle.data_checks import data_problems
from synthgen.sampling.draw import write_table
from synthgen.schema.schema import Schema


def number(name: str, most: float, *, whole: bool = True, **more: Any) -> dict[str, Any]:
    kind = "integer" if whole else "number"
    return {"name": name, "type": kind, "constraints": {"minimum": 0, "maximum": most}, **more}


DATES = [
    {"name": "d", "type": "date", "constraints": {"minimum": "2000-01-01", "maximum": "2020-12-31"}},
    {
        "name": "e",
        "type": "date",
        "origin": "2000-01-01",
        "constraints": {"minimum": "2000-01-01", "maximum": "2020-12-31"},
    },
    {"name": "f", "type": "date", "since": "d", "constraints": {"minimum": 0, "maximum": 400}},
]
FIELDS = [
    *(number(name, most) for name, most in (("a", 100), ("b", 100), ("c", 300))),
    *(number(name, most, whole=False) for name, most in (("x", 50), ("y", 1000), ("z", 1000))),
    *DATES,
    {"name": "died", "type": "boolean"},
]


def schema_of(*rules: str, fields: Any = FIELDS) -> Schema:
    document = {"unit": {"level": "row"}, "fields": list(fields), "rules": list(rules)}
    return Schema.model_validate_json(json.dumps(document))


def uniform(schema: Schema, n: int, seed: int) -> pd.DataFrame:
    """Return independent columns: what a generator without any joint structure draws."""
    free = schema.model_copy(update={"rules": ()})
    return simulate(free, n, rng=np.random.default_rng(seed)).frame


def broken(schema: Schema, frame: pd.DataFrame) -> np.ndarray:
    masks = [rule.violated(frame) for rule in schema.parsed_rules]
    return np.asarray(np.logical_or.reduce(masks))


SETS = [
    ("a < b",),
    ("a < b", "b < c"),
    ("x <= y <= z",),
    ("d <= e <= d + 365",),
    ("e = d + 30",),
    ("f <= e",),
    ("c = a + b",),
    ("y = x + z",),
    ("z = 2 * x - y / 2 + 500",),
    ("c = a + x",),
    ("c = a + b", "y = c + x"),
    ("c = e - d", "d <= e"),
    ("died implies e = d", "not died implies e > d + 7"),
    ("a < b or x > 10 * y",),
    ("not (a = b)", "a + b <= 120", "a >= b - 10"),
    ("a in [3, 5] or b >= 50", "x != y"),
]


@pytest.mark.parametrize("rules", SETS, ids=" and ".join)
def test_every_record_keeps_the_rules_within_its_domains(rules: tuple[str, ...]) -> None:
    schema = schema_of(*rules)
    drawn = uniform(schema, 1500, 0)
    kept = settle(drawn, schema, rng=np.random.default_rng(1))
    assert broken(schema, drawn).mean() > 0.05  # the table breaks them before
    assert not broken(schema, kept).any()
    for column in schema.columns:
        values = kept[column.name]
        assert values.isna().equals(drawn[column.name].isna())
        if not column.labels:
            known = values.dropna()
            assert known.between(column.minimum, column.maximum).all()
            assert column.kind == "number" or (known % 1 == 0).all()
    again = settle(drawn, schema, rng=np.random.default_rng(1))
    assert again.equals(kept)


def test_the_margins_stay_though_half_of_the_records_break_the_rule() -> None:
    """Columns whose own distributions allow the rule: all of the loss is that of how they hang together.

    Redrawing would leave the triangle that a record keeps by chance: .25 away.
    """
    rng = np.random.default_rng(0)
    low = rng.normal(40, 10, 6000).clip(0, 100).round()
    frame = pd.DataFrame({"a": low, "b": rng.permutation((low + 2).clip(0, 100))})
    schema = schema_of("a <= b", fields=FIELDS[:2])
    kept = settle(frame, schema, rng=rng)
    assert broken(schema, frame).mean() > 0.35
    assert not broken(schema, kept).any()
    redrawn = frame[frame["a"] <= frame["b"]]

    def away(part: pd.DataFrame, name: str) -> float:
        shares = [np.bincount(t[name].astype(int) // 5, minlength=21) / len(t) for t in (part, frame)]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)

    assert max(away(kept, "a"), away(kept, "b")) < 0.04
    assert min(away(redrawn, "a"), away(redrawn, "b")) > 0.12


def test_the_result_of_a_sum_keeps_its_distribution_where_the_parts_allow_it() -> None:
    rng = np.random.default_rng(0)
    ward, drugs = rng.gamma(2, 50, 4000).round(2), rng.gamma(1, 50, 4000).round(2)
    total = (ward + drugs).round(2)
    fields = [number(name, 2000, whole=False) for name in ("total", "ward", "drugs")]
    schema = schema_of("total = ward + drugs", fields=fields)
    frame = pd.DataFrame({"total": rng.permutation(total), "ward": ward, "drugs": rng.permutation(drugs)})
    kept = settle(frame, schema, rng=rng)
    assert not broken(schema, kept).any()
    assert np.abs(kept["total"] - kept["ward"] - kept["drugs"]).max() < 1e-9
    assert (kept["total"].round(2) == kept["total"]).mean() > 0.95  # decimals of the parts, not of a float
    edges = np.quantile(total, np.linspace(0, 1, 11))[1:-1]
    shares = [np.bincount(np.searchsorted(edges, values)) / 4000 for values in (kept["total"], total)]
    assert np.abs(shares[0] - shares[1]).sum() / 2 < 0.05


def test_fixed_columns_intervals_and_records_that_hold_stay() -> None:
    schema = schema_of("a < b")
    drawn = uniform(schema, 800, 2)
    fine = ~broken(schema, drawn)
    kept = settle(drawn, schema, rng=np.random.default_rng(0), fixed=["a"], exchange=False)
    assert kept["a"].equals(drawn["a"])
    assert kept[fine].equals(drawn[fine])
    assert broken(schema, kept).sum() == (drawn["a"] == 100)[~fine].sum()  # above which nothing is
    limited = drawn.assign(a=drawn["a"].clip(20, 60), b=drawn["b"].clip(40, 50))
    limits = {"a": (20.0, 60.0), "b": (40.0, 50.0)}
    kept = settle(limited, schema, rng=np.random.default_rng(0), within=limits)
    assert not broken(schema, kept).any()
    assert kept["a"].dropna().between(20, 60).all()
    assert kept["b"].dropna().between(40, 50).all()


def test_rules_hold_in_the_texts_that_are_written(tmp_path: Path) -> None:
    """Declared decimals, moments to the second, dates by a format, and a token that a sum must not give."""
    limits = {"minimum": 0, "maximum": 99}
    dates = {"minimum": "2010-01-01", "maximum": "2020-12-31"}
    fields = [
        {"name": "start", "type": "date", "constraints": {**dates, "required": True}},
        {"name": "stop", "type": "date", "since": "start", "constraints": {"minimum": 0, "maximum": 60}},
        {"name": "seen", "type": "date", "format": "%d.%m.%Y", "origin": "2010-01-01", "constraints": dates},
        {"name": "stay", "type": "integer", "constraints": {"minimum": 0, "maximum": 60}},
        {"name": "in", "type": "datetime", "constraints": dates},
        {"name": "out", "type": "datetime", "format": "%Y-%m-%d %H:%M", "constraints": dates},
        {"name": "ward", "type": "number", "decimals": 2, "constraints": limits},
        {"name": "drugs", "type": "number", "decimals": 1, "constraints": limits, "missingValues": ["7"]},
        {
            "name": "cost",
            "type": "number",
            "decimals": 1,
            "missingValues": ["99", "98"],
            "constraints": limits,
        },
        {"name": "half", "type": "number", "constraints": limits},
    ]
    rules = [
        "start <= stop <= seen",
        "stay = stop - start",
        "`in` < out <= `in` + 30",
        "cost = ward + drugs",
        "half = cost / 2",
        "out >= '2011-01-01 12:00'",
    ]
    schema = schema_of(*rules, fields=fields)
    table = simulate(schema, 1500, rng=np.random.default_rng(0))
    assert not broken(schema, table.frame).any()
    for name in ("t.csv", "t.parquet"):
        write_table(table, tmp_path / name)
        assert data_problems(tmp_path / name, schema, records=1500) == []
    text = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    full = text[(text[["ward", "drugs", "cost"]] != "").all(axis=1) & ~text["cost"].isin(["99", "98"])]
    full = full[full["drugs"] != "7"]
    off = full["cost"].astype(float) - full["ward"].astype(float) - full["drugs"].astype(float)
    assert len(full) > 1000
    assert off.abs().max() <= 0.05 + 1e-9
    known = text[(text["in"] != "") & (text["out"] != "")]
    assert (pd.to_datetime(known["in"]) < pd.to_datetime(known["out"])).all()


def test_a_missing_operand_holds_and_stays_missing() -> None:
    schema = schema_of("c = a + b")
    frame = pd.DataFrame({"a": [np.nan, 3.0], "b": [4.0, np.nan], "c": [9.0, 9.0]})
    frame = frame.reindex(columns=[column.name for column in schema.columns])
    assert settle(frame, schema, rng=np.random.default_rng(0)).equals(frame)


NUMBERS = st.sampled_from(["a", "b", "c", "x", "y", "z"])
ORDERS = st.sampled_from(["<", "<=", ">", ">=", "!="])


@st.composite
def atoms(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 3))
    one, other, third = draw(st.lists(NUMBERS, min_size=3, max_size=3, unique=True))
    if kind == 0:
        return f"{one} {draw(ORDERS)} {other}"
    if kind == 1:
        return f"{one} <= {other} + {draw(st.integers(-20, 20))}"
    if kind == 2:
        return f"{one} = {other} {draw(st.sampled_from('+-'))} {third}"
    return f"{draw(st.sampled_from('de'))} {draw(ORDERS)} {draw(st.sampled_from(['f', 'e + 10', 'd - 10']))}"


@st.composite
def rules(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return f"died implies {draw(atoms())}"
    return f"{draw(atoms())} or {draw(atoms())}" if kind == 1 else draw(atoms())


@settings(derandomize=True, max_examples=25, deadline=None)
@given(texts=st.lists(rules(), min_size=1, max_size=3))
def test_any_rules_are_refused_on_loading_or_hold_in_all_that_is_drawn(texts: list[str]) -> None:
    try:
        schema = schema_of(*texts)
    except ValueError as error:
        event(str(error))
        assume(re.search("contradict|cannot be met|itself", str(error)) is None)
        raise
    assert not broken(schema, simulate(schema, 60, rng=np.random.default_rng(0)).frame).any()
