"""Linked records as histories: how many rows a patient has, and what follows what.

A patient's pairs of neighbouring rows weigh 1 in all, so that a long history counts as one patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable, SyntheticTable, history_order, places
from synthgen.evaluation.base import Estimate, Inputs
from synthgen.evaluation.features.design import cell_codes, n_cells
from synthgen.evaluation.statistics.intervals import from_halves
from synthgen.evaluation.statistics.tables import BLOCKS, Side
from synthgen.privacy.splits import first_records
from synthgen.schema.schema import Column, Schema

LAG_BINS = 10
MIN_PATIENTS = 50


@dataclass(frozen=True)
class Histories:
    """Records of patients, in order, each patient's first ``max_records``.

    Attributes:
        frame: canonical columns.
        owner: number of each record's patient, from 0.
        place: number of each record among its patient's, from 0.
    """

    frame: pd.DataFrame
    owner: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, table: RealTable | SyntheticTable) -> Histories:
        """Order a table; rows without a patient are patients of one row each."""
        units = np.arange(len(table)) if table.units is None else table.units
        order = history_order(table.frame, units, table.schema)
        codes = pd.factorize(units[order])[0].astype(np.int64)
        texts = np.asarray(codes.astype(str), dtype=object)
        kept = first_records(texts, max_records=table.schema.unit.max_records)
        frame = table.frame.iloc[order[kept]].reset_index(drop=True)
        return cls(frame, codes[kept], places(codes[kept]))

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return int(self.owner.max(initial=-1)) + 1

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each patient."""
        return np.bincount(self.owner, minlength=self.n_patients)

    def some(self, n_patients: int, *, rng: np.random.Generator) -> Histories:
        """Return all records of at most ``n_patients`` random patients."""
        return self.of_patients(rng.permutation(self.n_patients) < n_patients)

    def of_patients(self, chosen: np.ndarray) -> Histories:
        """Return all records of the patients where a boolean array, one a patient, is true."""
        rows = chosen[self.owner]
        owner = (np.cumsum(chosen) - 1)[self.owner[rows]]
        return Histories(self.frame[rows].reset_index(drop=True), owner, self.place[rows])

    def blocks(self, *, rng: np.random.Generator) -> np.ndarray:
        """Return a random block for each patient, which the bootstrap resamples whole."""
        return rng.permutation(self.n_patients) % BLOCKS


def length_side(histories: Histories, *, rng: np.random.Generator) -> Side:
    """Return the number of rows of each patient, as a cell from 0."""
    codes = (histories.lengths - 1)[:, None]
    return Side(codes, np.ones(len(codes)), histories.blocks(rng=rng))


def lagged_columns(schema: Schema) -> list[Column]:
    """Return the columns that may differ between a patient's rows, but for the time."""
    return [c for c in schema.columns if not c.field.static and c.name != schema.unit.order]


def pair_side(histories: Histories, schema: Schema, *, rng: np.random.Generator) -> Side:
    """Return pairs of neighbouring rows: each lagged column's cell before and after, then the gap's cell."""
    later = np.flatnonzero(histories.place > 0)
    owner = histories.owner[later]
    cells = []
    for column in lagged_columns(schema):
        codes = cell_codes(column, histories.frame[column.name], bins=LAG_BINS)
        cells += [codes[later - 1], codes[later]]
    if schema.unit.order is not None:
        cells.append(_gap_cells(schema.column(schema.unit.order), histories.frame, later))
    codes = np.column_stack(cells) if cells else np.zeros((len(later), 0), dtype=np.int64)
    weights = 1.0 / np.maximum(histories.lengths - 1, 1)[owner]
    return Side(codes, weights, histories.blocks(rng=rng)[owner])


def pair_sizes(schema: Schema) -> list[int]:
    """Return the number of cells of each column of `pair_side`."""
    sizes = [n_cells(column, bins=LAG_BINS) for column in lagged_columns(schema) for _ in range(2)]
    return sizes + ([2 * LAG_BINS] if schema.unit.order is not None else [])


def _gap_cells(time: Column, frame: pd.DataFrame, later: np.ndarray) -> np.ndarray:
    """Return the gap's cell, equal in the gap's logarithm up to the public span of time."""
    values = frame[time.name].to_numpy(float)
    share = np.log1p(np.maximum(values[later] - values[later - 1], 0.0)) / np.log1p(
        time.maximum - time.minimum
    )
    return np.asarray(np.clip(share * 2 * LAG_BINS, 0, 2 * LAG_BINS - 1), dtype=np.int64)


def sides_of(
    inputs: Inputs, *, rng: np.random.Generator, least_rows: int
) -> tuple[Mapping[str, Histories], int] | None:
    """Return the histories to compare: synthetic ones, as many of training patients, the holdout's.

    Args:
        inputs: see `Inputs`.
        rng: draws the samples.
        least_rows: patients with fewer rows say nothing and are left out.

    Returns:
        The histories by side, and the number of holdout patients; None if there are too few.
    """
    tables: dict[str, RealTable | SyntheticTable]
    tables = {"synthetic": inputs.synthetic, "ceiling": inputs.train, "holdout": inputs.holdout}
    sides = {}
    for name, table in tables.items():
        found = Histories.of(table)
        sides[name] = found.of_patients(found.lengths >= least_rows)
    n = min(sides["synthetic"].n_patients, sides["ceiling"].n_patients)
    if min(n, sides["holdout"].n_patients) < MIN_PATIENTS:
        return None
    for name in ("synthetic", "ceiling"):
        sides[name] = sides[name].some(n, rng=rng)
    return sides, sides["holdout"].n_patients


def estimates_of(table: np.ndarray, *, n: int) -> dict[str, Estimate]:
    """Return ``tvd``, ``ceiling`` and ``excess``, means over the cliques."""
    both = table.mean(axis=0)
    draws = {"tvd": both[0], "ceiling": both[1], "excess": both[0] - both[1]}
    return {
        key: from_halves(values, n=n, units=BLOCKS, positive=key != "excess") for key, values in draws.items()
    }
