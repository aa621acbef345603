"""What image metrics share: whom they compare, and what they say where there are no images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.images import RealImages, SyntheticImages
from synthgen.data.tables import RealTable
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.expected_power import Declared

MIN_PATIENTS = 50
NO_IMAGES = "These records are no images."


def of_images(inputs: Inputs | Declared) -> bool:
    """Return whether all that is judged is images."""
    if isinstance(inputs, Declared):
        return inputs.of_images
    real = (inputs.train, inputs.holdout, inputs.reference)
    return isinstance(inputs.synthetic, SyntheticImages) and all(
        isinstance(part, RealImages) for part in real
    )


def one_each(table: Any, n_patients: int, *, rng: np.random.Generator) -> Any:
    """Return one random image of each of ``n_patients`` random patients, as a table of images."""
    codes, _ = table.unit_codes()
    shuffled = rng.permutation(len(codes))
    _, first = np.unique(codes[shuffled], return_index=True)
    rows = np.sort(rng.permutation(shuffled[first])[:n_patients])
    mask = np.zeros(len(codes), dtype=bool)
    mask[rows] = True
    return table.select(mask)


def some(images: SyntheticImages, n: int, *, rng: np.random.Generator) -> SyntheticImages:
    """Return at most ``n`` random synthetic images."""
    if len(images) <= n:
        return images
    rows = np.sort(rng.permutation(len(images))[:n])
    frame = images.frame.iloc[rows].reset_index(drop=True)
    return SyntheticImages(images.schema, frame, pixels=images.pixels[rows])


def sides(inputs: Inputs, most: int, *, rng: np.random.Generator) -> dict[str, Any]:
    """Return equal numbers of images: holdout, training patients (``real``), and synthetic."""
    n_holdout, n_train = inputs.holdout.unit_codes()[1], inputs.train.unit_codes()[1]
    rows = min(len(inputs.synthetic), n_holdout, n_train, most)
    synthetic: Any = inputs.synthetic
    return {
        "holdout": one_each(inputs.holdout, rows, rng=rng),
        "synthetic": some(synthetic, rows, rng=rng),
        "real": one_each(inputs.train, rows, rng=rng),
    }


def as_points(inputs: Inputs, points: Callable[[Any], np.ndarray]) -> Inputs:
    """Return the real parts as tables of numbered components, with the columns that groups are told by.

    Args:
        inputs: of images.
        points: returns ``(image, component)`` of images.
    """

    def table(images: Any) -> RealTable:
        frame = pd.DataFrame(points(images))
        told = {name: images.frame[name] for name in inputs.groups}
        return RealTable(images.schema, frame.assign(**told), images.units)

    parts: dict[str, Any] = {name: table(getattr(inputs, name)) for name in ("train", "holdout", "reference")}
    return replace(inputs, **parts)


def components(frame: pd.DataFrame) -> np.ndarray:
    """Return the numbered components of `as_points`, ``(image, component)`` float32."""
    numbered = [name for name in frame.columns if not isinstance(name, str)]
    return np.ascontiguousarray(frame[numbered].to_numpy(np.float32))
