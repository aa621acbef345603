"""What a privacy record is made from: a person's words, the ledger's composition, the gate's word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

NOT_STATED = "Not stated by the curator."


@dataclass(frozen=True)
class Deployment:
    """What a person declares about a release.

    Attributes:
        name: name of the data product.
        publication_date: ISO date.
        curators: who answers for the data.
        intended_use: what it is for.
        description: what it is.
        region: where the patients were treated.
        authors: who wrote the record.
        justification: why this epsilon was chosen.
        tuning: how hyper-parameters were chosen, and on which data.
        deviations: what weakens the claim or its evidence (see `synthgen.release.record.deviations`).
    """

    name: str
    publication_date: str
    curators: tuple[str, ...] = (NOT_STATED,)
    intended_use: str = NOT_STATED
    description: str = NOT_STATED
    region: str = NOT_STATED
    authors: tuple[str, ...] = (NOT_STATED,)
    justification: str = NOT_STATED
    tuning: str = NOT_STATED
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Composition:
    """The cohort's ledger with this release.

    Attributes:
        cohort: the ledger's name for these patients.
        patients: declared size of the cohort, in patients.
        epsilon: of all events that count for the cohort, composed jointly as if they had been planned
            together, at ``delta``.
        delta: probability of failure.
        cap: the cohort's cap on epsilon.
        events: serialised events (`synthgen.privacy.accountant.to_json`), this release's included.
        head: hash of the ledger's last row.
        accountant: how ``epsilon`` was computed.
        mu: Gaussian-DP parameter of the whole curve, or None if it was not computed.
        replace_one: the release's epsilon when neighbours replace one patient; needed if the plan's
            patients were counted (see `replace_one_epsilon`).
        opened: when the ledger opened the cohort (ISO); what was released before is not counted.
        cap_changes: how often the cap was changed after a spend that counts against it.
    """

    cohort: str
    patients: int
    epsilon: float
    delta: float
    cap: float
    events: tuple[Mapping[str, Any], ...]
    head: str
    accountant: str = "smallest valid of RDP and PLD (dp_accounting)"
    mu: float | None = None
    replace_one: float | None = None
    opened: str = ""
    cap_changes: int = 0

    @property
    def adaptive(self) -> bool:
        """Whether an event may have been chosen after the outputs of another were seen."""
        return len(self.events) > 1

    @property
    def proven(self) -> float:
        """Epsilon that is proven: of one event its own, of a sequence the cap that its filter holds."""
        return self.cap if self.adaptive else self.epsilon


@dataclass(frozen=True)
class Audit:
    """What a twin fit of the plan to simulated patients showed.

    Attributes:
        verdict: ``violation``, ``no violation``, ``no power``, or ``not run``.
        reason: why it was not run, or shows nothing; empty otherwise.
        crowd: simulated patients beside the canaries.
        records: synthetic records that the attacker saw.
        bounds: the bounds with what they rest on (see `synthgen.release.record.fields.BoundsBlock`), or None.
    """

    verdict: Literal["violation", "no violation", "no power", "not run"]
    reason: str = ""
    crowd: int = 0
    records: int = 0
    bounds: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Override:
    """A release against the gate: who answers for it, why, and when (ISO)."""

    reason: str
    who: str
    when: str


@dataclass(frozen=True)
class Judgement:
    """The gate's word.

    Attributes:
        verdict: the gate's verdict.
        policy: name of the policy that it was reached under.
        policy_sha256: digest of that policy's rules.
        looks: how often the holdout has been looked at, this time included; 0 if nothing was held out.
        override: who released against the verdict, or None.
        residual_risk: the policy's bound on an attack's advantage, such as .09, or None.
    """

    verdict: Literal["release", "refuse", "cannot-sign"]
    policy: str
    policy_sha256: str
    looks: int
    override: Override | None = None
    residual_risk: float | None = None
