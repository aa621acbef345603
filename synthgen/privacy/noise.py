"""Draw the noise that protects patients.

Private noise and secret masks come from here and from nowhere else. For counts and scalars the operating
system's source draws exactly, on integers, with opendp: floating-point noise leaks through its lowest bits
(Mironov, 2012; Casacuberta et al., 2022, arXiv:2207.10635). Gradients get float64 noise made of the
operating system's words, and the noised sum is rounded to multiples of a public spacing. Tests inject a
seeded source, or none at all to measure sensitivity; both carry ``is_private = False``, which a fit on real
patients must refuse.
"""

from __future__ import annotations

import functools
import math
import secrets
import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from synthgen.privacy import float_noise

Integers = npt.NDArray[np.int64]

_LATTICE_BITS = 20
_LARGEST_SCORE = 2**62
_ROUNDED_UP = 1 + 2.0**-40
_EXACT_BELOW_SIGMA = 30.0


class NoiseSource(ABC):
    """Where noise comes from: `system`, or `for_tests` and `none`, which protect nobody.

    Attributes:
        is_private: whether the noise protects. False means that no real patient may be read with it.

    Example:
        >>> NoiseSource.none().discrete_gaussian(np.array([40, 60]), sigma=1.0)
        array([40, 60])
        >>> NoiseSource.none().is_private, NoiseSource.system().is_private
        (False, True)
    """

    is_private: bool = False

    @staticmethod
    def system() -> NoiseSource:
        """Return the source for real patients: exact samplers on the operating system's entropy."""
        return _SystemNoise()

    @staticmethod
    def for_tests(seed: int) -> NoiseSource:
        """Return a source with the same distributions that repeats under its seed. Protects nobody."""
        return _SeededNoise(seed)

    @staticmethod
    def none() -> NoiseSource:
        """Return a source without noise, to measure sensitivity in tests. Protects nobody."""
        return _NoNoise()

    def discrete_gaussian(self, values: Integers, *, sigma: float) -> Integers:
        """Add independent discrete Gaussian noise to integers.

        Guarantee:
            ``rho``-zCDP with ``rho = sensitivity**2 / (2 * sigma**2)``, where ``sensitivity`` bounds how far
            adding or removing one patient moves ``values`` in the L2 norm, in the same lattice units.

        Args:
            values: exact integers of any shape, in lattice units. Sensitive.
            sigma: parameter of the noise, in lattice units. From 1 on it is the standard deviation up to
                one part in a million; below, the standard deviation is smaller.

        Returns:
            Noisy integers of the same shape. May be negative. Safe to log.

        Raises:
            ValueError: ``sigma`` is not positive and finite, or ``values`` is not an int64 array.

        Source: Canonne, Kamath and Steinke (2020), arXiv:2004.00010, Theorem 14.
        """
        if not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(f"Expected sigma > 0 lattice units, got {sigma=}. Use the sigma of the plan.")
        if not isinstance(values, np.ndarray) or values.dtype != np.int64:
            raise ValueError("Expected an int64 array. Scale the values to the public integer lattice first.")
        if values.size == 0:
            return values.copy()
        return self._gaussian(values.reshape(-1), sigma).reshape(values.shape)

    def select(self, scores: npt.NDArray[Any], *, epsilon: float, sensitivity: float) -> int:
        """Draw an index with probability proportional to ``exp(epsilon * score / (2 * sensitivity))``.

        Integer scores with an integer sensitivity are used as they are. Other scores are rounded down to
        a lattice of the largest power of two that is at most ``sensitivity / 2**20``. Rounding moves the
        difference of two scores by less than one lattice unit and the scores' own floating-point error by
        less than another, so the mechanism assumes ``ceil(sensitivity / unit) + 1`` units: it spends at
        most two millionths of epsilon on rounding.

        Guarantee:
            ``epsilon``-DP and ``epsilon**2 / 8``-zCDP, where ``sensitivity`` bounds how far adding or
            removing one patient moves any single score. Book it with `synthgen.privacy.accountant.selection`.

        Args:
            scores: one score a candidate, at least one. Sensitive.
            epsilon: the selection's epsilon.
            sensitivity: in the scores' unit. Weighted scores need the largest weight among the candidates.

        Returns:
            Index of the drawn candidate, from 0. Safe to log.

        Raises:
            ValueError: an argument is not positive and finite, or the scores are not a vector of numbers.

        Source: McSherry and Talwar (2007); Cesar and Rogers (2021), arXiv:2004.07223, Lemma 3.3 for zCDP.

        Example:
            >>> NoiseSource.none().select(np.array([1, 9, 4]), epsilon=1.0, sensitivity=1)
            1
        """
        for name, value in (("epsilon", epsilon), ("sensitivity", sensitivity)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Expected {name} > 0, got {value}. Use the number of the plan.")
        lattice, units = on_lattice(scores, sensitivity)
        return self._select(lattice, epsilon, units)

    def gaussian(self, size: int, *, sigma: float) -> npt.NDArray[np.float64]:
        """Return independent Gaussian noise for a sum of clipped gradients.

        Guarantee:
            Added to a float64 sum that one unit moves by at most ``sensitivity``, and rounded to multiples
            of `spacing`, it costs as much as ``GaussianDpEvent(sigma / sensitivity)`` up to what float64
            leaves: with sums of at most ``64 * sigma``, each released multiple has the probability that
            exact arithmetic gives it within a factor of ``1 +- 2**-36``, outside a mass of 2**-80 (measured
            in ``tests/privacy/test_float_noise.py``). A million numbers in each of a thousand steps move
            epsilon by at most 0.015 in the worst case. Counts and scalars use `discrete_gaussian`, which is
            exact.

        Args:
            size: how many numbers.
            sigma: standard deviation, in the sum's unit.

        Raises:
            ValueError: ``sigma`` is not positive and finite.
        """
        if not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(f"Expected sigma > 0, got {sigma=}. Use the noise of the plan.")
        return sigma * self._normal(size)

    def spacing(self, sigma: float) -> float:
        """Return the power of two to whose multiples a sum with `gaussian` noise must be rounded.

        Args:
            sigma: standard deviation of the noise; the spacing lies between 2**-9 and 2**-8 of it.
        """
        return float_noise.spacing(sigma)

    def poisson_mask(self, size: int, *, rate: float) -> npt.NDArray[np.bool_]:
        """Return which units take part in a step: each by its own coin. Secret, and never stored.

        Args:
            size: number of units. Sensitive.
            rate: the public chance of each, above 0 and at most 1.

        Raises:
            ValueError: the rate is out of range.
        """
        if not 0 < rate <= 1:
            raise ValueError(f"Expected one sampling rate above 0 and at most 1, got {rate}.")
        return float_noise.bernoulli(self._words, size, rate)

    def pick(self, counts: Integers) -> Integers:
        """Return for each entry a whole number from 0 to below it: which of a unit's records to use."""
        if counts.size and counts.min() < 1:
            raise ValueError("Expected at least one record in each unit, got a unit without records.")
        return float_noise.below(self._words, counts)

    def keys(self, size: int) -> Integers:
        """Return a fresh key for each unit, which all that its loss draws in a step follows from.

        They come from the operating system, unless a test's source repeats them. No proof rests on their
        secrecy: a step moves by one clip whatever they are.
        """
        return np.frombuffer(secrets.token_bytes(8 * size), dtype=np.int64).copy()

    def _normal(self, size: int) -> npt.NDArray[np.float64]:
        return float_noise.gaussian(self._words, size)

    def _words(self, size: int) -> npt.NDArray[np.uint64]:
        raise NotImplementedError("This source draws integers only.")

    def query(self, rho: float, about: Sequence[Any]) -> AbstractContextManager[None]:
        """Say what the draws inside cost and what they are about, for a source that keeps answers.

        Args:
            rho: zCDP cost of all draws inside, as it was booked with the plan's filter.
            about: public description of the query, JSON values, such as its columns.

        Example:
            >>> noise = NoiseSource.none()
            >>> with noise.query(0.1, ["sex"]):
            ...     noise.discrete_gaussian(np.array([40, 60]), sigma=1.0)
            array([40, 60])
        """
        return nullcontext()

    @abstractmethod
    def _gaussian(self, values: Integers, sigma: float) -> Integers: ...

    @abstractmethod
    def _select(self, lattice: Integers, epsilon: float, units: int) -> int: ...


def on_lattice(scores: npt.NDArray[Any], sensitivity: float) -> tuple[Integers, int]:
    """Return scores in integer lattice units, and their sensitivity in the same units.

    Scores too large for 62 bits are clipped, which never widens the distance of two scores.

    Raises:
        ValueError: the scores are not a vector of at least one finite number.

    Example:
        >>> on_lattice(np.array([3, 5]), 2)
        (array([3, 5]), 2)
    """
    if scores.ndim != 1 or scores.size == 0 or scores.dtype.kind not in "iuf":
        raise ValueError("Expected a vector with one number a candidate, and at least one candidate.")
    if scores.dtype.kind != "f" and float(sensitivity).is_integer():
        return np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE).astype(np.int64), int(sensitivity)
    numbers = scores.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("Expected finite scores. A score that is not finite is an error in the scoring.")
    exponent = math.floor(math.log2(sensitivity)) - _LATTICE_BITS
    scaled = np.clip(np.ldexp(numbers, -exponent), -float(_LARGEST_SCORE), float(_LARGEST_SCORE))
    return np.floor(scaled).astype(np.int64), math.ceil(math.ldexp(sensitivity, -exponent)) + 1


