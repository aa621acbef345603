"""How often each brightness occurs, paid for once, so that draws are as dark and as bright as real images.

What noisy statistics draw is bell-shaped: a black background becomes a grey one of specks, which every
texture feature sees. A noisy histogram over the pixels of all images says how often each brightness occurs,
black and white on their own; one fixed monotone curve a channel takes what a model draws there.

Measured with `gan` on MNIST at epsilon 10 (one fit, the exact histogram): relative kernel distance .13 beside
6.2, precision .82 beside .39, recall .42 beside .01, coverage .67 beside .24, the same accuracy.
"""

from __future__ import annotations

import math

import numpy as np

from synthgen.image_records import RealImages, intensities
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.queries import LATTICE, lattice_weights

MOST_CELLS, FEWEST_CELLS = 64, 8
CLEAR = 0.02
"""Largest standard deviation that the noise may leave in the share of pixels below a brightness."""
LEVELS = np.linspace(0.0, 1.0, 1025)
IDENTITY = np.array([[0.0, 1.0], [0.0, 1.0]])
_CHUNK, _MOST = 1024, 2_000_000
_FEWEST_IMAGES, _MOST_IMAGES = 50, 4000


def n_cells(rho: float, patients: int) -> int:
    """Return into how many cells grey is parted, by a public rule; 0 where noise would hide what they say."""
    noise = math.inf if rho <= 0 else 1.0 / math.sqrt(2.0 * rho) / max(patients, 1)
    cells = MOST_CELLS
    while cells >= FEWEST_CELLS:
        if noise * math.sqrt(cells) <= CLEAR:
            return cells
        cells //= 2
    return 0


def trial(pixels: int) -> int:
    """Return how many images of so many pixels, channels counted, are drawn to know what a model draws."""
    return int(np.clip(2 * _MOST // pixels, _FEWEST_IMAGES, _MOST_IMAGES))


def measure(data: RealImages, *, rho: float, cells: int, noise: NoiseSource) -> np.ndarray:
    """Return the share of pixels in each cell, ``(channel, 2 + cells)``: black, grey as it rises, white.

    Guarantee:
        ``rho``-zCDP; with no cells no record is read. A patient's weights sum to at most `LATTICE`, and each
        record counts its P pixels in each of C channels, so a patient moves the whole by at most
        ``LATTICE * P * sqrt(C)`` in L2, wherever its pixels lie.
    """
    channels, height, width = data.pixels.shape[1:]
    if not cells:
        return np.zeros((channels, 0))
    pixels = height * width
    exact = _counts(data, cells)
    sigma = LATTICE * pixels * math.sqrt(channels / (2.0 * rho))
    with noise.asking(rho, ["brightness", channels, cells]):
        noisy = noise.discrete_gaussian(exact.ravel(), sigma=sigma).reshape(exact.shape)
    total = max(float(noisy.sum()) / channels, LATTICE * pixels)
    return np.stack([_shares(row / total) for row in noisy.astype(float)])


def _counts(data: RealImages, cells: int) -> np.ndarray:
    """Return the weighted pixel counts, ``(channel, 2 + cells)`` int64 in lattice units. Sensitive."""
    channels = data.pixels.shape[1]
    weights = lattice_weights(*data.unit_codes())
    counts = np.zeros((channels, cells + 2), dtype=np.int64)
    for start in range(0, len(data), _CHUNK):
        rows = slice(start, start + _CHUNK)
        values = intensities(data.pixels[rows], data.schema)
        places = np.clip(np.ceil(values * cells), 1, cells).astype(np.int64)
        places[values <= 0.0], places[values >= 1.0] = 0, cells + 1
        each = np.repeat(weights[rows], places[:, 0].size // max(len(places), 1))
        for i in range(channels):  # sums of whole numbers below 2**53 are exact in float64
            counts[i] += np.bincount(places[:, i].ravel(), each, minlength=cells + 2).astype(np.int64)
    return counts


def _shares(noisy: np.ndarray) -> np.ndarray:
    """Return the nearest shares that are positive and sum to 1 (projection on the simplex)."""
    descending = np.sort(noisy)[::-1]
    excess = (np.cumsum(descending) - 1.0) / np.arange(1, len(noisy) + 1)
    return np.asarray(np.maximum(noisy - excess[descending > excess][-1], 0.0))


def curves(drawn: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return for each channel the monotone curve from what is drawn to what was paid for.

    Args:
        drawn: intensities of trial images, ``(record, channel, row, column)``.
        shares: of `measure`; without cells the curve leaves images as they are.

    Returns:
        ``(channel, 2, level)``: quantiles of what is drawn, and of real brightness, from 0 to 1.
    """
    channels, cells = len(shares), shares.shape[1] - 2
    if cells < 1 or not drawn.size:
        return np.repeat(IDENTITY[None], channels, axis=0)
    edges = np.concatenate([[0.0], np.linspace(0.0, 1.0, cells + 1), [1.0]])
    found = np.empty((channels, 2, len(LEVELS)))
    for i, share in enumerate(shares):
        values = drawn[:, i].ravel()
        values = values[:: max(1, len(values) // _MOST)]
        upto = np.concatenate([[0.0], np.cumsum(share)])
        found[i, 0] = np.maximum.accumulate(np.quantile(values, LEVELS))
        levels = np.clip(LEVELS, 1e-6, 1 - 1e-6)  # the ends of what occurs, not of all that could
        found[i, 1] = np.interp(levels, upto / upto[-1] + 1e-12 * np.arange(len(upto)), edges)
    return found


def toned(images: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Return images whose brightness follows the curves of `curves`.

    Example:
        >>> toned(np.array([[[[-0.2, 0.5, 1.3]]]]), IDENTITY[None]).ravel().tolist()
        [0.0, 0.5, 1.0]
    """
    parts = [np.interp(images[:, i], *curve) for i, curve in enumerate(curves)]
    return np.stack(parts, axis=1).astype(np.float32)
