"""The privacy unit of each spend, and whether spends with different units may be composed.

A cap is a promise to one kind of unit. Events that protect patients and events that protect single rows do
not compose: of a patient with ``k`` rows, a row-level event reveals what ``k`` such events reveal together,
and ``k`` has no bound where the schema names no patient. Such a mix is refused and never scaled by a guess.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from synthgen.errors import ConfigError


@dataclass(frozen=True)
class LedgerUnit:
    """The privacy unit of a reservation.

    Attributes:
        level: ``patient`` or ``row``.
        column: column that names the patient; None for rows.
        max_records: records of a unit that are used; None where an older version did not record it. It
            changes no composition: all of a patient's records are covered, whatever their number.
    """

    level: Literal["patient", "row"]
    column: str | None = None
    max_records: int | None = None

    def __post_init__(self) -> None:
        if self.level not in ("patient", "row") or (self.level == "row") != (self.column is None):
            raise ValueError(
                f"Expected a patient with a column or a row without one, got {self.level!r}, {self.column!r}."
            )
        if self.max_records is not None and not (isinstance(self.max_records, int) and self.max_records >= 1):
            raise ValueError(f"Expected max_records of at least 1, got {self.max_records!r}.")

    def to_json(self) -> dict[str, Any]:
        """Return the unit as the ledger's rows hold it."""
        return {"level": self.level, "column": self.column, "max_records": self.max_records}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LedgerUnit:
        """Return the unit that a row holds.

        Raises:
            ValueError: the row holds no unit.
        """
        return cls(content["level"], content["column"], content["max_records"])

    def __str__(self) -> str:
        return "row" if self.level == "row" else f"patient by column {self.column!r}"


def same_unit(a: LedgerUnit | None, b: LedgerUnit | None, joined: Iterable[Collection[str]] = ()) -> bool:
    """Whether events with these units compose to a guarantee for one unit.

    Guarantee:
        Both events are stated for the neighbours "add or remove one unit with all of its records", and the
        unit is the same one, so adaptive composition applies as it is, for every ``max_records``: a patient
        who comes or goes is one neighbour of each event. Two patient columns count as one unit if they have
        the same name, or if a steward declared that they name the same patients. A unit that was never
        recorded (None) is the same as itself alone: nothing proves that it is a patient.

    Args:
        a: unit of one event.
        b: unit of the other.
        joined: sets of columns that were declared to name the same patients.
    """
    if a is None or b is None or a.level != b.level:
        return a is b
    if a.level == "row" or a.column == b.column:
        return True
    reached = {a.column}
    sets = [set(columns) for columns in joined]
    while grown := {c for columns in sets if columns & reached for c in columns} - reached:
        reached |= grown
    return b.column in reached


def shown(unit: LedgerUnit | None) -> str:
    """Return a unit in words."""
    return "unit not recorded" if unit is None else f"unit {unit}"


def mixed(cohort: str, units: Collection[LedgerUnit | None]) -> ConfigError:
    """Return the error for spends whose units differ, with the way out of each kind of mix."""
    known = [unit for unit in units if unit is not None]
    levels = {unit.level for unit in known}
    if len(known) < len(units):
        step = (
            "Declare what older entries protect: `synthgen ledger unit COHORT --level patient --column "
            "COLUMN --reason REASON`, or --level row; it is recorded."
        )
    elif len(levels) > 1:
        step = (
            "A patient may have any number of rows, so the two have no common epsilon. Name the patient's "
            "column in the schema (unit: {column: ..., max_records: ...}) for the new fit, or release for a "
            "cohort that is proven to share no patient (`synthgen ledger open --disjoint-from`)."
        )
    else:
        step = (
            "If the columns name the same patients, record it: `synthgen ledger same-unit COLUMN COLUMN "
            "--reason REASON`. Otherwise use the column that the earlier releases use."
        )
    listed = " and ".join(shown(unit) for unit in units)
    return ConfigError(
        f"Expected spends of one privacy unit, got {listed}: they do not compose to one epsilon.",
        where=f"cohort {cohort}",
        next_step=step,
    )
