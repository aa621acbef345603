"""Leakage: do synthetic rows hold the very values that training patients have?

A number with many digits, an age of 104, a rare code: a generator that draws from its training patients' own
values gives away who they are, even if no record is copied, as all that fill a table's columns by rank, by
donors from a tree's leaf or by resampling do. Distances do not see that; a comparison of values as they are
written does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from synthgen.evaluation.attacks import attack
from synthgen.evaluation.attacks.exact_counts import MAX_PATIENTS, Exact, exact
from synthgen.evaluation.base import Estimate, Inputs, MetricResult
from synthgen.evaluation.expected_power import Declared, largest_of
from synthgen.evaluation.memo import remembered
from synthgen.evaluation.statistics.auc import delong
from synthgen.evaluation.statistics.intervals import insufficient, largest
from synthgen.evaluation.statistics.patients import maximum_by_patient

NAME, TITLE = "leakage_exact_values", "Attack by exact values"
ALL_ROWS = True
DEFINITION = (
    "Score = sum over columns of the log of a value's share among synthetic rows over its share among other"
    " patients of training, holdout and reference, values as they are written, with Jeffreys' prior; a"
    " patient's score is the largest of the records'. Members against all who are none; advantage by"
    " cross-fitted threshold (Newcombe), AUROC by DeLong, TPR by Wilson. worst_column: the largest of 2"
    " AUROC - 1 over single columns, widened for their number (Bonferroni)."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by the values of single columns.

    Args:
        inputs: see `Inputs`.
        rng: splits patients in halves. Suspects have a fixed seed, so that attacks compare.

    Returns:
        See `synthgen.evaluation.attacks.attack.run`; also ``worst_column`` (-1 to 1) and
        ``groups["column"]``.
    """
    limits = {"patients": MAX_PATIENTS}
    result = attack.report(
        inputs, scores(inputs), name=NAME, title=TITLE, definition=DEFINITION, limits=limits, rng=rng
    )
    known = exact(inputs)
    if known is None:
        return replace(result, estimates={**result.estimates, "worst_column": insufficient(0)})
    columns = {name: _of_column(known, j) for j, name in enumerate(known.names)}
    estimates = {**result.estimates, "worst_column": largest(list(columns.values()))}
    return replace(result, estimates=estimates, groups={**result.groups, "column": columns})


def expect(declared: Declared) -> MetricResult:
    """Return what the attack would find at a perfect generator."""
    pooled = declared.pooled()
    result = attack.expect(pooled, name=NAME, title=TITLE, definition=DEFINITION)
    one = attack.expected(pooled)
    columns = insufficient(0) if one is None else largest_of(one, len(declared.schema.columns))
    return replace(result, estimates={**result.estimates, "worst_column": columns})


@remembered
def scores(inputs: Inputs) -> attack.Scores | None:
    """Return what the attack says of each patient, once while the inputs live."""
    known = exact(inputs)
    if known is None:
        return None

    def score(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        counts = (known.counts((j,)) for j in range(len(known.names)))
        return np.asarray(sum(known.log_ratio(one, planted=len(planted) > 0) for one in counts))

    return attack.score_of(known.suspects, score)


def _of_column(known: Exact, j: int) -> Estimate:
    """Return 2 AUROC - 1 of the attack by one column alone."""
    score = known.log_ratio(known.counts((j,)), planted=False)
    cut = len(known.suspects.members)
    parts = zip((score[:cut], score[cut:]), (known.suspects.members, known.suspects.others), strict=True)
    area = delong(*(maximum_by_patient(part, *table.unit_codes()) for part, table in parts))
    if area.status != "ok":
        return area
    return Estimate(2 * area.value - 1, 2 * area.low - 1, 2 * area.high - 1, n=area.n)
