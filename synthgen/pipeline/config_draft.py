"""Write a complete, commented config for a schema, which `plan` takes once a person has filled in the rest.

Every key stands in it with its meaning and its default or suggestion. Of the table only its first line is
read, to learn which file the schema describes and how it is written; no value is read. What nobody but the
steward knows (how many patients the cohort has) is marked `FILL_IN`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthgen.config.data_section import PARQUET
from synthgen.config.run_config import FILL_IN, BudgetSection, EvaluateSection
from synthgen.errors import ConfigError, SynthgenError
from synthgen.ingest.tables import dialect_guess, files
from synthgen.printable import json_text
from synthgen.schema.schema import Schema

ENDINGS = (".csv", ".tsv", ".txt", ".data", *PARQUET)
SIZE = 64
EPSILON = 1.0
DELTA = 1e-6
PREPROCESSING = 0.1
DIALECT = {"delimiter": ",", "encoding": "utf-8", "decimal": ".", "date_format": None}


@dataclass(frozen=True)
class Source:
    """The file that a schema describes.

    Attributes:
        path: a table, or a folder or array file of images; None if it is not known.
        dialect: how a table is written, see `synthgen.config.data_section.TableSource`.
    """

    path: Path | None
    dialect: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether it is a text file, which has a dialect."""
        return self.path is None or self.path.suffix.lower() not in PARQUET


def find_table(schema: Schema, folder: Path, dialect: Mapping[str, Any], *, name: str) -> Source:
    """Return the only table of a folder whose first line has all of a schema's columns.

    Args:
        schema: its columns are looked for.
        folder: where tables are looked for.
        dialect: what a person says of it; what is not said is seen from the first lines.
        name: the schema's file name; of several tables the one that begins like it is taken.
    """
    wanted = {one.name for one in schema.fields}
    fitting = []
    for path in sorted(folder.iterdir()):
        if _is_table(path):
            source = of_table(path, schema, dialect)
            if source is not None and wanted <= set(_header(path, source.dialect)):
                fitting.append(source)
    same = [one for one in fitting if one.path is not None and name.startswith(one.path.name.split(".")[0])]
    several = same if len(fitting) > 1 else fitting
    return several[0] if len(several) == 1 else Source(None, dict(dialect))


def _is_table(path: Path) -> bool:
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    return path.is_file() and not path.name.startswith(".") and any(end in ENDINGS for end in endings)


def of_table(path: Path, schema: Schema, dialect: Mapping[str, Any]) -> Source | None:
    """Return a table with its dialect: what a person says, else what its first lines show.

    Args:
        path: the table.
        schema: its columns, to recognise the delimiter by.
        dialect: delimiter, encoding, decimal and date_format as far as a person has said them.

    Returns:
        The table, or None if its encoding is not known.
    """
    if path.suffix.lower() in PARQUET:
        return Source(path, {})
    said = {key: value for key, value in dialect.items() if value is not None}
    encoding = said.get("encoding") or dialect_guess.encoding_of(path)
    if encoding is None:
        return None
    names = [one.name for one in schema.fields]
    sign = said.get("delimiter") or dialect_guess.delimiter_of(path, encoding, known=names) or ","
    return Source(path, {**DIALECT, **said, "encoding": encoding, "delimiter": sign})


def _header(path: Path, dialect: Mapping[str, Any]) -> list[str]:
    with suppress(SynthgenError, UnicodeError):
        return _read_header(path, dialect)
    return []


def _read_header(path: Path, dialect: Mapping[str, Any]) -> list[str]:
    if path.suffix.lower() in PARQUET:
        return files.named(files.parquet_header(path), path)
    return files.csv_header(path, delimiter=dialect["delimiter"], encoding=dialect["encoding"])


def require_columns_of(source: Source, schema: Schema) -> None:
    """Refuse a table whose first line lacks columns of the schema.

    Raises:
        ConfigError: names how many; the first line may be a patient's record, so none of it is shown.
    """
    if source.path is None:
        return
    try:
        header = set(_read_header(source.path, source.dialect))
    except UnicodeError:
        header = set()
    lacking = [f.name for f in schema.fields if f.name not in header]
    if lacking:
        raise ConfigError(
            f"Expected the schema's columns in the table, found no {lacking}.",
            where=str(source.path),
            next_step="Name the table with --data, and its delimiter and encoding if they are unusual.",
        )


def suggested_delta(patients: int | None) -> float:
    """Return a delta well below one over the number of patients: a power of ten, at most 1e-5.

    Example:
        >>> suggested_delta(70_000), suggested_delta(300), suggested_delta(None)
        (1e-06, 1e-05, 1e-06)
    """
    if patients is None:
        return DELTA
    return float(f"1e{min(-5, math.floor(math.log10(0.1 / patients)))}")


def draft(
    schema: Schema,
    schema_path: Path,
    source: Source,
    output: Path,
    *,
    cohort: str | None = None,
    patients: int | None = None,
    epsilon: float | None = None,
) -> str:
    """Return a config as YAML with comments.

    Args:
        schema: the table's public description.
        schema_path: its file.
        source: the table or images.
        output: where the config will stand: paths are written relative to it.
        cohort: the ledger's name for these patients; the schema's file name if None.
        patients: declared number of patients, or None, which is to be filled in.
        epsilon: of a fit; `EPSILON` if None.
    """
    name = cohort or schema_path.name.split(".")[0]
    blocks = [
        _head(name, patients),
        _data(schema, schema_path, source, output),
        _budget(schema, patients, EPSILON if epsilon is None else epsilon),
        GENERATOR if schema.images is None else IMAGE_GENERATOR,
        SAMPLE,
        _evaluate(schema),
        _release(schema, source),
    ]
    return "\n".join(blocks)


