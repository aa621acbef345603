"""Compare generators of images: what a classifier learns from them, and how near they are to real images.

Each generator is fitted on the published training split and judged on the published test split, which it
never sees. A fixed small network, trained on drawn images, is asked about the real test images (AUC where
there are two labels, else accuracy); kernel distance (as a part of that between labels), precision, recall
and coverage are the package's own. Row `dp-classifier` draws nothing: it is the same network trained on the
private images at the same epsilon (`_dp_classifier.py`). Differences are paired over test images, fits
averaged: `--show` prints them with 95 % intervals. Public sets without patients' ids: the unit is the image.

    python scripts/bench_imaging.py --quick
    python scripts/bench_imaging.py --sets pneumoniamnist breastmnist mnist --seeds 3 --processes 2 --keep
    python scripts/bench_imaging.py --show
    python scripts/bench_imaging.py --gpu            # a GPU, beside DPImageBench; without one, a tiny setting

Sets are ``<set>.npz`` in MedMNIST's layout or with Keras's keys, in ``--data FOLDER`` or among the test data;
Sets are read from SYNTHGEN_TEST_DATA. Fits take their noise from a seed, since all images are public.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import _imaging_gpu
import _imaging_rows
import _imaging_sets as sets
import _machine
import numpy as np

from synthgen.config.run_config import generator_settings
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.fidelity.imaging import image_kernel, image_manifold
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw

REAL, DIRECT = "real", "dp-classifier"
DPDM: dict[str, Any] = {
    **{"share_votes": 0.0, "share_spectrum": 0.0, "share_brightness": 0.0, "share_steps": 0.98},
    **{"pretraining": 0, "strength": 10.0, "draws": 4, "calls": 18, "trained": "all"},
    **{"batch": 1024, "learning_rate": 1e-3, "ema_decay": 0.97},
}
"""The DPDM family's recipe (arXiv:2210.09929): no prior, no draft, steps alone."""
DPDM_STEPS = {"breastmnist": 110, "pneumoniamnist": 24, "mnist": 20}
"""What `diffusion` takes in CPU minutes on these sets."""
GENERATORS: dict[str, dict[str, Any]] = {
    "embedding": {"name": "embedding"},
    "dp-merf": {"name": "embedding", "method": "merf"},
    "dpdm": {"name": "diffusion", **DPDM},
    "diffusion": {"name": "diffusion"},
    "gan": {"name": "gan"},
}
DELTA = 1e-5


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print a row each fit."""
    asked = _parser().parse_args(arguments)
    if asked.show:
        sys.stdout.write("\n".join(_imaging_rows.table(_imaging_rows.kept())) + "\n")
        return 0
    if asked.gpu:
        return _imaging_gpu.main(asked)
    if asked.quick:
        asked.epsilons, asked.seeds, asked.records = [10.0], 1, 600
        asked.generators = asked.generators[:1]
    rows = []
    for row in measured(asked):
        rows.append(row)
        sys.stdout.write(_imaging_rows.line(row) + "\n")
        sys.stdout.flush()
        if asked.keep:
            _imaging_rows.keep(row)
        if asked.json:
            asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    sys.stdout.write("\n".join(_imaging_rows.table(rows)) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["pneumoniamnist"])
    parser.add_argument(
        "--generators", nargs="+", default=[*GENERATORS, DIRECT, REAL], choices=[*GENERATORS, DIRECT, REAL]
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the generator")
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 10.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--records", type=int, default=6_000)
    parser.add_argument("--train", type=int, help="fit on so many images only")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one generator, seed and epsilon; few records")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--show", action="store_true", help="print what is kept and stop")
    parser.add_argument("--keep", action="store_true", help="keep rows in scripts/results")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, metavar="FOLDER", help="write a contact sheet of each fit")
    return parser


def measured(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row each fit, each from a process of its own."""
    jobs, seeds = [], range(asked.first, asked.first + asked.seeds)
    for name in asked.sets:
        path = sets.path_of(name, asked.data)
        for who in asked.generators:
            options = {**options_of(who, name), **settings_of(asked.set)}
            for epsilon in [None] if who == REAL else asked.epsilons:
                jobs += [(name, path, who, options, epsilon, seed, asked) for seed in seeds]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.processes, mp_context=spawn, max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(one, *job) for job in jobs]):
            yield done.result()


