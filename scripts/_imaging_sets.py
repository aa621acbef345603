"""Public image sets with a published split, as cohorts whose unit is the image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from synthgen.data.images import RealImages, intensities
from synthgen.errors import ConfigError
from synthgen.ingest.images.npz import images, parts
from synthgen.schema.schema import Schema

SHARED = Path(os.environ.get("SYNTHGEN_TEST_DATA", "../shared/data"))


def path_of(name: str, folder: Path | None) -> Path:
    """Return where ``<name>.npz`` lies: in the folder, or among the test data."""
    for place in (folder, SHARED / "medmnist", SHARED / name):
        if place is not None and (place / f"{name}.npz").exists():
            return place / f"{name}.npz"
    raise ConfigError(
        f"Expected {name}.npz.", next_step="Name its folder with --data, or set SYNTHGEN_TEST_DATA."
    )


def split_of(path: Path, split: str) -> RealImages:
    """Return one published split; MedMNIST's layout or Keras's ``x_train``, ``y_train``."""
    with np.load(path) as arrays:
        keras = f"x_{split}" in arrays.files
        if keras:
            return as_cohort(arrays[f"x_{split}"], arrays[f"y_{split}"], split)
    part = next(part for part in parts(path) if part.key == f"{split}_images")
    return as_cohort(np.stack(list(images(path, part))), part.columns["label"].to_numpy().astype(int), split)


def as_cohort(pixels: np.ndarray, labels: np.ndarray, name: str) -> RealImages:
    """Return images "image row column" or "image row column channel" with their label."""
    labels = labels.reshape(-1).astype(int)
    pixels = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
    field = {
        "name": "label",
        "type": "integer",
        "role": "label",
        "constraints": {"enum": list(range(max(2, int(labels.max()) + 1))), "required": True},
    }
    described = {
        "unit": "row",
        "fields": [field],
        "images": {"size": pixels.shape[2], "channels": pixels.shape[1]},
    }
    schema = Schema.model_validate_json(json.dumps(described))
    frame = pd.DataFrame({"label": pd.Categorical(labels, categories=schema.column("label").labels)})
    names = np.array([f"{name}{i}" for i in range(len(frame))], dtype=object)
    return RealImages(schema, frame, names, pixels=np.ascontiguousarray(pixels))


def labels_of(images: Any) -> np.ndarray:
    """Return each image's label as a number."""
    return np.asarray(images.frame["label"].cat.codes, dtype=np.int64)


def sheet(images: Any, path: Path, *, columns: int = 12, zoom: int = 3) -> None:
    """Write a picture with a row of images for each label, at most ten labels."""
    found, labels = intensities(images.pixels, images.schema), labels_of(images)
    rows = []
    for label in np.unique(labels)[:10]:
        mine = found[labels == label][:columns]
        blank = np.zeros((columns - len(mine), *found.shape[1:]), dtype=found.dtype)
        rows.append(np.concatenate([*np.concatenate([mine, blank])], axis=2))
    whole = np.moveaxis(np.concatenate(rows, axis=1), 0, 2).repeat(zoom, axis=0).repeat(zoom, axis=1)
    whole = np.clip(whole * 255, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole).save(path)
