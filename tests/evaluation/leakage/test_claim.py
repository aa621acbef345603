"""The claim as estimates without error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.evaluation.base import Claim, Inputs
from synthgen.evaluation.leakage import claim
from synthgen.schema.schema import Schema


def test_the_claim_is_passed_on_without_an_interval_and_reads_no_record(
    tiny: Callable[..., Any], tiny_schema: Schema
) -> None:
    table = tiny([("F", 0, 1.0, True)], ["a"])
    inputs = Inputs(
        tiny_schema, table, table, table, tiny([("F", 0, 1.0, True)]), claim=Claim(2.0, 1e-6, 0.5, None, 3)
    )
    result = claim.evaluate(inputs, rng=np.random.default_rng(0))
    assert {key: e.value for key, e in result.estimates.items()} == {
        "epsilon": 2.0,
        "delta": 1e-6,
        "looks": 3.0,
        "mu": 0.5,
    }
    assert all(e.low == e.value == e.high for e in result.estimates.values())
    assert result.reads_real is False
    assert result.details["odds"] == pytest.approx(math.exp(2))
    missing = claim.evaluate(replace(inputs, claim=None), rng=np.random.default_rng(0))
    assert missing.status == "not-applicable"
    assert "no evidence of safety" in missing.note
