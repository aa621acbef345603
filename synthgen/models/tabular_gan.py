"""A GAN that refines the records of a paid marginal model; patients meet its critic alone, by DP-SGD.

1. A share of the budget buys a `marginal` model (`tabular_marginal`), whose samples are the generator's
   drafts. So conditions, and how often each occurs, come from paid marginals and from nothing else.
2. The critic is trained, for free, to tell drafts from drafts with columns mixed up (`_refiner`).
3. The rest of the budget trains the critic on patients: one loss a patient (a record beside a made one), one
   clip, one noise a step. The generator follows the critic between steps and sees no record.

Source: Bie et al. (2023), arXiv:2302.02936, for several critic steps a generator step and large batches;
Shrivastava et al. (2017), arXiv:1612.07828, for refining drafts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from synthgen.errors import ConfigError
from synthgen.models import _fitted, _warm
from synthgen.models._base import Progress
from synthgen.models._fitted import FittedMarginal
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.records import RealTable, SyntheticTable
from synthgen.schema import Schema
from synthgen.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from synthgen.models._refiner import Generator

__all__ = ["Config", "Fitted", "load"]
WEIGHTS, META = "generator_net.safetensors", "generator_net.json"
N_DRAFTS = 200_000


class Config(Settings):
    """Settings. All are public; none looks at the data.

    Attributes:
        share: part of the budget's rho for the marginal model; None follows `_warm.share_of`.
        steps: noised steps of the critic.
        batch: patients that a step draws on average, at most.
        draws: made records beside each real one in a step.
        critic_rate: learning rate of the critic's noised steps.
        generator_rate: learning rate of the generator.
        critic_steps: noised steps before the generator's turn.
        generator_steps: steps of the generator in its turn; free.
        ema_decay: what the average of the weights keeps in a step.
        width: width of both networks.
        pretraining: the critic's steps on drafts; free.
        seed: of initial weights, pretraining and the generator's draws.
    """

    name: Literal["gan"] = "gan"
    share: float | None = Field(default=None, gt=0, lt=1)
    steps: int = Field(default=150, ge=1, le=100_000)
    batch: int = Field(default=2048, ge=1, le=2**20)
    draws: int = Field(default=2, ge=1, le=64)
    critic_rate: float = Field(default=0.5, gt=0, le=100)
    generator_rate: float = Field(default=2e-4, gt=0, le=1)
    critic_steps: int = Field(default=5, ge=1, le=1000)
    generator_steps: int = Field(default=5, ge=1, le=1000)
    ema_decay: float = Field(default=0.95, ge=0, lt=1)
    width: int = Field(default=128, ge=8, le=4096)
    pretraining: int = Field(default=1000, ge=0, le=1_000_000)
    seed: int = 0

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee from public facts. See `_warm.plan_of`."""
        share = _warm.share_of(self.share, epsilon, delta)
        split = _warm.Split(share, self.steps, self.batch, self.draws)
        return _warm.plan_of(self.name, schema, split, epsilon=epsilon, delta=delta, patients=patients)

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
            progress: told what is being done.
        """
        import torch

        from synthgen.models import _refiner as nets
        from synthgen.models._denoiser import CellRecords

        tell = progress or (lambda what, done: None)
        warm = _warm.start(data, plan, noise=noise, tell=tell)
        sizes = [merging.n_coarse for merging in warm.merging.values()]
        rng = np.random.default_rng(self.seed)
        drafts = torch.from_numpy(_warm.stacked(warm, warm.draw(N_DRAFTS, rng=rng, held={})))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            generator = nets.Generator(sizes, width=self.width)
            judge = nets.Pairs(nets.critic(sizes, width=self.width))
        nets.pretrain(
            judge, drafts, sizes, steps=self.pretraining, seed=self.seed,
            tell=lambda done: tell("pretraining", 0.3 + 0.3 * done),
        )  # fmt: skip
        tell("noised steps", 0.6)
        module = nets.RefinerTraining(
            generator, judge, drafts, _warm.training_of(plan),
            learning_rates=(self.critic_rate, self.generator_rate), ema_decay=self.ema_decay,
            critic_steps=self.critic_steps, generator_steps=self.generator_steps, seed=self.seed,
        )  # fmt: skip
        _warm.train(module, CellRecords(warm.encode(data), sizes), data, noise=noise, tell=tell)
        tell("done", 1.0)
        return FittedGan(warm, generator)


@dataclass(frozen=True)
class FittedGan:
    """The marginal model and the generator. Publishable.

    Attributes:
        warm: where drafts come from.
        generator: refines them.
    """

    warm: FittedMarginal
    generator: Generator

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticTable:
        """Draw records. Post-processing: may be called for ever.

        Args:
            n_records: records to draw, 0 or more.
            rng: open randomness; the same state gives the same records on the same machine.
            where: conditions, as `FittedMarginal.sample` takes them; the draft keeps to them, and the
                generator leaves the columns that they hold as they are.

        Raises:
            ConfigError: a condition names an unknown column or value, or one without any chance.
        """
        from synthgen.models._refiner import refined

        held = self.warm.held(where or {})
        names = list(self.warm.merging)
        drafts = _warm.stacked(self.warm, self.warm.draw(n_records, rng=rng, held=held))
        cells = refined(self.generator, drafts, rng)
        coarse = {name: (drafts if name in held else cells)[:, i] for i, name in enumerate(names)}
        return self.warm.decode(coarse, rng=rng, held=held)

    def sample_given(self, evidence: pd.DataFrame, *, rng: np.random.Generator) -> SyntheticTable:
        """Draw one record for each row of ``evidence``, whose columns it keeps exactly. Post-processing.

        Args:
            evidence: canonical values of some columns; the draft of the others follows them.
            rng: open randomness; the same state gives the same records on the same machine.
        """
        from synthgen.models._refiner import refined

        drafts = _warm.stacked(self.warm, self.warm.draw_given(evidence, rng=rng))
        cells = refined(self.generator, drafts, rng)
        names = list(self.warm.merging)
        coarse = {name: (drafts if name in evidence else cells)[:, i] for i, name in enumerate(names)}
        return self.warm.decode_given(coarse, evidence, rng=rng)

    def save(self, folder: Path) -> None:
        """Write the marginal model's files, ``generator_net.safetensors`` and ``generator_net.json``."""
        from safetensors.torch import save_file

        self.warm.save(folder)
        save_file({k: v.contiguous() for k, v in self.generator.state_dict().items()}, folder / WEIGHTS)
        meta = {"sizes": list(self.generator.sizes), "width": self.generator.head.in_features}
        (folder / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


Fitted = FittedGan


def load(folder: Path, schema: Schema) -> FittedGan:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    from safetensors.torch import load_file

    from synthgen.models._refiner import Generator

    warm = _fitted.load(folder, schema)
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        net = Generator(meta["sizes"], width=meta["width"])
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ConfigError("Expected a saved GAN.", where=str(folder)) from error
    return FittedGan(warm, net.eval())
