"""The mechanism of `imaging_embedding`, step by step: centre, lengths, moments."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen.data.images import RealImages, intensities_in_parts
from synthgen.generators.image_statistics import noisy_moments
from synthgen.generators.image_statistics.class_gaussians import Gaussians, gaussians
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.image_statistics.dct_basis import Basis
from synthgen.privacy.marginal_queries import LATTICE, ZCDPFilter, lattice_weights, weighted_marginal
from synthgen.privacy.noise import NoiseSource

ONE, GUIDE = 0.7, 0.5
"""Entries of a record's vector that stand for its count, and the length that its guides have."""
N_LENGTHS = 33
_DRAWS = 2000


@dataclass(frozen=True)
class Learnt:
    """What a fit has paid for. Publishable.

    Attributes:
        centre: coefficients that all images have in common.
        radius: length to which a record's distance from the centre was cut.
        lengths: noisy quantiles of that distance, at `levels`.
        moments: counts, means and covariances of the classes, in units of the radius.
    """

    centre: np.ndarray
    radius: float
    lengths: np.ndarray
    moments: Gaussians

    @staticmethod
    def levels() -> np.ndarray:
        """Return the levels of `lengths`."""
        return np.linspace(0.0, 1.0, N_LENGTHS)


def vector_bound(n_guides: int) -> float:
    """Return the largest squared length of a record's vector."""
    return ONE**2 + (GUIDE**2 if n_guides else 0.0) + 1.0


def prior_radius(basis: Basis) -> float:
    """Return the length of an image's coefficients by a public rule: amplitude .1 over frequency."""
    flat = basis.frequencies.ravel()
    frequencies = np.concatenate([flat[places] for places in basis.places])
    return float(np.linalg.norm(0.1 / (1.0 + frequencies) / basis.spectrum))


def learn(data: RealImages, numbers: Mapping[str, Any], *, noise: NoiseSource) -> Learnt:
    """Spend the pixels' part of a plan.

    Guarantee:
        ``rho``-zCDP with ``rho_pixels`` less ``rho_brightness`` of ``numbers``: up to four releases under one
        filter, each of a sum that one patient moves by a bounded length (see
        `synthgen.generators.image_statistics.noisy_moments` and `synthgen.privacy.marginal_queries`).

    Args:
        data: training images. Sensitive.
        numbers: the plan's parameters.
        noise: source of the noise.
    """
    basis = basis_of(numbers)
    spender = ZCDPFilter(numbers["rho_pixels"] - numbers["rho_brightness"])
    conditioning = Conditioning.of(data.schema)
    codes, n_units = data.unit_codes()
    weights = noisy_moments.record_weights(codes, n_units)
    coefficients = _coefficients(data, basis)
    spender.spend(numbers["rho_centre"])
    centre = _centre(coefficients, weights, basis, rho=numbers["rho_centre"], noise=noise)
    away = coefficients - centre
    spender.spend(numbers["rho_lengths"])
    fine = lattice_weights(codes, n_units)
    lengths = _lengths(away, fine, prior_radius(basis), rho=numbers["rho_lengths"], noise=noise)
    radius = float(np.interp(numbers["cut"], Learnt.levels(), lengths))
    vectors = _vectors(away, conditioning.guides_of(data.frame), radius)
    classes, n_cells = conditioning.class_of(data.frame), numbers["cells"]
    release = _Release(vectors, weights, conditioning.n_guides, noise)
    if n_cells > 1:
        spender.spend(numbers["rho_cells"])
        coarse = release(classes, conditioning.n_classes, rho=numbers["rho_cells"])
        body = vectors[:, -basis.dimension :]
        classes = classes * n_cells + cells_of(body, classes, centres(coarse, n_cells))
    spender.spend(numbers["rho_moments"])
    moments = release(classes, conditioning.n_classes * n_cells, rho=numbers["rho_moments"])
    return Learnt(centre, radius, lengths, moments)


@dataclass(frozen=True)
class _Release:
    """Releases the moments of a partition of the records.

    Attributes:
        vectors: of the records. Sensitive.
        weights: of the records. Sensitive.
        n_guides: number of guides.
        noise: source of the noise.
    """

    vectors: np.ndarray
    weights: np.ndarray
    n_guides: int
    noise: NoiseSource

    def __call__(self, classes: np.ndarray, n_classes: int, *, rho: float) -> Gaussians:
        """Return the Gaussians of each part. ``rho``-zCDP, see `noisy_moments`."""
        bound = vector_bound(self.n_guides)
        whole = noisy_moments.to_lattice(self.vectors, bound)
        sums = noisy_moments.exact_sums(whole, self.weights, classes, n_classes)
        noisy, deviation = noisy_moments.noisy_sums(sums, bound=bound, rho=rho, noise=self.noise)
        rest = np.ones(self.vectors.shape[1] - 1 - self.n_guides)
        scale = np.concatenate([[ONE], np.full(self.n_guides, GUIDE), rest])
        return gaussians(noisy, deviation, scale, self.n_guides)


