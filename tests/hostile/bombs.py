"""Small files that ask for much memory or time, each read in a child of 6 GiB; prints JSON lines.

python -P tests/hostile/bombs.py [NAME...]
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import fuzz  # noqa: E402 - found beside this script, also under -P
import seeds  # noqa: E402

MIB = 2**20
Bomb = Callable[[Path], Any]
BOMBS: dict[str, Bomb] = {}
"""Makes a file in a folder of seeds, and reads it."""


def bomb(make: Bomb) -> Bomb:
    """Enter a bomb into the table."""
    BOMBS[make.__name__] = make
    return make


def _table(path: Path, content: bytes) -> None:
    from synthgen.ingest.tables.table import read_table
    from synthgen.schema.schema import load_schema

    path.write_bytes(content)
    read_table(path, load_schema(path.parent / "schema.yaml"))


def _many(opened: Any, part: bytes, times: int) -> None:
    with opened as stream:
        for _ in range(times):
            stream.write(part)


@bomb
def gzip_of_one_line(folder: Path) -> None:
    path = folder / "csv" / "line.csv.gz"
    _many(gzip.open(path, "wb"), b"x" * MIB, 300)
    _table(path, path.read_bytes())


@bomb
def xz_of_one_line(folder: Path) -> None:
    path = folder / "csv" / "line.csv.xz"
    _many(lzma.open(path, "wb"), b"x" * MIB, 300)
    _table(path, path.read_bytes())


@bomb
def bzip2_of_many_rows(folder: Path) -> None:
    path = folder / "csv" / "rows.csv.bz2"
    lines = seeds.table_text().encode()
    _many(bz2.open(path, "wb"), lines + lines.split(b"\n", 1)[1] * 2000, 40)
    _table(path, path.read_bytes())


@bomb
def zip_of_many_rows(folder: Path) -> None:
    path = folder / "csv" / "rows.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", b"a,b\n" + b"1,2\n" * (60 * MIB))
    _table(path, path.read_bytes())


@bomb
def zip_that_lists_the_same_bytes_often(folder: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * MIB)
    whole = out.getvalue()
    place = whole.find(b"PK\x01\x02")
    entry, end = whole[place : whole.find(b"PK\x05\x06")], whole[whole.find(b"PK\x05\x06") :]
    end = end[:8] + struct.pack("<HHI", 60_000, 60_000, len(entry) * 60_000) + end[16:]
    path = folder / "npz" / "a.npz"
    path.write_bytes(whole[:place] + entry * 60_000 + end)
    fuzz.read_pictures(path, random.Random(1))


@bomb
def quote_that_stays_open(folder: Path) -> None:
    _table(folder / "csv" / "quote.csv", b"pid,age\n" + b'1,"\n",' * (2 * MIB))


@bomb
def header_of_60000_columns(folder: Path) -> None:
    _table(folder / "csv" / "wide.csv", ",".join(f"c{i}" for i in range(60_000)).encode())


@bomb
def labels_of_six_million_images(folder: Path) -> None:
    import numpy as np

    path, n = folder / "npz" / "many.npz", 6_000_000
    np.savez_compressed(path, images=np.zeros((n, 1, 1), np.uint8), label=np.zeros(n, np.uint8))
    fuzz.read_pictures(path, random.Random(1))


@bomb
def array_header_that_lies(folder: Path) -> None:
    out = io.BytesIO()
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 8, 8), }"
    text += b" " * (118 - len(text) - 1) + b"\n"
    out.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 64)
    path = folder / "npz" / "lie.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", out.getvalue())
    fuzz.read_pictures(path, random.Random(1))


def _repeated(folder: Path, rows: int, cell: str) -> Path:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([cell]))
    pq.write_table(pa.table({"age": column}), folder / "parquet" / "big.parquet", store_schema=False)
    return folder / "parquet" / "big.parquet"


@bomb
def parquet_of_20_million_rows(folder: Path) -> None:
    path = _repeated(folder, 20_000_000, "x" * 400_000)
    _table(path, path.read_bytes())


@bomb
def parquet_of_long_cells(folder: Path) -> None:
    path = _repeated(folder, 4_000_000, "x" * 400_000)
    _table(path, path.read_bytes())


@bomb
def parquet_of_lists(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "parquet" / "lists.parquet"
    pq.write_table(pa.table({"age": pa.array([[0] * 1_000_000] * 50)}), path)
    _table(path, path.read_bytes())


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(b"\0" * (width + 1) * min(height, 2000), 9)
    more = b"".join(chunk(body[:4], body[4:]) for body in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _picture(folder: Path, name: str, content: bytes) -> None:
    from synthgen.ingest.images.read import read_images
    from synthgen.schema.schema import load_schema

    (folder / "images" / name).write_bytes(content)
    read = read_images(folder / "images", load_schema(folder / "images" / "schema.yaml"))
    if read.quarantined:
        raise _refused(read.quarantined[0][1])


@bomb
def png_of_ten_thousand_megapixels(folder: Path) -> None:
    _picture(folder, "g.png", _png(100_000, 100_000))


@bomb
def png_with_a_long_text(folder: Path) -> None:
    text = b"zTXtk\0\0" + zlib.compress(b"x" * (200 * MIB), 9)
    _picture(folder, "g.png", _png(8, 8, text))


@bomb
def png_with_a_long_profile(folder: Path) -> None:
    profile = b"iCCPk\0\0" + zlib.compress(b"x" * (200 * MIB), 9)
    _picture(folder, "g.png", _png(8, 8, profile))


@bomb
def tiff_of_many_frames(folder: Path) -> None:
    whole = bytearray((folder / "images" / "t.tif").read_bytes())
    first = struct.unpack_from("<I", whole, 4)[0]
    length = 2 + 12 * struct.unpack_from("<H", whole, first)[0]
    directory = bytes(whole[first : first + length])
    struct.pack_into("<I", whole, first + length, len(whole))
    for _ in range(100_000):
        whole += directory + struct.pack("<I", len(whole) + length + 4)
    _picture(folder, "t.tif", bytes(whole))


@bomb
def jpeg_of_many_scans(folder: Path) -> None:
    content = (folder / "images" / "q.jpeg").read_bytes()
    place = content.find(b"\xff\xda")
    scan = content[place : content.find(b"\xff", place + 14)]
    _picture(folder, "q.jpeg", content[:place] + scan * 20_000 + content[place:])


@bomb
def jpeg_of_four_thousand_megapixels(folder: Path) -> None:
    content = bytearray((folder / "images" / "c.jpg").read_bytes())
    place = content.find(b"\xff\xc0")
    content[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    _picture(folder, "c.jpg", bytes(content))


def _dicom(folder: Path, name: str, content: bytes) -> None:
    from synthgen.ingest.dicom import header
    from synthgen.ingest.images.decode import Unusable

    path = folder / "dicom" / name
    path.write_bytes(content)
    try:
        header.read_header(path)
    except Unusable as reason:
        raise _refused(str(reason)) from None


def _refused(text: str) -> Exception:
    from synthgen.errors import DataError

    return DataError(text)


@bomb
def dicom_element_of_four_gibibytes(folder: Path) -> None:
    whole = (folder / "dicom" / "explicit.dcm").read_bytes()
    at = whole.find(b"\x10\x00\x20\x00")
    _dicom(
        folder, "a.dcm", whole[:at] + b"\x08\x00\x01\x00OB\0\0" + struct.pack("<I", 2**32 - 2) + whole[at:]
    )


@bomb
def dicom_sequences_in_one_another(folder: Path) -> None:
    whole = (folder / "dicom" / "explicit.dcm").read_bytes()
    at = whole.find(b"\x10\x00\x20\x00")
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    _dicom(folder, "a.dcm", whole[:at] + nested)


@bomb
def model_of_200_million_cells(folder: Path) -> None:
    path = folder / "run" / "RUN" / "public" / "model" / "model.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "fine_cells": 200_000_000}))
    fuzz.read_model(path, random.Random(0))


@bomb
def model_whose_header_lies(folder: Path) -> None:
    path = folder / "run" / "RUN" / "public" / "model" / "model.safetensors"
    text = json.dumps({"x": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    fuzz.read_model(path, random.Random(0))


@bomb
def state_of_100000_lists(folder: Path) -> None:
    path = folder / "run" / "RUN" / "internal" / "state.json"
    path.write_text("[" * 100_000)
    fuzz.read_run(path, random.Random(0))


@bomb
def state_of_a_long_number(folder: Path) -> None:
    path = folder / "run" / "RUN" / "internal" / "state.json"
    path.write_text('{"format": ' + "9" * 5000 + "}")
    fuzz.read_run(path, random.Random(0))


def _schema(folder: Path, text: str) -> None:
    from synthgen.schema.schema import load_schema

    path = folder / "schema" / "schema.yaml"
    path.write_text(text)
    load_schema(path)


@bomb
def schema_of_15000_fields(folder: Path) -> None:
    _schema(
        folder,
        "unit: row\nfields:\n" + "".join(f"  - {{name: c{i}, type: boolean}}\n" for i in range(15_000)),
    )


@bomb
def schema_with_a_comment_of_3_mb(folder: Path) -> None:
    _schema(folder, seeds.TABLE_SCHEMA + "#" + "x" * 3_000_000)


@bomb
def schema_with_keys_of_keys(folder: Path) -> None:
    _schema(folder, "? " * 200 + "a")


@bomb
def schema_of_aliases(folder: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    _schema(folder, "\n".join(lines))


@bomb
def schema_of_a_long_number(folder: Path) -> None:
    _schema(folder, seeds.TABLE_SCHEMA.replace("120", "9" * 5000))


@bomb
def schema_of_many_percent_signs(folder: Path) -> None:
    _schema(folder, seeds.TABLE_SCHEMA.replace("type: date,", f'type: date, format: "{"%d" * 3000}",'))


def _bundle(folder: Path, change: Callable[[Path, dict[str, Any]], None]) -> None:
    from synthgen.errors import DataError
    from synthgen.release.bundle import verify
    from synthgen.release.record.record import record_text

    root = folder / "bundle" / "BUNDLE"
    record = json.loads((root / verify.RECORD).read_text())
    change(root, record)
    (root / verify.RECORD).write_text(record_text(record))
    (root / verify.CHECKSUMS).write_text(verify.checksums(root))
    problems = verify.verify_bundle(root)
    if problems:
        raise DataError("; ".join(f"{problem.file}: {problem.message}" for problem in problems))


@bomb
def bundle_of_a_billion_records(folder: Path) -> None:
    def change(root: Path, record: dict[str, Any]) -> None:
        record["data"]["files"] = dict.fromkeys(record["data"]["files"], 10**9)

    _bundle(folder, change)


@bomb
def bundle_of_20_million_rows(folder: Path) -> None:
    def change(root: Path, record: dict[str, Any]) -> None:
        big = _repeated(folder, 20_000_000, "x" * 400_000)
        big.replace(root / "data" / "cohort.parquet")
        record["data"]["files"]["cohort.parquet"] = 20_000_000

    _bundle(folder, change)


@bomb
def bundle_of_3000_events(folder: Path) -> None:
    def change(root: Path, record: dict[str, Any]) -> None:
        events = [{"class": "GaussianDpEvent", "noise_multiplier": 50.0 + i} for i in range(3000)]
        record["ledger"]["events"] += events

    _bundle(folder, change)


@bomb
def bundle_of_300_trainings(folder: Path) -> None:
    def change(root: Path, record: dict[str, Any]) -> None:
        for i in range(300):
            noise = {"class": "GaussianDpEvent", "noise_multiplier": 1.0 + i / 100}
            step = {"class": "PoissonSampledDpEvent", "sampling_probability": 0.01, "event": noise}
            record["ledger"]["events"].append({"class": "SelfComposedDpEvent", "event": step, "count": 1000})

    _bundle(folder, change)


@bomb
def bundle_of_a_billion_steps(folder: Path) -> None:
    def change(root: Path, record: dict[str, Any]) -> None:
        noise = {"class": "GaussianDpEvent", "noise_multiplier": 5.0}
        step = {"class": "PoissonSampledDpEvent", "sampling_probability": 1e-6, "event": noise}
        record["ledger"]["events"].append({"class": "SelfComposedDpEvent", "event": step, "count": 10**9})

    _bundle(folder, change)


@bomb
def bundle_with_a_comment_of_3_mb(folder: Path) -> None:
    def change(root: Path, record: dict[str, Any]) -> None:
        path = root / "schema.yaml"
        path.write_text(path.read_text() + "# " + "x" * 3_000_000 + "\n")

    _bundle(folder, change)


@bomb
def archive_of_large_images(folder: Path) -> None:
    from synthgen.data.images import file_name
    from synthgen.errors import DataError
    from synthgen.release.bundle.image_archive import archive_problems
    from synthgen.schema.schema import load_schema

    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(1, 51):
            archive.writestr(file_name(i), _png(8000, 8000))
    schema = load_schema(folder / "npz" / "schema.yaml")
    problems = archive_problems(path, schema, records=50)
    if problems:
        raise DataError("; ".join(problems))


def measured(make: Bomb, seed_folder: Path) -> dict[str, Any]:
    """Return exit code, message, seconds and memory of a bomb, read in a child."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        import shutil

        from synthgen.errors import SynthgenError

        resource.setrlimit(resource.RLIMIT_AS, (fuzz.MEMORY, fuzz.MEMORY))
        with tempfile.TemporaryDirectory(prefix="hostile") as temporary:
            shutil.copytree(seed_folder, Path(temporary) / "s")
            code, text = 0, ""
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    make(Path(temporary) / "s")
            except SynthgenError as error:
                code, text = error.exit_code, str(error)
            except BaseException as error:
                code, text = -1, f"{type(error).__name__}: {error}"
        os.write(write_end, json.dumps([code, text[:2000]]).encode())
        os._exit(0)
    os.close(write_end)
    started, content = time.monotonic(), b""
    while part := os.read(read_end, 65536):
        content += part
    os.close(read_end)
    _, _, usage = os.wait4(child, 0)
    code, text = json.loads(content or b'[-2, "died"]')
    seconds = round(time.monotonic() - started, 1)
    megabytes = usage.ru_maxrss // 1024
    cpu = round(usage.ru_utime + usage.ru_stime, 1)
    return {"code": code, "text": text, "seconds": seconds, "cpu": cpu, "megabytes": megabytes}


def main() -> None:
    """Print one JSON line a bomb."""
    with tempfile.TemporaryDirectory(prefix="hostile") as temporary:
        folder = Path(temporary) / "seeds"
        fuzz.make_seeds(folder)
        fuzz.load()
        for name in sys.argv[1:] or BOMBS:
            print(json.dumps({"name": name, **measured(BOMBS[name], folder)}), flush=True)


if __name__ == "__main__":
    main()
