"""Recompute a privacy record's claims from its events: the part of a release that can be proved again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from synthgen.release.record import replace_one_epsilon

# Accountants of other versions may lie a little apart; a claim may round up, and never down by more.
ROUNDING = 1e-6
LOOSE = 1e-2


def claim_problems(record: Mapping[str, Any]) -> list[str]:
    """Return which claims do not follow from the record's events; empty if all do.

    Args:
        record: a record in which `synthgen.release.record.check_record` finds nothing.
    """
    claim, ledger = record["claim"], record["ledger"]
    try:
        shown = _prove(
            json.dumps(record["plan"]["event"]),
            json.dumps(ledger["events"]),
            own_delta=claim["delta"],
            delta=ledger["delta"],
            with_mu=ledger["mu"] is not None,
            with_replaced=claim["patients_counted"],
        )
    except (ValueError, OverflowError, RecursionError) as error:
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
    from synthgen.privacy.accountant import epsilon_of, from_json, mu_of

    own = [from_json(json.loads(event))]
    all_events = [from_json(one) for one in json.loads(events)]

    def curve(at_delta: float) -> float:
        return epsilon_of(own, at_delta)

    return _Proved(
        own=curve(own_delta),
        composed=epsilon_of(all_events, delta, adaptive=len(all_events) > 1),
        mu=mu_of(all_events, delta) if with_mu else None,
        replaced=replace_one_epsilon(curve, own_delta) if with_replaced else None,
    )


def _below(claimed: float, proved: float) -> bool:
    """Return whether a claim is smaller than what the events prove."""
    return not math.isfinite(proved) or claimed < proved * (1 - ROUNDING) - 1e-12
