"""`bench_imaging.py --gpu`: one long fit a cell on a GPU, beside DPImageBench's table (arXiv:2503.14681)."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import _imaging_sets as sets
import numpy as np
import torch

from synthgen.config.run_config import generator_settings
from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.noisy_sum import NoisySum
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.errors import ConfigError
from synthgen.generators.imaging.diffusion import denoiser as network
from synthgen.generators.imaging.diffusion.mechanism import AT_ONCE, records_of
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw

DELTA = 1e-5
SETS = ("mnist", "fashion_mnist")
PUBLISHED = {
    ("mnist", 1.0): {"FETA-Pro": 0.968, "DPDM": 0.892, "DP-MERF": 0.803},
    ("mnist", 10.0): {"FETA-Pro": 0.984, "DPDM": 0.977, "DP-MERF": 0.813},
    ("fashion_mnist", 1.0): {"FETA-Pro": 0.822, "DPDM": 0.764, "DP-MERF": 0.622},
    ("fashion_mnist", 10.0): {"FETA-Pro": 0.878, "DPDM": 0.856, "DP-MERF": 0.622},
}
LARGE: dict[str, Any] = {
    **{"name": "diffusion", "width": 64, "steps": 1000, "batch": 4096, "draws": 8, "calls": 18},
    **{"pretraining": 4000, "trained": "all", "learning_rate": 1e-3, "ema_decay": 0.995, "prior": ["leaves"]},
    **{"share_steps": 0.7, "share_votes": 0.02, "strength": 1.0, "guidance": 0.0},
}
TINY = {**LARGE, "width": 8, "steps": 3, "batch": 64, "draws": 2, "calls": 3, "pretraining": 10}


def main(asked: argparse.Namespace) -> int:
    """Fit, draw, train a wide network on what was drawn, and print a row each."""
    from bench_imaging import settings_of

    there = torch.cuda.is_available()
    large = {**(LARGE if there else TINY), **settings_of(asked.set)}
    if not there:
        asked.train, asked.records = asked.train or 400, 400
        sys.stdout.write("No GPU: a tiny setting, which shows that the script runs and nothing else.\n")
    sys.stdout.write(json.dumps(large) + "\n")
    chosen = [{"name": "embedding"}] * ("embedding" in asked.generators)
    chosen += [large] * ("diffusion" in asked.generators)
    rows = []
    for name in SETS if asked.sets == ["pneumoniamnist"] else asked.sets:
        try:
            path = sets.path_of(name, asked.data)
        except ConfigError:
            sys.stdout.write(f"{name}: no {name}.npz among the data; left out.\n")
            continue
        train, test = sets.split_of(path, "train"), sets.split_of(path, "test")
        train = train.select(np.arange(len(train)) < asked.train) if asked.train else train
        cells = itertools.product(chosen, asked.epsilons, range(asked.seeds if there else 1))
        for options, epsilon, seed in cells:
            row = one(
                name, train, test, options, epsilon, seed, asked.records, tiny=not there, folder=asked.sheet
            )
            rows.append(row)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
            if asked.json:
                asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def one(
    name: str, train: Any, test: Any, options: dict[str, Any], epsilon: float, seed: int, records: int,
    *, tiny: bool, folder: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Return accuracy, times and speeds of one fit."""
    import _imaging_learner as learner
    from bench_imaging import figures

    config = generator_settings(options, modality="imaging")
    plan = config.plan(train.schema, epsilon=epsilon, delta=DELTA, patients=len(train))
    start = time.perf_counter()
    model = config.fit(train, plan, noise=NoiseSource.for_tests(seed))
    fitted = time.perf_counter() - start
    drawn: Any = draw(model, train.schema, records, seed=seed)
    took = time.perf_counter() - start - fitted
    if folder:
        sets.sheet(drawn, folder / f"{name}_{options['name']}_{epsilon:g}_{seed}.png")
    n_labels = len(train.schema.column("label").labels)
    truth = sets.labels_of(test)
    start = time.perf_counter()
    said = learner.probabilities(
        drawn, sets.labels_of(drawn), test, n_labels, steps=20 if tiny else 6000, gpu=not tiny
    )
    learnt = time.perf_counter() - start
    return {
        "set": name,
        "generator": options["name"],
        "epsilon": epsilon,
        "seed": seed,
        "accuracy": float((said.argmax(axis=1) == truth).mean()),
        "published": PUBLISHED.get((name, epsilon), {}),
        "fit_seconds": round(fitted, 1),
        "images_per_second": round(records / took, 1),
        "learner_seconds": round(learnt, 1),
        "figures": figures(train, test, drawn),
        **(speeds(options, train) if "width" in options else {}),
    }


def speeds(options: dict[str, Any], train: Any) -> dict[str, float]:
    """Return the seconds of a plain and of a private step on the same rows, and their ratio."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    units, draws = min(AT_ONCE[device.type], len(train)), int(options["draws"])
    batch = {
        k: v.repeat(draws, *[1] * (v.dim() - 1)).to(device)
        for k, v in records_of(train).fetch(np.arange(units)).items()
    }
    net = network.ImageDenoiser(
        channels=batch["images"].shape[1], size=batch["images"].shape[-1],
        classes=int(batch["classes"].max()) + 1, guides=batch["guides"].shape[1], width=int(options["width"]),
    ).to(device)  # fmt: skip
    steps = TrainingPlan(1.0, 1, 1.0, 0.01, float(units), augmult=draws, records_per_unit=1)
    module = network.ImageTraining(net, steps, learning_rate=1e-4, ema_decay=0.0, highest=1.0, dropout=0.1)
    engine = UnitGradients(net)
    sums = NoisySum(engine.parameters, sigma=0.01, denominator=float(units), noise=NoiseSource.for_tests(0))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def plain() -> None:
        optimizer.zero_grad()
        module.losses(batch).mean().backward()
        optimizer.step()

    def private() -> None:
        sums.prepare()
        sums.add(
            engine.clipped_sum(lambda: module.losses(batch), n_units=units, augmult=draws, max_grad_norm=0.01)
        )
        sums.release()
        optimizer.step()

    rounds = 12 if device.type == "cuda" else 2
    times = {step.__name__: _median(step, rounds, device) for step in (plain, private)}
    ratio = times["private"] / times["plain"]
    return {
        **{f"{k}_step_seconds": round(v, 5) for k, v in times.items()},
        "ratio": round(ratio, 2),
        "rows": units * draws,
    }


def _median(step: Any, rounds: int, device: torch.device) -> float:
    found = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return float(np.median(found[1:]))
