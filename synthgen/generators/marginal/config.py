"""Noisy marginals chosen by role and by error, joined by a graphical model.

One mechanism under one fixed rho, in the line of MST (McKenna et al. 2021, arXiv:2108.04978) and
AIM (McKenna et al. 2022, arXiv:2201.12677):

1. one-way marginals on the fine public cells; the noisy counts then say which cells to merge;
2. every pair of a label with another column, since the label is what the cohort is for; those with a
   protected column under a part of rho of their own, where `groups` asks for it (`small_groups`);
3. a few rounds, each of which selects several cliques that the model explains worst (pairs, and
   triples with label and protected columns, weighed by the public roles), measures them, and fits
   the model again.

A public bound keeps the junction tree small, hard rules are structural zeros of it, and all that
follows the measurements is post-processing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from synthgen.data.tables import RealTable
from synthgen.generators.base import Progress, table_memory
from synthgen.generators.longitudinal.flattening import given_of, links_of
from synthgen.generators.marginal import aim_mst as references
from synthgen.generators.marginal import mechanism as fitting
from synthgen.generators.marginal.fitted import FittedMarginal, load
from synthgen.generators.marginal.small_groups import Groups, group_pairs
from synthgen.generators.marginal.workload import role_pairs
from synthgen.privacy.accountant import calibrate_rho, get_epsilon
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

__all__ = ["Config", "Fitted", "load"]
Fitted = FittedMarginal
SHARE_LARGE, SHARE_SMALL = 0.25, 0.45
NOISY_ONE_WAY, LEAST_CELLS = 0.025, 20
SHARE_LINKS = 0.15  # of rho, for what carries a patient from row to row
CLIQUES_FEW, CLIQUES_MANY, LARGE_RHO = 2.0, 4.0, 0.5
MOST_CLIQUES = 120  # a wide table's cliques would drown in noise and hours
TWIN_COLUMNS = 40  # a fit of so many columns to 2,000 patients takes seconds (24: 3 s of one core)
NOISE_AT_FULL = 0.4  # mean absolute error of a unit Gaussian, halved: from noise to total variation


class Config(Settings):
    """Settings of the mechanism. All are public; none looks at the data.

    Attributes:
        method: ``roles`` is ours; ``aim`` and ``mst`` are the papers' own mechanisms, for reference, and
            heed ``max_cells`` and ``iterations`` alone.
        rounds: rounds of selecting, measuring and fitting.
        cliques: cliques to select over all rounds, as a multiple of the number of columns. None follows a
            public rule: `CLIQUES_MANY` where rho is at least `LARGE_RHO` (about epsilon 5), else
            `CLIQUES_FEW`. Measured on adult: at epsilon 1, 2 gives AUC .898 / .907 and 3 gives .898 / .905;
            at epsilon 10, 3 gives .9005 / .911 and 4 gives .9015 / .913.
        most_cells: coarse cells of a number, at most.
        share_one: part of rho for one-way marginals. None follows a public rule: `SHARE_SMALL` where a
            quarter of rho would leave more than `NOISY_ONE_WAY` of noise on `LEAST_CELLS` cells, else
            `SHARE_LARGE`. Measured (scripts/bench_tabular.py, epsilon 1, means of 3 fits): with 6,829
            patients .45 gives tvd2 .106 and .25 gives .110; with 36,632 and 53,639 it is level.
        share_role: part of rho for pairs with a label; goes to the cliques where there is no label.
        share_select: part of rho for selecting.
        groups: a part of rho for small groups, taken off all others; None reserves nothing.
        weights: how much each kind of clique matters.
        max_cells: cells of the junction tree, at most.
        iterations: steps of the estimator; speed and fit, not privacy.
    """

    name: Literal["marginal"] = "marginal"
    method: Literal["roles", "aim", "mst"] = "roles"
    rounds: int = Field(default=4, ge=1, le=8)
    cliques: float | None = Field(default=None, gt=0, le=8)
    most_cells: int = Field(default=24, ge=4, le=100)
    share_one: float | None = Field(default=None, gt=0, lt=1)
    share_role: float = Field(default=0.15, gt=0, lt=1)
    share_select: float = Field(default=0.05, gt=0, lt=1)
    groups: Groups | None = None
    weights: fitting.Weights = fitting.Weights()
    max_cells: int = Field(default=2**19, ge=2**10, le=2**26)
    iterations: int = Field(default=1000, ge=50, le=20_000)

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if (self.share_one or SHARE_SMALL) + self.share_role + self.share_select >= 0.95:
            raise ValueError("share_one + share_role + share_select must leave at least 0.05 for the cliques")
        if self.groups is not None and self.method != "roles":
            raise ValueError("groups goes with method roles: the papers' mechanisms know no groups")
        return self

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
            ConfigError: ``groups`` is asked for and the schema has no protected column or no label.
        """
        from dp_accounting import dp_event

        rho = calibrate_rho(epsilon, delta)
        numbers = self.numbers(schema, rho, patients)
        return PrivacyPlan(
            generator=self.name,
            unit=schema.unit.level,
            max_records=schema.unit.max_records,
            epsilon=epsilon,
            delta=delta,
            patients=patients,
            event=dp_event.ZCDpEvent(rho),
            parameters=numbers,
            stages=stages_of(numbers, delta),
        )

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: the table, and the junction tree's tables."""
        return table_memory(schema, patients) + self.max_cells * 160.0 / 2**30

    def fit(
        self, data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedMarginal:
        """Spend the plan.

        Guarantee:
            ``rho``-zCDP with the plan's rho, for neighbours that differ in all records of one unit,
            of which ``data`` holds at most `PrivacyPlan.max_records`.

        Args:
            data: the training records. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: called with what is being done and the part done, from 0 to 1.
        """
        return fitting.fit(data, plan.parameters, noise=noise, iterations=self.iterations, progress=progress)

    def max_audit_columns(self, plan: PrivacyPlan) -> int:
        """Return the number of columns up to which a small fit takes seconds: see `pipeline.audit`."""
        return TWIN_COLUMNS if self.method == "roles" else 0

    def _share_one(self, rho: float, patients: int, n_columns: int) -> float:
        if self.share_one is not None:
            return self.share_one
        sigma = math.sqrt(n_columns / (2 * rho * SHARE_LARGE))
        noise = NOISE_AT_FULL * sigma * LEAST_CELLS / patients
        return SHARE_SMALL if noise > NOISY_ONE_WAY else SHARE_LARGE

    def numbers(self, schema: Schema, rho: float, patients: int) -> dict[str, Any]:
        """Return the parameters of a plan that spends ``rho``: all public, JSON values."""
        if self.method != "roles":
            rounds = 16 * len(schema.columns) if self.method == "aim" else 1
            return {
                "method": self.method,
                "rho": rho,
                "patients": patients,
                "rounds": rounds,
                "fine_cells": references.CELLS,
                "max_cells": self.max_cells,
            }
        n_columns = len(schema.columns)
        names, links = [column.name for column in schema.columns], links_of(schema)
        n_groups = len(group_pairs(schema)) if self.groups else 0
        n_pairs = len(role_pairs(names, schema.with_role("label"), links=links, given=given_of(schema)))
        n_pairs -= n_groups
        left = 1.0 - self.groups.share if self.groups else 1.0
        rest = rho * left
        cliques = self.cliques or (CLIQUES_MANY if rho >= LARGE_RHO else CLIQUES_FEW)
        n_drawn = n_columns - len(given_of(schema))
        n_cliques = min(max(1, round(cliques * n_drawn)), MOST_CLIQUES) if n_columns > 1 else 0
        share_select = self.share_select if n_cliques else 0.0
        share_one = self._share_one(rest, patients, n_columns) if n_cliques else 1.0
        share_role = self.share_role if n_pairs else 0.0
        if links:
            share_role += max(0.0, min(SHARE_LINKS, 0.95 - share_one - share_role - share_select))
        share_cliques = 1.0 - share_one - share_role - share_select if n_cliques else 0.0
        sigma_one = math.sqrt(n_columns / (2 * rest * share_one))
        sigma_role = math.sqrt(n_pairs / (2 * rest * share_role)) if n_pairs else None
        sigma_clique = math.sqrt(max(n_cliques, 1) / (2 * rest * max(share_cliques, 1e-12)))
        fine = NOISY_ONE_WAY * patients / (NOISE_AT_FULL * sigma_one)
        return {
            "method": self.method,
            "rho": rho,
            "patients": patients,
            "share_one": share_one * left,
            "share_role": share_role * left,
            "share_groups": 1.0 - left,
            "share_select": share_select * left,
            "share_cliques": share_cliques * left,
            "rounds": self.rounds,
            "n_cliques": n_cliques,
            "sigma_one": sigma_one,
            "sigma_role": sigma_role,
            "sigma_groups": math.sqrt(n_groups / (2 * rho * (1.0 - left))) if n_groups else None,
            "sigma_clique": sigma_clique,
            "fine_cells": int(min(max(LEAST_CELLS * (fine // LEAST_CELLS), LEAST_CELLS), 100)),
            "coarse_cells": coarse_cells(patients, sigma_clique if n_cliques else 0.0, self.most_cells),
            "max_cells": self.max_cells,
            "weights": self.weights.model_dump(),
        }


def coarse_cells(patients: int, sigma: float, most: int) -> int:
    """Return how many coarse cells of a number the cliques' noise leaves room for."""
    target = math.sqrt(0.2 * patients / (NOISE_AT_FULL * sigma)) if sigma else 40
    return int(min(max(target, 4), most))


def stages_of(numbers: Mapping[str, Any], delta: float) -> tuple[Stage, ...]:
    """Return the spend in parts, for the reader."""
    from dp_accounting import dp_event

    def alone(share: float) -> float:
        return get_epsilon([dp_event.ZCDpEvent(numbers["rho"] * share)], delta)

    return tuple(
        Stage(name, alone(share), share, noise, detail) for name, share, noise, detail in _stages(numbers)
    )


def _stages(numbers: Mapping[str, Any]) -> list[tuple[str, float, float | None, str]]:
    if numbers["method"] == "aim":
        return [("AIM", 1.0, None, f"at most {numbers['rounds']} rounds, annealed")]
    if numbers["method"] == "mst":
        return [(f"MST: {part}", 1 / 3, None, "") for part in ("columns", "selection", "pairs")]
    rows: list[tuple[str, float, float | None, str]] = [
        ("one-way marginals", numbers["share_one"], numbers["sigma_one"], "every column, on public cells"),
        (
            "pairs with a label",
            numbers["share_role"],
            numbers["sigma_role"],
            "noise if all had one size; small pairs get more, large ones less",
        ),
        (
            "protected columns with a label",
            numbers["share_groups"],
            numbers["sigma_groups"],
            "noise if all had one part; columns with small groups get less, others more",
        ),
        (
            "selection",
            numbers["share_select"],
            None,
            f"{numbers['n_cliques']} cliques by exponential mechanism",
        ),
        (
            "selected cliques",
            numbers["share_cliques"],
            numbers["sigma_clique"],
            f"{numbers['rounds']} rounds",
        ),
    ]
    return [row for row in rows if row[1] > 0]
