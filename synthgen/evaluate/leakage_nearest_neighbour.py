"""Leakage: is the nearest synthetic record closer to members than the nearest foreign record is?

Distance to the nearest record may fail a release and never passes one alone: tables that pass it are
attackable (arXiv:2505.01524). Here it is an attack with a holdout control, one of several.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.evaluate import _attack
from synthgen.evaluate._base import Inputs, MetricResult
from synthgen.evaluate._design import euclidean
from synthgen.evaluate._memo import remembered
from synthgen.evaluate._patients import sample_rows

MAX_SYNTHETIC = 100_000
MAX_REFERENCE = 50_000
FLOOR = 0.01
"""Distance below which two records are the same to this attack; one column's 1 % on the public scale."""
CHUNK = (1024, 8192)
ALL_ROWS = True
DEFINITION = (
    "Score = log of the distance to the nearest reference record over that to the nearest synthetic"
    " record, Gower distance on public bounds; a patient's score is the largest of the records'. Advantage"
    " by cross-fitted threshold (Newcombe), AUROC by DeLong, TPR by Wilson."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by nearest neighbours.

    Args:
        inputs: see `Inputs`.
        rng: splits patients in halves. The suspects have a fixed seed, so that attacks compare.

    Returns:
        See `synthgen.evaluate._attack.run`.
    """
    return _attack.report(
        inputs,
        scores(inputs),
        name="leakage_nearest_neighbour",
        title="Attack by nearest neighbour",
        definition=DEFINITION,
        limits={"synthetic": MAX_SYNTHETIC, "reference": MAX_REFERENCE},
        rng=rng,
    )


@remembered
def scores(inputs: Inputs) -> _attack.Scores | None:
    """Return what the attack says of each patient, once while the inputs live."""
    rng, schema = np.random.default_rng(_attack.SEED), inputs.schema
    names = [column.name for column in schema.columns]
    synthetic = euclidean(schema, sample_rows(inputs.synthetic.frame, MAX_SYNTHETIC, rng=rng), names)
    reference = euclidean(schema, sample_rows(inputs.reference.frame, MAX_REFERENCE, rng=rng), names)
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def score(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        points = euclidean(schema, suspects, names)
        if len(points) not in known:  # the suspects of the positive control are the same
            known[len(points)] = nearest(points, synthetic), nearest(points, reference)
        close, foreign = known[len(points)]
        if len(planted):
            close = np.minimum(close, nearest(points, euclidean(schema, planted, names)))
        return np.asarray(np.log(foreign + FLOOR) - np.log(close + FLOOR))

    return _attack.score(inputs, score, rng=np.random.default_rng(_attack.SEED))


def nearest(points: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return each point's distance to the nearest row of ``base``.

    Args:
        points: ``(point, feature)`` float32.
        base: ``(row, feature)`` float32, at least one row.

    Returns:
        float64, in the units of `euclidean`; exact to about 1e-3 near 0, as float32 allows.
    """
    best = np.full(len(points), np.inf)
    base_norms = np.einsum("ij,ij->i", base, base)
    for at in range(0, len(points), CHUNK[0]):
        block = points[at : at + CHUNK[0]]
        least = np.full(len(block), np.inf, dtype=np.float32)
        for start in range(0, len(base), CHUNK[1]):
            rows = slice(start, start + CHUNK[1])
            partial = block @ base[rows].T
            partial *= -2
            partial += base_norms[rows]
            np.minimum(least, partial.min(axis=1), out=least)
        best[at : at + CHUNK[0]] = least + np.einsum("ij,ij->i", block, block)
    return np.asarray(np.sqrt(np.maximum(best, 0.0)))
