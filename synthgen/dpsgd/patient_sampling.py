"""Patients in, batches out: which patients a step sees, and which of their records.

Each step tosses one secret coin a patient, all with the same public chance. The coins come from the
operating system; over several processes the first one tosses them all and each trains its share, so a
patient is in one place and masks in different places are not copies of each other. Steps without any
patient are steps like the others.

A logical batch is one noised step. How it is cut into physical batches is a matter of memory and speed, and
is decided inside the step, where nothing can be left over for the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthgen.dpsgd import distributed
from synthgen.privacy.noise import NoiseSource

Integers = npt.NDArray[np.int64]
Batch = Mapping[str, Tensor]
"""Tensors of rows, by name, each "row ..."."""


@runtime_checkable
class Records(Protocol):
    """Where records come from. Sensitive."""

    def fetch(self, index: Integers) -> Batch:
        """Return records by number, in that order."""
        ...

    def made_up(self, n_rows: int, seed: int) -> Batch:
        """Return rows of the same shapes and types that no patient has: reads shapes only."""
        ...


@dataclass(frozen=True)
class TensorRecords:
    """Records held as tensors, each "record ..."."""

    tensors: Batch = field(repr=False)

    def fetch(self, index: Integers) -> Batch:
        """Return records by number."""
        chosen = torch.from_numpy(np.ascontiguousarray(index))
        return {name: tensor[chosen] for name, tensor in self.tensors.items()}

    def made_up(self, n_rows: int, seed: int) -> Batch:
        """Return Gaussian numbers, and zeros for integers."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: torch.randn(n_rows, *t.shape[1:], generator=generator).to(t.dtype)
            if t.is_floating_point()
            else torch.zeros(n_rows, *t.shape[1:], dtype=t.dtype)
            for name, t in self.tensors.items()
        }


class Patients:
    """Records grouped by patient. Sensitive: also the number of patients."""

    def __init__(self, records: Records, units: Sequence[str] | npt.NDArray[Any]) -> None:
        """Group records.

        Args:
            records: where records come from.
            units: text id of the patient of each record, " record".
        """
        self.records = records
        distinct, codes = np.unique(np.asarray(units, dtype=object).astype(str), return_inverse=True)
        self._order: Integers = np.argsort(codes, kind="stable").astype(np.int64)
        self._counts: Integers = np.bincount(codes, minlength=len(distinct)).astype(np.int64)
        self._starts: Integers = np.cumsum(self._counts) - self._counts

    def __len__(self) -> int:
        """Return the number of patients. Sensitive."""
        return len(self._counts)

    def draw(self, chosen: Integers, *, n_records: int, noise: NoiseSource) -> Integers:
        """Return records of each chosen patient, drawn with replacement, "record_of_unit unit".

        Every patient gives the same number, so the number of rows tells nothing of how many they have.
        """
        counts = np.broadcast_to(self._counts[chosen], (n_records, len(chosen)))
        picked = noise.pick(np.ascontiguousarray(counts))
        return np.asarray(self._order[self._starts[chosen] + picked], dtype=np.int64)


@dataclass(frozen=True)
class LogicalBatch:
    """This process's patients of one step. Lightning passes it on; only `PrivateModule` can use it.

    Attributes:
        step: number of the step, from 0.
        units: this process's patients. Sensitive.
        sampler: who drew it.
    """

    step: int
    units: Integers = field(repr=False)
    sampler: PatientSampler = field(repr=False, compare=False)

    def physical(self, n_units: int) -> Iterator[Integers]:
        """Yield the patients in parts of at most ``n_units``, each once; nothing for an empty step."""
        for start in range(0, len(self.units), n_units):
            yield self.units[start : start + n_units]


class PatientSampler:
    """Draws the patients of each step, from the step that training has reached to the last of the plan.

    It has no length: Lightning ends an epoch at a length, and a length is only right on average.
    """

    def __init__(self, n_units: int, *, rate: float, steps: int, noise: NoiseSource) -> None:
        """Make a sampler.

        Args:
            n_units: number of patients. Sensitive.
            rate: the public chance of each patient in each step.
            steps: number of steps.
            noise: source of the coins.
        """
        self._n_units, self._rate, self._noise = n_units, rate, noise
        self.steps, self.reached = steps, 0

    def __iter__(self) -> Iterator[LogicalBatch]:
        """Yield one batch a step."""
        for step in range(self.reached, self.steps):
            yield LogicalBatch(step, distributed.shard(self.draw()), self)

    def draw(self) -> Integers:
        """Return the patients of one step, over all processes; drawn by the first, and kept nowhere."""
        chosen = None
        if distributed.rank() == 0:
            mask = self._noise.poisson_mask(self._n_units, rate=self._rate)
            chosen = np.flatnonzero(mask).astype(np.int64)
        return distributed.from_first(chosen)

    def __getstate__(self) -> dict[str, Any]:
        """Refuse to be written anywhere.

        Raises:
            TypeError: always.
        """
        raise TypeError("Expected the sampler to stay in its process, got an attempt to write it.")
