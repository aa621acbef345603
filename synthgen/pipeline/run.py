"""The line from real records to a released cohort: each stage once, in this order.

    ingest -> deidentify -> encode -> fit -> sample -> evaluate -> release

The ledger comes first: a plan is made without a record, its event is reserved, and only then is the
table opened. What is decided, drawn or judged is decided, drawn or judged in the stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthgen.config.run_config import ResolvedConfig, formats_of, holdout_of, load_config, tables_of
from synthgen.data.tables import Cohort, SyntheticTable
from synthgen.encode.table import coarse_bins
from synthgen.errors import ConfigError
from synthgen.files import json_file
from synthgen.files.safe_files import write_bytes
from synthgen.generators.base import Progress
from synthgen.generators.marginal.missing_counts import empty_cell_warning
from synthgen.generators.saved_model import load_model
from synthgen.ingest.fingerprint import source_digest
from synthgen.ingest.private_domains import provisional
from synthgen.pipeline.audit import canaries_of
from synthgen.pipeline.fit import (
    Stopwatch,
    forget,
    ledger_unit,
    make_plan,
    open_ledger,
    quiet,
    read_cohort,
    spend,
)
from synthgen.pipeline.prechecks import outlook, over_the_cap, require_signable
from synthgen.pipeline.rehearsal import NOTICE, rehearsing, require_simulated
from synthgen.pipeline.run_folder import RunFolder
from synthgen.privacy.ledger.location import absolute, without_password
from synthgen.privacy.ledger.reservation import Reservation
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.release.export.dicom import write_dicom
from synthgen.release.gate.policy import load_policy
from synthgen.release.sample_size import few_patients, loose_delta, typical_noise
from synthgen.sampling.draw import draw
from synthgen.sampling.image_files import write_cohort

SYNTHETIC = "synthetic"
ALREADY = "This was done before: nothing is drawn, and nothing is spent again."


def run(
    loaded: ResolvedConfig,
    output: Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    anyway: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Run the whole line into a folder. A finished run is not run again.

    Args:
        loaded: the config.
        output: the run's folder.
        overrides: how ``loaded`` was overridden, for later verbs.
        resume: go on with a partial run, or with choices that changed after the fit.
        anyway: go on, although the release is known to be unsignable; recorded.
        progress: called with what is being done and the part done, from 0 to 1.

    Returns:
        The verdict as JSON values, see the command line's contract.

    Raises:
        SynthgenError: see the stages; a plan over the cap is refused before any record is read.
    """
    from synthgen.pipeline import evaluate as judge

    folder = _folder(loaded, output, overrides, resume, anyway=anyway, progress=progress)
    loaded = rehearsing(loaded, folder)
    if (finished := folder.done("finished")) is not None:
        _require_same_data(folder, loaded)
        progress(ALREADY, -1.0)
        return finished
    clock = Stopwatch()
    folder.clean()
    cohort = _fit(loaded, folder, clock, progress, anyway=anyway)
    loaded = _with_paid(loaded, folder)
    with clock("sample"):
        table = _sample(loaded, folder, progress)
    with clock("evaluate"):
        if folder.done("evaluate") is None:  # a run that was killed later does not look at the holdout again
            cohort = cohort or read_cohort(loaded)
            judge.evaluate_run(loaded, folder, plan_of(loaded, folder), cohort, table, progress)
            folder.mark("evaluate")
        judged = judge.stored(folder)
    with clock("release"):
        progress("release", 0.0)
        passed = judged.verdict.verdict == "release" and not loaded.config.rehearsal
        place = folder.public / "bundle"
        bundle = str(judge.release(loaded, folder, judged, table, place)) if passed else None
    seconds = {**(folder.done("fit") or {}).get("seconds", {}), **clock.seconds}
    outcome = {**judge.outcome(loaded, judged), "run": str(folder.path), "bundle": bundle, "seconds": seconds}
    folder.mark("finished", **outcome)
    progress("done", 1.0)
    return outcome


