"""Values that no program of ours writes, found by the fuzzers: each ends in a reason, not in a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthgen.encode.table import Encoder
from synthgen.files import parquet
from synthgen.ingest.schema_draft import image_draft
from synthgen.ingest.schema_draft.from_file import init
from synthgen.ingest.schema_draft.table_draft import NOTHING
from synthgen.schema.schema import load_schema


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([10**14], pa.timestamp("s")),
        ([-(10**17)], pa.timestamp("ms", tz="UTC")),
        ([2_932_897], pa.date32()),
        ([-719_163], pa.date32()),
    ],
)
def test_a_moment_beyond_the_calendar_is_refused(
    values: list[int], kind: pa.DataType, tmp_path: Path
) -> None:
    raw = pa.array(values, pa.int32() if pa.types.is_date32(kind) else pa.int64())
    pq.write_table(pa.table({"seen": raw.cast(kind)}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="1 to 9999"):
        parquet.read(tmp_path / "t.parquet")


def test_the_calendars_ends_are_read(tmp_path: Path) -> None:
    days = pa.array([-719_162, 2_932_896, None], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"seen": days}), tmp_path / "t.parquet")
    assert parquet.read(tmp_path / "t.parquet").column("seen").to_pylist()[0].year == 1


@pytest.mark.parametrize("point", [0x110000, 0xFFFFFFFF, 0xD800])
def test_text_arrays_that_are_no_unicode_are_left_out(point: int, tmp_path: Path) -> None:
    names = np.array(["ab", "cd"])
    names.view(np.uint32)[1] = point
    images = np.zeros((2, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "t.npz", images=images, label=np.array([0, 1]), name=names)
    made = image_draft.draft(tmp_path / "t.npz", suggest=True, named=NOTHING)
    assert made.notes == ("Entries ['name'] are no columns: the draft says `others: drop`.",)


def test_a_number_of_four_hundred_decimals_is_suggested_as_a_number(tmp_path: Path) -> None:
    cells = [f"{i}.{'1' * 400}" for i in range(3)]
    (tmp_path / "t.csv").write_text("dose\n" + "\n".join(cells) + "\n")
    assert "type: number" in init(tmp_path / "t.csv", suggest=True).text


@pytest.mark.parametrize("top", [2**63, 10**25, 10**80])
@pytest.mark.parametrize("kind", ["type: integer", "type: number, decimals: 2"])
def test_bounds_beyond_64_bits_have_bins(top: int, kind: str, tmp_path: Path) -> None:
    bounds = f"{{minimum: 3, maximum: {top}}}" if "integer" in kind else f"{{minimum: 3, maximum: {top}.0}}"
    text = f"unit: row\nfields:\n  - {{name: dose, {kind}, constraints: {bounds}}}\n"
    (tmp_path / "s.yaml").write_text(text)
    grids = Encoder.of(load_schema(tmp_path / "s.yaml")).grids
    edges = np.asarray(grids["dose"].edges)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
