"""Verify a bundle as its recipient would: offline, on another machine, believing nothing.

Checksums find damage and slips. They are no signature: who can change a file can change them too.
What ties the bundle to the hospital is the ledger's head in the privacy record.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import ConfigError
from synthgen.release._checks import FORMATS, data_problems, format_of
from synthgen.release._claims import claim_problems
from synthgen.release._datapackage import data_package
from synthgen.release.record import check_record, record_digest, record_text
from synthgen.schema import Schema, load_schema

CARD, CHECKSUMS, PACKAGE = "card.md", "checksums.sha256", "datapackage.json"
RECORD, REPORT, SCHEMA = "privacy_record.json", "report.html", "schema.yaml"
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

    Every file must be listed, present and unchanged, and nothing else may lie in the folder; links are not
    followed. The record must be complete, and its epsilon must follow from its events. The data must
    keep to the schema and its hard rules. Content is judged only in files that are as listed.

    Args:
        path: the bundle's folder.

    Returns:
        what is wrong, by file; empty if nothing is.
    """
    if path.is_symlink() or not path.is_dir():
        return [Problem(".", "expected a folder, found none")]
    files, problems = _inventory(path)
    problems += [Problem(name, "missing") for name in REQUIRED if name not in files]
    if not any(name.startswith("data/") for name in files):
        problems.append(Problem("data", "expected at least one data file"))
    if CHECKSUMS in files:
        problems += _checksum_problems(path, files)
    damaged = {problem.file for problem in problems}
    return problems + _content_problems(path, files - damaged)


def checksums(folder: Path) -> str:
    """Return ``checksums.sha256`` of a folder: every other file, sorted by name."""
    files, _ = _inventory(folder)
    return "".join(f"{_digest(folder / name)}  {name}\n" for name in sorted(files - {CHECKSUMS}))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _inventory(folder: Path) -> tuple[set[str], list[Problem]]:
    """Return the plain files at their allowed places, and what else lies in the folder."""
    files: set[str] = set()
    problems: list[Problem] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            problems.append(Problem(entry.name, "is a link or not a plain file"))
        elif entry.name in REQUIRED and entry.is_file():
            files.add(entry.name)
        elif entry.name == "data" and entry.is_dir():
            for inner in sorted(entry.iterdir()):
                plain = inner.is_file() and not inner.is_symlink()
                if plain:
                    files.add(f"data/{inner.name}")
                else:
                    problems.append(Problem(f"data/{inner.name}", "is a link, a folder, or not a plain file"))
        else:
            problems.append(Problem(entry.name, "does not belong to a bundle"))
    return files, problems


def _checksum_problems(folder: Path, files: set[str]) -> list[Problem]:
    listed: dict[str, str] = {}
    try:
        text = (folder / CHECKSUMS).read_bytes().decode("utf-8")
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
        elif listed[name] != _digest(folder / name):
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
    problems += _marked(folder, intact, record)
    return problems if schema is None else problems + _against_schema(folder, intact, record, schema)


def _read_record(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        text = path.read_bytes().decode("utf-8")
        record = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return None, ["is not JSON"]
    problems = check_record(record) if isinstance(record, dict) else ["is not a JSON object"]
    if problems:
        return None, problems
    return record, [] if record_text(record) == text else ["is not in its sorted form"]


def _marked(folder: Path, intact: set[str], record: Mapping[str, Any]) -> list[Problem]:
    """Card and report name the record that they were made from, by its digest."""
    digest = record_digest(record)
    problems = []
    for name in (CARD, REPORT):
        if name in intact and digest.encode() not in (folder / name).read_bytes():
            problems.append(Problem(name, "was not made from this privacy record"))
    edition = b'<meta name="synthgen-edition" content="public">'
    if REPORT in intact and edition not in (folder / REPORT).read_bytes():
        problems.append(Problem(REPORT, "is not the public edition"))
    return problems


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
    for name, path in known.items():
        found = data_problems(path, schema, records=counts[name])
        problems += [Problem(f"data/{name}", message) for message in found]
    if PACKAGE in intact and set(known) == set(counts):
        readable = all(format_of(path) in (*FORMATS, "zip") for path in known.values())
        expected = data_package(known, schema=schema, record=record) if readable else ""
        if (folder / PACKAGE).read_bytes() != expected.encode():
            problems.append(Problem(PACKAGE, "does not agree with data, schema and privacy record"))
    return problems
