"""Data frames as the private files that the pipeline reads, and drawn records as data frames.

There is one way to real records: files that `synthgen.ingest` reads under a reservation of the ledger. A data
frame is written as Parquet into a folder that only this user may enter (0700), in memory where the system
has `/dev/shm`, and the folder is removed when the call ends, also after an error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.errors import ConfigError
from synthgen.files.safe_files import write_bytes

if TYPE_CHECKING:
    import pandas as pd


def is_frame(data: object) -> bool:
    """Return whether data is a frame of pandas, Polars, Arrow or another library, not a path."""
    return not isinstance(data, (str, os.PathLike)) and (
        hasattr(data, "__arrow_c_stream__") or hasattr(data, "__dataframe__")
    )


def as_file(data: Any, folder: Path, name: str) -> Path:
    """Return the path of data: the path itself, or that of a frame written as Parquet into a private folder.

    Args:
        data: a path, or a data frame of pandas, Polars, Arrow or another library with the Arrow or data
            frame interchange protocol.
        folder: of `synthgen.files.safe_files.private_folder`.
        name: of the file, without its ending; it names the cohort where nothing else does.

    Raises:
        ConfigError: it is neither; or a column mixes types that no file of a hospital mixes.
    """
    if isinstance(data, (str, os.PathLike)):
        return Path(data).resolve()
    if not is_frame(data):
        raise ConfigError(
            f"Expected a data frame or a path, got {type(data).__name__}.",
            where=name,
            next_step="Pass a pandas, Polars or Arrow table, or the path of a CSV or Parquet file.",
        )
    path = folder / f"{name}.parquet"
    write_bytes(path, _parquet(data, name), private=True, durable=False)
    return path


def dtypes_of(data: Any) -> dict[str, Any]:
    """Return the types of a pandas frame's columns, which `with_dtypes` gives to drawn records; else none."""
    return dict(data.dtypes.items()) if hasattr(data, "iloc") else {}


def with_dtypes(frame: pd.DataFrame, dtypes: Mapping[str, Any]) -> pd.DataFrame:
    """Return drawn records with the input's types, column by column, where their values fit into them.

    A category that was never in the schema's list, an integer column without a type for missing values and
    the like keep the type that they were drawn with.
    """
    for name, dtype in dtypes.items():
        if name in frame.columns and frame[name].dtype != dtype:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                typed = frame[name].astype(dtype)
                if int(typed.isna().sum()) == int(frame[name].isna().sum()):
                    frame = frame.assign(**{name: typed})
    return frame


def _parquet(data: Any, name: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if hasattr(data, "iloc"):
            table = pa.Table.from_pandas(data, preserve_index=False)
        elif hasattr(data, "__arrow_c_stream__"):
            table = pa.table(data)
        else:
            table = pa.interchange.from_dataframe(data)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError, TypeError):
        raise ConfigError(
            "Expected columns that each hold one type of value, got one that mixes types or nests them.",
            where=name,
            next_step="Convert such columns to text, numbers or dates (pandas: df.astype), and try again.",
        ) from None
    stream = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None), stream)
    return bytes(stream.getvalue())
