"""Leakage: are members where synthetic records are denser than the population is?

A generator that overfits puts mass where its training patients are. The attacker compares the
density of synthetic records with that of foreign patients (DOMIAS). The ratio of densities is
estimated by a forest of fully grown random trees that tell the two apart: a nearest-neighbour
estimate in a metric learnt from the data, which sees copies and also faint overfitting.
"""

from __future__ import annotations

import numpy as np

from synthgen.evaluation.attacks import attack
from synthgen.evaluation.attacks.evidence import FOREST_ROWS, TREES, evidence
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.memo import remembered

ALL_ROWS = True
DEFINITION = (
    "Score = probability that a record is synthetic rather than of the reference, by extremely randomised"
    " trees; a patient's score is the largest of the records'. van Breugel et al. (2023),"
    " arXiv:2302.12580. Advantage by cross-fitted threshold (Newcombe), AUROC by DeLong, TPR by Wilson."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by density ratio.

    Args:
        inputs: see `Inputs`.
        rng: splits patients in halves. Suspects and trees have fixed seeds, so that attacks compare.

    Returns:
        See `synthgen.evaluation.attacks.attack.run`.
    """
    return attack.report(
        inputs,
        scores(inputs),
        name="leakage_density_ratio",
        title="Attack by density ratio",
        definition=DEFINITION,
        limits={"synthetic": FOREST_ROWS, "reference": FOREST_ROWS, "trees": TREES},
        rng=rng,
    )


def expect(declared: Declared) -> MetricResult:
    """Return what the attack would find at a perfect generator."""
    name, title = "leakage_density_ratio", "Attack by density ratio"
    return attack.expect(declared, name=name, title=title, definition=DEFINITION)


@remembered
def scores(inputs: Inputs) -> attack.Scores | None:
    """Return what the attack says of each patient, once while the inputs live."""
    return attack.score(inputs, evidence(inputs).chance, rng=np.random.default_rng(attack.SEED))
