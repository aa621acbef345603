"""The student of PATE-GAN and the generator that learns from it. Both see synthetic rows only.

The student is trained on synthetic rows and the share of teachers that called each real, as the noisy counts
have it; the generator, a mixture of products, on the student's verdict and on the paid marginals. No real
row can reach this file. Torch is imported by this module, so import it late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synthgen.generators.tabular.network.network import Network, Problem

WIDTH, DECAY = 64, 1e-2
FORGET = 0.6  # weight of labels a round older: the generator has moved on since
BATCH, TEMPERATURE = 256, 0.7


class Student(nn.Module):
    """A small discriminator on one-hot rows.

    Args:
        sizes: number of cells of each column.
        seed: of its first weights.
    """

    def __init__(self, sizes: Mapping[str, int], *, seed: int = 0) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        open_ = torch.Generator().manual_seed(seed)
        layers = [nn.Linear(sum(sizes.values()), WIDTH), nn.Linear(WIDTH, 1)]
        for layer in layers:
            spread = torch.randn(layer.weight.shape, generator=open_)
            layer.weight.data = spread / layer.in_features**0.5
            layer.bias.data.zero_()
        self.layers = nn.Sequential(layers[0], nn.SiLU(), layers[1])
        self._rows: list[Tensor] = []
        self._shares: list[Tensor] = []

    def forward(self, rows: Tensor) -> Tensor:
        """Return the logit of "real" of each one-hot row, (row,)."""
        return torch.as_tensor(self.layers(rows))[:, 0]

    def learn(self, cells: Mapping[str, np.ndarray], shares: np.ndarray, *, steps: int) -> None:
        """Take newly labelled rows into account.

        Args:
            cells: of the synthetic rows.
            shares: for each the share of teachers that called it real; noisy, so cut to [0, 1] here.
            steps: training steps.
        """
        self._rows.append(one_hot(cells, self.sizes))
        self._shares.append(torch.tensor(np.clip(shares, 0.0, 1.0), dtype=torch.float32))
        rows, wanted = torch.cat(self._rows), torch.cat(self._shares)
        ages = [FORGET ** (len(self._rows) - 1 - i) for i, part in enumerate(self._rows) for _ in part]
        weight = torch.tensor(ages, dtype=torch.float32)
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=DECAY)
        for _ in range(steps):
            losses = nn.functional.binary_cross_entropy_with_logits(self(rows), wanted, reduction="none")
            loss = (weight * losses).sum() / weight.sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def improve(
    network: Network,
    student: Student,
    problem: Problem,
    *,
    steps: int,
    rate: float,
    pull: float,
    seed: int,
) -> None:
    """Let the generator look more real to the student, and keep to the paid marginals.

    Rows are drawn from the mixture with the straight-through Gumbel trick, so that gradients pass.

    Args:
        network: changed in place.
        student: left as it is.
        problem: the paid marginals.
        steps: training steps; free, since nothing real is looked at.
        rate: learning rate.
        pull: weight of the marginals' chi-square a count.
        seed: of the drawn rows.
    """
    open_ = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.5, 0.99))
    for _ in range(steps):
        weights, chances = network()
        component = torch.multinomial(weights.detach(), BATCH, replacement=True, generator=open_)
        rows = _drawn(chances[component], list(network.sizes.values()), open_)
        fooled = nn.functional.softplus(-student(rows)).mean()
        loss = fooled + pull * problem.loss(weights, chances)[0]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def one_hot(cells: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Tensor:
    """Return one-hot rows, all columns side by side."""
    parts: list[Any] = [np.eye(size, dtype=np.float32)[cells[name]] for name, size in sizes.items()]
    return torch.tensor(np.concatenate(parts, axis=1))


def _drawn(chances: Tensor, sizes: list[int], open_: torch.Generator) -> Tensor:
    """Return one-hot rows drawn from each row's chances, with the gradient of a softened draw."""
    out = []
    for part in torch.split(chances.clamp(min=1e-12).log(), sizes, 1):
        noise = -torch.log(-torch.log(torch.rand(part.shape, generator=open_).clamp(1e-9, 1 - 1e-7)))
        soft = torch.softmax((part + noise) / TEMPERATURE, 1)
        hard = nn.functional.one_hot(soft.argmax(1), part.shape[1]).to(soft.dtype)
        out.append(hard + soft - soft.detach())
    return torch.cat(out, 1)
