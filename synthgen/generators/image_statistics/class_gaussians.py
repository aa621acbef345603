"""From noisy moments to Gaussians: what noise explains is pulled together, or dropped.

All of this is post-processing of what `synthgen.generators.image_statistics.noisy_moments` released.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_COUNT = 1.0


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian a class, whose mean moves with the guides.

    Attributes:
        counts: noisy number of patients of each class, at least `LEAST_COUNT`.
        means: ``(class, component)``.
        factors: ``(class, component, component)``: a factor times a standard normal vector has the
            covariance.
        rests: ``(class, component)``: deviation of each component that the factors leave out.
        guides: mean of the guides in each class, ``(class, guide)``.
        slopes: ``(component, guide)``: how the mean moves.
    """

    counts: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    rests: np.ndarray
    guides: np.ndarray
    slopes: np.ndarray


def gaussians(sums: np.ndarray, deviation: float, scale: np.ndarray, n_guides: int) -> Gaussians:
    """Return the Gaussians that noisy sums speak of.

    Args:
        sums: ``(class, 1 + guide + component, ...)``: noisy sums of outer products of records' vectors.
        deviation: standard deviation of the noise of an entry off the diagonal.
        scale: by what each entry of a record's vector was multiplied.
        n_guides: number of guides.

    Source: James and Stein (1961) for means; the eigenvalue rule cuts at the edge of the noise's own
        spectrum, as
    Gavish and Donoho (2014), arXiv:1305.5870, do for a known noise.
    """
    n_classes = len(sums)
    plain = sums / np.outer(scale, scale)
    counts = np.maximum(plain[:, 0, 0], LEAST_COUNT)
    share = counts / counts.sum()
    first, errors = plain[:, 0, 1:] / counts[:, None], deviation / (scale[0] * counts)
    second = plain[:, 1:, 1:] / counts[:, None, None] - np.einsum("ci,cj->cij", first, first)
    body = slice(n_guides, None)
    means = _pooled_means(first[:, body], errors, share)
    pooled = np.einsum("c,cij->ij", share, second)
    pooled_error = deviation * np.sqrt(n_classes) / counts.sum()
    slopes = _slopes(pooled, n_guides, pooled_error / (scale[1] if n_guides else 1.0))
    explained = slopes @ pooled[:n_guides, :n_guides] @ slopes.T
    within = second[:, body, body] - explained
    common = pooled[body, body] - explained
    factors = np.stack(
        [
            _factor(within[c], common, own=deviation / counts[c], pooled=pooled_error, part=share[c])
            for c in range(n_classes)
        ]
    )
    guides = np.clip(first[:, :n_guides], -1.0, 1.0)
    rests = _rests(np.einsum("cii->ci", within), factors, deviation * np.sqrt(2.0) / counts)
    return Gaussians(counts, means, factors, rests, guides, slopes)


def _rests(diagonals: np.ndarray, factors: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return what is left of each component's own variance, which noise blurs far less than directions.

    Neighbouring components are averaged first, as far as noise explains how they differ.
    """
    left = diagonals - (factors**2).sum(axis=2)
    kernel = np.ones(9) / 9.0
    smooth = np.stack([np.convolve(np.pad(row, 4, mode="edge"), kernel, mode="valid") for row in left])
    spread = np.maximum(((left - smooth) ** 2).mean(axis=1), 1e-18)
    kept = np.maximum(0.0, 1.0 - errors**2 / spread)[:, None]
    return np.asarray(np.sqrt(np.clip(smooth + kept * (left - smooth), 0.0, 1.0)))


def _pooled_means(means: np.ndarray, errors: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Pull each class's mean towards the pooled one by the part of their distance that noise explains."""
    pooled = share @ means
    away = means - pooled
    lengths = np.maximum((away**2).sum(axis=1), 1e-12)
    kept = np.maximum(0.0, 1.0 - max(means.shape[1] - 2, 0) * errors**2 / lengths)
    return np.asarray(_within(pooled[None])[0] + kept[:, None] * _within(away, 2.0))


def _within(vectors: np.ndarray, most: float = 1.0) -> np.ndarray:
    """Cut what noise made longer than any mean of records can be."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors * (most / np.maximum(lengths, most)))


def _slopes(pooled: np.ndarray, n_guides: int, error: float) -> np.ndarray:
    """Return how the components move with the guides, shrunk by the part of it that noise explains."""
    across = pooled[n_guides:, :n_guides]
    if not n_guides:
        return across
    values, vectors = np.linalg.eigh((pooled[:n_guides, :n_guides] + pooled[:n_guides, :n_guides].T) / 2)
    usable = values > max(4.0 * error, 1e-3)  # one-hot columns sum to a constant, so some values are 0
    inverse = (vectors[:, usable] / values[usable]) @ vectors[:, usable].T
    total = float((across**2).sum())
    kept = max(0.0, 1.0 - across.size * error**2 / max(total, 1e-12))
    return np.asarray(kept * across @ inverse)


def _factor(within: np.ndarray, common: np.ndarray, *, own: float, pooled: float, part: float) -> np.ndarray:
    """Return a factor of a class's covariance, partly the pooled one, without what is noise."""
    size = len(within)
    away = within - common
    noise = size**2 * own**2 * max(0.0, 1.0 - part)
    kept = max(0.0, 1.0 - noise / max(float((away**2).sum()), 1e-12)) if part < 1 else 1.0
    mixed = common + kept * away
    deviation = np.hypot(kept * own, (1.0 - kept) * pooled)
    values, vectors = np.linalg.eigh((mixed + mixed.T) / 2)
    edge = 2.0 * deviation * np.sqrt(size)
    clean = np.where(values > edge, np.sqrt(np.maximum(values**2 - edge**2, 0.0)), 0.0)
    clean *= min(1.0, 1.0 / max(float(clean.sum()), 1e-12))  # no record is longer than 1
    return np.asarray(vectors * np.sqrt(clean))