def fit(
    loaded: ResolvedConfig,
    output: Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    anyway: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Fit and save the model only; `run` on the same folder goes on from there."""
    folder = _folder(loaded, output, overrides, resume, anyway=anyway, progress=progress, goal="fit")
    loaded = rehearsing(loaded, folder)
    clock = Stopwatch()
    if folder.done("fit") is not None:
        progress(ALREADY, -1.0)
    _fit(loaded, folder, clock, progress, anyway=anyway)
    plan = folder.done("fit") or {}
    budget = loaded.config.budget
    return {
        "run": str(folder.path),
        "model": str(folder.model),
        "generator": loaded.generator.name,
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "unit": loaded.schema.unit.level,
        "seconds": plan.get("seconds", {}),
    }


def _folder(
    loaded: ResolvedConfig,
    output: Path,
    overrides: Sequence[str],
    resume: bool,
    *,
    anyway: bool,
    progress: Progress,
    goal: str = "finished",
) -> RunFolder:
    """Make the run's folder, or go on with it. What is known to be in vain stops here, before any spend."""
    load_policy(loaded.policy)  # one that cannot be read must not cost budget
    if loaded.config.rehearsal:
        require_simulated(loaded)
    known = _precheck(loaded, output, anyway=anyway, progress=progress)
    source = {
        "config": str(loaded.path),
        "overrides": list(overrides),
        "ledger_is_named": loaded.ledger_is_named,
    }
    folder = RunFolder.create(
        output, digest=loaded.digest, source=source, resume=resume, goal=goal, choices=loaded.choices
    )
    folder.keep_sources(loaded.files)
    if folder.anew:
        forget(rehearsing(loaded, folder), folder.answers)
    if known:
        folder.note("anyway", known)
    return folder


def _precheck(loaded: ResolvedConfig, output: Path, *, anyway: bool, progress: Progress) -> list[str]:
    """Return what stands against a run that goes on anyway; refuse one that does not.

    A fit that is paid for is not asked again: what follows it costs nothing.
    """
    if RunFolder.started(output):
        return []
    plan = make_plan(loaded, patients=1000)
    seen = outlook(loaded, plan, output=output)
    if not anyway:
        require_signable(loaded, seen)
    for notice in seen.notices:
        progress(notice, -1.0)
    return [one.because for one in seen.hindrances]


def _fit(
    loaded: ResolvedConfig, folder: RunFolder, clock: Stopwatch, progress: Progress, *, anyway: bool
) -> Cohort | None:
    """Fit and save, once. A crash keeps reservation and stored answers; drawing anew is charged anew."""
    from synthgen.privacy.accountant import to_json

    if folder.done("fit") is not None:
        _require_same_data(folder, loaded)
        return None
    try:
        _, plan, cohort = spend(
            loaded,
            clock,
            run=loaded.digest[:16],
            keep=folder.model,
            answers=folder.answers,
            anyway=anyway or loaded.config.rehearsal,
            progress=progress,
        )
    except Exception:
        folder.discard()  # a refused try leaves nothing behind
        raise
    folder.write("ingest.json", dict(cohort.counts))
    folder.write("data.json", {"sha256": cohort.digest})
    counted = cohort.n_units if plan.patients_counted else None
    shown = {"patients": plan.patients, "counted": counted, "event": to_json(plan.event)}
    folder.mark("fit", plan=shown, seconds=dict(clock.seconds))
    return cohort


def _sample(loaded: ResolvedConfig, folder: RunFolder, progress: Progress) -> SyntheticTable:
    """Draw the release's records; the same seed gives the same ones, so this is done again on resume."""
    progress("sample", 0.0)
    model, schema, _ = load_model(folder.model)
    noted = folder.done("fit") or {}
    n_records = loaded.config.sample.records
    n_records = int(noted["plan"]["patients"]) if n_records is None else n_records
    table = draw(model, schema, n_records, seed=loaded.config.seed, progress=progress)
    table = table.written_with(loaded.config.release.csv_formulas)
    if folder.done("sample") is None:
        if loaded.config.rehearsal:
            write_bytes(folder.public / "REHEARSAL.txt", NOTICE.encode(), private=False)
        write_cohort(table, folder.public, SYNTHETIC, tables_of(loaded.config))
        if "dicom" in formats_of(loaded.config):
            write_dicom(table, folder.public / "dicom", model=source_digest((folder.model,)), again=True)
        folder.mark("sample", records=n_records)
    return table


def plan_of(loaded: ResolvedConfig, folder: RunFolder) -> PrivacyPlan:
    """Return the plan that a run's fit has spent."""
    return make_plan(loaded, patients=(folder.done("fit") or {})["plan"]["counted"])


def evaluate(run_path: Path, *, ledger: str | None = None, progress: Progress = quiet) -> dict[str, Any]:
    """Judge an existing run once more: another look at its holdout, entered in the ledger.

    Args:
        run_path: the run's folder.
        ledger: URL that the operator names; needed for a run that he did not make here (see `reload`).
        progress: called with what is being done and the part done, from 0 to 1.
    """
    from synthgen.pipeline import evaluate as judge

    loaded, folder = reload(run_path, ledger=ledger)
    judge.require_paid(loaded, folder)
    clock = Stopwatch()
    with clock("ingest"):
        _require_same_data(folder, loaded)
        cohort = read_cohort(loaded)
    table = _sample(loaded, folder, progress)
    with clock("evaluate"):
        judged = judge.evaluate_run(loaded, folder, plan_of(loaded, folder), cohort, table, progress)
        folder.mark("evaluate")
    return {
        **judge.outcome(loaded, judged),
        "run": str(folder.path),
        "bundle": None,
        "seconds": clock.seconds,
    }


def evaluate_public(
    run_path: Path, epsilon: float, *, ledger: str | None = None, progress: Progress = quiet
) -> dict[str, Any]:
    """Spend ``epsilon`` on a figure of held-out patients that may be published.

    Raises:
        BudgetExceeded: the cap would be exceeded; no record was read.
        ConfigError: the run holds nothing out.
    """
    from dp_accounting import dp_event

    from synthgen.pipeline import evaluate as judge
    from synthgen.pipeline.public_metrics import fidelity
    from synthgen.privacy.accountant import calibrate_rho

    loaded, folder = reload(run_path, ledger=ledger)
    judge.require_paid(loaded, folder)
    share = holdout_of(loaded.config)
    if not share:
        raise ConfigError("Expected a run that holds patients out.", where=str(loaded.path))
    plan, delta = plan_of(loaded, folder), loaded.config.budget.delta
    rho = calibrate_rho(epsilon, delta)
    book, _ = open_ledger(loaded)
    event = dp_event.ZCDpEvent(rho)
    run_id = loaded.digest[:16]
    purpose, unit = "evaluate --public", ledger_unit(loaded.schema)
    held = Reservation.make(book, loaded.config.cohort, event, purpose=purpose, run=run_id, unit=unit)
    with held.unread():
        _require_same_data(folder, loaded)
        cohort = read_cohort(loaded)
    table = _sample(loaded, folder, progress)
    progress("evaluate", 0.0)
    patients = max(1, round(plan.patients / (1 - share) * share / 2))
    held.begin()
    noise = held.noise(NoiseSource.system())
    figures = fidelity(cohort.holdout, table, rho=rho, patients=patients, noise=noise)
    held.commit({"figure": "one-way total variation"})
    outcome = {"fidelity": figures, "epsilon": epsilon, "delta": delta, "unit": plan.unit}
    json_file.write(folder.public / f"evaluation_public_{held.number}.json", outcome, private=False)
    return {**outcome, "run": str(folder.path)}


def release(
    run_path: Path, output: Path, *, override: str | None = None, ledger: str | None = None
) -> dict[str, Any]:
    """Write the bundle of an evaluated run. Reads no real record."""
    from synthgen.pipeline import evaluate as judge

    loaded, folder = reload(run_path, ledger=ledger)
    judged = judge.stored(folder)
    if folder.done("evaluate") is None:
        raise ConfigError(
            "Expected a run whose evaluation is of its latest choices, found one with other choices since.",
            where=str(folder.path),
            next_step="Run `synthgen evaluate` again; it costs no budget.",
        )
    table = _sample(loaded, folder, quiet)
    bundle = judge.release(loaded, folder, judged, table, output, override=override)
    return {
        **judge.outcome(loaded, judged),
        "run": str(folder.path),
        "bundle": str(bundle),
        "override": override,
    }


def _require_same_data(folder: RunFolder, loaded: ResolvedConfig) -> None:
    known = folder.read("data.json").get("sha256")
    if all(path.exists() for path in loaded.sources) and source_digest(loaded.sources) != known:
        raise ConfigError(
            "Expected the data that this run was made from, found changed data.",
            where=str(loaded.table),
            next_step="Choose another --output; a new fit is a new spend.",
        )


def reload(run_path: Path, *, ledger: str | None = None) -> tuple[ResolvedConfig, RunFolder]:
    """Return the config and folder of an existing run, with what was chosen anew since its fit.

    The config of a run that this user made here (`synthgen.pipeline.own_runs`) is read from its own file,
    where choices may have been changed since. Of any other run the copy in its folder is read, nothing of it
    is chosen anew, and its ledger is not opened: the operator names the ledger.

    Args:
        run_path: the run's folder.
        ledger: URL that the operator names; a relative file starts from the current folder.

    Raises:
        ConfigError: there is no run, its config or schema has changed since in what fixes the fit, or it is
            not this user's own and no ledger is named.
    """
    folder = RunFolder.open(run_path)
    state = folder.state
    source, own = folder.source, folder.is_own
    if not own and ledger is None:
        raise ConfigError(
            "Expected a run that you made on this machine, found one that somebody else made, or that was "
            "changed: the config and ledger that it names are not taken.",
            where=str(folder.path),
            next_step="Name your organisation's ledger, in which its fit was paid for: --ledger URL. Or go "
            f"on from its config, if you have that: synthgen run CONFIG --output {folder.path}",
        )
    path = Path(source["config"])
    moved = not own or not path.is_file()
    loaded = load_config(
        path,
        overrides=source["overrides"],
        copies=folder.sources if moved else None,
        ledger=None if ledger is None else absolute(without_password(ledger), Path.cwd()),
        ledger_is_named=own and source.get("ledger_is_named") is True,
    )
    if loaded.digest != state["digest"]:
        raise ConfigError(
            "Expected the config of this run, found that it or its schema has changed in what fixes the fit.",
            where=str(loaded.path),
            next_step="Restore it, or run into another folder.",
        )
    if loaded.config.rehearsal and not own:
        raise ConfigError(
            "Expected a run on patients, got a rehearsal that somebody else made.",
            where=str(folder.path),
            next_step="Rehearse with your own simulated table.",
        )
    if loaded.choices != state["choices"]:
        if moved:
            raise ConfigError(
                "Expected the config that this run was made with, found another copy in its folder.",
                where=str(folder.sources),
                next_step="Go on from its config, if you have that: synthgen run CONFIG --output RUN.",
            )
        folder.choose(loaded.choices)
        folder.keep_sources(loaded.files)
    return rehearsing(_with_paid(loaded, folder), folder), folder


def _with_paid(loaded: ResolvedConfig, folder: RunFolder) -> ResolvedConfig:
    """Return the config with the domains that the run's fit has paid for: they are public now."""
    if loaded.schema.resolved or folder.done("fit") is None:
        return loaded
    return replace(loaded, schema=loaded.schema.with_domains_of(load_model(folder.model)[1]))


def _coarse_bins(loaded: ResolvedConfig, plan: PrivacyPlan) -> list[str]:
    """Return a warning for each number whose bins are too wide for its declared precision."""
    cells = plan.parameters.get("marginal", plan.parameters).get("fine_cells")
    if cells is None:
        return []
    paid = [field.name for field in loaded.schema.fields if field.unpaid]
    found = coarse_bins(loaded.schema, fine_cells=int(cells), leave_out=paid)
    return [f"COARSE BINS: column {name!r}: {text}. Declare {hint}." for name, text, hint in found]


def plan_summary(loaded: ResolvedConfig) -> dict[str, Any]:
    """Return what a fit will fix, for the ``plan`` verb. Reads no record."""
    plan = make_plan(loaded)
    n_paid = len(plan.parameters.get("preprocessing", {}).get("columns", ()))
    noise = typical_noise(stage.noise for stage in plan.stages[n_paid:])
    budget = loaded.config.budget
    n_records = loaded.config.sample.records
    seen = outlook(loaded, plan)
    over = over_the_cap(loaded, plan)
    against = [*seen.hindrances, *([over] if over else [])]
    return {
        "cannot_be_signed": [one.to_json() for one in against],
        "cohort": loaded.config.cohort,
        "generator": plan.generator,
        "unit": plan.unit,
        "max_records": plan.max_records,
        "patients": budget.patients,
        "training_patients": plan.patients,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "adjacency": plan.adjacency,
        "stages": [
            {"name": s.name, "epsilon": s.epsilon, "share": s.share, "noise": s.noise, "detail": s.detail}
            for s in plan.stages
        ],
        "noise": noise,
        "steps": plan.parameters.get("rounds"),
        "parameters": dict(plan.parameters),
        "records": plan.patients if n_records is None else n_records,
        "canaries": canaries_of(loaded, plan),
        "expected_error": {
            str(size): None if noise is None else round(1.96 * noise / size, 4) for size in (100, 1000)
        },
        "warnings": few_patients(plan.patients, noise, epsilon=plan.epsilon, delta=plan.delta)
        + loose_delta(plan.patients, plan.delta)
        + empty_cell_warning(provisional(loaded.schema), plan.parameters)
        + _coarse_bins(loaded, plan),
        "notices": list(seen.notices),
        "chance_of_a_perfect_generator": None if seen.chance is None else round(seen.chance, 2),
        "gates": [gate.to_json() for gate in seen.gates],
        "ledger": loaded.ledger,
        "memory_gib": None if seen.memory is None else round(seen.memory, 1),
        "seconds": round(8 + (0.9 + 2e-6 * plan.patients) * len(loaded.schema.columns), 0),
    }
