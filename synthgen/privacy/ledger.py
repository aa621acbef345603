"""The organisation's record of what each cohort has spent, and the one place that says yes to a spend.

Reserve, then touch data, then commit: a crash in between keeps the spend. Events are stored, never
epsilons, and compose jointly over all cohorts that may share patients. Rows are hash-chained; their
meaning is derived from them anew each time, so an edit of anything is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_accounting.dp_event import DpEvent

from synthgen.errors import ConfigError, DataError
from synthgen.privacy._ledger_chain import Entry as Entry
from synthgen.privacy._ledger_chain import Problem as Problem
from synthgen.privacy._ledger_chain import Row, entry_of, head_of, missing_head, next_row, problems_of
from synthgen.privacy._ledger_state import (
    NAME,
    SPENDING,
    State,
    cap_content,
    check_reason,
    exceeded,
    fingerprint,
    problems_of_meaning,
    replay,
)
from synthgen.privacy._ledger_state import Cohort as Cohort
from synthgen.privacy._ledger_state import Spend as Spend
from synthgen.privacy.accountant import Filter, epsilon_of, to_json
from synthgen.privacy.parts import new_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from synthgen.privacy._ledger_store import Store


class Ledger:
    """Caps and spends of an organisation's cohorts. Every call is one transaction.

    Example:
        >>> import tempfile
        >>> from dp_accounting import dp_event
        >>> folder = tempfile.TemporaryDirectory()
        >>> ledger = Ledger.connect("sqlite:///ledger.db", base=Path(folder.name))
        >>> cohort = ledger.open_cohort("icu", epsilon=1.0, delta=1e-6)
        >>> number = ledger.reserve("icu", dp_event.ZCDpEvent(0.01), purpose="fit", run="r1")
        >>> ledger.commit(number)
        >>> round(ledger.remaining("icu"), 2), ledger.verify()
        (0.75, [])
        >>> folder.cleanup()
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def connect(cls, url: str, *, base: Path | None = None, create: bool = True) -> Ledger:
        """Open a ledger.

        Args:
            url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://...``.
            base: folder that a relative path starts from; None is the current one.
            create: make a missing file, and say so in `created`.

        Raises:
            ConfigError: the URL is not one of these, or the ledger is missing and ``create`` is false.
            OperationError: the database cannot be used.
        """
        from synthgen.privacy._ledger_store import Store

        return cls(Store(url, base=base, create=create))

    @property
    def created(self) -> bool:
        """Whether `connect` made the file."""
        return self._store.created

    def open_cohort(
        self, name: str, *, epsilon: float, delta: float, disjoint_from: Sequence[str] = (), reason: str = ""
    ) -> Cohort:
        """Open a cohort with a cap, or change an open one's cap for a recorded reason.

        With the cap and the declarations that it already has, nothing is written. Cohorts count
        together unless declared disjoint: a renamed cohort buys no new cap.

        Raises:
            ConfigError: the name or cap is not usable, a cohort in ``disjoint_from`` is unknown, or a reason
                is missing for another cap or for declaring cohorts disjoint.
        """
        cap, wanted = _cap(name, epsilon, delta), set(disjoint_from)
        with self._writing() as (connection, rows, state):
            for other in wanted:
                state.known(other)
            if name in wanted:
                raise ConfigError(f"Expected other cohorts than {name!r} itself to be disjoint from.")
            before = state.cohorts.get(name)
            wanted -= set(state.disjoint_from(name))
            if before is not None and before.cap == cap and not wanted:
                return self._cohort(connection, state, name)
            check_reason(state, name, cap, wanted, reason)
            if before is None:
                self._store.add_key(connection, name, key := new_key().hex())
            shown = before.fingerprint if before is not None else fingerprint(key)
            content = cap_content(cap, fingerprint=shown, disjoint_from=wanted, reason=reason)
            self._append(connection, rows, name, "cap", content)
            return self._cohort(connection, replay(map(entry_of, rows)), name)

    def cohort(self, name: str) -> Cohort:
        """Return an open cohort.

        Raises:
            ConfigError: no cohort of that name is open.
        """
        with self._reading() as (connection, _rows, state):
            return self._cohort(connection, state, name)

    def cohorts(self) -> list[str]:
        """Return the names of all cohorts, in the order of opening."""
        with self._reading() as (_connection, _rows, state):
            return list(state.cohorts)

    def reserve(self, cohort: str, event: DpEvent, *, purpose: str, run: str) -> int:
        """Book a spend before any record is read.

        Guarantee:
            Several processes that reserve at the same time never exceed a cap: reading, deciding and writing
            are one transaction that excludes other writers. A refused spend leaves no entry.

        Args:
            cohort: name of an open cohort.
            event: what the plan will spend.
            purpose: what for, such as ``fit marginal``.
            run: the run's identifier.

        Returns:
            Number of the entry, for `commit` or `write_off`.

        Raises:
            BudgetExceeded: the cap of this cohort, or of one that may share patients with it, would not hold.
            ConfigError: no cohort of that name is open.
            ValueError: the event cannot be booked.
        """
        content = {"event": to_json(event), "purpose": purpose, "run": run}
        epsilon_of([event], 1e-6, adaptive=True)  # refuses what has no RDP booking, before anything is locked
        with self._writing() as (connection, rows, state):
            state.known(cohort)
            over = state.over(cohort, event)
            if over is not None:
                raise exceeded(state, over, cohort, event)
            return self._append(connection, rows, cohort, "reserve", content)

    def commit(self, number: int, *, detail: Mapping[str, Any] | None = None) -> None:
        """Record that a reserved spend was made. ``detail`` holds JSON values, and no patient's.

        Raises:
            ConfigError: no open reservation has that number.
        """
        self._close(number, "commit", {"detail": dict(detail or {})})

    def write_off(self, number: int, reason: str) -> None:
        """Close an orphaned reservation. The spend is kept: nobody knows what was released.

        Raises:
            ConfigError: no open reservation has that number, or there is no reason.
        """
        if not reason.strip():
            raise ConfigError("Expected a reason for writing off a reservation, got none.")
        self._close(number, "write-off", {"reason": reason})

    def orphans(self) -> list[Entry]:
        """Return the reservations that are neither committed nor written off: crashed, or still running."""
        with self._reading() as (_connection, _rows, state):
            return [entry for number, entry in state.spends.items() if number not in state.closed]

    def note(self, cohort: str, *, kind: str = "look", content: Mapping[str, Any] | None = None) -> int:
        """Add an entry that spends nothing, such as a look at the holdout. Returns its number.

        Raises:
            ConfigError: no cohort of that name is open.
            ValueError: the kind is one that spends.
        """
        if kind in SPENDING or not NAME.fullmatch(kind):
            raise ValueError(f"Expected a kind of note such as 'look', got {kind!r}.")
        with self._writing() as (connection, rows, state):
            state.known(cohort)
            return self._append(connection, rows, cohort, kind, dict(content or {}))

    def looks(self, cohort: str) -> int:
        """Return how often the cohort's holdout has been looked at."""
        with self._reading() as (_connection, _rows, state):
            return state.looks.get(state.known(cohort).name, 0)

    def spent(self, cohort: str) -> Spend:
        """Return what counts against a cohort's cap.

        Raises:
            ConfigError: no cohort of that name is open.
        """
        with self._reading() as (_connection, _rows, state):
            return state.spent(cohort)

    def remaining(self, cohort: str) -> float:
        """Return the epsilon of the largest zCDP plan that still fits every cap that it counts against."""
        return self.spent(cohort).left

    def entries(self, cohort: str | None = None) -> list[Entry]:
        """Return all rows, or those of one cohort, in order."""
        with self._reading() as (_connection, rows, _state):
            return [entry_of(row) for row in rows if cohort in (None, row.cohort)]

    def head(self) -> str:
        """Return number and hash of the last row: what a bundle carries, to date it and to hold us to it."""
        with self._reading() as (_connection, rows, _state):
            return head_of(rows)

    def verify(self, *, head: str | None = None) -> list[Problem]:
        """Return every sign that the ledger was edited; an empty list if there is none.

        Args:
            head: what a bundle carries; its row must still be there. Whoever can write the database can
                rebuild the whole chain, and only a head kept elsewhere shows it.
        """
        with self._store.transaction() as connection:
            rows, own = self._store.rows(connection), self._store.head(connection)
            keys = self._store.keys(connection)
        found = problems_of(rows, head=own)
        if not found:
            found = problems_of_meaning(map(entry_of, rows), keys)
        return found + (missing_head(rows, head) if head else [])

    def _cohort(self, connection: Connection, state: State, name: str) -> Cohort:
        cap = state.known(name).cap
        key = bytes.fromhex(self._store.keys(connection)[name])
        return Cohort(name, cap.epsilon, cap.delta, key, state.disjoint_from(name))

    def _append(
        self, connection: Connection, rows: list[Row], cohort: str, kind: str, content: Mapping[str, Any]
    ) -> int:
        rows.append(next_row(rows[-1] if rows else None, cohort, kind, content))
        self._store.append(connection, rows[-1])
        return int(rows[-1].seq)

    def _close(self, number: int, kind: str, content: Mapping[str, Any]) -> None:
        with self._writing() as (connection, rows, state):
            if number not in state.spends or number in state.closed:
                open_ones = [seq for seq in state.spends if seq not in state.closed]
                raise ConfigError(f"Expected an open reservation of {open_ones}, got {number}.")
            self._append(connection, rows, state.spends[number].cohort, kind, {"entry": number, **content})

    @contextmanager
    def _reading(self, *, write: bool = False) -> Iterator[tuple[Connection, list[Row], State]]:
        """Yield a connection, all rows, and their meaning, once the chain was checked."""
        with self._store.transaction(write=write) as connection:
            rows = self._store.rows(connection)
            found = problems_of(rows, head=self._store.head(connection))
            found = found or problems_of_meaning(map(entry_of, rows), self._store.keys(connection))
            if found:
                raise DataError(
                    f"Expected an unedited ledger, got {len(found)} problems. {found[0]}.",
                    where="ledger",
                    next_step="Run `synthgen ledger verify`, and restore the ledger from its backup.",
                )
            yield connection, rows, replay(map(entry_of, rows))

    def _writing(self) -> AbstractContextManager[tuple[Connection, list[Row], State]]:
        return self._reading(write=True)


def _cap(name: str, epsilon: float, delta: float) -> Filter:
    if not NAME.fullmatch(name):
        raise ConfigError("Expected a cohort name of letters, digits, '.', '_' and '-', up to 100 of them.")
    try:
        return Filter(float(epsilon), float(delta))
    except ValueError as error:
        raise ConfigError(str(error), where=f"cohort {name}") from None
