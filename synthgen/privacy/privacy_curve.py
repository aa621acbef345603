"""What a sequence of events claims: its Rényi divergences, its epsilon and its trade-off curve.

Two accountants of ``dp_accounting`` give upper bounds: Rényi (RDP) for every event, and privacy loss
distributions (PLD), tighter, for events that it knows. The central-limit accountant (GDP) is not used:
it falls below the true epsilon. Neighbours add or remove one patient, everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from synthgen.privacy.event_json import canonical, from_json, split_failure

Floats = npt.NDArray[np.float64]

_LOW_ORDERS = [1 + k / 50 for k in range(1, 50)] + [2 + k / 10 for k in range(90)] + list(range(11, 64))
ORDERS: tuple[float, ...] = tuple(
    sorted({float(order) for order in [*_LOW_ORDERS, *np.geomspace(64, 8192, 60).round()]})
)
"""Rényi orders, fine where the best order of a usual budget lies, up to those of epsilon 0.01.

They never change: the filters of open ledgers choose among them.
"""

_HIGHEST_SAMPLED_ORDER = 1024.0  # the cost of a subsampled Gaussian grows with the order
_EPSILONS = 2000
_LARGEST_PLD_EPSILON = 60.0  # beyond, the PLD's grid takes gigabytes and the answer is "no protection"


def booked(event: DpEvent) -> DpEvent:
    """Return an event that the RDP accountant composes and that costs at least as much.

    A mechanism of pure epsilon is booked as ``epsilon**2 / 2``-zCDP (Bun and Steinke, 2016, Proposition
    1.4); under Poisson sampling at rate q its epsilon is first amplified to ``log(1 + q (e^epsilon - 1))``.
    """
    if isinstance(event, dp_event.SelfComposedDpEvent):
        return dp_event.SelfComposedDpEvent(booked(event.event), event.count)
    if isinstance(event, dp_event.ComposedDpEvent):
        return dp_event.ComposedDpEvent([booked(part) for part in event.events])
    if isinstance(event, dp_event.RepeatAndSelectDpEvent):
        return dp_event.RepeatAndSelectDpEvent(booked(event.event), event.mean, event.shape)
    if isinstance(event, (dp_event.GaussianDpEvent, dp_event.LaplaceDpEvent)) and event.noise_multiplier == 0:
        return dp_event.NonPrivateDpEvent()
    if isinstance(event, dp_event.DiscreteLaplaceDpEvent):
        return _pure(event.noise_parameter * event.sensitivity)
    if isinstance(event, dp_event.PoissonSampledDpEvent):
        return _booked_sample(event)
    return event


def _booked_sample(event: DpEvent) -> DpEvent:
    rate, inner = event.sampling_probability, event.event
    if rate == 0 or isinstance(inner, dp_event.NoOpDpEvent):
        return dp_event.NoOpDpEvent()
    if isinstance(booked(inner), dp_event.NonPrivateDpEvent):
        return dp_event.NonPrivateDpEvent()
    if isinstance(inner, dp_event.LaplaceDpEvent):
        epsilon = 1 / inner.noise_multiplier
    elif isinstance(inner, dp_event.DiscreteLaplaceDpEvent):
        epsilon = inner.noise_parameter * inner.sensitivity
    else:
        return event
    with np.errstate(divide="ignore"):
        return _pure(float(np.logaddexp(np.log1p(-rate), np.log(rate) + epsilon)))


def _pure(epsilon: float) -> DpEvent:
    # The largest float below infinity keeps the square finite; it is "no protection" all the same.
    return dp_event.ZCDpEvent(rho=min(epsilon, 1e150) ** 2 / 2)


def rdp_of(event: DpEvent, orders: Sequence[float]) -> Floats:
    """Return the Rényi divergence of an event at each order; infinite where it is not known.

    Raises:
        ValueError: no RDP booking exists for the event, or the accountant answers NaN.
    """
    return np.array(_rdp(canonical(event), tuple(orders)))


@functools.lru_cache(maxsize=4096)
def _rdp(text: str, orders: tuple[float, ...]) -> tuple[float, ...]:
    from dp_accounting.privacy_accountant import UnsupportedEventError
    from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

    accountant = RdpAccountant(orders)
    try:
        with np.errstate(all="ignore"), _quiet_absl():
            accountant.compose(booked(from_json(json.loads(text))))
    except UnsupportedEventError as error:
        raise ValueError(
            f"Expected events with an RDP booking, got one without ({_guilty(error)})."
        ) from None
    values = accountant.rdp
    if np.isnan(values).any():
        raise ValueError(
            "Expected a Rényi divergence, got NaN. The event's numbers are beyond the accountant."
        )
    # A divergence below zero is rounding: the order proves nothing and is left out.
    return tuple(np.where(values < 0, math.inf, values).tolist())


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """Silence "failed to converge, excluding this order": the order becomes infinite, which is the answer."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _guilty(error: Exception) -> str:
    return str(error).split("[", maxsplit=1)[-1].split("]", maxsplit=1)[0]


def orders_for(events: Sequence[DpEvent]) -> tuple[float, ...]:
    """Return the orders worth evaluating: all of them, unless sampling makes the high ones slow."""
    sampled = any("PoissonSampled" in canonical(event) for event in events)
    return tuple(order for order in ORDERS if order <= _HIGHEST_SAMPLED_ORDER) if sampled else ORDERS


