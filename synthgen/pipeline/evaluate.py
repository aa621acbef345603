"""Judge a synthetic table on the four heads, decide by the policy, write the evidence.

The gate decides and `synthgen.release` writes; this file brings them the run's parts, the ledger's
composition, and nothing that may not leave.
"""

from __future__ import annotations

import datetime
import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dp_accounting.dp_event import ComposedDpEvent, DpEvent

from synthgen.config.run_config import ResolvedConfig, groups_of, tables_of, target_of
from synthgen.data.images import SyntheticImages
from synthgen.data.table_files import file_name
from synthgen.data.tables import Cohort, SyntheticTable
from synthgen.errors import ConfigError, DataError, GateRefused
from synthgen.evaluation.audit.twin import TwinAudit
from synthgen.evaluation.audit.twin_inference import TwinInference
from synthgen.evaluation.base import Claim, Inputs, MetricResult
from synthgen.evaluation.results_json import results_to_json
from synthgen.evaluation.run import evaluate_all
from synthgen.generators.base import Progress
from synthgen.ingest.fingerprint import saved_digest
from synthgen.pipeline import audit as audits
from synthgen.pipeline import holdout_accesses
from synthgen.pipeline.holdout_accesses import Accesses, Basis
from synthgen.pipeline.rehearsal import NOTICE
from synthgen.pipeline.run_folder import RunFolder
from synthgen.privacy.accountant import gdp_mu, get_epsilon, to_json
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.plan import PrivacyPlan
from synthgen.release.gate.gate import Policy, Reason, Verdict, decide, load_policy
from synthgen.release.record.deviations import Facts, deviations, override_deviation
from synthgen.release.record.record import (
    Composition,
    Deployment,
    Judgement,
    Override,
    privacy_record,
    replace_one_epsilon,
)
from synthgen.release.report.nearest_pairs import real_sheets

EVALUATION, RECORD = "evaluation.json", "record.json"


@dataclass(frozen=True)
class Judged:
    """A verdict with what it rests on. Sensitive, but for the record.

    Attributes:
        verdict: the gate's.
        results: of all metrics.
        record: the privacy record without an override.
        looks: how often the holdout has been looked at.
        basis: what the evaluation rests on and how often it was made, as JSON values; empty without one.
    """

    verdict: Verdict
    results: tuple[MetricResult, ...]
    record: Mapping[str, Any]
    looks: int
    basis: Mapping[str, Any] = field(default_factory=dict)


def evaluate_run(
    loaded: ResolvedConfig,
    folder: RunFolder,
    plan: PrivacyPlan,
    cohort: Cohort,
    table: SyntheticTable,
    progress: Progress,
) -> Judged:
    """Look at the holdout, decide, and write both editions of the report.

    Each look is an entry of the ledger, written before the holdout is used.
    """
    ledger = loaded.open_ledger(create=False)
    device = _device_of_paid_fit(ledger, loaded, folder)
    policy = load_policy(loaded.policy)
    results: tuple[MetricResult, ...] = ()
    audit: TwinAudit | None = None
    inference: TwinInference | None = None
    shown: dict[str, Any] = {}
    if loaded.config.evaluate is not None:
        audit = audits.audit_of(loaded, folder, plan, progress)
        inference = audits.inference_of(loaded, folder, plan, progress)
        inputs = _inputs(loaded, cohort, table, audit, inference)
        basis = _basis(loaded, inputs, policy)
        shown = {**basis.to_json(), "accesses": _look(ledger, loaded, basis).to_json()}
    looks = ledger.looks(loaded.config.cohort)
    spent = ledger.spent(loaded.config.cohort)
    mu = gdp_mu([spent.event], spent.delta)
    if loaded.config.evaluate is not None:
        claim = Claim(spent.epsilon, spent.delta, mu, to_json(spent.event), looks, spent.proven)
        inputs = replace(inputs, claim=claim)
        results = tuple(
            evaluate_all(
                inputs,
                seed=loaded.config.seed,
                progress=lambda name, done: progress(f"evaluate: {name}", done),
            )
        )
    verdict = decide(results, policy)
    if loaded.config.rehearsal:
        verdict = rehearsed(verdict)
    patients = loaded.config.budget.patients or cohort.n_units
    record = _record(
        loaded, plan, ledger, table, verdict, policy,
        cohort_patients=patients, looks=looks, mu=mu, audit=audit, inference=inference, device=device,
        against=folder.state.get("anyway", []), changes=folder.changes,
    )  # fmt: skip
    judged = Judged(verdict, results, record, looks, shown)
    evaluation = {"verdict": verdict.to_json(), "results": results_to_json(results), "basis": shown}
    folder.write(EVALUATION, {**evaluation, "looks": looks, "adaptive": looks > 1})
    folder.write(RECORD, record)
    _reports(loaded, folder, judged, policy, cohort, table)
    return judged


