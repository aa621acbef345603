"""The rule language: what it means, in three values, and what it refuses."""

import contextlib
import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.schema.rules import parse_rule
from synthgen.schema.schema import Schema

FRAME = pd.DataFrame(
    {
        "died": pd.Categorical([True, False, None, True], categories=[False, True]),
        "back": pd.Categorical([True, True, True, None], categories=[False, True]),
        "age": [10.0, 50.0, np.nan, 90.0],
        "unit": pd.Categorical(["ICU", "ward A", "ICU", None], categories=["ICU", "ward A"]),
        "stage": pd.Categorical([1, 3, None, 2], categories=[1, 2, 3]),
        "blood pressure": [100.0, 120.0, 140.0, np.nan],
    }
)


def broken(text, frame=FRAME):
    return parse_rule(text).violated(frame).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("died implies not back", [True, False, False, False]),
        ("died", [False, True, False, False]),
        ("not died", [True, False, False, True]),
        ("age >= 18", [True, False, False, False]),
        ("age == 50", [True, False, False, True]),
        ("age != 50", [False, True, False, False]),
        ("age in [10, 90]", [False, True, False, False]),
        ("age is missing", [True, True, False, True]),
        ("not age is missing", [False, False, True, False]),
        ('unit == "ICU"', [False, True, False, False]),
        ("unit == ICU", [False, True, False, False]),
        ("unit in [ICU, 'ward A']", [False, False, False, False]),
        ("stage == 3", [True, False, False, True]),
        ("stage < 3", [False, True, False, False]),
        ("`blood pressure` < 130", [False, False, True, False]),
        ("died and back", [False, True, False, False]),
        ("died or back", [False, False, False, False]),
        ("(died or back) and age > 20", [True, False, False, False]),
        ("died == true", [False, True, False, False]),
        ("died == false implies back", [False, False, False, False]),
        ("age > 1e1", [True, False, False, False]),
    ],
)
def test_a_rule_is_broken_exactly_where_it_is_known_to_be_false(text, expected):
    assert broken(text) == expected


def test_and_binds_tighter_than_or_and_implies_least():
    assert parse_rule("a or b and c").tree == parse_rule("a or (b and c)").tree
    assert parse_rule("a or b implies c and d").tree == parse_rule("(a or b) implies (c and d)").tree


def test_a_text_column_means_the_same_as_its_category():
    text = FRAME.assign(unit=FRAME["unit"].astype(object))
    for rule in ('unit == "ICU"', "unit != ICU", "unit in [ICU]"):
        assert broken(rule) == broken(rule, text)


def test_a_category_without_a_number_has_no_order_and_breaks_nothing():
    frame = {"stage": pd.Categorical([1, "other"], categories=[1, 2, "other"])}
    assert parse_rule("stage > 1").violated(frame).tolist() == [True, False]


ATOMS = {"p": 0, "q": 1}


def naive(node, values):
    """Kleene's tables, one record at a time: True, False or None."""
    if node[0] == "true":
        return values[node[1]]
    parts = [naive(child, values) for child in node[1:]]
    if node[0] == "not":
        return None if parts[0] is None else not parts[0]
    strong, weak = (False, True) if node[0] == "and" else (True, False)
    if strong in parts:
        return strong
    return None if None in parts else weak


