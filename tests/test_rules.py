"""The rule language: what it means, in three values, and what it refuses."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.rules import parse_rule

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
        ("age > old", "a number as word 3"),
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
