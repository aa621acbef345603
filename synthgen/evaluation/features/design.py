"""Turn canonical columns into cells, features and distances, by public rules alone.

Bounds and labels come from the schema, never from the records, so that real and synthetic tables
meet on one scale and an outlier cannot stretch it. A missing value is a cell of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from synthgen.schema.schema import Column, Schema

BINS = 20
GROUP_BINS = 5
WIDE = 64
"""Categories from which on a column gets a random code instead of one feature a label."""
CODE_LENGTH = 32


def n_cells(column: Column, *, bins: int = BINS) -> int:
    """Return the number of public cells of a column, the missing cell included."""
    if column.kind == "category":
        return len(column.labels) + 1
    return _n_bins(column, bins) + 1


def cell_codes(column: Column, values: pd.Series, *, bins: int = BINS) -> np.ndarray:
    """Return the public cell of each value: labels in their order, equal widths for numbers.

    Args:
        column: the public description.
        values: the canonical column.
        bins: cells between the bounds; an integer of fewer values has one cell a value.

    Returns:
        int64, one a record; the last cell, ``n_cells - 1``, holds the missing values. Numbers beyond
        the bounds fall into the outermost cells.
    """
    if column.kind == "category":
        codes = _label_codes(column, values)
        return np.where(codes < 0, len(column.labels), codes)
    count = _n_bins(column, bins)
    position = unit_scale(column, values, closed=column.kind != "integer")
    with np.errstate(invalid="ignore"):
        codes = np.clip(np.floor(position * count), 0, count - 1)
    return np.where(np.isnan(position), count, codes).astype(np.int64)


def unit_scale(column: Column, values: pd.Series, *, closed: bool = True) -> np.ndarray:
    """Return numbers as their place between the public bounds, 0 to 1; NaN stays.

    With ``closed`` false an integer's range ends one beyond its maximum, so that cells hold whole values.
    """
    width = column.maximum - column.minimum + (0.0 if closed else 1.0)
    return np.asarray((values.to_numpy(dtype=float) - column.minimum) / width)


def ordinal(schema: Schema, frame: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return features for trees, and which of them are categories.

    Returns:
        ``(record, column)`` float64: label numbers and public-scale numbers, NaN where missing; and a
        boolean a column.
    """
    columns = [schema.column(name) for name in names]
    matrix = np.empty((len(frame), len(columns)), dtype=float)
    for j, column in enumerate(columns):
        if column.kind == "category":
            codes = _label_codes(column, frame[column.name])
            matrix[:, j] = np.where(codes < 0, np.nan, codes)
        else:
            matrix[:, j] = unit_scale(column, frame[column.name])
    return matrix, np.array([column.kind == "category" for column in columns], dtype=bool)


def euclidean(schema: Schema, frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return coordinates whose squared distance is Gower-like: a sum over columns, each about 0 to 1.

    A number adds the square of its difference on the public scale, a different label adds 1, and a
    missing value lies at least 1 from any known one. Columns of more than ``WIDE`` labels get a fixed
    random code a label, whose squared distances are 1 on average, to bound the width.

    Returns:
        ``(record, feature)`` float32.

    Source: Gower (1971), Biometrics 27:857, in its squared form.
    """
    parts = [_coordinates(schema.column(name), frame[name]) for name in names]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(frame), 1), dtype=np.float32)


def group_codes(column: Column, values: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return each record's group of a protected column, and the groups' names (``sex=F``).

    Numbers fall into ``GROUP_BINS`` equal widths between the public bounds; missing is a group.
    """
    codes = cell_codes(column, values, bins=GROUP_BINS)
    words = [str(label) for label in column.labels] if column.kind == "category" else _ranges(column)
    return codes, [f"{column.name}={word}" for word in [*words, "missing"]]


def partitions(
    schema: Schema, frame: pd.DataFrame, names: Sequence[str]
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yield each record's group and the groups' names: by each column, then by each crossing of two.

    A crossing is named as ``sex=F & race=Black``.
    """
    single = [group_codes(schema.column(name), frame[name]) for name in names]
    yield from single
    for (codes1, names1), (codes2, names2) in combinations(single, 2):
        crossed = [f"{first} & {second}" for first in names1 for second in names2]
        yield codes1 * len(names2) + codes2, crossed


def _ranges(column: Column) -> list[str]:
    """Return the groups of a number in words; of an integer by the whole values that they hold."""
    count = _n_bins(column, GROUP_BINS)
    if column.kind != "integer":
        edges = np.linspace(column.minimum, column.maximum, count + 1)
        return [f"{low:g}..{high:g}" for low, high in pairwise(edges)]
    whole = np.ceil(np.linspace(column.minimum, column.maximum + 1, count + 1)).astype(int)
    return [f"{low}..{high - 1}" if high - low > 1 else f"{low}" for low, high in pairwise(whole)]


def _n_bins(column: Column, bins: int) -> int:
    if column.kind == "integer":
        return int(min(bins, column.maximum - column.minimum + 1))
    return bins


def _label_codes(column: Column, values: pd.Series) -> np.ndarray:
    """Return the place of each value among the public labels, -1 where missing."""
    labels = list(column.labels)
    if isinstance(values.dtype, pd.CategoricalDtype) and list(values.cat.categories) == labels:
        return values.cat.codes.to_numpy(dtype=np.int64)
    return pd.Categorical(values, categories=labels).codes.astype(np.int64)


def _coordinates(column: Column, values: pd.Series) -> np.ndarray:
    if column.kind != "category":
        place = unit_scale(column, values)
        missing = np.isnan(place)
        return np.column_stack([np.where(missing, 0.5, place), missing]).astype(np.float32)
    codes = cell_codes(column, values)
    if n_cells(column) > WIDE:
        signs = np.random.default_rng(len(column.labels)).choice([-1.0, 1.0], (n_cells(column), CODE_LENGTH))
        return np.asarray(signs[codes] / np.sqrt(2 * CODE_LENGTH), dtype=np.float32)
    matrix = np.zeros((len(values), n_cells(column)), dtype=np.float32)
    matrix[np.arange(len(values)), codes] = np.sqrt(0.5)
    return matrix
