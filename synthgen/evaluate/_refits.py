"""Intervals that cover the choice of training records too, by learners of disjoint fifths of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from synthgen.evaluate._base import Estimate
from synthgen.evaluate._intervals import insufficient, quantile
from synthgen.evaluate._learners import FIFTHS, Predictions

SPLITS = 50
Statistic = Callable[[Predictions, np.ndarray], np.ndarray]
"""Takes predictions and ``(draw, patient)`` multiplicities of test patients; returns a number a draw."""


def from_fifths(
    statistic: Statistic, found: Predictions, refits: Sequence[Predictions], held: np.ndarray, *, n: int
) -> Estimate:
    """Return a figure with an interval over new draws of training records and test patients.

    The figure is that of the learners fitted on all records. Two errors add up. That of the choice of records
    is a fifth of the variance among refits on disjoint fifths, each tested on all patients, wherever it falls
    as 1/size; it has four degrees of freedom. That of the choice of patients is a quarter of the mean squared
    difference of the figure on disjoint halves of them, the learners held fixed; it has many (Satterthwaite,
    1946, Biometrics Bulletin 2:110). A figure of absolute values, as a calibration error is, has too little
    variance among few patients, where chance outweighs what it is about: hence halves and no fifths of them.

    Args:
        statistic: the figure.
        found: predictions of the learners fitted on all records.
        refits: of those fitted on each fifth.
        held: splits of the patients in halves, of `half_samples`.
        n: patients that the figure rests on.
    """
    value, *halves = statistic(found, held)
    steps = np.subtract(*np.reshape(halves, (2, -1)))
    steps = steps[np.isfinite(steps)]
    drawn = np.array([float(statistic(refit, held[:1])[0]) for refit in refits])
    if not np.isfinite(value) or len(steps) < len(halves) / 4 or not np.isfinite(drawn).all():
        return insufficient(n)
    records, patients = float(drawn.var(ddof=1)) / FIFTHS, float(np.mean(steps**2)) / 4
    variance = records + patients
    if variance == 0:
        return Estimate(float(value), float(value), float(value), n=n)
    freedom = variance**2 / (records**2 / (FIFTHS - 1) + patients**2 / len(steps))
    half = quantile(freedom) * float(np.sqrt(variance))
    return Estimate(float(value), float(value) - half, float(value) + half, n=n, freedom=freedom)
