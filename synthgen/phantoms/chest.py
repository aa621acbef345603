"""Frontal chest radiographs, drawn from anatomy that every textbook shows. No image was fitted.

Lung fields between chest wall, mediastinum and diaphragm; heart, spine with vertebrae, ribs, clavicles,
air beside neck and arms, gas under the left diaphragm; consolidations, haze and effusions that take the
lungs' darkness away. Each image is a point of a unit cube, so that a search over images is one over points.

Coordinates: x from the left of the picture to the right, y from the top down, both from 0 to 1; the
patient's left side, with the heart, is on the picture's right.
"""

from __future__ import annotations

import numpy as np

RANGES: dict[str, tuple[float, float]] = {
    "turn": (-0.09, 0.09),  # radians
    "scale": (0.82, 1.35),
    "across": (-0.09, 0.09),
    "down": (-0.10, 0.12),
    "body": (0.48, 0.82),  # intensity of soft tissue
    "depth": (0.08, 0.55),  # how much darker the lungs are
    "middle": (0.02, 0.18),  # how much brighter the mediastinum is
    "belly": (-0.04, 0.15),  # how much brighter it is below the diaphragm
    "gamma": (0.7, 1.4),
    "apex": (0.10, 0.24),
    "base_right": (0.66, 0.90),  # top of the dome, patient's right
    "base_left": (0.66, 0.92),
    "dome": (0.04, 0.16),
    "wall": (0.36, 0.47),  # from the middle to the chest wall at the widest
    "slope": (0.10, 0.26),  # how much narrower the chest is at the apex
    "inner": (0.055, 0.13),  # from the middle to the lungs' inner border
    "heart_wide": (0.08, 0.24),
    "heart_high": (0.12, 0.26),
    "heart_down": (-0.02, 0.10),
    "bulge": (0.00, 0.08),  # heart over the right border
    "spine": (-0.03, 0.06),
    "vertebrae": (-0.03, 0.035),
    "ribs": (0.00, 0.10),
    "rib_step": (0.062, 0.105),
    "rib_slope": (0.12, 0.55),
    "rib_phase": (0.0, 1.0),
    "clavicle": (-0.05, 0.08),
    "clavicle_down": (0.08, 0.20),
    "shoulder": (-0.02, 0.26),  # height of the air above the shoulders, at the sides
    "arms": (0.46, 0.75),  # from the middle to the air beside the body
    "air": (0.0, 0.75),  # how dark that air is
    "neck": (0.10, 0.24),
    "gas": (-0.25, 0.22),
    "gas_across": (0.62, 0.84),
    "haze": (0.0, 0.5),
    "haze_right": (-0.35, 0.6),
    "haze_left": (-0.35, 0.6),
    "spot1": (-0.3, 0.9), "spot1_x": (0.12, 0.88), "spot1_y": (0.2, 0.85), "spot1_r": (0.05, 0.24),
    "spot2": (-0.6, 0.9), "spot2_x": (0.12, 0.88), "spot2_y": (0.2, 0.85), "spot2_r": (0.04, 0.18),
    "effusion_right": (-0.15, 0.14),
    "effusion_left": (-0.15, 0.14),
    "hilum": (0.0, 0.16),
    "blur": (0.010, 0.036),
    "grain": (0.0, 0.012),
    "tilt": (-0.16, 0.16),
    "shade": (-0.12, 0.20),
}  # fmt: skip
"""Public range of each parameter. Below zero, what a sign has no meaning for is absent."""
DIMENSION = len(RANGES)
OVERSAMPLED = 2


