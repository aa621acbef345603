"""A spend from its reservation to its commit: the one way to noise for real records.

Reserve, read, draw, commit. Until noise is drawn a refused table costs nothing (`Reservation.unread`); from
then on the spend is kept, whatever happens. With a journal (`synthgen.privacy.ledger.answer_journal`) a run
that was killed goes on under the reservation that it has, and pays again only for what was drawn and not
stored.

Training by DP-SGD draws noise that is not kept: resumed before its model was saved, it is a new fit and
charged as one. To do better, it would announce each step's cost (`NoiseSource.query`) and store its state
before the next.

One reservation draws noise for one fit. Whether more may be drawn is decided by the ledger alone, never by
files of the run: a commit ends it, and holds the digest of the model that came of it. A resumed run uses the
saved model with that digest. Where there is none, stored answers give the model again without noise; noise
that was not stored has to be drawn for a new fit, under a new reservation.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from synthgen.errors import BudgetExceeded, ConfigError, DataError, SynthgenError
from synthgen.privacy.accountant import to_json
from synthgen.privacy.ledger.answer_journal import Journal, Lost
from synthgen.privacy.ledger.ledger import Ledger, LedgerUnit, Position
from synthgen.privacy.noise import Integers, NoiseSource
from synthgen.privacy.plan import PrivacyPlan


class Reservation:
    """What was booked before any record is read, and what is done under it.

    Guarantee:
        The ledger shows at least what was drawn at every moment: the plan's event is booked before the first
        draw, and each draw that repeats a lost one is booked before it happens.

    Attributes:
        number: the entry of the plan's event.
        fitted: the saved model is the one that this reservation paid for: it must be used, and nothing is
            drawn.
    """

    def __init__(
        self, ledger: Ledger, number: int, journal: Journal | None = None, *, fitted: bool = False
    ) -> None:
        self._ledger, self.number, self._journal = ledger, number, journal
        self.fitted = fitted
        self._begun = self._closed = False

    @classmethod
    def make(
        cls,
        ledger: Ledger,
        cohort: str,
        event: DpEvent,
        *,
        purpose: str,
        run: str,
        answers: Path | None = None,
        unit: LedgerUnit | None = None,
        saved: str = "",
    ) -> Reservation:
        """Reserve an event, or find the reservation of a run that is resumed.

        Guarantee:
            At most one fit draws noise under a reservation. A reservation that is committed draws nothing
            more; where its model is lost and its noise was not stored, another one is made and charged.

        Args:
            ledger: the organisation's.
            cohort: name of an open cohort.
            event: what the plan will spend.
            purpose: what for.
            run: the run's identifier.
            answers: file of the stored answers; None keeps none.
            unit: the privacy unit of the event.
            saved: digest of the model that lies in the run's folder; empty if there is none.

        Raises:
            BudgetExceeded: the cap would be exceeded; no record was read.
            DataError: noise was drawn under a reservation that the ledger does not hold (it was replaced or
                rolled back), the stored answers are damaged, or they are an older copy.
            ConfigError: the stored answers belong to another plan, or the unit does not compose.
        """
        if answers is None:
            return cls(ledger, ledger.reserve(cohort, event, purpose=purpose, run=run, unit=unit))
        journal = Journal(answers)
        try:
            found = _current(ledger, journal, event, saved)
            journal = found.journal
            number = found.number
            if number is None:
                what = purpose + found.why
                number = ledger.reserve(cohort, event, purpose=what, run=run, key=journal.id, unit=unit)
            journal.announce = functools.partial(ledger.count, number)
            if found.fitted or ledger.status(number) == "commit":
                journal.freeze()
            elif journal.lost is not None:
                again = f"{purpose}, query {journal.lost.seq} again"
                paid = _pay_again(ledger, cohort, event, journal.lost, purpose=again, run=run, unit=unit)
                journal.pay(paid, ledger.position(number))
        except BaseException:
            journal.close()
            raise
        return cls(ledger, number, journal, fitted=found.fitted)

    @contextlib.contextmanager
    def unread(self) -> Iterator[None]:
        """Read real records inside; if they are refused before any noise was drawn, the spend is void."""
        try:
            yield
        except Exception:  # a defect of ours too: what was not drawn from must not stay booked
            if not self._begun and (self._journal is None or not self._journal.drawn):
                with contextlib.suppress(SynthgenError):  # the ledger refuses to void what was drawn from
                    self._ledger.void(self.number, "the data were refused before any noise was drawn")
            raise

    def bind(self, plan: PrivacyPlan, data: str) -> None:
        """Say which plan and data the stored answers belong to, or check it.

        Raises:
            ConfigError: they are others than those of the stored answers.
        """
        if self._journal is not None:
            self._journal.bind(_plan_digest(plan), data)

    def noise(self, source: NoiseSource) -> NoiseSource:
        """Return a source to draw from; before its first draw it calls `begin`."""
        return JournaledNoise(source, self._journal, self.begin)

    def begin(self) -> None:
        """Record that noise may be drawn from now on: the reservation can no longer be voided.

        Raises:
            SynthgenError: the reservation is committed: it draws no more noise.
        """
        if self._closed:
            raise SynthgenError("Expected no noise after the commit of a reservation, got a draw.")
        if self._begun:
            return
        if self._journal is None or not self._journal.frozen:  # else all is stored
            self._ledger.draw(self.number, counted=self._journal is not None)
        self._begun = True

    def finish(self, model: str) -> None:
        """Record the digest of the saved model before the commit: a run that is killed in between uses it."""
        if self._journal is not None and not self._journal.frozen:
            self._journal.finish(model)

    def commit(self, detail: Mapping[str, Any]) -> None:
        """Record that the spend was made, and what was paid for again with it. Nothing is drawn after it.

        Args:
            detail: JSON values, and no patient's; a fit's ``model`` is the digest of the model that was
                saved.
        """
        again = set(self._ledger.keyed(self._journal.id).values()) if self._journal else set()
        for number in sorted(again - {self.number}):
            if self._ledger.status(number) == "open":
                self._ledger.commit(number, detail=detail)
        if self._journal is None or self._ledger.status(self.number) != "commit":
            self._ledger.commit(self.number, detail=detail)
        elif detail.get("model") not in (None, *self._ledger.models(self.number)):
            self._ledger.note_model(self.number, str(detail["model"]))
        self._closed = True

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the journal; what is not committed stays booked."""
        if self._journal is not None:
            self._journal.close()


