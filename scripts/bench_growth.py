"""How `marginal` grows with records and columns: seconds and peak memory, each case in a fresh process.

    python scripts/bench_growth.py [--quick] [--json FILE] [--format parquet|csv]

The cohort is simulated: each patient (1 to 3 records) belongs to one of 10 latent classes, which fix the
chances of every column, so that all columns depend on each other; half are categories, half numbers,
some with gaps. load reads the file and cuts records as `run` does; encode is part of fit and also shown
alone; sample draws as many records as were read. x is a row's time and memory over that of the row above
it. Growth in records is judged stage by stage, by seconds of the processor (cpu), which other jobs disturb
less: a stage is at most linear if ten times the records take at most ten times its seconds, and a quarter
more for chance (stages under half a second are not judged).
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _machine
import numpy as np

ROWS = ((10_000, 20), (100_000, 20), (1_000_000, 20))
COLUMNS = ((100_000, 10), (100_000, 25), (100_000, 50), (1_000_000, 50))
QUICK = ((10_000, 20), (100_000, 20))
EPSILON, DELTA = 1.0, 1e-6
CLASSES, MAX_RECORDS, BOUND = 10, 3, 100.0
SLACK, LEAST_SECONDS = 1.25, 0.5
MEMORY_GIB = 24.0
STAGES = ("load", "encode", "fit", "sample")
TOTAL = ("load", "fit", "sample")

Row = dict[str, Any]


def fields_of(n_columns: int) -> list[dict[str, Any]]:
    """Return the fields: an id, a label, two protected columns, then numbers and categories in turn."""
    fields: list[dict[str, Any]] = [{"name": "patient", "type": "integer", "role": "id"}]
    for i in range(n_columns):
        role = {0: "label", 1: "protected", 2: "protected"}.get(i, "feature")
        field: dict[str, Any] = {"name": f"c{i:02d}", "role": role}
        gaps = role == "feature" and i % 5 == 0
        if i > 2 and i % 2:
            limits = {"minimum": 0, "maximum": BOUND, "required": not gaps}
            field |= {"type": "number", "constraints": limits}
        else:
            n_labels = 2 if i < 2 else 3 + i % 10
            limits = {"enum": [f"v{k}" for k in range(n_labels)], "required": not gaps}
            field |= {"type": "string", "constraints": limits}
        fields.append(field)
    return fields


def simulate(n_records: int, n_columns: int, path: Path) -> None:
    """Write a latent-class cohort and its schema beside it; the same sizes give the same file."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    rng = np.random.default_rng([n_records, n_columns])
    fields = fields_of(n_columns)
    sizes = rng.integers(1, MAX_RECORDS + 1, size=n_records)
    patients = np.repeat(np.arange(n_records), sizes)[:n_records]
    classes = rng.choice(CLASSES, size=n_records, p=rng.dirichlet(np.full(CLASSES, 3.0)))[patients]
    columns = {"patient": pa.array(patients + 1)}
    for field in fields[1:]:
        gap = 0.0 if field["constraints"]["required"] else 0.3
        missing = rng.random(n_records) < (rng.random(CLASSES) * gap)[classes]
        if field["type"] == "number":
            values = rng.normal(rng.uniform(20, 80, CLASSES)[classes], rng.uniform(3, 12, CLASSES)[classes])
            columns[field["name"]] = pa.array(np.round(np.clip(values, 0.0, BOUND), 1), mask=missing)
        else:
            labels = field["constraints"]["enum"]
            codes = pa.array(codes_of(classes, len(labels), rng), mask=missing)
            columns[field["name"]] = pa.DictionaryArray.from_arrays(codes, pa.array(labels)).cast(pa.string())
    table = pa.table(columns)
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path, pa.csv.WriteOptions(quoting_style="none"))
    else:
        pa.parquet.write_table(table, path)
    unit = {"column": "patient", "max_records": MAX_RECORDS}
    path.with_suffix(".json").write_text(json.dumps({"unit": unit, "fields": fields}), encoding="utf-8")


def codes_of(classes: np.ndarray, n_labels: int, rng: np.random.Generator) -> np.ndarray:
    """Return a label's position for each record, by the chances of the record's class."""
    ladder = np.cumsum(rng.dirichlet(np.full(n_labels, 0.7), size=CLASSES), axis=1)
    codes = (rng.random(len(classes))[:, None] > ladder[classes]).sum(axis=1)
    return np.minimum(codes, n_labels - 1).astype(np.int32)


