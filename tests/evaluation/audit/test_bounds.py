"""The audits: their bounds hold, they can fail, and they say what they could have seen."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

from synthgen.data.tables import SyntheticTable
from synthgen.evaluation.audit import bounds
from synthgen.evaluation.audit.transcript import Replay, Tap
from synthgen.evaluation.audit.twin import audit_twin
from synthgen.generators.marginal.config import Config
from synthgen.privacy.noise import NoiseSource
from tests.evaluation.conftest import FIELDS, make_schema
from tests.support.mechanisms import COPIES, Mechanism, embedding, marginal, records_count_in_full

WANTED, MOST_FITS = 0.9, 3000
FAULTS: dict[str, tuple[float, dict[str, Any], Callable[[], Any]]] = {
    "no noise": (1000.0, {"sigma_times": 1e-6}, contextlib.nullcontext),
    "half the noise": (2.0, {"sigma_times": 0.5}, contextlib.nullcontext),
    "K copies": (float(COPIES), {}, records_count_in_full),
}
"""By fault: how much larger the attack's mu is, what the tap does, and what is planted in the code."""


def test_ceilings_are_those_that_are_known() -> None:
    """All of 100 guesses right show epsilon 3.5, of 1,000 show 5.8: no more, however bad the leak."""
    shown = [round(bounds.epsilon_bound(m, m, m, delta=1e-5, tail=0.05), 1) for m in (100, 1000)]
    assert shown == [3.5, 5.8]


@pytest.mark.parametrize(("m", "right"), [(40, 30), (200, 130), (200, 199)])
def test_the_bound_of_pure_privacy_is_the_binomial_tail_and_of_mu_zero_too(m: int, right: int) -> None:
    found = bounds.epsilon_bound(m, m, right, delta=0.0, tail=0.05)
    assert binom.sf(right - 1, m, 1 / (1 + math.exp(-found))) == pytest.approx(0.05, rel=1e-3)
    even = binom.sf(right - 1, m, 0.5)
    assert bounds.plausible(lambda x: x, m, right, tail=even * 0.5)
    assert not bounds.plausible(lambda x: x, m, m, tail=0.05)


def test_delta_makes_the_bound_smaller() -> None:
    shown = [bounds.epsilon_bound(200, 200, 170, delta=d, tail=0.05) for d in (0.0, 1e-5, 1e-3, 1e-2)]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] > shown[-1]


def test_bounds_of_one_run_hold_for_a_mechanism_of_known_mu_and_fail_for_one_of_twice_its_mu() -> None:
    """Gaussian with mu = 1 is (4.38, 1e-5)-DP. 100 runs: over 10 bounds wrong at 5 % come with .01."""
    rng = np.random.default_rng(0)
    mus, epsilons, worse = [], [], []
    for _ in range(100):
        coins, noise = rng.random(400) < 0.5, rng.normal(size=400)
        found = bounds.one_run(noise + coins, coins, epsilon=4.38, delta=1e-5, guesses=80)
        mus.append(found.mu)
        epsilons.append(found.epsilon)
        if len(worse) < 5:
            worse.append(bounds.one_run(noise + 10 * coins, coins, epsilon=4.38, delta=1e-5).mu)
    assert np.mean(np.array(mus) > 1) <= 0.1
    assert np.mean(np.array(epsilons) > 4.38) <= 0.1
    assert np.mean(mus) > 0.2, "the bound is no constant 0"
    assert np.mean(worse) > 1


def test_a_claim_above_the_ceiling_is_beyond_the_audit_and_is_said_so() -> None:
    rng = np.random.default_rng(1)
    coins = rng.random(100) < 0.5
    perfect, blind = coins.astype(float), rng.normal(size=100)
    assert bounds.one_run(perfect, coins, epsilon=10.0, delta=1e-5).verdict == "no power"
    assert bounds.one_run(perfect, coins, epsilon=1.0, delta=1e-5).verdict == "violation"
    found = bounds.one_run(blind, coins, epsilon=1.0, delta=1e-5)
    assert (found.verdict, found.epsilon) == ("no violation", 0.0)


