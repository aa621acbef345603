"""Verbs that work on files alone: schema tools, and judging a table of any generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthgen.errors import ConfigError, OperationError
from synthgen.records import RealTable, SyntheticTable
from synthgen.schema import Schema, load_schema


def schema_init(table: Path, output: Path, *, suggest: bool, dialect: Mapping[str, Any]) -> dict[str, Any]:
    """Write the draft of a schema; an existing file is not overwritten.

    Raises:
        ConfigError: the output exists.
        DataError: the table cannot be read.
    """
    from synthgen.ingest.inspect import init

    if output.exists():
        raise ConfigError("Expected no file, found one.", where=str(output), next_step="Choose another -o.")
    text = init(table, suggest=suggest, **dialect)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OperationError("Expected to write the schema.", where=str(output)) from error
    columns = len(load_schema(output, complete=False).fields)
    return {"schema": str(output), "columns": columns, "confirmed": not suggest}


def schema_check(schema_path: Path, table: Path, *, dialect: Mapping[str, Any]) -> dict[str, Any]:
    """Return every violation of a schema, by column and count."""
    from synthgen.ingest.inspect import check

    found = check(table, load_schema(schema_path), **dialect)
    rows = [{"column": v.column, "rule": v.rule, "count": v.count, "severity": v.severity} for v in found]
    return {"valid": all(row["severity"] != "error" for row in rows), "violations": rows}


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
    tell: Callable[[str, float], None],
) -> dict[str, Any]:
    """Judge files: ``train``, ``holdout``, ``synthetic``, ``schema``, and ``reference`` if there is one."""
    from synthgen import judge

    schema = load_schema(paths["schema"])
    parts = {name: _read(paths[name], schema) for name in ("train", "holdout", "reference") if name in paths}
    frame = _read(paths["synthetic"], schema, ids="optional").frame
    table = SyntheticTable(schema, frame)
    return judge.evaluate_files(parts, table, policy=policy, claim=claim, seed=seed, tell=tell, report=report)


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
