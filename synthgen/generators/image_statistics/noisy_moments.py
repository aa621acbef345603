"""Noisy sums of outer products on an integer lattice: count, mean and second moment in one release.

Each record gives a vector ``q`` of integers with ``|q|^2 <= bound``, and what is released of a class is the
symmetric matrix ``sum w q q^T``, whose corner is a count, whose edge is a mean and whose body is a second
moment.

**Sensitivity.** A patient with k records has weights ``w = floor(UNIT / k)``, whatever classes the records
are in, so that ``sum w <= UNIT``. Write a symmetric matrix as its diagonal and ``sqrt(2)`` times what lies
above it: the length of that vector is the Frobenius norm, which is ``|q|^2`` for ``q q^T``. All classes
together are one vector of vectors. Taking a patient away moves it by the patient's own matrices alone, since
a class of other patients is no divisor of anything: a sum is released, not a mean, so a rare class is as
well protected as a common one (dividing by a class's count needs noise over the smallest class, where a
published query used the mean). By the triangle inequality the length of that move is at most ``sum w |q|^2
<= UNIT * bound``. Weights and vectors are integers and all sums are exact, so no rounding is left to argue
about; vectors are rounded towards zero, which only shortens them.

**Noise.** Independent discrete Gaussian noise, of parameter sigma on the diagonal and ``sigma / sqrt(2)``
above it, costs ``sum (move / sigma)^2 / 2 <= (UNIT * bound / sigma)^2 / 2`` in zCDP (Canonne, Kamath and
Steinke 2020, arXiv:2004.00010, Theorem 14 and composition).
"""

from __future__ import annotations

import math

import numpy as np

from synthgen.privacy.noise import NoiseSource

STEPS = 2**10
"""Lattice units of a length of 1."""
UNIT = 2**8
"""Weight of a patient, shared by the records."""
_CHUNK = 2**14
_LARGEST_EXACT = 2**53


def record_weights(unit_codes: np.ndarray, n_units: int) -> np.ndarray:
    """Return each record's weight, int64: those of a unit sum to at most `UNIT`.

    Args:
        unit_codes: int array, the unit of each record, from 0. Sensitive.
        n_units: number of units.
    """
    records = np.bincount(unit_codes, minlength=max(n_units, 1))
    return np.asarray((UNIT // np.maximum(records, 1))[unit_codes], dtype=np.int64)


def to_lattice(vectors: np.ndarray, bound: float) -> np.ndarray:
    """Return vectors as integers of `STEPS` a unit, none longer than ``sqrt(lattice_bound(bound))``.

    Args:
        vectors: ``(record, component)``, whose squared length is at most ``bound`` up to rounding; longer
            ones are shortened, and what is not finite becomes 0. Sensitive.
        bound: largest squared length.
    """
    finite = np.where(np.isfinite(vectors), vectors, 0.0)
    squares = np.einsum("ij,ij->i", finite, finite)
    shrink = np.sqrt(bound / np.maximum(squares, bound))
    whole = np.trunc(finite * shrink[:, None] * STEPS).astype(np.int64)
    long = np.einsum("ij,ij->i", whole, whole) > lattice_bound(bound)
    whole[long] -= np.sign(whole[long])  # the last bit of a float: one step towards zero everywhere is enough
    return np.asarray(whole)


def lattice_bound(bound: float) -> int:
    """Return the largest squared length in lattice units."""
    return math.floor(bound * STEPS**2)


def exact_sums(vectors: np.ndarray, weights: np.ndarray, classes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return ``sum w q q^T`` of each class, int64 ``(class, component, component)``. Sensitive.

    Args:
        vectors: what `to_lattice` returned.
        weights: what `record_weights` returned.
        classes: class of each record, from 0.
        n_classes: public number of classes.

    Raises:
        ValueError: a class is out of range.
    """
    if len(classes) and not 0 <= classes.min() <= classes.max() < n_classes:
        raise ValueError(f"Expected classes from 0 to {n_classes - 1}, got others.")
    size = vectors.shape[1]
    sums = np.zeros((n_classes, size, size), dtype=np.int64)
    largest = int(np.abs(vectors).max(initial=1)) ** 2 * UNIT
    chunk = max(1, min(_CHUNK, _LARGEST_EXACT // largest))  # float64 adds whole numbers below 2**53 exactly
    for c in range(n_classes):
        mine = np.flatnonzero(classes == c)
        for start in range(0, len(mine), chunk):
            rows = mine[start : start + chunk]
            block = vectors[rows].astype(float)
            sums[c] += ((block * weights[rows, None]).T @ block).astype(np.int64)
    return sums


def noisy_sums(sums: np.ndarray, *, bound: float, rho: float, noise: NoiseSource) -> tuple[np.ndarray, float]:
    """Return the sums with noise, in patients, and the noise's standard deviation above the diagonal.

    Guarantee:
        ``rho``-zCDP when neighbours add or remove one patient; see the module's text.

    Args:
        sums: what `exact_sums` returned. Sensitive.
        bound: largest squared length of a vector before the lattice.
        rho: what the release costs.
        noise: source of the noise.

    Returns:
        float64 ``(class, component, component)``, symmetric, and a standard deviation in the same unit.
    """
    sensitivity = UNIT * lattice_bound(bound)
    sigma = sensitivity / math.sqrt(2.0 * rho)
    upper = np.triu_indices(sums.shape[1], k=1)
    diagonal = np.arange(sums.shape[1])
    noisy = np.zeros(sums.shape)
    with noise.query(rho, ["moments", *sums.shape]):
        on = noise.discrete_gaussian(sums[:, diagonal, diagonal], sigma=sigma)
        above = noise.discrete_gaussian(sums[:, upper[0], upper[1]], sigma=sigma / math.sqrt(2.0))
    noisy[:, diagonal, diagonal] = on
    noisy[:, upper[0], upper[1]] = noisy[:, upper[1], upper[0]] = above
    scale = UNIT * float(STEPS) ** 2
    return noisy / scale, sigma / math.sqrt(2.0) / scale
