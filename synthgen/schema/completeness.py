"""Which columns of a schema lack a confirmed public domain: all of them at once, each with what to do.

A person who reviews a draft of sixty columns should see sixty columns, not one a run. This module
looks at fields alone; it reads no file and no record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from synthgen.errors import ConfigError
from synthgen.printable import shell
from synthgen.schema.fields import Field, column_of, labels_of

UNCONFIRMED = "not confirmed as public; its domain was read from the data"
SHOWN = 20
"""At most so many columns of one kind are named in a message."""


@dataclass(frozen=True)
class Gap:
    """What keeps a column from having a confirmed public domain.

    Attributes:
        column: its name.
        kind: ``unconfirmed``: a domain that was read from the data waits for a person; ``domain``: bounds or
            categories are missing or contradict each other; ``unpaid``: only a fit can learn them.
        problem: what was expected and what was there.
        step: what to do.
    """

    column: str
    kind: Literal["unconfirmed", "domain", "unpaid"]
    problem: str
    step: str


def gaps(fields: Iterable[Field], *, unpaid: bool = False) -> tuple[Gap, ...]:
    """Return everything that is missing, in the file's order; a column can have several gaps.

    Args:
        fields: the schema's columns. Ids and dropped columns need no domain.
        unpaid: let a domain be missing that is still to be paid for.
    """
    modelled = [field for field in fields if field.role not in ("id", "drop")]
    return tuple(gap for field in modelled for gap in _of(field, unpaid=unpaid))


def _of(field: Field, *, unpaid: bool) -> list[Gap]:
    found = []
    if not field.confirmed:
        problem = "expected a confirmed domain; it was read from the data and is not confirmed as public."
        step = "Check it against a public source, then confirm it with `synthgen schema confirm`."
        found.append(Gap(field.name, "unconfirmed", problem, step))
    if field.unpaid:
        if not unpaid:
            problem = "its domain is to be paid for, and only a fit can do that."
            step = "Declare it from a public source, or use the schema that a fit has saved with its model."
            found.append(Gap(field.name, "unpaid", problem, step))
        return found
    domain = _domain(field)
    return [*found, *([] if domain is None else [Gap(field.name, "domain", *domain)])]


def _domain(field: Field) -> tuple[str, str] | None:
    """Return what bounds or categories lack, and what to do."""
    limits = field.constraints
    if field.type == "string" and not labels_of(field):
        return (
            "expected constraints.enum, found none.",
            "List its public categories, or set `categories: paid`, `codes: icd10` or `role: drop`.",
        )
    if not field.is_numeric:
        return None
    for key in ("minimum", "maximum") if field.type != "time" else ():
        if getattr(limits, key) is None:
            return (
                f"expected a public bound constraints.{key}, found none.",
                "Declare it from medical knowledge, not from the data, or set `role: drop`.",
            )
    column = column_of(field)
    low, high = (column.minimum, column.maximum) if column.per_unit is None else column.ends
    if not low < high:
        return (
            "expected constraints.minimum < constraints.maximum, got fewer than two values between them.",
            "Correct the bounds or the decimals; a column with a single value takes an enum of it.",
        )
    return None


def describe(found: Sequence[Gap], *, lines: Mapping[str, int], where: str) -> ConfigError:
    """Return the error that lists gaps.

    Args:
        found: at least one gap.
        lines: 1-based line of each column, as far as known.
        where: the schema's path.
    """
    first = lines.get(found[0].column)
    place = f"{where}:{first}" if first else where
    waiting = [gap.column for gap in found if gap.kind == "unconfirmed"]
    if len(found) == 1:
        step = confirm_step(where, waiting) if waiting else found[0].step
        return ConfigError(f"column {found[0].column!r}: {found[0].problem}", where=place, next_step=step)
    parts = []
    if waiting:
        parts.append(f"{len(waiting)} not confirmed as public: {_listed(waiting, lines)}")
    others = [gap for gap in found if gap.kind != "unconfirmed"]
    parts += [f"column {_placed(gap.column, lines)}: {gap.problem} {gap.step}" for gap in others[:SHOWN]]
    if len(others) > SHOWN:
        parts.append(f"and {len(others) - SHOWN} more")
    columns = len({gap.column for gap in found})
    return ConfigError(
        f"Expected a confirmed public domain in every column, got {columns} without:",
        where=place,
        next_step=confirm_step(where, waiting) if waiting else "Correct each, and run again.",
        details=parts,
    )


def confirm_step(schema: str, columns: Sequence[str]) -> str:
    """Return the command that confirms columns, once a person has reviewed them."""
    path = shell(schema)
    named = " ".join(shell(name) for name in columns)
    command = f"synthgen schema confirm {path} {named if len(columns) <= SHOWN else 'COLUMN...'}"
    every = f", or all of them: synthgen schema confirm {path} --all" if len(columns) > 1 else ""
    return f"Check each against a public source (its domain was read from patients), then: {command}{every}"


def _listed(columns: Sequence[str], lines: Mapping[str, int]) -> str:
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return ", ".join(_placed(name, lines) for name in columns[:SHOWN]) + more


def _placed(name: str, lines: Mapping[str, int]) -> str:
    return f"{name!r} (line {lines[name]})" if name in lines else repr(name)
