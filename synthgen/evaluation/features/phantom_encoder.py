"""An encoder of images that was trained on procedural images only, applied with numpy.

Its network was taught by `scripts/make_encoder.py` to tell the parameters of phantoms (`synthgen.phantoms`)
from degraded drawings of them; it has seen no photograph and no patient. `NAME` stands beside each distance
that rests on it, and `CHECKSUM` fixes the weights: such figures compare with others of this name only, never
with published Frechet or kernel distances. It sees the grey mean of colours.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from synthgen.errors import OperationError
from synthgen.evaluation.features.radiomics_encoder import SIDE, Pictures, thumbnails

NAME = "phantoms-1"
PATH = Path(__file__).with_name("phantoms-1.safetensors")
CHECKSUM = "b8bbdabe53dd290cb669bf7327a8390a66b61f0ded39f2329ac2f0953108e8c1"
"""SHA-256 of the weights' file."""
_CHUNK = 128


def encode(images: Pictures) -> np.ndarray:
    """Return the embedding of each image, ``(record, feature)`` float32.

    On phantoms, features have mean 0 and a squared length of 1 on average.

    Raises:
        OperationError: the shipped weights are not those of `CHECKSUM`.
    """
    weights = _weights()
    parts = [np.zeros((0, len(weights["embedding.bias"])), dtype=np.float32)]
    grey = thumbnails(images, SIDE)
    for start in range(0, len(grey), _CHUNK):
        parts.append(embedding(grey[start : start + _CHUNK], weights))
    return np.concatenate(parts)


def embedding(grey: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Return ``(image, feature)`` of ``(image, SIDE, SIDE)`` intensities from 0 to 1."""
    held = (grey - np.float32(0.5))[..., None]
    layers = sum(name.endswith(".weight") for name in weights) - 1
    for i in range(layers):
        held = _convolved(held, weights[f"convolution{i}.weight"], weights[f"convolution{i}.bias"])
        held = _pooled(held) if i < layers - 1 else held
    n, side, _, width = held.shape
    quarters = held.reshape(n, 2, side // 2, 2, side // 2, width).mean(axis=(2, 4)).reshape(n, -1)
    return np.asarray(quarters @ weights["embedding.weight"] + weights["embedding.bias"])


def _convolved(held: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return a 3x3 convolution with zero borders, cut at 0, of ``(image, row, column, channel)``."""
    n, rows, columns, width = held.shape
    padded = np.pad(held, ((0, 0), (1, 1), (1, 1), (0, 0)))
    near = [padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    flat = np.concatenate(near, axis=3).reshape(-1, 9 * width)
    return np.asarray(np.maximum(flat @ weight + bias, 0).reshape(n, rows, columns, -1))


def _pooled(held: np.ndarray) -> np.ndarray:
    """Return the largest of each 2x2 block."""
    tall = np.maximum(held[:, ::2], held[:, 1::2])
    return np.asarray(np.maximum(tall[:, :, ::2], tall[:, :, 1::2]))


@cache
def _weights() -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    content = PATH.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != CHECKSUM:
        raise OperationError(
            f"Expected the encoder {NAME} of sha256 {CHECKSUM[:12]}, got {found[:12]}.",
            where=PATH.name,
            next_step="Install the package anew.",
        )
    return dict(load(content))
