"""Shares of groups and crossings, signed, with small cells left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.fairness import representation
from synthgen.schema.schema import Schema


def inputs_of(
    tiny: Callable[..., Any], schema: Schema, real: list[Any], units: list[str], drawn: list[Any]
) -> Inputs:
    table = tiny(real, units)
    return Inputs(schema, table, table, table, tiny(drawn), groups=("sex", "score"))


def test_the_log_ratio_counts_patients_not_records(tiny: Callable[..., Any], tiny_schema: Schema) -> None:
    """100 women with two records each and 100 men with one: half of the patients are women."""
    real = [("F", 0, 1.0, True)] * 200 + [("M", 0, 1.0, True)] * 100
    units = [f"f{i // 2}" for i in range(200)] + [f"m{i}" for i in range(100)]
    drawn = [("F", 0, 1.0, True)] * 300 + [("M", 0, 1.0, True)] * 700
    result = representation.evaluate(
        inputs_of(tiny, tiny_schema, real, units, drawn), rng=np.random.default_rng(0)
    )
    ratios = result.groups["log_ratio"]
    assert ratios["sex=F"].value == pytest.approx(math.log(0.3 / 0.5), abs=0.01)
    assert ratios["sex=M"].value == pytest.approx(math.log(0.7 / 0.5), abs=0.01)
    assert result.details["worst_group"] == "sex=F"
    assert result.details["shares"]["sex=F"] == pytest.approx(
        {"real": 0.5, "real_unweighted": 2 / 3, "synthetic": 0.3}
    )


def test_crossings_show_what_single_columns_hide(tiny: Callable[..., Any], tiny_schema: Schema) -> None:
    kinds = [("F", 0, 1.0, True), ("F", 1, 1.0, True), ("M", 0, 1.0, True), ("M", 1, 1.0, True)]
    real = [kind for kind in kinds for _ in range(200)]
    drawn = [kind for kind, k in zip(kinds, (300, 100, 100, 300), strict=True) for _ in range(k)]
    result = representation.evaluate(
        inputs_of(tiny, tiny_schema, real, [str(i) for i in range(800)], drawn), rng=np.random.default_rng(0)
    )
    ratios = result.groups["log_ratio"]
    assert ratios["sex=F"].low < 0 < ratios["sex=F"].high
    assert ratios["sex=F & score=1"].high < -0.4
    assert ratios["sex=M & score=1"].low > 0.2
    worst = result.estimates["worst"]
    assert abs(worst.value) == pytest.approx(math.log(2), abs=0.02)
    assert " & " in result.details["worst_group"]


def test_a_lost_group_has_a_finite_interval_below_zero_and_a_small_one_no_answer(
    tiny: Callable[..., Any], tiny_schema: Schema
) -> None:
    real = [("F", 0, 1.0, True)] * 500 + [("M", 0, 1.0, True)] * 100 + [(np.nan, 0, 1.0, True)] * 10
    result = representation.evaluate(
        inputs_of(tiny, tiny_schema, real, [str(i) for i in range(610)], [("F", 0, 1.0, True)] * 600),
        rng=np.random.default_rng(0),
    )
    lost = result.groups["log_ratio"]["sex=M"]
    assert math.isfinite(lost.low)
    assert lost.high < math.log(0.8)
    assert result.groups["log_ratio"]["sex=missing"].status == "insufficient"
    assert result.details["shares"]["sex=missing"] == {}


def test_without_protected_columns_it_does_not_apply(tiny: Callable[..., Any], tiny_schema: Schema) -> None:
    table = tiny([("F", 0, 1.0, True)], ["a"])
    inputs = Inputs(tiny_schema, table, table, table, tiny([("F", 0, 1.0, True)]))
    assert representation.evaluate(inputs, rng=np.random.default_rng(0)).status == "not-applicable"
