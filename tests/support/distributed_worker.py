"""One of two processes: trains in every way that several processes could go wrong, and writes what came out.

Run by `test_world`, with the environment that torchrun sets. Each case may be run with a planted defect.
"""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from synthgen.dpsgd import distributed, noisy_sum, patient_sampling
from synthgen.dpsgd.module import fit
from synthgen.dpsgd.patient_sampling import LogicalBatch, Patients, PatientSampler, TensorRecords
from synthgen.dpsgd.step_accounting import MemoryBook
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.privacy.noise import NoiseSource
from tests.support import dpsgd as support
from tests.support.dpsgd import C, Gan, Linear

DDP = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
STEPS = 150


class Watched(Linear):
    """Keeps each step's share of patients and the released gradient."""

    def __init__(self, plan: TrainingPlan) -> None:
        super().__init__(plan, max_physical_batch_size=2)
        self.seen: list[list[int]] = []
        self.released: list[list[float]] = []

    def training_step(self, batch: Any) -> None:
        self.seen.append([int(u) for u in batch.units])
        super().training_step(batch)
        self.released.append(self.net.weight.grad.flatten().tolist())


def weights(module: torch.nn.Module) -> list[str]:
    return [x.hex() for p in module.parameters() for x in p.detach().double().flatten().tolist()]


def data(n: int) -> Patients:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return Patients(TensorRecords({"x": x}), [f"p{i}" for i in range(n)])


def trained(
    rate: float,
    steps: int,
    n: int,
    noise: NoiseSource,
    sigma: float = 1.0,
    zero: bool = False,
    **options: Any,
) -> dict[str, Any]:
    plan = TrainingPlan(rate, steps, sigma, C, 5.0)
    torch.manual_seed(100 + distributed.rank())  # different first weights: the first process's must win
    module = Watched(plan)
    torch.nn.init.normal_(module.net.weight)
    held = support.patients(n, value=0.0) if zero else data(n)
    fit(module, held, book=MemoryBook(plan), noise=noise, options=options)
    return {"weights": weights(module), "seen": module.seen, "released": module.released}


def gan(**options: Any) -> dict[str, Any]:
    module = Gan(support.gan_plan(4), ema_decay=0.5)
    fit(module, data(6), book=MemoryBook(module.plan), noise=NoiseSource.system(), options=options)
    return {"weights": weights(module), "average": [t.sum().item() for t in module.average.values()]}


def counts() -> dict[str, Any]:
    sampler = PatientSampler(3, rate=0.3, steps=40, noise=NoiseSource.system())
    return {"steps": sum(1 for _ in sampler)}


def cases(**options: Any) -> dict[str, Any]:
    none, system = NoiseSource.none(), NoiseSource.system()
    return {
        "sum": trained(1.0, 3, 7, none, **options),
        "empty": trained(1.0, 3, 1, none, **options),
        "masks": trained(0.2, STEPS, 12, system, **options),
        "noise": trained(0.2, STEPS, 4, system, zero=True, **options),
        "gan": gan(**options),
        "counts": counts(),
    }


def seeded(values: Any) -> Any:
    """Draw masks as if every process had the same seed and its own shard."""
    rng = seeded.__dict__.setdefault("rng", np.random.default_rng(7))
    chosen = np.flatnonzero(rng.random(6) < 0.2)
    return np.sort(np.concatenate([2 * chosen, 2 * chosen + 1])).astype(np.int64)


def skipping(self: PatientSampler) -> Any:
    for step in range(self.reached, self.steps):
        share = distributed.shard(self.draw())
        if len(share):
            yield LogicalBatch(step, share, self)


def own_noise(self: noisy_sum.NoisySum) -> None:
    with mock.patch.object(distributed, "rank", return_value=0):
        self._worker = None
        noisy_release(self)


noisy_release = noisy_sum.NoisySum.release


@contextmanager
def planted(name: str) -> Any:
    with {
        "5 no sum over processes": lambda: mock.patch.object(distributed, "sum_", lambda t: t),
        "6 shared shards": lambda: mock.patch.object(patient_sampling.distributed, "shard", lambda v: v),
        "7 equal seeds": lambda: mock.patch.object(patient_sampling.distributed, "from_first", seeded),
        "8 empty shards dropped": lambda: mock.patch.object(PatientSampler, "__iter__", skipping),
        "noise of every process": lambda: mock.patch.object(noisy_sum.NoisySum, "release", own_noise),
    }[name]():
        yield


FAULTS = {
    "5 no sum over processes": lambda o: {"sum": trained(1.0, 3, 7, NoiseSource.none(), **o)},
    "6 shared shards": lambda o: {"sum": trained(1.0, 3, 7, NoiseSource.none(), **o)},
    "7 equal seeds": lambda o: {"masks": trained(0.2, STEPS, 12, NoiseSource.system(), **o)},
    "8 empty shards dropped": lambda o: {"counts": counts()},
    "noise of every process": lambda o: {
        "noise": trained(0.2, STEPS, 4, NoiseSource.system(), zero=True, **o)
    },
}


def total(released: list[list[float]]) -> Tensor:
    return torch.tensor(released, dtype=torch.float64)


def main(out: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: dict[str, Any] = {"right": cases(**DDP)}
    for name, run in FAULTS.items():
        with planted(name):
            found[name] = run(DDP)
    (out / f"{distributed.rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
