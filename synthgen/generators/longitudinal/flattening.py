"""Linked records as a flat table that any table generator can fit: each row with what came before it.

A row of the flat table is a row of the patient with

* ``patient.rows``: how many rows the patient has, 1 to ``max_records``;
* ``patient.position``: ``first``, ``middle``, ``last``, or ``only``, so that a last event (death) is seen;
* ``patient.start`` and ``patient.gap``: the first row's time, and the time since the row before (0 at the
  first), in place of the column of time;
* ``previous.X``: the public cell of each column X in the row before, or that there is none.

Everything follows from the patient's own rows and the schema, and a patient has as many flat rows as rows.
So weights, sensitivity and plan of a flat table are those of any other, and ``patient.rows``, of which each
of a patient's k rows holds 1/k, is counted once a patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable, history_order, places
from synthgen.encode.table import Encoder, Grid
from synthgen.errors import ConfigError
from synthgen.privacy.splits import first_records
from synthgen.schema.fields import Column, Field
from synthgen.schema.schema import Schema

ROWS, POSITION, START, GAP = "patient.rows", "patient.position", "patient.start", "patient.gap"
PREVIOUS = "previous."
POSITIONS = ("only", "first", "middle", "last")
NONE = "none"
PREVIOUS_CELLS, PREVIOUS_LABELS = 40, 200
"""Public cells of what came before: of a number, and of a category; more labels share cells with their
neighbours in the public order."""


class FlatSchema(Schema):
    """The schema of a flat table.

    Attributes:
        links: pairs of columns whose joint distribution carries a patient from row to row; always measured.
        always_given: columns that are never drawn, only given.
    """

    links: tuple[tuple[str, str], ...] = ()
    always_given: tuple[str, ...] = ()


def links_of(schema: Schema) -> tuple[tuple[str, str], ...]:
    """Return the pairs that linked records need; none of another table."""
    return schema.links if isinstance(schema, FlatSchema) else ()


def given_of(schema: Schema) -> tuple[str, ...]:
    """Return the columns that are never drawn; none of another table."""
    return schema.always_given if isinstance(schema, FlatSchema) else ()


@dataclass(frozen=True)
class Layout:
    """How a schema's linked records lie in the flat table. Built from the schema alone.

    Attributes:
        schema: of the linked records.
    """

    schema: Schema

    @cached_property
    def varying(self) -> tuple[Column, ...]:
        """Columns that may differ between a patient's rows, but for the time."""
        return tuple(c for c in self._kept if not c.field.static)

    @cached_property
    def static(self) -> tuple[str, ...]:
        """Names of the columns that a patient's rows share."""
        return tuple(c.name for c in self._kept if c.field.static)

    @cached_property
    def time(self) -> Column | None:
        """The column of time, or None."""
        order = self.schema.unit.order
        return None if order is None else self.schema.column(order)

    @cached_property
    def flat(self) -> FlatSchema:
        """The flat table's schema.

        Raises:
            ConfigError: a column is called like one of the flat table's own.
        """
        added = [ROWS, POSITION, *((START, GAP) if self.time else ()), *map(_before, self.varying)]
        taken = sorted({field.name for field in self.schema.fields} & set(added))
        if taken:
            raise ConfigError(
                f"Expected other names than those that linked records need, got {taken}.",
                where="schema",
                next_step="Rename the columns.",
            )
        unit = {"column": self.schema.unit.column, "max_records": self.schema.unit.max_records}
        times = (*_times(self.time),) if self.time else ()
        before = [self._previous_field(column) for column in self.varying]
        fields = [field for field in self.schema.fields if field.name == self.schema.unit.column]
        fields += [*map(_plain, self._kept), *self._own_fields(), *times, *before]
        links = [(_before(column), column.name) for column in self.varying]
        links += [(ROWS, POSITION)] + ([(POSITION, GAP)] if times else [])
        links += [(POSITION, column.name) for column in self.varying if column.role == "label"]
        return FlatSchema.model_validate(
            {
                "unit": unit,
                "missingValues": self.schema.missing_values,
                "fields": tuple(fields),
                "rules": self._rules(),
                "links": tuple(links),
                "always_given": (POSITION, *map(_before, self.varying)),
            }
        )

    def flatten(self, table: RealTable) -> RealTable:
        """Return the flat table of real records.

        Guarantee:
            a patient's flat rows depend on that patient's rows alone, and there are at most
            ``max_records`` of them, whatever the table holds.

        Args:
            table: linked records in any order. Sensitive.
        """
        order = history_order(table.frame, table.units, self.schema)
        order = order[first_records(table.units[order], max_records=self.schema.unit.max_records)]
        frame, units = table.frame.iloc[order].reset_index(drop=True), table.units[order]
        place, n_rows = places(units), pd.Series(units).groupby(units, sort=False).transform("size")
        above = np.maximum(np.arange(len(frame)) - 1, 0)
        columns = {column.name: frame[column.name] for column in self._kept}
        columns |= self.where_it_stands(place, n_rows.to_numpy(np.int64))
        if self.time is not None:
            time = frame[self.time.name].to_numpy(float)
            columns[START] = pd.Series(time[np.arange(len(frame)) - place])
            columns[GAP] = pd.Series(np.where(place == 0, 0.0, time - time[above]))
        columns |= self.previous(frame.iloc[above].reset_index(drop=True), first=place == 0)
        return RealTable(self.flat, pd.DataFrame(columns), units)

    def where_it_stands(self, place: np.ndarray, n_rows: np.ndarray) -> dict[str, pd.Series]:
        """Return the columns of number and position, from a row's place (from 0) among so many."""
        last = np.where(place == n_rows - 1, 3, 2)
        codes = np.where(place == 0, np.where(n_rows == 1, 0, 1), last).astype(np.int64)
        positions = pd.Categorical.from_codes(codes, categories=pd.Index(list(POSITIONS)))
        return {ROWS: pd.Series(n_rows.astype(float)), POSITION: pd.Series(positions)}

    def previous(self, above: pd.DataFrame, *, first: np.ndarray) -> dict[str, pd.Series]:
        """Return the columns of what came before.

        Args:
            above: for each row the row before it; any row where there is none.
            first: where there is none.
        """
        return {_before(c): _cells(self._grids[c.name], above[c.name], first) for c in self.varying}

    @cached_property
    def _kept(self) -> tuple[Column, ...]:
        return tuple(c for c in self.schema.columns if c.name != self.schema.unit.order)

    @cached_property
    def _grids(self) -> Mapping[str, Grid]:
        return Encoder.of(self.schema, fine_cells=PREVIOUS_CELLS).grids

    def _own_fields(self) -> list[Field]:
        limits = {"minimum": 1, "maximum": self.schema.unit.max_records, "required": True}
        enum = {"enum": POSITIONS, "required": True}
        return [
            _field({"name": ROWS, "type": "integer", "scale": "linear", "constraints": limits}),
            _field({"name": POSITION, "type": "string", "constraints": enum}),
        ]

    def _previous_field(self, column: Column) -> Field:
        grid, name = self._grids[column.name], _before(column)
        if not grid.edges:
            enum = {"enum": tuple(_labels(grid)), "required": not column.nullable}
            return _field({"name": name, "type": "string", "constraints": enum})
        limits = {"minimum": 0, "maximum": grid.n_values, "required": not column.nullable}
        return _field({"name": name, "type": "integer", "scale": "linear", "constraints": limits})

    def _rules(self) -> tuple[str, ...]:
        """The hard rules of one row; those that speak of dates are left to what is drawn."""
        same = {c.name for c in self._kept if c.field.since is None}
        return tuple(rule.text for rule in self.schema.parsed_rules if rule.columns <= same)


