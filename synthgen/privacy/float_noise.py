"""Turn 64-bit words of a cryptographic source into Gaussian noise, Poisson masks and record choices.

Only integers are drawn; what is made of them here is the same for every source, so a test with a
seeded source tests the code that protects patients.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Words = Callable[[int], npt.NDArray[np.uint64]]
"""Returns that many independent uniform 64-bit words."""

_CHUNK = 16384  # words at a time, so that the work stays in the cache
_SPACING_BITS = 8


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


def halves(words: Words, size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return numbers above 0 and at most 1/2, each exact in its 52 leading bits however small, and coins.

    A word gives the coin and the 63 leading bits. Where fewer than 53 of these are significant, the bits of
    a further word follow them, so that gaps are 2**-52 of the number or less down to 2**-75; the smallest
    is 2**-129.

    Example:
        >>> numbers, coins = halves(lambda n: np.zeros(n, dtype=np.uint64), 1)
        >>> numbers == [2.0**-129], coins
        (array([ True]), array([False]))
    """
    first = words(size)
    coins = (first & np.uint64(1)).astype(np.bool_)
    first = first >> np.uint64(1)
    numbers = first.astype(np.float64)
    few = np.flatnonzero(first < np.uint64(2**53))  # exact in float64 until here
    if few.size:
        numbers[few] += np.ldexp(words(few.size).astype(np.float64) + 0.5, -64)
    return np.ldexp(numbers, -64), coins


def gaussian(words: Words, size: int) -> npt.NDArray[np.float64]:
    """Return standard normal numbers: one half of the distribution function inverted, and a random sign.

    What is measured by ``tests/privacy/test_float_noise.py``: as a function of the words the numbers are
    monotone on each side, they reach to 13 standard deviations (beyond lies a mass of 2**-128), and each
    number's distribution function is that of the exact normal distribution up to a shift of the argument by
    at most ``2**-48``, also in the tails, where 52 bits that are equally spaced between 0 and 1 would leave
    gaps (wider than a float32 step beyond 6.4 standard deviations, a mass of 1.6e-10). `spacing` says what
    the caller must do with the last bits.

    Source: Mironov (2012) for the leak of floating-point noise; Holohan and Braghin (2021),
    arXiv:2107.10138, for attacks on its last bits.
    """
    from scipy.special import ndtri

    out = np.empty(size, dtype=np.float64)
    for start in range(0, size, _CHUNK):
        stop = min(start + _CHUNK, size)
        numbers, coins = halves(words, stop - start)
        drawn = ndtri(numbers)
        np.negative(drawn, out=drawn, where=coins)
        out[start:stop] = drawn
    return out


def spacing(sigma: float) -> float:
    """Return the power of two that noised sums are rounded to multiples of: 2**-8 of ``sigma`` or less.

    The last bits of ``sum + noise`` depend on the bits of the sum, and a float32 near zero would show them.
    A multiple of the spacing stands for an interval of more than 2**-9 standard deviations, which is coarse
    beside the errors of float64 arithmetic and fine beside the noise: it adds less than 1.3e-6 to its
    variance. Rounding is post-processing.

    Example:
        >>> spacing(1.0), spacing(1.5), spacing(0.9)
        (0.00390625, 0.00390625, 0.001953125)
    """
    return math.ldexp(1.0, math.frexp(sigma)[1] - 1 - _SPACING_BITS)


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
