"""The shape of a privacy record: every key, its type, and its meaning.

The ``registry`` block follows the OpenDP deployments registry, the ``statement`` block the list of
"How to DP-fy ML" (Ponomareva et al. 2023, arXiv:2303.00654, section 5.3.3). The rest is our evidence.
Every value is a declared parameter, a number of the plan or the ledger, or a person's words: nothing
here is computed from real records, except the one word ``verdict.verdict``, which says so itself.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field as Key

from synthgen.settings import Settings

FORMAT = "synthgen-privacy-record/2"
OLDER = ("synthgen-privacy-record/1",)
"""Formats of former versions, which this one does not read: without digests of the data files."""
Json = dict[str, Any]
Positive = Key(gt=0)
Probability = Key(ge=0, lt=1)
Sha256 = Key(pattern=r"^[0-9a-f]{64}$")
Head = Key(pattern=r"^([0-9]+:)?[0-9a-f]{64}$")
Text = Key(min_length=1)


class Basic(Settings):
    """Registry: what the data product is and who answers for it."""

    name: str = Text
    data_curators: tuple[str, ...] = Key(min_length=1)
    intended_use: str = Text
    data_product_type: Literal["Synthetic data"]
    region: str = Text
    description: str = Text
    publication_date: str = Key(pattern=r"^\d{4}-\d{2}-\d{2}$")
    sector: Literal["Healthcare"]


class Variant(Settings):
    """Registry: the kind of guarantee, what is protected and what is not."""

    variant_name: str = Text
    data_domain: str = Text
    unprotected_quantities: tuple[str, ...]


class Loss(Settings):
    """Registry: the privacy loss of this release; ``rho`` (zCDP) where the plan has one."""

    privacy_unit: Literal["patient", "row"]
    privacy_unit_details: str = Text
    epsilon: float = Positive
    delta: float = Probability
    rho: float | None


class DeploymentModel(Settings):
    """Registry: who sees what."""

    model_name: str = Text
    actors: str = Text
    release_type: str = Text
    data_source_type: str = Text
    access_type: str = Text


class RegistryAccounting(Settings):
    """Registry: how losses add up."""

    post_processing: str = Text
    composition: str = Text


class Implementation(Settings):
    """Registry: how the guarantee is reached."""

    preprocessing_and_hyperparameter_tuning: str = Text
    mechanisms: str = Text
    justification: str = Text


class Administrative(Settings):
    """Registry: who wrote the entry."""

    registry_authors: tuple[str, ...] = Key(min_length=1)


class Registry(Settings):
    """The record as an entry of the OpenDP deployments registry."""

    basic: Basic
    dp_variant: Variant
    privacy_loss: Loss
    deployment_model: DeploymentModel
    accounting: RegistryAccounting
    implementation: Implementation
    administrative: Administrative


class ClaimBlock(Settings):
    """What this release claims, at ``delta``, for neighbours as in ``adjacency``.

    ``cohort_patients`` is the declared size of the cohort. If it was counted from the data, the size is
    not protected, and ``replace_one_epsilon`` is the claim when neighbours replace one patient instead.
    """

    epsilon: float = Positive
    delta: float = Probability
    unit: Literal["patient", "row"]
    max_records: int = Key(ge=1)
    adjacency: Literal["add-or-remove-one-patient"]
    cohort_patients: int = Key(ge=1)
    patients_counted: bool
    replace_one_epsilon: float | None = Key(gt=0)


class StageBlock(Settings):
    """One part of the spend; ``noise`` in patients, None where the stage selects."""

    name: str = Text
    epsilon: float = Key(ge=0)
    share: float = Key(ge=0, le=1)
    noise: float | None = Key(ge=0)
    detail: str


class PlanBlock(Settings):
    """Every number that fixes the guarantee, made before a record was read. ``patients`` train."""

    generator: str = Text
    patients: int = Key(ge=1)
    parameters: Json
    stages: tuple[StageBlock, ...]
    event: Json


class LedgerBlock(Settings):
    """The cohort's ledger with this release: all events that it holds, composed jointly.

    ``mu`` is of the whole curve. ``epsilon`` and ``mu`` are of events that were planned together. Where
    there are several, a later one may have been chosen after the outputs of an earlier one were seen
    (``adaptive``); then ``proven_epsilon`` is the cap, which the ledger's filter holds for such
    sequences. Without that it is ``epsilon``. ``opened`` is when the ledger opened the cohort: what was
    released before, or booked elsewhere, is not counted. ``head`` is number and hash of the ledger's last
    row when the bundle was made.
    """

    cohort: str = Text
    accountant: str = Text
    epsilon: float = Positive
    delta: float = Probability
    mu: float | None = Key(gt=0)
    cap_epsilon: float = Positive
    proven_epsilon: float = Positive
    adaptive: bool
    opened: str
    cap_changes: int = Key(ge=0)
    events: tuple[Json, ...] = Key(min_length=1)
    head: str = Head


class DataBlock(Settings):
    """The bundle's data: the digest of the public schema, records and SHA-256 of each file under ``data/``.

    ``sha256`` is empty until the files are written, which happens when the bundle is.
    """

    schema_sha256: str = Sha256
    files: dict[str, int] = Key(min_length=1)
    sha256: dict[str, Annotated[str, Sha256]]


class Identifier(Settings):
    """A column that the generator never saw."""

    column: str = Text
    role: Literal["id", "drop"]
    technique: str = Text


class Statement(Settings):
    """The reporting list of "How to DP-fy ML"."""

    setting: str = Text
    data_accesses_covered: str = Text
    output_of_mechanism: str = Text
    unit: str = Text
    adjacency: str = Text
    accountant: str = Text
    accountant_assumptions: str = Text
    final_model: str = Text
    tuning: str = Text


class EvaluationBlock(Settings):
    """How often the holdout was looked at, and how its figures are kept."""

    looks: int = Key(ge=0)
    adaptive: bool
    figures: str = Text
    residual_risk_threshold: float | None


class BoundsBlock(Settings):
    """Lower bounds at ``confidence`` by right guesses of canaries' coins, and what all right would show."""

    canaries: int = Key(ge=1)
    guesses: int = Key(ge=1)
    right: int = Key(ge=0)
    epsilon: float = Key(ge=0)
    ceiling: float = Key(ge=0)
    mu: float = Key(ge=0)
    ceiling_mu: float = Key(ge=0)
    claimed: float = Positive
    confidence: float = Key(gt=0, lt=1)


