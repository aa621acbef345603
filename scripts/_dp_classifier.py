"""A classifier trained on private images directly: what a hospital gets that releases one model and no data.

The network is the one that evaluation trains on synthetic images. It is trained by `synthgen.dpsgd`: patients
by secret coins, one clip a patient, one noise a step, at the same epsilon and delta as a generator. The
settings hold for every set and epsilon: the rate was chosen once, on 6,000 images of MNIST at epsilon 1
(accuracy .916 at .1, .853 at .3); the rest is usual and was not searched, so the row is a reference and no
optimum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from synthgen.data.images import RealImages
from synthgen.dpsgd.module import PrivateModule, fit
from synthgen.dpsgd.patient_sampling import Batch, Patients, TensorRecords
from synthgen.dpsgd.random_draws import drawing_from, open_generator
from synthgen.dpsgd.step_accounting import MemoryBook
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.evaluation.features.radiomics_encoder import thumbnails
from synthgen.evaluation.learners.imaging import SIDE, _layers
from synthgen.privacy.noise import NoiseSource

STEPS = 250
SHARE = 0.15
MOST_UNITS = 2_048
RATE = 0.1
MOMENTUM = 0.9
CLIP = 1.0
AVERAGE = 0.95
CHUNK = 256


def plan_of(patients: int, *, epsilon: float, delta: float) -> TrainingPlan:
    """Return the plan for a declared number of patients; reads no image."""
    return TrainingPlan.calibrate(
        patients=patients,
        expected_batch_size=min(SHARE * patients, MOST_UNITS),
        steps=STEPS,
        epsilon=epsilon,
        delta=delta,
        max_grad_norm=CLIP,
    )


class Classifier(PrivateModule):
    """The small convolutional network of `synthgen.evaluation.learners.imaging`, with a loss a row."""

    def __init__(self, plan: TrainingPlan, n_labels: int, *, seed: int) -> None:
        super().__init__(plan, max_physical_batch_size=CHUNK, ema_decay=AVERAGE, seed=seed)
        with drawing_from(open_generator(seed)):
            self.net: nn.Module = _layers(n_labels)

    def private_model(self) -> nn.Module:
        return self.net

    def losses(self, batch: Batch) -> Tensor:
        return functional.cross_entropy(self.net(batch["pixels"]), batch["label"], reduction="none")

    def private_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        return torch.optim.SGD(parameters, lr=RATE, momentum=MOMENTUM)


def trained(
    images: RealImages, plan: TrainingPlan, *, target: str, noise: NoiseSource, seed: int
) -> Classifier:
    """Spend the plan.

    Guarantee:
        The classifier costs ``plan.event``, for neighbours that add or remove one patient with all images.
    """
    truth = images.frame[target].cat.codes.to_numpy().astype(np.int64)
    records = TensorRecords({"pixels": _pixels(images), "label": torch.from_numpy(truth)})
    module = Classifier(plan, len(images.schema.column(target).labels), seed=seed)
    units = Patients(records, images.units)
    fit(module, units, book=MemoryBook(plan), noise=noise, options={"accelerator": "cpu"})
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(module.average.get(name, parameter))
    return module.eval()


def probabilities(module: Classifier, images: RealImages) -> np.ndarray:
    """Return ``(image, label)``."""
    with torch.no_grad():
        parts: list[Any] = [torch.softmax(module.net(part), 1) for part in torch.split(_pixels(images), 512)]
    return torch.cat(parts).numpy().astype(float)


def _pixels(images: RealImages) -> Tensor:
    return torch.from_numpy(thumbnails(images, SIDE)[:, None] - 0.5)
