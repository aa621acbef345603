"""A fitted generator on disk: its own files, and the schema beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from synthgen import plugins
from synthgen.errors import ConfigError
from synthgen.models._base import TableModel
from synthgen.models._longitudinal import fitted_schema, with_schema
from synthgen.schema import Schema

SCHEMA_FILE, KIND_FILE = "schema.json", "generator.json"


def save_model(model: TableModel, schema: Schema, generator: str, folder: Path) -> None:
    """Write a model, its public schema and its generator's name into an existing folder."""
    model.save(folder)
    (folder / SCHEMA_FILE).write_text(
        schema.public().model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8"
    )
    (folder / KIND_FILE).write_text(json.dumps({"generator": generator}) + "\n", encoding="utf-8")


def model_folder(path: Path) -> Path:
    """Return the folder of a model: in a run's folder its public one, else the folder itself."""
    of_run = path / "public" / "model"
    return of_run if of_run.is_dir() else path


def load_model(folder: Path) -> tuple[TableModel, Schema, str]:
    """Read a model where the data never was.

    Returns:
        The model, its schema, and its generator's name.

    Raises:
        ConfigError: the folder holds no model of this version.
    """
    try:
        schema = Schema.model_validate_json((folder / SCHEMA_FILE).read_text(encoding="utf-8"))
        generator = str(json.loads((folder / KIND_FILE).read_text(encoding="utf-8"))["generator"])
    except (OSError, ValidationError, ValueError, KeyError, TypeError):
        raise ConfigError(
            "Expected the folder of a saved model.",
            where=str(folder),
            next_step="Name the folder of a run that was fitted, or one that `save` wrote.",
        ) from None
    prefix = "tabular_" if schema.images is None else "imaging_"
    module = plugins.load("synthgen.models", generator, prefix=prefix)
    model = cast(TableModel, module.load(folder, fitted_schema(schema)))
    return with_schema(model, schema), schema, generator