def _device_of_paid_fit(ledger: Ledger, loaded: ResolvedConfig, folder: RunFolder) -> str | None:
    """Check that the ledger holds the spend of a run's model.

    Returns:
        The kind of device that it was fitted on; None if that was not noted.

    Raises:
        DataError: the ledger holds no spend of this run, or knows another model of it.
    """
    fits = ledger.fits(loaded.digest[:16])
    if not fits:
        raise DataError(
            "Expected the spend of this run's fit in the ledger, found none: it is not the ledger of the "
            "fit, or was rolled back.",
            where="budget.ledger",
            next_step="Restore the ledger, and verify it with a bundle's head.",
        )
    digest = saved_digest(folder.model)
    mine = [fit for fit in fits.values() if digest in fit.models]
    if not mine and any(fit.models for fit in fits.values()):
        raise DataError(
            "Expected the model that the ledger's commit names, found an altered one.",
            where=str(folder.model),
            next_step="Restore the model, or choose another --output: a new fit is a new spend.",
        )
    return mine[-1].device if mine else None


def rehearsed(verdict: Verdict) -> Verdict:
    """Return the verdict of a rehearsal: it is never signed."""
    reason = Reason("leakage", "leakage", "cannot-sign", f"{NOTICE.strip()}")
    refused = verdict.verdict == "refuse"
    return replace(
        verdict, verdict="refuse" if refused else "cannot-sign", reasons=(reason, *verdict.reasons)
    )


def _inputs(
    loaded: ResolvedConfig,
    cohort: Cohort,
    table: SyntheticTable,
    audit: TwinAudit | None,
    inference: TwinInference | None,
) -> Inputs:
    """Return what the metrics take, without the claim, which the ledger states after this look."""
    return Inputs(
        schema=loaded.schema,
        train=cohort.train,
        holdout=cohort.holdout,
        reference=cohort.reference,
        synthetic=table,
        target=target_of(loaded.config, loaded.schema),
        groups=groups_of(loaded.config, loaded.schema),
        audit=audit,
        inference=inference,
    )


def _basis(loaded: ResolvedConfig, inputs: Inputs, policy: Policy) -> Basis:
    return Basis(
        inputs=holdout_accesses.input_digests(inputs),
        policy=policy,
        seed=loaded.config.seed,
        given=True,
        target=inputs.target,
        groups=inputs.groups,
        of_images=loaded.schema.images is not None,
    )


def _look(ledger: Ledger, loaded: ResolvedConfig, basis: Basis) -> Accesses:
    """Enter a numbered look at the holdout, before it is used; beyond the policy's number it is refused."""
    cohort, most = loaded.config.cohort, basis.policy.most_looks
    before = ledger.looks(cohort)
    if most is not None and before >= most:
        raise holdout_accesses.refused(basis.policy, repr(cohort))
    earlier = [entry.content for entry in ledger.entries(cohort) if entry.kind == "look"]
    ledger.note(cohort, content={"run": loaded.digest[:16], "look": before + 1, **basis.entry()})
    return Accesses(
        before + 1, "the ledger of the run", changes=holdout_accesses.changes(earlier, basis.entry())
    )


