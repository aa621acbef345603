"""How the generator and the critic of `imaging_gan` learn: for free on phantoms, then from patients.

Patients reach the critic's clipped gradients and nothing else. After each noised step the critic's weights
are cut to a public spectral norm, which is a function of released weights; the generator follows the released
critic, on drafts that were paid for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim import Adam, Optimizer

from synthgen.dpsgd.module import PrivateModule
from synthgen.dpsgd.patient_sampling import Batch
from synthgen.dpsgd.random_draws import Draws, open_generator
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.generators.image_statistics import power_spectrum
from synthgen.generators.imaging.gan.refiner import Critic, Refiner, cosines

BETAS = (0.5, 0.9)
MADE = 1024
LARGEST_NORM = 2.0
PLACES = 7


@dataclass(frozen=True)
class Shown:
    """Images that cost nothing or were paid for, with what is said of them.

    Attributes:
        images: intensities from -1 to 1, "image channel row column".
        classes: " image".
        guides: "image guide".
    """

    images: Tensor
    classes: Tensor
    guides: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> Shown:
        """Return some of them."""
        return Shown(self.images[rows], self.classes[rows], self.guides[rows])

    def some(self, draws: Draws) -> Shown:
        """Return one for each row of these draws."""
        return self.take(draws.below(len(self)))

    def like(self, classes: Tensor, draws: Draws) -> Shown:
        """Return one of each class asked for, or of any where there is none: each row's own affair."""
        order, counts = torch.argsort(self.classes, stable=True), torch.bincount(self.classes)
        starts = torch.cumsum(counts, 0) - counts
        known = classes.clamp(max=len(counts) - 1)
        there = (known == classes) & (counts[known] > 0)
        first = torch.where(there, starts[known], 0)
        width = torch.where(there, counts[known], len(self))
        return self.take(order[first + draws.below(width)])


def doubt(real: Tensor, made: Tensor) -> Tensor:
    """Return the critic's loss of each pair of scores, " row"; at its least a score is a log-odds."""
    return functional.softplus(-real) + functional.softplus(made)


@torch.no_grad()
def bounded(critic: Critic) -> None:
    """Cut each layer's weights to the spectral norm `LARGEST_NORM`: a function of the weights alone."""
    for layer in critic.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
            layer.weight.mul_(LARGEST_NORM / norm.clamp(min=LARGEST_NORM))


@dataclass(frozen=True)
class Kept:
    """What refining must leave as it was paid for: a draft's means of blocks, and the rings' powers.

    Attributes:
        weight: of the means.
        weight_rings: of the rings.
        wanted: decimal logarithm of each ring's power, NaN where noise hides it.
    """

    weight: float
    weight_rings: float
    wanted: np.ndarray

    def loss(self, made: Tensor, drafts: Tensor) -> Tensor:
        """Return how far images went from their drafts, and their spectrum from the paid one."""
        places = min(PLACES, made.shape[-1])
        means, wanted_means = (functional.adaptive_avg_pool2d(images, places) for images in (made, drafts))
        found = self.weight * functional.mse_loss(means, wanted_means)
        known = torch.from_numpy(~np.isnan(self.wanted)).to(made.device)
        if self.weight_rings and bool(known.any()):
            wanted = torch.from_numpy(np.nan_to_num(self.wanted)).float().to(made.device)
            found = found + self.weight_rings * ((rings(made) - wanted)[known] ** 2).mean()
        return found


def rings(images: Tensor) -> Tensor:
    """Return the mean over images of the logarithm of each ring's power, as `_spectrum.Bands.powers`.

    Args:
        images: intensities from -1 to 1.
    """
    size, bands = images.shape[-1], power_spectrum.Bands(images.shape[-1])
    turn = cosines(size).to(images)
    power = ((turn @ (images / 2.0) @ turn.mT) ** 2).mean(1) / size**2
    member = torch.from_numpy(bands.places.ravel()[None] == np.arange(bands.number)[:, None]).to(images)
    means = power.flatten(1) @ (member / member.sum(1, keepdim=True)).mT
    return (means + 10**power_spectrum.LEAST).log10().mean(0)


