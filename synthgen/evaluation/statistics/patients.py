"""Draw and resample patients, never single records: a patient's records belong together.

A synthetic row stands for one record of a random patient. What it is compared with is drawn in the
same way, so that an independent real sample differs from it by chance alone. Of linked records a synthetic
patient has several rows, of which `one_row_each` takes one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from synthgen.data.images import RealImages
from synthgen.data.tables import RealTable, SyntheticTable


def one_record_each(table: RealTable, n_patients: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Return one random record of each of ``n_patients`` random patients: what a synthetic row stands for."""
    codes, _ = table.unit_codes()
    shuffled = rng.permutation(len(codes))
    _, first = np.unique(codes[shuffled], return_index=True)
    rows = rng.permutation(shuffled[first])[:n_patients]
    return table.frame.iloc[rows].reset_index(drop=True)


def one_row_each(table: SyntheticTable, *, rng: np.random.Generator) -> SyntheticTable:
    """Return one random row of each synthetic patient of linked records; any other table as it is."""
    if table.units is None or not table.schema.unit.is_linked:
        return table
    shuffled = rng.permutation(len(table))
    _, first = np.unique(table.units[shuffled], return_index=True)
    rows = rng.permutation(shuffled[first])
    return SyntheticTable(table.schema, table.frame.iloc[rows].reset_index(drop=True))


def together(first: RealTable, second: RealTable) -> RealTable:
    """Return the records of two tables of different patients, of the same kind."""
    frame = pd.concat([first.frame, second.frame], ignore_index=True)
    units = np.concatenate([first.units, second.units])
    if isinstance(first, RealImages) and isinstance(second, RealImages):
        return replace(first, frame=frame, units=units, pixels=np.concatenate([first.pixels, second.pixels]))
    return replace(first, frame=frame, units=units)


def sample_patients(table: RealTable, n_patients: int, *, rng: np.random.Generator) -> RealTable:
    """Return all records of at most ``n_patients`` random patients."""
    codes, n_units = table.unit_codes()
    if n_units <= n_patients:
        return table
    chosen = np.zeros(n_units, dtype=bool)
    chosen[rng.permutation(n_units)[:n_patients]] = True
    return table.select(chosen[codes])


def sample_rows(frame: pd.DataFrame, n_rows: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Return at most ``n_rows`` random rows."""
    if len(frame) <= n_rows:
        return frame
    return frame.iloc[rng.permutation(len(frame))[:n_rows]].reset_index(drop=True)


def multiplicities(n_units: int, n_draws: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return how often each bootstrap draw holds each unit; the first draw is the data itself.

    Returns:
        ``(1 + n_draws, unit)`` float64; each row sums to ``n_units``.
    """
    drawn = rng.multinomial(n_units, np.full(n_units, 1.0 / n_units), size=n_draws)
    return np.concatenate([np.ones((1, n_units)), drawn.astype(float)])


def half_samples(n_units: int, n_splits: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return which units each half of random splits holds; the first row is the data itself.

    Returns:
        ``(1 + 2 n_splits, unit)`` float64 of 0 and 1: all units, the first half of each split, then the
        other halves in the same order. Of an odd number of units one is left out of each split.
    """
    order = np.argsort(rng.random((n_splits, n_units)), axis=1)
    place = np.argsort(order, axis=1)
    size = n_units // 2
    first, other = place < size, (place >= size) & (place < 2 * size)
    return np.concatenate([np.ones((1, n_units)), first.astype(float), other.astype(float)])


def maximum_by_patient(scores: np.ndarray, codes: np.ndarray, n_units: int) -> np.ndarray:
    """Return the largest score among each patient's records."""
    best = np.full(n_units, -np.inf)
    np.maximum.at(best, codes, scores)
    return best
