"""Axial slices of the chest by computed tomography in a lung window, drawn from textbook anatomy.

An elliptic body with fat and muscle, two lungs with vessels, heart and aorta between them, a vertebra and
ribs, and nodules or consolidations in the lungs. No image was fitted.
"""

from __future__ import annotations

import numpy as np

RANGES: dict[str, tuple[float, float]] = {
    "turn": (-0.08, 0.08), "across": (-0.04, 0.04), "down": (-0.05, 0.05),
    "wide": (0.38, 0.49), "high": (0.26, 0.38), "tissue": (0.45, 0.75), "fat": (0.02, 0.10),
    "lung_wide": (0.12, 0.20), "lung_high": (0.16, 0.29), "lung_apart": (0.16, 0.24), "lung": (0.03, 0.20),
    "heart": (0.06, 0.18), "heart_across": (0.0, 0.08), "heart_down": (-0.10, 0.04),
    "aorta": (0.02, 0.045), "spine": (0.035, 0.07), "bone": (0.05, 0.35), "ribs": (0.0, 0.3),
    "vessels": (0.0, 0.25), "blur": (0.006, 0.03), "grain": (0.0, 0.04),
    "spot": (-0.4, 0.8), "spot_x": (0.2, 0.8), "spot_y": (0.3, 0.7), "spot_r": (0.02, 0.14),
    "haze": (-0.2, 0.4), "bed": (-0.2, 0.4),
}  # fmt: skip
"""Public range of each parameter. Below zero, what a sign has no meaning for is absent."""
DIMENSION = len(RANGES)


def render(points: np.ndarray, size: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw one slice a point.

    Args:
        points: ``(image, DIMENSION)`` from 0 to 1 over the ranges of `RANGES`.
        size: pixels a side.
        rng: draws vessels and grain; open randomness.

    Returns:
        Intensities from 0 to 1, ``(image, size, size)`` float32.
    """
    low, high = np.array(list(RANGES.values())).T
    values = low + np.clip(points, 0.0, 1.0) * (high - low)
    p = {name: values[:, i, None, None] for i, name in enumerate(RANGES)}
    axis = (np.arange(size) + 0.5) / size - 0.5
    cos, sin = np.cos(p["turn"]), np.sin(p["turn"])
    x0, y0 = axis[None, None, :] - p["across"], axis[None, :, None] - p["down"]
    x, y = x0 * cos + y0 * sin, y0 * cos - x0 * sin
    soft = np.maximum(p["blur"], 0.6 / size)

    def disc(u: np.ndarray, v: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return 1 inside the ellipse around ``u, v`` of half axes ``a, b``, 0 outside."""
        away = np.sqrt(((x - u) / a) ** 2 + ((y - v) / b) ** 2)
        return np.asarray(0.5 + 0.5 * np.tanh((1 - away) * np.minimum(a, b) / soft))

    none = np.zeros_like(p["turn"])
    image = p["tissue"] * disc(none, none, p["wide"], p["high"])
    image = image - p["fat"] * (
        disc(none, none, p["wide"], p["high"]) - disc(none, none, 0.9 * p["wide"], 0.88 * p["high"])
    )
    lungs = np.maximum(
        disc(-p["lung_apart"], none - 0.01, p["lung_wide"], p["lung_high"]),
        disc(p["lung_apart"], none - 0.01, p["lung_wide"], p["lung_high"]),
    )
    heart = disc(p["heart_across"], p["heart_down"], p["heart"], 0.85 * p["heart"])
    lungs = lungs * (1 - heart)
    spots = rng.standard_normal((len(points), size, size))
    air = p["lung"] + p["vessels"] * np.maximum(spots - 1.0, 0) + np.maximum(p["haze"], 0)
    filled = np.maximum(p["spot"], 0) * disc(p["spot_x"] - 0.5, p["spot_y"] - 0.5, p["spot_r"], p["spot_r"])
    image = image + lungs * (np.clip(air + filled, 0, 0.9) - image)
    image = image + p["bone"] * disc(none, 0.62 * p["high"], p["spine"], p["spine"])
    image = image + 0.06 * disc(none + 0.05, 0.35 * p["high"], p["aorta"], p["aorta"])
    ring = np.hypot(x / (0.88 * p["wide"]), y / (0.86 * p["high"]))
    angle = np.arctan2(y, x)
    image = image + p["ribs"] * np.exp(-(((ring - 1) / 0.05) ** 2)) * (np.sin(9 * angle) > 0.4)
    image = image + np.maximum(p["bed"], 0) * np.exp(-(((axis[None, :, None] - 0.44) / 0.02) ** 2))
    image = image + p["grain"] * rng.standard_normal(image.shape)
    return np.asarray(np.clip(image, 0.0, 1.0), dtype=np.float32)
