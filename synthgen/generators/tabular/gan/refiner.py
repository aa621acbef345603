"""The networks of `tabular_gan`: a generator that refines drafts, and the critic that patients train.

The generator starts as the identity: it takes a record of the paid marginal model and a random vector, and
gives each column's chances of another cell. So a critic that has learnt nothing leaves what was paid for as
it is, and training moves it only where the critic saw a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from synthgen.dpsgd.module import PrivateModule
from synthgen.dpsgd.patient_sampling import Batch
from synthgen.dpsgd.random_draws import Draws, open_generator
from synthgen.dpsgd.training_plan import TrainingPlan

NOISE = 16
KEEP = 8.0  # first logit of a draft's own cell: one in a hundred cells or fewer moves at the start
CHUNK = 8192


def one_hot(cells: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return "row column" as "row cell", one 1 a column."""
    parts = [functional.one_hot(cells[:, i], size) for i, size in enumerate(sizes)]
    return torch.cat(parts, dim=1).float()


class Generator(nn.Module):
    """Draft and noise to logits of each column's cells, "row cell"."""

    def __init__(self, sizes: Sequence[int], *, width: int) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        cells = sum(self.sizes)
        self.body = nn.Sequential(
            nn.Linear(cells + NOISE, width),
            nn.GELU(),
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
        )
        self.head = nn.Linear(width, cells)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, draft: Tensor, noise: Tensor) -> Tensor:
        """Return logits; ``draft`` is one-hot, "row cell"."""
        logits: Tensor = self.head(self.body(torch.cat([draft, noise], dim=1)))
        return logits + KEEP * draft

    def refine(self, draft: Tensor, draws: Draws) -> Tensor:
        """Return new records, one-hot, through which gradients flow (straight-through Gumbel softmax).

        Source: Jang, Gu and Poole (2017), arXiv:1611.01144.
        """
        logits = self(draft, draws.normal(NOISE))
        parts = torch.split(logits + draws.gumbel(logits.shape[1]), list(self.sizes), dim=1)
        soft = torch.cat([torch.softmax(part, dim=1) for part in parts], dim=1)
        hard = one_hot(torch.stack([part.argmax(1) for part in parts], dim=1), self.sizes)
        return hard - soft.detach() + soft


def critic(sizes: Sequence[int], *, width: int) -> nn.Sequential:
    """Return a critic of records, "row cell" to "row 1"; no layer couples rows."""
    return nn.Sequential(
        nn.Linear(sum(sizes), width), nn.LeakyReLU(0.2), nn.LayerNorm(width),
        nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1),
    )  # fmt: skip


class Pairs(nn.Module):
    """A critic that reads a real and a made record as one row: one loss, one clip a patient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pair: Tensor) -> Tensor:
        """Return both scores, "row 2", of "row 2 cell"."""
        scores: Tensor = self.net(pair)[..., 0]
        return scores


def pair_loss(scores: Tensor) -> Tensor:
    """Return the hinge loss of each pair's scores, "row 2" to " row"."""
    return torch.relu(1.0 - scores[:, 0]) + torch.relu(1.0 + scores[:, 1])


class RefinerTraining(PrivateModule):
    """Trains the critic on patients; the generator follows the critic and never meets a record.

    After every ``critic_steps`` noised steps the generator makes ``generator_steps`` steps of its own. How
    many depends on public numbers alone.
    """

    def __init__(
        self,
        generator: Generator,
        judge: Pairs,
        drafts: Tensor,
        plan: TrainingPlan,
        *,
        learning_rates: tuple[float, float],
        ema_decay: float,
        critic_steps: int,
        generator_steps: int,
        seed: int,
    ) -> None:
        super().__init__(plan, max_physical_batch_size=512, ema_decay=ema_decay, seed=seed)
        self.generator, self.judge = generator, judge
        self.learning_rates = learning_rates
        self.critic_steps, self.generator_steps = critic_steps, generator_steps
        self._drafts = drafts

    def private_model(self) -> nn.Module:
        """Return the critic."""
        return self.judge

    def losses(self, batch: Batch) -> Tensor:
        """Return one loss a row: a patient's record beside one that the generator made."""
        real = one_hot(batch["cells"], self.generator.sizes)
        with torch.no_grad():
            draws = self.draws(batch)
            fake = self.generator.refine(self._some(draws), draws)
        return pair_loss(self.judge(torch.stack([real, fake], dim=1)))

    def private_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """Return plain momentum, as `denoiser.DenoiserTraining` does."""
        return torch.optim.SGD(parameters, lr=self.learning_rates[0], momentum=0.9)

    def data_free_optimizers(self) -> list[Optimizer]:
        """Return the generator's optimizer."""
        return [Adam(self.generator.parameters(), lr=self.learning_rates[1], betas=(0.5, 0.9))]

    def after_step(self) -> None:
        """Let the generator follow the critic."""
        if self.steps_done % self.critic_steps:
            return
        optimizer = self._optimizers()[1]
        for _ in range(self.generator_steps):
            draws = Draws.open(512, self.open)
            made = self.generator.refine(self._some(draws), draws)
            loss = -self.judge(made[:, None]).mean()
            optimizer.zero_grad()
            gradients = torch.autograd.grad(loss, list(self.generator.parameters()))
            for parameter, gradient in zip(self.generator.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()

    def _some(self, draws: Draws) -> Tensor:
        rows = draws.below(len(self._drafts)).to(self._drafts.device)
        return one_hot(self._drafts[rows].to(self.device), self.generator.sizes)


def pretrain(
    judge: Pairs,
    drafts: Tensor,
    sizes: Sequence[int],
    *,
    steps: int,
    seed: int,
    progress: Callable[[float], None],
    batch: int = 512,
) -> None:
    """Teach the critic, for free, what joins columns: drafts against drafts mixed in part."""
    optimizer = Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.9))
    generator = open_generator(seed)
    for step in range(steps):
        draws = Draws.open(batch, generator)
        rows, others = (drafts[draws.below(len(drafts))] for _ in range(2))
        mixed = torch.where(draws.uniform(rows.shape[1]) < draws.uniform(1), others, rows)
        pair = torch.stack([one_hot(rows, sizes), one_hot(mixed, sizes)], dim=1)
        loss = pair_loss(judge(pair)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 50 == 0:
            progress(step / steps)


@torch.no_grad()
def refined(net: Generator, cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return refined records, "record column", of drafts; the numbers come from ``rng``."""
    out = []
    for start in range(0, len(cells), CHUNK):
        draft = one_hot(torch.from_numpy(cells[start : start + CHUNK]), net.sizes)
        noise = torch.from_numpy(rng.standard_normal((len(draft), NOISE))).float()
        parts = torch.split(net(draft, noise), list(net.sizes), dim=1)
        gumbel = [-np.log(-np.log(rng.random(part.shape))) for part in parts]
        out.append(
            np.stack([(p.double().numpy() + g).argmax(1) for p, g in zip(parts, gumbel, strict=True)], axis=1)
        )
    return np.concatenate(out) if out else cells.copy()
