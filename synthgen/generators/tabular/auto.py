"""Chooses the generator, by public facts only: roles, patients and the size of the budget.

The rule, and the measurements it came from (`scripts/bench_tabular.py`, `scripts/bench_wide.py`):

* where the budget is large (rho of at least `tabular_marginal.LARGE_RHO`, about epsilon 5), the cohort has
  `MANY` patients or more, and a label says what it is for, `diffusion`: noised steps see how a label depends
  on many columns at once. At epsilon 10, means of three fits, its AUC (logistic / boosting) is .9011 / .9124
  on adult beside .9013 / .9123 of `marginal`, and .6440 / .6557 on diabetes beside .6458 / .6532;
* else `marginal`: at small epsilon, and for few patients, noised steps add noise alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from synthgen import plugins
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.generators.base import (
    GivenModel,
    Progress,
    TableConfig,
    TableModel,
    max_columns_for_audit,
    memory_of,
)
from synthgen.generators.chosen import read_choice, write_choice
from synthgen.generators.marginal.config import LARGE_RHO
from synthgen.privacy.accountant import calibrate_rho
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Config", "Fitted", "choose", "load"]
MANY = 20_000


def choose(schema: Schema, *, epsilon: float, delta: float, patients: int) -> str:
    """Return the key of the generator to use. Reads no record.

    Args:
        schema: the table's public description.
        epsilon: target, at ``delta``.
        delta: probability of failure.
        patients: public number of patients that will train.
    """
    large = calibrate_rho(epsilon, delta) >= LARGE_RHO
    return "diffusion" if large and patients >= MANY and schema.with_role("label") else "marginal"


def _module(name: str) -> Any:
    return plugins.load("synthgen.generators.tabular", name)


class Config(Settings):
    """No settings: who wants some names the generator."""

    name: Literal["auto"] = "auto"

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Return the chosen generator's plan."""
        name = choose(schema, epsilon=epsilon, delta=delta, patients=patients)
        config: TableConfig = _module(name).Config()
        plan = config.plan(schema, epsilon=epsilon, delta=delta, patients=patients)
        return replace(plan, parameters={**plan.parameters, "chosen": name})

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: by the largest generator that may be chosen."""
        found = [memory_of(_module(name).Config(), schema, patients) for name in ("marginal", "diffusion")]
        return max(one or 0.0 for one in found)

    def max_audit_columns(self, plan: PrivacyPlan) -> int:
        """Return what the chosen generator says of itself: see `synthgen.pipeline.audit`."""
        return max_columns_for_audit(_module(str(plan.parameters["chosen"])).Config(), plan)

    def fit(
        self, data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedAuto:
        """Spend the plan, by the generator that it names: the guarantee is that generator's."""
        name = str(plan.parameters["chosen"])
        config: TableConfig = _module(name).Config()
        return FittedAuto(name, config.fit(data, plan, noise=noise, progress=progress))


@dataclass(frozen=True)
class FittedAuto:
    """The chosen generator, fitted. Publishable.

    Attributes:
        name: its key.
        model: what it fitted.
    """

    name: str
    model: TableModel

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticTable:
        """Draw records, as the chosen generator does."""
        return self.model.sample(n_records, rng=rng, where=where)

    def sample_given(self, evidence: pd.DataFrame, *, rng: np.random.Generator) -> SyntheticTable:
        """Draw records given evidence, as the chosen generator does; each that may be chosen can."""
        return cast(GivenModel, self.model).sample_given(evidence, rng=rng)

    def save(self, folder: Path) -> None:
        """Write the chosen generator's files, and which one it is."""
        self.model.save(folder)
        write_choice(folder, self.name)


Fitted = FittedAuto


def load(folder: Path, schema: Schema) -> FittedAuto:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    name = read_choice(folder)
    return FittedAuto(name, cast(TableModel, _module(name).load(folder, schema)))
