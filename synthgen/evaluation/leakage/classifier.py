"""Leakage: what could a classifier learn that knows of a third of the patients whether they took part?

This attacker is stronger than any outside: no one who holds a released table knows members and
non-members of the same cohort by the thousand. What it cannot find, weaker ones will not. It learns how
the distances to the nearest synthetic and foreign records, and the ratio of their densities, differ between
the two from a third of the patients, and is tested on the others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.evaluation.attacks import attack
from synthgen.evaluation.attacks.evidence import FOREST_ROWS, MAX_REFERENCE, NEIGHBOURS, TREES, evidence
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.memo import remembered

FLOOR = 0.01
ALL_ROWS = True
DEFINITION = (
    "Features of a record: logs of the distances to its 1st, 3rd and 5th nearest synthetic and reference"
    " records (Gower on public bounds) and of the ratio of the first two, and the density ratio's"
    " probability; a patient's are the largest of the records'. Gradient boosting learns members from"
    " non-members on one third of the patients and is tested on the others (for the true positive rates a"
    " second one, of another third, speaks of the first); after Houssiau et al. (2022), arXiv:2211.06550, and"
    " Shokri et al. (2017), arXiv:1610.05820. Advantage by cross-fitted threshold (Newcombe), AUROC by"
    " DeLong, TPR by Wilson; about these fitted trees on new patients."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by a classifier that was told of a third of the patients.

    Args:
        inputs: see `Inputs`.
        rng: splits the tested patients. Suspects and classifier have fixed seeds, so that attacks compare.

    Returns:
        See `synthgen.evaluation.attacks.attack.run`.
    """
    return attack.report(
        inputs,
        scores(inputs),
        name="leakage_classifier",
        title="Attack by a classifier",
        definition=DEFINITION,
        limits={
            "reference": MAX_REFERENCE,
            "neighbours": NEIGHBOURS,
            "forest": FOREST_ROWS,
            "trees": TREES,
        },
        rng=rng,
    )


def expect(declared: Declared) -> MetricResult:
    """Return what the attack would find at a perfect generator."""
    name, title = "leakage_classifier", "Attack by a classifier"
    return attack.expect(declared, name=name, title=title, definition=DEFINITION, tested=1 - 1 / attack.PARTS)


@remembered
def scores(inputs: Inputs) -> attack.Scores | None:
    """Return what the attack says of each patient, once while the inputs live."""
    around = evidence(inputs)

    def features(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        close, foreign = around.distances(planted, suspects)
        near, far = np.log(close[:, ::2] + FLOOR), np.log(foreign[:, ::2] + FLOOR)
        chance = around.chance(planted, suspects)
        return np.column_stack([-near, far, far[:, 0] - near[:, 0], chance])

    return attack.score(inputs, features, rng=np.random.default_rng(attack.SEED))