def stored(folder: RunFolder) -> Judged:
    """Return what the last evaluation of a run found.

    Raises:
        ConfigError: the run has not been evaluated.
        DataError: its files say what no evaluation writes.
    """
    from synthgen.evaluation.results_json import results_from_json
    from synthgen.release.gate.gate import verdict_from_json

    if not (folder.internal / EVALUATION).exists() or not (folder.internal / RECORD).exists():
        raise ConfigError(
            "Expected an evaluated run, found none.",
            where=str(folder.path),
            next_step="Run `synthgen evaluate` first.",
        )
    content, record = folder.read(EVALUATION), folder.read(RECORD)
    with folder.intact(EVALUATION):
        results = tuple(results_from_json(content["results"]))
        verdict = verdict_from_json(content["verdict"])
        basis = dict(content.get("basis", {}))
    with folder.intact(RECORD):
        return Judged(verdict, results, record, int(record["evaluation"]["looks"]), basis)


def outcome(loaded: ResolvedConfig, judged: Judged) -> dict[str, Any]:
    """Return the verdict as the command line prints it."""
    verdict = judged.verdict.to_json()
    return {
        "verdict": verdict["verdict"],
        "reasons": verdict["reasons"],
        "epsilon": loaded.config.budget.epsilon,
        "delta": loaded.config.budget.delta,
        "unit": loaded.schema.unit.level,
        "heads": verdict["heads"],
        "looks": judged.looks,
        "adaptive": judged.looks > 1,
        **judged.basis,
        **({"rehearsal": True} if loaded.config.rehearsal else {}),
    }


def release(
    loaded: ResolvedConfig,
    folder: RunFolder,
    judged: Judged,
    table: SyntheticTable,
    output: Path,
    *,
    override: str | None = None,
) -> Path:
    """Write the bundle, if the gate allows it or a person answers for it.

    The ledger must hold the spend of the run's model and what the record composes; it enters the record's
    digest before the bundle is there, so that the two can be compared later.

    Args:
        loaded: the run's config.
        folder: the run.
        judged: the gate's verdict and the record.
        table: the synthetic records.
        output: the bundle's folder.
        override: reason for releasing against the verdict; recorded with the user's name.

    Raises:
        GateRefused: the verdict is not release and there is no override.
        DataError: the ledger holds no spend of this run, knows another model of it, or another composition.
    """
    from synthgen.release.bundle.bundle import write_bundle

    if loaded.config.rehearsal:
        raise GateRefused(
            "Expected a run on patients, got a rehearsal: nothing of it can be released.",
            next_step="Run the real table, without `rehearsal: true`.",
        )
    record: Mapping[str, Any] = judged.record
    if judged.verdict.verdict != "release" and override and override.strip():
        record = _overridden(record, override.strip())
    ledger = loaded.open_ledger(create=False)
    _device_of_paid_fit(ledger, loaded, folder)
    head = _require_composition(ledger, loaded, record)
    return write_bundle(
        output,
        data_files={name: table for name in _files(loaded, table)},
        schema=loaded.schema.model_copy(update={"dialect": table.schema.dialect}),
        record=record,
        enter=lambda digest: ledger.note_release(
            loaded.config.cohort, run=loaded.digest[:16], record=digest, head=head
        ),
    )


def require_paid(loaded: ResolvedConfig, folder: RunFolder) -> None:
    """Check, before any record is read, that the operator's ledger holds the spend of a run's model.

    Raises:
        DataError: it holds none, or knows another model.
    """
    _device_of_paid_fit(loaded.open_ledger(create=False), loaded, folder)


def _require_composition(ledger: Ledger, loaded: ResolvedConfig, record: Mapping[str, Any]) -> str:
    """Check that a record's composition is the ledger's at the record's head. Returns the head.

    Raises:
        DataError: it is another one: the record was edited, or is of another ledger.
    """
    block = record["ledger"]
    head = str(block["head"])
    spent = ledger.spent(loaded.config.cohort, head=head)
    events = [to_json(event) for event in _parts(spent.event)]
    same = (block["cohort"], block["events"], block["delta"], block["cap_epsilon"])
    if same != (loaded.config.cohort, events, spent.delta, spent.cap):
        raise DataError(
            "Expected the spends that the ledger holds up to the record's head, found others in the record.",
            where="record.json",
            next_step="Evaluate the run again; it costs no budget.",
        )
    return head


