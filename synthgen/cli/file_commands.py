"""Verbs that work on files alone: schema tools, and judging a table of any generator."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.errors import ConfigError, DataError
from synthgen.files.safe_files import write_bytes
from synthgen.pipeline.evaluate_files import USUAL, declared_dialect
from synthgen.printable import printable, shell
from synthgen.schema.completeness import UNCONFIRMED, confirm_step
from synthgen.schema.schema import Schema, load_schema

if TYPE_CHECKING:
    from synthgen.ingest.schema_draft.table_draft import Named
    from synthgen.pipeline.config_draft import Source

CORRECT = "Correct the table, or its schema from public knowledge; no budget was spent."


def schema_init(
    table: Path,
    output: Path,
    *,
    suggest: bool,
    dialect: Mapping[str, Any],
    named: Named | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write the draft of a schema.

    Args:
        table: the table's file, or a folder or array file of images.
        output: the schema to write.
        suggest: read the values too, see `synthgen.ingest.schema_draft.from_file.init`.
        dialect: how the table is written.
        named: the columns whose part a person names.
        force: overwrite a file that is there.

    Raises:
        ConfigError: the output exists.
        DataError: the table cannot be read.
    """
    from synthgen.ingest.schema_draft import image_draft
    from synthgen.ingest.schema_draft.from_file import init
    from synthgen.ingest.schema_draft.table_draft import NOTHING

    _require_new(output, force=force)
    if image_draft.holds_dicom(table):
        from synthgen.ingest.dicom import cohort as dicom_cohort

        draft = dicom_cohort.draft(table, suggest=suggest)
    else:
        make = image_draft.draft if image_draft.is_images(table) else init
        draft = make(table, suggest=suggest, named=named or NOTHING, **dialect)
    _write_new(output, draft.text, force=force, private=suggest)
    schema = load_schema(output, complete=False)
    identifiers = [{"column": f.column, "kind": f.kind, "cells": f.cells} for f in draft.identifiers]
    found = {"identifiers": identifiers} if suggest else {}
    notes = [*draft.notes, *_lacking_roles(schema)]
    return {
        "schema": str(output),
        "columns": len(schema.fields),
        "confirmed": not suggest,
        **found,
        **({"notes": notes} if notes else {}),
        "next": "\n".join(_after_init(table, output, schema, dialect, suggest=suggest)),
    }


def _lacking_roles(schema: Schema) -> list[str]:
    """Return what a draft needs from a person before a release can be signed."""
    notes = []
    if schema.unit.level == "row":
        notes.append(
            "The privacy unit is the row: draft anew with --unit COLUMN --force if one names the patient."
        )
    for role, use in (("label", "an outcome to predict"), ("protected", "groups to be fair to")):
        if not schema.with_role(role):  # type: ignore[arg-type]
            anew = f"draft anew with --{role} COLUMN --force, or add it; without one nothing can be signed."
            notes.append(f"No column has `role: {role}` ({use}): {anew}")
    return notes


def _after_init(
    table: Path, output: Path, schema: Schema, dialect: Mapping[str, Any], *, suggest: bool
) -> list[str]:
    """Return the commands that follow a draft."""
    path, data = shell(str(output)), shell(str(table))
    config = f"synthgen config init {path} --data {data}{_options(dialect)}"
    if not suggest:
        return [
            f"Give each column its type and public domain in {printable(str(output))}.",
            f"synthgen schema check {path} {data}{_options(dialect)}",
            config,
        ]
    return [
        f"Read {printable(str(output))}: correct roles, domains and missing values from public knowledge.",
        f"synthgen schema confirm {path} --all",
        config,
    ]


def _options(dialect: Mapping[str, Any]) -> str:
    """Return a table's dialect as options of the command line, as far as it is not the usual one."""
    return "".join(
        f" --{key.replace('_', '-')} {shell(str(value))}"
        for key, value in dialect.items()
        if value is not None and value != USUAL.get(key)
    )


