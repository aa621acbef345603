"""The Python API: plan, fit, sample, evaluate, by the same plan, ledger and stages as the command line."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.config.data_section import DataSection, ImageSource, TableSource, sized
from synthgen.config.run_config import (
    BudgetSection,
    ResolvedConfig,
    RunConfig,
    generator_settings,
    require_share,
)
from synthgen.data.images import SyntheticImages
from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError, OperationError, for_python
from synthgen.files.safe_files import make_folders, private_folder, sync_tree
from synthgen.frames import as_file, dtypes_of, is_frame, with_dtypes
from synthgen.generators.base import TableModel
from synthgen.generators.condition_text import resolved
from synthgen.generators.saved_model import load_model, model_folder, save_model
from synthgen.privacy.ledger.location import without_password
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema as DescribedSchema
from synthgen.schema.schema import load_schema
from synthgen.schema_text import schema_file

if TYPE_CHECKING:
    import pandas as pd

    from synthgen.privacy.plan import PrivacyPlan

Progress = Callable[[str, float], None]


@dataclass(frozen=True, repr=False)
class Model:
    """A fitted generator. It holds only what its plan paid for and may be published with its record.

    Attributes:
        fitted: the generator's own model.
        schema: the table's public description.
        generator: the generator's key.
        claim: epsilon and delta of the fit, and its cohort in the ledger; empty for a model that was loaded.
        dtypes: types of the input's columns, which drawn records get; empty if the input was a file.
    """

    fitted: TableModel
    schema: DescribedSchema
    generator: str
    claim: Mapping[str, Any] = field(default_factory=dict)
    dtypes: Mapping[str, Any] = field(default_factory=dict)

    def sample(
        self,
        n_records: int,
        *,
        where: Mapping[str, Any] | str | Sequence[str] | None = None,
        balance: str | None = None,
        random_state: int = 0,
    ) -> pd.DataFrame:
        """Draw records of a table. Costs no privacy budget; the same ``random_state`` gives the same records.

        Args:
            n_records: records to draw; of linked records, patients, each with all rows.
            where: column to a value, a list of values, None (missing), or ``(low, high)`` of a number; or
                conditions as text, such as ``'"col name"="A|B"'``.
            balance: a column of categories that each get the same number of records; missing keeps its share.
            random_state: of the draw. A fit takes none: its noise comes from the operating system.

        Returns:
            The columns of the input in its order, with its types and fresh ids.

        Raises:
            ConfigError: a condition is not usable, or the model draws images (see `sample_images`).
        """
        drawn = self._drawn(n_records, where, balance, random_state)
        if isinstance(drawn, SyntheticImages):
            raise ConfigError(
                "Expected a model of a table, got one of images.", next_step="Use model.sample_images(...)."
            )
        return with_dtypes(drawn.to_pandas(), self.dtypes)

    def sample_images(
        self,
        n_records: int,
        *,
        where: Mapping[str, Any] | str | Sequence[str] | None = None,
        balance: str | None = None,
        random_state: int = 0,
    ) -> SyntheticImages:
        """Draw images with their attributes; see `sample`.

        Returns:
            ``pixels``, ``(record, channel, row, column)``, and the attributes as ``to_pandas()``.

        Raises:
            ConfigError: a condition is not usable, or the model draws tables.
        """
        drawn = self._drawn(n_records, where, balance, random_state)
        if not isinstance(drawn, SyntheticImages):
            raise ConfigError(
                "Expected a model of images, got one of a table.", next_step="Use model.sample(...)."
            )
        return drawn

    def _drawn(
        self, n_records: int, where: Any, balance: str | None, random_state: int
    ) -> SyntheticTable | SyntheticImages:
        conditions = resolved(where, self.schema)
        return draw(self.fitted, self.schema, n_records, seed=random_state, where=conditions, balance=balance)

    def save(self, folder: str | Path) -> None:
        """Write safetensors and JSON into a folder, which is made if it is not there."""
        path = Path(folder)
        try:
            make_folders(path, private=False)
            save_model(self.fitted, self.schema, self.generator, path)
            sync_tree(path)
        except OSError as error:
            raise OperationError.of(error, "save the model", where=str(path)) from error

    def _facts(self) -> dict[str, Any]:
        unit = self.schema.unit
        whose = "row" if unit.level == "row" else f"patient ({unit.column}, up to {unit.max_records} records)"
        return {"generator": self.generator, "unit": whose, "columns": len(self.schema.columns), **self.claim}

    def __repr__(self) -> str:
        facts = ", ".join(f"{key}={_short(value)}" for key, value in self._facts().items())
        return f"Model({facts})"[:399]

    def _repr_html_(self) -> str:
        return _table_html(self._facts())


@dataclass(frozen=True, repr=False)
class Plan:
    """What a fit will spend, fixed before any record is read.

    Attributes:
        plan: the generator's plan, whose event the ledger books.
        cohort: the cohort's name in the ledger.
    """

    plan: PrivacyPlan
    cohort: str

    def to_frame(self) -> pd.DataFrame:
        """Return the stages: share of the budget, epsilon of the stage alone, noise in patients."""
        import pandas as pd

        rows = [
            {
                "stage": s.name,
                "share": s.share,
                "epsilon": s.epsilon,
                "noise (patients)": s.noise,
                "what": s.detail,
            }
            for s in self.plan.stages
        ]
        return pd.DataFrame(rows)

    def _facts(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "generator": plan.generator,
            "unit": plan.unit,
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "training patients": plan.patients,
        }

    def __repr__(self) -> str:
        head = ", ".join(f"{key} {_short(value)}" for key, value in self._facts().items())
        frame = self.to_frame()
        body = frame.drop(columns="what").round(3).to_string(index=False) if len(frame) else ""
        return f"Plan: {head}\n{body}"

    def _repr_html_(self) -> str:
        return _table_html(self._facts()) + str(self.to_frame().to_html(index=False, escape=True))


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What an evaluation found. Computed from real records: internal, outside of the guarantee.

    Attributes:
        outcome: verdict, reasons, heads and results as the command line's JSON has them.
    """

    outcome: Mapping[str, Any]
    _report: str = field(repr=False)

    @property
    def verdict(self) -> str:
        """``release``, ``refuse`` or ``cannot-sign``."""
        return str(self.outcome["verdict"])

    @property
    def reasons(self) -> list[str]:
        """Why, in words; what decides first."""
        return [f"[{reason['head']}] {reason['message']}" for reason in self.outcome["reasons"]]

    def to_frame(self) -> pd.DataFrame:
        """Return every figure with its 95 % interval and the number of patients that it rests on."""
        import pandas as pd

        rows = [
            {"head": one["head"], "metric": one["name"], "figure": key}
            | {name: estimate.get(name) for name in ("value", "low", "high", "n", "status")}
            for one in self.outcome["results"]
            for key, estimate in one["estimates"].items()
        ]
        return pd.DataFrame(rows)

    def report(self, path: str | Path) -> Path:
        """Write the internal report, one HTML file that needs no network, for this user only (0600)."""
        from synthgen.files.safe_files import write_bytes

        write_bytes(Path(path), self._report.encode(), private=True)
        return Path(path)

    def __repr__(self) -> str:
        first = self.reasons[0] if self.reasons else "no reason against it"
        return f"Evaluation({self.verdict}: {first})"[:399]

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return f"<p><b>Verdict: {html.escape(self.verdict)}</b></p><ul>{items}</ul>"


