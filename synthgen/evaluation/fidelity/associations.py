"""Fidelity: which two columns go together otherwise than they do among patients?

A mean over all pairs of columns hides the one pair whose dependence is gone. Here each pair has an effect
size that means the same at any number of records, and the pair that differs most decides.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, enough
from synthgen.evaluation.statistics.intervals import CONFIDENCE, insufficient
from synthgen.evaluation.statistics.pooled_samples import MAX_ROWS as MAX_ROWS
from synthgen.evaluation.statistics.pooled_samples import RARE, Pooled, codes_of, pooled, ranks
from synthgen.evaluation.statistics.tables import pairs

MIN_PATIENTS = 50
WORST = 20
BIASED = 0.05
"""Share of a pair's variance that noise alone may be, so that a division by it is safe."""
DEFINITION = (
    "Root of the summed squared differences of correlations, synthetic minus real records, between the"
    " features of two columns: of a number its rank among real values, of a category a mark for each label"
    " (real share 2 % or more, others together), and a mark for missing values. Of two numbers the"
    " difference of Spearman's correlations, of two categories of equal margins Cohen's w. Chance's part is"
    " taken off. worst: the pair that differs most; interval: noncentral chi-squared of the same two moments"
    " (Satterthwaite), Bonferroni over pairs. mean: root of the mean square over pairs. Cohen (1988),"
    " Statistical Power Analysis, chapter 7."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare the dependence of each pair of columns.

    Args:
        inputs: see `Inputs`; one record of each patient.
        rng: draws pairs where there are too many.

    Returns:
        ``worst`` and ``mean`` over pairs, from 0; ``details["worst_pairs"]``.
    """
    both = pooled(inputs)
    chosen = pairs(len(inputs.schema.columns), rng=rng)
    if both.fewest < MIN_PATIENTS or not chosen:
        note = "Too few patients or rows." if chosen else "A table of one column has no pairs."
        empty = {"worst": insufficient(both.fewest), "mean": insufficient(both.fewest)}
        return _result(empty, status="insufficient", note=note)
    features = [_features(both, j) for j in range(len(inputs.schema.columns))]
    squares = np.array([difference(features[a], features[b]) for a, b in chosen])
    ends = bounds(squares, (1 - CONFIDENCE) / 2 / len(chosen))
    values = np.sqrt(np.maximum(squares[:, 0], 0.0))
    n = len(both.synthetic)
    names = [column.name for column in inputs.schema.columns]
    order = np.argsort(-values)[:WORST]
    listed = [
        {
            "columns": [names[j] for j in chosen[i]],
            "difference": float(values[i]),
            "low": float(ends[0][i]),
            "high": float(ends[1][i]),
        }
        for i in order
    ]
    value, low, high = float(values.max()), float(ends[0].max()), float(ends[1].max())
    estimates = {
        "worst": Estimate(value, min(low, value), max(high, value), n=n),
        "mean": _mean(squares, n),
    }
    return _result(estimates, details={"pairs": len(chosen), "worst_pairs": listed})


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures, of a pair of numbers."""
    n_columns = len(declared.schema.columns)
    real, n = declared.train + declared.holdout, declared.synthetic
    n_pairs = n_columns * (n_columns - 1) // 2
    fewest = min(declared.train, declared.holdout, declared.synthetic)
    if not n_pairs or fewest < MIN_PATIENTS:
        note = "Too few patients or rows." if n_pairs else "A table of one column has no pairs."
        return _result({"worst": insufficient(fewest)}, status="insufficient", note=note)
    noise = 1 / real + 1 / n
    square = np.array([[0.0, noise, 2 * noise**2, 0.0]])
    high = float(bounds(square, (1 - CONFIDENCE) / 2 / n_pairs)[1][0])
    return _result({"worst": enough(Estimate(0.0, 0.0, high, n=n), fewest, MIN_PATIENTS)})


Features = tuple[np.ndarray, np.ndarray]


def _features(both: Pooled, place: int) -> Features:
    """Return a column's features of real and synthetic records, centred and in units of their deviation."""
    column = both.schema.columns[place]
    real, synthetic = (codes_of(column, frame[column.name]) for frame in (both.real, both.synthetic))
    absent = [np.isnan(codes) for codes in (real, synthetic)]
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    if column.kind == "category":
        counts = np.bincount(real[~absent[0]].astype(int), minlength=len(column.labels))
        common = np.flatnonzero(counts >= RARE * len(real))
        parts += [(real == label, synthetic == label) for label in common]
        parts.append(
            tuple(
                ~gone & ~np.isin(codes, common) for codes, gone in zip((real, synthetic), absent, strict=True)
            )
        )
    else:
        parts.append(tuple(np.nan_to_num(ranks(real, codes)) for codes in (real, synthetic)))
    parts.append((absent[0], absent[1]))
    kept = [part for part in parts if _share(part[0]) >= RARE or _share(part[1]) >= RARE]
    marks = column.kind == "category"
    scaled = [_scaled(*part, mark=marks or part is parts[-1]) for part in kept]
    if not scaled:
        return np.zeros((len(real), 1)), np.zeros((len(synthetic), 1))
    return np.column_stack([one for one, _ in scaled]), np.column_stack([other for _, other in scaled])


def _share(part: np.ndarray) -> float:
    return float((part != 0).mean()) if len(part) else 0.0


def _scaled(real: np.ndarray, synthetic: np.ndarray, *, mark: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides less their means, over their deviation: of a mark the root of its share.

    A deviation is no less than half of the real one's, so that what one side lacks does not blow up.
    """
    means = [float(values.mean()) for values in (real, synthetic)]
    spreads = [
        math.sqrt(mean) if mark else float(values.std())
        for mean, values in zip(means, (real, synthetic), strict=True)
    ]
    largest = max(spreads)
    return tuple(  # type: ignore[return-value]
        (values - mean) / max(spread, largest / 2, 1e-9)
        for values, mean, spread in zip((real, synthetic), means, spreads, strict=True)
    )


def difference(first: Features, second: Features) -> tuple[float, float, float, float]:
    """Return a pair's squared difference without chance's part, and what its distribution is made of.

    The products of two features have the mean correlation, and this mean the covariance S over the records.
    The plain squared difference exceeds the true one by tr S, and varies by 2 tr S^2 + 4 d'S d.

    Returns:
        The square, tr S, 2 tr S^2, and 4 d'S d less its own noise.
    """
    means, covariances = [], []
    for one, other in zip(first, second, strict=True):
        products = (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)
        mean = products.mean(axis=0)
        products -= mean
        means.append(mean)
        covariances.append(products.T @ products / (len(one) - 1) / len(one))
    step, spread = means[1] - means[0], covariances[0] + covariances[1]
    noise, pairs_ = float(np.trace(spread)), 2 * float((spread**2).sum())
    single = 4 * float(step @ spread @ step) - 2 * pairs_
    return float(step @ step) - noise, noise, pairs_, single


def bounds(squares: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of each pair's interval, each missed with probability ``tail``.

    The plain square over its unit is noncentral chi-squared, with the degrees of freedom that mean and
    variance of chance's part imply; the noncentrality is found that makes what was seen as unlikely as
    ``tail``.

    Source: Satterthwaite (1946), Biometrics Bulletin 2:110.
    """
    from scipy.special import chndtr, chndtrinc

    square, noise, spread = (np.asarray(squares[:, i], dtype=float) for i in (0, 1, 2))
    noise = np.maximum(noise, 1e-12)
    unit = np.maximum(spread / 2 / noise, BIASED * noise / 1e3)
    freedom = noise / unit
    seen = np.maximum(square + noise, 0.0) / unit
    ends = []
    for level in (1 - tail, tail):
        inside = chndtr(seen, freedom, 0.0) > level
        found = np.where(inside, chndtrinc(np.maximum(seen, 1e-9), freedom, level), 0.0)
        ends.append(np.sqrt(np.maximum(np.nan_to_num(found), 0.0) * unit))
    return ends[0], ends[1]


def _mean(squares: np.ndarray, n: int) -> Estimate:
    """Return the root of the mean square over pairs, without an interval: pairs share columns."""
    value = math.sqrt(max(float(squares[:, 0].mean()), 0.0))
    nan = float("nan")
    return Estimate(value, nan, nan, n=n)


def _result(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Dependence of pairs of columns"
    return result("fidelity_associations", title, DEFINITION, estimates, better="lower", **more)
