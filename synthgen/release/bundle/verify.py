"""Verify a bundle as its recipient would: offline, on another machine, believing nothing.

Checksums find damage and slips. Record, data, card, report and data package must follow from each other, so
that no part can be changed alone. That is no signature: who rewrites all of them writes another bundle that
agrees with itself. `synthgen.release.bundle.ledger_entry` finds that, with the hospital's ledger; the
ledger's head in the record dates a bundle and does not prove its claim.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError, DataError
from synthgen.files import json_file, limits
from synthgen.files.json_file import read_bytes
from synthgen.files.safe_files import folder_problems, open_without_links
from synthgen.release.bundle.data_checks import FORMATS, checked
from synthgen.release.bundle.regenerate import CARD, PACKAGE, REPORT, difference, first_table, made
from synthgen.release.record.fields import FORMAT, OLDER
from synthgen.release.record.recompute_claims import claim_problems
from synthgen.release.record.record import PRODUCT, check_record, record_text, software_versions
from synthgen.schema.file_dialect import format_of
from synthgen.schema.schema import Schema, load_schema

CHECKSUMS, RECORD, SCHEMA = "checksums.sha256", "privacy_record.json", "schema.yaml"
REQUIRED = (CARD, CHECKSUMS, PACKAGE, RECORD, REPORT, SCHEMA)
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\x00-\x1f\\]+)")


@dataclass(frozen=True)
class Problem:
    """Something that `verify_bundle` found.

    Attributes:
        file: path inside the bundle.
        message: what is wrong with it, without any cell.
    """

    file: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Return the problem as JSON values."""
        return {"file": self.file, "message": self.message}


def verify_bundle(path: Path) -> list[Problem]:
    """Check a bundle: files, record, claim, schema, data.

    Every file must be listed, present and unchanged, and nothing else may lie in the folder; links, pipes,
    devices, hard links and other users' files are not read (`synthgen.files.safe_files`). The record must be
    complete, its epsilon must follow from its events, and the data files must be those of which it has the
    digests. The data must keep to the schema and its hard rules. Card, report and data package are made anew
    from record, schema and data, and compared. Content is judged only in files that are as listed.

    Args:
        path: the bundle's folder.

    Returns:
        what is wrong, by file; empty if nothing is.

    Raises:
        TooLarge: a file or the folder is beyond the limits (`synthgen.files.limits`).
    """
    if path.is_symlink() or not path.is_dir():
        return [Problem(".", "expected a folder, found none")]
    strange = dict(folder_problems(path))
    if "." in strange:
        return [Problem(".", f"is {strange['.']}: copy it with your own account and verify the copy")]
    files, problems = _inventory(path)
    files -= set(strange)
    reported = {problem.file for problem in problems}
    problems += [Problem(name, f"is {what}") for name, what in strange.items() if name not in reported]
    if not files and not strange:
        return [Problem(".", f"is not a bundle: none of its files is here{_instead(path)}")]
    problems += [Problem(name, "missing") for name in REQUIRED if name not in files]
    if not any(name.startswith("data/") for name in files):
        problems.append(Problem("data", "expected at least one data file"))
    if CHECKSUMS in files:
        problems += _checksum_problems(path, files)
    damaged = {problem.file for problem in problems}
    return _shown(problems + _content_problems(path, files - damaged))


def _shown(problems: list[Problem]) -> list[Problem]:
    """Return as many problems as a person reads, and how many more there are."""
    most = limits.current().problems
    if len(problems) <= most:
        return problems
    return [*problems[:most], Problem(".", f"{len(problems) - most} more problems")]


def checksums(folder: Path) -> str:
    """Return ``checksums.sha256`` of a folder: every other file, sorted by name."""
    files, _ = _inventory(folder)
    return "".join(f"{file_digest(folder / name)}  {name}\n" for name in sorted(files - {CHECKSUMS}))


def record_of(path: Path) -> dict[str, Any]:
    """Return the privacy record of a bundle.

    Raises:
        DataError: it has none that can be read.
    """
    try:
        record, problems = _read_record(path / RECORD)
    except OSError:
        record, problems = None, ["is missing or cannot be read"]
    if record is None:
        raise DataError(
            f"Expected a complete privacy record: {'; '.join(problems[:5])}.",
            where=f"{path.name}/{RECORD}",
            next_step="Run `synthgen verify` on the bundle.",
        )
    return record


