"""A wide table: seconds, peak memory and quality of `marginal` and `network` on 130 columns x 160,000 rows.

    python scripts/bench_wide.py [--quick] [--json FILE] [--bench ../shared/bench] [--only network]

The table is made from diabetes: its training rows (its test rows for the holdout) are drawn with
replacement, and each further column is drawn given two of the columns before it, by a random table of
chances that is the same for training and holdout. Half of the further columns are categories, half numbers.

tvd2 is the mean total variation of all pairs of columns to the holdout, over 20 public bins. Beside it
stand the real training rows (the ceiling) and the training columns shuffled one by one (independence: what
one-way marginals alone would reach). Each generator runs in a process of its own; ``--quick`` is 40
columns x 20,000 rows. Within means at most 24 GiB and 30 minutes for fit and sample.
"""

import argparse
import importlib
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _machine
import numpy as np
import pandas as pd
from _tabular_fit import schema_of

from synthgen import plugins
from synthgen.data.tables import RealTable
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema

GENERATORS = ("marginal", "network")
EPSILON, DELTA = 1.0, 1e-6
FULL, QUICK = (130, 160_000), (40, 20_000)
HOLDOUT = 40_000
BINS, PARENT_CELLS = 20, 6
MEMORY_GIB, SECONDS = 24.0, 30 * 60.0

Row = dict[str, Any]


def wide(bench: Path, n_columns: int, n_rows: int) -> tuple[Schema, pd.DataFrame, pd.DataFrame]:
    """Return the schema, the training rows and the holdout: the same sizes give the same tables."""
    sys.path.insert(0, str(bench.resolve()))
    tables = importlib.import_module("tables")
    narrow = schema_of(tables, "diabetes")
    train, test = tables.load("diabetes")[:2]
    rng = np.random.default_rng([n_columns, n_rows])
    parts = [
        _canonical(part.iloc[rng.integers(0, len(part), n)], narrow)
        for part, n in ((train, n_rows), (test, HOLDOUT))
    ]
    both = pd.concat(parts, ignore_index=True)
    fields = [
        json.loads(field.model_dump_json(by_alias=True, exclude_defaults=True)) for field in narrow.fields
    ]
    codes = [bins_of(both[column.name], column) for column in narrow.columns]
    fresh = {}
    for i in range(len(codes), n_columns):
        field, values = _further(i, codes, rng)
        fields.append(field)
        fresh[field["name"]] = values
        codes.append(_coded(values))
    schema = Schema.model_validate_json(json.dumps({"unit": "row", "fields": fields}))
    both = pd.concat([both, pd.DataFrame(fresh)], axis=1)
    return schema, both.iloc[:n_rows].reset_index(drop=True), both.iloc[n_rows:].reset_index(drop=True)


