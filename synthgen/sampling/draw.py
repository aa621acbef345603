"""Draw from a fitted model in batches, check what is drawn against the schema, write it.

Everything here is post-processing: no real record is reached from this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from synthgen.data.table_files import write_parquet, write_text
from synthgen.data.tables import SyntheticTable
from synthgen.encode.rule_repair import settle
from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError, DataError
from synthgen.files.output_paths import TABLES
from synthgen.files.safe_files import replacing, require_plain
from synthgen.generators.base import ImageModel, Progress, TableModel
from synthgen.generators.conditions import Condition, conditions
from synthgen.schema.file_dialect import is_parquet, is_text
from synthgen.schema.schema import OTHER, Schema

BATCH = 200_000
REDRAWS = 100
IMAGES = 500  # images drawn at a time
LEAST_REDRAWN, MOST_IDLE = 1000, 10
"""Records that are drawn anew at least, and redraws without any success before drawing stops: a rule that one
record in a thousand keeps is given up with probability 5e-5."""
PILOT = 20_000  # records drawn to see how many lack a value


def draw(
    model: TableModel,
    schema: Schema,
    n_records: int,
    *,
    seed: int,
    shard: int = 0,
    where: Mapping[str, Any] | None = None,
    balance: str | None = None,
    progress: Progress | None = None,
) -> SyntheticTable:
    """Draw records that keep the schema's hard rules.

    Args:
        model: a fitted generator; one of images draws attributes, then pixels from a stream of their own.
        schema: the table's public description.
        n_records: records to draw; of linked records, patients, each with all rows.
        seed: the same seed gives the same records, byte for byte.
        shard: number of the shard; each has a random stream of its own.
        where: conditions that every record keeps to exactly, see the generator's ``sample``.
        balance: a column of categories of which each gets the same number of records. Records whose value is
            missing keep the share that the model gives them: a missing value is no group to be made larger.
        progress: called with what is being done and the part done.

    Raises:
        ConfigError: a condition or the column to balance is not usable.
        DataError: the model gives a hard rule almost no chance.
    """
    if n_records < 0:
        raise ConfigError(f"Expected 0 records or more, got {n_records}.", where="--records")
    if isinstance(model, ImageModel):
        table = draw(
            model.attributes, schema, n_records, seed=seed, shard=shard, where=where, balance=balance
        )
        return _rendered(model, table, rng=np.random.default_rng([seed, shard, 1]), progress=progress)
    rng = np.random.default_rng([seed, shard])
    parts: list[SyntheticTable] = []
    counted = "patients" if schema.unit.is_linked else "records"
    for condition, n in _portions(model, schema, n_records, where or {}, balance, rng):
        for start in range(0, max(n, 1), BATCH):
            if progress is not None and n_records:
                done = sum(len(part) if part.units is None else part.units.max(initial=0) for part in parts)
                progress(f"sample: {done:,} of {n_records:,} {counted}", done / n_records)
            parts.append(_lawful(model, schema, min(BATCH, n - start), rng=rng, where=condition))
    table = _joined(schema, parts)
    if balance is None:
        return table
    if table.units is None:
        return replace(table, frame=table.frame.iloc[rng.permutation(len(table))].reset_index(drop=True))
    return _numbered(
        replace(table, units=1 + rng.permutation(int(table.units.max(initial=0)))[table.units - 1])
    )


def _rendered(
    model: ImageModel, table: SyntheticTable, *, rng: np.random.Generator, progress: Progress | None
) -> SyntheticTable:
    """Return an image for each record, some at a time, so that memory stays small and progress is seen."""
    parts: list[Any] = []
    for start in range(0, max(len(table), 1), IMAGES):
        if progress is not None and len(table):
            progress(f"sample: {start:,} of {len(table):,} images", start / len(table))
        frame = table.frame.iloc[start : start + IMAGES].reset_index(drop=True)
        parts.append(model.render(replace(table, frame=frame), rng=rng))
    if len(parts) == 1:
        return cast(SyntheticTable, parts[0])
    whole: SyntheticTable = replace(
        parts[0], frame=table.frame, pixels=np.concatenate([part.pixels for part in parts])
    )
    return whole


def _joined(schema: Schema, parts: list[SyntheticTable]) -> SyntheticTable:
    """Return one table of several; synthetic patients of different parts are different ones."""
    frame = pd.concat([part.frame for part in parts], ignore_index=True) if len(parts) > 1 else parts[0].frame
    if any(part.units is None for part in parts):
        return SyntheticTable(schema, frame)
    units, last = [], 0
    for part in parts:
        if part.units is not None:
            units.append(part.units + last)
            last += int(part.units.max(initial=0))
    return SyntheticTable(schema, frame, units=np.concatenate(units))


def _numbered(table: SyntheticTable) -> SyntheticTable:
    """Return a table of linked rows with the patients in the order of their numbers."""
    if table.units is None:
        return table
    order = np.argsort(table.units, kind="stable")
    return replace(table, frame=table.frame.iloc[order].reset_index(drop=True), units=table.units[order])


def _portions(
    model: TableModel,
    schema: Schema,
    n_records: int,
    where: Mapping[str, Any],
    balance: str | None,
    rng: np.random.Generator,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield conditions with the number of records for each."""
    if balance is None:
        yield dict(where), n_records
        return
    column = schema.column(balance)
    labels = [
        label for label in column.labels if label != OTHER or OTHER in (column.field.constraints.enum or ())
    ]
    if not labels or balance in where:
        raise ConfigError(
            f"Expected a column of categories without a condition of its own, got {balance!r}.",
            where="--balance",
        )
    lacking = round(n_records * _missing(model, balance, where, rng)) if column.nullable and n_records else 0
    if lacking:
        yield {**where, balance: None}, lacking
    each, rest = divmod(n_records - lacking, len(labels))
    for i, label in enumerate(labels):
        yield {**where, balance: label}, each + int(i < rest)


