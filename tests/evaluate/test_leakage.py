"""The leakage metrics against brute force, and their statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.evaluate import _attack, leakage_claim, leakage_exact_match
from synthgen.evaluate import leakage_density_ratio as density
from synthgen.evaluate import leakage_nearest_neighbour as neighbour
from synthgen.evaluate._base import Claim, Inputs
from synthgen.evaluate._design import euclidean
from synthgen.evaluate._patients import maximum_by_patient, one_record_each
from synthgen.privacy.accountant import to_json
from synthgen.records import SyntheticTable

Build = Callable[..., Inputs]


def test_the_nearest_distance_is_that_of_brute_force(rows: Any, schema: Any) -> None:
    names = [column.name for column in schema.columns]
    points, base = (euclidean(schema, rows(n, n), names) for n in (30, 40))
    expected = [min(float(np.linalg.norm(p - b)) for b in base.astype(float)) for p in points.astype(float)]
    assert neighbour.nearest(points, base) == pytest.approx(expected, abs=2e-3)
    assert neighbour.nearest(points, points).max() < 2e-3


def test_the_distance_is_gowers(tiny: Any, tiny_schema: Any) -> None:
    pairs = [
        (("F", 0, 1.0, True), ("F", 0, 1.0, True), 0.0),
        (("F", 0, 1.0, True), ("M", 0, 1.0, True), 1.0),
        (("F", 0, 1.0, True), ("F", 3, 1.0, False), 2.0),
        (("F", 0, 0.0, True), ("F", 0, 5.0, True), 0.25),
        (("F", 0, np.nan, True), ("F", 0, 5.0, True), 1.0),
    ]
    names = [column.name for column in tiny_schema.columns]
    for first, second, expected in pairs:
        a, b = euclidean(tiny_schema, tiny([first, second]).frame, names)
        assert float(((a - b) ** 2).sum()) == pytest.approx(expected, abs=1e-6)


def test_a_patient_scores_as_the_most_exposed_record() -> None:
    scores = maximum_by_patient(np.array([1.0, 5.0, -2.0, -3.0]), np.array([0, 0, 1, 1]), 2)
    assert scores.tolist() == [5.0, -2.0]


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
    found = leakage_exact_match.evaluate(inputs, rng=np.random.default_rng(0)).estimates
    train, holdout = naive_exact(inputs)
    assert (found["train"].value, found["holdout"].value) == (pytest.approx(train), pytest.approx(holdout))
    assert found["difference"].low > 0.1


def test_an_independent_sample_copies_the_training_part_no_more_than_the_holdout(
    build: Build, rows: Any
) -> None:
    inputs = build(lambda train, n: rows(n, 71))
    found = leakage_exact_match.evaluate(inputs, rng=np.random.default_rng(0)).estimates["difference"]
    assert found.low <= 0 <= found.high


def test_the_advantage_of_noise_is_unbiased_and_a_shift_is_seen() -> None:
    """300 draws; the mean of noise is beyond 3.3 standard errors with probability 1e-3, fixed seed."""
    rng = np.random.default_rng(2)

    def mean_of(shift: float) -> tuple[float, float]:
        draws = [
            _rates.advantage(rng.normal(shift, 1, 400), rng.normal(0, 1, 300), rng=rng).value
            for _ in range(300)
        ]
        return float(np.mean(draws)), float(np.std(draws) / np.sqrt(len(draws)))

    mean, error = mean_of(0.0)
    assert abs(mean) < 3.3 * error
    mean, error = mean_of(0.2)
    assert mean > 3.3 * error


def test_a_threshold_chosen_and_measured_on_the_same_patients_fails_that_check() -> None:
    rng = np.random.default_rng(3)
    draws = []
    for _ in range(100):
        members, others = rng.normal(size=400), rng.normal(size=300)
        cuts = np.concatenate([members, others])
        rates = (members >= cuts[:, None]).mean(axis=1) - (others >= cuts[:, None]).mean(axis=1)
        draws.append(float(rates.max()))
    assert np.mean(draws) > 3.3 * np.std(draws) / np.sqrt(len(draws))


def test_ties_help_nobody() -> None:
    rng = np.random.default_rng(4)
    found = _rates.advantage(np.zeros(500), np.zeros(500), rng=rng)
    assert found.low < 0 < found.high
    assert _attack.delong(np.zeros(500), np.zeros(500)).value == 0.5


def test_a_true_positive_rate_needs_ten_false_positives() -> None:
    rng = np.random.default_rng(5)
    members, others = rng.normal(size=500), rng.normal(size=999)
    found = _rates.true_positive_rates(members, others, claim=None, rng=rng)
    statuses = [found[f"tpr_{name}"].status for name in ("10pct", "1pct", "0.1pct")]
    assert statuses == ["ok", "insufficient", "insufficient"]
    threshold = sorted(others, reverse=True)[99]  # 99 of 999 non-members lie above it, a rate below .1
    assert found["tpr_10pct"].value == pytest.approx(np.mean(members > threshold))


def test_an_attack_beyond_the_claim_is_proven_and_noise_is_not() -> None:
    rng, claim = np.random.default_rng(6), Claim(epsilon=1.0, delta=1e-5)
    noise = _rates.true_positive_rates(rng.normal(size=2000), rng.normal(size=2000), claim=claim, rng=rng)
    strong = _rates.true_positive_rates(rng.normal(2, 1, 2000), rng.normal(size=2000), claim=claim, rng=rng)
    assert noise["beyond_claim_10pct"].low < 0 < strong["beyond_claim_10pct"].low


def test_the_claims_whole_curve_allows_less_than_its_one_point() -> None:
    from dp_accounting import dp_event

    event = to_json(dp_event.GaussianDpEvent(4.0))
    point, curve = Claim(1.0, 1e-5), Claim(1.0, 1e-5, 0.25, event)
    for rate in (0.01, 0.1):
        assert rate < _rates.allowed(curve, rate) < _rates.allowed(point, rate)
    assert _rates.allowed(point, 0.1) == pytest.approx(np.e * 0.1 + 1e-5)


@pytest.mark.parametrize("attack", [density, neighbour])
def test_an_attack_that_misses_planted_copies_counts_as_missing(attack: Any, build: Build, rows: Any) -> None:
    inputs = build(lambda train, n: rows(n, 72), n=600)
    seen = attack.evaluate(inputs, rng=np.random.default_rng(0))
    assert seen.status == "ok"
    assert seen.details["control"]["detected"]

    def blind(planted: Any, suspects: Any) -> np.ndarray:
        return np.random.default_rng(len(planted)).normal(size=len(suspects))

    missed = _attack.run(
        inputs, blind, name="leakage_x", title="x", definition="x", limits={}, rng=np.random.default_rng(0)
    )
    assert missed.status == "insufficient"
    assert not missed.details["control"]["detected"]


@pytest.mark.parametrize("attack", [density, neighbour])
def test_an_attack_tells_copies_from_an_independent_sample(attack: Any, build: Build, rows: Any) -> None:
    good = build(lambda train, n: rows(n, 73), n=1500)
    copied = one_record_each(good.train, 1500, rng=np.random.default_rng(1))
    bad = replace(good, synthetic=SyntheticTable(good.schema, copied))
    first, second = (attack.evaluate(i, rng=np.random.default_rng(0)).estimates for i in (good, bad))
    assert first["advantage"].low <= 0 <= first["advantage"].high  # false alarm 5 %, fixed seed
    assert second["advantage"].low > 0.5
    assert second["beyond_claim_10pct"].low > 0


def test_the_claim_is_passed_on_and_its_absence_said(build: Build, rows: Any) -> None:
    claimed = build(lambda train, n: rows(n, 74), n=100, claim=Claim(2.0, 1e-6, 0.4, None, 3))
    found = leakage_claim.evaluate(claimed, rng=np.random.default_rng(0)).estimates
    assert {key: e.value for key, e in found.items()} == {
        "epsilon": 2.0,
        "delta": 1e-6,
        "looks": 3,
        "mu": 0.4,
    }
    bare = leakage_claim.evaluate(replace(claimed, claim=None), rng=np.random.default_rng(0))
    assert bare.status == "not-applicable"
    assert "no evidence of safety" in bare.note


def test_patients_are_sampled_whole(cohort: Any) -> None:
    from synthgen.evaluate._patients import sample_patients

    table = cohort(200, 5)
    sample = sample_patients(table, 50, rng=np.random.default_rng(0))
    counts = Counter(table.units.tolist())
    assert {unit: counts[unit] for unit in set(sample.units)} == dict(Counter(sample.units.tolist()))
    assert len(set(sample.units)) == 50
