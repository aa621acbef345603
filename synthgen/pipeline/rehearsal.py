"""A rehearsal: a whole run on a table that was drawn from the schema, which no patient can be behind.

``schema simulate`` writes beside its table how it was drawn. A rehearsal draws the table again from schema,
number of records and seed, and goes on only if the file is the same, byte for byte: so a real table cannot
pass for a simulated one. It books into a ledger in the run's own folder, and nothing of it can be released.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.config.run_config import ResolvedConfig
from synthgen.encode.simulate import simulate
from synthgen.errors import ConfigError
from synthgen.files import json_file
from synthgen.ingest.fingerprint import file_digest
from synthgen.pipeline.run_folder import RunFolder
from synthgen.printable import shell
from synthgen.sampling.draw import write_table
from synthgen.schema.schema import load_schema

LEDGER = "rehearsal.db"
NOTICE = (
    "REHEARSAL: made from a table that was simulated from the schema alone. No patient's record was read. "
    "Its figures say nothing of any cohort, and nothing of it may be released.\n"
)


def note_of(table: Path) -> Path:
    """Return where it is noted how a simulated table was drawn."""
    return table.with_name(f"{table.name}.simulated.json")


def write_simulated(schema_path: Path, n_records: int, output: Path, *, seed: int) -> None:
    """Write a table that is drawn from a schema alone, and beside it how.

    Raises:
        ConfigError: the schema is not complete, or its hard rules are not met.
        OperationError: the disk refused.
    """
    table = simulate(load_schema(schema_path), n_records, rng=np.random.default_rng(seed))
    write_table(table, output)
    made = {"made_by": "synthgen schema simulate", "records": n_records, "seed": seed}
    json_file.write(note_of(output), {**made, "sha256": file_digest(output)}, private=False)


def is_simulated(table: Path) -> bool:
    """Return whether a note says that a table is as it was simulated; it may be of another schema by now."""
    note = _note(table)
    return note is not None and table.is_file() and note.get("sha256") == file_digest(table)


def require_simulated(loaded: ResolvedConfig) -> None:
    """Refuse a rehearsal on anything but a table that the schema alone gives.

    Raises:
        ConfigError: it is another table, or images.
    """
    if loaded.config.data.table is None:
        raise ConfigError(
            "rehearsal: expected a table, since images are not simulated, got images.",
            where=str(loaded.path),
            next_step="Rehearse with the table of attributes, or run public images as a cohort.",
        )
    note, table = _note(loaded.table), loaded.table
    schema_name = loaded.config.data.source.schema_path
    if note is None or not table.is_file() or note.get("sha256") != file_digest(table):
        raise ConfigError(
            "rehearsal: expected a table made by `synthgen schema simulate`, and its note "
            f"{note_of(table).name}, found another table.",
            where=str(loaded.path),
            next_step=_make_one(schema_name, table, ours=note is not None),
        )
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / table.name
        try:
            schema_path = loaded.base / loaded.config.data.source.schema_path
            write_simulated(schema_path, int(note["records"]), again, seed=int(note["seed"]))
        except (KeyError, TypeError, ValueError):
            raise ConfigError(
                "rehearsal: expected the note of `schema simulate`, found another.", where=str(note_of(table))
            ) from None
        if file_digest(again) != file_digest(table):
            raise ConfigError(
                "rehearsal: expected the table that this schema gives, found another: table or schema were "
                "changed since.",
                where=str(loaded.path),
                next_step="Run `synthgen schema simulate` again, with --force.",
            )


def _make_one(schema: Path | str, table: Path, *, ours: bool) -> str:
    """Return how to make the table of a rehearsal; where the file may be patients', under another name."""
    if ours or not table.exists():
        return f"Make one: synthgen schema simulate {shell(str(schema))} -n 1000 -o {shell(table.name)}" + (
            " --force" if ours else ""
        )
    name = f"{table.name.split('.')[0]}.simulated.csv"
    command = f"synthgen schema simulate {shell(str(schema))} -n 1000 -o {shell(name)}"
    return f"Make one, and name it in data.table.path: {command}"


def rehearsing(loaded: ResolvedConfig, folder: RunFolder) -> ResolvedConfig:
    """Return a config that books into the run's own ledger, if it is a rehearsal; else as it is."""
    if not loaded.config.rehearsal:
        return loaded
    url = f"sqlite:///{(folder.internal / LEDGER).absolute()}"
    budget = loaded.config.budget.model_copy(update={"ledger": url})
    return replace(loaded, config=loaded.config.model_copy(update={"budget": budget}))


def _note(table: Path) -> dict[str, Any] | None:
    try:
        found = json_file.read(note_of(table))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