def schema_confirm(path: Path, columns: Sequence[str], *, every: bool) -> dict[str, Any]:
    """Mark columns of a schema as confirmed by a person; comments and layout stay as they are.

    Args:
        path: the schema's file.
        columns: names of the columns.
        every: all columns that wait, instead of names.

    Raises:
        ConfigError: neither columns nor ``every``, or both; an unknown column.
    """
    from synthgen.pipeline.schema_confirmation import confirm

    if bool(columns) == every:
        raise ConfigError(
            "Expected the names of columns, or --all, and not both.",
            where="synthgen schema confirm",
            next_step="Name the columns that you have checked against a public source.",
        )
    done = confirm(path, None if every else columns)
    shown = shell(str(path))
    if done.waiting:
        follow = confirm_step(str(path), done.waiting)
    elif done.open:
        follow = "Complete the columns under `open`."
    else:
        follow = f"synthgen config init {shown}"
    return {
        "schema": str(path),
        "confirmed": list(done.columns),
        "waiting": list(done.waiting),
        "open": [{"column": gap.column, "problem": gap.problem, "do": gap.step} for gap in done.open],
        "next": follow,
    }


def config_init(
    schema_path: Path,
    output: Path | None,
    *,
    data: Path | None,
    dialect: Mapping[str, Any],
    cohort: str | None,
    patients: int | None,
    epsilon: float | None,
    force: bool,
) -> dict[str, Any]:
    """Write a complete, commented config for a schema.

    Args:
        schema_path: the schema.
        output: the config to write; ``NAME.config.yaml`` beside the schema if None.
        data: the table, or the images; None looks for a table with the schema's columns beside it.
        dialect: how the table is written, as far as a person says it.
        cohort: the ledger's name of these patients.
        patients: their declared number.
        epsilon: of a fit.
        force: overwrite a file that is there.

    Raises:
        ConfigError: the output exists; or the table does not have the schema's columns.
        DataError: there is no such file.
    """
    from synthgen.pipeline import config_draft as drafts

    schema = load_schema(schema_path, complete=False)
    name = schema_path.name.split(".")[0]
    output = schema_path.with_name(f"{name}.config.yaml") if output is None else output
    _require_new(output, force=force)
    said = {key: value for key, value in dialect.items() if value is not None}
    source = _source(schema, schema_path, data, {**declared_dialect(schema), **said})
    text = drafts.draft(
        schema, schema_path, source, output, cohort=cohort, patients=patients, epsilon=epsilon
    )
    _write_new(output, text, force=force, private=False)
    shown = shell(str(output))
    lacking = [
        what for what, known in (("data path", source.path), ("budget.patients", patients)) if known is None
    ]
    first = [f"Fill in {' and '.join(lacking)} in {printable(str(output))}."] if lacking else []
    return {
        "config": str(output),
        "data": None if source.path is None else str(source.path),
        "fill_in": lacking,
        "next": "\n".join([*first, f"synthgen plan {shown}", f"synthgen run {shown}"]),
    }


def _source(schema: Schema, schema_path: Path, data: Path | None, said: Mapping[str, Any]) -> Source:
    """Return the table or images that a config is about."""
    from synthgen.pipeline import config_draft as drafts

    if data is not None and not data.exists():
        raise DataError(
            "Expected the data, found none.", where=str(data), next_step="Check the path of --data."
        )
    if schema.images is not None:
        return drafts.Source(data, said)
    if data is None:
        folders = dict.fromkeys((schema_path.resolve().parent, Path.cwd()))
        found = (drafts.find_table(schema, folder, said, name=schema_path.name) for folder in folders)
        return next((one for one in found if one.path is not None), drafts.Source(None, said))
    source = drafts.of_table(data, schema, said)
    if source is None:
        raise DataError(
            "Expected a table in a known encoding, got other bytes.",
            where=str(data),
            next_step="Add --encoding, or name a CSV or Parquet file.",
        )
    drafts.require_columns_of(source, schema)
    return source


def schema_import(
    source: Path, output: Path | None, *, kind: str, table: Path | None, delimiter: str, encoding: str
) -> dict[str, Any]:
    """Write the schema that another system's description of its data amounts to.

    Args:
        source: a REDCap data dictionary.
        output: the schema to write; None puts it beside the source.
        kind: ``redcap``.
        table: an export whose first line says which columns there are, or None.
        delimiter: of both.
        encoding: of both.

    Raises:
        ConfigError: unknown kind, an output that exists, or a source that cannot be read.
    """
    from synthgen.ingest.schema_draft import redcap

    if kind != "redcap":
        raise ConfigError(
            "Expected --from redcap, got another name.", where="--from", next_step="Use redcap."
        )
    output = source.with_suffix(".schema.yaml") if output is None else output
    found = redcap.draft(source, table=table, delimiter=delimiter, encoding=encoding)
    _write_new(output, found.text, force=False, private=False)
    load_schema(output, complete=False)
    return {
        "schema": str(output),
        "columns": found.columns,
        "rules": len(found.rules),
        "decide": [{"column": name, "what": what} for name, what in found.decide],
        "dropped": [{"column": name, "why": why} for name, why in found.dropped],
        "untranslated": [{"column": name, "why": why} for name, why in found.untranslated],
        "left_out": list(found.left_out),
    }


