"""Write and check the privacy record: what a release claims, and the evidence for it.

The record is made of declared parameters, the plan, the ledger and people's words, so that it may be
published. `synthgen.release.record.fields` lists its keys. Terms follow NIST SP 800-226 and the OpenDP
deployments registry.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import ValidationError

from synthgen.printable import json_text
from synthgen.privacy.plan import PrivacyPlan
from synthgen.release.record.fields import FORMAT, Record
from synthgen.release.record.inputs import NOT_STATED, Audit, Composition, Deployment, Judgement, Override
from synthgen.release.record.statements import (
    FIGURES,
    SIZE_UNPROTECTED,
    randomness,
    registry_block,
    statement_block,
)
from synthgen.schema.schema import Schema

__all__ = [
    "NOT_STATED",
    "Audit",
    "Composition",
    "Deployment",
    "Judgement",
    "Override",
    "check_record",
    "privacy_record",
    "record_digest",
    "record_text",
    "replace_one_epsilon",
    "software_versions",
    "with_digests",
]
PRODUCT = "synthgen-medical"
PACKAGES = (PRODUCT, "numpy", "pandas", "scipy", "dp-accounting", "opendp", "torch")


def privacy_record(
    *,
    deployment: Deployment,
    plan: PrivacyPlan,
    event: Mapping[str, Any],
    composition: Composition,
    judgement: Judgement,
    schema: Schema,
    files: Mapping[str, int],
    audit: Audit | None = None,
    inference: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Return the record as JSON values.

    Args:
        deployment: what a person declares.
        plan: what the fit was allowed to spend.
        event: the plan's event, serialised.
        composition: the cohort's ledger with this release.
        judgement: the gate's word.
        schema: the table's schema; its public part (`synthgen.schema.schema.Schema.public`) is what counts.
        files: synthetic records by file name under ``data/``.
        audit: of a twin of the plan, on simulated patients; None if the release was not evaluated.
        inference: what twins said about intervals (see `synthgen.release.record.fields.InferenceBlock`),
        likewise.
        device: where the fit computed, ``cpu`` or ``cuda``; None where an older version did not note it.

    Returns:
        a record for which `check_record` finds nothing.

    Raises:
        ValueError: the record would be incomplete or contradict itself; names the keys.

    Guarantee:
        post-processing of the plan and the ledger, but for ``verdict.verdict``, which says so.
    """
    record = {
        "format": FORMAT,
        "registry": registry_block(deployment, plan, composition),
        "claim": _claim(plan, composition),
        "plan": _plan(plan, event),
        "ledger": _ledger(composition),
        "data": {"schema_sha256": schema.public().digest(), "files": dict(files), "sha256": {}},
        "randomness": randomness(device),
        "identifiers": _identifiers(schema),
        "software": software_versions(),
        "statement": statement_block(deployment, plan, composition),
        "evaluation": {
            "looks": judgement.looks,
            "adaptive": judgement.looks > 1,
            "figures": FIGURES,
            "residual_risk_threshold": judgement.residual_risk,
        },
        "audit": None if audit is None else {**vars(audit), "released_fit_has_canaries": False},
        "inference": None if inference is None else dict(inference),
        "verdict": _verdict(judgement),
        "deviations": list(deployment.deviations),
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))
    problems = check_record(plain)
    if problems:
        raise ValueError(
            f"Expected a complete privacy record, got {len(problems)} problems: {'; '.join(problems)}"
        )
    return plain


def check_record(record: Mapping[str, Any]) -> list[str]:
    """Return what is missing, of a wrong type, or contradictory in a record; empty if nothing is."""
    try:
        parsed = Record.model_validate_json(json.dumps(record, allow_nan=False))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        return [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in found]
    except (TypeError, ValueError):
        return ["(top): expected JSON values without NaN or infinity"]
    return [message for holds, message in _consistency(parsed) if not holds]


def record_text(record: Mapping[str, Any]) -> str:
    """Return the record as the file holds it: sorted keys, two spaces, one line end at the end."""
    return json_text(record, indent=2, sort_keys=True, ascii_only=False) + "\n"


