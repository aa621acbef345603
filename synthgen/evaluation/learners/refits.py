"""Intervals that cover the choice of training records too, by learners of disjoint fifths of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from synthgen.evaluation.base import Estimate
from synthgen.evaluation.learners.tabular import ARMS, FIFTHS, Predictions
from synthgen.evaluation.statistics.intervals import insufficient, quantile

PARTITIONS = 20
SPLITS, FEW = 40, 5
"""Splits of the patients in halves, and those of them on which refits are tried too."""
Statistic = Callable[[Predictions, str, np.ndarray], np.ndarray]
"""Takes predictions, an arm, and ``(draw, patient)`` multiplicities; returns a number a draw."""


Change = Callable[[Predictions, np.ndarray], np.ndarray]
"""The same of the synthetic minus the real arm."""


def parts(n_units: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return random partitions of test patients in fifths, ``(fifth, partition, patient)`` of 0 and 1."""
    part = np.stack([rng.permutation(n_units) % FIFTHS for _ in range(PARTITIONS)])
    return np.asarray(part == np.arange(FIFTHS)[:, None, None], dtype=float)


def from_fifths(
    statistic: Change, found: Predictions, refits: Sequence[Predictions], held: np.ndarray, *, n: int
) -> Estimate:
    """Return a figure with an interval over new draws of training records and test patients.

    The figure is that of the learners fitted on all records. Its error is measured where all there is was
    divided by five: each refit on a fifth of the records, tested on a fifth of the patients, is independent
    of the other four, and a fifth of their variance is that of the whole, wherever it falls as 1/size. The
    average over partitions of the patients leaves the choice of records with four degrees of freedom, and
    that of patients with many (Satterthwaite, 1946, Biometrics Bulletin 2:110). It holds what learners err on
    single patients, and so is for figures that are means over patients.

    Args:
        statistic: the figure.
        found: predictions of the learners fitted on all records.
        refits: of those fitted on each fifth.
        held: partitions of the patients, of `parts`.
        n: patients that the figure rests on.
    """
    value = float(statistic(found, np.ones((1, found.n_units)))[0])
    drawn = np.stack([statistic(refit, patients) for refit, patients in zip(refits, held, strict=True)])
    known = np.isfinite(drawn).all(axis=0)
    if not np.isfinite(value) or known.mean() < 0.5:
        return insufficient(n)
    drawn = drawn[:, known]
    variance = float(drawn.var(axis=0, ddof=1).mean()) / FIFTHS
    records = min(float(drawn.mean(axis=1).var(ddof=1)) / FIFTHS, variance)
    if variance == 0:
        return Estimate(value, value, value, n=n)
    share = records / variance
    freedom = 1 / (share**2 / (FIFTHS - 1) + (1 - share) ** 2 / (known.sum() * (FIFTHS - 1)))
    half = quantile(freedom) * float(np.sqrt(variance))
    return Estimate(value, value - half, value + half, n=n, freedom=freedom)


def from_fifths_and_halves(
    statistic: Statistic,
    found: Predictions,
    refits: Sequence[Predictions],
    held: np.ndarray,
    *,
    n: int,
) -> Estimate:
    """Return a figure of the synthetic minus the real arm, over new draws of training records and patients.

    The figure is that of the learners fitted on all records. Its variance is that over draws of patients,
    given these learners, plus that over draws of records of its mean over all patients there are (the law of
    total variance). The first is a quarter of the mean squared difference of the figure on disjoint halves of
    the patients. The second is a fifth of the variance among refits on disjoint fifths of the records,
    wherever it falls as 1/size, but for what they err on these very patients, which the first part holds
    already: hence their covariance between one half of the patients and the other. It is measured in each arm
    by itself, whose records are drawn apart, so that two times four degrees of freedom remain where both vary
    alike (Satterthwaite, 1946, Biometrics Bulletin 2:110).

    Whole variances of refits, tried on the same patients, count the learners' errors on single patients
    twice; tried on fifths of the patients, five times, since these do not fall as 1/size.

    Args:
        statistic: the figure of one arm.
        found: predictions of the learners fitted on all records.
        refits: of those fitted on each fifth.
        held: all patients, and halves of them, of `half_samples`.
        n: patients that the figure rests on.
    """
    arms = np.stack([statistic(found, arm, held) for arm in ARMS])
    value, *halves = arms[ARMS.index("synthetic")] - arms[ARMS.index("real")]
    apart = np.subtract(*np.reshape(halves, (2, -1)))
    apart = apart[np.isfinite(apart)]
    records = np.array([_of_records(statistic, refits, arm, held) for arm in ARMS])
    if not np.isfinite(value) or len(apart) < len(halves) / 4 or not np.isfinite(records).all():
        return insufficient(n)
    patients = float(np.mean(apart**2)) / 4
    variance = float(records.sum()) + patients
    if variance == 0:
        return Estimate(float(value), float(value), float(value), n=n)
    freedom = variance**2 / float((records**2).sum() / (FIFTHS - 1) + patients**2 / len(apart))
    half = quantile(freedom) * float(np.sqrt(variance))
    return Estimate(float(value), float(value) - half, float(value) + half, n=n, freedom=freedom)


def _of_records(statistic: Statistic, refits: Sequence[Predictions], arm: str, held: np.ndarray) -> float:
    """Return the variance that the draw of an arm's records gives a figure's mean over all patients."""
    splits = (len(held) - 1) // 2
    some = np.concatenate([held[1 : 1 + splits][:FEW], held[1 + splits :][:FEW]])
    halves = np.stack([statistic(refit, arm, some) for refit in refits]).reshape(len(refits), 2, -1)
    halves = halves[:, :, np.isfinite(halves).all(axis=(0, 1))]
    if not halves.size:
        return float("nan")
    off = halves - halves.mean(axis=0)
    covariance = float((off[:, 0] * off[:, 1]).sum(axis=0).mean()) / (len(refits) - 1)
    return max(covariance, 0.0) / FIFTHS
