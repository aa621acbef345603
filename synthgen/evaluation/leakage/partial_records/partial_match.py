"""Leakage: do synthetic rows share more columns with training patients than with others, whichever they are?

A record need not be copied whole to give its patient away: half of its columns on a stranger's row, a block
of laboratory values, or columns swapped between patients do as well, and no distance over all columns sees
them. The attacker supposes that some row was made from a patient by keeping each column with probability
`KEPT` and drawing the others like anybody's, and asks how likely that is: a column that agrees counts by how
few patients agree in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.attacks import attack
from synthgen.evaluation.attacks.nonmembers import non_members
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.chunked_neighbours import chunks
from synthgen.evaluation.features.design import cell_codes, n_cells
from synthgen.evaluation.memo import remembered
from synthgen.evaluation.statistics.patients import sample_patients
from synthgen.schema.schema import Schema

MAX_PATIENTS = 4_000
KEPT = 0.2
"""Probability that a column is kept, and the least that agreement is worth; more counts whole copies only."""
CELLS = 32
"""Cells of a number, of as many patients each: two numbers agree if they fall into one."""
WIDEST = 64
"""Labels of a category up to which each has a feature; the rarer ones of a longer list share the last."""
CHUNK = (512, 8192)
NAME, TITLE = "leakage_partial_match", "Attack by parts of records"
ALL_ROWS = True
DEFINITION = (
    f"Score = log mean over synthetic rows of prod over columns of (1 - {KEPT} + {KEPT} / share of patients"
    " in the cell, if both agree in it) minus the same over other patients of training, holdout and"
    f" reference; cells are labels, and {CELLS} quantiles of a number. A patient's score is the largest of"
    " the records'. Members against all who are none; advantage by cross-fitted threshold (Newcombe), AUROC"
    " by DeLong, TPR by Wilson. The mixture of a record's kept and random columns is that of Fellegi and"
    " Sunter (1969), JASA 64:1183."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by columns that agree.

    Args:
        inputs: see `Inputs`.
        rng: splits patients in halves. Suspects have a fixed seed, so that attacks compare.

    Returns:
        See `synthgen.evaluation.attacks.attack.run`.
    """
    limits = {"patients": MAX_PATIENTS, "kept": KEPT, "cells": CELLS}
    return attack.report(
        inputs, scores(inputs), name=NAME, title=TITLE, definition=DEFINITION, limits=limits, rng=rng
    )


def expect(declared: Declared) -> MetricResult:
    """Return what the attack would find at a perfect generator."""
    return attack.expect(declared.pooled(), name=NAME, title=TITLE, definition=DEFINITION)


