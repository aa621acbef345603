"""What the ledger's rows mean: caps, disjoint cohorts and spends, derived from rows alone.

Nothing is kept in a column that can change, so whoever edits a cap or a state edits a row of the chain.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from synthgen.errors import ConfigError
from synthgen.privacy._ledger_chain import Entry, Problem
from synthgen.privacy.accountant import Filter, epsilon_of, epsilon_of_rho, from_json

SPENDING = frozenset({"cap", "reserve", "draw", "commit", "write-off", "void", "version"})
CLOSING = frozenset({"commit", "write-off", "void"})
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
        drawn: reservations whose noise may have been drawn: they can never be voided.
        closed: how each closed reservation was closed: ``commit``, ``write-off`` or ``void``.
        looks: rows of kind ``look`` by cohort.
    """

    cohorts: dict[str, CohortState] = field(default_factory=dict)
    disjoint: set[frozenset[str]] = field(default_factory=set)
    spends: dict[int, Entry] = field(default_factory=dict)
    drawn: set[int] = field(default_factory=set)
    closed: dict[int, str] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)

    def sharing(self, name: str) -> list[str]:
        """Return the cohorts that may share patients with this one, itself included."""
        return [other for other in self.cohorts if frozenset({name, other}) not in self.disjoint]

    def disjoint_from(self, name: str) -> tuple[str, ...]:
        """Return the cohorts declared to share no patient with this one."""
        return tuple(other for other in self.cohorts if frozenset({name, other}) in self.disjoint)

    def counted(self, name: str) -> list[Entry]:
        """Return the spends that count against a cohort's cap: committed or not, but not the void ones."""
        names, live = set(self.sharing(name)), self.spends.items()
        return [e for number, e in live if e.cohort in names and self.closed.get(number) != "void"]

    def keyed(self, key: str) -> dict[str, int]:
        """Return the reservations that were booked under a key, or under ``key:...``, by their keys."""
        found = {str(e.content.get("key", "")): number for number, e in self.spends.items()}
        return {own: number for own, number in found.items() if own == key or own.startswith(f"{key}:")}

    def require_open(self, number: int, *, undrawn: bool = False) -> Entry:
        """Return a reservation that is open, and of which, if asked, no noise was drawn.

        Raises:
            ConfigError: it is not.
        """
        if number not in self.spends or number in self.closed:
            open_ones = [seq for seq in self.spends if seq not in self.closed]
            raise ConfigError(f"Expected an open reservation of {open_ones}, got {number}.")
        if undrawn and number in self.drawn:
            raise ConfigError(
                f"Expected a reservation of which no noise was drawn, got {number}.",
                next_step="Its spend is kept: resume the run, or `synthgen ledger resolve` it.",
            )
        return self.spends[number]

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


def fingerprint(key: str) -> str:
    """Return what a cap row says of the cohort's key, which must itself stay out of the rows."""
    text = str(key).encode("utf-8", "surrogateescape")  # a damaged one, too
    return hashlib.sha256(b"synthgen cohort key:" + text).hexdigest()[:32]


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
    if entry.kind == "version":
        state.drawn.update(state.spends)  # before version 2, drawing left no row
        return
    if entry.cohort not in state.cohorts:
        raise ValueError("its cohort was not opened before")
    if entry.kind == "reserve":
        from_json(entry.content["event"])
        state.spends[entry.seq] = entry
    elif entry.kind == "draw" or entry.kind in CLOSING:
        number = entry.content["entry"]
        if number not in state.spends or number in state.closed:
            raise ValueError("it names a reservation that is not open")
        if entry.kind == "draw":
            state.drawn.add(number)
        elif entry.kind == "void" and number in state.drawn:
            raise ValueError("it voids a reservation whose noise may have been drawn")
        else:
            state.closed[number] = entry.kind
    elif entry.kind == "look":
        state.looks[entry.cohort] = state.looks.get(entry.cohort, 0) + 1


def _apply_cap(state: State, name: str, content: Mapping[str, Any]) -> None:
    before = state.cohorts.get(name)
    if before is not None and before.fingerprint != content["key"]:
        raise ValueError("it changes the cohort's key")
    cap = Filter(float(content["epsilon"]), float(content["delta"]))
    state.cohorts[name] = CohortState(name, cap, str(content["key"]))
    state.disjoint.update(frozenset({name, other}) for other in content["disjoint_from"] if other != name)


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
