"""A GAN that refines the records of a paid marginal model; patients meet its critic alone, by DP-SGD.

1. A share of the budget buys a `marginal` model (`tabular_marginal`), whose samples are the generator's
   drafts. So conditions, and how often each occurs, come from paid marginals and from nothing else.
2. The critic is trained, for free, to tell drafts from drafts with columns mixed up (`refiner`).
3. The rest of the budget trains the critic on patients: one loss a patient (a record beside a made one), one
   clip, one noise a step. The generator follows the critic between steps and sees no record.

Source: Bie et al. (2023), arXiv:2302.02936, for several critic steps a generator step and large batches;
Shrivastava et al. (2017), arXiv:1612.07828, for refining drafts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from synthgen.data.tables import RealTable
from synthgen.files import limits
from synthgen.generators import model_files
from synthgen.generators.base import Progress
from synthgen.generators.marginal import fitted
from synthgen.generators.model_files import write_settings, write_tensors
from synthgen.generators.two_stage import tabular
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    from synthgen.generators.tabular.gan.refiner import Generator

__all__ = ["Config", "Fitted", "load"]
WEIGHTS, META = "generator_net.safetensors", "generator_net.json"


class Config(tabular.TwoStageSettings):
    """Settings, beside those of `tabular.TwoStageSettings`. All are public; none looks at the data.

    Attributes:
        critic_rate: learning rate of the critic's noised steps.
        generator_rate: learning rate of the generator.
        critic_steps: noised steps before the generator's turn.
        generator_steps: steps of the generator in its turn; free.
    """

    name: Literal["gan"] = "gan"
    critic_rate: float = Field(default=0.5, gt=0, le=100)
    generator_rate: float = Field(default=2e-4, gt=0, le=1)
    critic_steps: int = Field(default=5, ge=1, le=1000)
    generator_steps: int = Field(default=5, ge=1, le=1000)

    def fit(
        self, data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedGan:
        """Spend the plan.

        Guarantee:
            What is returned costs the plan's event, for neighbours that differ in all records of one unit:
            the marginal model its rho, the critic its steps; the generator follows from both.

        Args:
            data: the training records. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: called with what is being done and the part done, from 0 to 1.
        """
        import torch

        from synthgen.dpsgd.random_draws import drawing_from, open_generator
        from synthgen.generators.tabular.gan import refiner as nets
        from synthgen.generators.two_stage.dpsgd_steps import train

        progress = progress or (lambda what, done: None)
        warm = tabular.start(data, plan, noise=noise, progress=progress)
        sizes = [merging.n_coarse for merging in warm.merging.values()]
        drafts = torch.from_numpy(tabular.drafts_of(warm, self.seed))
        with drawing_from(open_generator(self.seed)):
            generator = nets.Generator(sizes, width=self.width)
            judge = nets.Pairs(nets.critic(sizes, width=self.width))
        nets.pretrain(
            judge, drafts, sizes, steps=self.pretraining, seed=self.seed,
            progress=lambda done: progress("pretraining", 0.3 + 0.3 * done),
        )  # fmt: skip
        progress("noised steps", 0.6)
        module = nets.RefinerTraining(
            generator, judge, drafts, tabular.training_of(plan),
            learning_rates=(self.critic_rate, self.generator_rate), ema_decay=self.ema_decay,
            critic_steps=self.critic_steps, generator_steps=self.generator_steps, seed=self.seed,
        )  # fmt: skip
        train(module, warm, data, noise=noise)
        progress("done", 1.0)
        return FittedGan(warm, generator)


@dataclass(frozen=True)
class FittedGan(tabular.TwoStageModel):
    """The marginal model and the generator. Publishable.

    Attributes:
        generator: refines drafts.
    """

    generator: Generator

    def change(self, cells: np.ndarray, free: list[int], *, rng: np.random.Generator) -> None:
        """Let the generator refine the free columns."""
        from synthgen.generators.tabular.gan.refiner import refined

        cells[:, free] = refined(self.generator, cells, rng)[:, free]

    def save(self, folder: Path) -> None:
        """Write the marginal model's files, ``generator_net.safetensors`` and ``generator_net.json``."""
        self.warm.save(folder)
        write_tensors(folder / WEIGHTS, self.generator.state_dict())
        meta = {"sizes": list(self.generator.sizes), "width": self.generator.head.in_features}
        write_settings(folder / META, meta)


Fitted = FittedGan


def load(folder: Path, schema: Schema) -> FittedGan:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    from synthgen.generators.tabular.gan.refiner import Generator

    warm = fitted.load(folder, schema)
    with model_files.reading(folder, "a saved GAN"):
        meta, weights = model_files.meta(folder, META), model_files.tensors(folder, WEIGHTS)
        sizes = model_files.sizes(meta["sizes"], columns=len(warm.merging))
        width = model_files.whole(meta["width"], most=limits.current().model_cells)
        if sizes != [one.n_coarse for one in warm.merging.values()]:
            raise ValueError("Expected the coarse cells of the columns.")
        net = model_files.network(lambda: Generator(sizes, width=width), weights)
    return FittedGan(warm, net.eval())
