"""How the whole evaluation grows with records: seconds by metric and peak memory, each size a process.

    python scripts/bench_evaluation_growth.py [--quick] [--json FILE]

The cohort is that of bench_growth.py: 25 columns that all depend on each other. Of n patients three fifths
train, a fifth is held out and a fifth is the attacker's; as many synthetic records as patients train are
drawn anew. Metrics that compare all pairs of records are capped by sampling, and state their caps.
"""

from __future__ import annotations

import argparse
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

SIZES, COLUMNS = (10_000, 30_000, 100_000), 25
MOST_SECONDS, MOST_GIB = 180.0, 6.0


def measured(n_records: int) -> dict[str, Any]:
    """Evaluate one simulated cohort in this process."""
    from dataclasses import replace

    from synthgen.evaluate._base import Claim, Inputs
    from synthgen.evaluate._run import evaluate_all
    from synthgen.ingest.table import read_table
    from synthgen.records import SyntheticTable
    from synthgen.schema import Schema

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
    inputs = Inputs(
        schema, train, holdout, reference, SyntheticTable(schema, drawn), label, groups, Claim(1.0, 1e-6)
    )
    clock, seconds = [time.perf_counter()], {}
    names: list[str] = []

    def tell(name: str, done: float) -> None:
        clock.append(time.perf_counter())
        if names:
            seconds[names[-1]] = round(clock[-1] - clock[-2], 2)
        names.append(name)

    start, cpu = time.perf_counter(), time.process_time()
    evaluate_all(replace(inputs), seed=0, progress=tell)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total, cpu = time.perf_counter() - start, time.process_time() - cpu
    rows = len(train) + len(holdout) + len(reference)
    return {
        "records": rows,
        "synthetic": len(drawn),
        "seconds": total,
        "cpu": cpu,
        "gib": peak,
        "metrics": seconds,
    }


def main() -> None:
    """Print a row a size; the exit code is 1 if the largest is over its limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the two smaller sizes")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(measured(asked.one)))
        return
    rows = []
    for n in SIZES[:2] if asked.quick else SIZES:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(n)], capture_output=True, text=True, check=True
        )
        row = json.loads(done.stdout)
        grown = f", x{row['cpu'] / rows[-1]['cpu']:.1f} time" if rows else ""
        rows.append(row)
        slowest = sorted(row["metrics"].items(), key=lambda item: -item[1])[:4]
        print(
            f"{row['records']:,} x {COLUMNS}: {row['seconds']:.0f} s ({row['cpu']:.0f} of the processor), "
            f"{row['gib']:.1f} GiB{grown}; {slowest}"
        )
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    over = rows[-1]["seconds"] > MOST_SECONDS or rows[-1]["gib"] > MOST_GIB
    sys.exit(1 if over and not asked.quick else 0)


if __name__ == "__main__":
    main()
