"""What a fit will spend, fixed before any record is read.

A plan holds every number that fixes the guarantee. It is made from the schema, the config and
declared public numbers alone, so two neighbouring cohorts have the same plan, and publishing it
costs nothing. Speed options are not in it and cannot change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dp_accounting import dp_event

Adjacency = Literal["add-or-remove-one-patient"]


@dataclass(frozen=True)
class Stage:
    """One part of the spend, for the reader.

    Attributes:
        name: what is done, such as ``one-way marginals``.
        epsilon: the stage's own epsilon at the plan's delta. Stages compose to less than their sum.
        share: the stage's part of the plan's rho (or of its steps), from 0 to 1.
        noise: standard deviation of the noise in patients, or None where the stage selects.
        detail: one line of explanation.
    """

    name: str
    epsilon: float
    share: float
    noise: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class PrivacyPlan:
    """All that fixes a fit's guarantee.

    Guarantee:
        A fit that keeps to the plan is ``(epsilon, delta)``-DP for neighbours that differ by adding or
        removing one unit (all records of a patient), and its events compose as ``event``.

    Attributes:
        generator: key of the generator, such as ``marginal``.
        unit: ``patient``, or ``row`` where the schema asks for it by name.
        max_records: records of a patient that may be used.
        epsilon: the claim, at ``delta``.
        delta: probability of failure of the claim.
        patients: declared public number of patients that train; fixes sizes and rates, never noise.
        patients_counted: the number was counted from the data, so the cohort's size is not protected.
        event: the event that the ledger books.
        parameters: numbers that fix the guarantee (rho, shares, sigma, rounds, rates), as JSON values.
        stages: the spend in parts, for the reader.
        adjacency: what a neighbour is.
    """

    generator: str
    unit: Literal["patient", "row"]
    max_records: int
    epsilon: float
    delta: float
    patients: int
    event: dp_event.DpEvent
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    patients_counted: bool = False
    adjacency: Adjacency = "add-or-remove-one-patient"
