"""The Python way: fit, sample, save, load. The same plan, ledger and stages as the command line's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.config.data_section import DataSection, ImageSource, TableSource, sized
from synthgen.config.run_config import (
    BudgetSection,
    ResolvedConfig,
    RunConfig,
    generator_settings,
    require_share,
)
from synthgen.data.tables import SyntheticTable
from synthgen.errors import OperationError
from synthgen.files.safe_files import make_folders, sync_tree
from synthgen.generators.base import TableModel
from synthgen.generators.condition_text import resolved
from synthgen.generators.saved_model import load_model, model_folder, save_model
from synthgen.privacy.ledger.location import without_password
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema, load_schema


@dataclass(frozen=True)
class Model:
    """A fitted generator. Holds nothing that was not paid for.

    Attributes:
        fitted: the generator's own model.
        schema: the table's public description.
        generator: the generator's key.
    """

    fitted: TableModel
    schema: Schema
    generator: str

    def sample(
        self,
        n_records: int,
        *,
        where: Mapping[str, Any] | str | Sequence[str] | None = None,
        balance: str | None = None,
        seed: int = 0,
    ) -> SyntheticTable:
        """Draw records. Costs no privacy; the same seed gives the same records, byte for byte.

        Args:
            n_records: records to draw; of linked records, patients, each with all rows.
            where: column to a value, a list of values, None (missing), or ``(low, high)`` of a number; or
                conditions as text, such as ``'"col name"="A|B"'``, see `synthgen.generators.condition_text`.
            balance: a column of categories that each get the same number of records; missing keeps its share.
            seed: of the draw.

        Raises:
            ConfigError: a condition is not usable.
        """
        held = resolved(where, self.schema)
        return draw(self.fitted, self.schema, n_records, seed=seed, where=held, balance=balance)

    def save(self, folder: str | Path) -> None:
        """Write safetensors and JSON into a folder, which is made if it is not there."""
        path = Path(folder)
        try:
            make_folders(path, private=False)
            save_model(self.fitted, self.schema, self.generator, path)
            sync_tree(path)
        except OSError as error:
            raise OperationError.of(error, "save the model", where=str(path)) from error


def fit(
    table: str | Path,
    *,
    schema: str | Path,
    generator: str | Mapping[str, Any] = "auto",
    epsilon: float,
    delta: float,
    patients: int | None = None,
    preprocessing: float | None = None,
    ledger: str | None = None,
    cohort: str | None = None,
    size: int | None = None,
) -> Model:
    """Fit a generator under patient-level differential privacy.

    Guarantee:
        ``(epsilon, delta)``-DP for neighbours that differ in all records of one patient; the spend is
        reserved in the ledger before the table is opened.

    Args:
        table: CSV (commas, UTF-8) or Parquet; with ``size``, a folder or ``.npz`` file of images. For other
            dialects use a config.
        schema: path of the schema.
        generator: key of a generator, or a mapping with its ``name`` and options; ``auto`` chooses by public
            facts.
        epsilon: what this fit may spend, at ``delta``.
        delta: probability of failure.
        patients: public number of patients; counted, and then not protected, if None.
        preprocessing: share of the budget for domains that the schema marks as paid.
        ledger: URL of the ledger; relative paths start from the current folder. None is the cohort's own,
            ``ledger_<cohort>.db``; recommended is one for the organisation.
        cohort: the ledger's name for these patients; the table's name without its ending if None.
        size: pixels a side that images are brought to; None for a table.

    Raises:
        ConfigError: schema, generator or an argument is wrong.
        BudgetExceeded: the cap would be exceeded; no record was read.
        DataError: the table does not keep to its schema.
    """
    from synthgen.pipeline.fit import Stopwatch, spend

    table, schema = Path(table).resolve(), Path(schema).resolve()
    if ledger is not None:
        without_password(ledger)
    options = {"name": generator} if isinstance(generator, str) else dict(generator)
    config = RunConfig(
        cohort=cohort or table.name.split(".")[0],
        data=_data(table, schema, size),
        budget=BudgetSection(
            ledger=ledger,
            epsilon=float(epsilon),
            delta=float(delta),
            patients=patients,
            preprocessing=preprocessing,
        ),
        generator=options,
    )
    described = sized(load_schema(schema, unpaid=True), config.data.images, where=str(schema))
    require_share(config.budget, described, where=str(schema))
    loaded = ResolvedConfig(
        config=config,
        path=Path.cwd() / "python",
        schema=described,
        generator=generator_settings(options, modality="tabular" if size is None else "imaging"),
        table=table,
        policy="default",
        digest="python",
        ledger_is_named=ledger is not None,
    )
    fitted, _, parts = spend(loaded, Stopwatch(), run="python")
    return Model(fitted, parts.train.schema, loaded.generator.name)


def _data(path: Path, schema: Path, size: int | None) -> DataSection:
    if size is None:
        return DataSection(table=TableSource(path=str(path), schema=str(schema)))
    return DataSection(images=ImageSource(path=str(path), schema=str(schema), size=size))


def load(folder: str | Path) -> Model:
    """Read a model that `Model.save` or a run wrote.

    Args:
        folder: of the model, or of the run.

    Raises:
        ConfigError: the folder holds no model.
    """
    return Model(*load_model(model_folder(Path(folder))))
