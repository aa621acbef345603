"""Made cohorts of images: ellipses whose brightness, place and texture follow label, sex and age."""

import json
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.images import RealImages, SyntheticImages, from_intensities
from synthgen.schema.schema import Schema

FIELDS: list[dict[str, Any]] = [
    {"name": "patient", "type": "string", "role": "id"},
    {"name": "file", "type": "string", "role": "id"},
    {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
    {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 100, "required": True}},
    {"name": "ill", "type": "boolean", "role": "label", "constraints": {"required": True}},
]


def schema_of(*, size: int = 16, channels: int = 1, bits: int = 8, max_records: int = 40) -> Schema:
    content = {
        "unit": {"column": "patient", "max_records": max_records},
        "fields": FIELDS,
        "images": {"file": "file", "size": size, "channels": channels, "bits": bits},
    }
    return Schema.model_validate_json(json.dumps(content))


def attributes(n: int, rng: np.random.Generator, *, ill: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sex": pd.Categorical.from_codes(rng.integers(0, 2, n), categories=["F", "M"]),
            "age": rng.integers(0, 101, n).astype(float),
            "ill": pd.Categorical.from_codes((rng.random(n) < ill).astype(int), categories=[False, True]),
        }
    )


def picture(frame: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> np.ndarray:
    """An ellipse; the ill have a spot on the left, women are brighter, the old are wider."""
    channels, size, _ = schema.images.shape
    y, x = (np.arange(size)[:, None] / size - 0.5, np.arange(size)[None] / size - 0.5)
    n = len(frame)
    ill = frame["ill"].cat.codes.to_numpy()[:, None, None]
    sex = frame["sex"].cat.codes.to_numpy()[:, None, None]
    width = 0.2 + 0.15 * frame["age"].to_numpy()[:, None, None] / 100
    centre = rng.normal(0, 0.03, (n, 2))[:, :, None, None]
    inside = ((x - centre[:, 0]) / width) ** 2 + ((y - centre[:, 1]) / 0.35) ** 2 < 1
    spot = np.exp(-((x + 0.15) ** 2 + (y - 0.1) ** 2) / 0.01)
    values = 0.2 + 0.35 * inside + 0.3 * ill * spot - 0.1 * sex + rng.normal(0, 0.03, (n, size, size))
    tint = np.array([1.0, 0.8, 0.6])[:channels, None, None] if channels == 3 else np.ones((1, 1, 1))
    return from_intensities(values[:, None] * tint, schema)


def cohort(
    n_patients: int,
    *,
    seed: int = 0,
    images: tuple[int, int] = (1, 3),
    prefix: str = "p",
    ill: float = 0.5,
    **form: Any,
) -> RealImages:
    schema, rng = schema_of(**form), np.random.default_rng(seed)
    units = np.repeat(
        [f"{prefix}{i}" for i in range(n_patients)], rng.integers(*images, n_patients, endpoint=True)
    )
    frame = attributes(len(units), rng, ill=ill)
    return RealImages(schema, frame, units.astype(object), pixels=picture(frame, schema, rng))


def synthetic(n: int, *, seed: int = 9, **form: Any) -> SyntheticImages:
    schema, rng = schema_of(**form), np.random.default_rng(seed)
    frame = attributes(n, rng)
    return SyntheticImages(schema, frame, pixels=picture(frame, schema, rng))


def joined(a: RealImages, b: RealImages) -> RealImages:
    frame = pd.concat([a.frame, b.frame], ignore_index=True)
    units = np.concatenate([a.units, b.units])
    return RealImages(a.schema, frame, units, pixels=np.concatenate([a.pixels, b.pixels]))


def worst(schema: Schema, n_images: int, kind: str) -> RealImages:
    """One patient of extreme images: all white, black and white in turn, or noise, in one class or in all."""
    rng = np.random.default_rng(1)
    frame = attributes(n_images, rng, ill=0.5 if kind == "spread" else 1.0)
    values = {
        "white": np.ones((n_images, *schema.images.shape)),
        "stripes": np.broadcast_to(np.arange(schema.images.size) % 2, (n_images, *schema.images.shape)),
        "spread": rng.integers(0, 2, (n_images, *schema.images.shape)),
    }[kind]
    units = np.array(["worst"] * n_images, dtype=object)
    return RealImages(schema, frame, units, pixels=from_intensities(values, schema))
