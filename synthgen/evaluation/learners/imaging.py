"""Fit learners on synthetic and on real images, and score one real holdout with both.

As `synthgen.evaluation.learners.tabular` for tables: equal numbers of images in both arms, one of each
patient in the real one, fixed seeds, fitted once while the inputs live.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from synthgen.data.images import SyntheticImages
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.images import NO_IMAGES, of_images, one_each, some
from synthgen.evaluation.features.radiomics_encoder import encode, thumbnails
from synthgen.evaluation.learners.tabular import SEED, Predictions, remembered, spread

MAX_ROWS = 8_000
SIDE = 28
STEPS, BATCH, RATE = 400, 64, 3e-3


def applicable(inputs: Inputs | Declared) -> str:
    """Return why there is no comparison, or an empty text."""
    if not of_images(inputs):
        return NO_IMAGES
    if inputs.target is None:
        return "No target column was named, so downstream utility was not measured."
    if inputs.schema.column(inputs.target).kind != "category":
        return "The target is a number; the comparison is defined for categories."
    return ""


def learners() -> tuple[str, ...]:
    """Return the learners that are installed: the network needs the extra ``deep``."""
    return ("logistic", "network") if importlib.util.find_spec("torch") else ("logistic",)


@remembered
def predictions(inputs: Inputs) -> Predictions:
    """Return both arms' predictions, fitted once while these inputs live."""
    target = str(inputs.target)
    rng = np.random.default_rng(SEED)
    train = inputs.train.select(np.asarray(inputs.train.frame[target].notna(), dtype=bool))
    holdout: Any = inputs.holdout.select(np.asarray(inputs.holdout.frame[target].notna(), dtype=bool))
    synthetic = _known(inputs.synthetic, target)
    rows = min(len(synthetic), train.unit_codes()[1], MAX_ROWS)
    arms: dict[str, Any] = {
        "real": one_each(train, rows, rng=rng),
        "synthetic": some(synthetic, rows, rng=rng),
    }
    n_labels = len(inputs.schema.column(target).labels)
    found: dict[tuple[str, str], np.ndarray] = {}
    for arm, images in arms.items():
        truth = images.frame[target].cat.codes.to_numpy().astype(np.int64)
        found["logistic", arm] = _logistic(images, truth, holdout, n_labels)
        if "network" in learners():
            found["network", arm] = _network(images, truth, holdout, n_labels)
    units, n_units = holdout.unit_codes()
    return Predictions(
        frame=holdout.frame,
        truth=holdout.frame[target].cat.codes.to_numpy().astype(np.int64),
        units=units,
        n_units=n_units,
        weights=holdout.unit_weights(),
        probability=found,
        n_rows=rows,
    )


def _known(images: Any, target: str) -> SyntheticImages:
    keep = np.asarray(images.frame[target].notna(), dtype=bool)
    return SyntheticImages(
        images.schema, images.frame[keep].reset_index(drop=True), pixels=images.pixels[keep]
    )


def _logistic(images: Any, truth: np.ndarray, holdout: Any, n_labels: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, C=0.1))
    return spread(model, encode(images), truth, encode(holdout), n_labels)


def _network(images: Any, truth: np.ndarray, holdout: Any, n_labels: int) -> np.ndarray:
    """Return a small convolutional network's probabilities, ``(record, label)``."""
    if len(np.unique(truth)) < 2 or not len(holdout):
        sure = np.zeros((len(holdout), n_labels))
        sure[:, np.unique(truth)] = 1.0
        return sure
    import torch
    from torch import nn

    from synthgen.dpsgd.random_draws import drawing_from, open_generator

    rng = np.random.default_rng(SEED)
    pixels = torch.from_numpy(thumbnails(images, SIDE)[:, None] - 0.5)
    labels = torch.from_numpy(truth)
    with drawing_from(open_generator(SEED)):
        net = _layers(n_labels)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * RATE, total_steps=STEPS)
    for _ in range(STEPS):
        rows = torch.from_numpy(rng.integers(0, len(pixels), BATCH))
        moved = torch.roll(pixels[rows], tuple(rng.integers(-1, 2, 2).tolist()), (2, 3))
        loss = nn.functional.cross_entropy(net(moved), labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    test = torch.from_numpy(thumbnails(holdout, SIDE)[:, None] - 0.5)
    with torch.no_grad():
        parts = [torch.softmax(net(part), 1).numpy() for part in torch.split(test, 512)]
    return np.concatenate(parts).astype(float)


def _layers(n_labels: int) -> Any:
    from torch import nn

    def block(into: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(into, out, 3, padding=1), nn.GroupNorm(4, out), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *block(1, 16),
        *block(16, 32),
        *block(32, 64),
        nn.Flatten(),
        nn.Linear(64 * (SIDE // 8) ** 2, n_labels),
    )
