"""Train a network on patients by a plan's noised steps: what the deep generators share of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from synthgen.data.tables import RealTable
from synthgen.dpsgd.module import PrivateModule, fit
from synthgen.dpsgd.patient_sampling import Batch, Integers, Patients
from synthgen.dpsgd.step_accounting import MemoryBook
from synthgen.generators.marginal.fitted import FittedMarginal
from synthgen.privacy.noise import NoiseSource


@dataclass(frozen=True)
class CellRecords:
    """Coarse cells of real records, "record column". Sensitive.

    Attributes:
        cells: int64.
        sizes: number of cells of each column.
    """

    cells: Tensor = field(repr=False)
    sizes: Sequence[int]

    def fetch(self, index: Integers) -> Batch:
        """Return records by number."""
        return {"cells": self.cells[torch.from_numpy(index)]}

    def made_up(self, n_rows: int, seed: int) -> Batch:
        """Return random cells."""
        rng = np.random.default_rng(seed)
        drawn = [rng.integers(0, size, n_rows) for size in self.sizes]
        return {"cells": torch.from_numpy(np.stack(drawn, axis=1))}


def train(module: PrivateModule, warm: FittedMarginal, data: RealTable, *, noise: NoiseSource) -> None:
    """Spend the plan's steps; the module's weights become their running average, if it keeps one.

    The whole plan is reserved before any record is read, and a crash keeps it, so steps are counted in
    memory: a training that stops is charged in full.

    Args:
        module: what is trained; its batches have "cells", "row column".
        warm: whose coarse cells the records are told in.
        data: the training records. Sensitive.
        noise: the operating system's source, or a test's.
    """
    sizes = [merging.n_coarse for merging in warm.merging.values()]
    records = CellRecords(torch.from_numpy(warm.encode(data).astype(np.int64)), sizes)
    spend(module, Patients(records, data.units), noise=noise)


class Ticks(pl.Callback):
    """Reports after each step how many are done."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._tell = progress

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Report."""
        self._tell(int(pl_module.steps_done))


def spend(
    module: PrivateModule,
    patients: Patients,
    *,
    noise: NoiseSource,
    device: torch.device | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Make the plan's steps; see `train`. Whatever the device, the module lies on the CPU afterwards."""
    options: dict[str, Any] = {"accelerator": "cpu"}
    if device is not None and device.type == "cuda":
        options = {"accelerator": "gpu", "devices": 1}
    if progress is not None:
        options["callbacks"] = [Ticks(progress)]
    fit(module, patients, book=MemoryBook(module.plan), noise=noise, options=options)
    module.cpu()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(module.average.get(name, parameter))
    module.eval()