@functools.cache
def _opendp() -> ModuleType:
    """Import opendp (three seconds) at the first draw."""
    import opendp.prelude

    opendp.prelude.enable_features("contrib")
    return opendp.prelude


class _SystemNoise(NoiseSource):
    """Exact samplers of opendp, on its cryptographic generator seeded by the operating system."""

    is_private = True

    def _words(self, size: int) -> npt.NDArray[np.uint64]:
        # OpenSSL's generator, AES-256-CTR keyed by the operating system: four times as fast as asking it.
        return np.frombuffer(ssl.RAND_bytes(8 * size), dtype=np.uint64)

    def _gaussian(self, values: Integers, sigma: float) -> Integers:
        dp = _opendp()
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
        return np.asarray(dp.m.make_gaussian(*space, scale=sigma)(values), dtype=np.int64)

    def _select(self, lattice: Integers, epsilon: float, units: int) -> int:
        # Under zCDP opendp's noisy max adds Gumbel noise, which is the exponential mechanism; under
        # pure DP it is permute-and-flip, whose range is not bounded, so eps^2/8 would not hold.
        dp = _opendp()
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.linf_distance(T="i64")
        scale = 2 * units / epsilon * _ROUNDED_UP
        mechanism = dp.m.make_noisy_max(*space, dp.zero_concentrated_divergence(), scale=scale)
        if not mechanism.map(units) <= epsilon**2 / 8:
            raise ValueError(
                f"Expected a selection of at most {epsilon**2 / 8} zCDP, got {mechanism.map(units)}."
            )
        return int(mechanism(lattice))