class AuditBlock(Settings):
    """The audit of the plan on a twin that was fitted to simulated patients: no real record was read.

    ``verdict`` is ``not run`` (``reason`` says why), ``violation``, ``no violation`` (no evidence of safety),
    or ``no power`` where ``ceiling`` lies below the claim. The released fit holds no canary.
    """

    verdict: Literal["violation", "no violation", "no power", "not run"]
    reason: str
    crowd: int = Key(ge=0)
    records: int = Key(ge=0)
    bounds: BoundsBlock | None
    released_fit_has_canaries: Literal[False]


class InferenceBlock(Settings):
    """Coverage of 95 % intervals from records of twins, whose simulated patients follow a known regression.

    ``coverage`` is of intervals widened by sqrt(1 + m/n), for m records from n patients; ``naive`` of those
    as if records were patients; both None, with a ``reason``, where no twin was fitted. Below 90 %, and where
    nothing was measured, the release is stamped not for inference.
    """

    stamp: Literal["valid for inference", "not for inference"]
    coverage: float | None = Key(ge=0, le=1)
    naive: float | None = Key(ge=0, le=1)
    coefficients: int = Key(ge=0)
    fits: int = Key(ge=0)
    patients: int = Key(ge=0)
    reason: str


class OverrideBlock(Settings):
    """Who released against the gate, why, and when."""

    reason: str = Text
    who: str = Text
    when: str = Text


class VerdictBlock(Settings):
    """The gate's word under a named policy. It depends on real records and lies outside the guarantee."""

    verdict: Literal["release", "refuse", "cannot-sign"]
    policy: str = Text
    policy_sha256: str = Key(pattern="^[0-9a-f]{64}$")
    outside_guarantee: Literal[True]
    override: OverrideBlock | None


class Record(Settings):
    """A whole privacy record."""

    format: Literal["synthgen-privacy-record/2"]
    registry: Registry
    claim: ClaimBlock
    plan: PlanBlock
    ledger: LedgerBlock
    data: DataBlock
    randomness: str = Text
    identifiers: tuple[Identifier, ...]
    software: dict[str, str] = Key(min_length=1)
    statement: Statement
    evaluation: EvaluationBlock
    audit: AuditBlock | None
    inference: InferenceBlock | None
    verdict: VerdictBlock
    deviations: tuple[str, ...]
