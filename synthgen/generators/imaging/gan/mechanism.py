"""The mechanism of `imaging_gan` after what `imaging` buys: free pretraining, noised critic steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from synthgen.data.images import RealImages, intensities
from synthgen.dpsgd.patient_sampling import Patients
from synthgen.dpsgd.random_draws import Draws, drawing_from, open_generator
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.generators.base import Progress
from synthgen.generators.device import device_of
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.imaging.gan import critic as training
from synthgen.generators.imaging.gan.critic import Shown
from synthgen.generators.imaging.gan.fitted import FittedGan
from synthgen.generators.imaging.gan.refiner import Critic, Refiner
from synthgen.generators.two_stage.dpsgd_steps import spend
from synthgen.generators.two_stage.image_records import records_of
from synthgen.generators.two_stage.imaging import ImageStatistics, buy, counted
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan

if TYPE_CHECKING:
    from synthgen.generators.imaging.gan.config import Config

DRAFTS, PHANTOMS, SHARPENED = 4000, 4000, 512
BATCH = 64
RATES = (5e-4, 2e-3)  # of critic and generator, on phantoms
AT_ONCE = {"cpu": 128, "cuda": 1024}  # patients in memory


def fit(
    config: Config, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress
) -> FittedGan:
    """Run the mechanism with the plan's numbers. See `imaging_gan.Config.fit` for the guarantee."""
    bought = buy(config, data, plan, noise=noise, progress=progress)
    progress("phantoms", 0.0)
    rng, device = np.random.default_rng(config.seed), device_of(config.device)
    drafts, phantoms, seen = shown_of(bought, rng, device)
    with drawing_from(open_generator(config.seed)):
        generator, critic = networks(config, drafts, Conditioning.of(data.schema))
    source = open_generator(config.seed, device)
    training.pretrain(
        generator, critic, phantoms, seen, steps=config.pretraining, batch=BATCH, rates=RATES,
        adversarial=config.adversarial, source=source,
        progress=counted(progress, "pretraining", config.pretraining),
    )  # fmt: skip
    training.sharpen(generator, drafts.some(Draws.open(SHARPENED, source)), bought.sharp, source)
    module = training.CriticTraining(
        generator, critic, drafts, TrainingPlan.from_json(plan.parameters["training"]),
        training.Kept(config.hold, config.hold_spectrum, bought.sharp),
        rates=(config.critic_rate, config.generator_rate), ema_decay=config.ema_decay,
        critic_steps=config.critic_steps, generator_steps=config.generator_steps, batch=2 * BATCH,
        seed=config.seed, max_physical_batch_size=AT_ONCE[device.type],
    )  # fmt: skip
    spend(
        module, Patients(records_of(data), data.units), noise=noise, device=device,
        progress=counted(progress, "DP-SGD", module.plan.steps),
    )  # fmt: skip
    progress("spectrum and brightness", 0.0)
    made = FittedGan(bought.drafts, *bought.unadjusted, generator, critic.cpu().eval(), config.candidates)
    adjusted = made.adjusted(bought, power=1.0, rng=rng)
    progress("done", 1.0)
    return adjusted


def networks(config: Config, drafts: Shown, conditioning: Conditioning) -> tuple[Refiner, Critic]:
    """Return generator and critic of the drafts' form, with initial weights."""
    form = {"channels": drafts.images.shape[1], "size": drafts.images.shape[-1]}
    said = {"classes": conditioning.n_classes, "guides": conditioning.n_guides}
    generator = Refiner(**form, width=config.width, strength=config.strength)
    critic = Critic(**form, **said, width=config.critic_width)
    return generator.to(drafts.images.device), critic.to(drafts.images.device)


def shown_of(
    bought: ImageStatistics, rng: np.random.Generator, device: torch.device
) -> tuple[Shown, Shown, torch.Tensor]:
    """Return drafts, phantoms of the same classes and guides, and what a draft would hold of each phantom.

    Free: all was paid for, or is public.
    """
    drawn: Any = bought.drafts.sample(DRAFTS, rng=rng)
    conditioning, channels = Conditioning.of(drawn.schema), drawn.pixels.shape[1]
    classes, guides = conditioning.class_of(drawn.frame), conditioning.guides_of(drawn.frame)

    def scaled(images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.clip(images, 0, 1) * 2 - 1).float().to(device)

    def shown(images: np.ndarray, rows: np.ndarray) -> Shown:
        said = torch.from_numpy(classes[rows]), torch.from_numpy(guides[rows]).float()
        return Shown(scaled(images), *(tensor.to(device) for tensor in said))

    picked = rng.integers(0, DRAFTS, PHANTOMS)
    phantoms = bought.voted.draw(classes[picked], drawn.pixels.shape[-1], rng)[:, None]
    phantoms = np.repeat(phantoms, channels, axis=1)
    seen = bought.drafts.like_drafts(phantoms, classes[picked], rng=rng)
    return (
        shown(intensities(drawn.pixels, drawn.schema), np.arange(DRAFTS)),
        shown(phantoms, picked),
        scaled(seen),
    )
