"""The line from real records to a released cohort: each stage once, in this order.

    ingest -> deidentify -> encode -> fit -> sample -> evaluate -> release

The ledger comes first: a plan is made without a record, its event is reserved, and only then is the
table opened. What is decided, drawn or judged is decided, drawn or judged in the stages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.config import Loaded, load_config
from synthgen.deidentify import table as deidentify
from synthgen.errors import ConfigError, DataError
from synthgen.ingest import table as ingest
from synthgen.models._base import TableModel
from synthgen.models._model import load_model, save_model
from synthgen.privacy.ledger import Ledger
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.parts import keep_records, part_of
from synthgen.privacy.plan import PrivacyPlan
from synthgen.records import Cohort, SyntheticTable
from synthgen.runs import RunFolder, file_digest, write_json
from synthgen.sample import draw, write_table

Tell = Callable[[str, float], None]
SYNTHETIC = "synthetic"


def _quiet(what: str, done: float) -> None:
    """Report nothing."""


@dataclass
class Stopwatch:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 2)


def run(
    loaded: Loaded, output: Path, *, overrides: Sequence[str] = (), resume: bool = False, tell: Tell = _quiet
) -> dict[str, Any]:
    """Run the whole line into a folder. A finished run is not run again.

    Args:
        loaded: the config.
        output: the run's folder.
        overrides: how ``loaded`` was overridden, for later verbs.
        resume: go on with a partial run.
        tell: told what is being done and the part done.

    Returns:
        The verdict as JSON values, see the command line's contract.

    Raises:
        SynthgenError: see the stages; a plan over the cap is refused before any record is read.
    """
    from synthgen import judge

    folder = _folder(loaded, output, overrides, resume)
    finished = folder.done("finished")
    if finished is not None:
        _require_same_data(folder, loaded)
        return finished
    clock = Stopwatch()
    cohort = _fit(loaded, folder, clock, tell) or read_cohort(loaded)
    with clock("sample"):
        table = _sample(loaded, folder, tell)
    with clock("evaluate"):
        judged = judge.evaluate_run(loaded, folder, plan_of(loaded, folder), cohort, table, tell)
    with clock("release"):
        tell("release", 0.0)
        passed = judged.verdict.verdict == "release"
        bundle = str(judge.release(loaded, judged, table, folder.public / "bundle")) if passed else None
    seconds = {**(folder.done("fit") or {}).get("seconds", {}), **clock.seconds}
    outcome = {**judge.outcome(loaded, judged), "run": str(folder.path), "bundle": bundle, "seconds": seconds}
    folder.mark("finished", **outcome)
    tell("done", 1.0)
    return outcome


def fit(
    loaded: Loaded, output: Path, *, overrides: Sequence[str] = (), resume: bool = False, tell: Tell = _quiet
) -> dict[str, Any]:
    """Fit and save the model only; `run` on the same folder goes on from there."""
    folder = _folder(loaded, output, overrides, resume or (output / "internal" / "state.json").exists())
    clock = Stopwatch()
    _fit(loaded, folder, clock, tell)
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


def make_plan(loaded: Loaded, *, patients: int | None = None) -> PrivacyPlan:
    """Return the plan of a config: reads no record.

    Args:
        loaded: the config.
        patients: patients of the cohort, where the config does not declare them.

    Raises:
        ConfigError: the number of patients is neither declared nor given.
    """
    budget = loaded.config.budget
    n_patients = budget.patients or patients
    if n_patients is None:
        raise ConfigError(
            "budget.patients: expected the public number of patients, found none.",
            where=str(loaded.path),
            next_step="Declare it; a plan reads no record.",
        )
    deidentify.refuse_identifiers(loaded.schema, where=loaded.config.data.table.schema_path)
    n_train = max(1, round(n_patients * (1.0 - _holdout(loaded))))
    try:
        plan: PrivacyPlan = loaded.generator.plan(
            loaded.schema, epsilon=budget.epsilon, delta=budget.delta, patients=n_train
        )
    except ValueError as error:
        raise ConfigError(f"budget: {error}", where=str(loaded.path)) from error
    return replace(plan, patients_counted=budget.patients is None)


def open_ledger(loaded: Loaded, warn: Callable[[str], None] = lambda text: None) -> Ledger:
    """Open the config's ledger; make it, and open the cohort, where they are not there, and say so."""
    budget = loaded.config.budget
    ledger = Ledger.connect(budget.ledger, base=loaded.base)
    if ledger.created:
        warn("A new ledger was made.")
    if loaded.config.cohort not in ledger.cohorts():
        ledger.open_cohort(loaded.config.cohort, epsilon=budget.epsilon, delta=budget.delta)
        cap = f"epsilon {budget.epsilon:g} at delta {budget.delta:g}"
        warn(f"Cohort {loaded.config.cohort!r} was opened with a cap of {cap}.")
    return ledger


