"""What the ledger's rows mean: caps, disjoint cohorts and spends, derived from rows alone.

Nothing is kept in a column that can change, so whoever edits a cap or a state edits a row of the chain.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from synthgen.errors import BudgetExceeded, ConfigError
from synthgen.privacy._ledger_chain import Entry, Problem
from synthgen.privacy.accountant import Filter, epsilon_of, epsilon_of_rho, from_json

SPENDING = frozenset({"cap", "reserve", "commit", "write-off"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Cohort:
    """A cohort of the ledger.

    Attributes:
        name: the ledger's name for these patients.
        epsilon: cap on all spends together, at ``delta``.
        delta: probability of failure of the cap.
        key: decides who is in which part; secret, so it is not shown.
        disjoint_from: cohorts declared to share no patient with this one.
    """

    name: str
    epsilon: float
    delta: float
    key: bytes = field(repr=False)
    disjoint_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spend:
    """What a cohort has spent, together with all cohorts that may share patients with it.

    Attributes:
        epsilon: the entries composed jointly at ``delta``, read as if they had been planned together. What is
            guaranteed when each was chosen after seeing the last is ``cap``.
        delta: probability of failure.
        cap: the cohort's cap.
        used: share of the cap that is used up, from 0 to 1. A single entry may exceed 1 and yet keep to the
            cap by a tighter accountant; then nothing is left.
        left: epsilon of the largest zCDP plan that still fits.
        entries: number of spends counted.
        cohorts: names of the cohorts whose spends count.
        event: the entries as one event, for the trade-off curve of a claim.
    """

    epsilon: float
    delta: float
    cap: float
    used: float
    left: float
    entries: int
    cohorts: tuple[str, ...]
    event: DpEvent


@dataclass(frozen=True)
class CohortState:
    """A cohort as its latest ``cap`` row has it.

    Attributes:
        name: the cohort.
        cap: filter of its latest cap.
        fingerprint: hash of the cohort's key.
    """

    name: str
    cap: Filter
    fingerprint: str


@dataclass(frozen=True)
class State:
    """The ledger's meaning.

    Attributes:
        cohorts: by name, in the order of opening.
        disjoint: pairs of cohorts declared to share no patient.
        spends: rows that reserve, by number, in order.
        closed: numbers of the reservations that were committed or written off.
        looks: rows of kind ``look`` by cohort.
    """

    cohorts: dict[str, CohortState] = field(default_factory=dict)
    disjoint: set[frozenset[str]] = field(default_factory=set)
    spends: dict[int, Entry] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    looks: dict[str, int] = field(default_factory=dict)

    def sharing(self, name: str) -> list[str]:
        """Return the cohorts that may share patients with this one, itself included."""
        return [other for other in self.cohorts if frozenset({name, other}) not in self.disjoint]

    def disjoint_from(self, name: str) -> tuple[str, ...]:
        """Return the cohorts declared to share no patient with this one."""
        return tuple(other for other in self.cohorts if frozenset({name, other}) in self.disjoint)

    def counted(self, name: str) -> list[Entry]:
        """Return the spends that count against a cohort's cap. Commit or not, a spend is kept."""
        names = set(self.sharing(name))
        return [entry for entry in self.spends.values() if entry.cohort in names]

    def events(self, name: str) -> list[DpEvent]:
        """Return the events that count against a cohort's cap, in the order of their booking."""
        return [from_json(entry.content["event"]) for entry in self.counted(name)]

    def known(self, name: str) -> CohortState:
        """Return a cohort.

        Raises:
            ConfigError: no cohort of that name is open.
        """
        if name not in self.cohorts:
            raise ConfigError(
                f"Expected an open cohort of {list(self.cohorts)}, got {name!r}.",
                next_step="Open it with `synthgen ledger open`.",
            )
        return self.cohorts[name]

    def spent(self, name: str) -> Spend:
        """Return what counts against a cohort's cap, and what every cap that it counts against leaves."""
        cap, events = self.known(name).cap, self.events(name)
        rho = min(self.cohorts[other].cap.rho_left(self.events(other)) for other in self.sharing(name))
        return Spend(
            epsilon=epsilon_of(events, cap.delta, adaptive=len(events) > 1),
            delta=cap.delta,
            cap=cap.epsilon,
            used=cap.used(events),
            left=epsilon_of_rho(rho, cap.delta),
            entries=len(events),
            cohorts=tuple(self.sharing(name)),
            event=dp_event.ComposedDpEvent(events),
        )

    def over(self, name: str, event: DpEvent) -> str | None:
        """Return the first cohort whose cap a new event of cohort ``name`` would break, or None."""
        names = self.sharing(name)
        return next((n for n in names if not self.cohorts[n].cap.fits([*self.events(n), event])), None)


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