def _before(column: Column) -> str:
    return PREVIOUS + column.name


def _field(content: dict[str, Any]) -> Field:
    return Field.model_validate({**content, "identifier": False, "missingValues": ()})


def _plain(column: Column) -> Field:
    """Return a column's field; days since another date are whole numbers here."""
    field = column.field
    if field.since is None:
        return field
    kept = {"name": field.name, "constraints": field.constraints, "role": field.role, "bins": field.bins}
    kind = "integer" if field.type == "date" else "number"
    return _field({**kept, "type": kind, "scale": field.scale, "static": field.static})


def _times(time: Column) -> tuple[Field, Field]:
    """Return the fields of start and gap; the gap's bounds follow from the public bounds of time."""
    field, span = time.field, time.maximum - time.minimum
    whole = time.kind != "number"
    limits = {"minimum": 0, "maximum": int(span) if whole else span, "required": True}
    gap = {"name": GAP, "type": "integer" if whole else "number", "constraints": limits}
    return field.model_copy(update={"name": START, "role": None}), _field(gap)


def _cells(grid: Grid, values: pd.Series, first: np.ndarray) -> pd.Series:
    """Return canonical values of a ``previous`` column: the cell, NaN if missing, or that there is none."""
    cells = grid.encode(values).astype(np.int64)
    missing = (cells == grid.missing) & ~first if grid.missing is not None else np.zeros(len(cells), bool)
    if not grid.edges:
        labels = _labels(grid)
        cells = np.where(first, len(labels) - 1, cells * (len(labels) - 1) // grid.n_values)
        codes = np.where(missing, -1, cells).astype(np.int64)
        return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(labels)))
    cells = np.where(first, grid.n_values, cells)
    return pd.Series(np.where(missing, np.nan, cells.astype(float)))


def _labels(grid: Grid) -> list[str]:
    """Return the labels of a ``previous`` column of a category, that there is none last."""
    return [f"v{i}" for i in range(min(grid.n_values, PREVIOUS_LABELS))] + [NONE]
