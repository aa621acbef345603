"""Guarantees agree with closed forms, with each other, and with brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting import dp_event as e
from dp_accounting.rdp import rdp_privacy_accountant as rdp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.stats import norm

from synthgen.privacy import accountant
from synthgen.privacy.privacy_curve import ORDERS, Curve, booked, rdp_of

SGD = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.02, e.GaussianDpEvent(1.0)), 1000)


def exact_gaussian_epsilon(sigma: float, delta: float) -> float:
    """Balle and Wang (2018), arXiv:1805.06530, Theorem 8."""

    def excess(epsilon: float) -> float:
        upper = norm.cdf(1 / (2 * sigma) - epsilon * sigma)
        return float(upper - math.exp(epsilon) * norm.cdf(-1 / (2 * sigma) - epsilon * sigma) - delta)

    return float(optimize.brentq(excess, 0, 200, xtol=1e-12))


def exact_gaussian_power(mu: float, rate: float) -> float:
    return float(norm.cdf(norm.ppf(rate) + mu))


@pytest.mark.parametrize("sigma", [0.6, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_gaussian_epsilon_is_the_closed_form_and_rdp_is_above(sigma, delta):
    exact = exact_gaussian_epsilon(sigma, delta)
    tight = accountant.get_epsilon([e.GaussianDpEvent(sigma)], delta)
    assert exact <= tight <= exact * 1.002 + 1e-4
    assert accountant.get_epsilon([e.GaussianDpEvent(sigma)], delta, adaptive=True) > exact


def test_dp_sgd_has_the_known_epsilons():
    pld, by_rdp = (accountant.get_epsilon([SGD], 1e-5, adaptive=adaptive) for adaptive in (False, True))
    print(f"q=.02, sigma=1, T=1000, delta=1e-5: PLD {pld:.3f}, RDP {by_rdp:.3f}")
    assert pld == pytest.approx(3.899, abs=2e-3)
    assert by_rdp == pytest.approx(4.324, abs=2e-3)
    assert pld > 3.7  # the central-limit accountant says 3.528, below the truth


@settings(derandomize=True, deadline=None, max_examples=8)
@given(st.floats(0.7, 5.0), st.floats(0.001, 0.2), st.integers(1, 200), st.floats(1.0, 20.0))
def test_pld_is_never_above_rdp(sigma, rate, steps, laplace):
    sgd = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(rate, e.GaussianDpEvent(sigma)), steps)
    events = [sgd, e.LaplaceDpEvent(laplace), e.GaussianDpEvent(2 * sigma)]
    by_rdp = accountant.get_epsilon(events, 1e-6, adaptive=True)
    assert accountant.get_epsilon(events, 1e-6) <= by_rdp + 1e-9


def test_a_mixture_that_no_single_accountant_of_the_library_knows_is_answered():
    events = [
        SGD,
        e.ZCDpEvent(0.01),
        e.LaplaceDpEvent(5.0),
        e.DiscreteLaplaceDpEvent(0.1, 2),
        accountant.selection(0.3),
    ]
    joint = accountant.get_epsilon(events, 1e-5)
    alone = [accountant.get_epsilon([event], 1e-5) for event in events]
    print(f"joint epsilon {joint:.3f}, sum of the parts {sum(alone):.3f}")
    assert max(alone) < joint < sum(alone)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1.0, 3.0])
def test_the_booking_of_pure_epsilon_covers_discrete_laplace(epsilon):
    # Brute force over the integers: sensitivity 1, noise parameter epsilon.
    support = np.arange(-4000, 4001)
    p, q = -epsilon * np.abs(support), -epsilon * np.abs(support - 1)
    normal = math.log(math.tanh(epsilon / 2))
    for a in (1.5, 2.0, 10.0, 100.0):
        true = (np.logaddexp.reduce(a * p + (1 - a) * q) + normal) / (a - 1)
        claimed = rdp_of(e.DiscreteLaplaceDpEvent(epsilon, 1), [a])[0]
        assert claimed >= true - 1e-9
        assert claimed == pytest.approx(a * epsilon**2 / 2)


def test_sampling_amplifies_pure_epsilon_by_the_known_formula():
    event = e.PoissonSampledDpEvent(0.1, e.DiscreteLaplaceDpEvent(1.0, 1))
    assert booked(event).rho == pytest.approx(math.log1p(0.1 * math.expm1(1.0)) ** 2 / 2)
    assert booked(e.PoissonSampledDpEvent(0.0, e.GaussianDpEvent(1.0))) == e.NoOpDpEvent()


@pytest.mark.parametrize(
    "event",
    [
        e.NonPrivateDpEvent(),
        e.GaussianDpEvent(0.0),
        e.LaplaceDpEvent(0.0),
        e.PoissonSampledDpEvent(0.5, e.GaussianDpEvent(0.0)),
        e.PoissonSampledDpEvent(0.5, e.LaplaceDpEvent(0.0)),
        e.SelfComposedDpEvent(e.NonPrivateDpEvent(), 2),
    ],
)
def test_what_protects_nobody_has_infinite_epsilon_and_no_curve(event):
    assert accountant.get_epsilon([event, e.ZCDpEvent(0.1)], 1e-5) == math.inf
    assert accountant.tradeoff([event], 0.01) == 1.0
    assert accountant.gdp_mu([event], 1e-5) == math.inf
    assert not accountant.PrivacyFilter(100.0, 1e-5).fits([event])


@pytest.mark.parametrize(
    "event",
    [
        e.RandomizedResponseDpEvent(0.5, 2),  # whether a patient answers at all is not hidden
        e.PoissonSampledDpEvent(0.1, e.ZCDpEvent(0.1)),
        e.SampledWithoutReplacementDpEvent(100, 10, e.GaussianDpEvent(1.0)),
        e.UnsupportedDpEvent(),
    ],
)
def test_what_no_accountant_knows_under_add_or_remove_is_refused(event):
    for call in (accountant.get_epsilon, accountant.gdp_mu):
        with pytest.raises(ValueError, match="Expected"):
            call([event], 1e-5)
    with pytest.raises(ValueError, match="Expected"):
        accountant.PrivacyFilter(1.0, 1e-5).fits([event])


def test_truncated_poisson_is_known_to_pld_alone():
    event = e.TruncatedSubsampledGaussianDpEvent(1000, 0.02, 60, 2.0)
    assert 0 < accountant.get_epsilon([event], 1e-5) < 3
    with pytest.raises(ValueError, match="RDP"):
        accountant.get_epsilon([event], 1e-5, adaptive=True)


def test_no_events_cost_nothing():
    assert accountant.get_epsilon([], 1e-6) == 0.0
    assert accountant.get_epsilon([e.NoOpDpEvent()], 1e-6) == 0.0
    assert accountant.gdp_mu([], 1e-6) < 0.02


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_delta_that_is_no_probability_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        accountant.get_epsilon([e.ZCDpEvent(0.1)], delta)
    with pytest.raises(ValueError, match="delta"):
        accountant.calibrate_rho(1.0, delta)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf, 1e-7])
def test_an_epsilon_that_buys_nothing_is_refused(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        accountant.calibrate_rho(epsilon, 1e-5)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.floats(0.05, 50.0), st.sampled_from([1e-4, 1e-5, 1e-6, 1e-9]))
def test_calibrated_rho_costs_at_most_epsilon_and_a_little_more_costs_more(epsilon, delta):
    rho = accountant.calibrate_rho(epsilon, delta)
    library = rdp.RdpAccountant(ORDERS).compose(e.ZCDpEvent(rho)).get_epsilon(delta)
    assert library <= epsilon
    held = [e.ZCDpEvent(rho), accountant.failure(accountant.FAILURE_SHARE * delta)]
    assert accountant.get_epsilon(held, delta) == pytest.approx(epsilon, rel=1e-9)
    assert accountant.get_epsilon([e.ZCDpEvent(rho * (1 + 1e-6)), held[1]], delta) > epsilon
    assert accountant.epsilon_of_rho(rho, delta) == pytest.approx(epsilon, rel=1e-9)


def test_the_orders_lose_less_than_one_percent_against_a_continuum():
    for epsilon in (0.02, 0.1, 1.0, 10.0):
        for delta in (1e-5, 1e-9):
            a = np.linspace(1.01, 10, 400_000) if epsilon >= 1 else np.geomspace(1.01, 1e5, 400_000)
            a = np.concatenate([a, np.geomspace(10, 1e5, 100_000)])
            best = ((epsilon - np.log1p(-1 / a) + (math.log(delta) + np.log(a)) / (a - 1)) / a).max()
            assert 0.985 * best < accountant.calibrate_rho(epsilon, delta) <= best


def test_calibrated_noise_reaches_epsilon_from_below():
    noise = accountant.calibrate_noise(
        lambda s: e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.02, e.GaussianDpEvent(s)), 1000),
        epsilon=3.9,
        delta=1e-5,
    )
    print(f"noise multiplier for epsilon 3.9: {noise:.4f}")
    assert noise == pytest.approx(1.0, abs=2e-3)
    with pytest.raises(ValueError, match="Raise epsilon"):
        accountant.calibrate_noise(e.GaussianDpEvent, epsilon=1e-4, delta=1e-5, high=10.0)


def test_a_plan_for_the_whole_cap_fits_exactly_once():
    for epsilon in (0.1, 1.0, 8.0):
        cap = accountant.PrivacyFilter(epsilon, 1e-6)
        rho = accountant.calibrate_rho(epsilon, 1e-6)
        assert cap.fits([e.ZCDpEvent(rho)])
        assert cap.fits([e.ZCDpEvent(rho / 10)] * 10)
        assert not cap.fits([e.ZCDpEvent(rho), e.ZCDpEvent(rho * 1e-6)])
        assert not cap.fits([e.ZCDpEvent(rho * 1.005)])
        assert cap.rho_left([e.ZCDpEvent(rho / 4)]) == pytest.approx(0.75 * rho)


def test_one_plan_may_use_the_tight_accountant_and_then_nothing_is_left():
    cap = accountant.PrivacyFilter(3.9, 1e-5)
    assert cap.used([SGD]) > 1
    assert cap.fits([SGD])
    assert cap.rho_left([SGD]) == 0.0
    assert not cap.fits([SGD, e.ZCDpEvent(1e-6)])
    assert not accountant.PrivacyFilter(3.8, 1e-5).fits([SGD])


def test_a_filter_holds_to_the_order_of_the_first_event_and_not_to_the_best_in_hindsight():
    spiky = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.01, e.GaussianDpEvent(0.7)), 200)
    events = [e.ZCDpEvent(0.001), spiky]
    hindsight = accountant.get_epsilon(events, 1e-6, adaptive=True)
    cap = accountant.PrivacyFilter(hindsight * 1.001, 1e-6)
    assert not cap.fits(events)  # the first event fixed an order at which the second is dear
    assert cap.fits(events[::-1])
    assert cap.order(spiky) < cap.order(events[0])
    assert cap.order(e.ZCDpEvent(0.001)) == cap.order(e.ZCDpEvent(0.1)) == cap.order(e.NoOpDpEvent())


def test_whatever_a_filter_lets_through_costs_at_most_its_cap():
    def sgd(steps: int, noise: float) -> e.DpEvent:
        return e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.02, e.GaussianDpEvent(noise)), steps)

    candidates = [
        sgd(50, 1.0),
        e.ZCDpEvent(0.01),
        accountant.selection(0.2),
        e.LaplaceDpEvent(8.0),
        sgd(20, 2.0),
    ]
    rng = np.random.default_rng(0)
    for epsilon in (0.5, 2.0, 5.0):
        cap, taken = accountant.PrivacyFilter(epsilon, 1e-6), []
        for choice in rng.integers(len(candidates), size=60):
            if cap.fits([*taken, candidates[choice]]):
                taken.append(candidates[choice])
        spent = accountant.get_epsilon(taken, 1e-6, adaptive=True)
        print(f"cap {epsilon}: {len(taken)} events let through, epsilon {spent:.3f}")
        assert 0.6 * epsilon < spent <= epsilon


def test_repeat_and_select_is_held_by_the_curve_around_the_order():
    event = e.RepeatAndSelectDpEvent(e.GaussianDpEvent(20.0), 10.0, 1.0)
    cap = accountant.PrivacyFilter(1.0, 1e-5)
    assert 0 < cap.used([event, event]) < math.inf


@pytest.mark.parametrize(("mu", "rate"), [(0.27, 0.1), (1.0, 0.01), (1.67, 0.01), (1.67, 0.1)])
def test_the_tradeoff_of_a_gaussian_is_the_closed_form(mu, rate):
    exact = exact_gaussian_power(mu, rate)
    bound = accountant.tradeoff([e.GaussianDpEvent(1 / mu)], rate)
    assert exact <= bound <= exact + 2e-3


def test_a_gaussian_is_its_own_mu_and_zcdp_claims_more():
    for mu in (0.27, 1.0, 1.67):
        tight = accountant.gdp_mu([e.GaussianDpEvent(1 / mu)], 1e-5)
        loose = accountant.gdp_mu([e.ZCDpEvent(mu**2 / 2)], 1e-5)
        print(f"mu {mu}: Gaussian {tight:.3f}, zCDP {loose:.3f}")
        assert mu <= tight <= mu + 0.02
        assert tight < loose < 1.5 * mu + 0.02


def test_epsilon_eight_of_a_tight_gaussian_is_mu_1_67():
    noise = accountant.calibrate_noise(e.GaussianDpEvent, epsilon=8.0, delta=1e-5)
    assert accountant.gdp_mu([e.GaussianDpEvent(noise)], 1e-5) == pytest.approx(1.67, abs=0.015)


def test_dp_sgd_of_epsilon_9_2_lets_an_attack_reach_at_most_29_percent_at_1_percent():
    sgd = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(512 / 4708, e.GaussianDpEvent(1.5623)), 552)
    epsilon, power = accountant.get_epsilon([sgd], 1e-5), accountant.tradeoff([sgd], 0.01)
    print(f"epsilon {epsilon:.2f}: TPR <= {power:.3f} at 1 % FPR")
    assert epsilon == pytest.approx(9.2, abs=0.02)
    assert power == pytest.approx(0.294, abs=0.005)


def test_power_from_rdp_covers_mechanisms_with_that_rdp_and_is_tight_for_one_order():
    # Gaussian noise has the RDP of zCDP, so its power may not pass the bound; half the rho must fail.
    rates = np.array([1e-4, 0.01, 0.1, 0.5, 0.9])
    for mu in (0.1, 1.0, 3.0):
        power = np.array([exact_gaussian_power(mu, rate) for rate in rates])
        bound = Curve.of([e.ZCDpEvent(mu**2 / 2)]).power(rates)
        assert (bound >= power).all()
        assert (Curve.of([e.ZCDpEvent(mu**2 / 8)]).power(rates) < power).any()
        assert (np.diff(bound) > 0).all()


@pytest.mark.parametrize("epsilon", [0.2, 1.0, 3.0])
def test_power_from_rdp_covers_a_selection(epsilon):
    # The worst two-candidate selection, by brute force over all prior odds.
    for first in np.linspace(0.001, 0.999, 200):
        odds = first / (1 - first) * math.exp(epsilon)
        member = odds / (1 + odds)
        assert member <= accountant.tradeoff([accountant.selection(epsilon)], float(first)) + 1e-9


def test_a_curve_starts_at_zero_ends_at_one_and_never_lies_below_guessing():
    for events in ([e.GaussianDpEvent(1.0)], [e.ZCDpEvent(0.5)]):
        assert 0 <= accountant.tradeoff(events, 0.0) < 1e-9
        assert accountant.tradeoff(events, 1.0) == 1.0
        assert accountant.tradeoff(events, 0.3) > 0.3
    with pytest.raises(ValueError, match="false positive rate"):
        accountant.tradeoff([], 1.5)


def test_the_accountants_log_nothing(caplog):
    accountant.get_epsilon(
        [e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.02, e.GaussianDpEvent(0.4)), 7)], 1e-5
    )
    assert not caplog.records


def brute_force_delta(rho: float, failure: float, epsilon: float) -> float:
    """Hockey-stick divergence of a Gaussian pair that is told apart outright with probability ``failure``."""
    sigma = 1 / math.sqrt(2 * rho)
    upper = norm.cdf(1 / (2 * sigma) - epsilon * sigma)
    gaussian = upper - math.exp(epsilon) * norm.cdf(-1 / (2 * sigma) - epsilon * sigma)
    return float(failure + (1 - failure) * gaussian)


@pytest.mark.parametrize("rho", [0.01, 0.2, 2.0])
def test_a_failure_costs_its_delta_and_no_less(rho):
    failure, delta = 4e-6, 1e-5
    events = [e.ComposedDpEvent([e.ZCDpEvent(rho), accountant.failure(failure)])]
    claimed = accountant.get_epsilon(events, delta)
    assert brute_force_delta(rho, failure, claimed) <= delta
    assert claimed > accountant.get_epsilon([e.ZCDpEvent(rho)], delta)
    twice = accountant.get_epsilon([*events, accountant.failure(failure)], delta)
    counted = accountant.get_epsilon(
        [*events[:1], e.SelfComposedDpEvent(accountant.failure(failure), 1)], delta
    )
    assert twice == pytest.approx(counted)
    assert twice > claimed
    assert accountant.get_epsilon([*events, accountant.failure(7e-6)], delta) == math.inf
    assert accountant.tradeoff(events, 0.0) >= failure
    assert accountant.from_json(accountant.to_json(events[0])) == events[0]


def test_a_cap_holds_failures_by_a_part_of_delta_that_no_output_can_choose():
    cap = accountant.PrivacyFilter(1.0, 1e-6)
    room = accountant.FAILURE_SHARE * 1e-6
    rho = accountant.calibrate_rho(1.0, 1e-6)
    assert cap.fits([e.ZCDpEvent(rho / 2), accountant.failure(room * 0.9), e.ZCDpEvent(rho * 0.499)])
    assert not cap.fits([e.ZCDpEvent(rho / 2), accountant.failure(room * 1.1)])
    assert not cap.fits(
        [accountant.failure(room * 0.6), e.ZCDpEvent(rho / 2), accountant.failure(room * 0.6)]
    )
    assert cap.rho_left([e.ZCDpEvent(rho / 2), accountant.failure(room)]) == pytest.approx(rho / 2)
    assert cap.rho_left([accountant.failure(room * 1.1)]) == 0.0
    # What several events spend never proves less than the cap, whatever part of delta failures took.
    events = [e.ZCDpEvent(rho / 2), accountant.failure(room), e.ZCDpEvent(rho / 2 * (1 - 1e-9))]
    assert cap.fits(events)
    assert accountant.get_epsilon(events, 1e-6) <= 1.0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-9, 2.0])
def test_a_failure_is_a_probability(delta):
    with pytest.raises(ValueError, match="0 < delta < 1"):
        accountant.failure(delta)
