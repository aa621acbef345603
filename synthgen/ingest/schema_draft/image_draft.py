"""Draft a schema for images: the columns of their table, array file or headers, and the pictures' form.

Without suggestions only names are read, and of pictures the form that their files declare (channels and
bits), never a pixel. DICOM files: `synthgen.ingest.dicom.cohort.draft`.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from synthgen.errors import ConfigError, DataError
from synthgen.ingest.images import decode, npz
from synthgen.ingest.images.read import index_of, names_in, only_table
from synthgen.ingest.schema_draft import draft as _draft
from synthgen.ingest.schema_draft.from_file import init
from synthgen.ingest.schema_draft.table_draft import Draft, Named, suggested, unit_of
from synthgen.ingest.tables.table import read_raw
from synthgen.printable import yaml as escape

FILE_NAMES = (
    "file",
    "filename",
    "image",
    "imagefile",
    "imagename",
    "imageid",
    "imageindex",
    "imagepath",
    "path",
)
FORM_HINT = "TODO: check them against what the pictures are: channels 1 (grey) or 3, bits of a value"
FILE_HINT = "names each record's picture"
NO_FILE = "TODO: `file: COLUMN`, the column that names each record's picture"
LOOKED_AT = 50


def holds_dicom(path: Path) -> bool:
    """Return whether a folder holds DICOM files and no pictures.

    Raises:
        ConfigError: it does, and the extra is not installed.
    """
    from synthgen.ingest.images.dicom_detection import looks_like_dicom, require_extra

    if not path.is_dir() or index_of(path) or not looks_like_dicom(path, declared=False):
        return False
    require_extra()
    return True


def is_images(path: Path) -> bool:
    """Return whether a path is a folder or an array file of images, not a table."""
    return path.is_dir() or path.suffix.lower() == ".npz"


def draft(path: Path, *, suggest: bool, named: Named, **dialect: Any) -> Draft:
    """Return the draft of a schema of images.

    Args:
        path: a folder of pictures with one table, or an ``.npz`` file.
        suggest: read values too; each field is then written with ``confirmed: false``.
        named: the columns whose part a person names.
        dialect: how the table is written, see `synthgen.ingest.schema_draft.from_file.init`.

    Raises:
        ConfigError: a folder has not one table, or a person names a column that is not there.
        DataError: the table or the array file cannot be read, or has no column to model.
    """
    if not path.is_dir():
        return _of_array(path, suggest=suggest, named=named, dialect=dialect)
    if not index_of(path):
        raise ConfigError(
            "Expected a folder with PNG, JPEG, TIFF or DICOM files, found none of them.",
            where=str(path),
            next_step="Name the folder that holds the images, or the table's file itself.",
        )
    return _of_folder(path, suggest=suggest, named=named, dialect=dialect)


def _of_folder(folder: Path, *, suggest: bool, named: Named, dialect: dict[str, Any]) -> Draft:
    table = only_table(folder)
    made = init(table, suggest=suggest, named=named, **dialect)
    pictures = index_of(folder)
    options = {key: dialect[key] for key in ("delimiter", "encoding", "decimal") if key in dialect}
    frame = read_raw(table, **options) if suggest else None
    names = _field_names(made.text)
    column = _file_column(names, frame, pictures)
    form = _form({path for paths in pictures.values() for path in paths}, folder)
    return Draft(with_images(made.text, form, column, needs_file=True), made.identifiers, made.notes)


def _of_array(path: Path, *, suggest: bool, named: Named, dialect: dict[str, Any]) -> Draft:
    parts = npz.parts(path, others="drop")
    frame = pd.concat([part.columns for part in parts], ignore_index=True)
    names = list(map(str, frame.columns))
    if not names:
        raise DataError(
            "Expected a column for each image in the array file, such as labels, found none.",
            where=str(path),
            next_step="Add an array of as many values as there are images.",
        )
    if suggest:
        chosen = {key: dialect[key] for key in ("decimal", "date_format") if key in dialect}
        made = suggested(frame, named, **chosen)
    else:
        roles = dict.fromkeys(named.labels, "label") | dict.fromkeys(named.protected, "protected")
        made = Draft(_draft.names_only(names, unit=unit_of(names, named), roles=roles))
    form = {"channels": 3 if parts[0].shape[3:] == (3,) else 1, "bits": 8 * parts[0].dtype.itemsize}
    form["bits"] = 8 if form["channels"] == 3 else form["bits"]
    unused = sorted({name for part in parts for name in part.unused})
    notes = [f"Entries {unused} are no columns: the draft says `others: drop`."] if unused else []
    text = with_images(made.text, form, None, needs_file=False, others="drop" if unused else "")
    return Draft(text, made.identifiers, (*made.notes, *notes))


def _field_names(text: str) -> list[str]:
    return [str(field["name"]) for field in _yaml().load(text)["fields"]]


def _file_column(
    names: Sequence[str], frame: pd.DataFrame | None, pictures: dict[str, list[Path]]
) -> str | None:
    """Return the column that names pictures: by its cells where they are read, else by its own name."""
    if frame is not None:
        fits = {name: sum(text in pictures for text in names_in(frame[name])) for name in map(str, frame)}
        best = max(fits, key=lambda name: fits[name])
        return best if 2 * fits[best] > len(frame) else None
    plain = {name: "".join(c for c in name.lower() if c.isalnum()) for name in names}
    return next((name for name in names if plain[name] in FILE_NAMES), None)


def _form(paths: set[Path], folder: Path) -> dict[str, Any]:
    """Return channels and bits as the files declare them; no pixel is read."""
    modes: Counter[str] = Counter()
    for path in sorted(paths)[:LOOKED_AT]:
        mode = decode.mode_of(path, folder)
        modes.update([mode] if mode else [])
    coloured = any(mode in ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr") for mode in modes)
    deep = bool(modes) and all(mode.startswith("I") for mode in modes)
    return {"channels": 3 if coloured else 1, "bits": 16 if deep and not coloured else 8}


def with_images(
    text: str, form: dict[str, Any], column: str | None, *, needs_file: bool, others: str = ""
) -> str:
    """Return a draft with the pictures' form, and the column that names them as an id."""
    content = _yaml().load(text)
    keys = ({"file": column} if column is not None else {}) | form
    place = list(content).index("fields")
    hint = f"{FORM_HINT}; {NO_FILE}" if needs_file and column is None else FORM_HINT
    content.insert(place, "images", _draft.flow(keys), comment=hint)
    if others:
        content.insert(place, "others", others, comment="entries that are no columns are left out")
    for field in content["fields"]:
        if column is not None and str(field["name"]) == column:
            for key in [key for key in field if key not in ("name", "type")]:
                del field[key]
            field["type"], field["role"] = "string", "id"
            field.yaml_add_eol_comment(FILE_HINT, "name")
    stream = io.StringIO()
    _yaml().dump(content, stream)
    return escape(stream.getvalue())


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.width = 100_000
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
