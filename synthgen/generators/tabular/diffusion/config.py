"""Masked diffusion over a table's cells, started from a paid marginal model and trained by DP-SGD.

1. A share of the budget buys a `marginal` model (`tabular_marginal`).
2. A denoiser (`denoiser`) is trained on that model's samples, for free.
3. The rest of the budget trains it on patients: Poisson-sampled patients, several masks a record averaged
   inside the patient, one clip, one noise a step; an average of the weights is kept.
4. Draws start as records of the marginal model, are masked again up to a noise level, and are denoised one
   column after the other, labels last (Meng et al. 2022, arXiv:2108.01073, for starting a diffusion from a
   draft). Each label is drawn given all else, with its paid marginal kept (`conditional`).

What marginals cannot see, how a label depends on many columns at once, is what the noised steps are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from synthgen.data.tables import RealTable
from synthgen.files import limits
from synthgen.generators import model_files
from synthgen.generators.base import Progress
from synthgen.generators.graphical.junction_tree import draw
from synthgen.generators.marginal import fitted
from synthgen.generators.model_files import write_settings, write_tensors
from synthgen.generators.tabular.diffusion.conditional import draw_evenly, shift_of, softmax
from synthgen.generators.two_stage import tabular
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    from synthgen.dpsgd.training_plan import TrainingPlan
    from synthgen.generators.tabular.diffusion.denoiser import Denoiser

__all__ = ["Config", "Fitted", "load"]
WEIGHTS, META = "denoiser.safetensors", "denoiser.json"
CALM = 4e-4  # noise of a step in each coordinate of the mean gradient: that of adult at epsilon 10


class Config(tabular.TwoStageSettings):
    """Settings, beside those of `tabular.TwoStageSettings`. All are public; none looks at the data.

    Attributes:
        learning_rate: of the noised steps. None follows a public rule: 1, less where a step's noise is larger
            than `CALM`. Measured on support2 at epsilon 1: a rate of 1 drowned the label (AUC .819 / .797).
        blocks: residual blocks of the network.
        strength: part of the cells of a draft that are masked and drawn again; labels always are.
    """

    name: Literal["diffusion"] = "diffusion"
    learning_rate: float | None = Field(default=None, gt=0, le=100)
    blocks: int = Field(default=2, ge=0, le=32)
    pretraining: int = Field(default=2000, ge=0, le=1_000_000)
    strength: float = Field(default=0.0, ge=0, le=1)

    def fit(
        self, data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedDiffusion:
        """Spend the plan.

        Guarantee:
            What is returned costs the plan's event, for neighbours that differ in all records of one unit:
            the marginal model its rho, the weights their steps; all else follows from these.

        Args:
            data: the training records. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: called with what is being done and the part done, from 0 to 1.
        """
        from synthgen.dpsgd.random_draws import drawing_from, open_generator
        from synthgen.generators.tabular.diffusion import denoiser as net
        from synthgen.generators.two_stage.dpsgd_steps import train

        progress = progress or (lambda what, done: None)
        warm = tabular.start(data, plan, noise=noise, progress=progress)
        sizes = [merging.n_coarse for merging in warm.merging.values()]
        labels = [list(warm.merging).index(name) for name in data.schema.with_role("label")]
        drafts, steps = tabular.drafts_of(warm, self.seed), tabular.training_of(plan)
        with drawing_from(open_generator(self.seed)):
            denoiser = net.Denoiser(sizes, width=self.width, blocks=self.blocks)
        net.pretrain(
            denoiser, drafts, labels, steps=self.pretraining, seed=self.seed,
            progress=lambda done: progress("pretraining", 0.3 + 0.3 * done),
        )  # fmt: skip
        progress("noised steps", 0.6)
        rate = self.learning_rate or _rate(steps)
        module = net.DenoiserTraining(denoiser, labels, steps, learning_rate=rate, ema_decay=self.ema_decay)
        train(module, warm, data, noise=noise)
        shown = drafts[: len(drafts) // 2]
        shifts = {label: _shift(denoiser, shown, label) for label in labels}
        progress("done", 1.0)
        return FittedDiffusion(warm, denoiser, shifts, self.strength)


def _rate(steps: TrainingPlan) -> float:
    """Return the learning rate at which a step's noise moves each weight no more than `CALM` does at 1."""
    noise = steps.noise_multiplier * steps.max_grad_norm / steps.expected_batch_size
    return min(1.0, CALM / noise)


