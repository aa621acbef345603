"""How often each 95 % interval of the evaluation holds the truth, on simulated cohorts.

    python scripts/bench_coverage.py [--repetitions 2000] [--processes N] [--only NAME ...] [--json FILE]
        [--first SEED] [--limit SECONDS] [--rows FILE.npz] [--add FILE.npz ...]

Prints by case and figure, and by metric, the coverage with its binomial error, and what lies outside 93.5 to
96.5 %. "Over
error" is the median half width over 1.96 standard deviations of the error: 1, or a little more where
Student's quantiles are wider.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import _machine  # noqa: E402  # threads are counted first
import numpy as np  # noqa: E402


def main() -> None:
    """Print the table."""
    from tests.support import coverage

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first repetition")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds after which no batch is begun")
    parser.add_argument("--only", nargs="*", help="cases whose names begin so")
    parser.add_argument("--rows", type=Path, help="where each repetition's figures go (.npz)")
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="rows of other seeds to join")
    parser.add_argument("--json", type=Path, help="where the table goes")
    asked = parser.parse_args()
    names = [n for n in coverage.NAMES if not asked.only or n.startswith(tuple(asked.only))]
    start, seconds = time.perf_counter(), dict.fromkeys(names, 0.0)
    rows: dict[str, dict[str, list[Any]]] = {name: defaultdict(list) for name in coverage.NAMES}
    for path in asked.add:
        with np.load(path) as held:
            for place, found in held.items():
                rows[place.partition("|")[0]][place.partition("|")[2]] += found.tolist()
    batches = coverage.run(
        names,
        first=asked.first,
        repetitions=asked.repetitions,
        processes=asked.processes,
        limit=asked.limit,
    )
    for name, spent, found in batches:
        seconds[name] += spent
        for one in found:
            for key, row in one.items():
                rows[name][key].append(row)
    if asked.rows is not None:
        held = {f"{name}|{key}": np.array(v) for name, table in rows.items() for key, v in table.items()}
        np.savez_compressed(asked.rows, **held)
    tables = {name: coverage.summary(held) for name, held in rows.items() if held}
    show(tables)
    show_metrics(tables)
    for name, table in tables.items():
        for key, share in coverage.outside(table).items():
            print(f"outside {coverage.WANTED}: {name} {key} {share:.3f}")
    if asked.json is not None:
        content = {
            "machine": _machine.facts(),
            "date": _machine.today(),
            "wall_seconds": round(time.perf_counter() - start),
            "processor_seconds": {name: round(spent) for name, spent in seconds.items()},
            "cases": tables,
        }
        asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def show(tables: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print a line a figure."""
    print("| case | figure | repetitions | truth | half width | over error | covered |")
    print("|---|---|---|---|---|---|---|")
    for name, table in tables.items():
        for key, held in table.items():
            cells = f"{held['truth']:.3f} | {held['half_width']:.3f} | {held['width_ratio']:.2f}"
            covered = f"{held['coverage']:.3f} +- {held['error']:.3f}"
            print(f"| {name} | {key} | {held['answers']} | {cells} | {covered} |")


def show_metrics(tables: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print a line a metric: figures in all its cases, least and largest coverage, how many lie outside."""
    from tests.support import coverage

    held: dict[str, list[tuple[float, str, bool]]] = defaultdict(list)
    for name, table in tables.items():
        beyond = coverage.outside(table)
        for key, figure in table.items():
            kind = " (package's learners)" if name.startswith("learners") else ""
            told = f"{name.partition('/')[2]} {key.partition('.')[2]}".strip()
            held[key.partition(".")[0] + kind].append((figure["coverage"], told, key in beyond))
    print("\n| metric | figures | least | of | largest | of | outside |\n|---|---|---|---|---|---|---|")
    for metric, figures in sorted(held.items()):
        (low, least, _), (high, largest, _) = min(figures), max(figures)
        beyond_them = sum(out for _, _, out in figures)
        print(f"| {metric} | {len(figures)} | {low:.3f} | {least} | {high:.3f} | {largest} | {beyond_them} |")


if __name__ == "__main__":
    main()