def options_of(who: str, name: str) -> dict[str, Any]:
    """Return a row's settings on a set of that name."""
    steps = {"steps": DPDM_STEPS.get(name, 20)} if who == "dpdm" else {}
    return {**GENERATORS.get(who, {}), **steps}


def settings_of(given: list[str]) -> dict[str, Any]:
    """Return settings given as KEY=VALUE, values as JSON where they are."""
    found = {}
    for pair in given:
        key, _, value = pair.partition("=")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def one(
    name: str,
    path: Path,
    who: str,
    options: Mapping[str, Any],
    epsilon: float | None,
    seed: int,
    asked: argparse.Namespace,
) -> dict[str, Any]:
    """Fit, draw and judge once."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // asked.processes))
    train, test = sets.split_of(path, "train"), sets.split_of(path, "test")
    if asked.train:
        train = train.select(np.arange(len(train)) < asked.train)
    row = {"set": name, "generator": who, "epsilon": epsilon, "seed": seed, "date": _machine.today()}
    if epsilon is not None and who == DIRECT:
        return {**row, **_direct(train, test, epsilon, seed)}
    sheet = asked.sheet / f"{name}_{who}_{epsilon or 0:g}_{seed}.png" if asked.sheet else None
    return {**row, **_drawn(train, test, options, epsilon, seed, records=asked.records, sheet=sheet)}


def _drawn(
    train: Any,
    test: Any,
    options: Mapping[str, Any],
    epsilon: float | None,
    seed: int,
    *,
    records: int,
    sheet: Path | None,
) -> dict[str, Any]:
    """Judge a generator by what it draws; without epsilon real images, the seed being the learner's."""
    import _imaging_learner as learner

    start, cpu = time.perf_counter(), time.process_time()
    drawn: Any = train
    if epsilon is not None:
        config = generator_settings(options, modality="imaging")
        plan = config.plan(train.schema, epsilon=epsilon, delta=DELTA, patients=len(train))
        model = config.fit(train, plan, noise=NoiseSource.for_tests(seed))
        fitted, cpu_fitted = time.perf_counter() - start, time.process_time() - cpu
        drawn = draw(model, train.schema, records, seed=seed)
    else:
        fitted = cpu_fitted = 0.0
    took = time.perf_counter() - start
    if sheet is not None:
        sets.sheet(drawn, sheet)
    peak = _peak()
    n_labels = len(train.schema.column("label").labels)
    said = learner.probabilities(drawn, sets.labels_of(drawn), test, n_labels, seed=0 if epsilon else seed)
    return {
        "records": len(drawn),
        "seconds": round(fitted, 1),
        "cpu_seconds": round(cpu_fitted, 1),
        "draw_seconds": round(took - fitted, 1),
        "peak_gib": peak,
        **_imaging_rows.answers(said, sets.labels_of(test)),
        "figures": figures(train, test, drawn),
    }


def _direct(train: Any, test: Any, epsilon: float, seed: int) -> dict[str, Any]:
    """Judge a classifier that was trained on the private images directly."""
    import _dp_classifier

    start, cpu = time.perf_counter(), time.process_time()
    plan = _dp_classifier.plan_of(len(train), epsilon=epsilon, delta=DELTA)
    noise = NoiseSource.for_tests(seed)
    model = _dp_classifier.trained(train, plan, target="label", noise=noise, seed=seed)
    return {
        "records": 0,
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "draw_seconds": 0.0,
        "peak_gib": _peak(),
        **_imaging_rows.answers(_dp_classifier.probabilities(model, test), sets.labels_of(test)),
        "figures": {},
    }


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def figures(train: Any, test: Any, drawn: Any) -> dict[str, float]:
    """Return kernel distance, precision, recall and coverage."""
    if drawn is train:
        return {}
    inputs = Inputs(train.schema, train, test, test, drawn, "label")
    rng = np.random.default_rng(0)
    kernel = image_kernel.evaluate(inputs, rng=rng).estimates
    manifold = image_manifold.evaluate(inputs, rng=rng).estimates
    found = {"kernel": kernel["relative"].value}
    found |= {part: manifold[f"{part}.synthetic"].value for part in ("precision", "recall", "coverage")}
    return {key: round(float(value), 4) for key, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())
