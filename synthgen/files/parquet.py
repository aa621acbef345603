"""Read Parquet within limits: the one place that opens such a file, for tables and for bundles.

The footer says how many rows and columns a file has, and is compared with the file's own size before a page
is read: run lengths hold twenty million equal cells in a few bytes. Texts are read as dictionaries, whose
length in cells is known before they are written out. Lists and structures, which are no cells and may be of
any length, are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthgen.files import limits

THRIFT_BYTES, THRIFT_ITEMS = 64 * 2**20, 2_000_000
"""Longest text and list of a footer."""
NESTED = "(list or structure)"
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31 in days since 1970-01-01."""
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Stands in the cells of a column of lists or structures."""


def open_parquet(path: Path) -> Any:
    """Return a ``pyarrow.parquet.ParquetFile`` whose rows and columns are within the limits.

    Raises:
        TooLarge: they are not.
        ValueError: the file is no Parquet, or is damaged.
        OSError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(
            path, thrift_string_size_limit=THRIFT_BYTES, thrift_container_size_limit=THRIFT_ITEMS
        )
        footer = file.metadata
        rows, columns = int(footer.num_rows), int(footer.num_columns)
        texts = [i for i in range(columns) if footer.schema.column(i).physical_type == "BYTE_ARRAY"]
        names = [footer.schema.column(i).path for i in texts]
        _ = file.schema_arrow
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, pa.ArrowException):
            raise
        raise ValueError("Expected Parquet, got other content.") from None
    if rows < 0:
        raise ValueError("Expected a number of rows, got one below 0.")
    _require_size(path, rows, columns)
    if names:
        file = pq.ParquetFile(
            path,
            read_dictionary=names,
            thrift_string_size_limit=THRIFT_BYTES,
            thrift_container_size_limit=THRIFT_ITEMS,
        )
    return file


def _require_size(path: Path, rows: int, columns: int) -> None:
    found, where = limits.current(), str(path)
    limits.require("table_columns", columns, where=where)
    limits.require("table_rows", rows, where=where)
    cells = rows * max(columns, 1)
    limits.require("table_cells", cells, where=where)
    most = max(found.free_cells, found.cells_per_byte * path.stat().st_size)
    limits.require("cells_per_byte", cells, where=where, most=most)


def read(path: Path, *, columns: Sequence[str] | None = None) -> Any:
    """Return a Parquet file as a ``pyarrow.Table``, texts written out; `NESTED` for a list or structure.

    Args:
        path: the file.
        columns: names of the columns to read; None reads all.

    Raises:
        TooLarge: rows, columns, or the texts of its cells are beyond the limits.
        ValueError: the file is no Parquet, or is damaged.
        OSError: it cannot be read.
    """
    import pyarrow as pa

    file = open_parquet(path)
    shape = file.schema_arrow
    keep = [i for i, name in enumerate(shape.names) if columns is None or name in columns]
    plain = [i for i in keep if not pa.types.is_nested(shape.types[i])]
    try:
        table = file.read(columns=[shape.names[i] for i in plain])
        table.validate(full=True)  # texts that are no UTF-8, indices beyond a dictionary
        if table.column_names != [shape.names[i] for i in plain]:  # two columns of one name
            raise ValueError("Expected each column once, got one twice.")
        for place in range(table.num_columns):
            _require_years(table.column(place))
        parts = {i: _written_out(table.column(place), path) for place, i in enumerate(plain)}
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError, IndexError) as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, pa.ArrowException):
            raise
        raise ValueError("Expected Parquet, but the file is damaged.") from None
    other = pa.chunked_array([pa.repeat(pa.scalar(NESTED), int(file.metadata.num_rows))])
    return pa.Table.from_arrays([parts.get(i, other) for i in keep], names=[shape.names[i] for i in keep])


def _require_years(column: Any) -> None:
    """Refuse moments that no calendar of Python's holds, before anything is made of them.

    Raises:
        ValueError: a day or moment lies outside the years 1 to 9999.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)):
        return
    unit = column.type.unit if pa.types.is_timestamp(column.type) else "ms"
    a_day = 1 if pa.types.is_date32(column.type) else _UNITS[unit] * 86_400
    counted = column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
    ends = pc.min_max(counted).as_py()
    if (
        ends["min"] is not None
        and not FIRST_DAY * a_day <= ends["min"] <= ends["max"] < (LAST_DAY + 1) * a_day
    ):
        raise ValueError("Expected days of the years 1 to 9999, got others.")


def _written_out(column: Any, path: Path) -> Any:
    """Return a column of texts without its dictionaries, if the cells fit into the limits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return column
    kind = column.type.value_type
    if not (pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind)):
        return column
    total, most = 0, limits.expanded(path.stat().st_size)
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        longest = pc.max(lengths).as_py() or 0
        limits.require("cell_bytes", longest, where=str(path))
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
        limits.require("expansion", total, where=str(path), most=most)
    wide = pa.large_string() if pa.types.is_string(kind) and total >= 2**31 - 1 else kind
    return pa.chunked_array([chunk.cast(wide) for chunk in column.chunks], type=wide)
