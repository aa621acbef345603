"""Write a release folder: synthetic data, card, privacy record, report, checksums. All of it, or nothing.

    data/<name>.csv|parquet   the synthetic records
    schema.yaml               the public schema
    datapackage.json          the same for machines (Frictionless Data Package v2)
    privacy_record.json       the claim and its evidence
    card.md                   the data card
    report.html               the report's public edition
    checksums.sha256          of every other file, as ``sha256sum -c`` reads it

The folder is built beside its place, verified there as a recipient would, and then renamed. Nothing
here takes a real table: data comes as `SyntheticTable`, or as a file that ids and schema show to be one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from synthgen.data.images import SyntheticImages
from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError, DataError, GateRefused, OperationError
from synthgen.files.safe_files import (
    finish_folder,
    make_folders,
    open_without_links,
    replacing,
    temporary_folder,
    write_bytes,
)
from synthgen.printable import seen
from synthgen.printable import yaml as escape
from synthgen.release.bundle.data_checks import FORMATS, checked
from synthgen.release.bundle.regenerate import first_table, made
from synthgen.release.bundle.verify import (
    CHECKSUMS,
    RECORD,
    SCHEMA,
    Problem,
    checksums,
    file_digest,
    verify_bundle,
)
from synthgen.release.record.record import check_record, record_digest, record_text, with_digests
from synthgen.schema.file_dialect import format_of
from synthgen.schema.schema import Schema, load_schema

__all__ = ["Problem", "verify_bundle", "write_bundle"]
ARCHIVE = "zip"


def write_bundle(
    output: Path,
    *,
    data_files: Mapping[str, SyntheticTable | Path],
    schema: Schema,
    record: Mapping[str, Any],
    enter: Callable[[str], object] = lambda _: None,
) -> Path:
    """Write a bundle, or leave nothing. Card, report and data package are made here, from the rest.

    Args:
        output: the folder to be made. A complete bundle of the same content is left as it is.
        data_files: a table, or the path of a public file already written, by name under ``data/``.
        schema: the table's schema; columns that the generator never saw lose their bounds.
        record: the privacy record, see `synthgen.release.record.record.privacy_record`.
        enter: called with the digest of the record, in which those of the data files stand, once the bundle
            verifies and before it is there, to enter the release in the ledger.

    Returns:
        ``output``.

    Raises:
        GateRefused: the verdict is not release, and nobody has overridden it.
        ConfigError: ``output`` holds something else, or a data file's name is not allowed.
        DataError: the bundle would not verify; names the files.
        OperationError: the disk refused.

    Guarantee:
        post-processing: reads nothing but what is to be published.
    """
    _require_release(record)
    _require_names(data_files)
    lacking = sorted(set(data_files) ^ set(record["data"]["files"]))
    if lacking:
        raise DataError(
            f"Expected the data files that the privacy record names, got others: {lacking}.", where=RECORD
        )
    try:
        with temporary_folder(output) as folder:
            whole = _fill(folder, data_files, schema.public(), record)
            _require_verified(folder)
            return _place(folder, output, lambda: enter(record_digest(whole)))
    except OSError as error:
        raise OperationError.of(error, "write the bundle", where=str(output)) from error


def _require_release(record: Mapping[str, Any]) -> None:
    problems = check_record(record)
    if problems:
        raise DataError(
            f"Expected a complete privacy record, got {len(problems)} problems: {'; '.join(problems)}.",
            where=RECORD,
            next_step="Build it with privacy_record.",
        )
    if record["verdict"]["verdict"] != "release" and record["verdict"]["override"] is None:
        raise GateRefused(
            f"Expected the verdict release, got {record['verdict']['verdict']}.",
            next_step="Read the internal report; a release against the gate needs --override and a reason.",
        )


def _require_names(data_files: Mapping[str, SyntheticTable | Path]) -> None:
    for name, value in data_files.items():
        plain = name == Path(name).name and not name.startswith(".") and name.isprintable()
        if not plain or "\\" in name or format_of(Path(name)) not in (*FORMATS, ARCHIVE):
            raise ConfigError(f"Expected a plain file name of {list(FORMATS)}.", where="data_files")
        if not isinstance(value, (SyntheticTable, Path)):
            raise ValueError(f"Expected a SyntheticTable or a Path, got {type(value).__name__}.")
        if isinstance(value, Path) and value.resolve().parent.name == "internal":
            raise ConfigError(
                "Expected a public file, got one of internal/.", where="data_files", next_step="Name another."
            )


def _fill(
    folder: Path,
    data_files: Mapping[str, SyntheticTable | Path],
    schema: Schema,
    record: Mapping[str, Any],
) -> dict[str, Any]:
    """Write all files of a bundle, and return the record that it has."""
    data = folder / "data"
    make_folders(data, private=False)
    for name, value in data_files.items():
        _write_data(value, data / name)
    whole = with_digests(record, {name: file_digest(data / name) for name in data_files})
    _write(folder, {SCHEMA: schema_text(schema), RECORD: record_text(whole)})
    read = load_schema(folder / SCHEMA)  # as a recipient reads it
    _write(
        folder,
        made(
            {name: data / name for name in data_files},
            _read_back(data, read, record),
            schema=read,
            record=whole,
        ),
    )
    _write(folder, {CHECKSUMS: checksums(folder)})
    return whole


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        write_bytes(folder / name, text.encode(), private=False, durable=False)


def _read_back(data: Path, schema: Schema, record: Mapping[str, Any]) -> SyntheticTable:
    """Return the records that the report is made from, as a recipient reads them."""
    counts = record["data"]["files"]
    name = first_table(counts)
    if name is None:
        raise ConfigError(f"Expected a table of {list(FORMATS)}, got none.", where="data_files")
    problems, table = checked(data / name, schema, records=counts[name])
    if table is None:
        _refuse([Problem(f"data/{name}", message) for message in problems])
    return table


def _write_data(value: SyntheticTable | Path, target: Path) -> None:
    if isinstance(value, Path):
        with open_without_links(value) as source, replacing(target, private=False, durable=False) as stream:
            shutil.copyfileobj(source, stream)
        return
    from synthgen.sampling.draw import write_table
    from synthgen.sampling.image_files import write_archive

    if isinstance(value, SyntheticImages) and target.suffix == f".{ARCHIVE}":
        write_archive(value, target)
    else:
        write_table(value, target)


def schema_text(schema: Schema) -> str:
    """Return a schema as YAML that `synthgen.schema.schema.load_schema` reads back to the same digest."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")  # keeps the columns' order; typ="safe" sorts keys
    yaml.allow_unicode = True
    yaml.width = 1_000_000
    stream = io.StringIO()
    yaml.dump(_quoted(schema.model_dump(mode="json", by_alias=True, exclude_defaults=True)), stream)
    return escape(stream.getvalue())


