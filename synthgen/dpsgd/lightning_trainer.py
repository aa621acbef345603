"""Make Lightning trainers that keep the guarantee, and refuse those that do not."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn
from torch.optim import Optimizer

from synthgen.files.safe_files import open_without_links, replacing, temporary_folder

_QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": 1,
}
_PRECISIONS = ("16", "16-mixed", "16-true", "bf16-true")


def make_trainer(options: Mapping[str, Any]) -> pl.Trainer:
    """Return a trainer that logs and writes nothing unless asked to.

    Raises:
        ValueError: the precision skips steps depending on the data, or takes norms in a narrow type.
    """
    if str(options.get("precision")) in _PRECISIONS:
        raise ValueError(f"Expected precision 32 or bf16-mixed, got {options['precision']}.")
    return pl.Trainer(**{**_QUIET, **options}, use_distributed_sampler=False)


class Checkpoints(pl.Callback):
    """Keeps the last checkpoint, every so many steps; never one chosen by looking at data."""

    def __init__(self, folder: Path, *, every: int) -> None:
        """Write ``folder/last.ckpt`` after each ``every`` noised steps.

        Raises:
            ValueError: ``every`` is below 1.
        """
        if every < 1:
            raise ValueError(f"Expected a checkpoint every step or less often, got {every=}.")
        self.path, self._every = folder / "last.ckpt", every

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Let Lightning write into a folder of this user's, then replace the last one: a crash leaves one."""
        if pl_module.steps_done % self._every:
            return
        with temporary_folder(self.path) as place:
            trainer.save_checkpoint(place / self.path.name)
            if trainer.is_global_zero:
                with (
                    open_without_links(place / self.path.name) as saved,
                    replacing(self.path, "write the checkpoint", private=True) as stream,
                ):
                    shutil.copyfileobj(saved, stream)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advice off the terminal."""
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of torch
            yield
    finally:
        logger.setLevel(before)


def check_loader(trainer: pl.Trainer, sampler: Any) -> None:
    """Refuse a trainer that iterates anything but our sampler, or looks at other data.

    Raises:
        ValueError: it does.
    """
    if trainer.train_dataloader is not sampler:
        raise ValueError("Expected the Trainer to iterate this training's sampler, got a loader of its own.")
    if trainer.val_dataloaders:
        raise ValueError("Expected no validation data, got some: looks at real data are charged elsewhere.")


def check_trainer(trainer: pl.Trainer) -> None:
    """Refuse a trainer that would void the guarantee.

    Raises:
        ValueError: says which setting.
    """
    for bad, what in (
        (trainer.precision in _PRECISIONS, f"precision {trainer.precision}"),
        (not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy), "an unknown strategy"),
        (trainer.accumulate_grad_batches != 1, "accumulated batches"),
        (any(isinstance(c, EarlyStopping) for c in _callbacks(trainer)), "early stopping"),
        (
            any(isinstance(c, ModelCheckpoint) and c.monitor for c in _callbacks(trainer)),
            "checkpoints chosen by a monitored value",
        ),
    ):
        if bad:
            raise ValueError(f"Expected a trainer that keeps the guarantee, got {what}. Leave it out.")


def _callbacks(trainer: Any) -> list[Any]:
    return list(trainer.callbacks)


def check_optimizers(module: nn.Module, private: list[nn.Parameter], optimizers: list[Optimizer]) -> None:
    """Check that each trainable parameter has exactly one optimizer, and the private one only its own.

    Raises:
        ValueError: names the parameter.
    """
    owned = [{id(p) for group in o.param_groups for p in group["params"]} for o in optimizers]
    if owned[0] != {id(p) for p in private}:
        raise ValueError(
            "Expected the private optimizer to hold the private network's parameters, all and only."
        )
    for name, parameter in module.named_parameters():
        times = sum(id(parameter) in ids for ids in owned)
        if parameter.requires_grad and times != 1:
            raise ValueError(
                f"Expected one optimizer for each trainable parameter, got {times} for {name!r}."
            )
