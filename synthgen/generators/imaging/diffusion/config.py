"""Diffusion over images: paid drafts, made sharp by a denoiser that knows anatomy and met patients by DP-SGD.

Attributes come from a table generator; pixels are drawn given them:

1. `imaging_embedding` buys the lowest cosines of each class with its share: the drafts;
2. patients vote for the phantoms that are most like their images (`private_evolution`), and a few noisy
   histograms say how sharp images are (`power_spectrum`) and how often each brightness occurs
   (`intensity_histogram`);
3. a denoiser (`denoiser`) is trained, for free, on the voted phantoms, at the noise that drafts will
   get, and where that is high (`mechanism.ROUGH`) on drafts too;
4. the rest of the budget trains it on patients: Poisson-sampled patients, several noise levels a record
   averaged inside the patient, one clip, one noise a step, label dropout, an average of the weights;
5. a draft gets noise and loses it again (Meng et al. 2022, arXiv:2108.01073), so that what was paid for as
   statistics stays, and what statistics cannot hold, borders, ribs, texture, is drawn.

EDM: Karras et al. (2022), arXiv:2206.00364. Free pretraining: Li et al., DP-FETA, and arXiv:2412.09842.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from synthgen.data.images import RealImages
from synthgen.generators.base import Progress
from synthgen.generators.imaging.diffusion.fitted import MOST_CALLS, FittedDiffusion
from synthgen.generators.two_stage.imaging import ImagingTwoStageSettings
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan

if TYPE_CHECKING:
    pass

__all__ = ["Config"]
SIGNAL_ALL = 60_000.0


class Config(ImagingTwoStageSettings):
    """Settings, beside those of `imaging.ImagingTwoStageSettings`. All are public; none looks at the data.

    Attributes:
        strength: see `imaging.ImagingTwoStageSettings`. On PneumoniaMNIST at epsilon 10 (two fits, two draws
            each), AUC, kernel distance, precision and coverage are .958, .166, .549, .461 at .05; .953, .153,
            .583, .484 at .08; .947, .148, .598, .497 at .12.
        trained: which weights the noised steps change: ``part`` is norms, biases, labels and the last layer,
            ``all`` is all. None follows a public rule: ``all`` where patients times the root of twice rho is
            beyond `SIGNAL_ALL`.
        learning_rate: of the noised steps.
        dropout: part of the rows whose class is not said.
        calls: calls of the network to draw an image. Six instead of four changed no figure but the time.
        guidance: how far beyond its class an image is drawn. At -1 the network is not told the class: it
            lies in the draft, and textures that differ by class by chance mislead who learns from them. On
            PneumoniaMNIST at epsilon 10: AUC .940 beside .931 at 0.
    """

    name: Literal["diffusion"] = "diffusion"
    draws: int = Field(default=1, ge=1, le=64)
    pretraining: int = Field(default=200, ge=0, le=10_000_000)
    trained: Literal["part", "all"] | None = None
    learning_rate: float = Field(default=5e-4, gt=0, le=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    calls: int = Field(default=4, ge=2, le=MOST_CALLS)
    guidance: float = Field(default=-1.0, ge=-1, le=20)

    def packages(self) -> tuple[str, ...]:
        """Return the packages that training needs."""
        return (*super().packages(), "diffusers")

    def further(self, *, rho: float, patients: int) -> dict[str, Any]:
        """Return which weights are trained."""
        signal = patients * (2.0 * rho) ** 0.5
        return {"trained": self.trained or ("all" if signal > SIGNAL_ALL else "part")}

    def fit(
        self, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedDiffusion:
        """Spend the plan.

        Guarantee:
            What is returned costs the plan's event, for neighbours that differ in all records of one unit, of
            which ``data`` holds at most `PrivacyPlan.max_records`: drafts, votes, spectrum and brightness
            their rho, the weights their steps; all else follows from these.

        Args:
            data: the training images. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: called with what is being done and the part done, from 0 to 1.
        """
        from synthgen.generators.imaging.diffusion.mechanism import fit

        return fit(self, data, plan, noise=noise, progress=progress or (lambda what, done: None))
