"""PATE-GAN with the guarantee of its mechanism: teachers vote on synthetic rows, the noisy count is paid for.

Papernot et al. (2018), arXiv:1802.08908, and Jordon et al. (2019), whose published implementations do not
keep what they claim (Ganev et al. 2024, arXiv:2406.13985). One fixed rho, through one filter:

1. one-way marginals and pairs with a label, as `marginal` measures them; the generator, a mixture of products
   that a network makes, starts from them, and conditions have their frequencies from them alone;
2. a fixed number of votes: fixed disjoint teachers by patient, each trained on its part against synthetic
   rows, say of drawn rows whether they are real; the noisy number of those who do is all that is told;
3. a student learns from the labelled synthetic rows, and the generator from the student: free.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from synthgen.data.tables import RealTable
from synthgen.generators.base import Progress, table_memory
from synthgen.generators.marginal import config as marginal
from synthgen.generators.marginal.small_groups import Groups
from synthgen.generators.optional_packages import require
from synthgen.generators.tabular.network import fitted as saved
from synthgen.generators.tabular.network import mechanism as networks
from synthgen.generators.tabular.network.fitted import FittedNetwork
from synthgen.generators.tabular.pategan import mechanism as fitting
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

__all__ = ["Config", "Fitted", "load"]
Fitted = FittedNetwork
LEAST_TEACHERS, MOST_TEACHERS = 10, 1000
LEAST_VOTES, MOST_VOTES = 20, 400  # a round
NOISE_TO_TEACHERS = 0.15  # noise of a count over the number of teachers, aimed at by the number of votes


class Config(Settings):
    """Settings of the mechanism and of the training. All are public; none looks at the data.

    Attributes:
        patients_per_teacher: fixes the number of teachers, with the public number of patients.
        rounds: rounds of voting and learning.
        votes: rows that are labelled in each round. None follows a public rule: as many as leave noise of
            `NOISE_TO_TEACHERS` of the teachers on a count, from `LEAST_VOTES` to `MOST_VOTES`.
        share_votes: part of rho for the votes; the rest goes to the marginals.
        groups: a part of rho for small groups, as for `marginal`.
        most_cells: coarse cells of a number, at most.
        features: random features that a teacher sees of a row.
        components: products in the generator's mixture. This and all that follows is not privacy.
        latent: numbers in a latent code.
        hidden: width of the network's two hidden layers.
        steps: training steps of the warm start, at most.
        generator_steps: steps of the generator after each round.
        rate: learning rate of the warm start.
        pull: weight of the paid marginals in the generator's steps.
        resample: exchange drawn records so that they match the paid counts, as for `network`.
    """

    name: Literal["pategan"] = "pategan"
    patients_per_teacher: int = Field(default=50, ge=1, le=100_000)
    rounds: int = Field(default=8, ge=1, le=100)
    votes: int | None = Field(default=None, ge=1, le=100_000)
    share_votes: float = Field(default=0.4, gt=0, lt=1)
    groups: Groups | None = None
    most_cells: int = Field(default=24, ge=4, le=100)
    features: int = Field(default=64, ge=1, le=2048)
    components: int = Field(default=500, ge=2, le=20_000)
    latent: int = Field(default=64, ge=1, le=1000)
    hidden: int = Field(default=256, ge=4, le=4096)
    steps: int = Field(default=500, ge=1, le=100_000)
    generator_steps: int = Field(default=60, ge=0, le=100_000)
    rate: float = Field(default=5e-3, gt=0, le=1)
    pull: float = Field(default=1.0, ge=0, le=1000)
    resample: bool = False

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.groups is not None and self.share_votes + self.groups.share >= 0.95:
            raise ValueError("share_votes + groups.share must leave at least 0.05 for the other marginals")
        return self

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee from public facts, the number of votes too.

        Args:
            schema: the table's public description.
            epsilon: target, at ``delta``.
            delta: probability of failure.
            patients: public number of patients that will train.

        Returns:
            A plan whose only event is one zCDP event of the largest rho that keeps to ``epsilon``.

        Raises:
            ValueError: ``epsilon`` or ``delta`` is out of range.
            ConfigError: torch is not installed.
        """
        require(self.name, "torch")
        base = marginal.Config(most_cells=self.most_cells, groups=self.groups).plan(
            schema, epsilon=epsilon, delta=delta, patients=patients
        )
        numbers = self._numbers(dict(base.parameters), patients)
        paid = [stage for stage in marginal.stages_of(numbers, delta) if stage.share > 0]
        votes = marginal.stages_of({**numbers, "share_cliques": self.share_votes}, delta)[-1]
        # Noise of a count of teachers, not of patients: said in words.
        detail = (
            f"{numbers['votes']} rows by {numbers['teachers']} teachers, noise {numbers['sigma_votes']:.0f}"
        )
        stage = Stage("votes", votes.epsilon, self.share_votes, None, detail)
        return replace(base, generator=self.name, parameters=numbers, stages=(*paid, stage))

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: the table, and torch and networks."""
        return table_memory(schema, patients) + 0.9

    def fit(
        self, data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedNetwork:
        """Spend the plan.

        Guarantee:
            ``rho``-zCDP with the plan's rho, for neighbours that differ in all records of one unit, of which
            ``data`` holds at most `PrivacyPlan.max_records`. A unit lies in one teacher's part, so it moves
            each row's count of "real" by at most 1; each labelled row costs ``1 / (2 sigma_votes**2)``.
            Student and generator see synthetic rows and noisy counts only.

        Args:
            data: the training records. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: called with what is being done and the part done, from 0 to 1.
        """
        training = networks.Training(
            components=self.components,
            latent=self.latent,
            hidden=self.hidden,
            steps=self.steps,
            last_steps=self.steps,
            rate=self.rate,
            penalty=0.1,
            pair_penalty=3.0,
            device="cpu",
        )
        return fitting.fit(
            data,
            plan.parameters,
            noise=noise,
            training=training,
            generator_steps=self.generator_steps,
            pull=self.pull,
            resample=self.resample,
            progress=progress,
        )

    def _numbers(self, numbers: dict[str, Any], patients: int) -> dict[str, Any]:
        """Return the plan's parameters: what votes and groups leave goes to the other marginals."""
        rho, measured = numbers["rho"], numbers["share_one"] + numbers["share_role"]
        scale = (1.0 - self.share_votes - numbers["share_groups"]) / measured
        teachers = min(max(round(patients / self.patients_per_teacher), LEAST_TEACHERS), MOST_TEACHERS)
        rho_votes = rho * self.share_votes
        room = 2.0 * rho_votes * (NOISE_TO_TEACHERS * teachers) ** 2 / self.rounds
        each = self.votes or int(min(max(room, LEAST_VOTES), MOST_VOTES))
        votes = each * self.rounds
        sigma_role = numbers["sigma_role"] / math.sqrt(scale) if numbers["sigma_role"] else None
        return numbers | {
            "method": self.name,
            "share_one": numbers["share_one"] * scale,
            "share_role": numbers["share_role"] * scale,
            "share_select": 0.0,
            "share_cliques": 0.0,
            "share_votes": self.share_votes,
            "n_cliques": 0,
            "rounds": self.rounds,
            "sigma_one": numbers["sigma_one"] / math.sqrt(scale),
            "sigma_role": sigma_role,
            "teachers": teachers,
            "votes": votes,
            "sigma_votes": math.sqrt(votes / (2.0 * rho_votes)) * (1 + 1e-12),
            "features": self.features,
            "fake_rows": 4 * self.patients_per_teacher,
        }


def load(folder: Path, schema: Schema) -> FittedNetwork:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    return saved.load(folder, schema, generator="pategan")