def _missing(model: TableModel, column: str, where: Mapping[str, Any], rng: np.random.Generator) -> float:
    """Return the share of records, of linked ones of patients, that the model leaves without a value."""
    pilot = model.sample(PILOT, rng=rng, where=where)
    missing = pilot.frame[column].isna().to_numpy()
    if pilot.units is not None:
        missing = missing[np.unique(pilot.units, return_index=True)[1]]
    return float(missing.mean())


def _lawful(
    model: TableModel, schema: Schema, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any]
) -> SyntheticTable:
    """Draw records, settle those that break a hard rule, and draw anew those that cannot be settled."""
    limits = {name: held.interval for name, held in _held(schema, where).items() if held.interval is not None}
    table = _settled(model.sample(n_records, rng=rng, where=where), limits, rng)
    broken, idle = violations(table), 0
    for _ in range(REDRAWS):
        if not broken.any():
            return table
        n_wanted = len(_owners(table, broken))
        fresh = model.sample(max(n_wanted, LEAST_REDRAWN), rng=rng, where=where)
        table = _exchanged(table, broken, _settled(fresh, limits, rng, exchange=False))
        before, broken = int(broken.sum()), violations(table)
        idle = 0 if broken.sum() < before else idle + 1
        if idle >= MOST_IDLE:
            break
    if not broken.any():
        return table
    texts = [repr(rule.text) for rule in schema.parsed_rules if rule.violated(table.frame).any()]
    given = f" given the condition on {sorted(where)}" if where else ""
    raise DataError(
        f"Expected records that keep the hard rules, but {int(broken.sum())} of {len(table)} still break "
        f"{' or '.join(texts)} after being drawn anew{given}.",
        where="sample",
        next_step="Check the rules against each other, the public bounds and the condition asked for.",
    )


def _held(schema: Schema, where: Mapping[str, Any]) -> dict[str, Condition]:
    return conditions(schema, Encoder.of(schema), where) if where else {}


def _settled(
    table: SyntheticTable,
    limits: Mapping[str, tuple[float, float]],
    rng: np.random.Generator,
    *,
    exchange: bool = True,
) -> SyntheticTable:
    """Return a table whose rules between numbers hold wherever changes of numbers can make them hold.

    Rows of one patient hang together, so their times and static values stay, and nothing is exchanged.
    """
    if table.units is None:
        return replace(
            table, frame=settle(table.frame, table.schema, rng=rng, within=limits, exchange=exchange)
        )
    fixed = [column.name for column in table.schema.columns if column.field.static]
    fixed += [table.schema.unit.order] if table.schema.unit.order is not None else []
    return replace(table, frame=settle(table.frame, table.schema, rng=rng, fixed=fixed, exchange=False))