@dataclass(frozen=True)
class _Found:
    """The journal to go on with, its reservation (None: one has to be made, and why), and its saved model."""

    journal: Journal
    number: int | None
    fitted: bool = False
    why: str = ""


def _current(ledger: Ledger, journal: Journal, event: DpEvent, saved: str) -> _Found:
    """Find what a journal's reservation allows; a new journal where the old one allows nothing more."""
    number = ledger.keyed(journal.id).get(journal.id)
    if number is None:
        if journal.drawn:
            raise DataError(
                "Expected this run's reservation in the ledger, found none, though noise was drawn under it.",
                where=str(journal.path),
                next_step="It was replaced or rolled back: restore it, and verify it with a bundle's head.",
            )
        return _Found(journal, None)
    status = ledger.status(number)
    if status in ("void", "write-off"):
        return _Found(journal.set_aside(), None)
    entry = next(entry for entry in ledger.entries() if entry.seq == number)
    if entry.content["event"] != to_json(event):
        raise ConfigError(
            "Expected the plan that the stored answers came from, found another.", where=str(journal.path)
        )
    finished = ledger.models(number) if status == "commit" else {journal.model}
    if saved and saved in finished:
        return _Found(journal, number, fitted=True)
    _require_position(ledger, number, journal, is_open=status == "open")
    if not journal.given_up:
        return _Found(journal, number)
    if status == "open":
        ledger.write_off(number, "resumed as a new fit, which is charged in full: its noise was not kept")
        return _Found(journal.set_aside(), None)
    return _Found(
        journal.set_aside(), None, why=f" again, since the model of entry {number} is missing or altered"
    )