def _head(cohort: str, patients: int | None) -> str:
    left = "" if patients is not None else f"# Fill in what says {FILL_IN}, then: synthgen plan THIS_FILE\n"
    return (
        "# A run's config. Paths start from this file's folder. Each key that is left out has its default.\n"
        f"{left}"
        f"cohort: {_text(cohort)}  # the ledger's name of these patients; the same in every run on them\n"
        "rehearsal: false  # true: a free trial on a table of `schema simulate`\n"
        "seed: 0  # of initial weights and of `sample`; privacy noise comes from the operating system\n"
    )


def _data(schema: Schema, schema_path: Path, source: Source, output: Path) -> str:
    base = output.resolve().parent
    kind = "table" if schema.images is None else "images"
    path = FILL_IN if source.path is None else _relative(source.path, base)
    lines = [
        "data:",
        f"  {kind}:",
        f"    path: {_text(path)}",
        f"    schema: {_text(_relative(schema_path, base))}",
    ]
    if schema.images is not None:
        lines += [
            f"    size: {schema.images.size or SIZE}  # pixels a side that every image is brought to; public",
            "    table: null  # the attributes' file, where it is not the only table in the folder",
            "    patients: null  # of DICOM files, a CSV that says which patient each belongs to",
            "    without_id: error  # of DICOM files that name no patient: error, leave_out, or own (weaker)",
        ]
    if source.is_text:
        dialect = {**DIALECT, **source.dialect}
        lines += [
            f"    delimiter: {_text(dialect['delimiter'])}  # between cells of a text file",
            f"    encoding: {_text(dialect['encoding'])}  # of a text file: utf-8, latin-1, cp1252, utf-16",
            f"    decimal: {_text(dialect['decimal'])}  # sign of numbers in text, a point or a comma",
            f"    date_format: {_text(dialect['date_format'])}  # strptime format of dates; null is ISO",
        ]
    return "\n".join(lines) + "\n"


def _budget(schema: Schema, patients: int | None, epsilon: float) -> str:
    share = _number(PREPROCESSING) if schema.paid else "null"
    return (
        "budget:\n"
        f"  ledger: {_text(BudgetSection.model_fields['ledger'].default)}"
        '  # null: a file of this cohort alone; better one for the organisation, such as "sqlite:///ledger.db"\n'
        f"  epsilon: {_number(epsilon)}  # privacy loss of this fit; below 1 is strong, above 10 is weak\n"
        f"  delta: {_number(suggested_delta(patients))}  # probability of failure; below .1 / patients\n"
        f"  patients: {FILL_IN if patients is None else patients}"
        "  # patients of the cohort: a public, declared number, such as a rounded one; not counted here\n"
        f"  preprocessing: {share}  # part of the budget for domains that the schema marks as `paid`\n"
    )


GENERATOR = """generator:
  name: auto  # chooses by public facts; or marginal, network, gan, diffusion, pategan with own options
"""
IMAGE_GENERATOR = (
    "generator:\n"
    "  name: auto  # chooses by public facts; or embedding, gan, diffusion with options of their own\n"
    "  attributes: {name: marginal, share: 0.2}  # how the attributes are drawn, and its part of the budget\n"
)
SAMPLE = """sample:
  records: null  # synthetic records in the release, of linked ones patients; null: as many as patients train
"""


def _evaluate(schema: Schema) -> str:
    labels = schema.with_role("label")
    groups = [n for n in schema.with_role("protected") if schema.column(n).kind != "date"]
    target = _text(labels[0]) if labels else "null"
    shown = "[" + ", ".join(map(_text, groups)) + "]" if groups else "null"
    lacking = [
        f"no `role: {role}`" for role, names in (("label", labels), ("protected", groups)) if not names
    ]
    if lacking:
        note = f"  # THE SCHEMA NAMES {' AND '.join(lacking)}: without them nothing can be signed\n"
    else:
        note = ""
    return (
        "evaluate:  # without this section nothing is held out, and nothing can be signed\n"
        f"{note}"
        f"  holdout: {EvaluateSection().holdout}  # part of the patients that no generator sees\n"
        f"  target: {target}  # the column that utility is measured on; null: the first with `role: label`\n"
        f"  groups: {shown}  # the columns that fairness is measured on; null: those with `role: protected`\n"
        "  canaries: null  # fabricated patients in the audit; 0: no audit; null: a public rule\n"
    )


def _release(schema: Schema, source: Source) -> str:
    kinds = "csv" if source.is_text else "parquet"
    more = ", dicom" if schema.images is not None else ""
    return (
        "release:\n"
        "  policy: default  # what must hold for the verdict `release`; or the path of a policy\n"
        f"  formats: [{kinds}]  # csv, parquet{more}\n"
        "  csv_formulas: keep  # escape: an apostrophe before CSV cells that a spreadsheet would run\n"
    )


def _relative(path: Path, base: Path) -> str:
    """Return a path from the config's folder: relative where it lies beneath or next to it."""
    path = path.resolve()
    shown = os.path.relpath(path, base)
    return str(path) if shown.count("..") > 1 else shown


def _text(value: str | None) -> str:
    return "null" if value is None else json_text(value, ascii_only=False)


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 0.1 and round(value, 1) == value else f"{value:g}"
