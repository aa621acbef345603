"""The network of `imaging_diffusion`: an image without its noise, given how much noise there is.

A `diffusers.UNet2DModel` behind the preconditioning of Karras et al. (2022), arXiv:2206.00364 (EDM). Blocks
of pixels are folded into channels first (`pixel_folding`), so that a picture of 28 to 512 pixels a side costs
two cores little. No layer couples images, and none keeps running statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import EDMDPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn
from torch.optim import Optimizer

from synthgen.dpsgd.module import PrivateModule
from synthgen.dpsgd.patient_sampling import Batch
from synthgen.dpsgd.random_draws import Draws
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.generators.device import device_of
from synthgen.generators.image_statistics.pixel_folding import Folding

SIGMA_DATA = 0.4
LOG_MEAN, LOG_SPREAD = -1.4, 1.3
GROUPS = 8
LOWEST, HIGHEST = 0.01, 10.0
CHUNK = 512
UNSAID = -1.0  # guidance that tells no class


class ImageDenoiser(nn.Module):
    """Denoises images of intensities from -1 to 1.

    Attributes:
        channels: of an image.
        size: pixels a side.
        classes: number of classes; one more stands for "not said".
        guides: length of the guides' vector.
        width: channels of the finest layer.
    """

    def __init__(self, *, channels: int, size: int, classes: int, guides: int, width: int) -> None:
        super().__init__()
        self.channels, self.size, self.classes, self.guides, self.width = (
            channels,
            size,
            classes,
            guides,
            width,
        )
        self.folding = Folding(size)
        depth = 4 * width
        folded = channels * self.folding.fold**2
        self.unet: Any = UNet2DModel(  # type: ignore[no-untyped-call]
            sample_size=self.folding.grid,
            in_channels=folded,
            out_channels=folded,
            block_out_channels=(width, 2 * width),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=GROUPS,
            class_embed_type="identity",
            add_attention=False,
        )
        self.labels = nn.Embedding(classes + 1, depth)
        nn.init.normal_(self.labels.weight, std=0.02)
        self.guide = nn.Linear(guides, depth, bias=False) if guides else None

    def forward(self, noisy: Tensor, sigma: Tensor, classes: Tensor, guides: Tensor) -> Tensor:
        """Return the preconditioned network's raw output, "image channel row column".

        Args:
            noisy: "image channel row column".
            sigma: standard deviation of the noise, " image".
            classes: class of each image, " image"; the last number is "not said".
            guides: "image guide".
        """
        scale = (sigma**2 + SIGMA_DATA**2).sqrt()[:, None, None, None]
        folded = self.folding.folded(noisy / scale)
        said = self.labels(classes)
        if self.guide is not None:
            said = said + self.guide(guides) * (classes != self.classes)[:, None]
        out: Tensor = self.unet(folded, 500 + 100 * sigma.log(), class_labels=said).sample
        return self.folding.unfolded(out)

    def clean(self, noisy: Tensor, sigma: Tensor, classes: Tensor, guides: Tensor) -> Tensor:
        """Return what the images are thought to be without noise."""
        s = sigma[:, None, None, None]
        total = s**2 + SIGMA_DATA**2
        raw = self(noisy, sigma, classes, guides)
        found: Tensor = SIGMA_DATA**2 / total * noisy + s * SIGMA_DATA / total.sqrt() * raw
        return found

    def losses(self, images: Tensor, classes: Tensor, guides: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return EDM's loss of each image, " image": every noise level counts alike."""
        s = sigma[:, None, None, None]
        noisy, total = images + s * noise, s**2 + SIGMA_DATA**2
        wanted = (images - SIGMA_DATA**2 / total * noisy) * total.sqrt() / (s * SIGMA_DATA)
        found: Tensor = ((self(noisy, sigma, classes, guides) - wanted) ** 2).mean((1, 2, 3))
        return found


def levels(draws: Draws, *, low: float, high: float) -> Tensor:
    """Draw noise levels, log-normal between `low` and `high`, which are what sampling meets, " row"."""
    below, above = torch.special.ndtr((torch.tensor([low, high]).log() - LOG_MEAN) / LOG_SPREAD).tolist()
    part = below + (above - below) * draws.uniform()
    drawn: Tensor = (LOG_MEAN + LOG_SPREAD * torch.special.ndtri(part)).exp()
    return drawn.clamp(low, high)