def _instead(folder: Path) -> str:
    """Return what a folder is that is no bundle, as far as its names say."""
    names = {entry.name for entry in folder.iterdir()}
    if {"internal", "public"} <= names:
        return "; this is a run's folder, its bundle is in public/bundle once it is released"
    if "bundle" in names:
        return "; there is a folder bundle in it"
    if {"schema.json", "generator.json"} & names:
        return "; this is a model's folder, which is checked when it is loaded"
    return ""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with open_without_links(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _inventory(folder: Path) -> tuple[set[str], list[Problem]]:
    """Return the plain files at their allowed places, and what else lies in the folder."""
    files: set[str] = set()
    problems: list[Problem] = []
    for entry in _entries(folder):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            problems.append(Problem(entry.name, "is a link or not a plain file"))
        elif entry.name in REQUIRED and entry.is_file():
            files.add(entry.name)
        elif entry.name == "data" and entry.is_dir():
            for inner in _entries(entry):
                plain = inner.is_file() and not inner.is_symlink()
                if plain:
                    files.add(f"data/{inner.name}")
                else:
                    problems.append(Problem(f"data/{inner.name}", "is a link, a folder, or not a plain file"))
        else:
            problems.append(Problem(entry.name, f"does not belong to a bundle{_like(entry.name)}"))
    return files, problems


def _like(name: str) -> str:
    known = next((one for one in (*REQUIRED, "data") if one.lower() == name.lower()), None)
    return f": it would be called {known}" if known and known != name else ""


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted, if it is no more than the limits allow."""
    most = limits.current().folder_files
    found = list(itertools.islice(folder.iterdir(), most + 1))
    limits.require("folder_files", len(found), where=folder.name)
    return sorted(found)


def _checksum_problems(folder: Path, files: set[str]) -> list[Problem]:
    listed: dict[str, str] = {}
    try:
        text = read_bytes(folder / CHECKSUMS, "text_bytes").decode("utf-8")
    except UnicodeDecodeError:
        return [Problem(CHECKSUMS, "is not UTF-8 text")]
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(Problem(CHECKSUMS, f"line {number} is not a checksum"))
            continue
        listed[match["name"]] = match["digest"]
    for name in sorted(set(listed) - files):
        known = name in REQUIRED  # reported as missing already
        problems += [] if known else [Problem(name, "listed, but missing or outside the bundle's layout")]
    for name in sorted(files - {CHECKSUMS}):
        if name not in listed:
            problems.append(Problem(name, "not listed in checksums.sha256"))
        elif listed[name] != file_digest(folder / name):
            problems.append(Problem(name, "changed: its checksum is not the one listed"))
    if not problems and text != checksums(folder):
        problems.append(Problem(CHECKSUMS, "is not in its sorted form"))
    return problems


def _content_problems(folder: Path, intact: set[str]) -> list[Problem]:
    problems: list[Problem] = []
    record = schema = None
    if RECORD in intact:
        record, found = _read_record(folder / RECORD)
        problems += [Problem(RECORD, message) for message in found]
    if SCHEMA in intact:
        try:
            schema = load_schema(folder / SCHEMA)
        except ConfigError as error:
            problems.append(Problem(SCHEMA, error.message))
    if record is None:
        return problems
    problems += [Problem(RECORD, message) for message in claim_problems(record)]
    return problems if schema is None else problems + _against_schema(folder, intact, record, schema)


def _read_record(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        content = json_file.read_bytes(path, "json_bytes")
        record, text = json_file.parse(content), content.decode("utf-8")
    except limits.TooLarge as error:
        return None, [f"{error.message} {error.next_step}"]
    except ValueError as error:
        return None, [f"is not JSON: {error}"]
    if isinstance(record, dict) and record.get("format") in OLDER:
        return None, [
            f"was made by a former version of synthgen ({_maker(record)}), in the format {record['format']}; "
            f"this version reads {FORMAT}: verify it with that version"
        ]
    problems = check_record(record) if isinstance(record, dict) else ["is not a JSON object"]
    if problems:
        return None, problems
    return record, [] if record_text(record) == text else ["is not in its sorted form"]


def _maker(record: Mapping[str, Any]) -> str:
    software = record.get("software")
    return str(software.get(PRODUCT)) if isinstance(software, dict) else "unknown"


def _against_schema(
    folder: Path, intact: set[str], record: Mapping[str, Any], schema: Schema
) -> list[Problem]:
    problems = []
    if schema.digest() != record["data"]["schema_sha256"]:
        problems.append(Problem(SCHEMA, "is not the schema that the privacy record names"))
    counts: Mapping[str, int] = record["data"]["files"]
    data = {name.removeprefix("data/"): folder / name for name in sorted(intact) if name.startswith("data/")}
    problems += [Problem(f"data/{name}", "not in the privacy record") for name in data if name not in counts]
    problems += [
        Problem(f"data/{name}", "the privacy record names it, but it is missing or changed")
        for name in sorted(set(counts) - set(data))
    ]
    known = {name: path for name, path in data.items() if name in counts}
    digests: Mapping[str, str] = record["data"]["sha256"]
    first, table = first_table(known), None
    for name, path in known.items():
        if digests.get(name) != file_digest(path):
            problems.append(
                Problem(f"data/{name}", "is not the file of which the privacy record has the digest")
            )
        found, frame = checked(path, schema, records=counts[name])
        problems += [Problem(f"data/{name}", message) for message in found]
        table = frame if name == first else table
    readable = all(format_of(path) in (*FORMATS, "zip") for path in known.values())
    if table is None or set(known) != set(counts) or not readable:
        return problems
    return problems + _remade_problems(folder, intact, made_of(known, table, schema, record), record)


def made_of(
    data: Mapping[str, Path], table: SyntheticTable, schema: Schema, record: Mapping[str, Any]
) -> dict[str, str] | None:
    """Return the texts that follow from the rest of a bundle; None if its record is too odd to print."""
    try:
        return made(data, table, schema=schema, record=record)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError):
        return None


def _remade_problems(
    folder: Path, intact: set[str], expected: Mapping[str, str] | None, record: Mapping[str, Any]
) -> list[Problem]:
    """Return which of card, report and data package is not what the rest of the bundle makes."""
    if expected is None:
        return [Problem(RECORD, "no card and no report can be made from it")]
    problems, ours, theirs = [], software_versions().get(PRODUCT), record["software"].get(PRODUCT)
    for name, text in expected.items():
        line = difference(text, read_bytes(folder / name, "text_bytes")) if name in intact else None
        if line is None:
            continue
        message = f"is not what privacy record, schema and data make: it differs from line {line} on"
        if ours != theirs:
            message += (
                f". The record says that synthgen {theirs or 'of an unknown version'} made it, and this is "
                f"{ours or 'an unknown version'}, whose words may differ: verify it with that version"
            )
        problems.append(Problem(name, message))
    return problems
