"""Fixed networks of benchmarks: trained on drawn images, asked about real ones. No verdict rests on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from synthgen.data.images import intensities
from synthgen.evaluation.features.radiomics_encoder import thumbnails
from synthgen.evaluation.learners import imaging

STEPS, BATCH, RATE = 1200, 128, 3e-3


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = (
            nn.Conv2d(into, out, 3, stride, 1, bias=False),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
        )
        self.norm_one, self.norm_two = nn.BatchNorm2d(into), nn.BatchNorm2d(out)
        self.past = nn.Conv2d(into, out, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        seen = functional.relu(self.norm_one(x))
        return self.past(seen) + self.two(functional.relu(self.norm_two(self.one(seen))))


def small(channels: int, n_labels: int) -> nn.Module:
    """Return the network of the package's own utility head."""
    del channels
    return imaging._layers(n_labels)


def wide(channels: int, n_labels: int) -> nn.Module:
    """Return a wide residual network, such as DPImageBench trains; for a GPU."""
    blocks = [
        Residual(16, 64, 1),
        Residual(64, 64, 1),
        Residual(64, 128, 2),
        Residual(128, 128, 1),
        Residual(128, 256, 2),
    ]
    head = [nn.BatchNorm2d(256), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, n_labels)]
    return nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1), *blocks, *head)


def probabilities(
    drawn: Any,
    labels: np.ndarray,
    test: Any,
    n_labels: int,
    *,
    steps: int = STEPS,
    seed: int = 0,
    gpu: bool = False,
) -> np.ndarray:
    """Return what a network trained on drawn images says of the test images, "image label".

    Args:
        drawn: images.
        labels: of each.
        test: real images that no generator saw.
        n_labels: how many labels there are.
        steps: of AdamW, `BATCH` images each, moved by up to two pixels.
        seed: of the network's first weights and of the order of images.
        gpu: train the wide network on the GPU, all channels and pixels; else the small grey one.
    """
    device = torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")
    pixels, wanted = _pixels(drawn, gpu).to(device), torch.from_numpy(labels).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        net = (wide if gpu else small)(pixels.shape[1], n_labels).to(device)
        optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * RATE, total_steps=steps)
        for _ in range(steps):
            rows = torch.from_numpy(rng.integers(0, len(pixels), BATCH)).to(device)
            moved = torch.roll(pixels[rows], tuple(rng.integers(-2, 3, 2).tolist()), (2, 3))
            loss = functional.cross_entropy(net(moved), wanted[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        parts = [torch.softmax(net(p.to(device)), 1).cpu() for p in torch.split(_pixels(test, gpu), 512)]
    return torch.cat(parts).double().numpy()


def _pixels(images: Any, whole: bool) -> torch.Tensor:
    if whole:
        return torch.from_numpy(intensities(images.pixels, images.schema) - 0.5)
    return torch.from_numpy(thumbnails(images, imaging.SIDE)[:, None] - 0.5)
