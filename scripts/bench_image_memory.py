"""Measure the peak memory of fits to images, beside what is estimated beforehand.

Each fit runs in a process of its own on made-up images: short in steps, whole in memory, since a step more
holds nothing more. What the images themselves take is the difference of two cohorts.

    python scripts/bench_image_memory.py [--quick] [--sizes 28 64 128] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

FEW, MORE = 500, 4500
SHORT = {
    "diffusion": {"pretraining": 2, "steps": 2, "calls": 2},
    "gan": {"pretraining": 2, "steps": 2, "candidates": 2},
    "embedding": {},
}


def measure(generator: str, size: int, n_images: int) -> dict[str, Any]:
    """Return the peak of a fit and a short drawing in a process of its own, and the estimate, in GiB."""
    import numpy as np

    from synthgen import plugins
    from synthgen.data.images import RealImages
    from synthgen.privacy.noise import NoiseSource
    from tests.support.phantom_cohorts import attributes, schema_of

    rng, schema = np.random.default_rng(0), schema_of(size=size, max_records=4)
    patients = n_images // 4
    frame = attributes(patients * 4, rng)
    pixels = rng.integers(0, 256, (patients * 4, 1, size, size), dtype=np.uint8)
    data = RealImages(schema, frame, np.repeat([f"p{i}" for i in range(patients)], 4), pixels=pixels)
    settings = plugins.load("synthgen.generators.imaging", generator).Config(**SHORT[generator])
    start = peak()
    plan = settings.plan(schema, epsilon=8.0, delta=1e-5, patients=patients)
    at: dict[str, float] = {}

    def progress(what: str, done: float) -> None:
        at[what.partition(":")[0].split(" ")[0]] = round(peak(), 3)

    model = settings.fit(data, plan, noise=NoiseSource.for_tests(0), progress=progress)
    model.sample(200, rng=rng)
    return {
        "generator": generator, "size": size, "images": n_images, "before": round(start, 3),
        "at": at, "peak": round(peak(), 3), "estimate": round(settings.memory(schema, patients), 3),
    }  # fmt: skip


def peak() -> float:
    """Return the largest resident size of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--generators", nargs="+", default=list(SHORT), choices=list(SHORT))
    parser.add_argument("--sizes", nargs="+", type=int, default=[28, 64, 128])
    parser.add_argument("--images", nargs="+", type=int, default=[FEW, MORE])
    parser.add_argument("--quick", action="store_true", help="one generator, the smallest size")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    generators, sizes = (["embedding"], given.sizes[:1]) if given.quick else (given.generators, given.sizes)
    rows = []
    print("| generator | size | images | before | peak GiB | estimate GiB |")
    print("|---|---|---|---|---|---|")
    for generator in generators:
        for size in sizes:
            for n_images in given.images:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    row = pool.apply(measure, (generator, size, n_images))
                rows.append(row)
                print(
                    f"| {generator} | {size} | {n_images} | {row['before']:.2f} | {row['peak']:.2f} |"
                    f" {row['estimate']:.2f} |",
                    flush=True,
                )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
