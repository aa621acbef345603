"""The organisation's record of what each cohort has spent, and the one place that says yes to a spend.

Reserve, then touch data, then commit: a crash in between keeps the spend. Events are stored, never
epsilons, and compose jointly over all cohorts that may share patients. Rows are hash-chained; their
meaning is derived from them anew each time, so an edit of anything is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_accounting.dp_event import DpEvent

from synthgen.errors import ConfigError, DataError
from synthgen.privacy.ledger.draw_counter import DrawsRow
from synthgen.privacy.ledger.draw_counter import Position as Position
from synthgen.privacy.ledger.hash_chain import Entry as Entry
from synthgen.privacy.ledger.hash_chain import Problem as Problem
from synthgen.privacy.ledger.hash_chain import Row, entry_of, head_of, missing_head, next_row
from synthgen.privacy.ledger.state import (
    ACCESS,
    NAME,
    SPENDING,
    State,
    cap_content,
    cap_of,
    check_reason,
    exceeded,
    fingerprint,
    replay,
)
from synthgen.privacy.ledger.state import Cohort as Cohort
from synthgen.privacy.ledger.state import PaidFit as PaidFit
from synthgen.privacy.ledger.state import Spend as Spend
from synthgen.privacy.ledger.units import LedgerUnit as LedgerUnit
from synthgen.privacy.ledger.units import shown as shown_unit

__all__ = ["Cohort", "Entry", "Ledger", "LedgerUnit", "PaidFit", "Position", "Problem", "Spend", "shown_unit"]
from synthgen.privacy.accountant import get_epsilon, to_json
from synthgen.privacy.splits import new_key

RELEASE = "release"
"""Kind of the entries of releases: they spend nothing."""

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from synthgen.privacy.ledger.store import Store


class Ledger:
    """Caps and spends of an organisation's cohorts. Every call is one transaction.

    An unknown cohort, or a number that is no open reservation, is a ConfigError that names what there is.

    Attributes:
        migrated: what `connect` brought to this version, and where the backup is; empty if it did not.

    Example:
        >>> import tempfile
        >>> from dp_accounting import dp_event
        >>> folder = tempfile.TemporaryDirectory()
        >>> ledger = Ledger.connect("sqlite:///ledger.db", base=Path(folder.name))
        >>> cohort = ledger.open_cohort("icu", epsilon=1.0, delta=1e-6)
        >>> unit = LedgerUnit("patient", "pid", max_records=4)
        >>> number = ledger.reserve("icu", dp_event.ZCDpEvent(0.01), purpose="fit", run="r1", unit=unit)
        >>> ledger.commit(number)
        >>> round(ledger.remaining("icu"), 2), ledger.verify()
        (0.75, [])
        >>> folder.cleanup()
    """

    def __init__(self, store: Store, *, migrated: str = "") -> None:
        self._store, self.migrated = store, migrated

    @classmethod
    def connect(
        cls, url: str, *, base: Path | None = None, create: bool = True, named: bool = True
    ) -> Ledger:
        """Open a ledger. One of an older version is backed up and brought to this one.

        Args:
            url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://...``.
            base: folder that a relative path starts from; None is the current one.
            create: make a missing file, and say so in `created`.
            named: the operator gave the URL himself. False where a config or a run names it: a server must
                then be one of his own settings or PGHOST, and no other is spoken to.

        Raises:
            ConfigError: the URL is not one of these, its server is not the operator's, user or password are
                refused, the driver is not installed, the ledger is of a newer version, or it is missing and
                ``create`` is false.
            DataError: the file is damaged.
            OperationError: the database cannot be used.
        """
        from synthgen.privacy.ledger.migration import migrate
        from synthgen.privacy.ledger.store import Store

        store = Store(url, base=base, create=create, named=named)
        return cls(store, migrated=migrate(store))

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
        cap, wanted = cap_of(name, epsilon, delta), set(disjoint_from)
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

    def close_cohort(self, name: str, reason: str) -> bool:
        """Close a cohort of which nothing was drawn, so that it can be opened anew with another cap.

        Guarantee:
            Caps hold as if the cohort had never been open: all its reservations are void, and its holdout was
            not looked at. Its rows stay.

        Returns:
            Whether it was closed; not if anything was drawn, or is reserved.

        Raises:
            ConfigError: no cohort of that name is open.
        """
        with self._writing() as (connection, rows, state):
            if not state.unspent(state.known(name).name):
                return False
            self._append(connection, rows, name, "close", {"reason": reason})
            self._store.remove_key(connection, name)
            return True

    def cohort(self, name: str) -> Cohort:
        """Return an open cohort, or raise a ConfigError."""
        with self._reading() as (connection, _rows, state):
            return self._cohort(connection, state, name)

    def cohorts(self) -> list[str]:
        """Return the names of all cohorts, in the order of opening."""
        with self._reading() as (_connection, _rows, state):
            return list(state.cohorts)

    def reserve(
        self,
        cohort: str,
        event: DpEvent,
        *,
        purpose: str,
        run: str,
        key: str = "",
        unit: LedgerUnit | None = None,
    ) -> int:
        """Book a spend before any record is read.

        Guarantee:
            Several processes that reserve at the same time never exceed a cap: reading, deciding and writing
            are one transaction that excludes other writers. A refused spend leaves no entry.

        Args:
            cohort: name of an open cohort.
            event: what the plan will spend.
            purpose: what for, such as ``fit marginal``.
            run: the run's identifier.
            key: a name of this spend. What was booked under it already is returned and not booked twice, so
                that a crash after the reservation is not charged again.
            unit: the privacy unit that the event protects. None is a unit that nobody stated: it composes
                with others of its kind alone.

        Returns:
            Number of the entry, for `commit` or `write_off`.

        Raises:
            BudgetExceeded: the cap of this cohort, or of one that may share patients with it, would not hold.
            ConfigError: no cohort of that name is open, or what counts against its cap, or against the cap
                of a cohort that may share patients with it, protects another unit.
            ValueError: the event cannot be booked, or another one was booked under the key.
        """
        stated = None if unit is None else unit.to_json()
        content = {"event": to_json(event), "purpose": purpose, "run": run, "unit": stated}
        content |= {"key": key} if key else {}
        get_epsilon(
            [event], 1e-6, adaptive=True
        )  # refuses what has no RDP booking, before anything is locked
        with self._writing() as (connection, rows, state):
            state.known(cohort)
            booked = state.keyed(key).get(key) if key else None
            if booked is not None and state.spends[booked].content["event"] == content["event"]:
                return booked
            if booked is not None:
                raise ValueError(f"Expected the event of reservation {booked}, got another under its key.")
            for other in state.sharing(cohort):
                state.require_one_unit(other, unit)
            over = state.over(cohort, event)
            if over is not None:
                raise exceeded(state, over, cohort, event)
            return self._append(connection, rows, cohort, "reserve", content)

    def keyed(self, key: str) -> dict[str, int]:
        """Return the numbers of what was reserved under ``key`` and ``key:...``."""
        with self._reading() as (_connection, _rows, state):
            return state.keyed(key)

    def status(self, number: int) -> str:
        """Return ``open``, ``commit``, ``write-off`` or ``void``: how a reservation was closed."""
        with self._reading() as (_connection, _rows, state):
            return state.closed.get(number, "open")

    def draw(self, number: int, *, counted: bool = False) -> None:
        """Record, before it happens, that noise is drawn under a reservation; it can never be voided then.

        Args:
            number: the reservation.
            counted: each draw is announced with `count`, because a journal keeps the answers.
        """
        with self._writing() as (connection, rows, state):
            entry = state.require_open(number)
            if number in state.drawn:
                return
            content = {"entry": number, "counted": True} if counted else {"entry": number}
            self._append(connection, rows, entry.cohort, "draw", content)
            if counted:
                row = DrawsRow.make(number, Position(), reservation=entry.hash)
                self._store.add_draws(connection, [row])

    def count(self, number: int, before: Position, after: Position) -> None:
        """Announce the next draw of a reservation: one short transaction that does not read the chain.

        Guarantee:
            Of several processes, or copies of a journal, that stand at ``before``, exactly one gets past this
            call; the others draw nothing.

        Raises:
            ConfigError: the reservation is closed, or none.
            DataError: the counter is not at ``before``: another copy of the journal has drawn since.
        """
        if after.counter != before.counter + 1 or not after.digest:
            raise ValueError(f"Expected the position after {before.counter}, got {after.counter}.")
        with self._store.transaction(write=True) as connection:
            moved = self._store.move_draws(connection, number, before=before, after=after)
        if moved:
            return
        with self._reading() as (_connection, _rows, state):
            state.require_open(number)
        raise DataError(
            f"Expected draw {after.counter} of reservation {number} to be the next one, but the ledger has "
            "counted otherwise: another process or another copy of this run has drawn.",
            where="ledger",
            next_step="Go on with that run, or choose another --output: a new fit is a new spend.",
        )

    def position(self, number: int) -> Position | None:
        """Return how far a reservation has announced draws; None where its draws are not counted."""
        with self._reading() as (connection, _rows, state):
            if number in state.positions or number not in state.counted:
                return state.positions.get(number)
            return next(row.position for row in self._store.draws(connection) if row.entry == number)

    def models(self, number: int) -> set[str]:
        """Return the digests of the models that came of a committed reservation; empty if there are none."""
        with self._reading() as (_connection, _rows, state):
            return set(state.models.get(number, ()))

    def note_model(self, number: int, model: str) -> None:
        """Record that the stored answers of a committed reservation gave a model again, without noise.

        Raises:
            ConfigError: the reservation is not committed.
        """
        with self._writing() as (connection, rows, state):
            if state.closed.get(number) != "commit":
                raise ConfigError(f"Expected a committed reservation, got {number}.")
            content = {"entry": number, "model": model}
            self._append(connection, rows, state.spends[number].cohort, "model", content)

    def fits(self, run: str) -> dict[int, PaidFit]:
        """Return the committed reservations of a run's fits, by number."""
        with self._reading() as (_connection, _rows, state):
            return {
                number: PaidFit(number, frozenset(state.models[number]), state.devices.get(number))
                for number, entry in state.spends.items()
                if entry.content.get("run") == run
                and state.closed.get(number) == "commit"
                and str(entry.content.get("purpose", "")).startswith("fit")
            }

    def declare_unit(self, cohort: str, unit: LedgerUnit, *, reason: str) -> list[int]:
        """Record the privacy unit of a cohort's reservations that have none: older versions did not store it.

        Returns:
            Their numbers.

        Raises:
            ConfigError: the cohort is unknown, the reason is missing, or all of its reservations have a unit.
        """
        if not reason.strip():
            raise ConfigError("Expected a reason for declaring a unit, got none.")
        with self._writing() as (connection, rows, state):
            own = state.known(cohort).name
            lacking = [n for n, e in state.spends.items() if e.cohort == own and n not in state.units]
            if not lacking:
                raise ConfigError(f"Expected reservations of {cohort!r} without a unit, found none.")
            content = {"unit": unit.to_json(), "entries": lacking, "reason": reason}
            self._append(connection, rows, cohort, "unit", content)
            return lacking

    def declare_same_unit(self, columns: Sequence[str], *, reason: str) -> None:
        """Record that columns of several tables name the same patients, so that their releases compose.

        Raises:
            ConfigError: there are fewer than two columns, or the reason is missing.
        """
        if len(set(columns)) < 2:
            raise ConfigError("Expected two or more different columns, got fewer.")
        if not reason.strip():
            raise ConfigError(
                "Expected a reason for declaring that columns name the same patients, got none."
            )
        with self._writing() as (connection, rows, _state):
            content = {"columns": sorted(set(columns)), "reason": reason}
            self._append(connection, rows, "", "same-unit", content)

    def commit(self, number: int, *, detail: Mapping[str, Any] | None = None) -> None:
        """Record that a reserved spend was made. ``detail`` holds JSON values, and no patient's."""
        self._close(number, "commit", {"detail": dict(detail or {})})

    def write_off(self, number: int, reason: str) -> None:
        """Close an orphaned reservation. The spend is kept: nobody knows what was released."""
        if not reason.strip():
            raise ConfigError("Expected a reason for writing off a reservation, got none.")
        self._close(number, "write-off", {"reason": reason})

    def void(self, number: int, reason: str) -> None:
        """Close a reservation that spent nothing, because no noise was drawn under it. Both rows stay.

        Guarantee:
            What follows keeps to the cap as if the reservation had never been: no mechanism ran under it.
            That the data were refused is itself an exact answer about them. It goes to the steward, who holds
            the data, and nowhere else: it is told on the spot with or without a void, a bundle's existence
            says already that its data passed, and ``reason`` says nothing of them. So the
            guarantee is one for data that keep to their schema, given the outcomes of such checks.

        Raises:
            ConfigError: no open reservation has that number, or its noise may have been drawn (`draw`).
        """
        self._close(number, "void", {"reason": reason}, undrawn=True)

    def orphans(self) -> list[Entry]:
        """Return the reservations that are not closed: crashed, or still running."""
        with self._reading() as (_connection, _rows, state):
            return [entry for number, entry in state.spends.items() if number not in state.closed]

    def note(self, cohort: str, *, kind: str = "look", content: Mapping[str, Any] | None = None) -> int:
        """Add an entry that spends nothing, such as a look at the holdout. Returns its number.

        Raises:
            ConfigError: no cohort of that name is open.
            ValueError: the kind is one that spends.
        """
        if kind in SPENDING or kind in (RELEASE, ACCESS) or not NAME.fullmatch(kind):
            raise ValueError(f"Expected a kind of note such as 'look', got {kind!r}.")
        with self._writing() as (connection, rows, state):
            state.known(cohort)
            return self._append(connection, rows, cohort, kind, dict(content or {}))

    def note_access(
        self,
        content: Mapping[str, Any],
        *,
        same: Callable[[Mapping[str, Any]], bool],
        most: int | None = None,
    ) -> list[Mapping[str, Any]] | None:
        """Number an evaluation of files, of which no cohort is known; it spends nothing.

        Args:
            content: what was evaluated, as JSON values.
            same: whether an earlier content is of the same inputs.
            most: entries of the same inputs beyond which another is refused; None allows any number.

        Returns:
            The contents of earlier entries of the same inputs, in order; None if there are ``most`` already,
            and then nothing is written.
        """
        with self._writing() as (connection, rows, _state):
            held = [entry_of(row).content for row in rows if row.kind == ACCESS]
            earlier = [one for one in held if same(one)]
            if most is not None and len(earlier) >= most:
                return None
            self._append(connection, rows, "", ACCESS, dict(content))
            return earlier

    def looks(self, cohort: str) -> int:
        """Return how often the cohort's holdout has been looked at."""
        with self._reading() as (_connection, _rows, state):
            return state.looks.get(state.known(cohort).name, 0)

    def note_release(self, cohort: str, *, run: str, record: str, head: str) -> int:
        """Enter a release before its bundle is there, so that its record can be compared with the ledger.

        An entry that is there already is returned and not made twice.

        Args:
            cohort: name of an open cohort.
            run: the run's identifier.
            record: SHA-256 of the bundle's privacy record (`synthgen.release.record.record.record_digest`).
            head: head of the ledger that the record carries: the rows that its claim composes.

        Returns:
            Number of the entry.

        Raises:
            ConfigError: no cohort of that name is open.
            DataError: the ledger does not hold that head.
        """
        content = {"run": run, "record": record, "head": head}
        with self._writing() as (connection, rows, state):
            state.known(cohort)
            if missing_head(rows, head):
                raise DataError(
                    "Expected the ledger that the release's record was made with, found another, or one that "
                    "was rolled back.",
                    where="ledger",
                    next_step="Restore the ledger, and verify it with a bundle's head.",
                )
            entered = [row for row in rows if row.kind == RELEASE and row.cohort == cohort]
            for row in entered:
                if dict(entry_of(row).content) == content:
                    return int(row.seq)
            return self._append(connection, rows, cohort, RELEASE, content)

    def releases(self, cohort: str | None = None) -> list[Entry]:
        """Return the entries of releases, whose content has ``run``, ``record`` and ``head``."""
        return [entry for entry in self.entries(cohort) if entry.kind == RELEASE]

    def spent(self, cohort: str, *, head: str | None = None) -> Spend:
        """Return what counts against a cohort's cap.

        Args:
            cohort: name of an open cohort.
            head: count the rows up to this one, as a record that carries this head did; None counts all.

        Raises:
            ConfigError: no cohort of that name is open, or its spends protect units that do not compose.
            DataError: the ledger does not hold that head.
        """
        with self._reading() as (_connection, rows, state):
            if head is None:
                return state.spent(cohort)
            if missing_head(rows, head):
                raise DataError(
                    "Expected a ledger that holds this head, found none.",
                    where="ledger",
                    next_step="It is another ledger, or was rolled back: restore it from its backup.",
                )
            last = int(head.partition(":")[0])
            return replay(entry_of(row) for row in rows[:last]).spent(cohort)

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

        The row of a ``head`` that a bundle carries must still be there: whoever can write the database can
        rebuild the whole chain, and only a head kept elsewhere shows it.
        """
        found, rows = self._store.check()
        return found + (missing_head(rows, head) if head else [])

    def backup(self, target: str) -> None:
        """Write a consistent copy that verifies: one transaction's rows, keys and head.

        Args:
            target: path of a new file, or URL of a database without a ledger (which restores a backup).

        Raises:
            ConfigError: there is something at the target.
        """
        from synthgen.privacy.ledger.migration import copy

        with self._reading() as (connection, rows, _state):
            copy(rows, self._store.keys(connection), self._store.draws(connection), target)

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

    def _close(self, number: int, kind: str, content: Mapping[str, Any], *, undrawn: bool = False) -> None:
        with self._writing() as (connection, rows, state):
            entry = state.require_open(number, undrawn=undrawn)
            last = {}
            if number in state.counted:
                draws = self._store.draws(connection)
                last = {"draws": next(row.position for row in draws if row.entry == number).to_json()}
                self._store.remove_draws(connection, number)
            self._append(connection, rows, entry.cohort, kind, {"entry": number, **last, **content})

    @contextmanager
    def _reading(self, *, write: bool = False) -> Iterator[tuple[Connection, list[Row], State]]:
        """Yield a connection, all rows, and their meaning, once the chain was checked."""
        with self._store.transaction(write=write) as connection:
            found, rows = self._store.problems(connection)
            if found:
                raise DataError(
                    f"Expected an unedited ledger, got {len(found)} problems. {found[0]}.",
                    where="ledger",
                    next_step="Run `synthgen ledger verify`, and restore the ledger from its backup.",
                )
            yield connection, rows, replay(map(entry_of, rows))

    def _writing(self) -> AbstractContextManager[tuple[Connection, list[Row], State]]:
        return self._reading(write=True)