def read_cohort(loaded: Loaded) -> Cohort:
    """Read the table, strip it, and part its patients. Only a holder of a reservation calls this."""
    source = loaded.config.data.table
    digest = _data_digest(loaded)
    raw = ingest.read_raw(
        loaded.table, delimiter=source.delimiter, encoding=source.encoding, decimal=source.decimal
    )
    stripped = deidentify.strip(raw, loaded.schema, where=str(loaded.table))
    table, report = ingest.canonical(
        stripped.frame,
        stripped.units,
        loaded.schema,
        decimal=source.decimal,
        date_format=source.date_format,
        where=str(loaded.table),
    )
    key = Ledger.connect(loaded.config.budget.ledger, base=loaded.base).cohort(loaded.config.cohort).key
    table = table.select(keep_records(table.units, key=key, max_records=loaded.schema.unit.max_records))
    held = _holdout(loaded)
    shares = {"train": 1.0 - held, "reference": held / 2, "holdout": held / 2}
    parts = part_of(table.units, key=key, shares={name: share for name, share in shares.items() if share > 0})
    pieces = {name: table.select(parts == name) for name in shares}
    return Cohort(**pieces, counts=report.to_json(), n_units=report.units, digest=digest)


def _holdout(loaded: Loaded) -> float:
    return loaded.config.evaluate.holdout if loaded.config.evaluate else 0.0


def _folder(loaded: Loaded, output: Path, overrides: Sequence[str], resume: bool) -> RunFolder:
    source = {"config": str(loaded.path), "overrides": list(overrides)}
    return RunFolder.create(output, digest=loaded.digest, source=source, resume=resume)


def _fit(loaded: Loaded, folder: RunFolder, clock: Stopwatch, tell: Tell) -> Cohort | None:
    """Fit and save, once. A crash keeps the reservation; drawing anew is charged anew."""
    from synthgen.privacy.accountant import to_json

    if folder.done("fit") is not None:
        _require_same_data(folder, loaded)
        return None
    model, plan, cohort = spend(loaded, clock, run=loaded.digest[:16], keep=folder.model, tell=tell)
    del model
    folder.write("ingest.json", dict(cohort.counts))
    folder.write("data.json", {"sha256": cohort.digest})
    shown = {"patients": plan.patients, "counted": plan.patients_counted, "event": to_json(plan.event)}
    folder.mark("fit", plan=shown, seconds=dict(clock.seconds))
    return cohort


def spend(
    loaded: Loaded, clock: Stopwatch, *, run: str, keep: Path | None = None, tell: Tell = _quiet
) -> tuple[TableModel, PrivacyPlan, Cohort]:
    """Reserve the plan's event, then read, fit, save, and commit.

    Args:
        loaded: the config.
        clock: seconds by stage.
        run: name of the run, for the ledger.
        keep: folder to save the model into before the spend is committed.
        tell: told what is being done.

    Raises:
        BudgetExceeded: the cap would be exceeded; no record was read.
    """
    with clock("plan"):
        plan = make_plan(loaded, patients=1000)
        ledger = open_ledger(loaded, lambda text: tell(text, -1.0))
        purpose = f"fit {loaded.generator.name}"
        number = ledger.reserve(loaded.config.cohort, plan.event, purpose=purpose, run=run)
    with clock("ingest"):
        tell("ingest", 0.0)
        cohort = read_cohort(loaded)
        plan = _counted(loaded, plan, cohort.n_units) if plan.patients_counted else plan
        if not len(cohort.train):
            raise DataError("Expected patients to train on, got none.", where=str(loaded.table))
    with clock("fit"):
        model: TableModel = loaded.generator.fit(
            cohort.train,
            plan,
            noise=NoiseSource.system(),
            progress=lambda what, done: tell(f"fit: {what}", done),
        )
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            save_model(model, loaded.schema, loaded.generator.name, keep)
    ledger.commit(number, detail={"generator": loaded.generator.name})
    return model, plan, cohort


def _counted(loaded: Loaded, plan: PrivacyPlan, n_units: int) -> PrivacyPlan:
    """Plan again with counted patients; the event that was reserved must stay the same."""
    counted = make_plan(loaded, patients=n_units)
    if counted.event != plan.event:
        raise ConfigError(
            "budget.patients: this generator's spend depends on it; expected it declared, found none.",
            where=str(loaded.path),
            next_step="Declare the public number of patients.",
        )
    return counted


def _sample(loaded: Loaded, folder: RunFolder, tell: Tell) -> SyntheticTable:
    """Draw the release's records; the same seed gives the same ones, so this is done again on resume."""
    tell("sample", 0.0)
    model, schema, _ = load_model(folder.model)
    noted = folder.done("fit") or {}
    n_records = loaded.config.sample.records
    n_records = int(noted["plan"]["patients"]) if n_records is None else n_records
    table = draw(model, schema, n_records, seed=loaded.config.seed)
    if folder.done("sample") is None:
        for kind in loaded.config.release.formats:
            write_table(table, folder.public / f"{SYNTHETIC}.{kind}")
        folder.mark("sample", records=n_records)
    return table


