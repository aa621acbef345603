"""Area under the ROC curve with weights, many draws at once, and DeLong's interval."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from synthgen.evaluation.base import Estimate
from synthgen.evaluation.statistics.intervals import Z, insufficient


def weighted_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted AUROC, ties counted by half, for each row of weights.

    Args:
        scores: one a record.
        positive: boolean, one a record.
        weights: ``(draw, record)``; a draw without positives or negatives gives NaN.

    Returns:
        float64, one a draw.

    Example:
        >>> weighted_auc(np.array([1.0, 2.0, 2.0]), np.array([False, True, False]), np.ones((1, 3)))
        array([0.75])
    """
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    ordered, hit = weights[:, order], positive[order]
    first, last = (
        np.searchsorted(scores[order], scores[order][hit], side=side) for side in ("left", "right")
    )
    below = np.zeros((len(weights), len(scores) + 1))
    np.cumsum(np.where(hit, 0.0, ordered), axis=1, out=below[:, 1:])
    above = ordered[:, hit]
    with np.errstate(invalid="ignore", divide="ignore"):
        beaten = (below[:, first] + below[:, last]) / (2 * below[:, -1:])
        return np.asarray((above * beaten).sum(axis=1) / above.sum(axis=1))


def placements(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of others that each member beats, and of members that beat each other, ties by half.

    Source: DeLong et al. (1988), Biometrics 44:837, by the midranks of Sun and Xu (2014).
    """
    m, n = len(members), len(others)
    both = _midranks(np.concatenate([members, others]))
    return (both[:m] - _midranks(members)) / n, 1 - (both[m:] - _midranks(others)) / m


def delong(members: np.ndarray, others: np.ndarray) -> Estimate:
    """Return the AUROC of members against others, ties by half, with DeLong's interval; see `placements`.

    The interval is one of the log odds, which lie evenly about theirs where an area is far from a half; where
    either side beats the other throughout it is a point.

    Source: Pepe (2003), The Statistical Evaluation of Medical Tests, section 5.2.5, for the log odds.

    Example:
        >>> found = delong(np.array([2.0, 3.0, 5.0, 6.0]), np.array([1.0, 2.5, 4.0]))
        >>> [round(end, 2) for end in (found.low, found.value, found.high)]
        [0.24, 0.75, 0.97]
    """
    m, n = len(members), len(others)
    if min(m, n) < 2:
        return insufficient(m + n)
    beats, beaten = placements(members, others)
    value = float(beats.mean())
    if not 0 < value < 1:
        return Estimate(value, value, value, n=m + n)
    half = Z * float(np.sqrt(beats.var(ddof=1) / m + beaten.var(ddof=1) / n)) / (value * (1 - value))
    low, high = (float(expit(logit(value) + step)) for step in (-half, half))
    return Estimate(value, low, high, n=m + n)


def _midranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=float)
