"""How far each open reservation has drawn: a counter that only grows, beside the chain of rows.

Before each draw the counter of the reservation takes the number and the digest of the journal's line that
announces the draw (`synthgen.privacy.ledger.answer_journal`). An older copy of a journal lies behind the
counter and is refused, wherever it was restored to. The counter lives in one small row for each open
reservation, so that a draw costs one short transaction instead of reading the whole chain; closing the
reservation moves the last value into the chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synthgen.privacy.ledger.hash_chain import Problem


@dataclass(frozen=True)
class Position:
    """How far a journal has announced draws.

    Attributes:
        counter: number of draws that were announced.
        digest: digest of the journal up to the last announcement; empty before the first.
    """

    counter: int = 0
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the position as a closing row holds it."""
        return {"counter": self.counter, "digest": self.digest}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Position:
        """Return the position that a closing row holds.

        Raises:
            ValueError: the row holds no position.
        """
        counter, digest = content["counter"], content["digest"]
        if not (isinstance(counter, int) and counter >= 0 and isinstance(digest, str)):
            raise ValueError("it holds no count of draws")
        return cls(counter, digest)


@dataclass(frozen=True)
class DrawsRow:
    """A counter as the database gives it: any column may hold anything if somebody edited it."""

    entry: Any
    counter: Any
    journal: Any
    hash: Any

    @classmethod
    def make(cls, entry: int, position: Position, *, reservation: str) -> DrawsRow:
        """Return the row of a reservation whose own row has the hash ``reservation``."""
        return cls(entry, position.counter, position.digest, _hash(entry, position, reservation))

    @property
    def position(self) -> Position:
        """The position of a row that was checked."""
        return Position(self.counter, self.journal)


def problems_of_draws(
    draws: Iterable[DrawsRow], *, hashes: Mapping[int, str], expected: Iterable[int]
) -> list[Problem]:
    """Return counters that were edited, added or removed.

    Args:
        draws: all counters.
        hashes: hashes of the chain's rows, by number.
        expected: open reservations that have a counter.
    """
    found, waiting = [], set(expected)
    for row in draws:
        known = isinstance(row.entry, int) and row.entry in hashes
        intact = (
            known
            and isinstance(row.counter, int)
            and isinstance(row.journal, str)
            and row.hash == _hash(row.entry, row.position, hashes[row.entry])
        )
        if not intact:
            seq = row.entry if known else None
            found.append(Problem(seq, "the count of its draws was edited"))
        elif row.entry not in waiting:
            found.append(Problem(row.entry, "has a count of draws, though it is not an open reservation"))
        waiting.discard(row.entry)
    return found + [Problem(seq, "the count of its draws is missing") for seq in sorted(waiting)]


def _hash(entry: int, position: Position, reservation: str) -> str:
    text = json.dumps(["draws", entry, position.counter, position.digest, reservation], separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
