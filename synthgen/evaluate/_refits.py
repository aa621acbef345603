"""Intervals that cover the choice of training records too, by learners of disjoint fifths of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from synthgen.evaluate._base import Estimate
from synthgen.evaluate._intervals import insufficient, quantile
from synthgen.evaluate._learners import FIFTHS, Predictions

PARTITIONS, SPLITS = 20, 50
Statistic = Callable[[Predictions, np.ndarray], np.ndarray]
"""Takes predictions and ``(draw, patient)`` multiplicities of test patients; returns a number a draw."""


def parts(n_units: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return random partitions of test patients in fifths, ``(fifth, partition, patient)`` of 0 and 1."""
    part = np.stack([rng.permutation(n_units) % FIFTHS for _ in range(PARTITIONS)])
    return np.asarray(part == np.arange(FIFTHS)[:, None, None], dtype=float)


def from_fifths(
    statistic: Statistic, found: Predictions, refits: Sequence[Predictions], held: np.ndarray, *, n: int
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
        held: all patients, and halves of them, of `half_samples`.
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
