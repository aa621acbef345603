"""Score interval of the ratio of two shares.

A ratio is kept if the two shares lie within chance of the likeliest pair of shares that has it. Near 1 few
misses decide, and an interval from the shares' own variance is a point where neither sample has a miss.
"""

from __future__ import annotations

import math

HALVINGS = 60


def ratio_of_shares(first: float, second: float, size: float, *, z: float) -> tuple[float, float]:
    """Return the interval of the ratio of two shares of as many points each.

    Args:
        first: the share above, 0 to 1.
        second: the share below, above 0.
        size: independent points that either share rests on.
        z: quantile of the interval, on both sides.

    Source: Koopman (1984), Biometrics 40:513; Miettinen and Nurminen (1985), Statistics in Medicine 4:213,
    the likeliest pair.

    Example:
        >>> [round(end, 3) for end in ratio_of_shares(0.9, 0.9, 100, z=1.96)]
        [0.905, 1.105]
        >>> [round(end, 3) for end in ratio_of_shares(1.0, 1.0, 100, z=1.96)]
        [0.963, 1.038]
    """
    middle = first / second
    beyond = 2 * middle + 1
    while _kept(beyond, first, second, size / z**2):
        beyond *= 2
    ends = []
    for outside in (0.0, beyond):
        inside = middle
        for _ in range(HALVINGS):
            tried = (inside + outside) / 2
            if _kept(tried, first, second, size / z**2):
                inside = tried
            else:
                outside = tried
        ends.append(inside)
    return ends[0], ends[1]


def _kept(ratio: float, first: float, second: float, weight: float) -> bool:
    """Return whether the shares are within chance of this ratio; ``weight`` is the size over z squared."""
    below = _likeliest(ratio, first, second)
    above = min(ratio * below, 1.0)
    variance = above * (1 - above) + ratio**2 * below * (1 - below)
    return weight * (first - ratio * second) ** 2 <= variance


def _likeliest(ratio: float, first: float, second: float) -> float:
    """Return the share below that is likeliest where the share above is ``ratio`` times it."""
    linear = ratio * (1 + second) + first + 1
    root = math.sqrt(max(linear**2 - 8 * ratio * (first + second), 0.0))
    return min(2 * (first + second) / (linear + root), 1.0)
