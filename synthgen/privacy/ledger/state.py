"""What the ledger's rows mean: caps, disjoint cohorts and spends, derived from rows alone.

Nothing is kept in a column that can change, so whoever edits a cap or a state edits a row of the chain.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from synthgen.errors import BudgetExceeded, ConfigError
from synthgen.printable import shell
from synthgen.privacy.accountant import PrivacyFilter, epsilon_of_rho, from_json, get_epsilon
from synthgen.privacy.ledger.draw_counter import DrawsRow, Position, problems_of_draws
from synthgen.privacy.ledger.hash_chain import Entry, Problem
from synthgen.privacy.ledger.units import LedgerUnit, mixed, same_unit

SPENDING = frozenset(
    {
        "cap",
        "reserve",
        "draw",
        "commit",
        "write-off",
        "void",
        "version",
        "unit",
        "same-unit",
        "model",
        "close",
    }
)
ACCESS = "access"
"""An evaluation of files: of no cohort, spends nothing."""
CLOSING = frozenset({"commit", "write-off", "void"})
KEY = re.compile(r"[0-9a-f]{64}")
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
            proven when each was chosen after seeing the last is ``proven``.
        delta: probability of failure.
        cap: the cohort's cap.
        used: share of the cap that is used up, from 0 to 1. A single entry may exceed 1 and yet keep to the
            cap by a tighter accountant; then nothing is left.
        left: epsilon of the largest zCDP plan that still fits.
        entries: number of spends counted.
        cohorts: names of the cohorts whose spends count.
        event: the entries as one event, for the trade-off curve of a claim.
        units: privacy units of the entries; None stands for one that an older version did not record.
        opened: when the cohort's first cap was entered, UTC: what was released before is not counted.
        cap_changes: how often the cap was changed after a spend that counts against it.
    """

    epsilon: float
    delta: float
    cap: float
    used: float
    left: float
    entries: int
    cohorts: tuple[str, ...]
    event: DpEvent
    units: tuple[LedgerUnit | None, ...] = ()
    opened: str = ""
    cap_changes: int = 0

    @property
    def adaptive(self) -> bool:
        """Whether an entry may have been chosen after the outputs of another were seen."""
        return self.entries > 1

    @property
    def proven(self) -> float:
        """Epsilon that is proven for the entries: of one its own, of several the cap.

        Entries that are booked one after the other may depend on what was released before. For those the
        filter of the cap is proven (`synthgen.privacy.accountant.PrivacyFilter`), and the composition of the
        entries is not.
        """
        return self.cap if self.adaptive else self.epsilon


@dataclass(frozen=True)
class PaidFit:
    """A committed reservation of a run.

    Attributes:
        number: of its entry.
        models: digests of the models that came of it.
        device: kind of the device that it computed on; None if it was not noted.
    """

    number: int
    models: frozenset[str]
    device: str | None


