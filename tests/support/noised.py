"""The strongest attack on a fit with noised steps: what is released of each, beside the paid answers.

The attacker knows all patients but one, whom each step takes in or not, and that one's clipped gradient at
the weights that were released so far; the one's own coins stay secret. A step's likelihood ratio is then that
of the sampled Gaussian which the plan books, wherever the clipped gradient reaches the clipping norm.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from synthgen.dpsgd.noisy_sum import NoisySum
from synthgen.dpsgd.patient_sampling import LogicalBatch
from synthgen.evaluation.audit.transcript import Replay, Tap, ratio_of
from synthgen.generators.imaging.diffusion import mechanism
from synthgen.generators.imaging.gan import mechanism as image_gan_fit
from synthgen.generators.two_stage import dpsgd_steps, imaging, tabular
from synthgen.privacy.noise import NoiseSource
from tests.support.mechanisms import Mechanism

CANARY = 0
"""Number of the one patient: ids are sorted."""


@dataclass
class Watch:
    """What is seen of the steps of one training.

    Attributes:
        member: whether the one's gradient is added where its coin falls so.
        ratio: logarithm of the likelihood ratio of all steps so far.
        lengths: of the one's clipped gradient over the clipping norm's noise, a step.
    """

    member: bool
    ratio: float = 0.0
    lengths: list[float] = field(default_factory=list)
    _turn: bool = False
    _chosen: bool = False
    _rate: float = 0.0
    _own: Tensor = field(default_factory=lambda: torch.zeros(0))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Let each step end with the one's gradient alone, add it or not, and read what is released."""
        add, release = NoisySum.add, NoisySum.release

        def physical(batch: LogicalBatch, n_units: int) -> Iterator[np.ndarray]:
            self._chosen, self._rate = CANARY in batch.units, batch.sampler._rate
            others = batch.units[batch.units != CANARY]
            for start in range(0, len(others), n_units):
                yield others[start : start + n_units]
            self._turn = True
            yield np.array([CANARY])

        def added(sums: NoisySum, clipped: Any) -> None:
            if not self._turn:
                add(sums, clipped)
                return
            self._turn = False
            self._own = torch.cat([clipped.sums[name].double().flatten() for name in sums._parameters])
            if self._chosen and self.member:
                add(sums, clipped)

        def released(sums: NoisySum) -> None:
            sums.prepare()
            assert sums._drawn is not None
            own, drawn = self._own, torch.from_numpy(sums._drawn.result())
            seen = drawn + own if self._chosen and self.member else drawn
            squared = float(own @ own) / sums._sigma**2
            at = float(seen @ own) / sums._sigma**2 - squared / 2
            self.ratio += float(np.logaddexp(math.log1p(-self._rate), math.log(self._rate) + at))
            self.lengths.append(math.sqrt(squared))
            release(sums)

        with (
            mock.patch.object(LogicalBatch, "physical", physical),
            mock.patch.object(NoisySum, "add", added),
            mock.patch.object(NoisySum, "release", released),
        ):
            yield


def _without_steps() -> Any:
    return mock.patch.object(dpsgd_steps, "fit", return_value=None)


@contextlib.contextmanager
def few_drafts() -> Iterator[None]:
    """Draw few records from what was paid for: free, and most of a small fit's time."""
    with (
        mock.patch.object(tabular, "N_DRAFTS", 500),
        mock.patch.multiple(mechanism, DRAFTS=40, POOL=40),
        mock.patch.multiple(image_gan_fit, DRAFTS=40, PHANTOMS=40),
        mock.patch.object(imaging, "TRIAL", 40),
    ):
        yield


@dataclass(frozen=True)
class Noised(Mechanism):
    """A generator with noised steps, its plan, and the same data with and without one patient."""

    def score(self, *, member: bool, sigma_times: float = 1.0, seed: int) -> float:
        """Return the attacker's score of one fit; the steps always hold the one, whose coin may not count."""
        tap, watch = Tap(NoiseSource.for_tests(seed), sigma_times=sigma_times), Watch(member)
        replay = Replay(tap.answers, tap)
        noise = {member: tap, not member: replay}
        for holds in (member, not member):
            data = self.with_patient if holds else self.without
            with few_drafts(), watch.watching() if holds else _without_steps():
                self.config.fit(data, self.plan, noise=noise[holds])
        return ratio_of(tap.answers, replay.exact, member=member) + watch.ratio
