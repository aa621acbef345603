"""Train a Lightning module privately.

A `PrivateModule` says what its network and its loss a row are; everything that the guarantee rests on is
here: the sampler that the Trainer iterates is ours, each logical batch is one noised step, each step is
booked before its noise is drawn, and what runs besides the private step sees no record.

Nothing about a batch is logged: its size, its loss and its clipped share are the patients'.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synthgen.dpsgd import distributed
from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.lightning_trainer import Checkpoints as Checkpoints
from synthgen.dpsgd.lightning_trainer import (
    check_loader,
    check_optimizers,
    check_trainer,
    make_trainer,
    quiet,
)
from synthgen.dpsgd.noisy_sum import NoisySum
from synthgen.dpsgd.patient_sampling import Batch, LogicalBatch, Patients, PatientSampler
from synthgen.dpsgd.random_draws import KEYS, Draws, open_generator
from synthgen.dpsgd.row_independence import PROBE_UNITS, check_batches
from synthgen.dpsgd.step_accounting import StepBook, same_plan, spent_json
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.dpsgd.validator import shaken
from synthgen.privacy.noise import NoiseSource


@dataclass
class _Training:
    """What a fit holds while it runs, and no longer."""

    patients: Patients = field(repr=False)
    sampler: PatientSampler = field(repr=False)
    book: StepBook
    noise: NoiseSource = field(repr=False)
    engine: UnitGradients
    sums: NoisySum = field(repr=False)


class PrivateModule(pl.LightningModule):
    """A network trained with differential privacy whose unit is the patient.

    Subclasses write `private_model`, `losses` and `private_optimizer`; a generator that learns from the
    private network's output alone adds `data_free_optimizers` and `after_step`.
    """

    def __init__(
        self, plan: TrainingPlan, *, max_physical_batch_size: int = 32, ema_decay: float = 0.0, seed: int = 0
    ) -> None:
        """Make a module.

        Args:
            plan: all that fixes the guarantee.
            max_physical_batch_size: patients that are in memory at once; speed only.
            ema_decay: share that the running average of the weights keeps in a step; 0 keeps no average.
            seed: of ``open``, which `after_step` draws from, the same in all processes. Public.
        """
        super().__init__()
        self.automatic_optimization = False
        self.plan, self.max_physical_batch_size, self.ema_decay, self.seed = (
            plan,
            max_physical_batch_size,
            ema_decay,
            seed,
        )
        self.steps_done = 0
        self.average: dict[str, Tensor] = {}
        self.open = open_generator(seed)
        self._training: _Training | None = None

    @abstractmethod
    def private_model(self) -> nn.Module:
        """Return the one network that is trained on patients."""

    @abstractmethod
    def losses(self, batch: Batch) -> Tensor:
        """Return one loss a row, each from its own row and `draws` alone, " row"."""

    @abstractmethod
    def private_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """Return the optimizer of the private network."""

    def data_free_optimizers(self) -> list[Optimizer]:
        """Return optimizers of other networks, which no record reaches."""
        return []

    def after_step(self) -> None:
        """Train the other networks, with no record at hand. Draws come from ``open``, the same everywhere."""

    def draws(self, batch: Batch) -> Draws:
        """Return the random numbers of a batch's rows: all that `losses` may draw.

        `fit` gives each patient of a step a key from the operating system, which its numbers follow from.
        Rows without keys, outside of `fit`, get fresh ones.
        """
        keys = batch.get(KEYS)
        if keys is None:
            n_rows = len(next(iter(batch.values())))
            keys = self._keys(NoiseSource.system(), n_rows // self.plan.augmult)
        return Draws(keys, self.plan.augmult)

    def _keys(self, noise: NoiseSource, n_units: int) -> Tensor:
        return torch.from_numpy(noise.keys(n_units)).to(self.device)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the private optimizer and the data-free ones.

        Raises:
            ValueError: a trainable parameter is in none of them, or in two.
        """
        private = [p for p in self.private_model().parameters() if p.requires_grad]
        optimizers = [self.private_optimizer(private), *self.data_free_optimizers()]
        check_optimizers(self, private, optimizers)
        return optimizers

    def train_dataloader(self) -> PatientSampler:
        """Return the sampler itself: what the Trainer iterates."""
        return self._held().sampler

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave a logical batch alone: it holds numbers of patients, not records."""
        return batch

    def on_fit_start(self) -> None:
        """Check all that the guarantee rests on, then say where the steps begin.

        Raises:
            ValueError: the trainer, the optimizers, the network or the loss void the guarantee.
        """
        held = self._held()
        check_trainer(self.trainer)
        self._check_rows(held)
        distributed.same([*self.parameters(), *self.buffers()])
        if distributed.rank() == 0:
            held.book.resume(self.steps_done)
        held.sampler.reached = self.steps_done

    def on_train_start(self) -> None:
        """Check that the Trainer iterates our sampler.

        Raises:
            ValueError: it iterates another loader.
        """
        check_loader(self.trainer, self._held().sampler)

    def training_step(self, batch: Any) -> None:
        """Make one noised step of one logical batch.

        Raises:
            ValueError: the batch is not the one that this training's sampler drew for this step.
        """
        held = self._held()
        if (
            not isinstance(batch, LogicalBatch)
            or batch.sampler is not held.sampler
            or batch.step != self.steps_done
        ):
            raise ValueError(
                "Expected the next batch of this training's own sampler, got another. Call `fit`, and give "
                "the Trainer no loader."
            )
        if distributed.rank() == 0:
            held.book.before(batch.step)
        held.sums.clear()
        held.sums.prepare()
        for units in batch.physical(self.max_physical_batch_size):
            rows = self._rows(held, units)
            held.sums.add(
                held.engine.clipped_sum(
                    lambda rows=rows: self.losses(rows),  # type: ignore[misc]
                    n_units=len(units),
                    augmult=self.plan.augmult,
                    max_grad_norm=self.plan.max_grad_norm,
                )
            )
        held.sums.release()
        self.steps_done += 1
        held.sampler.reached = self.steps_done
        self._optimizers()[0].step()
        with self._no_records(batch.step):
            self.after_step()
            self._update_average()

    def on_fit_end(self) -> None:
        """Say in the book where training stopped."""
        if distributed.rank() == 0:
            self._held().book.close(self.steps_done)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the steps made and the events spent. No state of any noise exists that could be added."""
        checkpoint["synthgen"] = {
            "step": self.steps_done,
            "plan": self.plan.to_json(),
            "spent": None if self._training is None else spent_json(self._training.book),
            "average": self.average,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint's step.

        Raises:
            DataError: the checkpoint is another plan's.
        """
        stored = checkpoint["synthgen"]
        same_plan(self.plan, stored["plan"])
        self.steps_done, self.average = int(stored["step"]), dict(stored["average"])

    def _held(self) -> _Training:
        if self._training is None:
            raise ValueError("Expected a training begun by `fit`, got a Trainer of its own. Call `fit`.")
        return self._training

    def _optimizers(self) -> list[Any]:
        found = self.optimizers()
        return found if isinstance(found, list) else [found]

    def _rows(self, held: _Training, units: Any) -> Batch:
        """Return rows of patients; a patient's rows lie ``len(units)`` apart."""
        index = held.patients.draw(units, n_records=self.plan.records_per_unit, noise=held.noise)
        batch = held.patients.records.fetch(index.reshape(-1))
        return {**self._repeated(batch), KEYS: self._keys(held.noise, len(units))}

    def _repeated(self, batch: Batch) -> Batch:
        times = self.plan.augmult // self.plan.records_per_unit
        moved = {name: tensor.to(self.device) for name, tensor in batch.items()}
        if times == 1:
            return moved
        return {name: t.repeat(times, *[1] * (t.dim() - 1)) for name, t in moved.items()}

    def _check_rows(self, held: _Training) -> None:
        """Run the network and the loss on made-up patients in batches of different sizes and orders."""
        n = PROBE_UNITS * self.plan.records_per_unit
        rows = dict(self._repeated(held.patients.records.made_up(n, 1)))
        rows[KEYS] = torch.arange(1, PROBE_UNITS + 1, device=self.device) * 1_000_003
        with shaken(self):
            check_batches(self, held.engine, self.losses, rows, self.plan.augmult)

    @contextmanager
    def _no_records(self, step: int) -> Iterator[None]:
        """Take the patients away, and make draws the same in all processes."""
        held, self._training = self._training, None
        self.open = open_generator(self.seed * 1_000_003 + step, self.device)
        try:
            yield
        finally:
            self._training = held

    @torch.no_grad()
    def _update_average(self) -> None:
        if not self.ema_decay:
            return
        for name, parameter in self.named_parameters():
            if name not in self.average:
                self.average[name] = parameter.detach().clone()
            self.average[name].lerp_(parameter, 1 - self.ema_decay)


def fit(
    module: PrivateModule,
    patients: Patients,
    *,
    book: StepBook,
    noise: NoiseSource,
    options: Mapping[str, Any] | None = None,
    checkpoint: str | None = None,
) -> pl.Trainer:
    """Train a module on patients: the one place that spends the plan.

    Guarantee:
        All that leaves (weights after each step, the average, checkpoints) costs `TrainingPlan.event`, and
        what the book charged again, for neighbours that add or remove one patient.

    Args:
        module: what is trained. Publishable afterwards: it holds no record.
        patients: the patients. Sensitive.
        book: where steps are booked before they are drawn; the plan was reserved in it.
        noise: the operating system's, or a test's.
        options: further arguments of Lightning's Trainer, such as ``accelerator``, ``devices``,
            ``strategy``, ``precision``, ``callbacks``. None can change the guarantee.
        checkpoint: path of a checkpoint to go on from.

    Returns:
        The trainer, for its checkpoints.

    Raises:
        ValueError: the network, the loss, or an option voids the guarantee.
        BudgetExceeded: steps that must be drawn again are over the cap.
    """
    plan = module.plan
    engine = UnitGradients(module.private_model())
    sums = NoisySum(
        engine.parameters,
        sigma=plan.noise_multiplier * plan.max_grad_norm,
        denominator=plan.expected_batch_size,
        noise=noise,
    )
    sampler = PatientSampler(len(patients), rate=plan.sample_rate, steps=plan.steps, noise=noise)
    module._training = _Training(patients, sampler, book, noise, engine, sums)
    try:
        with quiet():
            trainer = make_trainer(options or {})
            module.train()
            trainer.fit(module, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    finally:
        module._training = None
    return trainer
