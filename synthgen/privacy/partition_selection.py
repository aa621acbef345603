"""Learn which categories a column has, without showing one that a single patient brought.

A histogram over categories that nobody listed beforehand is noised only where a record is, so its
very entries could give a patient away. Counts below a threshold are left out, and the threshold is
so high that what one patient brought alone passes it with a probability that is part of delta. A
fixed threshold (five, say) is no such thing.
"""

from __future__ import annotations

import math

import numpy as np

from synthgen.privacy.marginal_queries import LATTICE, weighted_marginal
from synthgen.privacy.noise import NoiseSource


def survival(threshold: float, *, sigma: float, max_records: int) -> float:
    """Return how likely anything that one patient alone holds passes a threshold, at most.

    A patient's k <= max_records records weigh 1/k each and may lie in as many categories of its own.
    Tails of a Gaussian are convex beyond its mean, so of all ways to share the weight one category with
    all of it and the others with none is the worst: ``P(N > t - 1) + (max_records - 1) P(N > t)``.

    Args:
        threshold: in patients, at least 1.
        sigma: standard deviation of the noise, in patients.
        max_records: records that a patient may contribute.
    """
    from scipy.special import ndtr

    if threshold < 1:
        raise ValueError(f"Expected a threshold of at least one patient, got {threshold}.")
    # The discrete Gaussian's tail lies below the continuous one's a lattice unit earlier (Canonne, Kamath and
    # Steinke, 2020, arXiv:2004.00010, Proposition 25).
    unit = 1 / LATTICE
    return float(ndtr((1 + unit - threshold) / sigma) + (max_records - 1) * ndtr((unit - threshold) / sigma))


def threshold_for(delta: float, *, sigma: float, max_records: int) -> float:
    """Return the smallest threshold, in patients, whose `survival` is at most delta.

    Example:
        >>> threshold = threshold_for(1e-9, sigma=10.0, max_records=4)
        >>> round(threshold, 1), survival(threshold, sigma=10.0, max_records=4) <= 1e-9
        (62.5, True)
    """
    from scipy.optimize import brentq

    if not (0 < delta < 0.5 and sigma > 0):
        raise ValueError(f"Expected 0 < delta < 0.5 and sigma > 0, got {delta=}, {sigma=}.")

    def excess(threshold: float) -> float:
        found = survival(threshold, sigma=sigma, max_records=max_records)
        return math.log(max(found, 1e-320)) - math.log(delta)

    if excess(1.0) <= 0:
        return 1.0
    found = float(brentq(excess, 1.0, 2.0 + 40.0 * sigma, xtol=1e-9))
    while excess(found) > 0:
        found += 1e-6 * sigma
    return found


def stable_histogram(
    codes: np.ndarray,
    weights: np.ndarray,
    n_categories: int,
    *,
    sigma: float,
    threshold: float,
    noise: NoiseSource,
) -> np.ndarray:
    """Return the noisy counts of the categories that are held by enough patients.

    Guarantee:
        ``delta``-approximate ``1 / (2 sigma**2)``-zCDP when a patient comes or goes, with the `survival` of
        the threshold as delta: but for that event the output holds only categories that others hold too, and
        over these the counts move by at most `LATTICE` in the L2 norm. What survives is chosen by noisy
        counts, and what is returned holds nothing of the rest.

    Args:
        codes: int array, the category of each record, negative where it is missing. Sensitive.
        weights: int64 lattice weight of each record, over all of its patient's records. Sensitive.
        n_categories: number of categories that occur. Sensitive.
        sigma: standard deviation of the noise, in patients.
        threshold: in patients, see `threshold_for`.
        noise: source of the noise.

    Returns:
        counts in patients, " category"; NaN for the categories that stay hidden.

    Source: Korolova et al. (2009); Bun, Nissim and Stemmer (2016), arXiv:1511.08552, stability-based
        histogram; Gaussian noise: Swanberg et al. (2023), arXiv:2301.01998.
    """
    known = codes >= 0
    exact = weighted_marginal([codes[known]], [max(n_categories, 1)], weights[known])[:n_categories]
    noisy = noise.discrete_gaussian(exact, sigma=sigma * LATTICE)
    return np.where(noisy > math.ceil(threshold * LATTICE), noisy / LATTICE, np.nan)
