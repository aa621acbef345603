"""Turn privacy events into guarantees, and guarantees into noise.

A guarantee is ``(epsilon, delta)`` for neighbours that add or remove one patient. Events compose
jointly; epsilons are never added. `get_epsilon` speaks of a fixed plan. What a cohort may spend over
releases, each chosen after seeing the last, is held by `PrivacyFilter`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from synthgen.privacy.event_json import failure as failure
from synthgen.privacy.event_json import from_json as from_json
from synthgen.privacy.event_json import split_failure
from synthgen.privacy.event_json import to_json as to_json
from synthgen.privacy.privacy_curve import ORDERS, Curve, Floats, orders_for, rdp_of

_SAFE = 1 - 1e-12  # keeps a calibrated number on the private side of rounding
_GRID_POINTS = 1000
FAILURE_SHARE = 0.01
"""Part of every cap's delta that is kept for thresholds; it costs about a thousandth of rho."""


def selection(epsilon: float) -> DpEvent:
    """Return the event of one exponential-mechanism selection with that epsilon.

    Guarantee:
        ``epsilon**2 / 8``-zCDP. ``Gaussian(2 / epsilon)`` does not dominate it and must not be booked.

    Source: Cesar and Rogers (2021), arXiv:2004.07223, Lemma 3.3.

    Example:
        >>> selection(1.0)
        ZCDpEvent(rho=0.125, xi=0.0)
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"Expected epsilon > 0, got {epsilon}.")
    return dp_event.ZCDpEvent(rho=epsilon**2 / 8)


def get_epsilon(events: Iterable[DpEvent], delta: float, *, adaptive: bool = False) -> float:
    """Return the smallest epsilon that an accountant proves for the events together.

    Guarantee:
        The composition is ``(epsilon, delta)``-DP if the events' parameters were fixed before any output
        was seen; outputs of one event may choose the query of the next. Parameters that depend on outputs
        need a `PrivacyFilter`.

    Args:
        events: events of one data set.
        delta: probability of failure, between 0 and 1.
        adaptive: use RDP alone, the accountant that `calibrate_rho` and the ledger's filter use.

    Returns:
        Epsilon; infinite if the events protect nobody.

    Raises:
        ValueError: ``delta`` is not a probability, or no accountant supports all events.

    Example:
        >>> round(get_epsilon([dp_event.GaussianDpEvent(1.0)], 1e-5), 3)
        4.377
    """
    _check_delta(delta)
    return Curve.of(list(events), rdp_only=adaptive).epsilon(delta)


def calibrate_rho(epsilon: float, delta: float) -> float:
    """Return the largest ``rho`` whose ``rho``-zCDP event has at most that epsilon.

    A plan of that ``rho`` fits into a fresh cohort's cap of exactly ``(epsilon, delta)``, also with failures
    (`failure`) of up to `FAILURE_SHARE` of delta beside it.

    Raises:
        ValueError: ``epsilon`` is not positive or too small, or ``delta`` is not a probability.

    Source: Canonne, Kamath and Steinke (2020), arXiv:2004.00010, Proposition 12, solved for rho.

    Example:
        >>> round(calibrate_rho(1.0, 1e-6), 5)
        0.02433
    """
    _check_delta(delta)
    return float(_rho_by_order(epsilon, delta * (1 - FAILURE_SHARE)).max()) * _SAFE


def epsilon_of_rho(rho: float, delta: float) -> float:
    """Return the epsilon whose `calibrate_rho` at ``delta`` is ``rho``; 0 if rho is 0.

    Example:
        >>> round(epsilon_of_rho(calibrate_rho(0.7, 1e-6), 1e-6), 9)
        0.7
    """
    return get_epsilon([dp_event.ZCDpEvent(rho / _SAFE)], delta * (1 - FAILURE_SHARE), adaptive=True)


def calibrate_noise(
    event_of: Callable[[float], DpEvent],
    *,
    epsilon: float,
    delta: float,
    low: float = 0.05,
    high: float = 1e4,
) -> float:
    """Return the smallest noise multiplier whose event has at most that epsilon, to one part in 10,000.

    Args:
        event_of: returns the event of a noise multiplier; more noise must not cost more.
        epsilon: what the event may cost at ``delta``.
        delta: probability of failure.
        low: smallest noise multiplier that is tried.
        high: largest noise multiplier that is tried.

    Raises:
        ValueError: even ``high`` costs more.

    Example:
        >>> noise = calibrate_noise(dp_event.GaussianDpEvent, epsilon=1.0, delta=1e-5)
        >>> round(noise, 2), get_epsilon([dp_event.GaussianDpEvent(noise)], 1e-5) <= 1.0
        (3.73, True)
    """
    from scipy.optimize import brentq

    def excess(log_noise: float) -> float:
        spent = get_epsilon([event_of(math.exp(log_noise))], delta)
        return math.log(max(min(spent, 1e9), 1e-9) / epsilon)

    _check_delta(delta)
    if excess(math.log(high)) > 0:
        raise ValueError(
            f"Expected an epsilon that noise of {high:g} reaches, got {epsilon:g}. Raise epsilon."
        )
    if excess(math.log(low)) <= 0:
        return low
    noise = math.exp(brentq(excess, math.log(low), math.log(high), xtol=1e-5, rtol=1e-6))
    while excess(math.log(noise)) > 0:
        noise *= 1.0001
    return float(noise)


@dataclass(frozen=True)
class PrivacyFilter:
    """A cap on adaptive spending: Rényi divergence at one order, fixed before any output is seen.

    Guarantee:
        If every sequence of events that is let through keeps to `fits`, the whole interaction is
        ``(epsilon, delta)``-DP, even if each event's parameters depend on all outputs before. The smallest
        epsilon over many orders (or a PLD) is no such filter: which order is best would depend on outputs.
        Here the order follows from the cap and the first event, which no output can have chosen. For the
        same reason a single event may use any accountant; it may then take the whole cap. Failures are held
        by a part of delta that the cap alone fixes, `FAILURE_SHARE`: what they leave unused buys nothing.

    Source: Feldman and Zrnic (2021), arXiv:2008.11193, Theorem 3.1; that filters on whole curves are not
        free: arXiv:2602.15815. Failures: Whitehouse et al. (2023), arXiv:2203.05481, Theorem 1, whose
        filter holds a sum of deltas beside the sum of divergences.

    Attributes:
        epsilon: the cap, at ``delta``.
        delta: probability of failure of the cap.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        calibrate_rho(self.epsilon, self.delta)  # refuses a cap that is none

    def order(self, first: DpEvent) -> float:
        """Return the order at which the first event takes the smallest share of the cap."""
        first, _ = split_failure(first)
        orders = orders_for([first])
        budgets = np.asarray(orders) * _rho_by_order(self.epsilon, self._kept_delta, orders)
        divergences = rdp_of(first, orders)
        if not divergences.any() or np.isinf(divergences).all():
            divergences = np.asarray(orders)  # free or hopeless: the order that suits zCDP events
        shares = np.divide(divergences, budgets, out=np.full(len(orders), np.inf), where=budgets > 0)
        return float(orders[int(np.argmin(shares))])

    def used(self, events: Sequence[DpEvent]) -> float:
        """Return the share of the cap that events use, in the order of their booking; above 1 is over it.

        Raises:
            ValueError: an event has no RDP booking.
        """
        if not events:
            return 0.0
        order, parts = self.order(events[0]), [split_failure(event) for event in events]
        divergence = math.fsum(_divergence(event, order) for event, _ in parts)
        failures = math.fsum(delta for _, delta in parts) / (FAILURE_SHARE * self.delta)
        return max(divergence / self._budget(order), failures)

    def fits(self, events: Sequence[DpEvent]) -> bool:
        """Return whether events, in the order of their booking, keep to the cap."""
        if self.used(events) <= 1:
            return True
        return len(events) == 1 and get_epsilon(events, self.delta) <= self.epsilon

    def enough(self, events: Sequence[DpEvent]) -> float | None:
        """Return a cap at the same delta that events keep to, of three digits; None if none up to 1e4 does.

        It is the least up to its rounding upwards.
        """
        low, high = 0.0, self.epsilon
        while not PrivacyFilter(high, self.delta).fits(events):
            low, high = high, 2.0 * high
            if high > 1e4:
                return None
        while high - low > 1e-3 * high:
            middle = (low + high) / 2.0
            low, high = (low, middle) if PrivacyFilter(middle, self.delta).fits(events) else (middle, high)
        step = 10.0 ** (math.floor(math.log10(high)) - 2)
        shown = math.ceil(high / step) * step
        while not PrivacyFilter(shown, self.delta).fits(events):
            shown += step
        return float(f"{shown:.6g}")

    def rho_left(self, events: Sequence[DpEvent]) -> float:
        """Return the rho of the largest zCDP event that still fits, 0 if none does."""
        if not events:
            return calibrate_rho(self.epsilon, self.delta)
        order = self.order(events[0])
        spent = math.fsum(_divergence(split_failure(event)[0], order) for event in events)
        rho = (self._budget(order) - spent) / order if self.used(events) <= 1 else 0.0
        return rho if rho > 1e-9 else 0.0

    @property
    def _kept_delta(self) -> float:
        return self.delta * (1 - FAILURE_SHARE)

    def _budget(self, order: float) -> float:
        return order * float(_rho_by_order(self.epsilon, self._kept_delta, (order,))[0])