def _require_position(ledger: Ledger, number: int, journal: Journal, *, is_open: bool) -> None:
    """Check that a journal has announced exactly the draws that the ledger has counted.

    One more may be announced and not yet counted: the process died in between, before the draw. It is
    counted now.

    Raises:
        DataError: the journal is an older copy, or the ledger was rolled back.
    """
    at = ledger.position(number) or Position()
    if journal.position == at:
        if journal.torn:
            journal.forget_torn()
        return
    if is_open and journal.pending and journal.before == at and journal.position.counter == at.counter + 1:
        ledger.count(number, at, journal.position)
        return
    if is_open and journal.torn and at.counter == journal.position.counter + 1:
        return  # the damaged line is what the ledger has counted: the whole plan is charged again
    older = journal.position.counter < at.counter
    found = (
        f"{journal.position.counter}: they were restored from an older copy."
        if older
        else "others: the answers or the ledger were restored from a copy."
    )
    raise DataError(
        f"Expected stored answers of all {at.counter} draws that the ledger has counted, found {found}",
        where=str(journal.path),
        next_step="Restore the newest files, or choose another --output: a new fit is a new spend.",
    )


def _pay_again(
    ledger: Ledger,
    cohort: str,
    event: DpEvent,
    lost: Lost,
    *,
    purpose: str,
    run: str,
    unit: LedgerUnit | None,
) -> int:
    cost = event if lost.rho is None else dp_event.ZCDpEvent(lost.rho)
    try:
        number = ledger.reserve(cohort, cost, purpose=purpose, run=run, key=lost.key, unit=unit)
    except BudgetExceeded as error:
        raise BudgetExceeded(
            f"Query {lost.seq} of this fit was drawn and its answer lost: to draw it again is a spend of its "
            f"own. {error.message}",
            where=error.where,
            next_step=error.next_step,
        ) from None
    if ledger.status(number) == "open":  # written off, it is paid for all the same
        ledger.draw(number)
    return number


def _plan_digest(plan: PrivacyPlan) -> str:
    content = [plan.generator, plan.unit, plan.max_records, plan.patients, to_json(plan.event)]
    text = json.dumps([*content, dict(plan.parameters)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class JournaledNoise(NoiseSource):
    """Noise under a reservation: the ledger knows before the first draw, and a journal keeps the answers.

    Answers drawn without `query` cost the whole plan if they are lost. Noise other than answers on integers
    is not kept; a run that drew any is charged in full when it is resumed.
    """

    def __init__(
        self, source: NoiseSource, journal: Journal | None, begin: Callable[[], None] = lambda: None
    ) -> None:
        self._source: Any = source
        self._journal, self._begin = journal, begin
        self.is_private = source.is_private
        self._asked: dict[str, Any] = {}

    @contextlib.contextmanager
    def query(self, rho: float, about: Sequence[Any]) -> Iterator[None]:
        """See `NoiseSource.query`."""
        text = json.dumps(about, separators=(",", ":"))
        short = text if len(text) <= 200 else hashlib.sha256(text.encode()).hexdigest()
        self._asked = {"rho": rho, "about": short}
        try:
            yield
        finally:
            self._asked = {}

    def _gaussian(self, values: Integers, sigma: float) -> Integers:
        query = {"draw": "gaussian", "answers": values.size, "sigma": float(sigma)}
        return self._kept(query, lambda: self._source._gaussian(values, sigma))

    def _select(self, lattice: Integers, epsilon: float, units: int) -> int:
        query = {"draw": "select", "answers": 1, "candidates": lattice.size, "epsilon": float(epsilon)}
        found = self._kept(
            {**query, "units": units},
            lambda: np.array([self._source._select(lattice, epsilon, units)], dtype=np.int64),
        )
        return int(found[0])

    def _kept(self, query: dict[str, Any], draw: Callable[[], Integers]) -> Integers:
        self._begin()
        return draw() if self._journal is None else self._journal.answer({**query, **self._asked}, draw)

    def _words(self, size: int) -> Any:
        return self._unkept()._words(size)

    def _normal(self, size: int) -> Any:
        return self._unkept()._normal(size)

    def _unkept(self) -> Any:
        """Return the source for secret draws that are no answers, such as the noise of gradients."""
        self._begin()
        if self._journal is not None:
            self._journal.give_up()
        return self._source