@dataclass(frozen=True)
class CohortState:
    """A cohort as its latest ``cap`` row has it.

    Attributes:
        name: the cohort.
        cap: filter of its latest cap.
        fingerprint: hash of the cohort's key.
    """

    name: str
    cap: PrivacyFilter
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
        counted: reservations whose draws are counted (`synthgen.privacy.ledger.draw_counter`).
        positions: of closed reservations, how far they had drawn.
        models: digests of the models that came of each committed reservation.
        devices: kinds of devices that committed fits computed on, where noted.
        units: privacy unit of each reservation that has one, stated with it or declared later.
        joined: columns that were declared to name the same patients.
        opened: time of each cohort's first cap.
        cap_changes: caps that were changed after a spend that counts against them, by cohort.
    """

    cohorts: dict[str, CohortState] = field(default_factory=dict)
    disjoint: set[frozenset[str]] = field(default_factory=set)
    spends: dict[int, Entry] = field(default_factory=dict)
    drawn: set[int] = field(default_factory=set)
    closed: dict[int, str] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    counted: set[int] = field(default_factory=set)
    positions: dict[int, Position] = field(default_factory=dict)
    models: dict[int, set[str]] = field(default_factory=dict)
    devices: dict[int, str] = field(default_factory=dict)
    units: dict[int, LedgerUnit] = field(default_factory=dict)
    joined: list[frozenset[str]] = field(default_factory=list)
    opened: dict[str, str] = field(default_factory=dict)
    cap_changes: dict[str, int] = field(default_factory=dict)

    def sharing(self, name: str) -> list[str]:
        """Return the cohorts that may share patients with this one, itself included."""
        return [other for other in self.cohorts if frozenset({name, other}) not in self.disjoint]

    def disjoint_from(self, name: str) -> tuple[str, ...]:
        """Return the cohorts declared to share no patient with this one."""
        return tuple(other for other in self.cohorts if frozenset({name, other}) in self.disjoint)

    def counted_spends(self, name: str) -> list[Entry]:
        """Return the spends that count against a cohort's cap: committed or not, but not the void ones."""
        names, live = set(self.sharing(name)), self.spends.items()
        return [e for number, e in live if e.cohort in names and self.closed.get(number) != "void"]

    def unspent(self, name: str) -> bool:
        """Return whether a cohort has nothing but void reservations, and no look at its holdout."""
        own = [number for number, entry in self.spends.items() if entry.cohort == name]
        return not self.looks.get(name) and all(self.closed.get(number) == "void" for number in own)

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
        return [from_json(entry.content["event"]) for entry in self.counted_spends(name)]

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

    def units_of(self, name: str) -> tuple[LedgerUnit | None, ...]:
        """Return the distinct units of the spends that count against a cohort's cap, in their order."""
        found: dict[LedgerUnit | None, None] = {}
        for entry in self.counted_spends(name):
            found.setdefault(self.units.get(entry.seq))
        return tuple(found)

    def require_one_unit(self, name: str, *more: LedgerUnit | None) -> None:
        """Check that the spends that count against a cohort's cap have one unit, with those of ``more``.

        Raises:
            ConfigError: they do not compose.
        """
        units = (*self.units_of(name), *more)
        for other in units[1:]:
            if not same_unit(units[0], other, self.joined):
                raise mixed(name, (units[0], other))

    def spent(self, name: str) -> Spend:
        """Return what counts against a cohort's cap, and what every cap that it counts against leaves.

        Raises:
            ConfigError: no cohort of that name is open, or its spends protect units that do not compose.
        """
        cap, events = self.known(name).cap, self.events(name)
        self.require_one_unit(name)
        rho = min(self.cohorts[other].cap.rho_left(self.events(other)) for other in self.sharing(name))
        return Spend(
            epsilon=get_epsilon(events, cap.delta, adaptive=len(events) > 1),
            delta=cap.delta,
            cap=cap.epsilon,
            used=cap.used(events),
            left=epsilon_of_rho(rho, cap.delta),
            entries=len(events),
            cohorts=tuple(self.sharing(name)),
            event=dp_event.ComposedDpEvent(events),
            units=self.units_of(name),
            opened=self.opened[name],
            cap_changes=self.cap_changes.get(name, 0),
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
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"row {entry.seq} ({entry.kind[:40]}) has no meaning: {error}") from None
    return state


