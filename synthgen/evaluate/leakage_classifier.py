"""Leakage: what could a classifier learn that knows of half of the patients whether they took part?

This attacker is stronger than any outside: no one who holds a released table knows members and
non-members of the same cohort by the thousand. What it cannot find, weaker ones will not. It learns how
the distances to the nearest synthetic and foreign records differ between the two, and is tested on the
other half of the patients.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.evaluate import _attack
from synthgen.evaluate._base import Inputs, MetricResult
from synthgen.evaluate._design import euclidean
from synthgen.evaluate._memo import remembered
from synthgen.evaluate._neighbours import k_nearest
from synthgen.evaluate._patients import sample_rows

MAX_SYNTHETIC = 30_000
MAX_REFERENCE = 15_000
NEIGHBOURS = 5
FLOOR = 0.01
ALL_ROWS = True
DEFINITION = (
    "Features of a record: logs of the distances to its 1st, 3rd and 5th nearest synthetic and reference"
    " records (Gower on public bounds) and of the ratio of the first two; a patient's are the largest of the"
    " records'. Gradient boosting learns members from non-members on one half of the patients and is tested"
    " on the other, both ways round; after Houssiau et al. (2022), arXiv:2211.06550, and Shokri et al."
    " (2017), arXiv:1610.05820. Advantage by cross-fitted threshold (Newcombe), AUROC by DeLong, TPR by"
    " Wilson."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by a classifier that was told of half of the patients.

    Args:
        inputs: see `Inputs`.
        rng: splits patients in halves. Suspects and classifier have fixed seeds, so that attacks compare.

    Returns:
        See `synthgen.evaluate._attack.run`.
    """
    return _attack.report(
        inputs,
        scores(inputs),
        name="leakage_classifier",
        title="Attack by a classifier",
        definition=DEFINITION,
        limits={"synthetic": MAX_SYNTHETIC, "reference": MAX_REFERENCE, "neighbours": NEIGHBOURS},
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

    def features(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        points = euclidean(schema, suspects, names)
        if len(points) not in known:  # the suspects of the positive control are the same
            known[len(points)] = tuple(
                k_nearest(points, base, NEIGHBOURS)[0] for base in (synthetic, reference)
            )  # type: ignore[assignment]
        close, foreign = known[len(points)]
        if len(planted):
            more = k_nearest(points, euclidean(schema, planted, names), NEIGHBOURS)[0]
            close = np.sort(np.concatenate([close, more], axis=1), axis=1)[:, :NEIGHBOURS]
        near, far = np.log(close[:, ::2] + FLOOR), np.log(foreign[:, ::2] + FLOOR)
        return np.column_stack([-near, far, far[:, 0] - near[:, 0]])

    return _attack.score(inputs, features, rng=np.random.default_rng(_attack.SEED))
