"""Judge a synthetic table on the four heads, decide by the policy, write the evidence.

The gate decides and `synthgen.release` writes; this file brings them the run's parts, the ledger's
composition, and nothing that may not leave.
"""

from __future__ import annotations

import datetime
import getpass
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting.dp_event import ComposedDpEvent, DpEvent

from synthgen.config import Loaded, groups_of, target_of
from synthgen.errors import ConfigError, GateRefused
from synthgen.evaluate._base import Claim, Inputs, MetricResult
from synthgen.evaluate._run import evaluate_all
from synthgen.evaluate._store import results_to_json
from synthgen.privacy.accountant import epsilon_of, mu_of, to_json
from synthgen.privacy.ledger import Ledger
from synthgen.privacy.plan import PrivacyPlan
from synthgen.records import Cohort, RealTable, SyntheticTable
from synthgen.release.gate import Policy, Verdict, decide, load_policy
from synthgen.release.record import (
    Composition,
    Deployment,
    Judgement,
    Override,
    privacy_record,
    replace_one_epsilon,
)
from synthgen.runs import RunFolder

Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class Judged:
    """A verdict with what it rests on. Sensitive, but for the record.

    Attributes:
        verdict: the gate's.
        results: of all metrics.
        record: the privacy record without an override.
        looks: how often the holdout has been looked at.
    """

    verdict: Verdict
    results: tuple[MetricResult, ...]
    record: Mapping[str, Any]
    looks: int


def evaluate_run(
    loaded: Loaded, folder: RunFolder, plan: PrivacyPlan, cohort: Cohort, table: SyntheticTable, tell: Tell
) -> Judged:
    """Look at the holdout, decide, and write both editions of the report.

    Each look is an entry of the ledger, written before the holdout is used.
    """
    ledger = Ledger.connect(loaded.config.budget.ledger, base=loaded.base)
    policy = load_policy(loaded.policy)
    results: tuple[MetricResult, ...] = ()
    if loaded.config.evaluate is not None:
        ledger.note(loaded.config.cohort, kind="look", content={"run": loaded.digest[:16]})
    looks = ledger.looks(loaded.config.cohort)
    spent = ledger.spent(loaded.config.cohort)
    mu = mu_of([spent.event], spent.delta)
    if loaded.config.evaluate is not None:
        claim = Claim(spent.epsilon, spent.delta, mu, to_json(spent.event), looks)
        inputs = Inputs(
            schema=loaded.schema,
            train=cohort.train,
            holdout=cohort.holdout,
            reference=cohort.reference,
            synthetic=table,
            target=target_of(loaded.config, loaded.schema),
            groups=groups_of(loaded.config, loaded.schema),
            claim=claim,
        )
        results = tuple(
            evaluate_all(
                inputs, seed=loaded.config.seed, progress=lambda name, done: tell(f"evaluate: {name}", done)
            )
        )
    verdict = decide(results, policy)
    record = _record(loaded, plan, ledger, table, verdict, policy, looks=looks, mu=mu)
    judged = Judged(verdict, results, record, looks)
    folder.write("evaluation.json", {"verdict": verdict.to_json(), "results": results_to_json(results)})
    folder.write("record.json", record)
    _reports(loaded, folder, judged, policy, cohort, table)
    return judged


