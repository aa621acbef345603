"""Verbs that work on files alone: schema tools, and judging a table of any generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthgen.errors import ConfigError, OperationError
from synthgen.models._base import Progress
from synthgen.records import RealTable, SyntheticTable
from synthgen.schema import Schema, load_schema

CORRECT = "Correct the table, or its schema from public knowledge; no budget was spent."


def schema_init(table: Path, output: Path, *, suggest: bool, dialect: Mapping[str, Any]) -> dict[str, Any]:
    """Write the draft of a schema; an existing file is not overwritten.

    Raises:
        ConfigError: the output exists.
        DataError: the table cannot be read.
    """
    from synthgen.ingest.inspect import init

    if output.exists():
        raise ConfigError("Expected no file, found one.", where=str(output), next_step="Choose another -o.")
    draft = init(table, suggest=suggest, **dialect)
    _write_new(output, draft.text)
    columns = len(load_schema(output, complete=False).fields)
    identifiers = [{"column": f.column, "kind": f.kind, "cells": f.cells} for f in draft.identifiers]
    found = {"identifiers": identifiers} if suggest else {}
    return {"schema": str(output), "columns": columns, "confirmed": not suggest, **found}


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
    from synthgen.ingest import redcap

    if kind != "redcap":
        raise ConfigError(
            "Expected --from redcap, got another name.", where="--from", next_step="Use redcap."
        )
    output = source.with_suffix(".schema.yaml") if output is None else output
    found = redcap.draft(source, table=table, delimiter=delimiter, encoding=encoding)
    _write_new(output, found.text)
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


def _write_new(output: Path, text: str) -> None:
    if output.exists():
        raise ConfigError("Expected no file, found one.", where=str(output), next_step="Choose another -o.")
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OperationError(
            "Expected to write the schema.", where=str(output), next_step="Check the folder and its rights."
        ) from error


def schema_check(schema_path: Path, table: Path, *, dialect: Mapping[str, Any]) -> dict[str, Any]:
    """Return every violation of a schema, by column and count."""
    from synthgen.image_cohort import is_dicom
    from synthgen.ingest.inspect import check

    schema = load_schema(schema_path, unpaid=True)
    if schema.images is not None and is_dicom(table, schema):
        from synthgen.dicom_cohort import check as check_dicom

        found = check_dicom(table, schema)
    elif schema.images is not None and (table.is_dir() or table.suffix == ".npz"):
        from synthgen.ingest.image_check import check_images

        found = check_images(table, schema, **dialect)
    else:
        found = check(table, schema, **dialect)
    rows = [dataclasses.asdict(violation) for violation in found]
    valid = all(violation.severity != "error" for violation in found)
    return {"valid": valid, "violations": rows} | ({} if valid else {"next": CORRECT})


def schema_simulate(schema_path: Path, n_records: int, output: Path, *, seed: int) -> dict[str, Any]:
    """Write a fake table from the schema alone."""
    from synthgen.encode.simulate import simulate
    from synthgen.sample import write_table

    table = simulate(load_schema(schema_path), n_records, rng=np.random.default_rng(seed))
    write_table(table, output)
    return {"records": n_records, "files": [str(output)], "seed": seed}


def evaluate(
    paths: Mapping[str, Path],
    *,
    policy: str,
    claim: tuple[float, float] | None,
    seed: int,
    report: Path | None,
    tell: Progress,
) -> dict[str, Any]:
    """Judge files: ``train``, ``holdout``, ``synthetic``, ``schema``, and ``reference`` if there is one."""
    schema = load_schema(paths["schema"])
    parts = {name: _read(paths[name], schema) for name in ("train", "holdout", "reference") if name in paths}
    drawn = _read(paths["synthetic"], schema, ids="optional")
    units = drawn.unit_codes()[0] + 1 if schema.unit.is_linked else None
    table = SyntheticTable(schema, drawn.frame, units=units)
    return evaluate_tables(parts, table, policy=policy, claim=claim, seed=seed, tell=tell, report=report)


def _read(path: Path, schema: Schema, *, ids: Literal["required", "optional"] = "required") -> RealTable:
    from synthgen.ingest.table import read_table

    return read_table(path, schema, ids=ids)[0]


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
    seed: int,
    tell: Progress,
    report: Path | None = None,
) -> dict[str, Any]:
    """Judge a table of any generator.

    Args:
        parts: ``train`` and ``holdout``, and ``reference`` if the attacker's records are given; else half
            of the holdout's patients are the reference, by a draw that only the seed fixes.
        table: the synthetic records.
        policy: name or path of a policy.
        claim: epsilon and delta that the generator's maker claims, or None.
        seed: of all draws.
        tell: told what is being done.
        report: where the internal report goes, or None.

    Returns:
        The verdict as JSON values.
    """
    from synthgen.evaluate._base import Claim, Inputs
    from synthgen.evaluate._run import evaluate_all
    from synthgen.evaluate._store import results_to_json
    from synthgen.release.gate import decide, load_policy
    from synthgen.release.report import ReportContent, marginals, write_report

    train, holdout, reference = parts["train"], parts["holdout"], parts.get("reference")
    if reference is None:
        holdout, reference = _halves(holdout, seed)
    schema = table.schema
    labels = schema.with_role("label")
    groups = tuple(name for name in schema.with_role("protected") if schema.column(name).kind == "category")
    categories = [name for name in labels if schema.column(name).kind == "category"]
    target = next(iter([*categories, *labels]), None)
    claimed = None if claim is None else Claim(claim[0], claim[1])
    inputs = Inputs(schema, train, holdout, reference, table, target, groups, claimed)
    rules = load_policy(policy)
    results = evaluate_all(inputs, seed=seed, progress=lambda name, done: tell(f"evaluate: {name}", done))
    verdict = decide(results, rules)
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
        )
        write_report(report, content, edition="internal")
    shown = verdict.to_json()
    return {
        **{key: shown[key] for key in ("verdict", "reasons", "heads")},
        "epsilon": claim[0] if claim else None,
        "delta": claim[1] if claim else None,
        "unit": schema.unit.level,
        "run": None,
        "bundle": None,
        "results": results_to_json(results),
    }


def _halves(table: RealTable, seed: int) -> tuple[RealTable, RealTable]:
    """Part a table in two by patient."""
    codes, n_units = table.unit_codes()
    side = np.random.default_rng([seed, 7]).permutation(n_units) % 2 == 0
    return table.select(side[codes]), table.select(~side[codes])