def plan_of(loaded: Loaded, folder: RunFolder) -> PrivacyPlan:
    """Return the plan that a run's fit has spent."""
    noted = (folder.done("fit") or {})["plan"]
    if not noted["counted"]:
        return make_plan(loaded)
    return make_plan(loaded, patients=round(noted["patients"] / (1.0 - _holdout(loaded))))


def evaluate(run_path: Path, *, tell: Tell = _quiet) -> dict[str, Any]:
    """Judge an existing run once more: another look at its holdout, entered in the ledger."""
    from synthgen import judge

    loaded, folder = reload(run_path)
    clock = Stopwatch()
    with clock("ingest"):
        _require_same_data(folder, loaded)
        cohort = read_cohort(loaded)
    table = _sample(loaded, folder, tell)
    with clock("evaluate"):
        judged = judge.evaluate_run(loaded, folder, plan_of(loaded, folder), cohort, table, tell)
    return {
        **judge.outcome(loaded, judged),
        "run": str(folder.path),
        "bundle": None,
        "seconds": clock.seconds,
    }


def evaluate_public(run_path: Path, epsilon: float, *, tell: Tell = _quiet) -> dict[str, Any]:
    """Spend ``epsilon`` on a figure of held-out patients that may be published.

    Raises:
        BudgetExceeded: the cap would be exceeded; no record was read.
        ConfigError: the run holds nothing out.
    """
    from dp_accounting import dp_event

    from synthgen.privacy.accountant import calibrate_rho
    from synthgen.published import fidelity

    loaded, folder = reload(run_path)
    held = _holdout(loaded)
    if not held:
        raise ConfigError("Expected a run that holds patients out.", where=str(loaded.path))
    plan, delta = plan_of(loaded, folder), loaded.config.budget.delta
    rho = calibrate_rho(epsilon, delta)
    ledger = open_ledger(loaded)
    event = dp_event.ZCDpEvent(rho)
    number = ledger.reserve(loaded.config.cohort, event, purpose="evaluate --public", run=loaded.digest[:16])
    _require_same_data(folder, loaded)
    cohort = read_cohort(loaded)
    table = _sample(loaded, folder, tell)
    tell("evaluate", 0.0)
    patients = max(1, round(plan.patients / (1 - held) * held / 2))
    figures = fidelity(cohort.holdout, table, rho=rho, patients=patients, noise=NoiseSource.system())
    ledger.commit(number, detail={"figure": "one-way total variation"})
    outcome = {"fidelity": figures, "epsilon": epsilon, "delta": delta, "unit": plan.unit}
    write_json(folder.public / f"evaluation_public_{number}.json", outcome)
    return {**outcome, "run": str(folder.path)}


def release(run_path: Path, output: Path, *, override: str | None = None) -> dict[str, Any]:
    """Write the bundle of an evaluated run. Reads no real record."""
    from synthgen import judge

    loaded, folder = reload(run_path)
    judged = judge.stored(folder)
    table = _sample(loaded, folder, _quiet)
    bundle = judge.release(loaded, judged, table, output, override=override)
    return {
        **judge.outcome(loaded, judged),
        "run": str(folder.path),
        "bundle": str(bundle),
        "override": override,
    }


def _data_digest(loaded: Loaded) -> str:
    if not loaded.table.is_file():
        raise DataError(
            "Expected a table, found no file.", where=str(loaded.table), next_step="Check data.table.path."
        )
    return file_digest(loaded.table)


def _require_same_data(folder: RunFolder, loaded: Loaded) -> None:
    import json

    known = json.loads((folder.internal / "data.json").read_text(encoding="utf-8"))["sha256"]
    if loaded.table.is_file() and file_digest(loaded.table) != known:
        raise ConfigError(
            "Expected the data that this run was made from, found changed data.",
            where=str(loaded.table),
            next_step="Choose another --output; a new fit is a new spend.",
        )


def reload(run_path: Path) -> tuple[Loaded, RunFolder]:
    """Return the config and folder of an existing run.

    Raises:
        ConfigError: there is no run, or its config, schema or policy has changed since.
    """
    folder = RunFolder.open(run_path)
    state = folder.state
    loaded = load_config(state["source"]["config"], overrides=state["source"]["overrides"])
    if loaded.digest != state["digest"]:
        raise ConfigError(
            "Expected the config of this run, found that it, its schema or its policy has changed.",
            where=str(loaded.path),
            next_step="Restore it, or run into another folder.",
        )
    return loaded, folder


def plan_summary(loaded: Loaded) -> dict[str, Any]:
    """Return what a fit will fix, for the ``plan`` verb. Reads no record."""
    plan = make_plan(loaded)
    sigmas = [stage.noise for stage in plan.stages if stage.noise is not None]
    noise = float(np.median(sigmas)) if sigmas else None
    budget = loaded.config.budget
    n_records = loaded.config.sample.records
    return {
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
        "expected_error": {
            str(size): None if noise is None else round(1.96 * noise / size, 4) for size in (100, 1000)
        },
        "seconds": round(
            8 + 0.9 * len(loaded.schema.columns) + 2e-6 * plan.patients * len(loaded.schema.columns), 0
        ),
    }
