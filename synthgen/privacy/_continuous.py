"""Turn 64-bit words of a cryptographic source into Gaussian noise, Poisson masks and record choices.

Only integers are drawn; what is made of them here is the same for every source, so a test with a
seeded source tests the code that protects patients.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Words = Callable[[int], npt.NDArray[np.uint64]]
"""Returns that many independent uniform 64-bit words."""

_CHUNK = 16384  # words at a time, so that the work stays in the cache


def uniforms(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Return numbers strictly between 0 and 1: the middles of 2**52 equal cells, all exact in float64.

    Example:
        >>> uniforms(np.array([0, 2**64 - 1], dtype=np.uint64)) == [2.0**-53, 1 - 2.0**-53]
        array([ True,  True])
    """
    bits = words >> np.uint64(12)
    bits |= np.uint64(0x3FF0000000000000)  # the exponent of numbers from 1 to below 2
    numbers = bits.view(np.float64)
    numbers -= 1 - 2.0**-53
    return numbers


def gaussian(words: Words, size: int) -> npt.NDArray[np.float64]:
    """Return standard normal numbers by the inverse of the distribution function.

    Their values end at 8.2 standard deviations, which moves the distribution by less than 2**-52 a
    number in total variation; what floating point leaks beyond that is left to the caller's rounding.

    Source: Mironov (2012) for the leak of floating-point noise; arXiv:2112.05307 for its size at float64.
    """
    from scipy.special import ndtri

    out = np.empty(size, dtype=np.float64)
    for start in range(0, size, _CHUNK):
        stop = min(start + _CHUNK, size)
        out[start:stop] = ndtri(uniforms(words(stop - start)))
    return out


def bernoulli(words: Words, size: int, rate: float) -> npt.NDArray[np.bool_]:
    """Return independent coins; the chance of True is ``rate`` rounded down to a multiple of 2**-64.

    Example:
        >>> bernoulli(lambda n: np.array([0, 2**63], dtype=np.uint64), 2, 0.5).tolist()
        [True, False]
    """
    if rate >= 1:
        return np.ones(size, dtype=np.bool_)
    return np.asarray(words(size) < np.uint64(int(rate * 2.0**64)), dtype=np.bool_)


def below(words: Words, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each bound a whole number from 0 to below it, uniform up to one part in 2**20.

    Example:
        >>> below(lambda n: np.array([0, 2**63], dtype=np.uint64), np.array([5, 5])).tolist()
        [0, 2]
    """
    drawn = np.floor(uniforms(words(bounds.size)) * bounds.reshape(-1))
    return np.minimum(drawn.astype(np.int64), bounds.reshape(-1) - 1).reshape(bounds.shape)