class _SeededNoise(NoiseSource):
    """The same distributions from a seeded NumPy generator."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        # Another thread draws the noise of gradients meanwhile: streams of their own keep draws repeatable.
        self._rng_of_keys = np.random.default_rng([seed, 1])
        self._rng_of_gradients = np.random.default_rng([seed, 2])

    def _words(self, size: int) -> npt.NDArray[np.uint64]:
        return self._rng.integers(0, 2**64, size=size, dtype=np.uint64)

    def _normal(self, size: int) -> npt.NDArray[np.float64]:
        rng = self._rng_of_gradients
        return float_noise.gaussian(lambda n: rng.integers(0, 2**64, size=n, dtype=np.uint64), size)

    def keys(self, size: int) -> Integers:
        """Return keys that repeat under the seed."""
        return self._rng_of_keys.integers(-(2**63), 2**63, size=size, dtype=np.int64)

    def _gaussian(self, values: Integers, sigma: float) -> Integers:
        if sigma > _EXACT_BELOW_SIGMA:  # there a rounded Gaussian is as good: its variance is 1/12 larger
            return values + np.rint(self._rng.normal(0.0, sigma, values.size)).astype(np.int64)
        support = np.arange(-math.ceil(10 * sigma) - 1, math.ceil(10 * sigma) + 2, dtype=np.int64)
        weights = np.exp(-(support.astype(float) ** 2) / (2 * sigma**2))
        draws = self._rng.choice(support, size=values.size, p=weights / weights.sum())
        return np.asarray(values + draws, dtype=np.int64)

    def _select(self, lattice: Integers, epsilon: float, units: int) -> int:
        exponents = epsilon * (lattice - lattice.max()).astype(float) / (2 * units)
        return int(np.argmax(exponents + self._rng.gumbel(size=lattice.size)))


class _NoNoise(NoiseSource):
    """No noise: the exact answer, every unit in every step, and each unit's first record."""

    def _words(self, size: int) -> npt.NDArray[np.uint64]:
        return np.zeros(size, dtype=np.uint64)

    def spacing(self, sigma: float) -> float:
        """Return a spacing that shows the sum as it is: to measure sensitivity."""
        return math.ldexp(super().spacing(sigma), -32)

    def _normal(self, size: int) -> npt.NDArray[np.float64]:
        return np.zeros(size)

    def _gaussian(self, values: Integers, sigma: float) -> Integers:
        return values.copy()

    def _select(self, lattice: Integers, epsilon: float, units: int) -> int:
        return int(np.argmax(lattice))
