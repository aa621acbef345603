"""The one way to real records: a plan, a reservation in the ledger, then the table.

Nothing else opens a table to fit on. What is read here is held in a `Cohort`, whose parts are disjoint by
patient.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from synthgen.config.run_config import ResolvedConfig, holdout_of, own_ledger
from synthgen.data.tables import Cohort
from synthgen.deidentify import table as deidentify
from synthgen.errors import ConfigError, DataError, OperationError, SynthgenError
from synthgen.files.safe_files import finish_folder, temporary_folder
from synthgen.generators.base import Progress, TableModel
from synthgen.generators.device import device_of
from synthgen.generators.longitudinal.model import for_schema
from synthgen.generators.saved_model import load_model, save_model
from synthgen.ingest import image_cohort, private_domains
from synthgen.ingest.fingerprint import saved_digest, source_digest
from synthgen.ingest.tables import table as ingest
from synthgen.ingest.tables.file_form import written_as
from synthgen.ingest.tables.linked import kept_in_order
from synthgen.privacy.ledger.answer_journal import Journal
from synthgen.privacy.ledger.ledger import Ledger, LedgerUnit
from synthgen.privacy.ledger.reservation import Reservation
from synthgen.privacy.ledger.state import cap_of
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.privacy.splits import keep_records, part_of
from synthgen.schema.schema import Schema

BEFORE = "sqlite:///ledger.db"
"""Ledger of a config that named none, in version 0.1.0 as it was first tried."""
FEW = 4
"""Declared patients over those of the table, beyond which a fit stops: rounding up is no mistake, this is."""


def quiet(what: str, done: float) -> None:
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


def make_plan(loaded: ResolvedConfig, *, patients: int | None = None) -> PrivacyPlan:
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
    deidentify.refuse_identifiers(loaded.schema, where=loaded.config.data.source.schema_path)
    n_train = max(1, round(n_patients * (1.0 - holdout_of(loaded.config))))

    def make(schema: Schema, epsilon: float) -> PrivacyPlan:
        generator = for_schema(loaded.generator, schema)
        return generator.plan(schema, epsilon=epsilon, delta=budget.delta, patients=n_train)

    try:
        plan = private_domains.with_preprocessing(
            loaded.schema, make, share=budget.preprocessing, epsilon=budget.epsilon, delta=budget.delta
        )
    except ValueError as error:
        raise ConfigError(f"budget: {error}", where=str(loaded.path)) from error
    return replace(plan, patients_counted=budget.patients is None)


def open_ledger(
    loaded: ResolvedConfig, warn: Callable[[str], None] = lambda text: None
) -> tuple[Ledger, bool]:
    """Open the config's ledger; make it, and open the cohort, where they are not there, and say so.

    Returns:
        The ledger, and whether the cohort was opened now.

    Raises:
        ConfigError: no ledger is named, and one that earlier versions made has spends of this cohort.
    """
    budget = loaded.config.budget
    cap_of(loaded.config.cohort, budget.epsilon, budget.delta)  # a name that is refused makes no ledger
    require_named(loaded)
    ledger = loaded.open_ledger(create=True)
    if ledger.created:
        warn("A new ledger was made.")
    if ledger.migrated:
        warn(ledger.migrated)
    opened = loaded.config.cohort not in ledger.cohorts()
    if opened:
        ledger.open_cohort(loaded.config.cohort, epsilon=budget.epsilon, delta=budget.delta)
        cap = f"epsilon {budget.epsilon:g} at delta {budget.delta:g}"
        warn(f"Cohort {loaded.config.cohort!r} was opened with a cap of {cap}.")
    return ledger, opened


def require_named(loaded: ResolvedConfig) -> None:
    """Refuse a cohort's own ledger where its spends stand in ``ledger.db``, the earlier default.

    Raises:
        ConfigError: they do.
    """
    own = loaded.base / loaded.ledger.removeprefix("sqlite:///")
    before = loaded.base / "ledger.db"
    if loaded.ledger != own_ledger(loaded.config.cohort) or own.exists() or not before.is_file():
        return
    if loaded.config.cohort in Ledger.connect(BEFORE, base=loaded.base, create=False).cohorts():
        raise ConfigError(
            f"Expected budget.ledger to name the ledger that knows the cohort {loaded.config.cohort!r}, "
            "found ledger.db next to the config, and no ledger named.",
            where=str(loaded.path),
            next_step=f'Add `ledger: "{BEFORE}"` to budget, so that its spends count.',
        )


def forget(loaded: ResolvedConfig, answers: Path) -> None:
    """Give up what a killed run reserved and never drew, so that a corrected config can begin anew."""
    if not answers.exists():
        return
    journal = Journal(answers)
    journal.close()
    with suppress(SynthgenError):  # the ledger is another now, or refuses: the reservation stays
        ledger = loaded.open_ledger(create=False)
        for number in ledger.keyed(journal.id).values():
            if ledger.status(number) == "open":
                ledger.void(number, "config or schema were changed before any noise was drawn")
    answers.unlink()


def spend(
    loaded: ResolvedConfig,
    clock: Stopwatch,
    *,
    run: str,
    keep: Path | None = None,
    answers: Path | None = None,
    anyway: bool = False,
    progress: Progress = quiet,
) -> tuple[TableModel, PrivacyPlan, Cohort]:
    """Reserve the plan's event, then read, fit, save, and commit.

    Args:
        loaded: the config.
        clock: seconds by stage.
        run: name of the run, for the ledger.
        keep: folder to save the model into before the spend is committed. A model in it that the ledger
            knows as the one that this spend paid for is used instead of a new fit.
        answers: file that keeps the noised answers, so that a killed fit goes on where it was.
        anyway: go on, although far more patients are declared than the table has.
        progress: called with what is being done and the part done, from 0 to 1.

    Raises:
        BudgetExceeded: the cap would be exceeded; no record was read.
        DataError: there is no table (nothing is reserved), or it does not keep to its schema (the reservation
            is void if no noise was drawn yet).
        ConfigError: the stored answers belong to other data or another plan.
    """
    # Asked before the reservation: a wrong path, however odd, must not cost budget.
    for path in loaded.sources:
        found = os.path.isfile(path) or (loaded.config.data.images is not None and os.path.isdir(path))
        if not found:
            what = "a table, found no file" if loaded.config.data.images is None else "images, found nothing"
            step = f"Check data.{'table' if loaded.config.data.images is None else 'images'}.path."
            raise DataError(f"Expected {what}.", where=str(path), next_step=step)
    with clock("plan"):
        plan = make_plan(loaded, patients=1000)
        ledger, opened = open_ledger(loaded, lambda text: progress(text, -1.0))
    with _closing_again(ledger, loaded.config.cohort, opened=opened):
        return _spend(
            loaded, clock, ledger, plan, run=run, keep=keep, answers=answers, anyway=anyway, progress=progress
        )


@contextmanager
def _closing_again(ledger: Ledger, cohort: str, *, opened: bool) -> Iterator[None]:
    """Close a cohort that was opened for a try which is refused before anything is drawn."""
    try:
        yield
    except Exception:
        if opened:
            with suppress(SynthgenError):
                ledger.close_cohort(cohort, "the try that opened it was refused; nothing was drawn")
        raise


def _spend(
    loaded: ResolvedConfig,
    clock: Stopwatch,
    ledger: Ledger,
    plan: PrivacyPlan,
    *,
    run: str,
    keep: Path | None,
    answers: Path | None,
    anyway: bool,
    progress: Progress,
) -> tuple[TableModel, PrivacyPlan, Cohort]:
    with clock("plan"):
        held = Reservation.make(
            ledger,
            loaded.config.cohort,
            plan.event,
            purpose=f"fit {loaded.generator.name}",
            run=run,
            answers=answers,
            unit=ledger_unit(loaded.schema),
            saved=saved_digest(keep),
        )
    with held:
        with clock("ingest"), held.unread():
            progress("ingest", 0.0)
            held.bind(plan, digest := source_digest(loaded.sources))
            own = held.noise(NoiseSource.system())
            cohort = read_cohort(loaded, paying=plan, noise=own, anyway=anyway, progress=progress)
            if cohort.digest != digest:
                raise DataError(
                    "Expected a table that nobody writes to, it changed while it was read.",
                    where=str(loaded.table),
                    next_step="Run again, when it is complete.",
                )
            loaded = replace(loaded, schema=cohort.train.schema)
            if plan.patients_counted or loaded.schema.paid:
                plan = _again(loaded, plan, cohort.n_units)
            if not len(cohort.train):
                raise DataError("Expected patients to train on, got none.", where=str(loaded.table))
        detail = {"generator": loaded.generator.name, "device": _device(loaded)}
        with clock("fit"):
            if keep is not None and held.fitted:  # killed after the model was saved: it is never fitted twice
                model = load_model(keep)[0]
                digest = saved_digest(keep)
            else:
                model = _fit(loaded, cohort, plan, held, progress)
                digest = "" if keep is None else _save(model, loaded, keep)
                held.finish(digest)
        held.commit(detail | ({"model": digest} if digest else {}))
    return model, plan, cohort


def ledger_unit(schema: Schema) -> LedgerUnit:
    """Return the privacy unit of a schema, as the ledger's reservations state it."""
    unit = schema.unit
    return LedgerUnit(unit.level, unit.column if unit.level == "patient" else None, unit.max_records)


