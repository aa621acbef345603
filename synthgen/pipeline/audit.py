"""Whether a run audits its plan, by public facts alone, and the audit.

The twin is fitted to simulated patients, so the audit costs no budget and its result may be published. It
is on where a fit of so few patients takes seconds, as the generator says; elsewhere a config asks for it
by ``evaluate: {canaries: N}``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from synthgen.config.run_config import ResolvedConfig, target_of
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.errors import SynthgenError
from synthgen.evaluation.audit.twin import CANARIES, TwinAudit, audit_twin
from synthgen.evaluation.audit.twin_inference import TwinInference, coverage_on_twins, why_not
from synthgen.generators.base import Progress, max_columns_for_audit
from synthgen.generators.longitudinal.model import for_schema
from synthgen.pipeline.run_folder import RunFolder
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.release.record.record import Audit

FILE, INFERENCE = "audit.json", "inference.json"
FITS, MOST_PATIENTS = 3, 100_000
"""Twins that are asked whether intervals hold, and patients beyond which these would take too long."""


def canaries_of(loaded: ResolvedConfig, plan: PrivacyPlan) -> int:
    """Return how many canaries the audit of a run's plan has; 0 if there is none. Reads no record."""
    asked = loaded.config.evaluate.canaries if loaded.config.evaluate else 0
    if asked is not None:
        return asked
    return CANARIES if len(loaded.schema.columns) <= max_columns_for_audit(loaded.generator, plan) else 0


def audit_of(loaded: ResolvedConfig, folder: RunFolder, plan: PrivacyPlan, progress: Progress) -> TwinAudit:
    """Audit a run's plan, once: who evaluates again cannot throw the coins until they fall well."""

    def make() -> dict[str, Any]:
        progress("audit: a twin of simulated patients", 0.0)
        return audit(loaded, plan).to_json()

    with folder.intact(FILE):
        return TwinAudit.from_json(_once(folder, FILE, make))


def inference_of(
    loaded: ResolvedConfig, folder: RunFolder, plan: PrivacyPlan, progress: Progress
) -> TwinInference:
    """Ask twins of a run's plan whether intervals hold a known truth, once, or say why not."""

    def make() -> dict[str, Any]:
        progress("inference: twins of simulated patients", 0.0)
        return inference(loaded, plan).to_json()

    with folder.intact(INFERENCE):
        return TwinInference.from_json(_once(folder, INFERENCE, make))


def _once(folder: RunFolder, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a run's folder keeps under a name; made and kept if it does not."""
    if not (folder.internal / name).exists():
        folder.write(name, make())
    return folder.read(name)


def inference(loaded: ResolvedConfig, plan: PrivacyPlan) -> TwinInference:
    """Return the coverage of intervals on twins, by public facts alone."""
    target = target_of(loaded.config, loaded.schema)
    quick = len(loaded.schema.columns) <= max_columns_for_audit(loaded.generator, plan)
    reason = why_not(loaded.schema, target)
    if not reason and not (quick and canaries_of(loaded, plan) and plan.patients <= MOST_PATIENTS):
        reason = "Twins of as many patients may take more than seconds here, or were not asked for."
    if reason or target is None:
        return TwinInference(reason=reason)

    def drawn(cohort: RealTable, n_records: int) -> SyntheticTable:
        model = loaded.generator.fit(cohort, plan, noise=NoiseSource.system())
        table: SyntheticTable = model.sample(n_records, rng=rng)
        return table

    rng = np.random.default_rng([loaded.config.seed, 1])
    try:
        return coverage_on_twins(drawn, loaded.schema, target, patients=plan.patients, fits=FITS, rng=rng)
    except SynthgenError as error:
        return TwinInference(reason=f"No twin could be fitted. {error.message}")


def told(audit: TwinAudit) -> Audit:
    """Return an audit as the privacy record holds it: nothing in it is counted on real patients."""
    found = audit.found
    if found is None:
        return Audit("not run", audit.reason)
    return Audit(found.verdict, audit.note, audit.crowd, audit.records, asdict(found))


def audit(loaded: ResolvedConfig, plan: PrivacyPlan) -> TwinAudit:
    """Audit a run's plan, or say why not. See `synthgen.evaluation.audit.twin.audit_twin` for the guarantee.

    Args:
        loaded: the run's config, with a schema that is complete.
        plan: the plan that was spent.
    """
    count = canaries_of(loaded, plan)
    if count == 0:
        return TwinAudit(None, reason=_why_not(loaded))
    try:
        return audit_twin(
            for_schema(loaded.generator, loaded.schema),
            plan,
            loaded.schema,
            n_canaries=count,
            rng=np.random.default_rng(loaded.config.seed),
            noise=NoiseSource.system(),
            coin=NoiseSource.system(),
        )
    except SynthgenError as error:  # hard rules that simulated patients do not meet, for one
        return TwinAudit(None, reason=f"No twin could be fitted. {error.message}")


def _why_not(loaded: ResolvedConfig) -> str:
    if loaded.config.evaluate is None or loaded.config.evaluate.canaries is not None:
        return "The config asks for no audit."
    asks = f"evaluate: {{canaries: {CANARIES}}} asks for it"
    return f"A twin fit of {loaded.generator.name!r} may take more than seconds here; {asks}."
