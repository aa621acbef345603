"""Compare generators of images: what a classifier learns from them, and how near they are to real images.

Each generator is fitted on the published training split and judged on the published test split, which it
never sees, by the package's own metrics: AUC of learners trained on synthetic images (and on real ones),
kernel distance, precision and coverage, with the paired intervals that the metrics give. MedMNIST's images
carry no patients' ids, so the unit is the image.

    python scripts/bench_imaging.py --quick
    python scripts/bench_imaging.py --data FOLDER --sets pneumoniamnist breastmnist --seeds 3 --json FILE

``--data`` holds ``<set>.npz`` in MedMNIST's layout; pneumoniamnist ships with the package.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthgen import datasets
from synthgen.config import generator_settings
from synthgen.evaluate import fidelity_image_kernel, fidelity_image_manifold, utility_image_tstr
from synthgen.evaluate._base import Inputs
from synthgen.image_records import RealImages, SyntheticImages
from synthgen.ingest._npz import images, parts
from synthgen.privacy.noise import NoiseSource
from synthgen.sample import draw
from synthgen.schema import Schema

GENERATORS: dict[str, dict[str, Any]] = {
    "embedding": {"name": "embedding"},
    "dp-merf": {"name": "embedding", "method": "merf"},
    "diffusion": {"name": "diffusion"},
}
FIGURES = (
    "network.synthetic",
    "network.gap",
    "logistic.synthetic",
    "kernel",
    "precision",
    "recall",
    "coverage",
)
DELTA = 1e-5


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print a row each fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["pneumoniamnist"])
    parser.add_argument("--generators", nargs="+", default=list(GENERATORS), choices=list(GENERATORS))
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 10.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--records", type=int, default=8000)
    parser.add_argument("--quick", action="store_true", help="one seed, one epsilon, few records")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.epsilons, asked.seeds, asked.records = [10.0], 1, 600
        asked.generators = asked.generators[:1]
    rows = []
    for row in measured(asked):
        rows.append(row)
        told = ", ".join(
            f"{key} {row['figures'][key]['value']:.3f}" for key in FIGURES if key in row["figures"]
        )
        sys.stdout.write(
            f"{row['set']} {row['generator']} epsilon {row['epsilon']:g} seed {row['seed']}: {told}, "
        )
        sys.stdout.write(f"fit {row['seconds']:.1f} s, peak {row['peak_mib']:.0f} MiB\n")
        sys.stdout.flush()
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def measured(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row each fit."""
    for name in asked.sets:
        folder = asked.data if asked.data and (asked.data / f"{name}.npz").exists() else datasets.path(name)
        train, test = split_of(folder / f"{name}.npz", "train"), split_of(folder / f"{name}.npz", "test")
        for generator in asked.generators:
            for epsilon in asked.epsilons:
                for seed in range(asked.seeds):
                    row = {"set": name, "generator": generator, "epsilon": epsilon, "seed": seed}
                    yield {**row, **one(GENERATORS[generator], train, test, epsilon, seed, asked.records)}


def split_of(path: Path, split: str) -> RealImages:
    """Return one published split as images whose unit is the image."""
    part = next(part for part in parts(path) if part.key == f"{split}_images")
    labels = part.columns["label"].to_numpy().astype(int)
    pixels = np.stack(list(images(path, part)))
    pixels = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
    described = {
        "unit": "row",
        "fields": [
            {
                "name": "label",
                "type": "integer",
                "role": "label",
                "constraints": {"enum": list(range(max(2, int(labels.max()) + 1))), "required": True},
            }
        ],
        "images": {"size": pixels.shape[2], "channels": pixels.shape[1]},
    }
    schema = Schema.model_validate_json(json.dumps(described))
    frame = pd.DataFrame({"label": pd.Categorical(labels, categories=schema.column("label").labels)})
    return RealImages(
        schema, frame, np.array([f"{split}{i}" for i in range(len(frame))], dtype=object), pixels=pixels
    )


def one(
    options: Mapping[str, Any], train: RealImages, test: RealImages, epsilon: float, seed: int, records: int
) -> dict[str, Any]:
    """Fit, draw and judge once."""
    start = time.perf_counter()
    config = generator_settings(options, prefix="imaging_")
    plan = config.plan(train.schema, epsilon=epsilon, delta=DELTA, patients=len(train))
    model = config.fit(train, plan, noise=NoiseSource.for_tests(seed))  # public images: a seed that repeats
    seconds = time.perf_counter() - start
    drawn: Any = draw(model, train.schema, records, seed=seed)
    inputs = Inputs(train.schema, train, test, test, drawn, "label")
    return {
        "seconds": seconds,
        "figures": judged(inputs, drawn),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def judged(inputs: Inputs, drawn: SyntheticImages) -> dict[str, dict[str, float]]:
    """Return value and interval of each figure."""
    rng = np.random.default_rng(0)
    found = dict(utility_image_tstr.evaluate(inputs, rng=rng).estimates)
    found["kernel"] = fidelity_image_kernel.evaluate(replace(inputs), rng=rng).estimates["synthetic"]
    manifold = fidelity_image_manifold.evaluate(inputs, rng=rng).estimates
    found |= {part: manifold[f"{part}.synthetic"] for part in ("precision", "recall", "coverage")}
    return {key: {"value": e.value, "low": e.low, "high": e.high} for key, e in found.items()}


if __name__ == "__main__":
    sys.exit(main())