@for_python
def plan(
    schema: Any,
    *,
    generator: str | Mapping[str, Any] = "auto",
    epsilon: float,
    delta: float,
    patients: int,
    preprocessing: float | None = None,
    size: int | None = None,
) -> Plan:
    """Return what a fit would spend and how much noise it would add. Reads no record.

    Args:
        schema: a `synthgen.Schema` or the path of a schema file.
        generator: see `fit`.
        epsilon: see `fit`.
        delta: see `fit`.
        patients: public number of patients.
        preprocessing: see `fit`.
        size: see `fit`.

    Raises:
        ConfigError: the schema is not complete or not confirmed, or an argument is wrong.
    """
    from synthgen.pipeline.fit import make_plan

    with private_folder() as folder:
        loaded = _resolved(
            folder / "table.parquet",
            schema_file(schema, folder),
            generator=generator,
            budget=_budget(epsilon, delta, patients, preprocessing, None),
            cohort="cohort",
            size=size,
        )
        return Plan(make_plan(loaded), "cohort")


@for_python
def fit(
    data: Any,
    *,
    schema: Any,
    generator: str | Mapping[str, Any] = "auto",
    epsilon: float,
    delta: float,
    patients: int | None = None,
    preprocessing: float | None = None,
    ledger: str | None = None,
    cohort: str | None = None,
    size: int | None = None,
    progress: Progress | str | None = "auto",
) -> Model:
    """Fit a generator under patient-level differential privacy.

    Guarantee:
        ``(epsilon, delta)``-DP for neighbours that differ in all records of one patient; the spend is
        reserved in the ledger before the table is opened.

    Args:
        data: a data frame (pandas, Polars, Arrow), or the path of a CSV (commas, UTF-8) or Parquet file; with
            ``size``, a folder or ``.npz`` file of images. For other dialects use a config.
        schema: a `synthgen.Schema`, or the path of a schema file.
        generator: key of a generator, or a mapping with its ``name`` and options; ``auto`` chooses by public
            facts.
        epsilon: what this fit may spend, at ``delta``.
        delta: probability of failure.
        patients: public number of patients; counted, and then not protected, if None.
        preprocessing: share of the budget for domains that the schema marks as paid.
        ledger: URL of the ledger; relative paths start from the current folder. None is the cohort's own,
            ``ledger_<cohort>.db``; recommended is one for the organisation.
        cohort: the ledger's name for these patients; the file's name without its ending if None. A data
            frame has no name, so it needs one.
        size: pixels a side that images are brought to; None for a table.
        progress: called with what is being done and the part done, from 0 to 1; ``auto`` is a progress bar
            where a person can see it, None is silence.

    Raises:
        ConfigError: schema, generator or an argument is wrong.
        BudgetExceeded: the cap would be exceeded; no record was read.
        DataError: the table does not keep to its schema.
    """
    from synthgen.pipeline.fit import Stopwatch, spend

    if is_frame(data) and cohort is None:
        raise ConfigError(
            "Expected the cohort's name, since a data frame has none, got none.",
            where="cohort",
            next_step="Pass cohort='icu_2024': the ledger adds up all spends of these patients under it.",
        )
    if ledger is not None:
        without_password(ledger)
    with private_folder() as folder, _shown(progress) as told:
        table = as_file(data, folder, "table")
        loaded = _resolved(
            table,
            schema_file(schema, folder),
            generator=generator,
            budget=_budget(epsilon, delta, patients, preprocessing, ledger),
            cohort=cohort or table.name.split(".")[0],
            size=size,
        )
        fitted, spent, parts = spend(loaded, Stopwatch(), run="python", progress=told)
        claim = {"epsilon": spent.epsilon, "delta": spent.delta, "cohort": loaded.config.cohort}
        dtypes = dtypes_of(data) if size is None else {}
        return Model(fitted, parts.train.schema, loaded.generator.name, claim, dtypes)