trees = st.recursive(
    st.sampled_from(["p", "q", "r"]),
    lambda t: st.one_of(
        t.map(lambda x: f"not ({x})"),
        st.tuples(t, st.sampled_from(["and", "or", "implies"]), t).map(lambda x: f"({x[0]}) {x[1]} ({x[2]})"),
    ),
    max_leaves=6,
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(text=trees)
def test_three_valued_logic_agrees_with_kleenes_tables(text):
    states = [
        (p, q, r) for p in (True, False, None) for q in (True, False, None) for r in (True, False, None)
    ]
    columns = zip(*states, strict=True)
    frame = {
        name: pd.Categorical(list(column), categories=[False, True])
        for name, column in zip("pqr", columns, strict=True)
    }
    rule = parse_rule(text)
    expected = [naive(rule.tree, dict(zip("pqr", state, strict=True))) is False for state in states]
    assert rule.violated(frame).tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a column as word 1"),
        ("died implies", "a column as word 3"),
        ("died back", "as word 2"),
        ("age >", "a number as word 3"),
        ("age > 'old'", "a number as word 3"),
        ("(died", r"\) as word 3"),
        ("unit in ICU", r"\[ as word 3"),
        ("unit in [ICU", "as word 5"),
        ("unit in '[' ICU", r"\[ as word 3"),
        ("died; import os", "character 5"),
        ("died & back", "character"),
        ("age is present", "missing as word 3"),
        ("__import__('os')", "as word 2"),
        ("and", "a column as word 1"),
    ],
)
def test_a_text_outside_the_language_is_refused_with_its_place(text, message):
    with pytest.raises(ValueError, match=message):
        parse_rule(text)


@pytest.mark.parametrize("text", ["not " * 400 + "died", "(" * 400 + "died", "died and " * 600 + "died"])
def test_a_rule_too_deep_or_too_long_is_refused_and_no_recursion_error(text):
    with pytest.raises(ValueError, match="two rules"):
        parse_rule(text)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(text=st.text(alphabet="abnot()[]<>=!,'\"` 019.-_&;implesd", max_size=40))
def test_any_text_is_parsed_or_refused_with_a_value_error(text):
    with contextlib.suppress(ValueError):
        parse_rule(text)


DOMAINS = {
    "died": (False, True),
    "unit": ("ICU", "ward"),
    "stage": (1, 2),
    "age": None,
    "word": ("true", "no"),
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit == Icu", "one of its categories"),
        ("unit in [ICU, hall]", "one of its categories"),
        ("unit", "not boolean"),
        ("unit > 3", "order"),
        ("died > 0", "order"),
        ("age == old", "not a number"),
        ("age", "not boolean"),
        ("died == yes", "one of its categories"),
        ("stage == 7", "one of its categories"),
        ("word == true", "one of its categories"),
    ],
)
def test_a_rule_that_could_never_mean_what_it_says_has_a_problem(text, message):
    assert message in parse_rule(text).problem(DOMAINS)


@pytest.mark.parametrize(
    "text",
    [
        "unit == ICU implies died",
        "stage > 1",
        "stage in [1, 2]",
        "age <= 3.5",
        "died == true",
        'word == "true"',
        "age is missing",
        "elsewhere == 3",
    ],
)
def test_a_sound_rule_has_no_problem(text):
    assert parse_rule(text).problem(DOMAINS) is None