def _overridden(record: Mapping[str, Any], reason: str) -> dict[str, Any]:
    now = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")
    made = Override(reason=reason, who=getpass.getuser(), when=now)
    verdict = {**record["verdict"], "override": {"reason": made.reason, "who": made.who, "when": made.when}}
    weaker = [*record["deviations"], override_deviation(record["verdict"]["verdict"])]
    return {**record, "verdict": verdict, "deviations": weaker}


def _record(
    loaded: ResolvedConfig,
    plan: PrivacyPlan,
    ledger: Ledger,
    table: SyntheticTable,
    verdict: Verdict,
    policy: Policy,
    *,
    cohort_patients: int,
    looks: int,
    mu: float,
    audit: TwinAudit | None,
    inference: TwinInference | None,
    device: str | None,
    against: Sequence[str],
    changes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    head = ledger.head()
    spent = ledger.spent(loaded.config.cohort, head=head)
    counted = replace_one_epsilon(lambda delta: get_epsilon([plan.event], delta), plan.delta)
    composition = Composition(
        cohort=loaded.config.cohort,
        patients=cohort_patients,
        epsilon=spent.epsilon,
        delta=spent.delta,
        cap=spent.cap,
        events=tuple(to_json(event) for event in _parts(spent.event)),
        head=head,
        mu=mu,
        replace_one=counted if plan.patients_counted else None,
        opened=spent.opened[:10],
        cap_changes=spent.cap_changes,
    )
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    title = loaded.schema.title or loaded.config.cohort
    return privacy_record(
        deployment=Deployment(
            name=f"{_stamp(loaded)}Synthetic {title}",
            publication_date=today,
            deviations=deviations(Facts(loaded, plan, ledger.entries(), against=against, changes=changes)),
        ),
        plan=plan,
        event=to_json(plan.event),
        composition=composition,
        judgement=Judgement(
            verdict=verdict.verdict,
            policy=policy.name,
            policy_sha256=policy.digest,
            looks=looks,
            residual_risk=policy.residual_risk,
        ),
        schema=loaded.schema,
        files={name: len(table) for name in _files(loaded, table)},
        audit=None if audit is None else audits.told(audit),
        inference=None if inference is None else {**inference.to_json(), "stamp": inference.stamp},
        device=device,
    )


def _stamp(loaded: ResolvedConfig) -> str:
    """Return what a title begins with, if nothing of the run may be released."""
    return "REHEARSAL: " if loaded.config.rehearsal else ""


def _files(loaded: ResolvedConfig, table: SyntheticTable) -> list[str]:
    """Return the names of a bundle's data files: tables by format, and an archive of images."""
    stem = loaded.config.cohort
    names = [file_name(stem, kind, table) for kind in tables_of(loaded.config)]
    return names + ([f"{stem}.zip"] if isinstance(table, SyntheticImages) else [])


def _parts(event: DpEvent) -> list[DpEvent]:
    """Return the ledger's entries, which it composes into one event."""
    return list(event.events) if isinstance(event, ComposedDpEvent) else [event]


def _reports(
    loaded: ResolvedConfig,
    folder: RunFolder,
    judged: Judged,
    policy: Policy,
    cohort: Cohort,
    table: SyntheticTable,
) -> None:
    from synthgen.release.report import ReportContent, marginals, write_report

    content = ReportContent(
        title=f"{_stamp(loaded)}Synthetic {loaded.schema.title or loaded.config.cohort}",
        table=table,
        verdict=judged.verdict,
        results=judged.results,
        record=judged.record,
        real=marginals(loaded.schema, cohort.train.frame, cohort.train.unit_weights()),
        ingest=dict(cohort.counts),
        thresholds=policy.thresholds(),
        margins=policy.margins(),
        basis=judged.basis,
        sheets=real_sheets(cohort, table),
    )
    write_report(folder.internal / "report.html", content, edition="internal")
    write_report(folder.public / "report.html", content, edition="public")
