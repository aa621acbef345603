"""What the inputs are decides, and not how their files are sorted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable
from synthgen.evaluation import run
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.canonical_order import canonical, digest, ordered
from synthgen.evaluation.results_json import results_to_json
from synthgen.evaluation.run import evaluate_all, whole
from synthgen.schema.schema import Schema

QUICK = {
    "fidelity_tvd",
    "fidelity_precision_coverage",
    "fairness_representation",
    "leakage_nearest_neighbour",
    "leakage_exact_match",
    "utility_brier",
}


@pytest.fixture(scope="module")
def inputs(build: Callable[..., Inputs], rows: Callable[[int, int], pd.DataFrame]) -> Inputs:
    return build(lambda train, n: rows(n, 77), n=240)


def shuffled(table: Any, seed: int) -> Any:
    return table.take(np.random.default_rng(seed).permutation(len(table)))


def test_figures_are_the_same_to_the_last_bit_whatever_the_order_of_the_rows(inputs: Inputs) -> None:
    names = ("train", "holdout", "reference", "synthetic")
    moved = replace(inputs, **{name: shuffled(getattr(inputs, name), i) for i, name in enumerate(names)})
    first, second = (results_to_json(evaluate_all(one, seed=5, only=QUICK)) for one in (inputs, moved))
    assert json.dumps(first) == json.dumps(second)
    assert {one["name"] for one in first} == QUICK


def test_without_the_canonical_order_the_same_figures_move(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "canonical", lambda inputs: inputs)
    moved = replace(inputs, train=shuffled(inputs.train, 1))
    first, second = (
        results_to_json(evaluate_all(one, seed=5, only={"fidelity_tvd"})) for one in (inputs, moved)
    )
    assert first != second


def test_a_digest_knows_content_and_patients_but_neither_order_nor_names(inputs: Inputs) -> None:
    table = inputs.train
    assert digest(shuffled(table, 3)) == digest(table)
    renamed = replace(table, units=np.array([f"x{unit}" for unit in table.units], dtype=object))
    assert digest(renamed) == digest(table)
    merged = table.units.copy()
    merged[0] = next(unit for unit in merged if unit != merged[0])
    frame = table.frame.copy()
    frame.loc[0, "age"] += 1
    others = [
        replace(table, units=merged),
        replace(table, frame=frame),
        table.take(np.arange(len(table) - 1)),
    ]
    assert len({digest(one) for one in (table, *others)}) == 4


def test_linked_records_keep_a_patients_order(inputs: Inputs, schema: Schema) -> None:
    content = schema.model_dump(mode="json", by_alias=True)
    content["unit"] |= {"records": "linked"}
    linked = replace(inputs.train, schema=Schema.model_validate_json(json.dumps(content)))
    counts = pd.Series(linked.units).value_counts()
    owner = counts.index[counts > 1][0]
    mine = linked.frame[linked.units == owner].reset_index(drop=True)
    sorted_again = ordered(shuffled_patients(linked))
    kept = sorted_again.frame[sorted_again.units == owner].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, kept)
    assert digest(linked) == digest(sorted_again)
    swapped = linked.take(np.arange(len(linked))[::-1])
    assert digest(swapped) != digest(linked)


def shuffled_patients(table: RealTable) -> RealTable:
    codes, n = table.unit_codes()
    place = np.random.default_rng(0).permutation(n)[codes]
    return table.take(np.argsort(place, kind="stable"))


def test_canonical_inputs_stay_as_they_are(inputs: Inputs) -> None:
    first = canonical(inputs)
    again = canonical(first)
    assert again.train is first.train
    assert again.synthetic is first.synthetic


def test_all_heads_but_leakage_are_tested_on_the_whole_holdout(inputs: Inputs) -> None:
    apart = replace(inputs, reference_of_cohort=False)
    names = {"utility_brier"}
    plain, tested = (
        {one.name: one for one in evaluate_all(given, seed=1, only=names)} for given in (apart, inputs)
    )
    n = [found["utility_brier"].estimates["mean.gap"].n for found in (plain, tested)]
    assert n == [inputs.holdout.unit_codes()[1], whole(inputs).holdout.unit_codes()[1]]
    assert n[1] == n[0] + inputs.reference.unit_codes()[1]
