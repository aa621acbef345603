"""How the whole evaluation grows with records: seconds by metric and peak memory, each size a process.

    python scripts/bench_evaluation_growth.py [--quick] [--only tables|images|many] [--json FILE]
    taskset -c 0,1 python scripts/bench_evaluation_growth.py       # what two cores take

The cohort is that of bench_growth.py: 25 columns that all depend on each other. Of n patients three fifths
train, a fifth is held out and a fifth is the attacker's; as many synthetic records as patients train are
drawn anew. Images are 28 x 28 ellipses of two attributes and a label (tests/support/phantom_cohorts.py), one
a patient, in the same parts. ``many``: 2 million synthetic rows, and 30,000 records. Metrics that compare all
pairs of records are capped by sampling, and state their caps in their results.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench_growth
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

SIZES: dict[str, tuple[int, ...]] = {"tables": (10_000, 30_000, 100_000), "images": (1_000, 3_000, 10_000)}
COLUMNS, PIXELS = 25, 28
MANY = (30_000, 2_000_000)
"""Records of a cohort, and synthetic rows, of the case in which there are very many of the latter."""
MOST_SECONDS, MOST_GIB = (
    {"tables": 180.0, "images": 300.0, "many": 600.0},
    {"tables": 4.0, "images": 6.0, "many": 6.0},
)


def measured(kind: str, n_records: int) -> dict[str, Any]:
    """Evaluate one simulated cohort in this process."""
    from synthgen.evaluation.run import evaluate_all

    inputs = {"tables": tables, "images": images, "many": many}[kind](n_records)
    names: list[str] = []
    clock, seconds = [time.process_time()], {}

    def progress(name: str, done: float) -> None:
        clock.append(time.process_time())
        if names:
            seconds[names[-1]] = round(clock[-1] - clock[-2], 2)
        names.append(name)

    start, cpu = time.perf_counter(), time.process_time()
    evaluate_all(inputs, seed=0, progress=progress)
    total, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "kind": kind,
        "records": sum(len(part) for part in (inputs.train, inputs.holdout, inputs.reference)),
        "synthetic": len(inputs.synthetic),
        "seconds": total,
        "cpu": cpu,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "metrics": seconds,
    }


def tables(n_records: int) -> Any:
    """Return a simulated cohort of a table and an independent sample of it."""
    from synthgen.data.tables import SyntheticTable
    from synthgen.evaluation.base import Claim, Inputs
    from synthgen.ingest.tables.table import read_table
    from synthgen.schema.schema import Schema

    content = {"unit": {"column": "patient", "max_records": 3}, "fields": bench_growth.fields_of(COLUMNS)}
    schema = Schema.model_validate_json(json.dumps(content))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.parquet"
        bench_growth.simulate(2 * n_records, COLUMNS, path)
        table, _ = read_table(path, schema)
    codes, n_units = table.unit_codes()
    part = np.random.default_rng(0).permutation(n_units) % 10
    train, holdout, reference = (
        table.select(np.isin(part, parts)[codes]) for parts in ((0, 1, 2), (3,), (4,))
    )
    drawn = table.select((part >= 5)[codes]).frame.iloc[: len(train)].reset_index(drop=True)
    label, groups = schema.with_role("label")[0], schema.with_role("protected")
    synthetic = SyntheticTable(schema, drawn)
    return Inputs(schema, train, holdout, reference, synthetic, label, groups, Claim(1.0, 1e-6))


def many(n_records: int) -> Any:
    """Return a cohort of a table with very many synthetic rows, drawn with replacement."""
    inputs = tables(n_records)
    rows = np.random.default_rng(0).integers(len(inputs.synthetic), size=MANY[1])
    return dataclasses.replace(inputs, synthetic=inputs.synthetic.take(rows))


def images(n_records: int) -> Any:
    """Return a simulated cohort of images and an independent sample of it."""
    from synthgen.evaluation.base import Claim, Inputs
    from tests.support.phantom_cohorts import cohort, synthetic

    parts = [
        cohort(n, seed=i, images=(1, 1), prefix=f"{i}-", size=PIXELS)
        for i, n in enumerate((3 * n_records // 5, n_records // 5, n_records // 5))
    ]
    drawn = synthetic(len(parts[0]), size=PIXELS)
    return Inputs(parts[0].schema, *parts, drawn, "ill", ("sex",), Claim(1.0, 1e-6))


def main() -> None:
    """Print a row a size; the exit code is 1 if a largest is over its limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the two smaller sizes")
    parser.add_argument("--only", choices=[*SIZES, "many"], help="one kind alone")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(measured(asked.one[0], int(asked.one[1]))))
        return
    rows: list[dict[str, Any]] = []
    over = False
    sizes = SIZES | {"many": (MANY[0],)}
    for kind in [asked.only] if asked.only else sizes:
        before: dict[str, Any] | None = None
        for n in sizes[kind][:2] if asked.quick else sizes[kind]:
            done = subprocess.run(
                [sys.executable, __file__, "--one", kind, str(n)], capture_output=True, text=True, check=True
            )
            row = json.loads(done.stdout.splitlines()[-1])
            rows.append(row)
            print(line_of(row, before), flush=True)
            before = row
        over |= row["cpu"] > MOST_SECONDS[kind] or row["gib"] > MOST_GIB[kind]
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if over and not asked.quick else 0)


def line_of(row: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Return a size's line: time, memory, how both grew, and the metrics that take longest."""
    size = f"{row['records']:,} x {COLUMNS}" if row["kind"] != "images" else f"{row['records']:,} images"
    size += f", {row['synthetic']:,} synthetic" if row["kind"] == "many" else ""
    grown = ""
    if before is not None:
        grown = f", x{row['records'] / before['records']:.1f} records: x{row['cpu'] / before['cpu']:.1f} time"
    slowest = sorted(row["metrics"].items(), key=lambda item: -item[1])[:4]
    return (
        f"{size}: {row['seconds']:.0f} s ({row['cpu']:.0f} of the processor), {row['gib']:.1f} GiB{grown}; "
        + ", ".join(f"{name} {seconds:.0f}" for name, seconds in slowest)
    )


if __name__ == "__main__":
    main()