def _device(loaded: ResolvedConfig) -> str:
    """Return the kind of device that a generator computes on, for the ledger and the record."""
    wanted = getattr(loaded.generator, "device", "cpu")
    return "cpu" if wanted == "cpu" else str(device_of(wanted).type)


def _save(model: TableModel, loaded: ResolvedConfig, folder: Path) -> str:
    """Save a model so that a crash leaves all of it or none of it. Returns its digest."""
    try:
        with temporary_folder(folder) as partial:
            save_model(model, loaded.schema, loaded.generator.name, partial)
            if folder.exists():
                shutil.rmtree(folder)
            finish_folder(partial, folder, private=False)
    except OSError as error:
        raise OperationError.of(error, "save the model", where=str(folder)) from error
    return saved_digest(folder)


def _fit(
    loaded: ResolvedConfig, cohort: Cohort, plan: PrivacyPlan, held: Reservation, progress: Progress
) -> TableModel:
    held.begin()
    return for_schema(loaded.generator, loaded.schema).fit(
        cohort.train,
        plan,
        noise=held.noise(NoiseSource.system()),
        progress=lambda what, done: progress(f"fit: {what}", done),
    )


def _again(loaded: ResolvedConfig, plan: PrivacyPlan, n_units: int) -> PrivacyPlan:
    """Plan again with counted patients and paid domains; the event that was reserved must stay the same."""
    again = make_plan(loaded, patients=n_units)
    if again.event != plan.event:
        raise ConfigError(
            "budget.patients: this generator's spend depends on it or on what is paid; expected a number.",
            where=str(loaded.path),
            next_step="Declare the public number of patients, and domains from public sources.",
        )
    return again