def render(points: np.ndarray, size: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw one radiograph a point.

    Args:
        points: ``(image, parameter)``, each from 0 to 1 over its range in `RANGES`.
        size: pixels a side.
        rng: draws the texture of tissue; open randomness.

    Returns:
        Intensities from 0 to 1, ``(image, size, size)`` float32; bright is dense, as in MONOCHROME2.
    """
    low, high = np.array(list(RANGES.values())).T
    values = low + np.clip(points, 0.0, 1.0) * (high - low)
    p = {name: values[:, i, None, None] for i, name in enumerate(RANGES)}
    fine = OVERSAMPLED * size
    axis = (np.arange(fine) + 0.5) / fine
    x, y = _placed(np.broadcast_to(axis, (1, fine, fine)), axis[None, :, None], p)
    soft = np.maximum(p["blur"], 0.6 / size)
    lungs, below = _lungs(x, y, p, soft)
    image = p["body"] + p["shade"] * (y - 0.5) + p["tilt"] * (x - 0.5)
    image = image + p["middle"] * np.exp(-(((x - 0.5) / (1.3 * p["inner"])) ** 2))
    image = image + p["belly"] * below
    image = image + _bones(x, y, p, soft, lungs)
    open_ = lungs * (1 - _filled(x, y, p, soft))
    texture = _cloud(len(points), fine, rng)
    image = image - p["depth"] * open_ * (1 + 0.18 * texture)
    gas = np.exp(-(((x - p["gas_across"]) / 0.08) ** 2) - ((y - p["base_left"] - 0.10) / 0.05) ** 2)
    image = image - np.maximum(p["gas"], 0) * gas * below
    image = image * (1 - np.maximum(p["air"], 0) * _air(x, y, p, soft)) + p["grain"] * texture
    small = image.reshape(len(points), size, OVERSAMPLED, size, OVERSAMPLED).mean(axis=(2, 4))
    return np.asarray(np.clip(small, 0.0, 1.0) ** p["gamma"], dtype=np.float32)


def _step(distance: np.ndarray, soft: np.ndarray | float) -> np.ndarray:
    """Return 0 to 1 across a border: 1 where the distance is positive."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / soft))


def _placed(x: np.ndarray, y: np.ndarray, p: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return anatomical coordinates of the picture's: turned, scaled and moved."""
    u, v = (x - 0.5 - p["across"]) / p["scale"], (y - 0.5 - p["down"]) / p["scale"]
    cos, sin = np.cos(p["turn"]), np.sin(p["turn"])
    return u * cos + v * sin + 0.5, -u * sin + v * cos + 0.5


def _lungs(
    x: np.ndarray, y: np.ndarray, p: dict[str, np.ndarray], soft: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lung fields, and what lies below the diaphragm."""
    side = x - 0.5
    reach = np.clip((y - p["apex"]) / 0.6, 0, 1)
    outer = p["wall"] - p["slope"] * (1 - reach) ** 2
    upper = _step(y - p["apex"] - 0.9 * (np.abs(side) - 0.55 * outer) ** 2, soft)
    lower = np.where(side < 0, p["base_right"], p["base_left"])
    effusion = np.maximum(np.where(side < 0, p["effusion_right"], p["effusion_left"]), 0)
    curve = ((np.abs(side) - 0.5 * outer) / (0.5 * outer)) ** 2
    curve = np.where(np.abs(side) < 0.5 * outer, 0.25 * curve, curve)
    floor = lower + p["dome"] * curve - effusion
    below = _step(y - floor, soft)
    heart = np.where(
        side > 0,
        p["heart_wide"] * np.exp(-(((y - 0.62 - p["heart_down"]) / p["heart_high"]) ** 2)),
        p["bulge"] * np.exp(-(((y - 0.62) / 0.16) ** 2)),
    )
    hila = 0.03 * np.exp(-(((y - 0.42) / 0.08) ** 2))
    inner = p["inner"] + heart + hila
    field = _step(outer - np.abs(side), soft) * _step(np.abs(side) - inner, 1.4 * soft)
    return field * upper * (1 - below), below


def _bones(
    x: np.ndarray, y: np.ndarray, p: dict[str, np.ndarray], soft: np.ndarray, lungs: np.ndarray
) -> np.ndarray:
    """Return what ribs, clavicles and spine add."""
    side = np.abs(x - 0.5)
    fall = p["rib_slope"] * (side - 0.12) + 0.9 * np.maximum(side - 0.3, 0) ** 2
    phase = (y - fall) / p["rib_step"] + p["rib_phase"]
    ribs = np.maximum(np.sin(2 * np.pi * phase), -0.35)
    inside = 0.3 + 0.7 * lungs
    shown = inside * _step(side - 0.08, 0.03) * _step(0.49 - side, soft) * _step(0.92 - y, 0.05)
    bone = p["ribs"] * ribs * shown * _step(y - 0.08, 0.04)
    line = y - p["clavicle_down"] + 0.25 * (side - 0.1)
    clavicle = np.exp(-((line / 0.022) ** 2)) * _step(side - 0.06, 0.02) * _step(0.42 - side, 0.03)
    spine = p["spine"] * np.exp(-((side / 0.045) ** 2))
    blocks = p["vertebrae"] * np.sin(2 * np.pi * y / 0.062) * np.exp(-((side / 0.05) ** 2))
    hilum = p["hilum"] * np.exp(-(((side - 0.12) / 0.05) ** 2) - ((y - 0.43) / 0.10) ** 2)
    return np.asarray(bone + p["clavicle"] * clavicle + spine + blocks + hilum)


def _filled(x: np.ndarray, y: np.ndarray, p: dict[str, np.ndarray], soft: np.ndarray) -> np.ndarray:
    """Return how much of the air in the lungs is lost, 0 to 1."""
    side = np.where(x < 0.5, p["haze_right"], p["haze_left"])
    lost = p["haze"] + np.maximum(side, 0)
    for name in ("spot1", "spot2"):
        away = (x - p[f"{name}_x"]) ** 2 + (y - p[f"{name}_y"]) ** 2
        lost = lost + np.maximum(p[name], 0) * np.exp(-away / p[f"{name}_r"] ** 2)
    return np.asarray(np.clip(lost, 0, 1))


def _air(x: np.ndarray, y: np.ndarray, p: dict[str, np.ndarray], soft: np.ndarray) -> np.ndarray:
    """Return the air around the body: above the shoulders and beside the arms."""
    side = np.abs(x - 0.5)
    shoulder = p["shoulder"] - 0.12 * np.maximum(0.5 - side, 0) / 0.5 - 0.02
    above = _step(shoulder - y, 1.5 * soft) * _step(side - p["neck"], 1.5 * soft)
    beside = _step(side - p["arms"], 1.5 * soft)
    return np.asarray(np.maximum(above, beside))


def _cloud(n: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise of length scales between two pixels and a quarter of the picture, of deviation about 1."""
    total = np.zeros((n, side, side), dtype=np.float32)
    for cells in (4, 8, max(side // 4, 1)):
        coarse = rng.standard_normal((n, cells, cells)).astype(np.float32)
        where = np.minimum(np.arange(side) * cells // side, cells - 1)
        block = coarse[:, where][:, :, where]
        total += (
            np.apply_along_axis(_smooth, 2, np.apply_along_axis(_smooth, 1, block)) if cells < 8 else block
        )
    return np.asarray(total / 1.7)


def _smooth(line: np.ndarray) -> np.ndarray:
    return np.convolve(np.pad(line, 4, mode="edge"), np.ones(9) / 9, mode="valid")
