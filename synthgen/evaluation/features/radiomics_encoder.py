"""A fixed encoder of images, in the manner of radiomics: nothing in it is learnt.

`NAME` stands beside every distance that rests on it: such figures compare with others of this name only,
never with published Frechet or kernel distances, which rest on networks trained on photographs. Families:
intensity (moments, quantiles, histogram), layout (means of blocks), edges (histograms of gradient directions
by block), texture (energies of Haar wavelets and co-occurrence contrast at one and two pixels) and the
radial spectrum. Each is on a public scale on which typical values lie between 0 and 1, and each family's
squared length counts alike.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image

from synthgen.data.images import intensities, intensities_in_parts
from synthgen.schema.schema import Schema

NAME = "radiomics-1"
SIDE = 32
BLOCKS = 4
DIRECTIONS = 8
BANDS = 10


class Pictures(Protocol):
    """What can be encoded: real or synthetic images, or bare pixels of a schema.

    Attributes:
        schema: the images' public description.
        pixels: ``(record, channel, row, column)``.
    """

    @property
    def schema(self) -> Schema:
        """The images' public description."""

    @property
    def pixels(self) -> np.ndarray:
        """Grey values, ``(record, channel, row, column)``."""


def encode(images: Pictures) -> np.ndarray:
    """Return the features of each image, ``(record, feature)`` float32."""
    parts = [np.zeros((0, _width()), dtype=np.float32)]
    parts += map(_features, intensities_in_parts(images.pixels, images.schema))
    return np.concatenate(parts)


def thumbnails(images: Pictures, side: int) -> np.ndarray:
    """Return grey intensities, ``(record, side, side)`` float32, by the area's mean."""
    found = np.zeros((len(images.pixels), side, side), dtype=np.float32)
    for i, image in enumerate(images.pixels):
        found[i] = _shrunk(intensities(image, images.schema).mean(axis=0), side)
    return found


def _shrunk(grey: np.ndarray, side: int) -> np.ndarray:
    if grey.shape == (side, side):
        return grey
    method = Image.Resampling.BOX if grey.shape[0] > side else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(grey.astype(np.float32)).resize((side, side), method), dtype=np.float32)


def _features(values: np.ndarray) -> np.ndarray:
    """Return features of ``(record, channel, row, column)`` intensities."""
    grey = np.stack([_shrunk(image, SIDE) for image in values.mean(axis=1)])
    families = [_intensity(grey), _layout(grey), _edges(grey), _texture(grey), _spectrum(grey)]
    colour = values.mean(axis=(2, 3))
    if values.shape[1] == 3:
        families.append(np.concatenate([colour, values.std(axis=(2, 3))], axis=1))
    else:
        families.append(np.zeros((len(values), 6), dtype=np.float32))
    return np.concatenate([f / np.sqrt(f.shape[1]) for f in families], axis=1).astype(np.float32)


def _width() -> int:
    return int(_features(np.zeros((1, 1, SIDE, SIDE), dtype=np.float32)).shape[1])


def _intensity(grey: np.ndarray) -> np.ndarray:
    flat = grey.reshape(len(grey), -1)
    quantiles = np.quantile(flat, (0.05, 0.25, 0.5, 0.75, 0.95), axis=1).T
    edges = np.linspace(0.0, 1.0, 9)
    cells = np.clip(np.searchsorted(edges, flat, side="right") - 1, 0, 7)
    histogram = np.stack([(cells == i).mean(axis=1) for i in range(8)], axis=1)
    return np.concatenate(
        [flat.mean(axis=1)[:, None], 2 * flat.std(axis=1)[:, None], quantiles, histogram], axis=1
    )


def _layout(grey: np.ndarray) -> np.ndarray:
    side = SIDE // 8
    blocks = grey.reshape(len(grey), 8, side, 8, side).mean(axis=(2, 4)).reshape(len(grey), -1)
    return np.asarray(blocks - blocks.mean(axis=1, keepdims=True) + 0.5)


def _edges(grey: np.ndarray) -> np.ndarray:
    down, right = np.gradient(grey, axis=(1, 2))
    length = np.hypot(down, right)
    turn = (np.arctan2(down, right) % np.pi) * (DIRECTIONS / np.pi)
    cells = np.minimum(turn.astype(np.int64), DIRECTIONS - 1)
    side = SIDE // BLOCKS
    parts = []
    for i in range(DIRECTIONS):
        masked = np.where(cells == i, length, 0.0)
        parts.append(masked.reshape(len(grey), BLOCKS, side, BLOCKS, side).mean(axis=(2, 4)))
    return np.asarray(np.sqrt(np.stack(parts, axis=3)).reshape(len(grey), -1) * 4.0)


def _texture(grey: np.ndarray) -> np.ndarray:
    parts = []
    plane = grey
    for _ in range(3):
        a, b = plane[:, ::2, ::2], plane[:, ::2, 1::2]
        c, d = plane[:, 1::2, ::2], plane[:, 1::2, 1::2]
        bands = ((a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2)
        parts += [np.sqrt((band**2).mean(axis=(1, 2))) for band in bands]
        plane = (a + b + c + d) / 4
    for step in (1, 2):
        parts.append(np.abs(grey[:, step:] - grey[:, :-step]).mean(axis=(1, 2)))
        parts.append(np.abs(grey[:, :, step:] - grey[:, :, :-step]).mean(axis=(1, 2)))
    return np.asarray(np.sqrt(np.stack(parts, axis=1)) * 2.0)


def _spectrum(grey: np.ndarray) -> np.ndarray:
    window = np.hanning(SIDE)[:, None] * np.hanning(SIDE)[None, :]
    power = np.abs(np.fft.rfft2((grey - grey.mean(axis=(1, 2), keepdims=True)) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]) * SIDE
    bands = np.minimum((frequency / (SIDE / 2) * BANDS).astype(np.int64), BANDS - 1)
    means = np.stack([power[:, bands == i].mean(axis=1) for i in range(BANDS)], axis=1)
    return np.asarray(np.log10(means + 1e-6) / 8.0 + 0.75)