@functools.lru_cache(maxsize=64)
def _pld(text: str) -> Any:
    """Return the composed PLD accountant, or None if one of the events is unknown to it."""
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant

    event = from_json(json.loads(text))
    accountant = PLDAccountant()
    return accountant.compose(event) if accountant.supports(event) else None


@dataclass(frozen=True)
class Curve:
    """Upper bounds on what a composition gives away.

    Attributes:
        orders: Rényi orders, " order".
        rdp: divergences at these orders, " order"; None if no RDP booking exists.
        pld: composed PLD accountant; None if it does not know all events, or if they protect nobody.
        failure: probability that the events give everything away; `rdp` and `pld` speak of the rest.
    """

    orders: Floats
    rdp: Floats | None
    pld: Any
    failure: float = 0.0

    @classmethod
    def of(cls, events: Sequence[DpEvent], *, rdp_only: bool = False) -> Curve:
        """Compose events.

        Raises:
            ValueError: neither accountant supports all of them.
        """
        parts = [split_failure(event) for event in events]
        events, failure = [part for part, _ in parts], math.fsum(delta for _, delta in parts)
        orders = orders_for(events)
        try:
            rdp = np.sum([rdp_of(event, orders) for event in events], axis=0) + np.zeros(len(orders))
        except ValueError:
            if rdp_only:
                raise
            rdp = None
        grid = np.asarray(orders)
        hopeless = rdp is not None and cls(grid, rdp, None).epsilon(1e-9) > _LARGEST_PLD_EPSILON
        pld = None if rdp_only or hopeless else _pld(canonical(dp_event.ComposedDpEvent(list(events))))
        if rdp is None and pld is None:
            raise ValueError("Expected events that one accountant supports together, got none that does.")
        return cls(grid, rdp, pld, failure)

    def epsilon(self, delta: float) -> float:
        """Return the smallest epsilon that an accountant proves at ``delta``; infinite if none does."""
        from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon

        delta -= self.failure
        if delta <= 0:
            return math.inf
        found = []
        if self.rdp is not None:
            found.append(float(compute_epsilon(self.orders, self.rdp, delta)[0]))
        if self.pld is not None:
            found.append(float(self.pld.get_epsilon(delta)))
        if any(math.isnan(value) for value in found):
            raise ValueError("Expected an epsilon, got NaN. The events' numbers are beyond the accountant.")
        return min(found)

    def power(self, rates: Floats) -> Floats:
        """Return a bound on the true positive rate of any attack at each false positive rate, " rate"."""
        if self.failure:
            kept = max(1 - self.failure, 0.0)
            inner = Curve(self.orders, self.rdp, self.pld).power(np.minimum(rates / max(kept, 1e-300), 1.0))
            return np.asarray(np.minimum(kept * inner + self.failure, 1.0), dtype=np.float64)
        found = np.ones(len(rates))
        if self.rdp is not None:
            found = np.minimum(found, _power_from_rdp(self.orders, self.rdp, rates))
        if self.pld is not None:
            found = np.minimum(found, _power_from_pld(self.pld, rates))
        if np.isnan(found).any():
            raise ValueError(
                "Expected a trade-off curve, got NaN. The events' numbers are beyond the accountant."
            )
        return np.maximum(found, rates)


def _power_from_pld(pld: Any, rates: Floats) -> Floats:
    """Return the smallest bound over a grid of epsilons; at each of them, in both directions, it is valid.

    Source: Kairouz, Oh and Viswanath (2015), arXiv:1311.0776, Theorem 2.1.
    """
    epsilons = np.linspace(0.0, min(float(pld.get_epsilon(1e-12)), 2 * _LARGEST_PLD_EPSILON), _EPSILONS)
    deltas = np.asarray(pld.get_delta(epsilons.tolist()), dtype=float)
    growth = np.exp(epsilons)
    bounds = [
        np.minimum(growth * rate + deltas, 1 - (1 - rate - deltas) / growth).min(initial=1.0)
        for rate in rates
    ]
    return np.asarray(bounds, dtype=np.float64)


def _power_from_rdp(orders: Floats, rdp: Floats, rates: Floats) -> Floats:
    """Return the largest power whose Bernoulli pair keeps to the divergence at every order.

    A test turns the two outputs into Bernoulli(x) and Bernoulli(y), whose Rényi divergences, either way
    round, cannot exceed the mechanism's. No conversion of RDP gives less.

    Source: Zhu, Dong and Wang (2022), arXiv:2106.08567, Appendix F.3; optimal by Riess et al. (2026).
    """
    known = np.isfinite(rdp)
    a, limit = orders[known][:, None], ((orders - 1) * rdp)[known][:, None]
    x = np.clip(rates, 1e-300, 1 - 1e-16)
    low, high = x.copy(), np.ones_like(x)
    for _ in range(60):
        y = (low + high) / 2
        allowed = ((_divergence(y, x, a) <= limit) & (_divergence(x, y, a) <= limit)).all(axis=0)
        low, high = np.where(allowed, y, low), np.where(allowed, high, y)
    return high


def _divergence(y: Floats, x: Floats, a: Floats) -> Floats:
    """Return (a - 1) times the divergence of order a of Bernoulli(y) from Bernoulli(x), "order rate"."""
    with np.errstate(divide="ignore"):
        one = a * np.log(y) + (1 - a) * np.log(x)
        zero = a * np.log1p(-y) + (1 - a) * np.log1p(-x)
    return np.asarray(np.logaddexp(one, zero), dtype=np.float64)
