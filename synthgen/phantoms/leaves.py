"""Dead leaves: ellipses of all sizes that hide each other (Lee, Mumford and Huang, 2001).

Sizes follow a power law, as objects in pictures do, so that edges and spectra are those of natural and
medical images alike, whatever the organ. For cohorts that no anatomical family is made for.
"""

from __future__ import annotations

import numpy as np

N_LEAVES = 10
PER_LEAF = 6
DIMENSION = N_LEAVES * PER_LEAF + 3
LARGEST, SMALLEST = 0.55, 0.04


def render(points: np.ndarray, size: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw one picture a point.

    Args:
        points: ``(image, DIMENSION)`` from 0 to 1: ground, blur and grain, then place, size, shape, turn and
            brightness of each leaf.
        size: pixels a side.
        rng: draws the grain; open randomness.

    Returns:
        Intensities from 0 to 1, ``(image, size, size)`` float32.
    """
    points = np.clip(points, 0.0, 1.0)
    axis = (np.arange(size) + 0.5) / size
    x, y = axis[None, None, :], axis[None, :, None]
    ground, blur, grain = (points[:, i, None, None] for i in range(3))
    soft = np.maximum(0.01 + 0.04 * blur, 0.7 / size)
    image = np.broadcast_to(ground, (len(points), size, size)).copy()
    leaves = points[:, 3:].reshape(len(points), N_LEAVES, PER_LEAF)
    for i in range(N_LEAVES):
        u, v, large, shape, turn, tone = (leaves[:, i, j, None, None] for j in range(PER_LEAF))
        reach = 1.0 / (1.0 / LARGEST + large * (1.0 / SMALLEST - 1.0 / LARGEST))
        cos, sin = np.cos(np.pi * turn), np.sin(np.pi * turn)
        along = (x - u) * cos + (y - v) * sin
        across = ((y - v) * cos - (x - u) * sin) / (0.3 + 0.7 * shape)
        inside = 0.5 + 0.5 * np.tanh((reach - np.hypot(along, across)) / soft)
        image = image + inside * (tone - image)
    image = image + 0.04 * grain * rng.standard_normal(image.shape)
    return np.asarray(np.clip(image, 0.0, 1.0), dtype=np.float32)
