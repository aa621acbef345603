"""Leakage: is the nearest synthetic record closer to members than the nearest foreign record is?

Distance to the nearest record may fail a release and never passes one alone: tables that pass it are
attackable (arXiv:2505.01524). Here it is an attack with a holdout control, one of several.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.evaluation.attacks import attack
from synthgen.evaluation.attacks.evidence import MAX_REFERENCE, evidence
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.neighbours import k_nearest
from synthgen.evaluation.memo import remembered

FLOOR = 0.01
"""Distance below which two records are the same to this attack; one column's 1 % on the public scale."""
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
        See `synthgen.evaluation.attacks.attack.run`.
    """
    return attack.report(
        inputs,
        scores(inputs),
        name="leakage_nearest_neighbour",
        title="Attack by nearest neighbour",
        definition=DEFINITION,
        limits={"reference": MAX_REFERENCE},
        rng=rng,
    )


def expect(declared: Declared) -> MetricResult:
    """Return what the attack would find at a perfect generator."""
    name, title = "leakage_nearest_neighbour", "Attack by nearest neighbour"
    return attack.expect(declared, name=name, title=title, definition=DEFINITION)


@remembered
def scores(inputs: Inputs) -> attack.Scores | None:
    """Return what the attack says of each patient, once while the inputs live."""
    around = evidence(inputs)

    def score(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        close, foreign = around.distances(planted, suspects)
        return np.asarray(np.log(foreign[:, 0] + FLOOR) - np.log(close[:, 0] + FLOOR))

    return attack.score(inputs, score, rng=np.random.default_rng(attack.SEED))


def nearest(points: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return each point's distance to the nearest row of ``base``.

    Args:
        points: ``(point, feature)`` float32.
        base: ``(row, feature)`` float32, at least one row.

    Returns:
        float64, in the units of `euclidean`; exact to about 1e-3 near 0, as float32 allows.
    """
    return k_nearest(points, base)[0][:, 0]