def _owners(table: SyntheticTable, rows: np.ndarray) -> np.ndarray:
    """Return what is drawn anew together: the numbers of the rows, of linked rows those of the patients."""
    return np.flatnonzero(rows) if table.units is None else np.unique(table.units[rows])


def _exchanged(table: SyntheticTable, broken: np.ndarray, fresh: SyntheticTable) -> SyntheticTable:
    """Return the table with broken records, of linked rows whole patients, replaced by lawful fresh ones."""
    gone = _owners(table, broken)
    if table.units is None or fresh.units is None:
        found = np.flatnonzero(~violations(fresh))[: len(gone)]
        frame, rows = table.frame.copy(), gone[: len(found)]
        for name in frame:
            column = frame[name].copy()
            column.iloc[rows] = fresh.frame[name].iloc[found].array
            frame[name] = column
        return replace(table, frame=frame)
    good = np.setdiff1d(np.unique(fresh.units), _owners(fresh, violations(fresh)))[: len(gone)]
    number = dict(zip(good.tolist(), gone.tolist(), strict=False))
    kept = ~np.isin(table.units, gone[: len(good)])
    taken = np.isin(fresh.units, good)
    frame = pd.concat([table.frame[kept], fresh.frame[taken]], ignore_index=True)
    units = [number[unit] for unit in fresh.units[taken].tolist()]
    return _numbered(
        replace(table, frame=frame, units=np.concatenate([table.units[kept], np.array(units, int)]))
    )


def violations(table: SyntheticTable) -> np.ndarray:
    """Return, for each record, whether it breaks a hard rule."""
    broken = np.zeros(len(table), dtype=bool)
    for rule in table.schema.parsed_rules:
        broken |= rule.violated(table.frame)
    return broken


def write_table(table: SyntheticTable, path: Path, *, first: int = 1) -> None:
    """Write a table as a drop-in for the input, in the form that the file's ending names.

    Text has the input's dialect (`synthgen.schema.file_dialect`), the schema's first missing token, its words
    for true and false, and its decimals and formats of dates; Parquet has the input's types.

    Args:
        table: synthetic records.
        path: ``.csv``, ``.tsv`` or ``.txt``, also compressed (``.gz``, ``.bz2``, ``.xz``, ``.zst``,
            ``.zip``); ``.parquet`` or ``.pq``.
        first: the first sequential id.

    Raises:
        ConfigError: another ending.
        DataError: the input's encoding has no sign for a label.
        OperationError: the disk refused; no partial file is left.
    """
    if not (is_text(path) or is_parquet(path)):
        raise ConfigError(f"Expected a file that ends in {' or '.join(TABLES)}.", where=path.name)
    table = replace(table, first_id=first)
    with replacing(path, "write the table", private=False) as stream:
        if is_parquet(path):
            write_parquet(table, stream)
        else:
            write_text(table, stream, name=path.name)


def write_shards(
    model: TableModel, schema: Schema, n_records: int, folder: Path, *, shards: int, seed: int, **options: Any
) -> list[Path]:
    """Write ``shards`` Parquet files that together hold ``n_records``; a shard that is there is left alone.

    Each shard depends on seed and number alone, so a farm can write them in any order and again.
    """
    paths = []
    each, rest = divmod(n_records, shards)
    first = 1
    for shard in range(shards):
        own = of_shard(options, shard, shards)
        n = each + int(shard < rest)
        path = folder / f"part-{shard:05d}-of-{shards:05d}.parquet"
        if not is_written(path):
            table = draw(model, schema, n, seed=seed, shard=shard, **own)
            write_table(table, path, first=first)
        paths.append(path)
        first += n
    return paths


def is_written(path: Path) -> bool:
    """Return whether a shard is there.

    Raises:
        DataError: a link, a pipe or another user's file lies in its place.
    """
    if not os.path.lexists(path):
        return False
    require_plain(path)
    return True


def of_shard(options: dict[str, Any], shard: int, shards: int) -> dict[str, Any]:
    """Say which of several files is drawn, and return the options of `draw` for it."""
    progress: Progress | None = options.get("progress")
    if progress is None or shards == 1:
        return options
    what = f"sample: {shard:,} of {shards:,} files"
    progress(what, shard / shards)
    return {**options, "progress": lambda _, done: progress(what, (shard + done) / shards)}