def _shift(denoiser: Denoiser, drafts: np.ndarray, label: int) -> np.ndarray:
    from synthgen.generators.tabular.diffusion.denoiser import chances

    mask = np.zeros(drafts.shape, dtype=bool)
    mask[:, label] = True
    wanted = np.bincount(drafts[:, label], minlength=denoiser.sizes[label]) / len(drafts)
    return shift_of(chances(denoiser, drafts, mask, label), wanted)


@dataclass(frozen=True)
class FittedDiffusion(tabular.TwoStageModel):
    """The marginal model, the denoiser and the labels' shifts. Publishable.

    Attributes:
        denoiser: the network.
        shifts: for each label's column, what is added to its logits.
        strength: part of a draft's cells that are drawn again.
    """

    denoiser: Denoiser
    shifts: Mapping[int, np.ndarray]
    strength: float

    def change(self, cells: np.ndarray, free: list[int], *, rng: np.random.Generator) -> None:
        """Mask a part of the free cells, and all free labels, and draw them again."""
        labels = list(self.shifts)
        mask = np.zeros(cells.shape, dtype=bool)
        again = rng.random(cells.shape) < self.strength
        mask[:, free] = again[:, free]
        drawn_last = [i for i in labels if i in free]
        mask[:, drawn_last] = True
        others = [i for i in rng.permutation(free) if i not in labels]
        self._denoise(cells, mask, [*others, *drawn_last], rng)

    def _denoise(
        self, cells: np.ndarray, mask: np.ndarray, order: list[int], rng: np.random.Generator
    ) -> None:
        """Draw the masked cells, one column after the other, in place."""
        from synthgen.generators.tabular.diffusion.denoiser import chances

        for column in order:
            rows = np.flatnonzero(mask[:, column])
            if not len(rows):
                continue
            logits = chances(self.denoiser, cells[rows], mask[rows], column)
            if column in self.shifts:
                logits = logits + self.shifts[column]
                seen = np.delete(np.where(mask[rows], 0, cells[rows]), column, axis=1)
                cells[rows, column] = draw_evenly(logits, seen, rng=rng)
            else:
                table = softmax(logits)
                cells[rows, column] = draw(table, np.arange(len(rows)), rng)
            mask[rows, column] = False

    def save(self, folder: Path) -> None:
        """Write the marginal model's files, ``denoiser.safetensors`` and ``denoiser.json``."""
        import torch

        self.warm.save(folder)
        tensors = {f"net.{name}": tensor for name, tensor in self.denoiser.state_dict().items()}
        tensors |= {f"shift.{label}": torch.from_numpy(shift) for label, shift in self.shifts.items()}
        write_tensors(folder / WEIGHTS, tensors)
        meta = {
            "sizes": list(self.denoiser.sizes),
            "width": self.denoiser.embed.embedding_dim,
            "blocks": len(self.denoiser.blocks),
            "labels": list(self.shifts),
            "strength": self.strength,
        }
        write_settings(folder / META, meta)


Fitted = FittedDiffusion


def load(folder: Path, schema: Schema) -> FittedDiffusion:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    from synthgen.generators.tabular.diffusion.denoiser import Denoiser

    warm = fitted.load(folder, schema)
    with model_files.reading(folder, "a saved diffusion model"):
        meta, tensors = model_files.meta(folder, META), model_files.tensors(folder, WEIGHTS)
        weights = {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
        sizes = model_files.sizes(meta["sizes"], columns=len(warm.merging))
        width = model_files.whole(meta["width"], most=limits.current().model_cells)
        blocks = model_files.whole(meta["blocks"], least=0, most=len(weights))
        net = model_files.network(lambda: Denoiser(sizes, width=width, blocks=blocks), weights)
        shifts = {int(label): tensors[f"shift.{label}"].numpy() for label in meta["labels"]}
        if any(not 0 <= label < len(sizes) for label in shifts):
            raise ValueError("Expected the positions of columns.")
        if sizes != [one.n_coarse for one in warm.merging.values()]:
            raise ValueError("Expected the coarse cells of the columns.")
        strength = float(meta["strength"])
    return FittedDiffusion(warm, net.eval(), shifts, strength)