class CriticTraining(PrivateModule):
    """Trains the critic on patients; the generator follows the critic and never meets a record.

    After every ``critic_steps`` noised steps, but the last, the generator makes ``generator_steps`` steps of
    its own against the critic's running average. How many depends on public numbers alone.
    """

    def __init__(
        self,
        generator: Refiner,
        critic: Critic,
        drafts: Shown,
        plan: TrainingPlan,
        kept: Kept,
        *,
        rates: tuple[float, float],
        ema_decay: float,
        critic_steps: int,
        generator_steps: int,
        batch: int,
        seed: int,
        max_physical_batch_size: int = 128,
    ) -> None:
        super().__init__(
            plan, max_physical_batch_size=max_physical_batch_size, ema_decay=ema_decay, seed=seed
        )
        self.generator, self.critic = generator, critic
        self.rates, self.batch = rates, batch
        self.critic_steps, self.generator_steps = critic_steps, generator_steps
        self._drafts, self._kept = drafts, kept
        self._made = self._remade(open_generator(seed, drafts.classes.device))

    def private_model(self) -> nn.Module:
        """Return the critic."""
        return self.critic

    def losses(self, batch: Batch) -> Tensor:
        """Return one loss a row: a patient's image beside a made one of its class."""
        classes, guides = batch["classes"], batch["guides"]
        made = self._made.like(classes, self.draws(batch))
        real = self.critic(batch["images"], classes, guides)
        return doubt(real, self.critic(made.images, made.classes, made.guides))

    def private_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """Return Adam, which takes the clipping norm's scale out again."""
        return Adam(parameters, lr=self.rates[0], betas=(0.9, 0.99))

    def data_free_optimizers(self) -> list[Optimizer]:
        """Return the generator's optimizer."""
        return [Adam(self.generator.parameters(), lr=self.rates[1], betas=BETAS)]

    def after_step(self) -> None:
        """Cut the critic's weights; in its turn let the generator follow."""
        bounded(self.critic)
        if self.steps_done % self.critic_steps or self.steps_done == self.plan.steps:
            return
        optimizer, judge = self._optimizers()[1], self._judge()
        parameters = list(self.generator.parameters())
        for _ in range(self.generator_steps):
            draws = Draws.open(self.batch, self.open)
            shown = self._drafts.some(draws)
            made = refined(self.generator, shown.images, draws)
            score = functional_call(self.critic, judge, (made, shown.classes, shown.guides))
            loss = self._kept.loss(made, shown.images) + functional.softplus(-score).mean()
            optimizer.zero_grad()
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
        for name, parameter in self.generator.named_parameters():
            self.average[f"generator.{name}"] = parameter.detach().clone()  # the last one, not an average
        self._made = self._remade(self.open)

    def _judge(self) -> dict[str, Tensor]:
        """Return the critic's averaged weights, if an average is kept."""
        named = self.critic.named_parameters()
        return {name: self.average.get(f"critic.{name}", weight).detach() for name, weight in named}

    @torch.no_grad()
    def _remade(self, generator: torch.Generator) -> Shown:
        shown = self._drafts.some(Draws.open(MADE, generator))
        parts = [
            refined(self.generator, images, Draws.open(len(images), generator))
            for images in torch.split(shown.images, 256)
        ]
        return Shown(torch.cat(parts), shown.classes, shown.guides)


def refined(generator: Refiner, drafts: Tensor, draws: Draws) -> Tensor:
    """Return images of drafts under new noise."""
    made: Tensor = generator(drafts, draws.normal(*drafts.shape[1:]))
    return made


def pretrain(
    generator: Refiner,
    critic: Critic,
    phantoms: Shown,
    seen: Tensor,
    *,
    steps: int,
    batch: int,
    rates: tuple[float, float],
    adversarial: float,
    source: torch.Generator,
    progress: Callable[[int], None],
) -> None:
    """Teach both, for free, on phantoms: to take noise off, and to tell what noise left.

    Args:
        generator: learns to give a phantom back from what a draft would hold of it, under noise.
        critic: learns to tell phantoms from what the generator gives.
        phantoms: what patients voted for.
        seen: the phantoms as drafts would hold them.
        steps: steps of each.
        batch: images in a step.
        rates: learning rates of critic and generator.
        adversarial: weight of the critic's word, beside the squared error.
        source: a public generator.
        progress: receives how many steps are done, after each.
    """
    if not steps:
        return
    own = Adam(generator.parameters(), lr=rates[1], betas=BETAS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(own, rates[1], total_steps=max(steps, 2))
    theirs = Adam(critic.parameters(), lr=rates[0], betas=BETAS)
    for step in range(steps):
        draws = Draws.open(batch, source)
        rows = draws.below(len(phantoms))
        shown, others = phantoms.take(rows), phantoms.some(draws)
        made = refined(generator, seen[rows], draws)
        score = critic(made.detach(), shown.classes, shown.guides)
        lost = doubt(critic(others.images, others.classes, others.guides), score).mean()
        theirs.zero_grad()
        lost.backward()  # type: ignore[no-untyped-call]
        theirs.step()
        bounded(critic)
        loss = functional.mse_loss(made, shown.images) / adversarial
        loss = loss + functional.softplus(-critic(made, shown.classes, shown.guides)).mean()
        own.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        own.step()
        schedule.step()
        progress(step + 1)


@torch.no_grad()
def sharpen(generator: Refiner, drafts: Shown, wanted: np.ndarray, source: torch.Generator) -> None:
    """Give what is made of drafts the paid spectrum, before the critic looks at it."""
    bands = power_spectrum.Bands(drafts.images.shape[-1])
    made = (refined(generator, drafts.images, Draws.open(len(drafts), source)) + 1.0) / 2.0
    gains = np.append(bands.gains(made.clamp(0, 1).cpu().numpy(), wanted), 1.0)[bands.places]
    generator.gains.copy_(torch.from_numpy(gains))
