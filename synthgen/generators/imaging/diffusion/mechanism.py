"""The mechanism of `imaging_diffusion` after what `imaging` buys: free pretraining, then noised steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from synthgen.data.images import RealImages, intensities
from synthgen.dpsgd.patient_sampling import Patients
from synthgen.dpsgd.random_draws import Draws, drawing_from, open_generator
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.generators.base import Progress
from synthgen.generators.device import device_of, free_cores
from synthgen.generators.image_statistics import private_evolution
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.imaging.diffusion import denoiser as network
from synthgen.generators.imaging.diffusion.fitted import FittedDiffusion
from synthgen.generators.two_stage.dpsgd_steps import spend
from synthgen.generators.two_stage.image_records import records_of
from synthgen.generators.two_stage.imaging import buy, counted
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan

if TYPE_CHECKING:
    from synthgen.generators.imaging.diffusion.config import Config

DRAFTS, POOL = 4000, 3000
PHANTOMS = 3  # parts of a pretraining batch that are phantoms, of four
BATCH, RATE = 128, 2e-3
SHARPENED = 0.5
"""How far the paid spectrum is gone to, on a logarithmic scale: a filter lengthens grain as it does edges. On
PneumoniaMNIST at epsilon 10, with all, half and none of it: kernel distance .161, .118, .155, coverage .48,
.48, .36."""
AT_ONCE = {"cpu": 64, "cuda": 512}  # patients in memory
BEYOND = 2.0
"""Largest noise level that the network learns, over that of a draft. Levels up to 10 in pretraining, and half
of those of the noised steps at .26, needed twice the pretraining for the same images (PneumoniaMNIST at
epsilon 10, three fits)."""
ROUGH = 0.3  # noise above which drafts teach the network too


def fit(
    config: Config, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress
) -> FittedDiffusion:
    """Run the mechanism with the plan's numbers. See `imaging_diffusion.Config.fit` for the guarantee."""
    bought = buy(config, data, plan, noise=noise, progress=progress)
    progress("phantoms", 0.0)
    rng = np.random.default_rng(config.seed)
    shown = bought.drafts.sample(DRAFTS, rng=rng)
    with free_cores():
        net = _pretrained(config, shown, bought.voted, progress)
        _noised_steps(config, net, data, plan.parameters, noise, progress)
    progress("spectrum and brightness", 0.0)
    made = FittedDiffusion(bought.drafts, *bought.unadjusted, net, _numbers(config))
    adjusted = made.adjusted(bought, power=SHARPENED, rng=rng)
    progress("done", 1.0)
    return adjusted


def _numbers(config: Config) -> dict[str, float]:
    return {"strength": config.strength, "calls": config.calls, "guidance": config.guidance}


def _highest(config: Config) -> float:
    return min(network.HIGHEST, BEYOND * config.strength)


def _pretrained(
    config: Config, shown: Any, voted: private_evolution.SelectedPhantoms, progress: Progress
) -> network.ImageDenoiser:
    """Return a denoiser trained on phantoms and drafts. Free: all of it was paid for, or is public."""
    schema = shown.schema
    conditioning, channels = Conditioning.of(schema), shown.pixels.shape[1]
    size, rng = shown.pixels.shape[-1], np.random.default_rng(config.seed + 1)
    classes, guides = conditioning.class_of(shown.frame), conditioning.guides_of(shown.frame)
    picked, device = rng.integers(0, len(shown), POOL), device_of(config.device)
    made = np.repeat(voted.draw(classes[picked], size, rng)[:, None], channels, axis=1)
    pool = (
        torch.from_numpy(np.concatenate([made, intensities(shown.pixels, schema)]) * 2 - 1).float().to(device)
    )
    said = torch.from_numpy(np.concatenate([classes[picked], classes])).to(device)
    guide = torch.from_numpy(np.concatenate([guides[picked], guides])).float().to(device)
    highest = _highest(config)
    with drawing_from(open_generator(config.seed)):
        net = network.ImageDenoiser(
            channels=channels,
            size=size,
            classes=conditioning.n_classes,
            guides=conditioning.n_guides,
            width=config.width,
        ).to(device)

    def draw(draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return phantoms at any noise level, and drafts where noise hides what they lack."""
        from_made = draws.uniform() < (PHANTOMS / 4 if highest > ROUGH else 1.0)
        phantom, draft = (draws.below(most) for most in (POOL, len(shown)))
        rows = torch.where(from_made, phantom, POOL + draft)
        sigma = network.levels(draws, low=network.LOWEST, high=highest)
        sigma = torch.where(from_made, sigma, sigma.clamp(min=ROUGH))
        heard = torch.where(draws.uniform() < config.dropout, net.classes, said[rows])
        return pool[rows], heard, guide[rows], sigma

    network.pretrain(
        net, draw, steps=config.pretraining, batch=BATCH, learning_rate=RATE,
        generator=open_generator(config.seed, device),
        progress=counted(progress, "pretraining", config.pretraining),
    )  # fmt: skip
    return net.cpu()


def _noised_steps(
    config: Config,
    net: network.ImageDenoiser,
    data: RealImages,
    numbers: Mapping[str, Any],
    noise: NoiseSource,
    progress: Progress,
) -> None:
    """Spend the steps of the plan; the weights become their running average."""
    steps, device = TrainingPlan.from_json(numbers["training"]), device_of(config.device)
    _frozen(net, numbers["trained"])
    module = network.ImageTraining(
        net, steps, learning_rate=config.learning_rate, ema_decay=config.ema_decay,
        highest=_highest(config), dropout=config.dropout, max_physical_batch_size=AT_ONCE[device.type],
    )  # fmt: skip
    spend(
        module, Patients(records_of(data), data.units), noise=noise, device=device,
        progress=counted(progress, "DP-SGD", steps.steps),
    )  # fmt: skip
    net.requires_grad_(True)


def _frozen(net: network.ImageDenoiser, trained: str) -> None:
    """Leave to the noised steps what they may change: all of the network, or its small part."""
    if trained == "part":
        net.requires_grad_(False)
        for parameter in network.small_part(net):
            parameter.requires_grad_(True)
