"""Small valid inputs of every reader, made here; nothing of a real cohort is in them."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import json
import lzma
import shutil
import zipfile
from pathlib import Path
from typing import Any

TABLE_SCHEMA = """\
unit: {column: pid, max_records: 2}
missingValues: ["NA", ""]
fields:
  - {name: pid, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 0, maximum: 120}, role: protected, bins: 10}
  - {name: sex, type: string, constraints: {enum: [F, M]}, role: protected}
  - {name: crp, type: number, decimals: 1, constraints: {minimum: 0, maximum: 500}}
  - {name: seen, type: date, origin: "2000-01-01",
     constraints: {minimum: "2001-01-01", maximum: "2020-12-31"}}
  - {name: died, type: boolean, trueValues: ["1"], falseValues: ["0"], role: label}
  - {name: note, type: string, role: drop}
rules: ["age >= 1"]
"""
IMAGE_SCHEMA = """\
unit: {column: pid}
images: {file: picture, channels: 1, bits: 8, size: 8, most_left_out: 1.0}
fields:
  - {name: pid, type: string, role: id}
  - {name: picture, type: string, role: id}
  - {name: label, type: integer, constraints: {enum: [0, 1]}, role: label}
"""
CONFIG = """\
cohort: hostile
seed: 3
data: {table: {path: table.csv, schema: schema.yaml, delimiter: ",", decimal: ".", date_format: "%Y-%m-%d"}}
budget: {ledger: "sqlite:///ledger.db", epsilon: 2.0, delta: 1e-5, patients: 300}
generator: {name: marginal, iterations: 50, rounds: 1}
sample: {records: 100}
evaluate: {holdout: 0.3, target: died, groups: [sex]}
release: {formats: [csv]}
"""


def make(folder: Path) -> None:
    """Write all seeds into a folder, one folder a reader."""
    tables(folder)
    others(folder)
    pictures(folder)
    dicom(folder)
    run(folder)
    bundle(folder)


def table_text(n: int = 40) -> str:
    """Return a table that keeps to `TABLE_SCHEMA`."""
    lines = ["pid,age,sex,crp,seen,died,note"]
    for i in range(n):
        cells = (f"p{i // 2}", 1 + 7 * i % 110, "FM"[i % 2], f"{(i * 37) % 4999 / 10:.1f}")
        lines.append(
            ",".join(map(str, (*cells, f"20{1 + i % 19:02d}-0{1 + i % 9}-1{i % 9}", i % 3 % 2, f'"a, {i}"')))
        )
    return "\n".join(lines) + "\n"


def tables(folder: Path) -> None:
    """Write configs, schemas and tables in every compression."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    text = table_text().encode()
    for name in ("config", "schema", "csv", "parquet"):
        (folder / name).mkdir(parents=True)
        (folder / name / "schema.yaml").write_text(TABLE_SCHEMA)
    (folder / "config" / "config.yaml").write_text(CONFIG)
    (folder / "config" / "table.csv").write_bytes(text)
    at = folder / "csv"
    (at / "table.csv").write_bytes(text)
    (at / "table.csv.gz").write_bytes(gzip.compress(text))
    (at / "table.csv.bz2").write_bytes(bz2.compress(text))
    (at / "table.csv.xz").write_bytes(lzma.compress(text))
    (at / "table.csv.zst").write_bytes(pa.compress(text, codec="zstd", asbytes=True))
    with zipfile.ZipFile(at / "table.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", text)
    frame = pyarrow.csv.read_csv(at / "table.csv")
    for number, more in enumerate(
        ({}, {"compression": "zstd"}, {"use_dictionary": False, "data_page_version": "2.0"})
    ):
        pq.write_table(frame, folder / "parquet" / f"table{number}.parquet", **more)


