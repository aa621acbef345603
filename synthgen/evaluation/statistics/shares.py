"""Intervals at 95 % of a difference of two shares: of different patients, and of the same ones.

Newcombe's square-and-add of two independent shares is a little too wide where hits are few (96 % of its
intervals hold the truth at 8 of 400 against 6 of 300), and much too wide for two shares of the same patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.evaluation.base import Estimate
from synthgen.evaluation.statistics.intervals import CONFIDENCE, Z, quantile, wilson

SURE = 6
"""Rows expected to hit a patient from which on the patient is hit whichever rows are drawn."""
SMALLEST = 1e-300
"""Chance below which none is told from another."""
TINY = 1e-12
"""How far off the difference its ends are sought at least: at 0 hits its variance is 0 there."""


def independent_shares(
    hits: float, n: float, other_hits: float, other_n: float
) -> tuple[float, float, float]:
    """Return the difference of two independent shares, and the interval of all truths that are not rejected.

    A truth is kept if the difference lies within 1.96 of the standard deviations that the likeliest pair of
    shares of this very difference implies.

    Source: Mee (1984), Biometrics 40:1175; the pair by Miettinen and Nurminen (1985), Statistics in Medicine
    4:213, appendix 1.

    Example:
        >>> [round(bound, 3) for bound in independent_shares(56, 70, 48, 80)]
        [0.2, 0.053, 0.338]
    """
    from scipy.optimize import brentq

    value = hits / n - other_hits / other_n

    def beyond(truth: float) -> float:
        first, second = _likeliest(truth, hits, n, other_hits, other_n)
        variance = first * (1 - first) / n + second * (1 - second) / other_n
        return (value - truth) ** 2 - Z**2 * variance

    low = brentq(beyond, -1.0, value - TINY) if value > -1 else value
    high = brentq(beyond, value + TINY, 1.0) if value < 1 else value
    return float(value), float(low), float(high)


@dataclass(frozen=True)
class Compared:
    """How many members and how many non-members an event befell.

    Where nothing leaks, whom the generator saw is a random choice of ``n`` out of all, given the synthetic
    rows and everybody's records. So Fisher's exact test of the hits is a test by permutation of membership:
    it holds whatever the hits have in common, such as the synthetic rows, and however few they are.

    Attributes:
        hits: members.
        n: all members.
        other_hits: non-members.
        other_n: all non-members.

    Source: Fisher (1935), The Design of Experiments, section 21.
    """

    hits: int
    n: int
    other_hits: int
    other_n: int

    @property
    def value(self) -> float:
        """Share of members minus share of non-members."""
        return self.hits / self.n - self.other_hits / self.other_n

    @property
    def chance(self) -> float:
        """Probability of as many hits among members or more, if membership has nothing to do with them."""
        from scipy.stats import hypergeom

        patients, hits = self.n + self.other_n, self.hits + self.other_hits
        return max(float(hypergeom.sf(self.hits - 1, patients, hits, self.n)), SMALLEST)

    def estimate(self, tries: int = 1) -> Estimate:
        """Return the difference, with an interval.

        The lower end of a positive difference lies so that an interval of any level leaves 0 out exactly
        where the test rejects at that level; the upper end is Mee's.

        Args:
            tries: comparisons of which this is the most significant: the interval holds for all (Bonferroni).

        Example:
            >>> found = Compared(20, 2000, 0, 2000).estimate()
            >>> [round(end, 4) for end in (found.value, found.low, found.high)]
            [0.01, 0.0059, 0.0154]
        """
        from scipy.special import ndtri

        value, low, high = independent_shares(self.hits, self.n, self.other_hits, self.other_n)
        if tries > 1:
            wider = float(ndtri((1 - CONFIDENCE) / 2 / tries)) / -Z
            low, high = value - wider * (value - low), value + wider * (high - value)
        if value > 0:
            deviations = -float(ndtri(min(self.chance * tries, 0.5)))
            low = value - value * Z / deviations if deviations > Z else min(low, 0.0)
        return Estimate(value, low, high, n=self.n + self.other_n)


def most_significant(found: Sequence[Compared]) -> Estimate:
    """Return the comparison that chance explains least, with an interval that holds for all of them together.

    Its value was chosen for being large, so it is larger than the truth by chance; the interval counts that
    in.

    Args:
        found: comparisons of the same patients or of parts of them; at least one.
    """
    return min(found, key=lambda one: one.chance).estimate(len(found))


def _likeliest(truth: float, hits: float, n: float, other_hits: float, other_n: float) -> tuple[float, float]:
    """Return the likeliest pair of shares that differ by ``truth``: a root of a cubic."""
    total = n + other_n
    square = (n + 2 * other_n) * truth - total - hits - other_hits
    linear = (other_n * truth - total - 2 * other_hits) * truth + hits + other_hits
    constant = other_hits * truth * (1 - truth)
    middle = square / (3 * total)
    q = middle**3 - middle * linear / (2 * total) + constant / (2 * total)
    p = math.copysign(math.sqrt(max(middle**2 - linear / (3 * total), 0.0)), q)
    angle = (math.pi + math.acos(min(max(q / p**3, -1.0), 1.0))) / 3 if p else 0.0
    second = min(max(2 * p * math.cos(angle) - middle, 0.0, -truth), 1.0, 1.0 - truth)
    return second + truth, second


@dataclass(frozen=True)
class Shared:
    """A variance that patients have in common.

    Attributes:
        variance: its unbiased estimate, which may be below 0.
        error: variance of the estimate.
    """

    variance: float = 0.0
    error: float = 0.0

    def __add__(self, other: Shared) -> Shared:
        """Return the variance of a difference of two figures whose rows are drawn apart."""
        return Shared(self.variance + other.variance, self.error + other.error)


NOTHING = Shared()


def paired_shares(
    first: np.ndarray, second: np.ndarray, *, shared: Shared = NOTHING
) -> tuple[float, float, float]:
    """Return the difference of two shares of the same patients, and its interval.

    Patients who are easily hit once are easily hit twice, so that the two shares vary together: the intervals
    of both are joined by their correlation among patients. Each is Wilson's for as many patients as would
    vary so if each were hit or not, since a chance of a hit varies less than a hit.

    Args:
        first: what each patient adds to the first share, 0 to 1: hit or not, or the chance of it.
        second: the same of the other.
        shared: variance that the patients have in common, of `variance_of_rows`. It scales the interval, and
            is never believed to take more than half of the patients' own. How far it is known sets the
            degrees of freedom: those of a variance whose estimate has this error.

    Source: Newcombe (1998), Statistics in Medicine 17:2635, method 10 less its correction for continuity;
    effective numbers by Korn and Graubard (1998), Survey Methodology 24:193; degrees of freedom by
    Satterthwaite (1946), Biometrics Bulletin 2:110.

    Example:
        >>> hit, other = np.repeat([1.0, 1.0, 0.0], [40, 20, 40]), np.repeat([1.0, 0.0, 0.0], [40, 20, 40])
        >>> [round(bound, 3) for bound in paired_shares(hit, other)]
        [0.2, 0.12, 0.274]
    """
    shares = [float(part.mean()) for part in (first, second)]
    (low1, high1), (low2, high2) = (
        wilson(share * n, n) for share, n in zip(shares, (_effective(first), _effective(second)), strict=True)
    )
    deviations = float(first.std()) * float(second.std())
    together = float(np.cov(first, second, bias=True)[0, 1]) / deviations if deviations > 0 else 0.0
    below, above = shares[0] - low1, high1 - shares[0]
    other_below, other_above = shares[1] - low2, high2 - shares[1]
    value = shares[0] - shares[1]
    own = float((first - second).var()) / len(first)
    scale = _scale(own, shared) if own > 0 else 1.0
    return (
        value,
        value - scale * math.sqrt(max(below**2 - 2 * together * below * other_above + other_above**2, 0.0)),
        value + scale * math.sqrt(max(above**2 - 2 * together * above * other_below + other_below**2, 0.0)),
    )


def _scale(own: float, shared: Shared) -> float:
    """Return how much longer an interval is than that of the patients' own variance.

    What patients share is estimated below 0, but is not: for the degrees of freedom it is 0 at least.
    """
    whole = max(own + shared.variance, own / 2)
    freedom = 2 * max(whole, own) ** 2 / shared.error if shared.error > 0 else math.inf
    sure = quantile(max(freedom, 1.0)) / Z
    return math.sqrt(whole / own) * sure


def variance_of_rows(patients: np.ndarray, rows: np.ndarray, *, n: int, total: int, size: int) -> Shared:
    """Return what the draw of rows adds to a share's variance beyond patients who are hit independently.

    The share is that of patients whom ``size`` of ``total`` rows hit, in expectation over which. Its variance
    is that among patients given the rows, plus that among draws of rows of its mean over all patients there
    are (the law of total variance). The latter is the mean covariance of two patients, which is 0 unless one
    row hits both. Of a share ``p`` of rows, Poisson numbers ``c`` and ``d`` that hit the two and ``m`` that
    hit both, it has the unbiased estimate ``(1 - p)**(c + d) - (1 - p)**(c + d - 2 m) * (1 - 2 p)**m``: with
    all rows, 1 for two patients hit by one row and no other, -1 for two hit by the same two. That rows are of
    fixed number, so that one which hits one patient misses another, takes a little off. A mean over pairs of
    patients errs by what each patient adds to it and by what is left of each pair, which what patients add
    holds twice (Hoeffding, 1948, Annals of Mathematical Statistics 19:293).

    Args:
        patients: whom each hit hits, a number from 0. A row counts once a patient.
        rows: of which row the hit is.
        n: patients.
        total: rows.
        size: how many of them are drawn.
    """
    from scipy.sparse import csr_array

    p = size / total
    patients, rows = np.unique(np.stack([patients, rows]), axis=1)
    counts = np.bincount(patients, minlength=n)
    alone = float((counts * (1 - p) ** np.maximum(counts - 1, 0)).sum()) * p / n
    few = counts[patients] <= SURE / p
    hits = csr_array((np.ones(int(few.sum())), (patients[few], rows[few])), shape=(n, total))
    both = (hits @ hits.T).tocoo()
    apart = both.row != both.col
    m, c = both.data[apart], counts[both.row[apart]] + counts[both.col[apart]]
    pairs = (1 - p) ** c - (1 - p) ** (c - 2 * m) * (1 - 2 * p) ** m
    added, squares = (np.bincount(both.row[apart], pairs**k, minlength=n) / (n - 1) for k in (1, 2))
    left = float((squares - added**2).mean()) / (n - 1)
    error = max(4 * float(added.var()) - 2 * left, 2 * left) / n
    return Shared(float(added.mean()) - alone**2 / total, error)


def _effective(part: np.ndarray) -> float:
    """Return how many patients, each hit or not, would vary as much as these chances."""
    share, variance = float(part.mean()), float(part.var())
    return len(part) * (share * (1 - share) / variance if variance > 0 else 1.0)