@for_python
def load(folder: str | Path) -> Model:
    """Read a model that `Model.save` or a run wrote.

    Args:
        folder: of the model, or of the run.

    Raises:
        ConfigError: the folder holds no model.
    """
    return Model(*load_model(model_folder(Path(folder))))


@for_python
def evaluate(
    *,
    real: Any,
    holdout: Any,
    synthetic: Any,
    schema: Any,
    reference: Any = None,
    policy: str = "default",
    claim: tuple[float, float] | None = None,
    ledger: str | None = None,
    random_state: int | None = None,
    progress: Progress | str | None = "auto",
) -> Evaluation:
    """Evaluate a synthetic table of any generator: fidelity, utility, fairness, membership leakage.

    Args:
        real: what the generator was trained on; a data frame or a path, as all tables here.
        holdout: real patients whom the generator never saw. Parts that share patients or records are refused.
        synthetic: the synthetic table; it needs no id column.
        schema: a `synthgen.Schema` or the path of a schema file; label and groups come from its roles.
        reference: the attacker's records; None takes half of the holdout.
        policy: name of a shipped policy, or path of one.
        claim: epsilon and delta that the generator claims, or None.
        ledger: URL of the ledger that counts evaluations of these records. None is one in the folder of
            the real table; data frames have no folder, and are then not counted, which the reasons say.
        random_state: of all draws; None follows from the real records.
        progress: see `fit`.

    Raises:
        ConfigError: schema or policy is wrong.
        DataError: a table does not keep to the schema, or parts share patients.
    """
    from synthgen.pipeline import evaluate_files

    given = {"train": real, "holdout": holdout, "reference": reference, "synthetic": synthetic}
    with private_folder() as folder, _shown(progress) as told:
        paths = {name: as_file(part, folder, name) for name, part in given.items() if part is not None}
        paths["schema"] = schema_file(schema, folder)
        page = folder / "report.html"
        outcome = evaluate_files.evaluate(
            paths,
            policy=policy,
            claim=claim,
            seed=random_state,
            report=page,
            progress=told,
            ledger=ledger,
            counted=ledger is not None or not is_frame(real),
        )
        return Evaluation(outcome, page.read_text(encoding="utf-8"))


