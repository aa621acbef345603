"""Take ids and dropped columns off a table, and refuse columns that are called like identifiers.

The patient's id goes on as the privacy unit alone: it decides what a patient may contribute, and is
never modelled, written or logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from synthgen.data.tables import require_columns, unit_texts
from synthgen.deidentify.identifier_names import kind_of
from synthgen.deidentify.identifier_values import find
from synthgen.errors import ConfigError, DataError
from synthgen.schema.schema import Schema


@dataclass(frozen=True)
class Removed:
    """A column that was taken off, for the evidence.

    Attributes:
        column: its name.
        reason: its role.
    """

    column: str
    reason: Literal["id", "drop"]


@dataclass(frozen=True)
class Stripped:
    """A table without its ids.

    Attributes:
        frame: raw modelled columns only, in the schema's order. Sensitive.
        units: the patient of each record as text, empty where it is blank; None for a row-level table.
            Sensitive.
        removed: the columns that were taken off. May be published.
    """

    frame: pd.DataFrame
    units: np.ndarray | None
    removed: tuple[Removed, ...]

    def __repr__(self) -> str:
        return f"Stripped(columns={len(self.frame.columns)}, removed={len(self.removed)})"


def strip(frame: pd.DataFrame, schema: Schema, *, where: str = "") -> Stripped:
    """Take off all columns that the schema gives the role id or drop.

    Args:
        frame: the raw table with exactly the schema's columns. Sensitive.
        schema: the table's public description.
        where: the table's path, for messages.

    Raises:
        ConfigError: a column is called like an identifier and has no role.
        DataError: a column is missing, or not in the schema; or its cells look like identifiers.
    """
    refuse_identifiers(schema)
    require_columns(frame.columns, schema, where=where)
    refuse_identifying_cells(frame, schema, where=where)
    unit = schema.unit.column
    units = None if unit is None else unit_texts(frame[unit], schema)
    removed = tuple(Removed(f.name, f.role) for f in schema.fields if f.role == "id" or f.role == "drop")
    return Stripped(frame[[column.name for column in schema.columns]], units, removed)


def refuse_identifiers(schema: Schema, *, where: str = "schema") -> None:
    """Refuse columns that are called like identifiers, unless the schema gives them a role by name.

    Args:
        schema: the table's public description.
        where: the schema's path, for the message.

    Raises:
        ConfigError: names every such column and what its name says.
    """
    kinds = {
        field.name: kind_of(field.name)
        for field in schema.fields
        if field.role is None and field.identifier is None
    }
    found = [f"{name!r} ({kind})" for name, kind in kinds.items() if kind]
    if found:
        raise ConfigError(
            f"Expected no column that identifies a person, got names that say so: {', '.join(found)}.",
            where=where,
            next_step="Give each `role: id` or `role: drop`; if it identifies nobody, `role: feature` and"
            " `identifier: false`.",
        )


def refuse_identifying_cells(frame: pd.DataFrame, schema: Schema, *, where: str = "") -> None:
    """Refuse modelled columns whose cells look like identifiers, unless `identifier: false` is said of them.

    Guarantee:
        None: whether this refuses depends on real records. It tells the steward alone, and nothing of what is
        released depends on it, since a refused table releases nothing.

    Args:
        frame: the raw table. Sensitive.
        schema: the table's public description.
        where: the table's path, for the message.

    Raises:
        DataError: names every such column, what its cells look like, and in how many records.
    """
    asked = [column.name for column in schema.columns if column.field.identifier is None]
    found = find(frame, asked, lambda name: schema.tokens(schema.column(name).field))
    if found:
        listed = "; ".join(f"column {one.column!r}: {one.cells} cells ({one.kind})" for one in found)
        raise DataError(
            f"Expected no cells that identify a person, got some: {listed}.",
            where=where,
            next_step="Set `role: drop`; or `identifier: false` where a person has checked that it is none.",
        )
