"""Pictures for the audit's twin: a crowd of procedural ones, and canaries unlike any of them."""

from __future__ import annotations

import numpy as np

from synthgen.data.images import from_intensities, intensities
from synthgen.phantoms import family
from synthgen.schema.schema import Schema

CROWD = "leaves"
BLOCKS = 4
"""Black and white blocks a side of a canary: coarse, for generators that keep low frequencies alone."""
SIDE = 16
"""Pixels a side in which pictures are compared."""


def pictures(schema: Schema, n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return pictures of the schema's form that no patient has: dead leaves, alike in all channels."""
    made, (channels, size, _) = family(CROWD), _shape(schema)
    values = made.render(rng.random((n, made.DIMENSION)), size, rng=rng)
    return from_intensities(np.repeat(values[:, None], channels, axis=1), schema)


def patterns(schema: Schema, n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return canaries: blocks of the darkest and the brightest value, by fair coins of their own."""
    channels, size, _ = _shape(schema)
    place = np.arange(size) * BLOCKS // size
    blocks = rng.integers(0, 2, (n, 1, BLOCKS, BLOCKS))[:, :, place][:, :, :, place]
    return from_intensities(np.repeat(blocks, channels, axis=1), schema)


def places(pixels: np.ndarray, schema: Schema) -> np.ndarray:
    """Return each picture as a point, "picture feature", in float32: means over at most 16 x 16 blocks."""
    values = intensities(pixels, schema)
    place = np.arange(values.shape[-1]) * min(SIDE, values.shape[-1]) // values.shape[-1]
    starts = np.unique(place, return_index=True)[1]
    for axis in (-1, -2):
        values = np.add.reduceat(values, starts, axis=axis)
    counts = np.outer(np.bincount(place), np.bincount(place))
    return np.ascontiguousarray((values / counts).reshape(len(values), -1), dtype=np.float32)


def _shape(schema: Schema) -> tuple[int, int, int]:
    if schema.images is None:
        raise ValueError("Expected a schema that declares images, got one of a table.")
    return schema.images.shape