def _divergence(event: DpEvent, order: float) -> float:
    # Repeat-and-select needs the curve around the order, all else the order alone.
    orders = (*orders_for([event]), order) if "RepeatAndSelect" in repr(event) else (order,)
    return float(rdp_of(event, orders)[-1])


def gdp_mu(events: Iterable[DpEvent], delta: float) -> float:
    """Return the Gaussian-DP parameter of the whole trade-off curve.

    It is the smallest mu such that no membership attack with a false positive rate from ``delta`` to
    ``1 - delta`` does better than telling N(0, 1) from N(mu, 1): a maximum over a grid of rates, rounded up
    between them. A mu from one point of the curve would be no bound. For a Gaussian event it is 1 / noise
    multiplier. Where only RDP is known the curve is an upper bound, and so is mu: rho-zCDP by Gaussian noise
    alone would be ``sqrt(2 rho)``, but other mechanisms with the same rho give away more.

    Args:
        events: the claimed events, of one data set.
        delta: smallest rate that counts, between 0 and 0.5.

    Returns:
        mu; infinite if the events protect nobody.

    Raises:
        ValueError: ``delta`` is out of range, or no accountant supports all events.

    Source: Dong, Roth and Su (2022), arXiv:1905.02383, Definition 4.

    Example:
        >>> round(gdp_mu([dp_event.GaussianDpEvent(2.0)], 1e-5), 2)
        0.51
    """
    from scipy.special import ndtr, ndtri

    _check_delta(2 * delta)
    quantiles = np.linspace(ndtri(delta), -ndtri(delta), _GRID_POINTS)
    power = Curve.of(list(events)).power(ndtr(quantiles))
    # Power grows with the rate, so the value at a point holds down to the point before.
    return float(max((ndtri(power[1:]) - quantiles[:-1]).max(), 0.0))


