"""What an evaluation can say of a perfect generator, from declared numbers alone.

Before a run is paid for, each metric says what its figures would be if the synthetic records were a sample
of other patients: the expected value, the interval that so few patients leave, or that there is no answer.
The gate then decides on these as it does on measured ones (`synthgen.release.forecast`). A metric says it in
``expect(declared) -> MetricResult``; one without is expected to pass.

Widths are those of the metrics' own intervals where these are formulas of numbers of patients, and else
measured ones: `NOISE` says where from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from synthgen.evaluation.base import Estimate
from synthgen.evaluation.statistics.intervals import CONFIDENCE, Z, insufficient
from synthgen.schema.schema import Schema


@dataclass(frozen=True)
class Declared:
    """What is known of an evaluation before a record is read. All public.

    Attributes:
        schema: the table's public description.
        train: expected number of patients that train.
        reference: of those that an attacker is assumed to know.
        holdout: of those that figures are tested on.
        synthetic: records, of linked ones patients, that are drawn.
        target: label column of utility, or None.
        groups: protected columns.
        epsilon: of the cohort's ledger with this release, or None.
        looks: how often the holdout will have been looked at.
    """

    schema: Schema
    train: int
    reference: int
    holdout: int
    synthetic: int
    target: str | None = None
    groups: tuple[str, ...] = ()
    epsilon: float | None = None
    looks: int = 1

    @property
    def of_images(self) -> bool:
        """Whether there are pixels to judge."""
        return self.schema.images is not None

    @property
    def compared(self) -> int:
        """Records that stand on each side where both arms learn from as many."""
        return min(self.train, self.synthetic)

    def pooled(self) -> Declared:
        """Return the same for attacks without a reference: its patients are non-members too."""
        return replace(self, holdout=self.holdout + self.reference)


NOISE = {
    "auc": 0.19,
    "brier": 0.10,
    "r_squared": 0.37,
    "guess": 0.45,
    "tvd": 0.20,
    "share": 0.45,
    "near": 0.20,
}
"""Standard deviation of one patient's part in a figure: of the mean gap of AUROCs (a positive and a negative
patient), of Brier scores, of R squared, of a right guess of a hidden value, of a column's total variation, of
a ball that holds a record, of a near copy. Measured on support2 with independent real records in the
synthetic ones' place (600 to 4,000 patients, `docs/command_line.md`); ``near`` is an estimate,
not measured."""


def around(value: float, deviation: float, n: int) -> Estimate:
    """Return an estimate with a normal interval."""
    return Estimate(value, value - Z * deviation, value + Z * deviation, n=n)


def no_difference(members: int, others: int, *, most: int) -> Estimate:
    """Return a difference of 0 between two shares of copied patients, with the interval of so many patients.

    Args:
        members: training patients.
        others: patients of other parts.
        most: how many of either are looked at.
    """
    first, second = (spread(min(n, most), NOISE["near"]) for n in (members, others))
    return around(0.0, math.hypot(first, second), members + others)


def enough(estimate: Estimate, patients: int, needed: int) -> Estimate:
    """Return an estimate, or that there are too few patients for one."""
    return estimate if patients >= needed else insufficient(patients)


def largest_of(estimate: Estimate, tries: int) -> Estimate:
    """Return the largest of several independent estimates that are all alike, widened for their number.

    Its value is the median of the largest of so many normal draws; its interval is Bonferroni's, as in
    `synthgen.evaluation.statistics.intervals.largest`.
    """
    from scipy.special import ndtri

    if estimate.status != "ok" or tries < 2:
        return estimate
    factor = float(-ndtri((1 - CONFIDENCE) / 2 / tries)) / Z
    half = estimate.high - estimate.value
    shift = float(ndtri(0.5 ** (1 / tries))) * half / Z
    value = estimate.value + shift
    return Estimate(value, value - factor * half, value + factor * half, n=estimate.n)


def n_labels(declared: Declared) -> int:
    """Return the number of the target's labels; 0 where it is a number, or missing."""
    if declared.target is None:
        return 0
    column = declared.schema.column(declared.target)
    return len(column.labels) if column.kind == "category" else 0


def spread(patients: int, deviation: float) -> float:
    """Return the standard deviation of a mean over patients."""
    return deviation / math.sqrt(max(patients, 1))
