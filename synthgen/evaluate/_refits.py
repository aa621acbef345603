"""Intervals that cover the choice of training records too, by learners of disjoint fifths of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from synthgen.evaluate._base import Estimate
from synthgen.evaluate._intervals import insufficient, quantile
from synthgen.evaluate._learners import ARMS, FIFTHS, Predictions

SPLITS, FEW = 40, 5
"""Splits of the patients in halves, and those of them on which refits are tried too."""
Statistic = Callable[[Predictions, str, np.ndarray], np.ndarray]
"""Takes predictions, an arm, and ``(draw, patient)`` multiplicities; returns a number a draw."""


def from_fifths(
    statistic: Statistic,
    found: Predictions,
    refits: Sequence[Predictions],
    held: np.ndarray,
    *,
    n: int,
    steps: bool = False,
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
    twice; tried on fifths of the patients, five times, since these do not fall as 1/size. Of decisions the
    whole is taken nevertheless, as a bound: they are steps, and learners of a fifth of the records, too few
    to tell a small group apart, treat it alike more often than 1/size says. In 400 simulated cohorts the
    covariance alone left out an eighth of the variance in a group of a quarter of the patients, and refits
    on halves of the records none, at three times the time.

    Args:
        statistic: the figure of one arm.
        found: predictions of the learners fitted on all records.
        refits: of those fitted on each fifth.
        held: all patients, and halves of them, of `half_samples`.
        n: patients that the figure rests on.
        steps: the figure counts decisions.
    """
    arms = np.stack([statistic(found, arm, held) for arm in ARMS])
    value, *halves = arms[ARMS.index("synthetic")] - arms[ARMS.index("real")]
    apart = np.subtract(*np.reshape(halves, (2, -1)))
    apart = apart[np.isfinite(apart)]
    of_records = _whole if steps else _shared
    records = np.array([of_records(statistic, refits, arm, held) for arm in ARMS])
    if not np.isfinite(value) or len(apart) < len(halves) / 4 or not np.isfinite(records).all():
        return insufficient(n)
    patients = float(np.mean(apart**2)) / 4
    variance = float(records.sum()) + patients
    if variance == 0:
        return Estimate(float(value), float(value), float(value), n=n)
    freedom = variance**2 / float((records**2).sum() / (FIFTHS - 1) + patients**2 / len(apart))
    half = quantile(freedom) * float(np.sqrt(variance))
    return Estimate(float(value), float(value) - half, float(value) + half, n=n, freedom=freedom)


def _whole(statistic: Statistic, refits: Sequence[Predictions], arm: str, held: np.ndarray) -> float:
    """Return the variance that the draw of an arm's records gives a figure on these very patients."""
    return float(np.var([statistic(refit, arm, held[:1])[0] for refit in refits], ddof=1)) / FIFTHS


def _shared(statistic: Statistic, refits: Sequence[Predictions], arm: str, held: np.ndarray) -> float:
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
