"""Copies of unique records, counted by patient: on a hand-made table, by brute force, on discrete tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.base import Estimate, Inputs
from synthgen.evaluation.leakage import exact_match
from synthgen.evaluation.statistics.patients import one_record_each
from synthgen.schema.schema import Schema

Build = Callable[..., Inputs]


@pytest.fixture
def inputs(tiny: Callable[..., Any], tiny_schema: Schema) -> Inputs:
    """100 training patients, each a record of its own and a shared one; 60 holdout; 20 copied, 3 by luck."""
    own = [("F", 0, 0.01 * i, True) for i in range(100)]
    shared = [("M", 1, 5.0, False)] * 100
    held = [("F", 2, 0.01 * i, np.nan) for i in range(60)]
    train = tiny([*own, *shared], [f"t{i}" for i in range(100)] * 2)
    holdout = tiny(held, [f"h{i}" for i in range(60)])
    reference = tiny([("M", 1, 5.0, False)], ["r"])
    drawn = tiny([*own[:20], *held[:3], *shared[:50], ("M", 3, -0.0, True)])
    return Inputs(tiny_schema, train, holdout, reference, drawn)


def test_shares_are_of_patients_with_a_unique_record(inputs: Inputs) -> None:
    result = exact_match.evaluate(inputs, rng=np.random.default_rng(0))
    assert result.estimates["train"].value == pytest.approx(0.2)
    assert result.estimates["holdout"].value == pytest.approx(0.05)
    assert result.estimates["difference"].value == pytest.approx(0.15)
    assert result.estimates["difference"].low > 0
    assert result.control == pytest.approx(0.05)


def test_a_record_that_two_patients_share_is_nobodys(inputs: Inputs, tiny: Callable[..., Any]) -> None:
    also = tiny([("F", 0, 0.01 * i, True) for i in range(20)], [f"x{i}" for i in range(20)])
    result = exact_match.evaluate(replace(inputs, reference=also), rng=np.random.default_rng(0))
    assert result.estimates["train"].value == 0.0


def test_a_change_in_the_last_digit_is_no_exact_match(inputs: Inputs) -> None:
    frame = inputs.synthetic.frame.assign(lab=inputs.synthetic.frame["lab"] + 1e-9)
    changed = replace(inputs, synthetic=replace(inputs.synthetic, frame=frame))
    result = exact_match.evaluate(changed, rng=np.random.default_rng(0))
    assert result.estimates["train"].value == 0.0


def test_minus_zero_is_zero_and_missing_equals_missing(tiny: Callable[..., Any], inputs: Inputs) -> None:
    same = tiny([("M", 3, 0.0, True), ("M", np.nan, 1.0, True)]).frame
    other = tiny([("M", 3, -0.0, True), ("M", np.nan, 1.0, True)]).frame
    first, second = (exact_match._hashes(inputs, frame) for frame in (same, other))
    assert (first == second).all()


def test_the_same_record_of_one_patient_in_two_parts_of_a_table_counts_once(inputs: Inputs) -> None:
    twice = inputs.train.select(np.r_[np.arange(200)] < 200)
    assert exact_match.evaluate(replace(inputs, train=twice), rng=np.random.default_rng(0)).estimates[
        "train"
    ].value == pytest.approx(0.2)


def test_with_few_unique_records_there_is_no_answer(inputs: Inputs) -> None:
    few = inputs.holdout.select(np.arange(60) < 30)
    result = exact_match.evaluate(replace(inputs, holdout=few), rng=np.random.default_rng(0))
    assert result.status == "insufficient"


def naive_exact(inputs: Inputs) -> tuple[float, float]:
    owners: dict[tuple[Any, ...], set[str]] = {}
    parts = (inputs.train, inputs.holdout, inputs.reference)
    rows = [[tuple(map(str, row)) for row in part.frame.itertuples(index=False)] for part in parts]
    for i, (part, held) in enumerate(zip(parts, rows, strict=True)):
        for row, unit in zip(held, part.units, strict=True):
            owners.setdefault(row, set()).add(f"{i}:{unit}")
    released = {tuple(map(str, row)) for row in inputs.synthetic.frame.itertuples(index=False)}
    shares = []
    for part, held in zip(parts[:2], rows[:2], strict=True):
        unique = {u for row, u in zip(held, part.units, strict=True) if len(owners[row]) == 1}
        copied = {
            u for row, u in zip(held, part.units, strict=True) if len(owners[row]) == 1 and row in released
        }
        shares.append(len(copied) / len(unique))
    return shares[0], shares[1]


def test_exact_matches_are_those_of_a_set_of_tuples(build: Build, rows: Any) -> None:
    def some(train: Any, n: int) -> Any:
        return one_record_each(train, n // 3, rng=np.random.default_rng(1))

    inputs = build(some, n=400)
    found = exact_match.evaluate(inputs, rng=np.random.default_rng(0)).estimates
    train, holdout = naive_exact(inputs)
    assert (found["train"].value, found["holdout"].value) == (pytest.approx(train), pytest.approx(holdout))
    assert found["difference"].low > 0.1


def test_an_independent_sample_copies_the_training_part_no_more_than_the_holdout(
    build: Build, rows: Any
) -> None:
    inputs = build(lambda train, n: rows(n, 71))
    found = exact_match.evaluate(inputs, rng=np.random.default_rng(0)).estimates["difference"]
    assert found.low <= 0 <= found.high


def excess(inputs: Inputs) -> Estimate:
    return exact_match.evaluate(inputs, rng=np.random.default_rng(0)).estimates["holdout_excess"]


def test_the_chance_of_a_match_is_the_share_of_random_subsets_that_hold_the_record() -> None:
    """20,000 subsets; a share is within .012 of its chance but for 1e-3."""
    rng, counts = np.random.default_rng(1), np.array([0, 1, 3, 8])
    rows = np.repeat(np.arange(5), [0, 1, 3, 8, 8])
    found = exact_match.chance_of_a_match(counts, len(rows), 6)
    drawn = [set(rng.permutation(rows)[:6].tolist()) for _ in range(20_000)]
    shares = [np.mean([record in subset for subset in drawn]) for record in range(4)]
    assert found == pytest.approx(shares, abs=0.012)
    assert exact_match.chance_of_a_match(counts, len(rows), 20)[1:] == pytest.approx([1.0, 1.0, 1.0])


def test_the_holdouts_excess_is_that_of_a_naive_count(build: Build, rows: Any) -> None:
    """As many synthetic rows as reference patients, so that no chance is left."""

    def of_all(train: RealTable, n: int) -> pd.DataFrame:
        return one_record_each(train, n // 2, rng=np.random.default_rng(1))

    inputs = build(of_all, n=400)
    some = one_record_each(inputs.holdout, 60, rng=np.random.default_rng(2))
    frame = pd.concat([inputs.synthetic.frame[:140], some], ignore_index=True)
    inputs = replace(inputs, synthetic=SyntheticTable(inputs.schema, frame))
    parts = (inputs.train, inputs.holdout)
    texts = [[tuple(map(str, row)) for row in part.frame.itertuples(index=False)] for part in parts]
    owners: dict[Any, set[str]] = {}
    for part, held in zip(parts, texts, strict=True):
        for row, unit in zip(held, part.units, strict=True):
            owners.setdefault(row, set()).add(str(unit))
    own = [(row, u) for row, u in zip(texts[1], inputs.holdout.units, strict=True) if len(owners[row]) == 1]
    released = {tuple(map(str, row)) for row in frame.itertuples(index=False)}
    matched = {unit for row, unit in own if row in released}
    foreign = {tuple(map(str, row)) for row in inputs.reference.frame.itertuples(index=False)}
    assert not foreign & {row for row, _ in own}
    assert excess(inputs).value == pytest.approx(len(matched) / len({unit for _, unit in own}))


@pytest.fixture(scope="module")
def discrete(tiny_schema: Schema) -> Callable[..., Inputs]:
    """Return ``discrete(seed)``: 16,000 possible records, so that honest generators match by chance."""

    def frame(rng: np.random.Generator, n: int, power: float) -> pd.DataFrame:
        def draw(size: int) -> np.ndarray:
            shares = (1.0 / np.arange(1, size + 1)) ** power
            return rng.choice(size, n, p=shares / shares.sum())

        return pd.DataFrame(
            {
                "sex": pd.Categorical(np.array(["F", "M"])[draw(2)], categories=["F", "M"]),
                "score": draw(4).astype(float),
                "lab": draw(1000) / 100.0,
                "died": pd.Categorical(draw(2) == 1, categories=[False, True]),
            }
        )

    def real(rng: np.random.Generator, n: int, name: str) -> RealTable:
        return RealTable(tiny_schema, frame(rng, n, 1.0), np.array([f"{name}{i}" for i in range(n)]))

    def made(seed: int, *, sharper: float = 1.0, copies: int = 0) -> Inputs:
        rng = np.random.default_rng(seed)
        parts = [real(rng, n, name) for n, name in ((3000, "t"), (800, "h"), (800, "r"))]
        drawn = [frame(rng, 5000, sharper), *(part.frame.sample(copies, random_state=1) for part in parts)]
        synthetic = SyntheticTable(tiny_schema, pd.concat(drawn, ignore_index=True))
        return Inputs(tiny_schema, *parts, synthetic)

    return made


def test_in_a_discrete_table_chance_matches_are_no_excess_and_copies_are(
    discrete: Callable[..., Inputs],
) -> None:
    """20 seeds: a mean beyond 3.3 standard errors has probability 1e-3."""
    found = [excess(discrete(seed)) for seed in range(20)]
    values = np.array([estimate.value for estimate in found])
    plain = exact_match.evaluate(discrete(0), rng=np.random.default_rng(0)).estimates["holdout"]
    assert plain.value > 0.1
    assert abs(values.mean()) < 3.3 * values.std() / np.sqrt(20)
    assert sum(estimate.low > 0.0 for estimate in found) <= 3
    assert excess(discrete(0, copies=700)).low > 0.01


@pytest.mark.parametrize("sharper", [0.8, 1.3])
def test_a_generator_that_is_too_sharp_or_too_flat_and_copies_nobody_is_not_proven_to(
    discrete: Callable[..., Inputs], sharper: float
) -> None:
    assert all(excess(discrete(seed, sharper=sharper)).low < 0.01 for seed in range(5))


def test_with_few_reference_patients_there_is_no_answer(inputs: Inputs) -> None:
    assert excess(inputs).status == "insufficient"
