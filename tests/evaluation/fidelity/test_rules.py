"""Hard rules, counted on a hand-made table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.fidelity import rules as fidelity_rules
from synthgen.schema.schema import Schema


def test_a_record_counts_once_however_many_rules_it_breaks_and_unknown_breaks_none(
    tiny: Callable[..., Any], tiny_schema: Schema, with_rules: Callable[..., Schema]
) -> None:
    rules = ("died implies score == 3", "sex == F implies lab < 5")
    schema = with_rules(tiny_schema, *rules)
    rows = [("F", 0, 9.0, True), ("M", 0, 9.0, True), ("M", 3, 9.0, True), ("F", np.nan, np.nan, True)]
    real = tiny(rows, ["a", "b", "c", "d"])
    inputs = Inputs(schema, real, real, real, replace(tiny(rows), schema=schema))
    result = fidelity_rules.evaluate(inputs, rng=np.random.default_rng(0))
    assert result.estimates["violated"].value == pytest.approx(0.5)
    assert result.details["rules"] == {rules[0]: 2, rules[1]: 1}
    assert result.reads_real is False
    without = replace(inputs, schema=tiny_schema)
    assert fidelity_rules.evaluate(without, rng=np.random.default_rng(0)).status == "not-applicable"
