"""Turn a reader's conditions into allowed cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.encode.table import Encoder, Grid
from synthgen.errors import ConfigError
from synthgen.generators.compression import Compression
from synthgen.schema.schema import Column, Schema


@dataclass(frozen=True)
class Condition:
    """What a column's drawn values must keep to.

    Attributes:
        column: the column's name.
        cells: boolean array, the allowed fine cells.
        interval: for a number, the closed interval of allowed values.
    """

    column: str
    cells: np.ndarray
    interval: tuple[float, float] | None = None


def conditions(schema: Schema, encoder: Encoder, where: Mapping[str, Any]) -> dict[str, Condition]:
    """Return a condition for each named column.

    Raises:
        ConfigError: unknown column, or a value outside the column's public domain.
    """
    return {name: _condition(encoder.grids[schema.column(name).name], value) for name, value in where.items()}


def chance_of(condition: Condition, merging: Compression) -> np.ndarray:
    """Return for each coarse cell of the condition's column the chance to keep to it."""
    held = np.bincount(merging.coarse, weights=np.where(condition.cells, merging.share, 0.0))
    if held.any():
        return held
    # No mass inside the coarse cell is on an allowed fine one, which is noise: spread it evenly.
    return np.bincount(merging.coarse, weights=condition.cells.astype(float))


def _condition(grid: Grid, value: Any) -> Condition:
    name = grid.column.name
    if value is None:
        if grid.missing is None:
            raise ConfigError(f"Column {name!r} is never missing.", next_step="Drop the condition.")
        return Condition(name, np.arange(grid.n_cells) == grid.missing)
    if not grid.edges:
        wanted = list(value) if isinstance(value, (list, tuple, set)) else [value]
        return Condition(name, _labels(grid, wanted))
    low, high = (
        (value[0], value[1]) if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    )
    interval = (_number(grid, low), _number(grid, high, upper=True))
    cells = grid.touches(*interval)
    if not cells.any():
        raise ConfigError(
            f"Column {name!r}: expected values within its public bounds.",
            next_step="See the schema's constraints.",
        )
    return Condition(name, cells, interval)


def known_label(column: Column, value: Any) -> str | None:
    """Return the category that a value names, as text, or None: ``F`` as such, ``yes`` by trueValues."""
    known = {_text(label) for label in column.labels}
    text, field = _text(value), column.field
    if field.type == "boolean":
        words = {**dict.fromkeys(field.true_values, "true"), **dict.fromkeys(field.false_values, "false")}
        text = words.get(text, text.lower())
    return text if text in known else None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _labels(grid: Grid, wanted: list[Any]) -> np.ndarray:
    """Compare by text, so that a command line's ``sex=F`` or ``flag=true`` finds its category."""
    texts = [known_label(grid.column, value) for value in wanted]
    known = [_text(label) for label in grid.column.labels]
    if None in texts:
        raise ConfigError(
            f"Column {grid.column.name!r}: {texts.count(None)} of the values asked for are no category.",
            next_step=f"Choose from {known[:20]}.",
        )
    return np.array([label in texts for label in known] + [False] * int(grid.column.nullable))


def _number(grid: Grid, value: Any, *, upper: bool = False) -> float:
    field = grid.column.field
    try:
        if field.is_moment and field.since is None and isinstance(value, str):
            try:
                return field.times.bound(value, upper=upper)
            except ValueError:
                read = float(field.times.read(pd.Series([value], dtype=object))[0])
                if np.isnan(read):
                    raise
                return read
        return float(value)
    except (TypeError, ValueError):
        counted = f" of days since {field.since!r}" if field.since is not None else ""
        raise ConfigError(
            f"Column {grid.column.name!r}: expected a number{counted}, got text.",
            next_step="Write a number with a decimal point, or an interval such as 1.5..20.",
        ) from None
