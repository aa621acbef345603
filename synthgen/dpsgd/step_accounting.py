"""Book each noised step before it is drawn, so that no crash can make a step free.

The whole plan is reserved before any record is read. Before each stretch of steps, a note in the ledger says
up to which step noise may have been drawn. A training that goes on from a checkpoint and finds that more
was drawn than the checkpoint holds pays for the steps in between anew: both branches were drawn.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.errors import DataError
from synthgen.privacy.accountant import from_json, to_json
from synthgen.privacy.ledger.ledger import Ledger

KIND = "steps"


class StepBook(Protocol):
    """Where steps are booked."""

    def before(self, step: int) -> None:
        """Book a step, by number from 0, before its noise is drawn."""
        ...

    def resume(self, step: int) -> None:
        """Say that the steps from this one on will be drawn (again)."""
        ...

    def close(self, step: int) -> None:
        """Say that training has stopped and no noise was drawn from this step on."""
        ...

    def spent(self) -> list[DpEvent]:
        """Return what was reserved, all branches."""
        ...


@dataclass
class MemoryBook:
    """Books steps in memory: for tests and benchmarks, on made-up data. Nothing outlives the process."""

    plan: TrainingPlan
    drawn: int = 0
    redone: int = 0

    def before(self, step: int) -> None:
        """Count the step."""
        self.drawn = max(self.drawn, step + 1)

    def resume(self, step: int) -> None:
        """Charge the steps that will be drawn again."""
        self.redone += max(0, self.drawn - step)
        self.drawn = min(self.drawn, step)

    def close(self, step: int) -> None:
        """Nothing is booked ahead."""

    def spent(self) -> list[DpEvent]:
        """Return the plan, and the steps drawn again."""
        again = [self.plan.event_of(self.redone)] if self.redone else []
        return [self.plan.event, *again]


class LedgerBook:
    """Books steps in the organisation's ledger.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = tempfile.TemporaryDirectory()
        >>> ledger = Ledger.connect("sqlite:///ledger.db", base=Path(folder.name))
        >>> cohort = ledger.open_cohort("icu", epsilon=3.0, delta=1e-5)
        >>> plan = TrainingPlan(0.1, 20, 2.0, 1.0, 100.0)
        >>> book = LedgerBook.reserve(ledger, "icu", plan, run="r1")
        >>> book.resume(0)
        >>> book.before(0)
        >>> book.resume(0)  # as if the process had died before its first checkpoint
        >>> len(book.spent())
        2
        >>> folder.cleanup()
    """

    def __init__(
        self, ledger: Ledger, cohort: str, plan: TrainingPlan, *, run: str, entry: int, stretch: int = 0
    ) -> None:
        """Open the book of a reservation; `reserve` makes one.

        Args:
            ledger: the organisation's ledger.
            cohort: the patients' cohort.
            plan: what was reserved.
            run: the run's identifier.
            entry: number of the reservation.
            stretch: steps booked at once; a crash costs at most these again. 0 is a twentieth of the plan.
        """
        self._ledger, self._cohort, self._plan, self._run = ledger, cohort, plan, run
        self.entry = entry
        self._stretch = stretch or max(1, plan.steps // 20)
        self._session = secrets.token_hex(8)
        self._booked = -1  # until `resume` says where this process begins

    @classmethod
    def reserve(
        cls, ledger: Ledger, cohort: str, plan: TrainingPlan, *, run: str, stretch: int = 0
    ) -> LedgerBook:
        """Reserve all steps of a plan, before any record is read.

        Raises:
            BudgetExceeded: the cap would not hold.
        """
        entry = ledger.reserve(cohort, plan.event, purpose=f"{plan.steps} steps", run=run)
        return cls(ledger, cohort, plan, run=run, entry=entry, stretch=stretch)

    def before(self, step: int) -> None:
        """Book the stretch that begins with this step, unless it is booked.

        Raises:
            ValueError: the plan has no such step, or `resume` was not called.
            DataError: another process has gone on with this run.
        """
        if self._booked < 0 or not 0 <= step < self._plan.steps:
            raise ValueError(f"Expected a step below {self._plan.steps} after `resume`, got {step}.")
        if step < self._booked:
            return
        if self._last().get("session") != self._session:
            raise DataError(
                "Expected to be the only process of this run, got another that went on with it.",
                next_step="Let one of them end; both are paid for.",
            )
        self._note(min(step + self._stretch, self._plan.steps))

    def resume(self, step: int) -> None:
        """Pay for the steps that may have been drawn beyond this one, and take the run over.

        Raises:
            BudgetExceeded: the cap does not allow them again; nothing is drawn.
        """
        again = int(self._last().get("to", 0)) - step
        if again > 0:
            event = self._plan.event_of(again)
            self._ledger.reserve(self._cohort, event, purpose=f"{again} steps again", run=self._run)
        self._note(step)

    def close(self, step: int) -> None:
        """Note where training stopped, so that what was booked ahead is not paid for again."""
        if step < self._booked:
            self._note(step)

    def _note(self, to: int) -> None:
        content = {"entry": self.entry, "to": to, "session": self._session}
        self._ledger.note(self._cohort, kind=KIND, content=content)
        self._booked = to

    def spent(self) -> list[DpEvent]:
        """Return the run's reservations."""
        rows = [e for e in self._ledger.entries(self._cohort) if e.kind == "reserve"]
        return [from_json(e.content["event"]) for e in rows if e.content["run"] == self._run]

    def _last(self) -> Mapping[str, Any]:
        """Return the last note: up to which step noise may have been drawn and is not yet paid for again."""
        rows = [e.content for e in self._ledger.entries(self._cohort) if e.kind == KIND]
        return next((content for content in reversed(rows) if content["entry"] == self.entry), {})


def spent_json(book: StepBook) -> dict[str, Any]:
    """Return what was spent as JSON values, for a checkpoint."""
    return to_json(dp_event.ComposedDpEvent(book.spent()))


def same_plan(plan: TrainingPlan, stored: Mapping[str, Any]) -> None:
    """Check that a checkpoint was made by the same plan.

    Raises:
        DataError: it was not; its steps cost something else.
    """
    if TrainingPlan.from_json(stored) != plan:
        raise DataError(
            "Expected a checkpoint of the same plan, got another plan's.",
            next_step="Start anew, or use the plan of the checkpoint.",
        )
