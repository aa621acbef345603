"""All real records on one side, all synthetic ones on the other: what a discrepancy is measured between.

Training patients and held-out ones are of one cohort. Where a figure asks how the synthetic records differ
from the cohort's, and not whether they know the training records, both stand for the cohort, and twice as
many patients leave half the variance. Figures are unbiased: 0 in expectation where the synthetic records are
those of other patients, at any number of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.memo import remembered
from synthgen.evaluation.statistics.patients import one_record_each, sample_rows
from synthgen.schema.schema import Column, Schema

MAX_ROWS = 20_000
SEED = 7
RARE = 0.02
"""Share of real records below which a category is counted with the other rare ones."""
QUANTILES = 5


@dataclass(frozen=True)
class Pooled:
    """One record of each patient, and as many synthetic ones at most.

    Attributes:
        schema: of both.
        real: records of training patients, then of held-out ones.
        trained: which of them are of training patients.
        synthetic: synthetic records.
    """

    schema: Schema
    real: pd.DataFrame
    trained: np.ndarray
    synthetic: pd.DataFrame

    @property
    def fewest(self) -> int:
        """Records of training patients, of held-out ones or synthetic ones, whichever are fewest."""
        n_train = int(self.trained.sum())
        return min(n_train, len(self.trained) - n_train, len(self.synthetic))


@remembered
def pooled(inputs: Inputs) -> Pooled:
    """Return both sides, drawn once while the inputs live; at most `MAX_ROWS` records each."""
    rng = np.random.default_rng(SEED)
    train, holdout = (
        one_record_each(part, MAX_ROWS // 2, rng=rng) for part in (inputs.train, inputs.holdout)
    )
    return Pooled(
        inputs.schema,
        pd.concat([train, holdout], ignore_index=True),
        np.arange(len(train) + len(holdout)) < len(train),
        sample_rows(inputs.synthetic.frame, MAX_ROWS, rng=rng),
    )


def codes_of(column: Column, values: pd.Series) -> np.ndarray:
    """Return a category's label number or a number as float64; missing is NaN."""
    if column.kind != "category":
        return values.to_numpy(dtype=float)
    if not isinstance(values.dtype, pd.CategoricalDtype):
        values = pd.Series(pd.Categorical(values, categories=list(column.labels)))
    codes = values.cat.codes.to_numpy().astype(float)
    return np.where(codes < 0, np.nan, codes)


def ranks(real: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the rank of numbers among real ones: share below and half of those equal, less .5; NaN stays.

    Example:
        >>> ranks(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0])).tolist()
        [-0.5, 0.0, 0.5]
    """
    known = np.sort(real[~np.isnan(real)])
    if not len(known):
        return np.where(np.isnan(values), np.nan, 0.0)
    below, upto = (np.searchsorted(known, values, side=side) for side in ("left", "right"))
    return np.where(np.isnan(values), np.nan, (below + upto) / (2 * len(known)) - 0.5)


def cells(
    column: Column, real: pd.Series, synthetic: pd.Series, *, rare: float = RARE, quantiles: int = QUANTILES
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return each record's cell, and the cells' names: categories that are not rare, a number's quantiles.

    Borders are quantiles of the real records, so that each cell holds patients enough; a value that
    a quantile's share of them have has a cell of its own, and so have missing values. Rare categories are one
    cell.
    """
    first, other = (codes_of(column, values) for values in (real, synthetic))
    known = first[~np.isnan(first)]
    if column.kind == "category":
        counts = np.bincount(known.astype(int), minlength=len(column.labels))
        common = counts >= rare * len(first)
        place = np.where(common, np.cumsum(common) - 1, common.sum())
        names = [str(label) for label, one in zip(column.labels, common, strict=True) if one]
        names.append("any other")
        parts = [place[np.nan_to_num(codes).astype(int)] for codes in (first, other)]
    else:
        edges = _edges(known, quantiles)
        parts = [np.searchsorted(edges, np.nan_to_num(codes), side="right") for codes in (first, other)]
        ends = [column.minimum, *edges, column.maximum]
        names = [f"{low:g}..{high:g}" for low, high in pairwise(ends)]
    found = [
        np.where(np.isnan(codes), len(names), part).astype(np.int64)
        for codes, part in zip((first, other), parts, strict=True)
    ]
    return found[0], found[1], [f"{column.name}={name}" for name in [*names, "missing"]]


def _edges(known: np.ndarray, quantiles: int) -> np.ndarray:
    """Return the borders of a number's cells: a cell holds border <= value < next border."""
    if not len(known):
        return np.empty(0)
    values, counts = np.unique(known, return_counts=True)
    inner = np.quantile(known, np.arange(1, quantiles) / quantiles, method="lower")
    heaps = np.flatnonzero(counts >= len(known) / quantiles)
    after = values[np.minimum(heaps + 1, len(values) - 1)]
    edges = np.unique(np.concatenate([inner, values[heaps], after]))
    return np.asarray(edges[edges > values[0]])
