"""The one place where a sum of clipped gradients becomes a gradient that may be used.

Physical batches are added up; one release a logical step adds the noise and divides by a public constant.
Over several processes the sums are added first and the noise is drawn by the first process alone, so it is
counted once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from synthgen.dpsgd import distributed
from synthgen.dpsgd.clipped_gradients import ClippedSum
from synthgen.privacy.noise import NoiseSource


class NoisySum:
    """Accumulates clipped sums in float64, and releases them with noise.

    Guarantee:
        With ``sigma = noise_multiplier * max_grad_norm``, each `release` costs what
        ``GaussianDpEvent(noise_multiplier)`` costs on the units that took part (Poisson sampled: as the plan
        books it), up to what `NoiseSource.gaussian` says of floating point. The noised sum of all processes
        is rounded to multiples of the noise's public spacing before anything else is made of it.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], *, sigma: float, denominator: float, noise: NoiseSource
    ) -> None:
        """Make an empty sum.

        Args:
            parameters: the parameters that the noised gradient is written to, by name.
            sigma: standard deviation of the noise in each coordinate of the sum.
            denominator: the public number that the noised sum is divided by; never the batch's own size.
            noise: the source of the noise.

        Raises:
            ValueError: a number is not positive and finite.
        """
        if not (math.isfinite(sigma) and sigma > 0 and math.isfinite(denominator) and denominator > 0):
            raise ValueError(f"Expected sigma > 0 and denominator > 0, got {sigma} and {denominator}.")
        self._parameters = dict(parameters)
        self._sigma, self._denominator, self._noise = sigma, denominator, noise
        self._spacing = noise.spacing(sigma)
        self._size = sum(p.numel() for p in self._parameters.values())
        first = next(iter(self._parameters.values()))
        self._sum: Tensor = torch.zeros(self._size, dtype=torch.float64, device=first.device)
        self._gradients = [torch.zeros_like(p) for p in self._parameters.values()]
        self._worker: ThreadPoolExecutor | None = None
        self._drawn: Future[npt.NDArray[np.float64]] | None = None

    def prepare(self) -> None:
        """Start to draw the step's noise beside the gradients' computation; noise does not depend on data."""
        if distributed.rank() == 0 and self._drawn is None:
            self._worker = self._worker or ThreadPoolExecutor(1)
            self._drawn = self._worker.submit(self._noise.gaussian, self._size, sigma=self._sigma)

    def add(self, clipped: ClippedSum) -> None:
        """Add a physical batch."""
        self._follow()
        start = 0
        for name, parameter in self._parameters.items():
            stop = start + parameter.numel()
            self._sum[start:stop] += clipped.sums[name].flatten()
            start = stop

    def clear(self) -> None:
        """Forget what was added: a step that was interrupted."""
        self._follow()
        self._sum.zero_()

    def _follow(self) -> None:
        """Lie where the parameters lie: a Trainer moves them to its device before the first step."""
        first = next(iter(self._parameters.values()))
        if self._sum.device != first.device:
            self._sum = self._sum.to(first.device)
            self._gradients = [torch.zeros_like(p) for p in self._parameters.values()]

    def release(self) -> None:
        """Add the noise, round, divide, write each parameter's ``grad``, and start anew. Once a step."""
        self._follow()
        if distributed.rank() == 0:
            self.prepare()
            drawn, self._drawn = self._drawn, None  # before it is used: noise serves one release only
            self._sum += torch.from_numpy(drawn.result()).to(self._sum.device)  # type: ignore[union-attr]
        total = distributed.sum_(self._sum).div_(self._spacing).round_().mul_(self._spacing)
        total.div_(self._denominator)
        start = 0
        for parameter, gradient in zip(self._parameters.values(), self._gradients, strict=True):
            stop = start + parameter.numel()
            parameter.grad = gradient.copy_(total[start:stop].view_as(gradient))
            start = stop
        self._sum.zero_()
