"""Leakage: do synthetic records lie closer to a patient than any foreign patient's record does?

A copy with a little noise on it is no exact match, and a generator that saw training, holdout and
reference alike gives every attack the same answer on both sides. Nearness has a control that such a
generator cannot spoil: other real records. Whatever a generator's density is, a record that it drew
without seeing a patient falls next to that patient no more often, on average over patients, than a real
record does: the mean over patients of (synthetic density / real density) is at most 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._design import euclidean
from synthgen.evaluate._intervals import insufficient, without_interval
from synthgen.evaluate._neighbours import CHUNK, k_nearest
from synthgen.evaluate._patients import one_record_each, sample_patients, sample_rows
from synthgen.evaluate._shares import NOTHING, SURE, independent_shares, paired_shares, variance_of_rows
from synthgen.evaluate.leakage_exact_match import chance_of_a_match
from synthgen.records import RealTable

MAX_SYNTHETIC = 50_000
MAX_REFERENCE = 20_000
MAX_PATIENTS = 4_000
MIN_PATIENTS = 50
NEAR = 0.25
"""Of the distance to the nearest foreign record: a synthetic record within it is a near copy."""
ALL_ROWS = True
DEFINITION = (
    f"A near copy of a record is a synthetic one within {NEAR} of its distance to the nearest reference"
    " record (Gower on public bounds); a patient counts if any record has one. difference: training minus"
    " holdout patients (Mee's score interval). holdout_excess: of the holdout patients, the share near to as"
    " many synthetic rows as there are training patients, in expectation over which rows, minus the share"
    " near to one record of each of those, who are others (Newcombe, paired, with what rows that are near to"
    " several patients add). The two shares have no interval of their own: the reference and the synthetic"
    " rows move them together."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count near copies of patients.

    Args:
        inputs: see `Inputs`.
        rng: draws patients, halves of the reference, and rows where a cap is met.

    Returns:
        ``difference`` and ``holdout_excess`` (-1 to 1), ``train`` and ``holdout`` (0 to 1), of patients.
    """
    train = sample_patients(inputs.train, MAX_PATIENTS, rng=rng)
    holdout = sample_patients(inputs.holdout, MAX_PATIENTS, rng=rng)
    n_foreign = min(inputs.reference.unit_codes()[1], MAX_REFERENCE)
    patients = train.unit_codes()[1], holdout.unit_codes()[1]
    if min(*patients, n_foreign, len(inputs.synthetic)) < MIN_PATIENTS:
        note = f"It takes {MIN_PATIENTS} patients a side, as many foreign ones, and synthetic records."
        return _result({"difference": insufficient(sum(patients))}, 0, note=note)
    drawn = _points(inputs, sample_rows(inputs.synthetic.frame, MAX_SYNTHETIC, rng=rng))
    foreign = _points(inputs, one_record_each(inputs.reference, n_foreign, rng=rng))
    rivals = _points(inputs, one_record_each(inputs.train, MAX_SYNTHETIC, rng=rng))
    points = [_points(inputs, part.frame) for part in (train, holdout)]
    radii = [NEAR * k_nearest(place, foreign)[0][:, 0] for place in points]
    hits = [
        len(np.unique(part.units[k_nearest(place, drawn)[0][:, 0] < radius]))
        for part, place, radius in zip((train, holdout), points, radii, strict=True)
    ]
    value, low, high = independent_shares(hits[0], patients[0], hits[1], patients[1])
    estimates = {
        "difference": Estimate(value, low, high, n=sum(patients)),
        "train": without_interval(hits[0] / patients[0], n=patients[0]),
        "holdout": without_interval(hits[1] / patients[1], n=patients[1]),
        "holdout_excess": _holdout_excess(holdout, points[1], radii[1], drawn, rivals),
    }
    return _result(estimates, len(drawn))


def _points(inputs: Inputs, frame: pd.DataFrame) -> np.ndarray:
    return euclidean(inputs.schema, frame, [column.name for column in inputs.schema.columns])


def _holdout_excess(
    holdout: RealTable, points: np.ndarray, radius: np.ndarray, drawn: np.ndarray, rivals: np.ndarray
) -> Estimate:
    """Return what synthetic rows lie near to of the holdout beyond what as many real records do.

    A row may lie near several patients, who are then hit together: both draws of rows add to the error, as if
    they were drawn apart. Where a generator copies the training patients, whose records stand beside, they
    are not, and the interval is a bound: 97 % of them hold the truth where two in five are copied.
    """
    size = min(len(drawn), len(rivals))
    codes, n = holdout.unit_codes()
    near, shared = [], NOTHING
    for rows in (drawn, rivals):
        counts = within(points, radius, rows)
        missed = np.ones(n)
        np.multiply.at(missed, codes, 1 - chance_of_a_match(counts, len(rows), size))
        near.append(1 - missed)
        sure = np.isin(codes, codes[counts > SURE * len(rows) / size])
        some = np.flatnonzero((counts > 0) & ~sure)
        record, row = _pairs(points[some], radius[some], rows)
        shared += variance_of_rows(codes[some][record], row, n=n, total=len(rows), size=size)
    return Estimate(*paired_shares(*near, shared=shared), n=n)


def _pairs(points: np.ndarray, radius: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of all points and of all rows of ``base`` that lie closer to them than the radius."""
    found = [
        (here.start + point, there.start + row)
        for here, there, close in _near(points, radius, base)
        for point, row in [np.nonzero(close)]
    ]
    if not found:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    return np.concatenate([point for point, _ in found]), np.concatenate([row for _, row in found])


def within(points: np.ndarray, radius: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return how many rows of ``base`` lie closer to each point than its radius.

    Example:
        >>> within(np.float32([[0], [5]]), np.array([2.0, 0.0]), np.float32([[1], [1.5], [5]]))
        array([2, 0])
    """
    counts = np.zeros(len(points), dtype=np.int64)
    for here, _, close in _near(points, radius, base):
        counts[here] += close.sum(axis=1)
    return counts


def _near(
    points: np.ndarray, radius: np.ndarray, base: np.ndarray
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield some points, some rows of ``base``, and which of these lie closer than the point's radius."""
    rows = np.concatenate([-2 * base, np.einsum("ij,ij->i", base, base)[:, None]], axis=1)
    wide = np.concatenate([points, np.ones((len(points), 1), dtype=points.dtype)], axis=1)
    squared = (radius**2 - np.einsum("ij,ij->i", points, points)).astype(points.dtype)
    squared = np.where(radius > 0, squared, -np.inf).astype(points.dtype)
    for at in range(0, len(points), CHUNK[0]):
        for start in range(0, len(base), CHUNK[1]):
            here, there = slice(at, at + CHUNK[0]), slice(start, start + CHUNK[1])
            yield here, there, wide[here] @ rows[there].T < squared[here, None]


def _result(estimates: dict[str, Estimate], rows: int, *, note: str = "") -> MetricResult:
    return result(
        "leakage_near_copies",
        "Near copies of records",
        DEFINITION,
        estimates,
        better="lower",
        details={"synthetic": rows},
        status="insufficient" if note else "ok",
        note=note,
    )
