"""Leakage: do numbers that only one patient has turn up among the synthetic rows?

An income, a dose or a laboratory value with all its digits points to its owner. Of a generator that never
saw a patient some synthetic rows have that patient's number by chance, and as often for those whom it saw as
for others: whose the number is, is then no cause of its being drawn.
"""

from __future__ import annotations

import numpy as np

from synthgen.evaluation.attacks.exact_counts import MAX_PATIENTS, MIN_PATIENTS, Exact, compared, exact
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, no_difference
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.shares import Compared, most_significant

ALL_ROWS = True
DEFINITION = (
    "Of the patients with a number that no other patient of training, holdout or reference has, the share of"
    " whom a synthetic row has such a number, as it is written: training minus other patients. rare: the most"
    " significant of all columns together and of each alone, by Fisher's exact test (a permutation of"
    " membership), corrected for their number (Bonferroni)."
)
NOTE = f"It takes {MIN_PATIENTS} patients a side, a reference, synthetic records, and a number."


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count patients whose own numbers are among the synthetic ones, of all synthetic rows.

    Args:
        inputs: see `Inputs`.
        rng: not used: suspects have a fixed seed.

    Returns:
        ``rare`` (-1 to 1), and ``groups["column"]`` by column.
    """
    known = exact(inputs)
    numbers = [j for j, column in enumerate(inputs.schema.columns) if column.kind != "category"]
    if known is None or not numbers:
        return _result({"rare": insufficient(0)}, {}, note=NOTE)
    found = _by_column(known, numbers)
    if not found:
        return _result({"rare": insufficient(known.n_suspects)}, {}, note="Nobody has a number of their own.")
    by_column = {name: one.estimate() for name, one in found.items()}
    return _result({"rare": most_significant(list(found.values()))}, by_column)


def expect(declared: Declared) -> MetricResult:
    """Return what would be found at a perfect generator: nothing, known as well as so many patients allow."""
    others = declared.holdout + declared.reference
    if min(declared.train, others) < MIN_PATIENTS or not declared.synthetic:
        return _result({"rare": insufficient(others)}, {}, note=NOTE)
    return _result({"rare": no_difference(declared.train, others, most=MAX_PATIENTS)}, {})


def _by_column(known: Exact, numbers: list[int]) -> dict[str, Compared]:
    """Return the comparison of all columns of numbers together, and of each that has such a number."""
    found: dict[str, Compared | None] = {}
    anywhere, owned = np.zeros((2, known.n_suspects), dtype=bool)
    for j in numbers:
        counts = known.counts((j,))
        own = counts.patients == 0
        met = own & (counts.rows > 0)
        anywhere |= met
        owned |= own
        if met.any():
            found[known.names[j]] = compared(known, met, own)
    together = {"any number": compared(known, anywhere, owned), **found}
    return {name: one for name, one in together.items() if one is not None}


def _result(estimates: dict[str, Estimate], groups: dict[str, Estimate], *, note: str = "") -> MetricResult:
    return result(
        "leakage_rare_values",
        "Numbers that one patient has",
        DEFINITION,
        estimates,
        better="lower",
        groups={"column": groups} if groups else {},
        status="insufficient" if note else "ok",
        note=note,
    )
