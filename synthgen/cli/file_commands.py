"""Verbs that work on files alone: schema tools, and judging a table of any generator."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.errors import ConfigError, DataError, SynthgenError
from synthgen.files.safe_files import write_bytes
from synthgen.generators.base import Progress
from synthgen.printable import printable, shell
from synthgen.schema.completeness import UNCONFIRMED, confirm_step
from synthgen.schema.schema import Schema, load_schema

if TYPE_CHECKING:
    from synthgen.evaluation.base import Inputs
    from synthgen.ingest.schema_draft.table_draft import Named
    from synthgen.pipeline.config_draft import Source
    from synthgen.pipeline.holdout_accesses import Accesses
    from synthgen.privacy.ledger.ledger import Ledger
    from synthgen.release.gate.gate import Verdict

USUAL: Mapping[str, Any] = {"delimiter": ",", "encoding": "utf-8", "decimal": ".", "date_format": None}
"""How a text table is written if nothing else is said."""
OPTION = r"--(delimiter|encoding|decimal|date-format)\b"
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


def _declared(schema: Schema) -> dict[str, Any]:
    """Return what a schema declares of how its table is written, in the words of the command line."""
    words = {"delimiter": "delimiter", "encoding": "encoding", "decimal_char": "decimal"}
    kept = {} if schema.dialect is None else schema.dialect.model_dump(exclude_unset=True)
    return {words[key]: value for key, value in kept.items() if key in words}


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
    source = _source(schema, schema_path, data, {**_declared(schema), **said})
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
    dialect = {**_declared(schema), **said}
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


def evaluate(
    paths: Mapping[str, Path],
    *,
    policy: str,
    claim: tuple[float, float] | None,
    seed: int | None,
    report: Path | None,
    progress: Progress,
    dialect: Mapping[str, Any] = {},
    synthetic_dialect: Mapping[str, Any] | None = None,
    ledger: str | None = None,
) -> dict[str, Any]:
    """Judge files: ``train``, ``holdout``, ``synthetic``, ``schema``, and ``reference`` if there is one.

    Args:
        paths: the files by name.
        policy: name or path of a policy.
        claim: epsilon and delta that the generator's maker claims, or None.
        seed: of all draws; None follows from the real inputs.
        report: where the internal report goes, or None.
        progress: called with what is being done and the part done, from 0 to 1.
        dialect: how the real tables are written, as far as the schema's ``dialect`` does not say it.
        synthetic_dialect: how the synthetic table is written; None as the real ones are.
        ledger: URL of the ledger that counts evaluations of these inputs; None is one in the folder of the
            real table.
    """
    from synthgen.pipeline.holdout_accesses import file_ledger

    schema = load_schema(paths["schema"])
    said = {key: value for key, value in dialect.items() if value is not None}
    dialect = {**USUAL, **_declared(schema), **said}
    real = [name for name in ("train", "holdout", "reference") if name in paths]
    parts = {name: _read(paths[name], schema, dialect)[0] for name in real}
    drawn, rounded = _read_synthetic(paths["synthetic"], schema, {**dialect, **(synthetic_dialect or {})})
    units = drawn.unit_codes()[0] + 1 if schema.unit.is_linked else None
    table = SyntheticTable(schema, drawn.frame, units=units, rounded=rounded)
    counting = partial(file_ledger, paths["train"], ledger)
    return evaluate_tables(
        parts,
        table,
        policy=policy,
        claim=claim,
        seed=seed,
        progress=progress,
        report=report,
        counting=counting,
    )


def _read(
    path: Path,
    schema: Schema,
    dialect: Mapping[str, Any],
    ids: Literal["required", "optional"] = "required",
) -> tuple[RealTable, Mapping[str, int]]:
    """Return a table, and how many numbers were rounded to the declared decimals, by column."""
    from synthgen.ingest.tables.table import read_table

    table, report = read_table(path, schema, ids=ids, **dialect)
    return table, report.rounded or {}


def _read_synthetic(
    path: Path, schema: Schema, dialect: Mapping[str, Any]
) -> tuple[RealTable, Mapping[str, int]]:
    """Read a synthetic table; a message that advises an option advises the one of the synthetic table."""
    try:
        return _read(path, schema, dialect, ids="optional")
    except SynthgenError as error:
        texts = [re.sub(OPTION, r"--synthetic-\1", text) for text in (error.message, error.next_step)]
        raise type(error)(texts[0], where=error.where, next_step=texts[1]) from None


def _uncounted() -> tuple[Ledger | None, str, str]:
    """Return that tables in memory have no ledger."""
    return None, "", "Tables in memory have no place of their own; evaluate files, or name a ledger."


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


def evaluate_tables(
    parts: Mapping[str, RealTable],
    table: SyntheticTable,
    *,
    policy: str,
    claim: tuple[float, float] | None,
    seed: int | None,
    progress: Progress,
    report: Path | None = None,
    counting: Callable[[], tuple[Ledger | None, str, str]] = _uncounted,
) -> dict[str, Any]:
    """Judge a table of any generator.

    Args:
        parts: ``train`` and ``holdout``, and ``reference`` if the attacker's records are given; else half
            of the holdout's patients are the reference, by a draw that only the seed fixes.
        table: the synthetic records.
        policy: name or path of a policy.
        claim: epsilon and delta that the generator's maker claims, or None.
        seed: of all draws; None follows from the real inputs.
        progress: called with what is being done and the part done, from 0 to 1.
        report: where the internal report goes, or None.
        counting: opens the ledger that counts evaluations of these inputs, see `accesses.file_ledger`.

    Returns:
        The verdict as JSON values.

    Raises:
        DataError: the parts share patients or records.
        GateRefused: the policy allows no further evaluation of these inputs.
    """
    from synthgen.evaluation.overlap import require_disjoint
    from synthgen.evaluation.results_json import results_to_json
    from synthgen.evaluation.run import evaluate_all
    from synthgen.pipeline import holdout_accesses
    from synthgen.release.gate.gate import decide, load_policy
    from synthgen.release.report import ReportContent, marginals, write_report

    rules = load_policy(policy)
    progress("evaluate: are the parts disjoint", 0.0)
    require_disjoint(parts)
    used = holdout_accesses.seed_of(table.schema, parts) if seed is None else seed
    inputs = inputs_of(parts, table, claim=claim, seed=used)
    schema, train = inputs.schema, inputs.train
    basis = holdout_accesses.Basis(
        inputs=holdout_accesses.input_digests(inputs),
        policy=rules,
        seed=used,
        given=seed is not None,
        target=inputs.target,
        groups=inputs.groups,
        of_images=schema.images is not None,
    )
    counted = holdout_accesses.enter(*counting(), basis)
    if inputs.claim is not None:
        inputs = dataclasses.replace(
            inputs, claim=dataclasses.replace(inputs.claim, looks=counted.number or 1)
        )
    results = evaluate_all(inputs, seed=used, progress=lambda name, done: progress(f"evaluate: {name}", done))
    verdict = _with_accesses(decide(results, rules), counted, claimed=claim is not None)
    rests_on = {**basis.to_json(), "accesses": counted.to_json()}
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
            basis=rests_on,
        )
        write_report(report, content, edition="internal")
    shown = verdict.to_json()
    return {
        **{key: shown[key] for key in ("verdict", "reasons", "heads")},
        "epsilon": claim[0] if claim else None,
        "delta": claim[1] if claim else None,
        "unit": schema.unit.level,
        "looks": counted.number,
        "adaptive": (counted.number or 1) > 1,
        **rests_on,
        "run": None,
        "bundle": None,
        "results": results_to_json(results),
    }


def _with_accesses(verdict: Verdict, counted: Accesses, *, claimed: bool) -> Verdict:
    """Return a verdict that also warns of another evaluation of the same inputs, or that none is counted."""
    from synthgen.release.gate.gate import Reason

    if counted.number is None:
        message = f"Nobody counts how often these inputs are evaluated. {counted.why_not}"
    elif counted.number > 1 and not claimed:  # with a claim the policy's rule says it
        message = (
            f"Evaluation {counted.number} of these inputs: after the first, intervals are adaptive and may "
            "not cover. Source: Dwork et al. (2015), Science 349:636."
        )
    else:
        return verdict
    reason = Reason("leakage", "leakage_claim.looks", "warn", message)
    return dataclasses.replace(verdict, reasons=(*verdict.reasons, reason))


def inputs_of(
    parts: Mapping[str, RealTable], table: SyntheticTable, *, claim: tuple[float, float] | None, seed: int
) -> Inputs:
    """Return what the metrics take; target and groups come from the schema's roles.

    Args:
        parts: see `evaluate_tables`.
        table: the synthetic records.
        claim: epsilon and delta that the generator's maker claims, or None.
        seed: of the draw of the reference, if none is given.
    """
    from synthgen.evaluation.base import Claim, Inputs
    from synthgen.evaluation.canonical_order import ordered

    train, holdout, reference = parts["train"], ordered(parts["holdout"]), parts.get("reference")
    of_cohort = reference is None
    if reference is None:
        holdout, reference = _halves(holdout, seed)
    schema = table.schema
    labels = schema.with_role("label")
    known = {column.name for column in schema.columns}
    groups = tuple(name for name in schema.with_role("protected") if name in known)
    categories = [name for name in labels if schema.column(name).kind == "category"]
    target = next(iter([*categories, *labels]), None)
    claimed = None if claim is None else Claim(claim[0], claim[1])
    return Inputs(
        schema, train, holdout, reference, table, target, groups, claimed, reference_of_cohort=of_cohort
    )


def _halves(table: RealTable, seed: int) -> tuple[RealTable, RealTable]:
    """Part a table in two by patient."""
    codes, n_units = table.unit_codes()
    side = np.random.default_rng([seed, 7]).permutation(n_units) % 2 == 0
    return table.select(side[codes]), table.select(~side[codes])