def exceeded(state: State, over: str, cohort: str, event: DpEvent) -> BudgetExceeded:
    """Return the error that refuses a spend: what is left, what was asked, and what to do."""
    cap, spend = state.cohorts[over].cap, state.spent(cohort)
    asked = epsilon_of([event], cap.delta)
    others = [name for name in state.sharing(cohort) if name != cohort]
    counted = f" Cohorts that count together with it: {others}." if others else ""
    shown = f"{asked:.4g}" if math.isfinite(asked) else "no protection at all"
    steps = f"Lower budget.epsilon, or raise the cap with `synthgen ledger open {over}` and a --reason."
    if others:
        steps += " Cohorts proven to share no patient are declared with --disjoint-from."
    return BudgetExceeded(
        f"Expected a spend that fits the cap of {over!r}, epsilon {cap.epsilon:g} at delta {cap.delta:g}: "
        f"{spend.left:.4g} is left after {spend.entries} entries, got {shown}.{counted}",
        where=f"cohort {cohort}",
        next_step=steps,
    )


def fingerprint(key: str) -> str:
    """Return what a cap row says of the cohort's key, which must itself stay out of the rows."""
    return hashlib.sha256(b"synthgen cohort key:" + key.encode()).hexdigest()[:32]


def replay(entries: Iterable[Entry]) -> State:
    """Return the meaning of all rows, in order.

    Raises:
        ValueError: a row has no meaning; the message names it.
    """
    state = State()
    for entry in entries:
        try:
            _apply(state, entry)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"row {entry.seq} ({entry.kind}) has no meaning: {error}") from None
    return state


def _apply(state: State, entry: Entry) -> None:
    if entry.kind == "cap":
        _apply_cap(state, entry.cohort, entry.content)
        return
    if entry.cohort not in state.cohorts:
        raise ValueError("its cohort was not opened before")
    if entry.kind == "reserve":
        from_json(entry.content["event"])
        state.spends[entry.seq] = entry
    elif entry.kind in ("commit", "write-off"):
        number = entry.content["entry"]
        if number not in state.spends or number in state.closed:
            raise ValueError("it closes a reservation that is not open")
        state.closed.add(number)
    elif entry.kind == "look":
        state.looks[entry.cohort] = state.looks.get(entry.cohort, 0) + 1


def _apply_cap(state: State, name: str, content: Mapping[str, Any]) -> None:
    before = state.cohorts.get(name)
    if before is not None and before.fingerprint != content["key"]:
        raise ValueError("it changes the cohort's key")
    cap = Filter(float(content["epsilon"]), float(content["delta"]))
    state.cohorts[name] = CohortState(name, cap, str(content["key"]))
    state.disjoint.update(frozenset({name, other}) for other in content["disjoint_from"] if other != name)


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


def problems_of_meaning(entries: Iterable[Entry], keys: Mapping[str, str]) -> list[Problem]:
    """Return rows without a meaning, and keys (in hexadecimal, by cohort) that are not those of the rows."""
    try:
        state = replay(entries)
    except ValueError as error:
        return [Problem(None, str(error))]
    wrong = [
        name for name, known in state.cohorts.items() if fingerprint(keys.get(name, "")) != known.fingerprint
    ]
    unknown = [name for name in keys if name not in state.cohorts]
    return [Problem(None, f"the key of cohort {name!r} was edited or is missing") for name in wrong] + [
        Problem(None, f"a key of cohort {name!r} was added, which is not open") for name in unknown
    ]