def _apply(state: State, entry: Entry) -> None:
    if entry.kind == "cap":
        _apply_cap(state, entry)
        return
    if entry.kind == "version":
        if entry.content["from"] == 1:
            state.drawn.update(state.spends)  # before version 2, drawing left no row
        return
    if entry.kind == "same-unit":
        state.joined.append(frozenset(map(str, entry.content["columns"])))
        return
    if entry.kind == ACCESS:
        return
    if entry.cohort not in state.cohorts:
        raise ValueError("its cohort was not opened before")
    if entry.kind == "reserve":
        from_json(entry.content["event"])
        state.spends[entry.seq] = entry
        if entry.content.get("unit") is not None:
            state.units[entry.seq] = LedgerUnit.from_json(entry.content["unit"])
    elif entry.kind == "draw" or entry.kind in CLOSING:
        number = entry.content["entry"]
        if number not in state.spends or number in state.closed:
            raise ValueError("it names a reservation that is not open")
        if entry.kind == "draw":
            state.drawn.add(number)
            if entry.content.get("counted"):
                state.counted.add(number)
        elif entry.kind == "void" and number in state.drawn:
            raise ValueError("it voids a reservation whose noise may have been drawn")
        else:
            state.closed[number] = entry.kind
            if number in state.counted:
                state.positions[number] = Position.from_json(entry.content["draws"])
            detail = entry.content.get("detail", {})
            state.models[number] = {str(detail["model"])} if detail.get("model") else set()
            if detail.get("device"):
                state.devices[number] = str(detail["device"])
    elif entry.kind == "model":
        if state.closed.get(entry.content["entry"]) != "commit":
            raise ValueError("it names a reservation that is not committed")
        state.models[entry.content["entry"]].add(str(entry.content["model"]))
    elif entry.kind == "unit":
        unit = LedgerUnit.from_json(entry.content["unit"])
        for number in entry.content["entries"]:
            if (
                number not in state.spends
                or state.spends[number].cohort != entry.cohort
                or number in state.units
            ):
                raise ValueError("it names a reservation that is not of its cohort or has a unit")
            state.units[number] = unit
    elif entry.kind == "close":
        if not state.unspent(entry.cohort):
            raise ValueError("it closes a cohort that has spent, or whose holdout was looked at")
        state.cohorts.pop(entry.cohort)
        state.opened.pop(entry.cohort, None)
        state.disjoint.difference_update([pair for pair in state.disjoint if entry.cohort in pair])
    elif entry.kind == "look":
        state.looks[entry.cohort] = state.looks.get(entry.cohort, 0) + 1


def _apply_cap(state: State, entry: Entry) -> None:
    name, content = entry.cohort, entry.content
    if not NAME.fullmatch(name):
        raise ValueError("it opens a cohort whose name no cohort can have")
    before = state.cohorts.get(name)
    if before is not None and before.fingerprint != content["key"]:
        raise ValueError("it changes the cohort's key")
    cap = PrivacyFilter(float(content["epsilon"]), float(content["delta"]))
    state.opened.setdefault(name, entry.time)
    if before is not None and before.cap != cap and state.counted_spends(name):
        state.cap_changes[name] = state.cap_changes.get(name, 0) + 1
    state.cohorts[name] = CohortState(name, cap, str(content["key"]))
    state.disjoint.update(frozenset({name, other}) for other in content["disjoint_from"] if other != name)


def problems_of_meaning(
    entries: Sequence[Entry], keys: Mapping[str, str], draws: Iterable[DrawsRow]
) -> list[Problem]:
    """Return what the rows contradict.

    Args:
        entries: all rows of a chain that was checked.
        keys: the cohorts' keys, in hexadecimal, by cohort.
        draws: counters of draws.

    Returns:
        Rows without a meaning, and keys and counters that are not those of the rows.
    """
    try:
        state = replay(entries)
    except ValueError as error:
        return [Problem(None, str(error))]
    wrong = [
        name
        for name, known in state.cohorts.items()
        if fingerprint(keys.get(name, "")) != known.fingerprint or not KEY.fullmatch(str(keys[name]))
    ]
    unknown = [name for name in keys if name not in state.cohorts]
    found = [Problem(None, f"the key of cohort {name!r} was edited or is missing") for name in wrong]
    found += [Problem(None, f"a key of cohort {name!r} was added, which is not open") for name in unknown]
    hashes = {entry.seq: entry.hash for entry in entries}
    return found + problems_of_draws(draws, hashes=hashes, expected=state.counted - set(state.closed))


def cap_of(name: str, epsilon: float, delta: float) -> PrivacyFilter:
    """Return the cap of a cohort that is to be opened.

    Raises:
        ConfigError: the name or the cap is not usable.
    """
    if not NAME.fullmatch(name):
        raise ConfigError("Expected a cohort name of letters, digits, '.', '_' and '-', up to 100 of them.")
    try:
        return PrivacyFilter(float(epsilon), float(delta))
    except ValueError as error:
        raise ConfigError(str(error), where=f"cohort {name}") from None


def cap_content(
    cap: PrivacyFilter, *, fingerprint: str, disjoint_from: Iterable[str] = (), reason: str = ""
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


def check_reason(state: State, name: str, cap: PrivacyFilter, disjoint_from: set[str], reason: str) -> None:
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


def raising(cohort: str, cap: PrivacyFilter, needed: float | None) -> str:
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
    asked = get_epsilon([event], cap.delta)
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