def _canonical(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    return pd.DataFrame(
        {
            column.name: pd.Categorical(frame[column.name], categories=list(column.labels))
            if column.labels
            else frame[column.name].to_numpy(float)
            for column in schema.columns
        }
    )


def _further(i: int, codes: list[np.ndarray], rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
    """Draw a column given two of those before it."""
    a, b = (codes[k] % PARENT_CELLS for k in rng.choice(len(codes), size=2, replace=False))
    n_cells = int(rng.integers(2, 13)) if i % 2 else 20
    ladder = np.cumsum(rng.dirichlet(np.full(n_cells, 0.4), size=PARENT_CELLS**2), axis=1)
    cells = (rng.random(len(a))[:, None] > ladder[a * PARENT_CELLS + b]).sum(axis=1).clip(max=n_cells - 1)
    field: dict[str, Any] = {"name": f"x{i:03d}"}
    if i % 2:
        labels = [f"v{k}" for k in range(n_cells)]
        field |= {"type": "string", "constraints": {"enum": labels, "required": True}}
        return field, pd.Categorical.from_codes(cells, categories=labels)
    limits = {"minimum": 0, "maximum": 100, "required": True}
    values = np.round((cells + rng.random(len(cells))) * 100.0 / n_cells, 1)
    return field | {"type": "number", "constraints": limits}, values


def _coded(values: Any) -> np.ndarray:
    return np.asarray(values.codes if isinstance(values, pd.Categorical) else values / 5, dtype=np.int64)


def bins_of(values: pd.Series, column: Any) -> np.ndarray:
    """Return each value's bin: its label, or one of 20 equal bins between the public bounds."""
    if column.labels:
        return values.cat.codes.to_numpy().astype(np.int64) + 1
    numbers = values.to_numpy(float)
    share = (numbers - column.minimum) / (column.maximum - column.minimum)
    return np.where(np.isnan(numbers), 0, 1 + np.clip(share * BINS, 0, BINS - 1)).astype(np.int64)


def tvd2(schema: Schema, a: pd.DataFrame, b: pd.DataFrame) -> float:
    """Return the mean total variation of all pairs of columns."""
    left, right = ([bins_of(frame[c.name], c) for c in schema.columns] for frame in (a, b))
    sizes = [2 + max(int(x.max()), int(y.max())) for x, y in zip(left, right, strict=True)]
    found = []
    for i, j in itertools.combinations(range(len(sizes)), 2):
        cells = sizes[i] * sizes[j]
        p, q = (np.bincount(t[i] * sizes[j] + t[j], minlength=cells) / len(t[i]) for t in (left, right))
        found.append(0.5 * float(np.abs(p - q).sum()))
    return float(np.mean(found))


def measure(generator: str, bench: Path, n_columns: int, n_rows: int) -> Row:
    """Fit, sample and score one generator in this process."""
    schema, train, holdout = wide(bench, n_columns, n_rows)
    data = RealTable(schema, train, np.array([str(i) for i in range(n_rows)], dtype=object))
    config = plugins.load("synthgen.generators.tabular", generator).Config()
    start = time.perf_counter()
    plan = config.plan(schema, epsilon=EPSILON, delta=DELTA, patients=n_rows)
    model = config.fit(data, plan, noise=NoiseSource.system())
    fitted = time.perf_counter()
    drawn = draw(model, schema, n_rows, seed=0).frame
    row: Row = {"fit": fitted - start, "sample": time.perf_counter() - fitted}
    row["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return row | {"tvd2": tvd2(schema, drawn, holdout), "cliques": plan.parameters["n_cliques"]}


def references(bench: Path, n_columns: int, n_rows: int) -> dict[str, float]:
    """Return tvd2 of the real training rows, and of their columns shuffled one by one."""
    schema, train, holdout = wide(bench, n_columns, n_rows)
    rng = np.random.default_rng(0)
    apart = pd.DataFrame({c: train[c].iloc[rng.permutation(len(train))].array for c in train})
    return {"real rows": tvd2(schema, train, holdout), "independence": tvd2(schema, apart, holdout)}


def own_process(arguments: argparse.Namespace, generator: str) -> Row:
    job = [sys.executable, __file__, "--measure", generator, "--bench", str(arguments.bench)]
    done = subprocess.run(job + ["--quick"] * arguments.quick, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1].partition(":")[0]
        return {"failed": f"exit code {done.returncode}: {last}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line_of(name: str, row: Row) -> str:
    if "failed" in row:
        return f"{name:<14}{row['failed']}"
    numbers = [f"{row[key]:>10.1f}" if key in row else " " * 10 for key in ("fit", "sample", "peak_gib")]
    return f"{name:<14}{''.join(numbers)}{row['tvd2']:>10.4f}{row.get('cliques', ''):>9}"


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--quick", action="store_true", help="40 columns x 20,000 rows")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=GENERATORS)
    parser.add_argument("--measure", choices=GENERATORS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of()
    size = QUICK if arguments.quick else FULL
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.bench, *size)))
        return
    print(f"{size[0]} columns x {size[1]:,} rows, epsilon {EPSILON:g}, delta {DELTA:g}")
    print(f"{'':<14}{'fit s':>10}{'sample s':>10}{'peak GiB':>10}{'tvd2':>10}{'cliques':>9}")
    rows: dict[str, Row] = {
        name: {"tvd2": value} for name, value in references(arguments.bench, *size).items()
    }
    for name, row in rows.items():
        print(line_of(name, row), flush=True)
    for generator in (arguments.only,) if arguments.only else GENERATORS:
        rows[generator] = own_process(arguments, generator)
        print(line_of(generator, rows[generator]), flush=True)
    inside = [
        name
        for name in GENERATORS
        if "fit" in rows.get(name, {})
        and rows[name]["peak_gib"] <= MEMORY_GIB
        and rows[name]["fit"] + rows[name]["sample"] <= SECONDS
    ]
    verdict = f"within {MEMORY_GIB:.0f} GiB and {SECONDS / 60:.0f} minutes: {', '.join(inside) or 'none'}"
    print(verdict)
    if arguments.json:
        document = {
            "date": _machine.today(),
            "machine": _machine.facts(),
            "columns": size[0],
            "records": size[1],
        }
        document |= {"versions": _machine.versions("numpy", "torch"), "rows": rows, "verdict": verdict}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