@remembered
def scores(inputs: Inputs) -> attack.Scores | None:
    """Return what the attack says of each patient, once while the inputs live."""
    if len(inputs.synthetic) == 0 or len(inputs.reference) == 0:
        return None
    rng = np.random.default_rng(attack.SEED)
    members = sample_patients(inputs.train, MAX_PATIENTS, rng=rng)
    others = sample_patients(non_members(inputs), MAX_PATIENTS, rng=rng)
    half = sample_patients(members, members.unit_codes()[1] // 2, rng=rng)
    suspects = attack.Suspects(members, others, half.frame)
    if not suspects.enough:
        return None
    cells = Cells(inputs.schema, pd.concat([members.frame, others.frame], ignore_index=True))
    weights, owners = cells.weights(), _owners(members, others)
    foreign = None if inputs.reference_of_cohort else cells.codes(inputs.reference.frame)
    rows = np.concatenate([cells.codes(chunk) for _, chunk in chunks(inputs.synthetic.frame)])
    real = _among_patients(cells, weights, owners, foreign, rng)
    drawn = log_sum(cells, weights, rows)

    def score(planted: pd.DataFrame, _: pd.DataFrame) -> np.ndarray:
        total, n = drawn, len(rows)
        if len(planted):
            total, n = np.logaddexp(drawn, log_sum(cells, weights, cells.codes(planted))), n + len(planted)
        return np.asarray(total - np.log(n) - real)

    return attack.score_of(suspects, score)


class Cells:
    """Columns cut into cells by the suspects' own quantiles, whoever of them is a member. Sensitive."""

    def __init__(self, schema: Schema, suspects: pd.DataFrame) -> None:
        self._schema = schema
        self._edges = {
            column.name: _edges(suspects[column.name].to_numpy(dtype=float))
            for column in schema.columns
            if column.kind != "category"
        }
        self._labels = {
            column.name: _common(cell_codes(column, suspects[column.name]), n_cells(column))
            for column in schema.columns
            if column.kind == "category"
        }
        self.sizes = [
            int(self._labels[column.name].max()) + 1
            if column.kind == "category"
            else len(self._edges[column.name]) + 2
            for column in schema.columns
        ]
        self.suspects = self.codes(suspects)

    def codes(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the cell of each value, ``(record, column)`` int32; a missing number has the last one."""
        codes = np.empty((len(frame), len(self._schema.columns)), dtype=np.int32)
        for j, column in enumerate(self._schema.columns):
            if column.kind == "category":
                codes[:, j] = self._labels[column.name][cell_codes(column, frame[column.name])]
            else:
                values = frame[column.name].to_numpy(dtype=float)
                place = np.searchsorted(self._edges[column.name], values, side="left")
                codes[:, j] = np.where(np.isnan(values), self.sizes[j] - 1, place)
        return codes

    def weights(self) -> np.ndarray:
        """Return what agreement is worth, ``(suspect, column)``: a log likelihood ratio."""
        weights = np.empty(self.suspects.shape)
        for j, size in enumerate(self.sizes):
            share = np.bincount(self.suspects[:, j], minlength=size) / len(self.suspects)
            weights[:, j] = np.log1p(KEPT / (1 - KEPT) / share[self.suspects[:, j]])
        return weights

    def features(self, codes: np.ndarray, values: np.ndarray | float = 1.0) -> np.ndarray:
        """Return one feature a cell, float32: the value in the record's own, else 0."""
        first = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        matrix = np.zeros((len(codes), int(sum(self.sizes))), dtype=np.float32)
        matrix[np.arange(len(codes))[:, None], codes + first] = values
        return matrix


def log_sum(cells: Cells, weights: np.ndarray, rows: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """Return the log of the summed likelihood ratios of rows, for each suspect.

    Args:
        cells: of the columns.
        weights: of `Cells.weights`.
        rows: cells of the rows.
        own: the row of each suspect that does not count; None counts all.
    """
    total = np.full(len(weights), -np.inf)
    for here, there, features in _blocks(cells, weights, rows):
        agreed = features @ there[1].T
        if own is not None:
            place = own[here] - there[0]
            inside = np.flatnonzero((place >= 0) & (place < agreed.shape[1]))
            agreed[inside, place[inside]] = -np.inf
        most = np.maximum(agreed.max(axis=1), -1.0)
        agreed -= most[:, None]
        np.exp(agreed, out=agreed)
        with np.errstate(divide="ignore"):
            total[here] = np.logaddexp(total[here], np.log(agreed.sum(axis=1, dtype=float)) + most)
    return total


def _blocks(
    cells: Cells, weights: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[slice, tuple[int, np.ndarray], np.ndarray]]:
    """Yield some suspects, the place and features of some rows, and the suspects' features."""
    for start in range(0, len(rows), CHUNK[1]):
        there = cells.features(rows[start : start + CHUNK[1]])
        for at in range(0, len(weights), CHUNK[0]):
            here = slice(at, at + CHUNK[0])
            yield here, (start, there), cells.features(cells.suspects[here], weights[here])


def _among_patients(
    cells: Cells,
    weights: np.ndarray,
    owners: np.ndarray,
    foreign: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the log of the mean likelihood ratio over one record of each other patient."""
    shuffled = rng.permutation(len(owners))
    _, first = np.unique(owners[shuffled], return_index=True)
    base = shuffled[first]
    total, n = log_sum(cells, weights, cells.suspects[base], owners), len(base) - 1
    if foreign is not None:
        total, n = np.logaddexp(total, log_sum(cells, weights, foreign)), n + len(foreign)
    return np.asarray(total - np.log(n))


def _owners(members: RealTable, others: RealTable) -> np.ndarray:
    """Return the number of each record's patient."""
    codes, n_units = members.unit_codes()
    return np.concatenate([codes, others.unit_codes()[0] + n_units])


def _edges(values: np.ndarray) -> np.ndarray:
    """Return the inner borders of a number's cells: between all values if they are few, else quantiles."""
    known = np.sort(values[~np.isnan(values)])
    distinct = np.unique(known)
    if len(distinct) <= CELLS:
        return np.asarray(distinct[:-1])
    at: Sequence[int] = np.linspace(0, len(known) - 1, CELLS + 1).astype(int)[1:-1].tolist()
    return np.unique(known[at])


def _common(codes: np.ndarray, size: int) -> np.ndarray:
    """Return the cell of each label: its own, or of a long list one that the rarer labels share."""
    if size <= WIDEST:
        return np.arange(size)
    counts = np.bincount(codes, minlength=size)
    cells = np.full(size, WIDEST - 1)
    cells[np.argsort(-counts, kind="stable")[: WIDEST - 1]] = np.arange(WIDEST - 1)
    return cells