def _quoted(value: Any) -> Any:
    """Quote the texts of lists, so that a YAML 1.1 reader does not take the category ``no`` for false.

    What a person would not see is quoted too, so that it can be escaped.
    """
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, dict):
        return {_quoted(key): _quoted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [DoubleQuotedScalarString(v) if isinstance(v, str) else _quoted(v) for v in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) and not seen(value) else value


def _require_verified(folder: Path) -> None:
    problems = verify_bundle(folder)
    if problems:
        _refuse(problems)


def _refuse(problems: Sequence[Problem]) -> NoReturn:
    raise DataError(
        f"Expected a bundle that verifies, got {len(problems)} problems:",
        details=[f"{problem.file}: {problem.message}" for problem in problems[:20]],
        next_step="Correct the files named and run again; nothing was written.",
    )


def _place(folder: Path, output: Path, enter: Callable[[], object]) -> Path:
    """Enter the release, then rename the finished folder into its place; an equal bundle there is left alone.

    In this order no bundle lies anywhere that was not entered.
    """
    there = os.path.lexists(output)
    if there and not (output.is_dir() and not output.is_symlink() and _same(folder, output)):
        raise ConfigError(
            "Expected no folder, or this bundle, found something else.",
            where=str(output),
            next_step="Choose another --output; a release is never overwritten.",
        )
    enter()
    if not there:
        finish_folder(folder, output, private=False)
    return output


def _same(folder: Path, output: Path) -> bool:
    listed = output / CHECKSUMS
    equal = listed.is_file() and listed.read_bytes() == (folder / CHECKSUMS).read_bytes()
    return equal and not verify_bundle(output)
