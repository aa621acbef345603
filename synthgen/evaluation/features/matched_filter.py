"""How alike images are whose bearing, brightness, or parts were changed: cosines after whitening.

Radiographs of a cohort are alike in their first principal components, so that distances between pixels
hardly tell a changed copy from a stranger. Whitened by the covariance of all patients' images, strangers are
nearly at right angles, while a copy keeps most of its cosine through a gain, a gamma, blur, or noise, and
each part of a mixture keeps its own. Cosines ignore gain; their sign is ignored too, so that a negative is
like its positive. Bearings are searched: an image is looked at mirrored, moved, turned and scaled. Quarters
are compared apart, in which a composite of several images keeps a whole piece of each.

Source: the matched filter in coloured noise, Turin (1960), IRE Trans. Information Theory 6:311.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SIDE = 28
"""Pixels a side at most that are looked at."""
TURNS = (-7.0, -3.5, 3.5, 7.0)
"""Degrees by which an image is turned."""
SCALES = (0.88, 0.94, 1.06, 1.12)
"""Factors by which it is scaled."""
FAINT = 0.02
"""Standard deviation of noise, of the range of intensities, of which no copy is told."""
IMAGES_A_COMPONENT = 8
"""Images, at least, for each component: a covariance of fewer tells their own noise."""


@dataclass(frozen=True)
class View:
    """What of an image is compared, and through which changes of bearing.

    Attributes:
        name: for the report.
        rows: part of the rows that is seen, from and to, as shares.
        columns: the same of columns.
        shrink: pixels a side that are averaged to one.
        components: principal components that are kept at most.
        bearings: ``all``, ``near`` (mirrored and moved by a pixel) or ``mirrored``.
    """

    name: str
    rows: tuple[float, float] = (0.0, 1.0)
    columns: tuple[float, float] = (0.0, 1.0)
    shrink: int = 1
    components: int = 64
    bearings: str = "all"

    def of(self, grey: np.ndarray) -> np.ndarray:
        """Return what is seen, ``(image, pixel)`` float32."""
        height, width = grey.shape[1:]
        top, bottom = (round(share * height) for share in self.rows)
        left, right = (round(share * width) for share in self.columns)
        seen = grey[:, top:bottom, left:right]
        step = min(self.shrink, max(1, min(seen.shape[1:]) // 4))
        rows, columns = (length // step for length in seen.shape[1:])
        seen = seen[:, : rows * step, : columns * step].reshape(len(seen), rows, step, columns, step)
        return np.asarray(seen.mean(axis=(2, 4)).reshape(len(seen), -1), dtype=np.float32)


HALVES = ((0.0, 0.5), (0.5, 1.0))
VIEWS = (
    View("coarse", shrink=2, components=64, bearings="all"),
    View("fine", components=256, bearings="near"),
    *(
        View(
            f"quarter {2 * i + j + 1}", rows=HALVES[i], columns=HALVES[j], components=64, bearings="mirrored"
        )
        for i in (0, 1)
        for j in (0, 1)
    ),
)


@dataclass(frozen=True)
class Whitening:
    """A linear map after which the images that it was made from have like variance in all directions."""

    mean: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, seen: np.ndarray, components: int) -> Whitening:
        """Return the map of these images, ``(image, pixel)``.

        The last component's variance, at least that of faint noise, is added to all, lest smooth images be
        compared by what rounding left in them.
        """
        mean = seen.mean(axis=0)
        covariance = (seen - mean).T @ (seen - mean) / max(1, len(seen) - 1)
        values, vectors = np.linalg.eigh(covariance.astype(np.float64))
        kept = max(1, min(components, len(values), len(seen) // IMAGES_A_COMPONENT))
        values, vectors = np.maximum(values[::-1][:kept], 0), vectors[:, ::-1][:, :kept]
        scale = np.sqrt(values + max(values[-1], FAINT**2))
        return cls(mean, (vectors / scale).astype(np.float32))

    def directions(self, seen: np.ndarray) -> np.ndarray:
        """Return unit vectors, ``(image, component)`` float32."""
        found = (seen - self.mean) @ self.weights
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(length, 1e-6), dtype=np.float32)


def looks(grey: np.ndarray, bearings: str) -> Iterator[np.ndarray]:
    """Yield images, ``(image, row, column)``, in each bearing; what lies outside repeats the rim."""
    for mirrored in (False, True):
        image = grey[:, :, ::-1] if mirrored else grey
        yield image
        if bearings == "mirrored":
            continue
        moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
        if bearings == "near":
            moves = [move for move in moves if 0 in move]
        else:
            moves += [(2 * down, 2 * right) for down, right in moves]
        for down, right in moves:
            yield _moved(image, down, right)
        if bearings == "all":
            yield from (_warped(image, degrees, 1.0) for degrees in TURNS)
            yield from (_warped(image, 0.0, scale) for scale in SCALES)


def _moved(grey: np.ndarray, down: int, right: int) -> np.ndarray:
    most = max(abs(down), abs(right))
    wide = np.pad(grey, ((0, 0), (most, most), (most, most)), mode="edge")
    rows, columns = grey.shape[1:]
    return wide[:, most - down : most - down + rows, most - right : most - right + columns]


def _warped(grey: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    """Return images turned about their middle and scaled, by bilinear interpolation."""
    rows, columns = grey.shape[1:]
    angle = np.deg2rad(degrees)
    y, x = np.mgrid[:rows, :columns] - np.array([(rows - 1) / 2, (columns - 1) / 2])[:, None, None]
    down = (np.cos(angle) * y - np.sin(angle) * x) / scale + (rows - 1) / 2
    right = (np.sin(angle) * y + np.cos(angle) * x) / scale + (columns - 1) / 2
    down, right = np.clip(down, 0, rows - 1), np.clip(right, 0, columns - 1)
    top, left = (np.minimum(np.floor(at).astype(int), n - 2) for at, n in ((down, rows), (right, columns)))
    v, h = (down - top).astype(np.float32), (right - left).astype(np.float32)
    upper = grey[:, top, left] * (1 - h) + grey[:, top, left + 1] * h
    lower = grey[:, top + 1, left] * (1 - h) + grey[:, top + 1, left + 1] * h
    return np.asarray(upper * (1 - v) + lower * v, dtype=np.float32)