def peak_gib() -> float:
    """Return the largest memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(path: Path) -> Row:
    """Run each stage once in this process; return seconds by stage and peak memory so far after each."""
    from synthgen.encode.table import Encoder
    from synthgen.generators.marginal.config import Config
    from synthgen.ingest.tables.table import read_table
    from synthgen.privacy.noise import NoiseSource
    from synthgen.privacy.splits import keep_records
    from synthgen.sampling.draw import draw
    from synthgen.schema.schema import Schema

    schema = Schema.model_validate_json(path.with_suffix(".json").read_text(encoding="utf-8"))
    row: Row = {"peak_start": peak_gib()}
    start, worked = time.perf_counter(), time.process_time()

    def note(stage: str) -> None:
        nonlocal start, worked
        now, cpu = time.perf_counter(), time.process_time()
        row.update({stage: now - start, f"{stage}_cpu": cpu - worked, f"peak_{stage}": peak_gib()})
        start, worked = now, cpu

    table, report = read_table(path, schema)
    table = table.select(keep_records(table.units, key=bytes(32), max_records=MAX_RECORDS))
    note("load")
    Encoder.of(schema).encode(table.frame)
    note("encode")
    config = Config()
    plan = config.plan(schema, epsilon=EPSILON, delta=DELTA, patients=report.units)
    model = config.fit(table, plan, noise=NoiseSource.system())
    note("fit")
    draw(model, schema, len(table), seed=0)
    note("sample")
    return row


def case(n_records: int, n_columns: int, suffix: str) -> Row:
    """Simulate and measure one case, each in a fresh process, so that memory is this case's alone."""
    row: Row = {"records": n_records, "columns": n_columns, "load_start": _machine.load()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"cohort.{suffix}"
        shape = [str(n_records), str(n_columns)]
        for job in (["--simulate", *shape, str(path)], ["--measure", str(path)]):
            done = subprocess.run(
                [sys.executable, __file__, *job], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or ["no message"])[-1].partition(":")[0]
                return row | {"failed": f"exit code {done.returncode}: {reason}"}
        row |= json.loads(done.stdout.splitlines()[-1])
    row |= {"seconds": sum(row[stage] for stage in TOTAL), "cpu": sum(row[f"{stage}_cpu"] for stage in TOTAL)}
    return row | {"load_end": _machine.load()}


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Judge growth in records, stage by stage, and memory."""
    failed = [f"{row['records']:,} x {row['columns']}: {row['failed']}" for row in rows if "failed" in row]
    whole = [row for row in rows if "failed" not in row]
    pairs = [
        (a, b)
        for a in whole
        for b in whole
        if (10 * a["records"], a["columns"]) == (b["records"], b["columns"])
    ]
    steep = [text for small, large in pairs for text in _steep(small, large)]
    lines = [f"failed: {text}" for text in failed]
    verdict = "no" if steep or failed else "yes" if pairs else "not shown"
    lines.append(f"at most linear in rows: {verdict}")
    lines += [f"  {text}" for text in steep]
    if whole:
        most = max(whole, key=lambda row: row["peak_sample"])
        fits = "yes" if most["peak_sample"] <= MEMORY_GIB and not failed else "no"
        size = f"{most['records']:,} x {most['columns']}"
        lines.append(f"within {MEMORY_GIB:.0f} GiB: {fits} (most: {most['peak_sample']:.2f} GiB at {size})")
    return lines


def _steep(small: Row, large: Row) -> list[str]:
    """Return the stages, and memory, that ten times the records cost more than ten times."""
    out = []
    for key in (*(f"{stage}_cpu" for stage in STAGES), "peak_sample"):
        judged = key == "peak_sample" or large[key] >= LEAST_SECONDS
        if judged and large[key] > 10 * SLACK * small[key]:
            power = math.log10(large[key] / max(small[key], 1e-3))
            size = f"{large['records']:,} x {large['columns']}"
            out.append(f"{key}: {size} grows as records to the {power:.2f}")
    return out


HEAD = ("records", "columns", *STAGES, "total s", "x", "cpu s", "peak GiB", "x", "load avg")
WIDTHS = (10, 8, 8, 8, 8, 8, 8, 6, 8, 9, 6, 10)


def line_of(row: Row, above: Row | None) -> str:
    """Return a row as a line of the printed table."""
    cells = [f"{row['records']:,}", str(row["columns"])]
    if "failed" in row:
        return (
            "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False))
            + f"  {row['failed']}"
        )
    known = above is not None and "failed" not in above
    ratio = {key: f"{row[key] / above[key]:.1f}" if known else "" for key in ("seconds", "peak_sample")}
    cells += [f"{row[stage]:.1f}" for stage in STAGES]
    cells += [f"{row['seconds']:.1f}", ratio["seconds"], f"{row['cpu']:.1f}"]
    cells += [f"{row['peak_sample']:.2f}", ratio["peak_sample"]]
    cells.append(f"{row['load_start']:.1f}-{row['load_end']:.1f}")
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 and 100,000 records x 20 columns only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--simulate", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of()
    if arguments.simulate:
        simulate(int(arguments.simulate[0]), int(arguments.simulate[1]), Path(arguments.simulate[2]))
        return
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    print("".join(f"{head:>{width}}" for head, width in zip(HEAD, WIDTHS, strict=True)))
    rows: list[Row] = []
    for series in (QUICK,) if arguments.quick else (ROWS, COLUMNS):
        above = None
        for n_records, n_columns in series:
            rows.append(case(n_records, n_columns, arguments.format))
            print(line_of(rows[-1], above), flush=True)
            above = rows[-1]
    lines = verdicts(rows)
    print("\n".join(lines))
    if arguments.json:
        versions = _machine.versions("numpy", "pandas")
        document = {"date": _machine.today(), "machine": _machine.facts(), "versions": versions}
        document |= {"format": arguments.format, "rows": rows, "verdicts": lines}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