COLUMNS = [
    {"name": "p", "type": "string", "role": "id"},
    {"name": "low", "type": "integer", "constraints": {"minimum": 0, "maximum": 100}},
    {"name": "high", "type": "integer", "constraints": {"minimum": 0, "maximum": 100}},
    {"name": "cost", "type": "number", "constraints": {"minimum": 0, "maximum": 100}},
    {"name": "more", "type": "number", "constraints": {"minimum": 0, "maximum": 100}},
    {"name": "start", "type": "date", "constraints": {"minimum": "2000-01-01", "maximum": "2009-12-31"}},
    {
        "name": "end",
        "type": "date",
        "origin": "2000-01-01",
        "constraints": {"minimum": "2000-01-01", "maximum": "2009-12-31"},
    },
    {"name": "stay", "type": "date", "since": "start", "constraints": {"minimum": 0, "maximum": 90}},
    {"name": "stage", "type": "integer", "constraints": {"enum": [1, 2, 3]}},
    {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M", "low"]}},
    {"name": "died", "type": "boolean", "constraints": {"required": True}},
]


def schema_with(*rules, columns=COLUMNS):
    document = {"unit": {"column": "p", "max_records": 1}, "fields": columns, "rules": list(rules)}
    return Schema.model_validate_json(json.dumps(document))


def one_record(**values):
    missing = {field["name"]: np.nan for field in COLUMNS[1:]}
    return pd.DataFrame({name: [value] for name, value in (missing | values).items()})


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("low < high", {"low": 3, "high": 4}, True),
        ("low < high", {"low": 4, "high": 4}, False),
        ("low <= high", {"low": 4, "high": 4}, True),
        ("low <= high", {"low": 4}, True),
        ("high > low + 2", {"low": 3, "high": 5}, False),
        ("high > low + 2", {"low": 3, "high": 6}, True),
        ("low = high", {"low": 3, "high": 4}, False),
        ("low != high", {"low": 3, "high": 3}, False),
        ("1 <= low < high <= 50", {"low": 0, "high": 4}, False),
        ("1 <= low < high <= 50", {"low": 1, "high": 51}, False),
        ("1 <= low < high <= 50", {"low": 1, "high": 50}, True),
        ("cost = more + 0.1", {"cost": 0.1 + 0.2, "more": 0.2}, True),
        ("cost = more + 0.1", {"cost": 0.31, "more": 0.2}, False),
        ("high = 2 * low - (cost + more) / 2", {"high": 4, "low": 3, "cost": 1.5, "more": 2.5}, True),
        ("high = 2 * low - (cost + more) / 2", {"high": 5, "low": 3, "cost": 1.5, "more": 2.5}, False),
        ("high = cost + more", {"high": 4, "cost": 1.3, "more": 2.5}, True),
        ("high = cost + more", {"high": 5, "cost": 1.3, "more": 2.5}, False),
        ("start <= end", {"start": 10957.0, "end": 0.0}, True),
        ("start <= end", {"start": 10958.0, "end": 0.0}, False),
        ("end <= start + 30", {"start": 10957.0, "end": 31.0}, False),
        ("low = end - start", {"start": 10957.0, "end": 31.0, "low": 31}, True),
        ("low = end - start", {"start": 10957.0, "end": 31.0, "low": 30}, False),
        ("stay <= end", {"start": 10957.0, "stay": 5.0, "end": 4.0}, False),
        ("stay <= end", {"start": 10957.0, "stay": 5.0, "end": 5.0}, True),
        ("end >= 2001-01-01", {"end": 365.0}, False),
        ("end >= '2001-01-01'", {"end": 366.0}, True),
        ("died implies stay == end", {"died": True, "start": 10957.0, "stay": 5.0, "end": 4.0}, False),
        ("died implies stay == end", {"died": False, "start": 10957.0, "stay": 5.0, "end": 4.0}, True),
        ("stage <= low", {"stage": 3, "low": 2}, False),
        ("sex == low", {"sex": "low", "low": 1}, True),
        ("not (low < high or cost > more)", {"low": 5, "high": 4, "cost": 1.0, "more": 1.0}, True),
        ("(low + high) * 2 <= 100", {"low": 25, "high": 26}, False),
    ],
)
def test_a_rule_between_columns_means_what_it_says(text, values, holds):
    (rule,) = schema_with(text).parsed_rules
    assert rule.violated(one_record(**values)).tolist() == [not holds]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["low < high", "high < low"], "contradict each other"),
        (["cost < more", "more < cost"], "contradict each other"),
        (["low < high", "high < cost", "cost < low"], "'low < high' and 'high < cost' and 'cost < low'"),
        (["low > 100"], "cannot be met"),
        (["low = high + 101"], "cannot be met"),
        (["cost = low + high", "cost = low + high + 1"], "contradict"),
        (["died", "died implies low < high", "high <= low"], "contradict"),
        (["sex == F", "died", "died implies sex == M"], "contradict"),
        (["low * high < 3"], "multiplies and divides by numbers only"),
        (["low / 0 < high"], "divides by zero"),
        (["low < sex"], "not a number"),
        (["low <= start"], "mixes dates and numbers"),
        (["start + end <= 5"], "mixes dates and numbers"),
        (["low <= low"], "with itself"),
        (["low-high < 3"], "write blanks around -"),
        (["end < 2001-02-30"], "not in the calendar"),
        (["low <= hihg"], "not among the fields"),
    ],
)
def test_a_schema_refuses_rules_that_no_record_meets_or_that_mean_nothing(rules, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        schema_with(*rules)


@pytest.mark.parametrize(
    "rules",
    [
        ["low <= high", "high <= low"],
        ["died implies low < high", "died implies high < low"],
        ["low < high or high < low"],
        ["sex is missing or sex == F", "sex == M or sex is missing"],
        ["cost = low + high", "more = cost + stage"],
    ],
)
def test_rules_that_some_record_meets_are_taken(rules):
    assert len(schema_with(*rules).parsed_rules) == len(rules)


values_of = st.one_of(st.none(), st.integers(0, 20))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    factors=st.tuples(*[st.integers(-3, 3)] * 2),
    constant=st.integers(-20, 20),
    operator=st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
    records=st.lists(st.tuples(values_of, values_of, values_of), min_size=1, max_size=8),
)
def test_a_sum_is_compared_as_arithmetic_compares_it(factors, constant, operator, records):
    """Against one record at a time in Python's integers; a missing operand holds."""
    sides = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__", "=": "__eq__", "!=": "__ne__"}
    a, b = factors
    text = f"c {operator} {a} * a + {b} * b - {-constant}"
    columns = [{"name": "p", "type": "string", "role": "id"}]
    limits = {"minimum": -500, "maximum": 500}
    columns += [{"name": name, "type": "integer", "constraints": limits} for name in "abc"]
    (rule,) = schema_with(text, columns=columns).parsed_rules
    frame = pd.DataFrame(records, columns=["a", "b", "c"], dtype=float)
    expected = []
    for one, two, three in records:
        known = None not in ((one if a else 0), (two if b else 0), three)
        total = a * (one or 0) + b * (two or 0) + constant
        expected.append(known and not getattr(int(three or 0), sides[operator])(total))
    assert rule.violated(frame).tolist() == expected


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    data=st.data(),
    text=st.sampled_from(
        [
            "a < b",
            "a = b + c",
            "a <= b - 3 or b = c",
            "a != b and not (b <= c + 2)",
            "a > 4 implies b + c = a",
            "a is missing or a + b > c",
        ]
    ),
)
def test_a_rule_may_hold_between_two_ends_where_some_values_there_keep_it(data, text):
    """Against all whole numbers between the ends; it may be called possible too often, never too seldom."""
    columns = [{"name": "p", "type": "string", "role": "id"}]
    limits = {"minimum": 0, "maximum": 50}
    columns += [{"name": name, "type": "integer", "constraints": limits} for name in "abc"]
    (rule,) = schema_with(text, columns=columns).parsed_rules
    low = {name: data.draw(st.integers(0, 8)) for name in "abc"}
    high = {name: low[name] + data.draw(st.integers(0, 3)) for name in "abc"}
    points = list(itertools.product(*(range(low[name], high[name] + 1) for name in "abc")))
    some = bool((~rule.violated(pd.DataFrame(points, columns=list("abc"), dtype=float))).any())
    ends = [pd.DataFrame({name: [float(end[name])] for name in "abc"}) for end in (low, high)]
    possible = bool(rule.possible(*ends)[0])
    assert possible or not some
    if low == high:
        assert possible == some


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    column=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    label=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    sign=st.sampled_from("\"'"),
)
def test_any_column_and_any_category_can_be_named_in_a_rule(column, label, sign):
    name = "`" + column.replace("`", "``") + "`"
    text = sign + label.replace(sign, 2 * sign) + sign
    rule = parse_rule(f"{name} == {text} or {name} in [{text}]")
    assert rule.columns == {column}
    frame = {column: pd.Categorical([label, label + "x", None], categories=[label, label + "x"])}
    assert rule.violated(frame).tolist() == [False, True, False]
