"""Leakage: are members where synthetic records are denser than the population is?

A generator that overfits puts mass where its training patients are. The attacker compares the
density of synthetic records with that of foreign patients (DOMIAS). The ratio of densities is
estimated by a forest of fully grown random trees that tell the two apart: a nearest-neighbour
estimate in a metric learnt from the data, which sees copies and also faint overfitting.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.evaluate import _attack
from synthgen.evaluate._base import Inputs, MetricResult
from synthgen.evaluate._design import ordinal
from synthgen.evaluate._memo import remembered
from synthgen.evaluate._patients import sample_rows
from synthgen.schema import Schema

MAX_SYNTHETIC = 50_000
MAX_REFERENCE = 50_000
TREES = 60
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
        See `synthgen.evaluate._attack.run`.
    """
    return _attack.report(
        inputs,
        scores(inputs),
        name="leakage_density_ratio",
        title="Attack by density ratio",
        definition=DEFINITION,
        limits={"synthetic": MAX_SYNTHETIC, "reference": MAX_REFERENCE, "trees": TREES},
        rng=rng,
    )


@remembered
def scores(inputs: Inputs) -> _attack.Scores | None:
    """Return what the attack says of each patient, once while the inputs live."""
    rng, schema = np.random.default_rng(_attack.SEED), inputs.schema
    synthetic = sample_rows(inputs.synthetic.frame, MAX_SYNTHETIC, rng=rng)
    reference = sample_rows(inputs.reference.frame, MAX_REFERENCE, rng=rng)

    def score(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        seen = pd.concat([synthetic, planted], ignore_index=True) if len(planted) else synthetic
        return _probability_synthetic(schema, seen, reference, suspects, _attack.SEED)

    return _attack.score(inputs, score, rng=np.random.default_rng(_attack.SEED))


def _probability_synthetic(
    schema: Schema, synthetic: pd.DataFrame, reference: pd.DataFrame, suspects: pd.DataFrame, seed: int
) -> np.ndarray:
    from sklearn.ensemble import ExtraTreesClassifier

    names = [column.name for column in schema.columns]
    first, second, points = (
        np.nan_to_num(ordinal(schema, part, names)[0], nan=-1.0) for part in (synthetic, reference, suspects)
    )
    model = ExtraTreesClassifier(
        n_estimators=TREES, max_features="sqrt", class_weight="balanced", n_jobs=-1, random_state=seed
    )
    model.fit(np.concatenate([first, second]), np.repeat([1, 0], [len(first), len(second)]))
    model.n_jobs = 1  # threads would add the trees' votes in any order, and the last bits would differ
    return np.asarray(model.predict_proba(points)[:, 1])