@for_python
def run(
    config: str | Path,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    anyway: bool = False,
    progress: Progress | str | None = "auto",
) -> dict[str, Any]:
    """Run a config's whole pipeline: fit, sample, evaluate, decide, bundle. As the verb ``synthgen run``.

    Args:
        config: path of the config.
        output: the run's folder; None is ``runs/<name of the config>``.
        resume: go on with a partial run.
        anyway: go on although the release cannot be signed; recorded.
        progress: see `fit`.

    Returns:
        Verdict, reasons, epsilon, delta, folders and seconds, as the verb's JSON has them.
    """
    from synthgen.config.run_config import load_config
    from synthgen.pipeline import run as pipeline

    place = Path("runs") / Path(config).name.split(".")[0] if output is None else Path(output)
    with _shown(progress) as told:
        loaded = load_config(Path(config), overrides=[])
        return pipeline.run(loaded, place.resolve(), resume=resume, anyway=anyway, progress=told)


def _budget(
    epsilon: float, delta: float, patients: int | None, preprocessing: float | None, ledger: str | None
) -> BudgetSection:
    return BudgetSection(
        ledger=ledger,
        epsilon=float(epsilon),
        delta=float(delta),
        patients=patients,
        preprocessing=preprocessing,
    )


def _resolved(
    table: Path,
    schema: Path,
    *,
    generator: str | Mapping[str, Any],
    budget: BudgetSection,
    cohort: str,
    size: int | None,
) -> ResolvedConfig:
    """Return what a config with these arguments resolves to."""
    options = {"name": generator} if isinstance(generator, str) else dict(generator)
    config = RunConfig(cohort=cohort, data=_data(table, schema, size), budget=budget, generator=options)
    described = sized(load_schema(schema, unpaid=True), config.data.images, where=str(schema))
    require_share(config.budget, described, where=str(schema))
    return ResolvedConfig(
        config=config,
        path=Path.cwd() / "python",
        schema=described,
        generator=generator_settings(options, modality="tabular" if size is None else "imaging"),
        table=table,
        policy="default",
        digest="python",
        ledger_is_named=budget.ledger is not None,
    )


def _data(path: Path, schema: Path, size: int | None) -> DataSection:
    if size is None:
        return DataSection(table=TableSource(path=str(path), schema=str(schema)))
    return DataSection(images=ImageSource(path=str(path), schema=str(schema), size=size))


@contextmanager
def _shown(progress: Progress | str | None) -> Iterator[Progress]:
    """Yield what is called with the progress: a person's own function, a bar on a terminal, or nothing."""
    if progress is not None and not callable(progress) and progress != "auto":
        raise ConfigError(
            "Expected progress as a function, 'auto' or None, got another value.", where="progress"
        )
    if callable(progress):
        yield progress
        return
    if progress is None or not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        yield lambda what, done: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table_html(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(key)}</th><td>{html.escape(_short(value))}</td></tr>"
        for key, value in facts.items()
    )
    return f"<table>{rows}</table>"
