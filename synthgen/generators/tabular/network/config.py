"""A network fitted to adaptively selected noisy marginals: measure once, train freely.

It spends like `marginal`: one fixed rho, one-way marginals on fine public cells, pairs with a label, and a
few rounds that select and measure what the model explains worst. The model is a mixture of products that a
small network makes of latent codes (GEM, Liu et al. 2021, arXiv:2106.07153; MargNet, 2025,
arXiv:2511.13893). No junction tree has to hold the cliques together, so any of them may be measured and as
many as the noise allows: for wide or dense tables, on which a graphical model grows too large. Sampling,
conditions and evidence are exact: see `synthgen.generators.graphical.mixture_of_products`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from synthgen.data.tables import RealTable
from synthgen.generators.base import Progress, table_memory
from synthgen.generators.device import Device
from synthgen.generators.marginal import config as marginal
from synthgen.generators.marginal import mechanism as counting
from synthgen.generators.marginal.small_groups import Groups
from synthgen.generators.optional_packages import require
from synthgen.generators.tabular.network import mechanism as fitting
from synthgen.generators.tabular.network.fitted import FittedNetwork, load
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

__all__ = ["Config", "Fitted", "load"]
Fitted = FittedNetwork
CLIQUES_FEW, CLIQUES_MANY, LARGE_RHO = 2.0, 8.0, 0.5
MOST_CLIQUES = 600


class Config(Settings):
    """Settings of the mechanism and of the training. All are public; none looks at the data.

    Attributes:
        rounds: rounds of selecting, measuring and training.
        cliques: cliques to select over all rounds, as a multiple of the number of columns. None follows a
            public rule: `CLIQUES_MANY` where rho is at least `LARGE_RHO` (about epsilon 5), else
            `CLIQUES_FEW`; at most `MOST_CLIQUES` in all.
        most_cells: coarse cells of a number, at most.
        share_one: part of rho for one-way marginals; None follows the rule of `marginal`.
        share_role: part of rho for pairs with a label; goes to the cliques where there is no label.
        share_select: part of rho for selecting.
        groups: a part of rho for small groups, as for `marginal`.
        weights: how much each kind of clique matters.
        components: products in the mixture. This and all that follows is speed and fit, not privacy.
        latent: numbers in a latent code.
        hidden: width of the network's two hidden layers.
        steps: training steps after each round, at most.
        last_steps: training steps after the last round, at most.
        rate: learning rate.
        penalty: weight of the information penalty, which keeps the mixture smooth. Measured on adult at
            epsilon 1: without it tvd2 .035 and AUC .893 / .897, with .1 .030 and .895 / .901.
        pair_penalty: weight of the penalty on dependence that was not measured. Measured on diabetes at
            epsilon 1: without it tvd2 .025, with 3 .021.
        resample: draw more records than asked for and exchange some, so that they match the paid counts,
            which the model then keeps (`synthgen.generators.tabular.network.resampling`). Measured on adult
            at epsilon 10, two
            draws: tvd2 .0227 without and .0224 with it, AUC .9016 / .9116 and .9018 / .9119, and 8 s
            instead of .4 s to draw 36,632 records: little, so it is off. Conditions go without it.
        device: where to train; on ``cuda`` the same numbers come sooner, up to rounding.
    """

    name: Literal["network"] = "network"
    rounds: int = Field(default=6, ge=1, le=8)
    cliques: float | None = Field(default=None, gt=0, le=100)
    most_cells: int = Field(default=24, ge=4, le=100)
    share_one: float | None = Field(default=None, gt=0, lt=1)
    share_role: float = Field(default=0.15, gt=0, lt=1)
    share_select: float = Field(default=0.05, gt=0, lt=1)
    groups: Groups | None = None
    weights: counting.Weights = counting.Weights()
    components: int = Field(default=1000, ge=2, le=20_000)
    latent: int = Field(default=64, ge=1, le=1000)
    hidden: int = Field(default=256, ge=4, le=4096)
    steps: int = Field(default=300, ge=1, le=100_000)
    last_steps: int = Field(default=1000, ge=1, le=100_000)
    rate: float = Field(default=5e-3, gt=0, le=1)
    penalty: float = Field(default=0.1, ge=0, le=100)
    pair_penalty: float = Field(default=3.0, ge=0, le=1000)
    device: Device = "cpu"
    resample: bool = False

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee from public facts.

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
        base = marginal.Config(
            rounds=self.rounds,
            most_cells=self.most_cells,
            share_one=self.share_one,
            share_role=self.share_role,
            share_select=self.share_select,
            groups=self.groups,
            weights=self.weights,
        ).plan(schema, epsilon=epsilon, delta=delta, patients=patients)
        numbers = self._numbers(dict(base.parameters), len(schema.columns))
        stages = marginal.stages_of(numbers, delta)
        return replace(base, generator=self.name, parameters=numbers, stages=stages)

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: the table, and torch and a network."""
        return table_memory(schema, patients) + 0.9

    def fit(
        self, data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedNetwork:
        """Spend the plan.

        Guarantee:
            ``rho``-zCDP with the plan's rho, for neighbours that differ in all records of one unit,
            of which ``data`` holds at most `PrivacyPlan.max_records`. The network sees noisy counts only.

        Args:
            data: the training records. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: called with what is being done and the part done, from 0 to 1.

        Raises:
            ConfigError: torch finds no such device; nothing was drawn.
        """
        keys = fitting.Training.__dataclass_fields__
        training = fitting.Training(**{key: getattr(self, key) for key in keys})
        return fitting.fit(
            data,
            plan.parameters,
            noise=noise,
            training=training,
            resample=self.resample,
            progress=progress,
        )

    def _numbers(self, numbers: dict[str, Any], n_columns: int) -> dict[str, Any]:
        """Return the numbers of `marginal` with as many cliques as a network can hold."""
        numbers["method"] = self.name
        if not numbers["n_cliques"]:
            return numbers
        cliques = self.cliques or (CLIQUES_MANY if numbers["rho"] >= LARGE_RHO else CLIQUES_FEW)
        n_cliques = min(max(1, round(cliques * n_columns)), MOST_CLIQUES)
        sigma = math.sqrt(n_cliques / (2 * numbers["rho"] * numbers["share_cliques"]))
        coarse = marginal.coarse_cells(numbers["patients"], sigma, self.most_cells)
        return numbers | {"n_cliques": n_cliques, "sigma_clique": sigma, "coarse_cells": coarse}
