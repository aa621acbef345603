"""Show what the image metrics' encoders see: labels that they never learnt, and copies that were moved.

    python scripts/bench_encoders.py                  # PneumoniaMNIST, which ships with the package
    python scripts/bench_encoders.py --sets pneumoniamnist breastmnist --data FOLDER

First the AUC of a logistic regression on each encoder's features, trained and tested on the published splits.
Then, where there are images enough, the advantage of the attacks on pixels and on features against synthetic
images that are independent, copies of training images with 1 % noise, such copies moved by up to one or two
pixels a side, and mixtures of two training images.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import _imaging_rows
import _imaging_sets as sets
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from synthgen.data.images import RealImages, SyntheticImages
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.features.encoders import ENCODERS
from synthgen.evaluation.leakage.imaging import image_encoder, image_nearest

PATIENTS = 1_000
SEED = 0


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["pneumoniamnist"])
    parser.add_argument("--patients", type=int, default=PATIENTS, help="a side, for the attacks")
    asked = parser.parse_args(arguments)
    for name in asked.sets:
        path = sets.path_of(name, asked.data)
        train, test = sets.split_of(path, "train"), sets.split_of(path, "test")
        for encoder, area, seconds in probed(train, test):
            sys.stdout.write(f"{name} {encoder}: AUC {area:.4f}, {seconds:.1f} CPU s for 10,000 images\n")
        if len(train) >= 4 * asked.patients:
            for fault, found in attacked(train, asked.patients):
                told = ", ".join(f"{attack} {value:.2f} (from {low:.2f})" for attack, value, low in found)
                sys.stdout.write(f"{name} {fault}: {told}\n")
    return 0


def probed(train: RealImages, test: RealImages) -> Iterator[tuple[str, float, float]]:
    """Yield each encoder, the AUC of a regression on its features, and its CPU seconds for 10,000 images."""
    for name, encode in ENCODERS.items():
        start = time.process_time()
        known, asked = encode(train), encode(test)
        seconds = (time.process_time() - start) * 10_000 / (len(train) + len(test))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.1))
        said = model.fit(known, sets.labels_of(train)).predict_proba(asked)
        yield name, _imaging_rows.auc(said[:, 1], sets.labels_of(test)), seconds


def attacked(images: RealImages, n: int) -> Iterator[tuple[str, list[tuple[str, float, float]]]]:
    """Yield each kind of synthetic images, and what each attack finds in them."""
    rng = np.random.default_rng(SEED)
    part = rng.permutation(len(images)) // n
    train, holdout, reference, fresh = (images.select(part == i) for i in range(4))
    for fault, pixels in faulty(train, fresh, rng):
        rows = np.arange(len(pixels)) % len(train)
        drawn = SyntheticImages(images.schema, train.frame.iloc[rows].reset_index(drop=True), pixels=pixels)
        inputs = Inputs(images.schema, train, holdout, reference, drawn, "label")
        found = []
        for attack in (image_nearest, image_encoder):
            estimate = attack.evaluate(replace(inputs), rng=np.random.default_rng(SEED)).estimates[
                "advantage"
            ]
            found.append((attack.NAME, estimate.value, estimate.low))
        yield fault, found


def faulty(
    train: RealImages, fresh: RealImages, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield pixels of a generator without a fault, then of some that copy."""
    values: Any = train.pixels.astype(float)
    yield "independent", fresh.pixels
    yield "copies, 1 % noise", noisy(values, rng)
    for most in (1, 2):
        yield f"copies, 1 % noise, moved by up to {most}", noisy(moved(values, most, rng), rng)
    yield "mixtures of two, .7 and .3", noisy(0.7 * values + 0.3 * values[rng.permutation(len(values))], rng)


def noisy(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return eight-bit pixels with noise of 1 % of the range."""
    return np.rint((values + 2.55 * rng.normal(size=values.shape)).clip(0, 255)).astype(np.uint8)


def moved(values: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return images, each moved by up to ``most`` pixels a side, the rim repeated."""
    wide = np.pad(values, ((0, 0), (0, 0), (most, most), (most, most)), mode="edge")
    rows, columns = values.shape[2:]
    at = rng.integers(0, 2 * most + 1, (len(values), 2))
    return np.stack([w[:, y : y + rows, x : x + columns] for w, (y, x) in zip(wide, at, strict=True)])


if __name__ == "__main__":
    sys.exit(main())