def stored(folder: RunFolder) -> Judged:
    """Return what the last evaluation of a run found.

    Raises:
        ConfigError: the run has not been evaluated.
    """
    from synthgen.evaluate._store import results_from_json
    from synthgen.release.gate import verdict_from_json

    try:
        content = json.loads((folder.internal / "evaluation.json").read_text(encoding="utf-8"))
        record = json.loads((folder.internal / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            "Expected an evaluated run, found none.",
            where=str(folder.path),
            next_step="Run `synthgen evaluate` first.",
        ) from None
    results = tuple(results_from_json(content["results"]))
    return Judged(verdict_from_json(content["verdict"]), results, record, record["evaluation"]["looks"])


def outcome(loaded: Loaded, judged: Judged) -> dict[str, Any]:
    """Return the verdict as the command line prints it."""
    verdict = judged.verdict.to_json()
    return {
        "verdict": verdict["verdict"],
        "reasons": verdict["reasons"],
        "epsilon": loaded.config.budget.epsilon,
        "delta": loaded.config.budget.delta,
        "unit": loaded.schema.unit.level,
        "heads": verdict["heads"],
    }


def release(
    loaded: Loaded, judged: Judged, table: SyntheticTable, output: Path, *, override: str | None = None
) -> Path:
    """Write the bundle, if the gate allows it or a person answers for it.

    Args:
        loaded: the run's config.
        judged: the gate's verdict and the record.
        table: the synthetic records.
        output: the bundle's folder.
        override: reason for releasing against the verdict; recorded with the user's name.

    Raises:
        GateRefused: the verdict is not release and there is no override.
    """
    from synthgen.release.bundle import write_bundle
    from synthgen.release.card import data_card
    from synthgen.release.record import public_schema
    from synthgen.release.report import PublicContent, render_public

    record: Mapping[str, Any] = judged.record
    if judged.verdict.verdict != "release":
        if not override or not override.strip():
            raise GateRefused(
                f"Expected the verdict release, got {judged.verdict.verdict}.",
                next_step="Read the reasons in internal/report.html, or give --override with a reason.",
            )
        record = _overridden(record, override.strip())
    names = {f"{loaded.config.cohort}.{kind}": table for kind in loaded.config.release.formats}
    schema = public_schema(loaded.schema)
    return write_bundle(
        output,
        data_files=names,
        schema=loaded.schema,
        record=record,
        card=data_card(record, schema),
        report_html=render_public(PublicContent(record=record, table=table)),
    )


def _overridden(record: Mapping[str, Any], reason: str) -> dict[str, Any]:
    now = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")
    made = Override(reason=reason, who=getpass.getuser(), when=now)
    verdict = {**record["verdict"], "override": {"reason": made.reason, "who": made.who, "when": made.when}}
    return {**record, "verdict": verdict}


def _record(
    loaded: Loaded,
    plan: PrivacyPlan,
    ledger: Ledger,
    table: SyntheticTable,
    verdict: Verdict,
    policy: Policy,
    *,
    looks: int,
    mu: float,
) -> dict[str, Any]:
    budget = loaded.config.budget
    spent = ledger.spent(loaded.config.cohort)
    counted = replace_one_epsilon(lambda delta: epsilon_of([plan.event], delta), plan.delta)
    composition = Composition(
        cohort=loaded.config.cohort,
        patients=budget.patients or round(plan.patients / (1 - _holdout(loaded))),
        epsilon=spent.epsilon,
        delta=spent.delta,
        cap=spent.cap,
        events=tuple(to_json(event) for event in _parts(spent.event)),
        head=ledger.head(),
        mu=mu,
        replace_one=counted if plan.patients_counted else None,
    )
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    title = loaded.schema.title or loaded.config.cohort
    return privacy_record(
        deployment=Deployment(name=f"Synthetic {title}", publication_date=today),
        plan=plan,
        event=to_json(plan.event),
        composition=composition,
        judgement=Judgement(
            verdict=verdict.verdict, policy=policy.name, looks=looks, residual_risk=policy.residual_risk
        ),
        schema=loaded.schema,
        files={f"{loaded.config.cohort}.{kind}": len(table) for kind in loaded.config.release.formats},
    )


def _parts(event: DpEvent) -> list[DpEvent]:
    """Return the ledger's entries, which it composes into one event."""
    return list(event.events) if isinstance(event, ComposedDpEvent) else [event]


def _holdout(loaded: Loaded) -> float:
    return loaded.config.evaluate.holdout if loaded.config.evaluate else 0.0


def _reports(
    loaded: Loaded, folder: RunFolder, judged: Judged, policy: Policy, cohort: Cohort, table: SyntheticTable
) -> None:
    from synthgen.release.report import ReportContent, marginals, write_report

    content = ReportContent(
        title=f"Synthetic {loaded.schema.title or loaded.config.cohort}",
        table=table,
        verdict=judged.verdict,
        results=judged.results,
        record=judged.record,
        real=marginals(loaded.schema, cohort.train.frame, cohort.train.unit_weights()),
        ingest=dict(cohort.counts),
        thresholds=policy.thresholds(),
        margins=policy.margins(),
    )
    write_report(folder.internal / "report.html", content, edition="internal")
    write_report(folder.public / "report.html", content, edition="public")


def evaluate_files(
    parts: Mapping[str, RealTable],
    table: SyntheticTable,
    *,
    policy: str,
    claim: tuple[float, float] | None,
    seed: int,
    tell: Tell,
    report: Path | None = None,
) -> dict[str, Any]:
    """Judge a table of any generator.

    Args:
        parts: ``train`` and ``holdout``, and ``reference`` if the attacker's records are given; else half
            of the holdout's patients are the reference, by a draw that only the seed fixes.
        table: the synthetic records.
        policy: name or path of a policy.
        claim: epsilon and delta that the generator's maker claims, or None.
        seed: of all draws.
        tell: told what is being done.
        report: where the internal report goes, or None.

    Returns:
        The verdict as JSON values.
    """
    from synthgen.release.report import ReportContent, marginals, write_report

    train, holdout, reference = parts["train"], parts["holdout"], parts.get("reference")
    if reference is None:
        holdout, reference = _halves(holdout, seed)
    schema = table.schema
    labels = schema.with_role("label")
    groups = tuple(name for name in schema.with_role("protected") if schema.column(name).kind == "category")
    target = next((name for name in labels if schema.column(name).kind == "category"), None)
    claimed = None if claim is None else Claim(claim[0], claim[1])
    inputs = Inputs(schema, train, holdout, reference, table, target, groups, claimed)
    rules = load_policy(policy)
    results = evaluate_all(inputs, seed=seed, progress=lambda name, done: tell(f"evaluate: {name}", done))
    verdict = decide(results, rules)
    if report is not None:
        content = ReportContent(
            title="Evaluation of a synthetic table",
            table=table,
            verdict=verdict,
            results=results,
            real=marginals(schema, train.frame, train.unit_weights()),
            thresholds=rules.thresholds(),
            margins=rules.margins(),
            claim=claim,
        )
        write_report(report, content, edition="internal")
    shown = verdict.to_json()
    return {
        **{key: shown[key] for key in ("verdict", "reasons", "heads")},
        "epsilon": claim[0] if claim else None,
        "delta": claim[1] if claim else None,
        "unit": schema.unit.level,
        "run": None,
        "bundle": None,
        "results": results_to_json(results),
    }


def _halves(table: RealTable, seed: int) -> tuple[RealTable, RealTable]:
    """Part a table in two by patient."""
    codes, n_units = table.unit_codes()
    side = np.random.default_rng([seed, 7]).permutation(n_units) % 2 == 0
    return table.select(side[codes]), table.select(~side[codes])
