"""Draft the schema of a table's file, from its names alone or from its values."""

from __future__ import annotations

from pathlib import Path

from synthgen.ingest.schema_draft import draft
from synthgen.ingest.schema_draft.table_draft import NOTHING, Draft, Named, suggested, unit_of
from synthgen.ingest.tables import files
from synthgen.ingest.tables.table import read_raw

USUAL = {"delimiter": ",", "encoding": "utf-8"}


def init(
    table: Path,
    *,
    suggest: bool = False,
    named: Named = NOTHING,
    delimiter: str = ",",
    encoding: str = "utf-8",
    decimal: str = ".",
    date_format: str | None = None,
) -> Draft:
    """Return the draft of a schema.

    Args:
        table: the table's file.
        named: the columns whose part a person names; else names of columns decide.
        suggest: read the values too, and guess types, ranges, categories and missing tokens. Each field is
            then written with ``confirmed: false``, and one whose cells look like identifiers with
            ``role: drop`` and without them. Without it only names are read: the first line of a CSV
            file, the footer of Parquet.
        delimiter: see `read_raw`.
        encoding: see `read_raw`.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text.

    Raises:
        DataError: as `read_raw` says.
        ConfigError: as `read_raw` says; or a person names a column that is not there.
    """
    table = Path(table)
    text = {} if files.is_parquet(table) else {"delimiter": delimiter, "encoding": encoding}
    text |= {"decimalChar": decimal} if decimal == "," else {}
    dialect = {key: value for key, value in text.items() if value != USUAL.get(key)}
    if suggest:
        frame = read_raw(table, delimiter=delimiter, encoding=encoding, decimal=decimal)
        return suggested(frame, named, decimal=decimal, date_format=date_format, dialect=dialect)
    if files.is_parquet(table):
        names = files.named(files.parquet_header(table), table)
    else:
        names = files.csv_header(table, delimiter=delimiter, encoding=encoding)
    roles = dict.fromkeys(named.labels, "label") | dict.fromkeys(named.protected, "protected")
    return Draft(draft.names_only(names, unit=unit_of(names, named), roles=roles, dialect=dialect))
