"""A GAN that refines paid drafts of images; patients meet its critic alone, by DP-SGD.

Attributes come from a table generator; pixels are drawn given them:

1. `imaging` buys drafts, phantoms that patients voted for, how sharp images are and how bright;
2. generator and critic (`refiner`) are taught for free on the phantoms: the one to take noise off, the
   other to tell what it left;
3. the rest of the budget trains the critic on patients: one loss a patient (its image beside a made one of
   its class), one clip, one noise a step. Between steps the generator follows the critic, on drafts; what was
   paid for as statistics, a draft's means of blocks and the spectrum, it is held to;
4. of several candidates the released critic picks the image that is drawn.

Measured on PneumoniaMNIST at epsilon 10 (4,708 images, published test images), what moved it, one seed,
before `share_brightness` and today's shares: a generator that is not told the class, AUC .944 beside .925;
less noise in a draft (.05 beside .1), .955; less budget for the critic and shorter pretraining, which
leaves drafts as they are, .963, with squared kernel distance .122 beside .183, precision .49 beside .35,
coverage .41 beside .29. Worse: longer pretraining (800 steps: kernel distance .219), longer turns of the
generator.

Source: Bie et al. (2023), arXiv:2302.02936, for many critic steps a generator step and large batches;
Shrivastava et al. (2017), arXiv:1612.07828, for refining drafts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from synthgen.data.images import RealImages
from synthgen.generators.base import Progress
from synthgen.generators.imaging.gan.fitted import MOST_CANDIDATES, FittedGan
from synthgen.generators.two_stage.imaging import ImagingTwoStageSettings
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan

if TYPE_CHECKING:
    pass

__all__ = ["Config"]


class Config(ImagingTwoStageSettings):
    """Settings, beside those of `imaging.ImagingTwoStageSettings`. All are public; none looks at the data.

    Attributes:
        critic_width: channels of the critic's first layer.
        critic_rate: learning rate of the critic's noised steps.
        generator_rate: learning rate of the generator.
        critic_steps: noised steps before the generator's turn.
        generator_steps: steps of the generator in its turn; free.
        adversarial: weight of the critic's word beside the squared error, on phantoms.
        hold: weight of a draft's means of blocks in the generator's turns.
        hold_spectrum: weight of the paid spectrum there.
        candidates: drafts refined for each image, of which the critic picks one.
    """

    name: Literal["gan"] = "gan"
    steps: int = Field(default=120, ge=1, le=1_000_000)
    draws: int = Field(default=1, ge=1, le=64)
    ema_decay: float = Field(default=0.98, ge=0, lt=1)
    pretraining: int = Field(default=200, ge=0, le=10_000_000)
    strength: float = Field(default=0.05, ge=0.02, le=80)
    critic_width: int = Field(default=16, ge=4, le=1024)
    critic_rate: float = Field(default=5e-4, gt=0, le=1)
    generator_rate: float = Field(default=5e-5, gt=0, le=1)
    critic_steps: int = Field(default=40, ge=1, le=1000)
    generator_steps: int = Field(default=8, ge=1, le=1000)
    adversarial: float = Field(default=0.01, gt=0, le=1)
    hold: float = Field(default=50.0, ge=0)
    hold_spectrum: float = Field(default=1.0, ge=0)
    candidates: int = Field(default=4, ge=1, le=MOST_CANDIDATES)

    def fit(
        self, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedGan:
        """Spend the plan.

        Guarantee:
            What is returned costs the plan's event, for neighbours that differ in all records of one unit, of
            which ``data`` holds at most `PrivacyPlan.max_records`: drafts, votes, spectrum and brightness
            their rho, the critic its steps; the generator follows from these.

        Args:
            data: the training images. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: called with what is being done and the part done, from 0 to 1.
        """
        from synthgen.generators.imaging.gan.mechanism import fit

        return fit(self, data, plan, noise=noise, progress=progress or (lambda what, done: None))
