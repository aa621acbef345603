"""Caps: how one is opened or changed, and what a spend over one is told."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from dp_accounting.dp_event import DpEvent

from synthgen.errors import BudgetExceeded, ConfigError
from synthgen.printable import shell
from synthgen.privacy.accountant import Filter, epsilon_of
from synthgen.privacy.ledger.state import NAME, State


def cap_of(name: str, epsilon: float, delta: float) -> Filter:
    """Return the cap of a cohort that is to be opened.

    Raises:
        ConfigError: the name or the cap is not usable.
    """
    if not NAME.fullmatch(name):
        raise ConfigError("Expected a cohort name of letters, digits, '.', '_' and '-', up to 100 of them.")
    try:
        return Filter(float(epsilon), float(delta))
    except ValueError as error:
        raise ConfigError(str(error), where=f"cohort {name}") from None


def cap_content(
    cap: Filter, *, fingerprint: str, disjoint_from: Iterable[str] = (), reason: str = ""
) -> dict[str, Any]:
    """Return the content of a ``cap`` row."""
    return {
        "epsilon": cap.epsilon,
        "delta": cap.delta,
        "key": fingerprint,
        "disjoint_from": sorted(disjoint_from),
        "reason": reason,
        "adjacency": "add-or-remove-one-patient",
    }


def check_reason(state: State, name: str, cap: Filter, disjoint_from: set[str], reason: str) -> None:
    """Check that changing a cap, or declaring cohorts disjoint, comes with a reason.

    Raises:
        ConfigError: it does not.
    """
    before = state.cohorts.get(name)
    if reason.strip():
        return
    if before is not None and before.cap != cap:
        raise ConfigError(
            f"Expected the cap that cohort {name!r} has, epsilon {before.cap.epsilon:g} at delta "
            f"{before.cap.delta:g}, got epsilon {cap.epsilon:g} at delta {cap.delta:g}.",
            next_step="Give a --reason to change the cap; it is recorded.",
        )
    if disjoint_from:
        raise ConfigError(
            f"Expected a reason for declaring {name!r} disjoint from {sorted(disjoint_from)}, got none.",
            next_step="Give a --reason: how it was proven that no patient is in both. It is recorded.",
        )


def raising(cohort: str, cap: Filter, needed: float | None) -> str:
    """Return what raises a cohort's cap so far that a spend fits."""
    enough = (
        "no cap up to 10,000 would be enough" if needed is None else f"epsilon {needed:g} would be enough"
    )
    shown = "EPSILON" if needed is None else f"{needed:g}"
    command = f"synthgen ledger open {shell(cohort)} --epsilon {shown} --delta {cap.delta:g} --reason TEXT"
    return f"{enough} (`{command}`)."


def exceeded(state: State, over: str, cohort: str, event: DpEvent) -> BudgetExceeded:
    """Return the error that refuses a spend: what is left, what was asked, and what to do."""
    cap, spend = state.cohorts[over].cap, state.spent(cohort)
    asked = epsilon_of([event], cap.delta)
    others = [name for name in state.sharing(cohort) if name != cohort]
    counted = f" Cohorts that count together with it: {others}." if others else ""
    shown = f"{asked:.4g}" if math.isfinite(asked) else "no protection at all"
    needed = cap.enough([*state.events(over), event]) if math.isfinite(asked) else None
    steps = f"Lower budget.epsilon, or raise the cap: {raising(over, cap, needed)}"
    if others:
        steps += " Cohorts proven to share no patient are declared with --disjoint-from."
    return BudgetExceeded(
        f"Expected a spend that fits the cap of {over!r}, epsilon {cap.epsilon:g} at delta {cap.delta:g}: "
        f"{spend.left:.4g} is left after {spend.entries} entries, got {shown}.{counted}",
        where=f"cohort {cohort}",
        next_step=steps,
    )
