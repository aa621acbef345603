"""Train the encoder ``phantoms-1`` on procedural images and write it where the package ships it.

No real image is read: the images are the families of `synthgen.phantoms`, each degraded at random. A small
convolutional network tells, from the degraded image, the family, the parameters that the image was drawn
from, the block means and deviations of the clean image, and how strongly it was degraded. What it needs for
this is its embedding. Batch norms are folded into the convolutions, and the embedding is put on a scale on
which procedural images have mean 0 and squared length 1, so that numpy alone can apply it.

    python scripts/make_encoder.py                     # some CPU minutes; prints them and a checksum
    python scripts/make_encoder.py --steps 50 --images 300 --output /tmp/encoder.safetensors

The seed is fixed; another version of torch or another processor may differ in the last bits, and then in the
checksum. After a change give the encoder a new name: figures compare within a name only.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from synthgen import phantoms
from synthgen.evaluation.features import phantom_encoder
from synthgen.evaluation.features.radiomics_encoder import SIDE

SEED = 7
BATCH = 128
RATE = 2e-3
WIDTHS = (16, 32, 64, 64)
EMBEDDING = 64
BLOCKS = 4
DEGRADATIONS = 4
DECORRELATION = 0.02


class Network(nn.Module):
    """Convolutions, an embedding, and linear heads that are thrown away."""

    def __init__(self, outputs: int, families: int) -> None:
        super().__init__()
        pairs = zip((1, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairs
        )
        self.embed = nn.Linear(WIDTHS[-1] * 4, EMBEDDING)
        self.numbers = nn.Linear(EMBEDDING, outputs)
        self.family = nn.Linear(EMBEDDING, families)

    def embedding(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``(image, EMBEDDING)`` of ``(image, 1, SIDE, SIDE)`` intensities."""
        held = images - 0.5
        for i, block in enumerate(self.blocks):
            held = block(held)
            held = nn.functional.max_pool2d(held, 2) if i < len(self.blocks) - 1 else held
        pooled = adaptive_avg_pool2d(held, 2).permute(0, 2, 3, 1)
        return self.embed(pooled.flatten(1))


def procedural(images: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return as many images of each family, their targets (NaN where a family has none), and the family."""
    names = phantoms.names()
    width = sum(phantoms.family(name).DIMENSION for name in names)
    drawn, targets, at = [], [], 0
    for i, name in enumerate(names):
        rng, family = np.random.default_rng([SEED, i]), phantoms.family(name)
        points = rng.random((images, family.DIMENSION), dtype=np.float32)
        parts = [
            family.render(points[j : j + 256], SIDE, rng=rng).astype(np.float32)
            for j in range(0, images, 256)
        ]
        target = np.full((images, width), np.nan, dtype=np.float32)
        target[:, at : at + family.DIMENSION] = (points - 0.5) * np.sqrt(12)
        at += family.DIMENSION
        drawn.append(np.concatenate(parts)[:, None])
        targets.append(target)
    label = torch.arange(len(names)).repeat_interleave(images)
    return torch.from_numpy(np.concatenate(drawn)), torch.from_numpy(np.concatenate(targets)), label


def layout(images: torch.Tensor) -> torch.Tensor:
    """Return means and deviations of blocks of clean images, each about 1 in spread."""
    means = adaptive_avg_pool2d(images, BLOCKS)
    spread = (adaptive_avg_pool2d(images**2, BLOCKS) - means**2).clamp(min=0).sqrt()
    return torch.cat([(means - 0.5).flatten(1) * 5, (spread - 0.1).flatten(1) * 10], 1)


def degraded(images: torch.Tensor, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images that are shifted, blurred, noised and changed in contrast, and how strongly."""
    n = len(images)
    blur, noise, gain, offset = torch.rand((DEGRADATIONS, n, 1, 1, 1), generator=source)
    blur = (blur - 0.5).clamp(min=0) * 4  # half of the images keep their sharpness, and their noise
    noise = (noise - 0.5).clamp(min=0) * 0.3
    moved = torch.roll(images, tuple(torch.randint(-2, 3, (2,), generator=source).tolist()), (2, 3))
    down, right = torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None]
    kernel = torch.exp(-2 * (np.pi * blur) ** 2 * (down**2 + right**2))
    smooth = torch.fft.irfft2(torch.fft.rfft2(moved) * kernel, s=(SIDE, SIDE))
    changed = (smooth - 0.5) * (0.5 + gain) + 0.5 + 0.4 * (offset - 0.5)
    changed = changed + noise * torch.randn(changed.shape, generator=source)
    told = torch.cat([blur - 0.5, 10 * noise - 0.4, 3 * (gain - 0.5), 3 * (offset - 0.5)], 1)
    return changed.clamp(0, 1), told.flatten(1)


