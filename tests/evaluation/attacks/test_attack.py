"""The statistics of an attack: no bias by chance, exact rates, the claim's curve, the positive control."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dp_accounting import dp_event

from synthgen.evaluation.attacks import attack
from synthgen.evaluation.attacks import rates as _rates
from synthgen.evaluation.base import Claim, Inputs
from synthgen.privacy.event_json import to_json

Build = Callable[..., Inputs]
Rows = Callable[[int, int], pd.DataFrame]


def test_an_attack_that_knows_nothing_has_no_advantage_on_average_and_the_naive_one_has() -> None:
    """200 repetitions: a mean beyond 3.3 standard errors has probability 1e-3, coverage under .9 likewise."""
    rng = np.random.default_rng(0)
    found, naive = [], []
    for _ in range(200):
        members, others = rng.normal(size=300), rng.normal(size=200)
        found.append(_rates.advantage(members, others, rng=rng))
        steps = np.sort(np.concatenate([members, others]))
        naive.append(max(np.mean(members >= t) - np.mean(others >= t) for t in steps[::10]))
    values = np.array([estimate.value for estimate in found])
    assert abs(values.mean()) < 3.3 * values.std() / math.sqrt(200)
    assert np.mean(naive) > 0.04
    assert np.mean([estimate.low <= 0 <= estimate.high for estimate in found]) >= 0.9


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_the_upper_end_of_an_advantage_which_the_gate_reads_is_seldom_below_the_truth(shift: float) -> None:
    """1,000 repetitions: 2.5 % are aimed at, 4 % has probability 1e-3; by disjoint halves 6 to 7 % were."""
    rng = np.random.default_rng(4)
    found = [_rates.advantage(rng.normal(shift, 1, 300), rng.normal(size=300), rng=rng) for _ in range(1000)]
    truth = float(np.mean([estimate.value for estimate in found])) if shift else 0.0
    assert np.mean([estimate.high < truth for estimate in found]) < 0.04
    assert np.mean([estimate.low <= truth <= estimate.high for estimate in found]) > 0.93


def test_an_advantage_of_0_is_missed_on_its_only_side_as_often_as_any_on_both() -> None:
    """3,000 repetitions: 5 % are aimed at, below 3.8 % or above 6.2 % has probability 2e-3; by 2.5 % a side
    3.8 % were missed. The first value above 0 whose interval leaves 0 out lies 1.4 deviations off."""
    rng = np.random.default_rng(6)
    found = [_rates.advantage(rng.normal(size=200), rng.normal(size=200), rng=rng) for _ in range(3000)]
    assert 0.038 < np.mean([estimate.low > 0 for estimate in found]) < 0.062
    assert _rates._reach(1.0, -1.0 / _rates.ONE_SIDED) == pytest.approx(1.0, rel=1e-3)
    assert _rates._reach(-1.0, 1.0 / _rates.CHANCE) == pytest.approx(1.0, rel=1e-3)


def test_an_attack_without_error_has_an_interval() -> None:
    rng = np.random.default_rng(5)
    estimate = _rates.advantage(np.ones(50), np.zeros(50), rng=rng)
    assert 0.8 < estimate.low < 0.95 < estimate.value < estimate.high <= 1.0


def test_the_advantage_of_two_shifted_normals_is_the_analytic_one() -> None:
    """Best advantage of N(1, 1) against N(0, 1): 2 Phi(1/2) - 1 = .383; standard deviation .004."""
    rng = np.random.default_rng(1)
    estimate = _rates.advantage(rng.normal(1, 1, 30_000), rng.normal(size=30_000), rng=rng)
    assert estimate.value == pytest.approx(0.383, abs=0.013)


def test_ties_favour_nobody() -> None:
    rng = np.random.default_rng(2)
    rates = _rates.true_positive_rates(np.zeros(2000), np.zeros(2000), claim=None, rng=rng)
    assert rates["tpr_10pct"].value == pytest.approx(0.1, abs=0.025)
    assert abs(_rates.advantage(np.zeros(2000), np.zeros(2000), rng=rng).value) < 0.06


def test_a_rate_needs_ten_expected_non_members() -> None:
    rng = np.random.default_rng(3)
    rates = _rates.true_positive_rates(rng.normal(size=500), rng.normal(size=999), claim=None, rng=rng)
    assert rates["tpr_10pct"].status == "ok"
    assert rates["tpr_1pct"].status == "insufficient"
    assert rates["beyond_claim_10pct"].status == "not-applicable"
    needs = _rates.needed()
    assert (needs["tpr_10pct"], needs["tpr_1pct"], needs["beyond_claim_0.1pct"]) == (100, 1000, 10_000)


def test_a_rate_is_that_of_members_above_the_last_non_member_whom_it_allows() -> None:
    rng = np.random.default_rng(5)
    members, others = rng.normal(size=500), rng.normal(size=999)
    found = _rates.true_positive_rates(members, others, claim=None, rng=rng)["tpr_10pct"]
    threshold = sorted(others, reverse=True)[99]  # 99 of 999 non-members lie above it, a rate below .1
    assert found.value == pytest.approx(np.mean(members > threshold))


def test_an_attack_beyond_the_claim_is_proven_and_noise_is_not() -> None:
    rng, claim = np.random.default_rng(6), Claim(epsilon=1.0, delta=1e-5)
    noise = _rates.true_positive_rates(rng.normal(size=2000), rng.normal(size=2000), claim=claim, rng=rng)
    strong = _rates.true_positive_rates(rng.normal(2, 1, 2000), rng.normal(size=2000), claim=claim, rng=rng)
    assert noise["beyond_claim_10pct"].low < 0 < strong["beyond_claim_10pct"].low


@pytest.mark.slow
def test_the_claim_is_exceeded_wrongly_at_most_at_its_rate_and_a_true_excess_is_seen() -> None:
    """1,000 attacks at what mu = 1 allows: ends at 2.5 % give 25 false alarms, over 40 but for 2e-3."""
    claim = Claim(epsilon=4.0, delta=1e-5, event=to_json(dp_event.GaussianDpEvent(1.0)))
    rng = np.random.default_rng(4)
    alarms = seen = 0
    for _ in range(1000):
        others = rng.normal(size=1500)
        rates = _rates.true_positive_rates(rng.normal(1.0, 1, 1000), others, claim=claim, rng=rng)
        alarms += rates["beyond_claim_10pct"].low > 0
        worse = _rates.true_positive_rates(rng.normal(1.6, 1, 1000), others, claim=claim, rng=rng)
        seen += worse["beyond_claim_10pct"].low > 0
    assert alarms <= 40
    assert seen >= 950


def test_the_allowed_rate_follows_the_curve_and_without_one_epsilon_and_delta() -> None:
    curve = Claim(epsilon=4.0, delta=1e-5, event=to_json(dp_event.GaussianDpEvent(1.0)))
    assert _rates.allowed(curve, 0.1) == pytest.approx(0.3891, abs=2e-3)
    bare = Claim(epsilon=math.log(2), delta=0.01)
    assert _rates.allowed(bare, 0.1) == pytest.approx(0.21)
    assert _rates.allowed(bare, 0.9) == pytest.approx(1 - (1 - 0.01 - 0.9) / 2)
    assert _rates.allowed(Claim(epsilon=2000.0, delta=0.0), 0.1) == 1.0


def test_a_scorer_that_sees_nothing_fails_its_control_and_counts_as_missing(build: Build, rows: Rows) -> None:
    inputs = build(lambda train, n: rows(n, 800), n=1000)
    blind = np.random.default_rng(0)

    def run(scorer: Any) -> Any:
        return attack.run(
            inputs,
            scorer,
            name="leakage_x",
            title="x",
            definition="x",
            limits={},
            rng=np.random.default_rng(0),
        )

    result = run(lambda planted, suspects: blind.normal(size=len(suspects)))
    assert result.status == "insufficient"
    assert result.details["control"]["detected"] is False

    def exact(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        known = set(map(str, planted.itertuples(index=False)))
        return np.array([str(row) in known for row in suspects.itertuples(index=False)], dtype=float)

    result = run(exact)
    assert result.status == "ok"
    assert result.details["control"]["advantage"] == pytest.approx(0.5, abs=0.03)
    assert abs(result.estimates["advantage"].value) < 0.09


def test_without_a_reference_or_with_few_patients_there_is_no_answer(build: Build, rows: Rows) -> None:
    inputs = build(lambda train, n: rows(n, 800), n=200)
    none = inputs.reference.select(np.zeros(len(inputs.reference), dtype=bool))
    few = inputs.holdout.select(np.arange(len(inputs.holdout)) < 40)
    for changed in (replace(inputs, reference=none), replace(inputs, holdout=few)):
        result = attack.run(
            changed,
            lambda planted, suspects: np.zeros(len(suspects)),
            name="leakage_x",
            title="x",
            definition="x",
            limits={},
            rng=np.random.default_rng(0),
        )
        assert result.status == "insufficient"


def test_areas_of_a_classifier_rest_on_patients_of_whom_it_has_learnt_nothing() -> None:
    """A label learnt by heart: scores of the taught would be perfect, those of the tested are chance."""
    rng = np.random.default_rng(4)
    told = attack._taught(rng.normal(size=(900, 3)), rng.normal(size=(600, 3)))
    members, others = told.tested
    assert (len(members), len(others)) == (600, 400)
    assert np.isfinite(told.members).all()
    assert (told.members > 0).all()  # the first part too is spoken of, for the rates
    area = attack.delong(members, others)
    assert abs(area.value - 0.5) < 3.3 * (area.high - area.low) / 3.92
    swapped = attack._taught(np.arange(900.0)[:, None], np.arange(600.0)[:, None] - 10_000)
    assert attack.delong(*swapped.tested).value == 1.0
