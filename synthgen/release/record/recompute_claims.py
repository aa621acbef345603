"""Recompute a privacy record's claims from its events: the part of a release that can be proved again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from synthgen.files import limits
from synthgen.files.limits import TooLarge
from synthgen.release.record.record import replace_one_epsilon

# Accountants of other versions may lie a little apart; a claim may round up, and never down by more.
ROUNDING = 1e-6
LOOSE = 1e-2


def claim_problems(record: Mapping[str, Any]) -> list[str]:
    """Return which claims do not follow from the record's events; empty if all do.

    Args:
        record: a record in which `synthgen.release.record.record.check_record` finds nothing.
    """
    claim, ledger = record["claim"], record["ledger"]
    try:
        _require_small([record["plan"]["event"], *ledger["events"]])
        shown = _prove(
            json.dumps(record["plan"]["event"]),
            json.dumps(ledger["events"]),
            own_delta=claim["delta"],
            delta=ledger["delta"],
            with_mu=ledger["mu"] is not None,
            with_replaced=claim["patients_counted"],
        )
    except TooLarge as error:
        return [f"{error.message} {error.next_step}"]
    except (ValueError, ArithmeticError, TypeError, RecursionError, MemoryError) as error:
        return [f"an event cannot be accounted for: {error}"]
    rows = [
        ("claim.epsilon", claim["epsilon"], shown.own),
        ("ledger.epsilon", ledger["epsilon"], shown.composed),
        ("ledger.mu", ledger["mu"], shown.mu),
        ("claim.replace_one_epsilon", claim["replace_one_epsilon"], shown.replaced),
    ]
    problems = [
        f"{key}: claims {claimed:.6g}, but the events prove only {proved:.6g}"
        for key, claimed, proved in rows
        if proved is not None and _below(claimed, proved)
    ]
    if shown.composed < ledger["epsilon"] * (1 - LOOSE):
        problems.append(
            f"ledger.epsilon: says {ledger['epsilon']:.6g}, but its events compose to {shown.composed:.6g}"
        )
    return problems


def _require_small(events: Sequence[Any]) -> None:
    """Refuse more events, within one another too, than an accountant composes in seconds.

    Raises:
        TooLarge: there are more, or one is composed with itself more often than the limits allow.
    """
    left, number = list(events), 0
    sampled: set[str] = set()
    while left:
        event = left.pop()
        number += 1
        limits.require("events", number)
        if isinstance(event, Mapping) and event.get("class") == "PoissonSampledDpEvent":
            sampled.add(json.dumps(event, sort_keys=True))
            limits.require("sampled_events", len(sampled))
        if isinstance(event, Mapping):
            count = event.get("count", 1)
            limits.require("event_steps", count if isinstance(count, int) else 1)
            inner = event.get("events", [])
            left += [
                *(inner if isinstance(inner, list) else []),
                *([event["event"]] if "event" in event else []),
            ]


@dataclass(frozen=True)
class _Proved:
    own: float
    composed: float
    mu: float | None
    replaced: float | None


@lru_cache(maxsize=16)
def _prove(
    event: str, events: str, *, own_delta: float, delta: float, with_mu: bool, with_replaced: bool
) -> _Proved:
    """Return what the events prove; kept, for a bundle is verified when written and when found again."""
    from synthgen.privacy.accountant import from_json, gdp_mu, get_epsilon

    own = [from_json(json.loads(event))]
    all_events = [from_json(one) for one in json.loads(events)]

    def curve(at_delta: float) -> float:
        return get_epsilon(own, at_delta)

    return _Proved(
        own=curve(own_delta),
        composed=get_epsilon(all_events, delta, adaptive=len(all_events) > 1),
        mu=gdp_mu(all_events, delta) if with_mu else None,
        replaced=replace_one_epsilon(curve, own_delta) if with_replaced else None,
    )


def _below(claimed: float, proved: float) -> bool:
    """Return whether a claim is smaller than what the events prove."""
    return not math.isfinite(proved) or claimed < proved * (1 - ROUNDING) - 1e-12