def _require_new(output: Path, *, force: bool) -> None:
    if os.path.lexists(output) and not force:
        raise ConfigError(
            "Expected no file, found one.",
            where=str(output),
            next_step="Choose another -o, or add --force to overwrite it.",
        )


def _write_new(output: Path, text: str, *, force: bool, private: bool) -> None:
    """Write a draft; one with values of patients is readable by this user only."""
    _require_new(output, force=force)
    write_bytes(output, text.encode(), private=private, make_folder=False, overwrite=force)


def schema_check(schema_path: Path, table: Path, *, dialect: Mapping[str, Any]) -> dict[str, Any]:
    """Return every violation of a schema, by column and count, with the columns that wait for a person.

    Returns:
        ``valid`` and ``violations``; if not valid also ``errors``, how many the schema and the table have.
    """
    from synthgen.encode.table import FINE_CELLS, coarse_bins
    from synthgen.ingest.image_cohort import is_dicom
    from synthgen.ingest.tables.check import Violation, check, identifying_names

    schema = load_schema(schema_path, complete=False)
    said = {key: value for key, value in dialect.items() if value is not None}
    dialect = {**declared_dialect(schema), **said}
    open_ = schema.gaps(unpaid=True)
    waiting = [gap.column for gap in open_ if gap.kind == "unconfirmed"]
    of_schema = [Violation(name, UNCONFIRMED, 1) for name in waiting]
    of_schema += [Violation(g.column, g.problem, 1, hint=g.step) for g in open_ if g.kind != "unconfirmed"]
    of_schema += identifying_names(schema)
    if schema.images is not None and is_dicom(table, schema):
        from synthgen.ingest.dicom.cohort import check as check_dicom

        of_table = check_dicom(table, schema)
    elif schema.images is not None and (table.is_dir() or table.suffix == ".npz"):
        from synthgen.ingest.images.check import check_images

        of_table = check_images(table, schema, **dialect)
    else:
        of_table = check(table, schema, **dialect)
    unclear = {gap.column for gap in open_ if gap.kind == "domain"} | {
        f.name for f in schema.fields if f.unpaid
    }
    of_table += [
        Violation(name, text, 1, "information", hint=hint)
        for name, text, hint in coarse_bins(schema, fine_cells=FINE_CELLS, leave_out=unclear)
    ]
    errors = {
        "schema": len(of_schema),
        "table": sum(violation.severity == "error" for violation in of_table),
    }
    shown = {"violations": [dataclasses.asdict(violation) for violation in (*of_schema, *of_table)]}
    if not any(errors.values()):
        return {"valid": True, **shown}
    steps = [CORRECT] if errors["table"] or len(of_schema) > len(waiting) else []
    steps += [confirm_step(str(schema_path), waiting)] if waiting else []
    return {"valid": False, **shown, "errors": errors, "next": "\n".join(steps)}


def schema_simulate(schema_path: Path, n_records: int, output: Path, *, seed: int) -> dict[str, Any]:
    """Write a fake table from the schema alone, and beside it how it was drawn, for a rehearsal."""
    from synthgen.pipeline.rehearsal import write_simulated

    write_simulated(schema_path, n_records, output, seed=seed)
    return {"records": n_records, "files": [str(output)], "seed": seed}


def epsilon_of_text(text: str) -> float:
    """Return E of ``epsilon=E``.

    Raises:
        ConfigError: the text is not of that form, or E is not positive.
    """
    name, _, value = text.partition("=")
    try:
        epsilon = float(value)
    except ValueError:
        epsilon = 0.0
    if name != "epsilon" or not 0 < epsilon < float("inf"):
        raise ConfigError("Expected --public epsilon=E with E > 0.", where="--public")
    return epsilon