def test_the_best_of_several_numbers_of_guesses_keeps_the_error_and_sees_weak_and_gross_leaks() -> None:
    """Gaussian with mu = 1, claimed as it is: 60 runs, over 9 wrong bounds at 5 % come with .001."""
    rng = np.random.default_rng(4)
    options: Any = {"epsilon": 4.38, "delta": 1e-5, "shares": (0.2, 0.9)}
    wrong, gross, weak = 0, [], []
    for i in range(60):
        coins, noise = rng.random(200) < 0.5, rng.normal(size=200)
        wrong += bounds.best_run(noise + coins, coins, **options).epsilon > 4.38
        if i < 5:
            gross.append(bounds.best_run(noise + 20 * coins, coins, **options))
            weak.append(bounds.best_run(noise + 1.5 * coins, coins, **options))
    assert wrong <= 9
    few, many = (bounds.epsilon_bound(200, n, n, delta=1e-5, tail=0.025) for n in (40, 180))
    assert {run.ceiling for run in gross + weak} == {max(few, many)}
    assert max(run.epsilon for run in gross) == many > few
    assert any(run.guesses == 40 for run in weak), "the surest guesses say more about a weak leak"


def test_power_is_that_of_simulated_audits() -> None:
    """mu = 1 against a claim of mu = .5, 150 fits a side; 400 audits, four standard errors are .1."""
    claim = lambda rate: float(norm.cdf(norm.ppf(rate) + 0.5))  # noqa: E731
    rng = np.random.default_rng(2)
    found = [
        bounds.many_runs(rng.normal(0.5, 1, 150).tolist(), rng.normal(-0.5, 1, 150).tolist(), claim).violated
        for _ in range(400)
    ]
    expected = bounds.power(150, float(norm.cdf(0.5)), float(norm.cdf(-0.5)), claim)
    assert np.mean(found) == pytest.approx(expected, abs=0.1)
    assert bounds.power(150, float(norm.cdf(0.25)), float(norm.cdf(-0.25)), claim) < 0.05


def test_a_transcript_is_what_went_in_and_replayed_it_gives_the_same_answers() -> None:
    tap = Tap(NoiseSource.for_tests(0))
    noisy = tap.discrete_gaussian(np.array([3, 5]), sigma=2.0)
    chosen = tap.select(np.array([1, 9, 4]), epsilon=1.0, sensitivity=1)
    replay = Replay(tap.answers)
    assert replay.discrete_gaussian(np.array([4, 5]), sigma=2.0).tolist() == noisy.tolist()
    assert replay.select(np.array([0, 9, 4]), epsilon=1.0, sensitivity=1) == chosen
    with pytest.raises(ValueError, match="questions"):
        Replay(tap.answers).discrete_gaussian(np.array([1, 2, 3]), sigma=2.0)


def test_the_log_ratio_of_a_gaussian_mechanism_has_the_known_mean_and_spread() -> None:
    """N(mu^2/2, mu) with the patient: mu = 1/4; 2,000 fits, four standard errors of the mean are .022."""
    from synthgen.evaluation.audit.transcript import log_ratio

    def fit(data: np.ndarray, noise: NoiseSource) -> np.ndarray:
        return noise.discrete_gaussian(data, sigma=40.0)

    data, without = np.array([110, 7]), np.array([100, 7])
    scores = [
        log_ratio(fit, data, without, member=True, tap=Tap(NoiseSource.for_tests(i))) for i in range(2000)
    ]
    assert np.mean(scores) == pytest.approx(1 / 32, abs=0.022)
    assert np.std(scores) == pytest.approx(0.25, rel=0.1)


def audited(mechanism: Mechanism, n: int, *, fault: str = "") -> bounds.ManyRuns:
    _, tapped, planted = FAULTS.get(fault, (1.0, {}, contextlib.nullcontext))
    with planted():
        scores = mechanism.scores(n, **tapped)
    return bounds.many_runs(*scores, mechanism.claim())


def planned(mechanism: Mechanism, fault: str, label: str) -> int:
    """Print and return how many fits a side catch a fault with the wanted power, from one fit."""
    rates, claim = mechanism.rates(FAULTS[fault][0]), mechanism.claim()
    n = bounds.runs_needed(*rates, claim, wanted=WANTED)
    assert n is not None
    print(f"{label}, {fault}: {n} fits a side, power {bounds.power(n, *rates, claim):.2f}")
    return n