def pretrain(
    net: ImageDenoiser,
    draw: Callable[[Draws], tuple[Tensor, Tensor, Tensor, Tensor]],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    generator: torch.Generator,
    progress: Callable[[int], None],
) -> None:
    """Train on images that were paid for or cost nothing, for free.

    Args:
        net: the denoiser.
        draw: returns images, classes, guides and noise levels of the rows of these draws.
        steps: steps of AdamW.
        batch: rows in a step.
        learning_rate: the largest; it rises and falls once.
        generator: a public one.
        progress: receives how many steps are done, after each.
    """
    if not steps:
        return
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=1e-4, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=max(steps, 2))
    for step in range(steps):
        draws = Draws.open(batch, generator)
        images, classes, guides, sigma = draw(draws)
        loss = net.losses(images, classes, guides, sigma, draws.normal(*images.shape[1:])).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step + 1)


def small_part(net: ImageDenoiser) -> list[nn.Parameter]:
    """Return the parameters that few patients can pay for: norms, biases, labels, the last layer.

    They are a hundredth of the network, so that a step's noise, whose length grows with the root of their
    number, is a tenth.
    """
    return [
        parameter
        for name, parameter in net.named_parameters()
        if "norm" in name or name.endswith("bias") or name.startswith(("labels", "guide", "unet.conv_out"))
    ]


class ImageTraining(PrivateModule):
    """Trains the denoiser by DP-SGD: several noise levels of a record, averaged before the clip."""

    def __init__(
        self,
        net: ImageDenoiser,
        plan: TrainingPlan,
        *,
        learning_rate: float,
        ema_decay: float,
        highest: float,
        dropout: float,
        max_physical_batch_size: int = 64,
    ) -> None:
        super().__init__(plan, max_physical_batch_size=max_physical_batch_size, ema_decay=ema_decay)
        self.net, self.learning_rate, self.highest, self.dropout = net, learning_rate, highest, dropout

    def private_model(self) -> nn.Module:
        """Return the denoiser."""
        return self.net

    def losses(self, batch: Batch) -> Tensor:
        """Return one loss a row; a patient's rows have a noise level each."""
        images, classes = batch["images"], batch["classes"]
        draws = self.draws(batch)
        said = torch.where(draws.uniform() < self.dropout, self.net.classes, classes)
        sigma = levels(draws, low=LOWEST, high=self.highest)
        return self.net.losses(images, said, batch["guides"], sigma, draws.normal(*images.shape[1:]))

    def private_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """Return Adam, as the DPDM family's recipe has it."""
        return torch.optim.Adam(parameters, lr=self.learning_rate)


@torch.no_grad()
def denoised(
    net: ImageDenoiser,
    drafts: np.ndarray,
    classes: np.ndarray,
    guides: np.ndarray,
    *,
    strength: float,
    steps: int,
    guidance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Add noise to drafts and take it away again, by DPM-Solver++ of `diffusers` over EDM's noise levels.

    Args:
        net: the denoiser.
        drafts: intensities from 0 to 1, "image channel row column".
        classes: class of each image.
        guides: "image guide".
        strength: noise that is added, over the range -1 to 1; at several, nothing of a draft is left.
        steps: calls of the network.
        guidance: 0 draws as the class is; above, further from "not said" (Ho and Salimans, 2022); -1 is "not
            said" itself.
        rng: draws the noise; open.

    Returns:
        Intensities, float32; they may lie a little outside 0 to 1. The same on each run on one machine.
    """
    device = device_of("auto")
    net.to(device)
    scheduler: Any = EDMDPMSolverMultistepScheduler(  # type: ignore[no-untyped-call]
        sigma_min=LOWEST, sigma_max=strength, sigma_data=SIGMA_DATA, num_train_timesteps=1000
    )
    out = [np.zeros((0, *drafts.shape[1:]), dtype=np.float32)]
    for start in range(0, len(drafts), CHUNK):
        rows = slice(start, start + CHUNK)
        known = torch.from_numpy(classes[rows].astype(np.int64)).to(device)
        unsaid = torch.full_like(known, net.classes)
        said = unsaid if guidance == UNSAID else known
        guide = torch.from_numpy(guides[rows].astype(np.float32)).to(device)
        noise = rng.standard_normal(drafts[rows].shape).astype(np.float32)
        x = torch.from_numpy(2.0 * drafts[rows].astype(np.float32) - 1.0 + strength * noise).to(device)
        scheduler.set_timesteps(steps)
        for i, t in enumerate(scheduler.timesteps):
            sigma = torch.full((len(x),), float(scheduler.sigmas[i]), device=device)
            raw = net(x, sigma, said, guide)
            if guidance not in (0.0, UNSAID):
                free = net(x, sigma, unsaid, guide)
                raw = raw + guidance * (raw - free)
            x = scheduler.step(raw, t, x).prev_sample
        out.append(((x + 1.0) / 2.0).cpu().numpy())
    net.cpu()
    return np.concatenate(out)
