"""Draw from a run's model for the ``sample`` verb: conditions as text, one file or shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synthgen.errors import ConfigError
from synthgen.files.output_paths import TABLES, require_file, require_folder
from synthgen.generators.condition_text import column_named, parse_where
from synthgen.generators.saved_model import load_model, model_folder
from synthgen.pipeline.run_folder import RunFolder
from synthgen.sampling.draw import draw, write_shards, write_table
from synthgen.schema.file_dialect import Dialect
from synthgen.schema.schema import Schema


def sample(
    run: Path,
    records: int,
    output: Path,
    *,
    where: Sequence[str],
    balance: str | None,
    shards: int,
    seed: int,
    force: bool = False,
    formulas: str | None = None,
    progress: Callable[[str, float], None],
) -> dict[str, Any]:
    """Draw records into a file, or into a folder of Parquet shards.

    Args:
        run: a run's folder, or a saved model's.
        records: records to draw; of linked records, patients, each with all rows.
        output: ``FILE.csv``, ``FILE.parquet``, or a folder.
        where: conditions as text, see `synthgen.generators.condition_text`.
        balance: a column, in double quotes or not, whose categories get equal shares; missing values keep
            their own share.
        shards: files, if ``output`` is a folder.
        seed: the same seed gives the same bytes.
        force: overwrite a file that is there.
        formulas: of spreadsheets in CSV files, ``keep`` or ``escape``; None is as the run's config says, and
            ``keep`` for a saved model.
        progress: called with what is being done and the part done.

    Returns:
        What was written, as JSON values.

    Raises:
        ConfigError: the run, a condition or the output is not usable.
    """
    chosen = _formulas(run, formulas)
    model, schema, _ = load_model(model_folder(run))
    dialect = (schema.dialect or Dialect()).model_copy(update={"formulas": chosen})
    if chosen != (schema.dialect or Dialect()).formulas:
        schema = schema.model_copy(update={"dialect": dialect})
    _require_output(output, schema, shards=shards, force=force)
    held = parse_where(where, schema)
    balance = None if balance is None else column_named(balance, schema)
    progress("sample", 0.0)
    if schema.images is not None:
        drawn = {"where": held, "balance": balance, "progress": progress}
        paths = _images(model, schema, records, output, shards=shards, seed=seed, **drawn)
    elif output.name.lower().endswith(TABLES):
        table = draw(model, schema, records, seed=seed, where=held, balance=balance, progress=progress)
        write_table(table, output)
        paths = [output]
    else:
        paths = write_shards(
            model,
            schema,
            records,
            output,
            shards=shards,
            seed=seed,
            where=held,
            balance=balance,
            progress=progress,
        )
    progress("done", 1.0)
    counted = "patients" if schema.unit.is_linked else "records"
    return {counted: records, "files": [str(path) for path in paths], "seed": seed}


def _formulas(run: Path, asked: str | None) -> str:
    """Return whether formulas are kept or escaped: as asked for, or as the run's config says."""
    if asked in ("keep", "escape"):
        return asked
    if asked is not None:
        raise ConfigError("Expected keep or escape, got another word.", where="--csv-formulas")
    if not (run / "internal").is_dir():
        return "keep"
    return str(RunFolder.open(run).state["choices"].get("release.csv_formulas", "keep"))


def _require_output(output: Path, schema: Schema, *, shards: int, force: bool) -> None:
    """Refuse an output that cannot be written, or is there already, before anything is drawn."""
    endings = TABLES if schema.images is None else (".npz",)
    if output.suffix in endings:
        if shards != 1:
            raise ConfigError("Expected a folder as output of several shards, got a file.", where="--shards")
        return require_file(output, endings, force=force)
    if output.suffix and not output.is_dir():
        known = f"{' or '.join(endings)}, or a folder without an ending"
        raise ConfigError(
            f"Expected a file that ends in {known}, got the ending {output.suffix!r}.",
            where="--output",
            next_step=f"Name a file such as {output.stem}{endings[0]}, or a folder.",
        )
    return require_folder(output)


def _images(
    model: Any, schema: Schema, records: int, output: Path, *, shards: int, seed: int, **options: Any
) -> list[Path]:
    """Write images into a folder, or into one array file."""
    from synthgen.sampling.image_files import write_array, write_shards

    if output.suffix == ".npz" and shards == 1:
        drawn: Any = draw(model, schema, records, seed=seed, **options)
        write_array(drawn, output)
        return [output]
    return write_shards(model, schema, records, output, shards=shards, seed=seed, **options)