@pytest.mark.parametrize("epsilon", [1.0, 10.0])
def test_marginal_keeps_to_its_claim_in_a_few_fits_and_gross_faults_are_caught(epsilon: float) -> None:
    assert not audited(marginal(epsilon), 20).violated
    n = planned(marginal(epsilon), "no noise", f"marginal at {epsilon:g}")
    assert audited(marginal(epsilon), n, fault="no noise").violated


def test_records_that_count_in_full_are_caught() -> None:
    mechanism = marginal(10.0, copies=COPIES)
    n = planned(mechanism, "K copies", "marginal at 10")
    assert audited(mechanism, n, fault="K copies").violated


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 10.0])
@pytest.mark.parametrize("make", [marginal, embedding])
def test_many_fits_of_our_generators_do_not_violate_the_claim(
    make: Callable[[float], Mechanism], epsilon: float
) -> None:
    found = audited(make(epsilon), 300)
    print(make.__name__, epsilon, found)
    assert not found.violated


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("make", "epsilon"), [(marginal, 1.0), (marginal, 10.0), (embedding, 10.0)])
def test_each_fault_is_caught_with_the_power_that_was_computed(
    make: Callable[..., Mechanism], epsilon: float, fault: str
) -> None:
    if make is embedding and fault == "K copies":
        pytest.skip("Its weights are tested with the generator; the planted fault is the tables'.")
    mechanism = make(epsilon, **({"copies": COPIES} if fault == "K copies" else {}))
    n = planned(mechanism, fault, f"{make.__name__} at {epsilon:g}")
    if n > MOST_FITS:
        pytest.skip(f"It would take {n} fits a side, hours of them; the same code is audited at epsilon 10.")
    assert audited(mechanism, n, fault=fault).violated


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 10.0])
def test_training_by_gradients_keeps_to_its_claim(epsilon: float) -> None:
    """The engine's own audit sees every released gradient; here at the epsilons of the others."""
    pytest.importorskip("torch")
    from tests.dpsgd.test_audit import full_batch, violated

    assert not violated(full_batch(epsilon), 1000)


class _Copier(Config):
    """A generator that returns what it was fitted on: no privacy at all, whatever the plan says."""

    def fit(self, data: Any, plan: Any, *, noise: Any, progress: Any = None) -> Any:
        class Fitted:
            def sample(self, n: int, *, rng: np.random.Generator, where: Any = None) -> SyntheticTable:
                frame = pd.concat([data.frame] * 2, ignore_index=True)
                return SyntheticTable(data.schema, frame)

        return Fitted()


@pytest.mark.parametrize("epsilon", [1.0, 10.0])
def test_a_twin_of_our_generator_shows_no_violation_and_one_of_a_copier_does_where_it_can(
    epsilon: float,
) -> None:
    schema = make_schema(FIELDS)
    found = {}
    for name, config in (("marginal", Config()), ("copier", _Copier())):
        plan = config.plan(schema, epsilon=epsilon, delta=1e-5, patients=1000)
        noise, coin = NoiseSource.for_tests(1), NoiseSource.for_tests(2)
        rng = np.random.default_rng(3)
        audited = audit_twin(config, plan, schema, n_canaries=400, rng=rng, noise=noise, coin=coin)
        assert audited.found is not None
        found[name] = audited.found
    assert found["marginal"].verdict != "violation"
    assert found["copier"].verdict == ("violation" if epsilon == 1 else "no power")
    assert found["copier"].epsilon > 2


def test_a_patient_moves_a_noised_step_of_a_generator_by_one_clip_and_rows_in_full_by_more() -> None:
    pytest.importorskip("torch")
    from tests.dpsgd.test_audit import COPIES as ROWS_IN_FULL
    from tests.support.mechanisms import tabular
    from tests.support.noised import Noised, Watch, few_drafts

    mechanism = tabular("gan", 10.0, kind=Noised, steps=5, pretraining=5, width=8)
    longest = []
    for fault in (contextlib.nullcontext, ROWS_IN_FULL):
        watch = Watch(member=True)
        with fault(), few_drafts(), watch.watching():
            mechanism.config.fit(mechanism.with_patient, mechanism.plan, noise=NoiseSource.for_tests(1))
        assert len(watch.lengths) == 5
        longest.append(max(watch.lengths) * mechanism.plan.parameters["training"]["noise_multiplier"])
    assert 0.9 < longest[0] <= 1 + 1e-5
    assert longest[1] > 1.5