def others(folder: Path) -> None:
    """Write a REDCap dictionary with an export, a folder of OMOP tables, and the shipped policies."""
    from synthgen.release.gate import policy

    shutil.copytree(Path(__file__).parents[1] / "data" / "redcap", folder / "redcap")
    people = [f"{i},{8507 + 25 * (i % 2)},19{40 + i}" for i in range(20)]
    conditions = [f"{i},201826,2020-01-0{1 + i % 9}" for i in range(0, 20, 3)]
    values = [f"{i},3004249,2021-02-0{1 + i % 9},{110 + i}.5" for i in range(20)]
    tables = {
        "person": ["person_id,gender_concept_id,year_of_birth", *people],
        "condition_occurrence": ["person_id,condition_concept_id,condition_start_date", *conditions],
        "measurement": ["person_id,measurement_concept_id,measurement_date,value_as_number", *values],
    }
    (folder / "omop").mkdir()
    for name, lines in tables.items():
        (folder / "omop" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    shutil.copytree(Path(policy.__file__).parents[1] / "policies", folder / "policy")


def pictures(folder: Path) -> None:
    """Write array files and folders of images of every kind."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    npz, images = folder / "npz", folder / "images"
    npz.mkdir()
    images.mkdir()
    values = rng.integers(0, 255, (6, 8, 8), dtype=np.uint8)
    names = np.array([f"i{k}" for k in range(6)])
    columns = {"pid": names, "picture": names, "label": np.arange(6) % 2}
    np.savez_compressed(npz / "a.npz", images=values, **columns)
    np.savez(npz / "b.npz", images=values.astype(np.uint16), **columns)
    for at in (npz, images):
        (at / "schema.yaml").write_text(IMAGE_SCHEMA)
    grey, wide = Image.fromarray(values[0]), Image.fromarray(values[0].astype(np.uint16) * 257)
    colour = Image.fromarray(np.stack([values[0], values[1], values[2]], axis=-1))
    made: dict[str, tuple[Any, dict[str, Any]]] = {
        "g.png": (grey, {}),
        "w.png": (wide, {}),
        "p.png": (colour.convert("P"), {"transparency": 0}),
        "c.jpg": (colour, {"quality": 90}),
        "q.jpeg": (grey, {"progressive": True}),
        "t.tif": (grey, {"compression": "tiff_lzw"}),
        "u.tiff": (wide, {"compression": "tiff_adobe_deflate"}),
    }
    for name, (image, more) in made.items():
        image.save(images / name, **more)
    rows = [f"p{i},{name},{i % 2}" for i, name in enumerate(made)]
    (images / "table.csv").write_text("pid,picture,label\n" + "\n".join(rows) + "\n")


def dicom(folder: Path) -> None:
    """Write DICOM files in several syntaxes, with sequences and a lookup table."""
    import numpy as np

    files = _module(Path(__file__).parents[1] / "support" / "dicom_files.py")
    at = folder / "dicom"
    at.mkdir()
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60
    for number, syntax in enumerate(files.SYNTAXES):
        made = files.dataset(values, number=number, syntax=syntax)
        if number == 1:
            made.VOILUTSequence = [files.lut(range(256), 0, 8)]
        files.write(at / f"{syntax}.dcm", made)


def run(folder: Path) -> None:
    """Write a run that was fitted, its model and its ledger."""
    from synthgen.config.run_config import load_config
    from synthgen.pipeline import run as pipeline

    at = folder / "run"
    at.mkdir()
    (at / "schema.yaml").write_text(TABLE_SCHEMA.replace("max_records: 2", "max_records: 1"))
    (at / "table.csv").write_text(table_text(600))
    config = CONFIG.replace("evaluate: {holdout: 0.3, target: died, groups: [sex]}\n", "")
    (at / "config.yaml").write_text(config.replace("epsilon: 2.0", "epsilon: 4.0"))
    pipeline.fit(load_config(at / "config.yaml"), at / "RUN", resume=False, anyway=True)


def bundle(folder: Path) -> None:
    """Write a bundle of a table."""
    from synthgen.release.bundle.bundle import write_bundle
    from synthgen.release.record.record import Judgement, privacy_record
    from synthgen.schema.schema import load_schema

    small = _module(Path(__file__).parents[1] / "release" / "conftest.py")
    at = folder / "bundle"
    at.mkdir()
    (at / "schema.yaml").write_text(small.SCHEMA)
    schema = load_schema(at / "schema.yaml")
    table = small.draw(schema, 40, seed=1)
    small.write_csv(table, at / "cohort.csv")
    table.to_pandas().to_parquet(at / "cohort.parquet", index=False)
    files = {name: at / name for name in ("cohort.csv", "cohort.parquet")}
    record = privacy_record(
        deployment=small.DEPLOYMENT,
        plan=small.PLAN,
        event=small.to_json(small.EVENT),
        composition=small.composition(),
        judgement=Judgement("release", "default", "0" * 64, looks=1, residual_risk=0.09),
        schema=schema,
        files=dict.fromkeys(files, 40),
    )
    from synthgen.evaluation.results_json import results_to_json

    found = small.verdict()
    reasons = [vars(reason) for reason in found.reasons]
    evaluation = {
        "verdict": {"verdict": "release", "reasons": reasons, "heads": {}},
        "looks": 1,
        "adaptive": False,
    }
    evaluation["results"] = results_to_json(small.results())
    for name, content in (("evaluation", evaluation), ("record", record)):
        path = folder / "run" / "RUN" / "internal" / f"{name}.json"
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    write_bundle(at / "BUNDLE", data_files=files, schema=schema, record=record)


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"seed_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made