def _require_declared(loaded: ResolvedConfig, n_units: int) -> None:
    """Refuse a cohort of far fewer patients than are declared, before any noise is drawn.

    The number declared is public; the table's is not, so this is found under a reservation, as whatever else
    a table does against its schema: the refusal voids the spend, and says no number of the table's.

    Raises:
        DataError: the table has less than a `FEW`-th of the declared patients.
    """
    declared = loaded.config.budget.patients
    if declared is None or n_units * FEW >= declared:
        return
    raise DataError(
        f"Expected about the {declared:,} patients that budget.patients declares, got far fewer "
        f"(less than one in {FEW}).",
        where=str(loaded.table),
        next_step="Declare the public number of patients of this table: noise, sampling "
        "and the forecast follow from it. --anyway goes on.",
    )


def read_cohort(
    loaded: ResolvedConfig,
    *,
    paying: PrivacyPlan | None = None,
    noise: NoiseSource | None = None,
    anyway: bool = False,
    progress: Progress = quiet,
) -> Cohort:
    """Read the table, strip it, and part its patients. Only a holder of a reservation calls this.

    Args:
        loaded: the config.
        paying: the plan to pay missing domains from, with the patients that train.
        noise: the reservation's source, for it.
        anyway: go on, although far more patients are declared than there are.
        progress: called with how far the reading of images is.
    """
    ledger = loaded.open_ledger(create=False)
    key = ledger.cohort(loaded.config.cohort).key
    loaded = replace(loaded, schema=_written_as(loaded))
    source = loaded.config.data.table
    if source is None:
        cohort = image_cohort.read(loaded, key=key, shares=_shares(loaded), progress=progress)
        if paying is not None and not anyway:
            _require_declared(loaded, cohort.n_units)
        return cohort
    raw = ingest.read_raw(
        loaded.table,
        delimiter=source.delimiter,
        encoding=source.encoding,
        decimal=source.decimal,
        known=[field.name for field in loaded.schema.fields],
        formulas=ingest.formulas_of(loaded.schema),
    )
    stripped = deidentify.strip(raw, loaded.schema, where=str(loaded.table))
    schema = loaded.schema
    if paying is not None and noise is not None and stripped.units is not None and not schema.resolved:
        if not anyway:
            _require_declared(loaded, len(set(stripped.units.tolist())))
        own = keep_records(stripped.units, key=key, max_records=schema.unit.max_records)
        own &= part_of(stripped.units, key=key, shares=_shares(loaded)) == "train"
        schema = private_domains.learn(
            stripped.frame[own],
            stripped.units[own],
            schema,
            paying,
            noise=noise,
            decimal=source.decimal,
            date_format=source.date_format,
        )
    table, report = ingest.canonical(
        stripped.frame,
        stripped.units,
        schema,
        decimal=source.decimal,
        date_format=source.date_format,
        where=str(loaded.table),
    )
    if paying is not None and not anyway:  # after all that the table does against its schema
        _require_declared(loaded, report.units)
    if schema.unit.is_linked:
        table = kept_in_order(table, where=str(loaded.table))
    else:
        table = table.select(keep_records(table.units, key=key, max_records=schema.unit.max_records))
    parts = part_of(table.units, key=key, shares=_shares(loaded))
    pieces = {name: table.select(parts == name) for name in ("train", "reference", "holdout")}
    return Cohort(
        **pieces, counts=report.to_json(), n_units=report.units, digest=source_digest(loaded.sources)
    )


def _written_as(loaded: ResolvedConfig) -> Schema:
    """Return the schema with the dialect of its table, or of the images' table (`tables.file_form`)."""
    source, images = loaded.config.data.source, loaded.config.data.images
    named = None if images is None or images.table is None else loaded.base / images.table
    return written_as(
        loaded.schema,
        named or loaded.table,
        delimiter=source.delimiter,
        encoding=source.encoding,
        decimal=source.decimal,
    )


def _shares(loaded: ResolvedConfig) -> dict[str, float]:
    """Return the expected share of patients in each part that is not empty."""
    held = holdout_of(loaded.config)
    shares = {"train": 1.0 - held, "reference": held / 2, "holdout": held / 2}
    return {name: share for name, share in shares.items() if share > 0}
