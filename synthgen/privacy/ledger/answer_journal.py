"""Keep each noised answer on disk, so that a run that was killed goes on without drawing it again.

One file of lines. A query first writes, and forces to disk, what it is about to draw and what that costs
(an intent); then the ledger counts it; then the noise is drawn; then the answer is stored. A resumed run
makes the same queries in the same order and receives the stored answers. An intent without its answer was
drawn, perhaps, and lost: its cost is reserved in the ledger again before it is drawn again
(`synthgen.privacy.ledger.reservation`). A signal such as Ctrl-C waits for the answer; a crash does not.

Each line carries a hash of itself and all before it. A last line that was cut short counts as not
written; any other damage is refused. The file holds no exact count, yet it stays in ``internal`` and its
owner alone can read it: of a histogram with a threshold it has what the threshold hides.

Each announced draw has a number, and the ledger holds the last number with the digest of its line
(`synthgen.privacy.ledger.ledger.Ledger.count`). A copy that was restored, in place or elsewhere, lies behind
that number if anything was drawn since, and is refused. Not seen is a ledger that was put back together with
it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.errors import ConfigError, DataError, OperationError, SynthgenError
from synthgen.files import json_file
from synthgen.files.safe_files import open_in_place, rename, sync_folder
from synthgen.privacy.deferred_signals import signals_wait
from synthgen.privacy.ledger.draw_counter import Position
from synthgen.privacy.noise import Integers

FORMAT = 2
_NEW_FIT = "Choose another --output: a new fit is a new spend."


@dataclass(frozen=True)
class Lost:
    """A query that was announced and has no stored answer: it was drawn, as far as anybody knows.

    Attributes:
        seq: number of the query.
        attempt: which of its draws was lost; 0 if even the announcement is damaged.
        rho: its cost in zCDP; None if unknown, and then the whole plan is the cost.
        key: the name under which the ledger books the next draw, once.
    """

    seq: int
    attempt: int
    rho: float | None
    key: str


class Journal:
    """The stored answers of one fit, open in one process at a time.

    Attributes:
        id: random name of the journal, and key of its reservation.
        queries: what was announced, one a query, the latest attempt.
        stored: the answers, in the order of the queries.
        lost: the query that has to be paid for again, or None.
        given_up: noise was drawn that is not kept, so that the fit cannot go on from here.
        model: digest of the model that came of the answers and was saved; empty until then.
        position: number and digest of the last announced draw.
        before: the position before it, as the ledger must have had it.
        pending: the last announced draw has no result in this file.
        announce: moves the ledger from one position to the next, before each draw.
    """

    def __init__(self, path: Path) -> None:
        """Open a journal, or begin one.

        Raises:
            OperationError: another process has it open, or the disk refused.
            DataError: the file is damaged.
            ConfigError: the file is of another version.
        """
        self.path, self.id, self._digest = path, "", ""
        self.model, self.pending = "", False
        self.position, self.before = Position(), Position()
        self.announce: Callable[[Position, Position], None] = lambda before, after: None
        self.queries: list[dict[str, Any]] = []
        self.stored: list[Integers] = []
        self.lost: Lost | None = None
        self.given_up = False
        self._bound: dict[str, Any] | None = None
        self._next, self._frozen, self._paid, self._good = 0, False, 0, 0
        try:
            self._file = open_in_place(path)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise OperationError(
                "Expected to be the only process at this run, another one is at it.",
                where=str(path.parent.parent),
            ) from None
        except OSError as error:
            raise OperationError.of(error, "open the stored answers", where=str(path)) from None
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    @property
    def drawn(self) -> bool:
        """Whether noise may have been drawn."""
        return bool(self.queries) or self.lost is not None or self.given_up

    @property
    def torn(self) -> bool:
        """Whether the file ends in a damaged line that may have announced a draw."""
        return self.lost is not None and self.lost.attempt == 0

    @property
    def frozen(self) -> bool:
        """Whether the fit is finished."""
        return self._frozen

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def set_aside(self) -> Journal:
        """Keep the file under another name, for the record, and begin a new one."""
        self.close()
        rename(self.path, f"{self.path.name}.{self.id[:8]}.closed")
        return Journal(self.path)

    def bind(self, plan: str, data: str) -> None:
        """Say which plan and data the answers belong to, the first time; check it later.

        Args:
            plan: digest of the plan.
            data: digest of the table's file.

        Raises:
            ConfigError: they are not those of the stored answers.
        """
        wanted = {"kind": "bind", "plan": plan, "data": data}
        if self._bound is None:
            self._append(wanted)
        elif self._bound != wanted:
            changed = "data" if self._bound["data"] != data else "plan"
            raise ConfigError(
                f"Expected the {changed} that the stored answers came from, found changed {changed}.",
                where=str(self.path),
                next_step=_NEW_FIT,
            )

    def freeze(self) -> None:
        """Allow no new draw, of any kind: the fit is finished, and what is stored is all there will be."""
        self._frozen = True

    def forget_torn(self) -> None:
        """Drop a damaged last line that announced nothing, since the ledger has counted no draw for it."""
        if self.torn:
            os.ftruncate(self._file, self._good)
            self.lost = None

    def pay(self, reservation: int, at: Position | None = None) -> None:
        """Name the reservation that pays for the next draw of the lost query.

        Args:
            reservation: number of its entry.
            at: position of the ledger, where a damaged line hides the last announcement.
        """
        if self.torn:  # only now may the damaged line go
            at = at or self.position
            os.ftruncate(self._file, self._good)
            self._announce({"kind": "torn", "reservation": reservation, "after": at.digest}, at)
        self._paid = reservation

    def give_up(self) -> None:
        """Record, before it happens, that noise is drawn that is not kept.

        Raises:
            SynthgenError: the fit is finished: it draws no more noise.
        """
        self._require_open("noise that is not kept")
        if not self.given_up:
            self._announce({"kind": "unkept"}, self.position)

    def finish(self, model: str) -> None:
        """Record the digest of the model that was saved, so that it is used and not fitted again."""
        self._append({"kind": "model", "digest": model})

    def answer(self, query: dict[str, Any], draw: Callable[[], Integers]) -> Integers:
        """Return the stored answer of a query; or announce it, draw, and store.

        Args:
            query: public description, JSON values.
            draw: draws the answer, a vector of integers.

        Raises:
            ConfigError: the query is not the one that was stored at this place.
            OperationError: the disk refused; nothing was drawn, or it counts as lost.
        """
        seq = self._next
        if seq < len(self.queries) and not _same(self.queries[seq]["query"], query):
            raise ConfigError(
                f"Expected query {seq + 1} to be the one whose answer is stored, got another.",
                where=str(self.path),
                next_step=f"Resume with the version and machine that began. {_NEW_FIT}",
            )
        if seq < len(self.stored):
            self._next += 1
            return self.stored[seq].copy()
        attempt = self.queries[seq]["attempt"] + 1 if seq < len(self.queries) else 1
        self._require_open(f"query {seq + 1}")
        if self._bound is None or (self.lost is not None and not self._paid):
            raise SynthgenError(f"Expected query {seq + 1} to be bound and paid for before it is drawn.")
        paid = {"reservation": self._paid} if self._paid else {}
        intent = {"kind": "intent", "seq": seq + 1, "attempt": attempt, "query": query, **paid}
        with signals_wait():
            self._announce(intent, self.position)
            self._paid, self._next = 0, seq + 1
            values = draw()
            self._append({"kind": "answer", "seq": seq + 1, "values": _encoded(values)})
        return self.stored[seq].copy()

    def _require_open(self, what: str) -> None:
        if self._frozen:
            raise ConfigError(
                f"Expected a finished fit to draw no more noise, got {what}.",
                where=str(self.path),
                next_step=_NEW_FIT,
            )

    def _announce(self, record: dict[str, Any], before: Position) -> None:
        """Store what is about to be drawn, and let the ledger count it."""
        self._append({**record, "count": before.counter + 1})
        self.announce(before, self.position)

    def _append(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
        line = f"{_chained(self._digest, text)} {text}\n".encode()
        before = os.fstat(self._file).st_size
        try:
            done = 0
            while done < len(line):
                done += os.write(self._file, line[done:])
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise OperationError.of(error, "store a step of the fit", where=str(self.path)) from None
        self._take(text)

    def _take(self, text: str) -> None:
        """Take a record that is on disk into account."""
        record = json_file.parse(text)
        kind = record["kind"]
        if kind == "journal":
            self.id = record["id"]
        elif kind == "bind":
            self._bound = record
        elif kind == "unkept":
            self.given_up = True
        elif kind == "intent":
            self.queries[record["seq"] - 1 :] = [record]
            key = f"{self.id}:{record['seq']}.{record['attempt'] + 1}"
            self.lost = Lost(record["seq"], record["attempt"], record["query"].get("rho"), key)
        else:
            if kind == "answer":
                self.stored.append(_decoded(record["values"]))
            self.lost = None
        self._digest = _chained(self._digest, text)
        if kind == "model":
            self.model = record["digest"]
        if "count" in record:
            count = record["count"]
            self.before = Position(count - 1, record.get("after", self.position.digest))
            self.position, self.pending = Position(count, self._digest), True
        elif kind in ("answer", "model"):
            self.pending = False

    def _read(self) -> None:
        *lines, tail = os.pread(self._file, os.fstat(self._file).st_size, 0).split(b"\n")
        for number, line in enumerate(lines, start=1):
            digest, _, text = line.decode("utf-8", "replace").partition(" ")
            if digest != _chained(self._digest, text):
                if number < len(lines) or tail or number == 1:
                    raise self._damaged(number)
                tail = line
                break
            with self._readable(number):
                self._take(text)
                if number == 1:
                    self._require_own(json_file.parse(text))
            self._good += len(line) + 1
        if tail:
            with self._readable(len(lines) + 1):
                self._cut(tail)
        if not self.id:
            header = {"format": FORMAT, "id": secrets.token_hex(16)}
            self._append({"kind": "journal", **header})
            sync_folder(self.path.parent)

    @contextlib.contextmanager
    def _readable(self, line: int) -> Iterator[None]:
        """Refuse a line of the right hash that says what no journal says: the hash needs no secret."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            raise self._damaged(line) from None

    def _require_own(self, header: dict[str, Any]) -> None:
        if header["format"] != FORMAT:
            raise ConfigError(
                f"Expected stored answers of format {FORMAT}, found those of another version.",
                where=str(self.path),
                next_step=_NEW_FIT,
            )

    def _cut(self, tail: bytes) -> None:
        """Drop a last line that was cut short, or find out what it may have cost.

        One that is longer than the answer (or the binding) that was due hides something: it is damage.
        """
        if self.lost is not None:
            due = 4 * (8 * self.queries[-1]["query"]["answers"] // 3 + 1) + 200
        elif self._bound is None:
            due = 400
        else:  # a query was due: whether it was drawn, and what it cost, nobody can tell
            seq = len(self.queries) + 1
            self.lost = Lost(seq, 0, None, f"{self.id}:{seq}.torn{self._good}")
            return
        if len(tail) > due:
            raise self._damaged(len(self.queries) + len(self.stored) + 2)
        os.ftruncate(self._file, self._good)

    def _damaged(self, line: int) -> DataError:
        return DataError(
            f"Expected intact stored answers, found line {line} damaged.",
            where=str(self.path),
            next_step=f"Check the disk. {_NEW_FIT}",
        )


def _same(stored: dict[str, Any], query: dict[str, Any]) -> bool:
    """Whether two queries are the same, up to what another processor rounds otherwise."""
    if stored.keys() != query.keys():
        return False
    pairs = [(stored[name], query[name]) for name in stored]
    return all(
        math.isclose(a, b, rel_tol=1e-9) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in pairs
    )


def _chained(digest: str, text: str) -> str:
    return hashlib.sha256(f"{digest} {text}".encode("utf-8", "surrogatepass")).hexdigest()


def _encoded(values: Integers) -> str:
    return base64.b64encode(values.astype("<i8").tobytes()).decode()


def _decoded(text: str) -> Integers:
    return np.frombuffer(base64.b64decode(text), dtype="<i8").astype(np.int64)
