"""A cohort of DICOM files: indexed, joined with its table by patient, ids and headers taken off, decoded.

`synthgen.ingest.dicom.index` reads and `synthgen.deidentify.dicom` decides what of a header goes on; they
know nothing of each other and meet here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthgen.config.data_section import ImageSource
from synthgen.data.tables import OTHERS, texts_of
from synthgen.deidentify import dicom as deidentify
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.dicom import index as ingest
from synthgen.ingest.images.check import WORD
from synthgen.ingest.images.read import RawImages, require_enough, too_many_left_out
from synthgen.ingest.schema_draft import draft as _draft
from synthgen.ingest.schema_draft.image_draft import with_images
from synthgen.ingest.schema_draft.table_draft import Draft
from synthgen.ingest.tables.check import Violation, check_frame
from synthgen.ingest.tables.omop import ID, flatten
from synthgen.ingest.tables.table import read_raw
from synthgen.schema.image_format import USUAL, Dicom
from synthgen.schema.privacy_unit import Unit
from synthgen.schema.schema import Schema

Tell = Callable[[str, float], None]
Keep = Callable[[np.ndarray], np.ndarray]
DICOM_HEAD = """Draft for DICOM files. Headers fill the columns below, and nothing else of a header comes in.
The categories are the standard's own words. A table with a row a patient is joined by `data.images.table`.
"""
NO_ROW = "no row of its patient in the table"
_BLANK = ""


def read(
    path: Path,
    schema: Schema,
    source: ImageSource,
    *,
    base: Path,
    keep: Keep = lambda units: np.ones(len(units), dtype=bool),
    progress: Tell = lambda what, done: None,
) -> RawImages:
    """Read a cohort of DICOM files.

    Args:
        path: a folder or a DICOMDIR.
        schema: declares the images' form and, as ``images.dicom``, what is asked for.
        source: the config's ``data.images``.
        base: folder that its paths start from.
        keep: which records of these patients are used; only their pixels are decoded.
        progress: called with what is being done and the part done, from 0 to 1.

    Returns:
        Raw attributes of all of the schema's columns, with the patient in the unit's, and pixels.

    Raises:
        ConfigError: the schema asks for what neither headers nor the table can say.
        DataError: no image can be used, images do not say whose they are, or the table has not one row a
            patient.
    """
    spec = schema.images
    if spec is None:
        raise ConfigError("Expected a schema that declares images, found none.")
    dicom = spec.dicom or Dicom()
    table = None if source.table is None else base / source.table
    patients = None if source.patients is None else base / source.patients
    known = tuple(one for one in (table, patients) if one is not None)
    found = ingest.index(
        path, dicom, patients=patients, without=source.without_id, skip=known, progress=progress
    )
    clinical = None if table is None else _table(table, schema, source)
    rows, joined = _rows(clinical, found.units, schema)
    used = np.flatnonzero(joined)
    used = used[keep(found.units[used])]
    frames = tuple(found.frames[i] for i in used)
    columns = _columns(schema, dicom, clinical, str(table or path))
    missing = next(iter(schema.missing_values), _BLANK)
    told = deidentify.conditioning([one.values for one in frames], columns, missing=missing)
    notes: Counter[str] = Counter()
    pixels, good, left = ingest.read_pixels(
        frames, spec, dicom, root=ingest.folder_of(path), progress=progress, notes=notes
    )
    require_enough(_intended(found.quarantined), len(found.frames), spec, where=str(path))
    require_enough(_intended(left), int(good.sum()), spec, where=str(path))
    frame = _frame(schema, told, clinical, rows[used], found.units[used])
    without = int((~joined).sum())
    report: dict[str, Any] = {
        **ingest.summary(found, left, int(good.sum())),
        "notes": dict(sorted(notes.items())),
        "without_row": without,
        "dropped": deidentify.dropped(found.tags, columns),
    }
    return RawImages(frame[good].reset_index(drop=True), pixels, report, (*found.quarantined, *left))


def check(path: Path, schema: Schema) -> list[Violation]:
    """Return what headers do against the schema, and what is left out, as information.

    Columns that a table is to fill are not looked at: check it by itself.

    Args:
        path: a folder or a DICOMDIR.
        schema: see `read`.

    Raises:
        ConfigError: the schema declares no images.
        DataError: no image can be used.
    """
    if schema.images is None:
        raise ConfigError("Expected a schema that declares images, found none.", where=str(path))
    dicom = schema.images.dicom or Dicom()
    found = ingest.index(path, dicom, without="leave_out")
    columns = dicom.columns([column.name for column in schema.columns])
    missing = next(iter(schema.missing_values), _BLANK)
    told = deidentify.conditioning([one.values for one in found.frames], columns, missing=missing)
    small = schema.images.model_copy(update={"size": 1})
    notes: Counter[str] = Counter()
    _, good, left = ingest.read_pixels(found.frames, small, dicom, root=ingest.folder_of(path), notes=notes)
    violations = (
        [Violation(WORD, "files without a patient", _without(found), "error")] if _without(found) else []
    )
    for out, used in ((found.quarantined, len(found.frames)), (left, int(good.sum()))):
        n = sum(_intended(out).values())
        many = too_many_left_out(n, used, schema.images)
        violations += [Violation(WORD, many, n)] if many else []
    if columns:
        kept = tuple(field for field in schema.fields if field.name in columns)
        part = schema.model_copy(update={"fields": kept, "rules": (), "unit": Unit(level="row")})
        violations += check_frame(told, part, path)
    reasons = ingest.summary(found, left, 0)["quarantined"]
    violations += [Violation(WORD, f"left out: {why}", n, "information") for why, n in reasons.items()]
    return violations + [Violation(WORD, text, n, "information") for text, n in sorted(notes.items())]


def draft(path: Path, *, suggest: bool) -> Draft:
    """Return the draft of a schema of DICOM files: the columns that headers fill.

    Args:
        path: a folder.
        suggest: read headers and keep the words that occur, each field with ``confirmed: false``; else sex
            and age with the standard's own words, which are public.

    Raises:
        DataError: no image can be used.
    """
    words = {"sex": deidentify.SEX, "view": (*deidentify.VIEWS, *deidentify.VIEWS_BREAST)}
    words |= {"body_part": deidentify.BODY_PARTS, "laterality": deidentify.LATERALITY}
    columns = ["sex", "age"]
    dicom: dict[str, Any] = {"attributes": {}, "modality": []}
    if suggest:
        found = ingest.index(path, Dicom(), without="leave_out")
        told = {
            name: Counter(deidentify.attribute(one.values, kind) or "" for one in found.frames)
            for name, kind in USUAL.items()
        }
        columns = [
            name for name in ("sex", "age", "view", "body_part", "laterality") if set(told[name]) - {""}
        ]
        dicom["modality"] = sorted(set(told["modality"]) - {""})
        words = {name: tuple(word for word in words[name] if word in told[name]) for name in words}
    dicom["attributes"] = {name: USUAL[name] for name in columns}
    unsure: dict[str, Any] = {"confirmed": False} if suggest else {}
    fields: list[tuple[str, dict[str, Any], str]] = [
        ("patient", {"type": "string", "role": "id"}, "PatientID")
    ]
    for name in columns:
        limits: dict[str, Any] = (
            {"enum": list(words[name])} if name in words else {"minimum": 0, "maximum": 90}
        )
        keys: dict[str, Any] = {"type": "integer" if name == "age" else "string"}
        keys |= {"role": "protected"} if name in ("sex", "age") else {}
        fields.append((name, {**keys, "constraints": limits, **unsure}, f"from the header's {USUAL[name]}"))
    text = _draft.document(
        head=DICOM_HEAD,
        unit={"column": "patient", "max_records": 1},
        unit_hint="how many images of a patient may be used",
        missing=[""],
        fields=fields,
    )
    form: dict[str, Any] = {"channels": 1, "bits": 8, "dicom": dicom}
    return Draft(with_images(text, form, None, needs_file=False))


def _intended(left: tuple[tuple[str, str], ...]) -> Counter[str]:
    """Return how many images were left out that were meant to be in the cohort, by reason."""
    return Counter(reason for _, reason in left if ingest.intended(reason))


def _without(found: ingest.DicomIndex) -> int:
    return sum(reason == ingest.NO_ID for _, reason in found.quarantined)


def _table(path: Path, schema: Schema, source: ImageSource) -> pd.DataFrame:
    if path.is_dir():
        frame = flatten(path, [field.name for field in schema.fields], decimal=source.decimal)
        frame = frame.rename(columns={ID: str(schema.unit.column)})
    else:
        frame = read_raw(path, delimiter=source.delimiter, encoding=source.encoding, decimal=source.decimal)
    unit = schema.unit.column
    if unit is None or unit not in frame.columns:
        raise DataError(
            f"Expected the patient's column {unit!r} in the table that is joined, found none.",
            where=str(path),
            next_step="Name it as the schema's unit does, or leave data.images.table out.",
        )
    texts = pd.Series(texts_of(frame[unit]), index=frame.index, dtype=object).str.strip()
    twice = int(texts[texts != ""].duplicated().sum())
    if twice:
        raise DataError(
            f"Expected one row a patient in the table that is joined, got {twice} rows more.",
            where=str(path),
            next_step="Flatten it: one row a patient. No budget was spent.",
        )
    return frame.assign(**{unit: texts}).reset_index(drop=True)


def _rows(clinical: pd.DataFrame | None, units: np.ndarray, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each image's patient, and whether there is one."""
    if clinical is None:
        return np.zeros(len(units), dtype=np.int64), np.ones(len(units), dtype=bool)
    known = {name: row for row, name in enumerate(clinical[str(schema.unit.column)].tolist())}
    rows = np.array([known.get(unit, -1) for unit in units.tolist()], dtype=np.int64)
    if not (rows >= 0).any():
        raise DataError(
            "Expected patients of the images in the table that is joined, found none of them.",
            next_step="Check that both use the same ids, or map them in a CSV as data.images.patients.",
        )
    return rows, rows >= 0