def centres(coarse: Gaussians, n_cells: int) -> np.ndarray:
    """Return centres that part each class, ``(class, cell, component)``: of draws, so they cost nothing."""
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    found = []
    for mean, factor in zip(coarse.means, coarse.factors, strict=True):
        drawn = mean + rng.standard_normal((_DRAWS, len(mean))) @ factor.T
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class without any spread has one centre many times
            found.append(KMeans(n_cells, n_init=2, random_state=0).fit(drawn).cluster_centers_)
    return np.stack(found)


def cells_of(vectors: np.ndarray, classes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the cell of each record: its own class's nearest centre. Depends on no other record."""
    found = np.zeros(len(vectors), dtype=np.int64)
    for c in np.unique(classes):
        mine = classes == c
        across = vectors[mine] @ places[c].T
        found[mine] = ((places[c] ** 2).sum(axis=1) - 2.0 * across).argmin(axis=1)
    return found


def basis_of(numbers: Mapping[str, Any]) -> Basis:
    """Return the plan's basis."""
    return Basis(numbers["channels"], numbers["size"], numbers["cosines"], numbers["power"])


def _coefficients(data: RealImages, basis: Basis) -> np.ndarray:
    parts = [np.zeros((0, basis.dimension))]
    parts += map(basis.analyse, intensities_in_parts(data.pixels, data.schema))
    return np.concatenate(parts)


def _centre(
    coefficients: np.ndarray, weights: np.ndarray, basis: Basis, *, rho: float, noise: NoiseSource
) -> np.ndarray:
    """Return a noisy mean, shrunk towards mid-grey by as much as the noise makes it long.

    Guarantee:
        ``rho``-zCDP: the vector of a record is 1 and its coefficients cut to length 1, of squared length 2 at
        most; the weighted sum over a patient's records is at most `noisy_moments.UNIT` times the longest.
    """
    reach = prior_radius(basis)
    vectors = np.concatenate([np.ones((len(coefficients), 1)), cut(coefficients / reach)], axis=1)
    whole = noisy_moments.to_lattice(vectors, 2.0)
    sums = (whole * weights[:, None]).sum(axis=0)
    sigma = noisy_moments.UNIT * math.sqrt(noisy_moments.lattice_bound(2.0) / (2.0 * rho))
    with noise.query(rho, ["centre", basis.dimension]):
        noisy = noise.discrete_gaussian(sums.astype(np.int64), sigma=sigma) / (
            noisy_moments.UNIT * noisy_moments.STEPS
        )
    count = max(float(noisy[0]), 1.0)
    mean = np.asarray(noisy[1:] / count)
    error = (basis.dimension - 2) * (sigma / (noisy_moments.UNIT * noisy_moments.STEPS) / count) ** 2
    return np.asarray(cut(mean[None])[0] * max(0.0, 1.0 - error / max(float(mean @ mean), 1e-12)) * reach)


def _lengths(
    away: np.ndarray, weights: np.ndarray, reach: float, *, rho: float, noise: NoiseSource
) -> np.ndarray:
    """Return noisy quantiles of the records' distances from the centre, from one histogram on public cells.

    Guarantee:
        ``rho``-zCDP: one marginal, which a patient moves by at most `LATTICE`.
    """
    edges = reach * np.geomspace(1 / 32, 8, 49)
    cells = np.searchsorted(edges, np.linalg.norm(away, axis=1))
    exact = weighted_marginal([cells], [len(edges) + 1], weights)
    sigma = LATTICE / math.sqrt(2.0 * rho)
    with noise.query(rho, ["lengths", len(exact)]):
        counts = np.maximum(noise.discrete_gaussian(exact, sigma=sigma), 0) / LATTICE
    floor = 3.0 * sigma / LATTICE  # what noise alone may make of an empty cell
    counts = np.where(counts > floor, counts, 0.0)
    if not counts.any():
        return np.full(N_LENGTHS, reach)
    borders = np.concatenate([[edges[0] / 1.3], edges, [edges[-1] * 1.3]])
    shares = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    return np.asarray(np.maximum(np.interp(Learnt.levels(), shares, borders), edges[0]))


def _vectors(away: np.ndarray, guides: np.ndarray, radius: float) -> np.ndarray:
    ones = np.full((len(away), 1), ONE)
    return np.concatenate([ones, GUIDE * guides, cut(away / radius)], axis=1)


def cut(vectors: np.ndarray) -> np.ndarray:
    """Return vectors, ``(record, component)``, of length 1 at most.

    Example:
        >>> cut(np.array([[3.0, 4.0], [0.3, 0.4]])).tolist()
        [[0.6, 0.8], [0.3, 0.4]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1.0))