def tradeoff(events: Iterable[DpEvent], false_positive_rate: float) -> float:
    """Return the largest true positive rate that any membership attack can reach.

    Args:
        events: the claimed events, of one data set.
        false_positive_rate: share of non-members that the attack calls members, from 0 to 1.

    Raises:
        ValueError: the rate is not between 0 and 1, or no accountant supports all events.

    Source: Dong, Roth and Su (2022), arXiv:1905.02383, Definition 1.

    Example:
        >>> round(tradeoff([dp_event.GaussianDpEvent(2.0)], 0.01), 3)
        0.034
    """
    if not 0 <= false_positive_rate <= 1:
        raise ValueError(f"Expected a false positive rate from 0 to 1, got {false_positive_rate}.")
    return float(Curve.of(list(events)).power(np.array([float(false_positive_rate)]))[0])


def _rho_by_order(epsilon: float, delta: float, orders: Sequence[float] = ORDERS) -> Floats:
    """Return for each order the rho whose bound at that order is exactly epsilon, " order"."""
    _check_delta(delta)
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"Expected epsilon > 0, got {epsilon}. Declare a positive budget.")
    a = np.asarray(orders, dtype=float)
    rho = (epsilon - np.log1p(-1 / a) + (math.log(delta) + np.log(a)) / (a - 1)) / a
    if rho.max() <= 0:
        raise ValueError(f"Expected epsilon of at least about 0.01, got {epsilon}. Raise the budget.")
    return np.asarray(rho, dtype=np.float64)


def _check_delta(delta: float) -> None:
    if not (math.isfinite(delta) and 0 < delta < 1):
        raise ValueError(
            f"Expected a delta between 0 and 1, got {delta}. Below one over the patients is usual."
        )
