"""A fitted generator on disk: its own files, and the schema beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

from synthgen import plugins
from synthgen.errors import OperationError
from synthgen.files import limits
from synthgen.files.safe_files import check_folder, write_bytes
from synthgen.generators import model_files
from synthgen.generators.base import TableModel
from synthgen.generators.longitudinal.model import fitted_schema, with_schema
from synthgen.generators.model_files import read_name, write_name
from synthgen.schema.schema import Schema

SCHEMA_FILE, KIND_FILE = "schema.json", "generator.json"


def save_model(model: TableModel, schema: Schema, generator: str, folder: Path) -> None:
    """Write a model, its public schema and its generator's name into an existing folder."""
    model.save(folder)
    text = schema.public().model_dump_json(by_alias=True, indent=1) + "\n"
    write_bytes(folder / SCHEMA_FILE, text.encode(), private=False, durable=False)
    write_name(folder / KIND_FILE, generator)


def model_folder(path: Path) -> Path:
    """Return the folder of a model: in a run's folder its public one, else the folder itself.

    Raises:
        DataError: the folder holds a link, a pipe, a device, or something of another user.
        OperationError: it cannot be read.
    """
    of_run = path / "public" / "model"
    is_run = os.path.lexists(of_run)
    _check(path, "a run" if is_run else "a model")
    return of_run if is_run else path


def load_model(folder: Path) -> tuple[TableModel, Schema, str]:
    """Read a model where the data never was.

    Returns:
        The model, its schema, and its generator's name.

    Raises:
        ConfigError: the folder holds no model of this version.
        DataError: it holds a link, a pipe, a device, or something of another user.
        OperationError: it cannot be read.
    """
    _check(folder, "a model")
    with model_files.reading(folder, "the folder of a saved model"):
        content = model_files.meta(folder, SCHEMA_FILE)
        limits.require("schema_fields", len(content["fields"]), where=str(folder))
        schema = Schema.model_validate_json(json.dumps(content))
        generator = read_name(folder / KIND_FILE)
        modality = "tabular" if schema.images is None else "imaging"
        module = plugins.load(f"synthgen.generators.{modality}", generator)
        model = cast(TableModel, module.load(folder, fitted_schema(schema)))
        return with_schema(model, schema), schema, generator


def _check(folder: Path, what: str) -> None:
    try:
        check_folder(folder, what=what)
    except FileNotFoundError:  # who reads it says so
        return
    except OSError as error:
        raise OperationError.of(error, "open the model", where=str(folder)) from error