def trained(images: torch.Tensor, points: torch.Tensor, family: torch.Tensor, steps: int) -> Network:
    """Return the network after ``steps`` batches."""
    torch.manual_seed(SEED)
    source = torch.Generator().manual_seed(SEED)
    targets = torch.cat([points, layout(images)], 1)
    net = Network(targets.shape[1] + DEGRADATIONS, int(family.max()) + 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * RATE, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(0, len(images), (BATCH,), generator=source)
        seen, told = degraded(images[rows], source)
        embedding = net.embedding(seen)
        wanted = torch.cat([targets[rows], told], 1)
        known = ~torch.isnan(wanted)
        error = (net.numbers(embedding) - torch.where(known, wanted, 0.0)) ** 2
        numbers = (error * known).sum() / known.sum()
        kinds = cross_entropy(net.family(embedding), family[rows])
        loss = numbers + 0.1 * kinds + DECORRELATION * _correlation(embedding)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == steps - 1:
            sys.stdout.write(f"step {step}: numbers {numbers.item():.3f}, family {kinds.item():.3f}\n")
            sys.stdout.flush()
    return net.eval()


def _correlation(embedding: torch.Tensor) -> torch.Tensor:
    """Return the sum of squared correlations between features, over their number."""
    centred = embedding - embedding.mean(0)
    scaled = centred / (centred.std(0) + 1e-4)
    found = scaled.T @ scaled / len(scaled)
    return (found - torch.diag(torch.diag(found))).pow(2).sum() / EMBEDDING


def exported(net: Network, images: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the folded weights in the order in which `phantom_encoder` reads them."""
    tensors: dict[str, Any] = {}
    for i, (conv, norm, _) in enumerate(net.blocks):
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        folded = (conv.weight * scale[:, None, None, None]).permute(2, 3, 1, 0)  # row, column, into, out
        tensors[f"convolution{i}.weight"] = folded.reshape(-1, folded.shape[-1])
        tensors[f"convolution{i}.bias"] = (conv.bias - norm.running_mean) * scale + norm.bias
    with torch.no_grad():
        seen = torch.cat([net.embedding(part) for part in torch.split(images, 512)])
    scale = 1 / (seen.std(0) * np.sqrt(EMBEDDING))
    tensors["embedding.weight"] = (net.embed.weight * scale[:, None]).T
    tensors["embedding.bias"] = (net.embed.bias - seen.mean(0)) * scale
    return {name: np.ascontiguousarray(t.detach().numpy(), dtype=np.float32) for name, t in tensors.items()}


def main(arguments: list[str] | None = None) -> int:
    """Train, write, and print CPU minutes and the checksum."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=phantom_encoder.PATH)
    parser.add_argument("--images", type=int, default=16_000, help="of each family")
    parser.add_argument("--steps", type=int, default=5_000)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    start = time.process_time()
    images, points, family = procedural(asked.images)
    sys.stdout.write(f"{len(images)} images drawn in {(time.process_time() - start) / 60:.1f} CPU minutes\n")
    net = trained(images, points, family, asked.steps)
    save_file(exported(net, images), asked.output)
    digest = hashlib.sha256(asked.output.read_bytes()).hexdigest()
    size = asked.output.stat().st_size / 1000
    minutes = (time.process_time() - start) / 60
    sys.stdout.write(f"{asked.output.name}: {size:.0f} kB, {minutes:.1f} CPU minutes, sha256 {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
