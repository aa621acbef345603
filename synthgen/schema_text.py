"""A schema as a person edits it in Python: its YAML text with comments, drafted, confirmed, written, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import ConfigError, for_python
from synthgen.files.safe_files import private_folder, write_bytes
from synthgen.frames import as_file
from synthgen.schema import schema as described
from synthgen.schema.fields import Constraints


@dataclass(frozen=True, repr=False)
class Schema:
    """The public description of a table. Unchangeable: each method returns a new one.

    Attributes:
        text: YAML, with the comments of its draft.

    Examples:
        >>> Schema("{unit: row, fields: [{name: sex, type: string, constraints: {enum: [F, M]}}]}")
        Schema(1 columns, unit row, 0 not confirmed)
    """

    text: str

    @classmethod
    @for_python
    def draft(
        cls,
        data: Any,
        *,
        unit: str | None = None,
        labels: str | tuple[str, ...] = (),
        protected: str | tuple[str, ...] = (),
    ) -> Schema:
        """Draft a schema from a table's values: types, ranges, categories, missing tokens, with reasons.

        What is drafted is a guess from real records and not public: every column waits for `confirm`.

        Args:
            data: a data frame, or the path of a CSV or Parquet file.
            unit: the column that names the patient.
            labels: columns of outcomes.
            protected: columns of groups that fairness is about.

        Raises:
            ConfigError: a named column is not there.
            DataError: the table cannot be read, or has no record.
        """
        from synthgen.ingest.schema_draft.from_file import init
        from synthgen.ingest.schema_draft.table_draft import Named

        with private_folder() as folder:
            named = Named(unit, _names(labels), _names(protected))
            return cls(init(as_file(data, folder, "table"), suggest=True, named=named).text)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Schema:
        """Read a schema file.

        Raises:
            ConfigError: the file is no schema, with its line.
        """
        described.load_schema(Path(path), complete=False)
        return cls(Path(path).read_text(encoding="utf-8-sig"))

    def to_yaml(self, path: str | Path) -> None:
        """Write the text, with its comments, into a file of mode 0600: a draft holds values of patients."""
        write_bytes(Path(path), self.text.encode(), private=True)

    @for_python
    def confirm(self, *columns: str) -> Schema:
        """Confirm that the domains of columns are public knowledge and not read off these patients.

        Args:
            columns: their names; none means every column that waits.

        Raises:
            ConfigError: there is no column of that name.
        """
        from synthgen.pipeline.schema_confirmation import confirm

        with private_folder() as folder:
            path = self._written(folder)
            confirm(path, columns or None)
            return Schema(path.read_text(encoding="utf-8"))

    def edit(self, column: str, **changes: Any) -> Schema:
        """Change keys of a column, such as ``role="label"``, ``minimum=0``, ``enum=["F", "M"]``.

        Args:
            column: its name.
            changes: keys of the field; those of ``constraints`` are taken by their own names. None removes
                a key.

        Raises:
            ConfigError: there is no column of that name, or the schema is wrong afterwards.
        """
        import io

        from ruamel.yaml import YAML

        yaml = YAML(typ="rt")
        yaml.width = 4096
        document = yaml.load(self.text)
        found = [field for field in document["fields"] if field["name"] == column]
        if not found:
            raise ConfigError(
                f"Expected a column of the schema, found none of the name {column!r}.",
                next_step=f"Its columns are {[str(field['name']) for field in document['fields']]}.",
            )
        inner = set(Constraints.model_fields)
        for key, value in changes.items():
            place = found[0].setdefault("constraints", {}) if key in inner else found[0]
            place.pop(key, None)
            if value is not None:
                place[key] = value
        if found[0].get("constraints") == {}:
            del found[0]["constraints"]
        stream = io.StringIO()
        yaml.dump(document, stream)
        edited = Schema(stream.getvalue())
        _ = edited.parsed
        return edited

    @property
    def parsed(self) -> described.Schema:
        """The schema as the pipeline uses it; columns may still wait for confirmation.

        Raises:
            ConfigError: the text is no schema.
        """
        with private_folder() as folder:
            return described.load_schema(self._written(folder), complete=False)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Names of columns that wait for `confirm`."""
        return tuple(field.name for field in self.parsed.fields if not field.confirmed)

    def _written(self, folder: Path) -> Path:
        path = folder / "schema.yaml"
        write_bytes(path, self.text.encode(), private=True, durable=False)
        return path

    def _rows(self) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        for field in self.parsed.fields:
            limits = field.constraints
            low, high = limits.minimum, limits.maximum
            domain = f"{low} to {high}" if low is not None or high is not None else ""
            domain = f"{len(limits.enum)} categories" if limits.enum else domain
            confirmed = "yes" if field.confirmed else "no"
            rows.append(
                {"column": field.name, "type": field.type, "role": field.role or "feature", "domain": domain}
                | {"confirmed": confirmed}
            )
        return rows

    def __repr__(self) -> str:
        parsed = self.parsed
        unit = "row" if parsed.unit.column is None else repr(parsed.unit.column)
        return f"Schema({len(parsed.fields)} columns, unit {unit}, {len(self.waiting)} not confirmed)"

    def _repr_html_(self) -> str:
        import pandas as pd

        return str(pd.DataFrame(self._rows()).to_html(index=False, escape=True))


def _names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def schema_file(schema: Any, folder: Path) -> Path:
    """Return the path of a schema: the path itself, or that of a `Schema` written into a private folder.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(schema, Schema):
        return schema._written(folder)
    if isinstance(schema, (str, Path)):
        return Path(schema).resolve()
    raise ConfigError(
        f"Expected a synthgen.Schema or the path of a schema file, got {type(schema).__name__}.",
        where="schema",
        next_step="Draft one with synthgen.Schema.draft(df, unit=...), check it, and call .confirm().",
    )