def with_digests(record: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return a record that names the data files of its bundle by their SHA-256, by file name."""
    return {**record, "data": {**record["data"], "sha256": dict(digests)}}


def record_digest(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of `record_text`, in hex. Card and report carry it."""
    return hashlib.sha256(record_text(record).encode()).hexdigest()


def replace_one_epsilon(epsilon_at: Callable[[float], float], delta: float) -> float:
    """Return epsilon at ``delta`` when neighbours replace one patient instead of adding or removing one.

    To replace is to remove one and add another, so two steps of the curve apply:
    ``(epsilon, d)`` becomes ``(2 epsilon, (1 + e^epsilon) d)``. The largest ``d`` found whose result keeps
    to ``delta`` is used; any such ``d`` is valid, so no search can make the answer too small.

    Args:
        epsilon_at: the claim's curve, delta to epsilon.
        delta: probability of failure asked for.

    Source: Dwork and Roth (2014), group privacy, Theorem 2.2 with the delta kept.

    Example:
        >>> replace_one_epsilon(lambda delta: 1.0, 1e-6)
        2.0
    """
    if not 0 < delta < 1:
        raise ValueError(f"Expected 0 < delta < 1, got {delta=}. Use the delta of the plan.")
    low, high = -700.0, math.log(delta)  # exp(-745) is 0
    best = math.inf
    for _ in range(30):
        middle = (low + high) / 2
        epsilon = epsilon_at(math.exp(middle))
        if math.isinf(epsilon):  # below the delta of a failure nothing is proven
            low = middle
        elif epsilon < 700 and middle + math.log1p(math.exp(epsilon)) <= math.log(delta):
            best, low = min(best, 2 * epsilon), middle
        else:
            high = middle
    return best


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the guarantee rests on, where installed."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _claim(plan: PrivacyPlan, composition: Composition) -> dict[str, Any]:
    return {
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "unit": plan.unit,
        "max_records": plan.max_records,
        "adjacency": plan.adjacency,
        "cohort_patients": composition.patients,
        "patients_counted": plan.patients_counted,
        "replace_one_epsilon": composition.replace_one,
    }


def _plan(plan: PrivacyPlan, event: Mapping[str, Any]) -> dict[str, Any]:
    stages = [
        {"name": s.name, "epsilon": s.epsilon, "share": s.share, "noise": s.noise, "detail": s.detail}
        for s in plan.stages
    ]
    return {
        "generator": plan.generator,
        "patients": plan.patients,
        "parameters": dict(plan.parameters),
        "stages": stages,
        "event": dict(event),
    }


def _ledger(composition: Composition) -> dict[str, Any]:
    return {
        "cohort": composition.cohort,
        "accountant": composition.accountant,
        "epsilon": composition.epsilon,
        "delta": composition.delta,
        "mu": composition.mu,
        "cap_epsilon": composition.cap,
        "proven_epsilon": composition.proven,
        "adaptive": composition.adaptive,
        "opened": composition.opened,
        "cap_changes": composition.cap_changes,
        "events": [dict(event) for event in composition.events],
        "head": composition.head,
    }


def _verdict(judgement: Judgement) -> dict[str, Any]:
    made = judgement.override
    return {
        "verdict": judgement.verdict,
        "policy": judgement.policy,
        "policy_sha256": judgement.policy_sha256,
        "outside_guarantee": True,
        "override": None if made is None else {"reason": made.reason, "who": made.who, "when": made.when},
    }


def _identifiers(schema: Schema) -> list[dict[str, str]]:
    technique = {"id": "removed; fresh sequential numbers stand in its place", "drop": "removed"}
    roles: tuple[Literal["id", "drop"], ...] = ("id", "drop")
    return [
        {"column": name, "role": role, "technique": technique[role]}
        for role in roles
        for name in schema.with_role(role)
    ]


def _consistency(record: Record) -> list[tuple[bool, str]]:
    """Return the rules that tie blocks together, each with whether it holds."""
    claim, loss, ledger = record.claim, record.registry.privacy_loss, record.ledger
    counted = claim.patients_counted
    stages = [stage.epsilon <= claim.epsilon * (1 + 1e-9) for stage in record.plan.stages]
    return [
        (
            claim.epsilon == loss.epsilon and claim.delta == loss.delta,
            "claim and registry.privacy_loss differ",
        ),
        (claim.unit == loss.privacy_unit, "claim.unit and registry.privacy_loss.privacy_unit differ"),
        (
            not counted or claim.replace_one_epsilon is not None,
            "claim.replace_one_epsilon: expected a number, since patients were counted from the data",
        ),
        (
            counted == (SIZE_UNPROTECTED in record.registry.dp_variant.unprotected_quantities),
            "registry.dp_variant.unprotected_quantities must name the cohort's size if it was counted",
        ),
        (record.plan.patients <= claim.cohort_patients, "plan.patients exceeds claim.cohort_patients"),
        (all(stages), "plan.stages: a stage spends more than the claim"),
        (record.plan.event in ledger.events, "ledger.events does not hold plan.event"),
        (ledger.adaptive == (len(ledger.events) > 1), "ledger.adaptive contradicts the number of events"),
        (
            ledger.proven_epsilon == (ledger.cap_epsilon if ledger.adaptive else ledger.epsilon),
            "ledger.proven_epsilon: expected the cap for a sequence of events, epsilon for one",
        ),
        (
            record.evaluation.adaptive == (record.evaluation.looks > 1),
            "evaluation.adaptive contradicts looks",
        ),
        (all(n >= 0 for n in record.data.files.values()), "data.files: expected counts of at least 0"),
        (
            not record.data.sha256 or record.data.sha256.keys() == record.data.files.keys(),
            "data.sha256 and data.files name different files",
        ),
        *_audit_consistency(record),
        (
            record.inference is None
            or (record.inference.stamp == "valid for inference")
            == (record.inference.coverage is not None and record.inference.coverage >= 0.9),
            "inference.stamp contradicts inference.coverage",
        ),
    ]


def _audit_consistency(record: Record) -> list[tuple[bool, str]]:
    """Return the rules that tie the audit to its own bounds, to the claim, and to the gate's word."""
    audit, word = record.audit, record.verdict
    if audit is None:
        return []
    bounds = audit.bounds
    if bounds is None:
        return [(audit.verdict == "not run", "audit.verdict: expected `not run`, since there are no bounds")]
    power = "no violation" if bounds.ceiling > bounds.claimed else "no power"
    found = "violation" if bounds.epsilon > bounds.claimed else power
    signed = word.verdict == "release" and word.override is None
    return [
        (audit.verdict == found, f"audit.verdict: expected {found!r} by its bounds"),
        (bounds.claimed == record.claim.epsilon, "audit.bounds.claimed and claim.epsilon differ"),
        (not (found == "violation" and signed), "verdict: a release whose audit found a violation"),
    ]
