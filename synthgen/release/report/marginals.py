"""One-way marginals of a table over public cells, as the report draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthgen.schema.fields import Column, Kind
from synthgen.schema.schema import Schema

MOST_CELLS = 20


@dataclass(frozen=True)
class Marginal:
    """The shares of one column's cells; they and ``missing`` sum to 1.

    Attributes:
        column: the column's name.
        kind: how its values are held.
        labels: categories; empty for numbers.
        edges: bounds of the bins (days from origin for a date), one more than bins; empty for categories.
        shares: one a category or bin, of all records.
        missing: share of missing values.
        origin: ISO origin of a date.
    """

    column: str
    kind: Kind
    labels: tuple[str, ...]
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float
    origin: str = "1970-01-01"


def marginals(schema: Schema, frame: pd.DataFrame, weights: np.ndarray | None = None) -> tuple[Marginal, ...]:
    """Return the marginal of each modelled column.

    Args:
        schema: the public schema; its bounds and categories fix the cells.
        frame: canonical columns. If they are real, so is the result: for the internal edition only.
        weights: one a record, such as 1/k for a patient with k records; None weighs all alike.
    """
    weight = np.ones(len(frame)) if weights is None else np.asarray(weights, dtype=float)
    total = float(weight.sum()) or 1.0
    return tuple(_marginal(column, frame[column.name], weight / total) for column in schema.columns)


def _marginal(column: Column, values: pd.Series, weight: np.ndarray) -> Marginal:
    missing = float(weight[np.asarray(values.isna())].sum())
    if column.kind == "category":
        codes = pd.Categorical(values, categories=list(column.labels)).codes
        shares = np.bincount(codes[codes >= 0], weights=weight[codes >= 0], minlength=len(column.labels))
        labels = tuple(str(label) for label in column.labels)
        if column.field.type == "boolean":
            labels = (column.field.false_values[0], column.field.true_values[0])
        return Marginal(column.name, column.kind, labels, (), tuple(shares.tolist()), missing)
    edges = _edges(column)
    numbers = values.to_numpy(dtype=float)
    known = np.isfinite(numbers)
    shares, _ = np.histogram(np.clip(numbers[known], edges[0], edges[-1]), bins=edges, weights=weight[known])
    return Marginal(
        column.name,
        "date" if column.field.type == "datetime" and column.field.since is None else column.kind,
        (),
        tuple(edges.tolist()),
        tuple(shares.tolist()),
        missing,
        column.field.origin,
    )


def _edges(column: Column) -> np.ndarray:
    """Return equal-width bins between the public bounds; whole numbers are never cut apart."""
    low, high = column.minimum, column.maximum
    if column.kind == "number":
        return np.linspace(low, high, MOST_CELLS + 1)
    width = max(1, int(np.ceil((high - low + 1) / MOST_CELLS)))
    return np.arange(low - 0.5, high + 0.5 + width, width)