def _columns(schema: Schema, dicom: Dicom, clinical: pd.DataFrame | None, where: str) -> dict[str, Any]:
    """Return the columns that headers fill: those asked for, or known by name and not in the table."""
    beside = set() if clinical is None else {str(name) for name in clinical.columns}
    names = [column.name for column in schema.columns]
    columns = {
        name: kind for name, kind in dicom.columns(names).items() if dicom.attributes or name not in beside
    }
    lacking = [name for name in names if name not in columns and name not in beside]
    if lacking:
        raise ConfigError(
            f"Expected every column from a header or from the table, got {lacking} from neither.",
            where=where,
            next_step="Say which attribute fills it in the schema's `images: {dicom: {attributes: ...}}`, or"
            " join a table as data.images.table.",
        )
    return columns


def _frame(
    schema: Schema,
    told: pd.DataFrame,
    clinical: pd.DataFrame | None,
    rows: np.ndarray,
    units: np.ndarray,
) -> pd.DataFrame:
    """Return all of the schema's columns, one row an image."""
    beside = None if clinical is None else clinical.iloc[rows].reset_index(drop=True)
    content: dict[str, Any] = {}
    for field in schema.fields:
        if field.name == schema.unit.column:
            content[field.name] = units
        elif field.name in told:
            content[field.name] = told[field.name].to_numpy()
        elif beside is not None and field.name in beside:
            content[field.name] = beside[field.name]
        else:  # ids of images and dropped columns, of which nothing is used
            content[field.name] = np.full(len(units), _BLANK, dtype=object)
    drops = beside is None or schema.others == "drop"
    unknown = [] if drops or beside is None else [name for name in beside.columns if name not in content]
    if unknown:
        raise DataError(
            f"Expected the schema's columns only, also found {unknown} in the table that is joined.",
            next_step=OTHERS,
        )
    return pd.DataFrame(content)
