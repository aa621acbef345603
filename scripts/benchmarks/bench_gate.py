"""Print the gate's verdicts on leaky, harmful and good tables of real cohorts.

    python scripts/benchmarks/bench_gate.py [--only PATTERN ...] [--cohorts adult support2 ...] [--seeds 5]
        [--sizes 2276 ...] [--metrics PATTERN ...] [--reference] [--again] [--workers 2] [--json FILE]

Each table is evaluated as `synthgen evaluate --real --holdout --synthetic` does, by the default policy; of
``--metrics``, those alone and the rules about them, so that a head without any of them is not asked for;
each head has the level that it has in the whole policy. ``--again`` evaluates each table twice, the second
time with the rows of all files in another order and another seed. Verdicts are R (release), x (refuse), ?
(cannot sign), one a seed. The first reason decided; of a released table, the figure nearest to its limit
stands there. Patterns are those of a shell.
"""

import argparse
import fnmatch
import json
import os
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
HERE = Path(__file__).parent
for folder in (HERE, HERE.parent, HERE.parents[1]):
    sys.path.insert(0, str(folder))

import _gate_parts  # noqa: E402  # threads are counted first
import _machine  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

LETTERS = {"release": "R", "refuse": "x", "cannot-sign": "?", "failed": "!"}
MODULES = ("_gate_good", "_gate_leaks", "_gate_harms")
"""Modules that register tables; one that is not there is left out."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One evaluation.

    Attributes:
        cohort: name of the cohort.
        size: patients of a part at most.
        table: name of the table.
        seed: of the cut, of the table and of the evaluation.
        metrics: patterns of metrics; all if empty.
        reference: whether the reference part is handed over.
        again: whether rows are in another order, and the evaluation has another seed.
    """

    cohort: str
    size: int
    table: str
    seed: int
    metrics: tuple[str, ...]
    reference: bool
    again: bool = False


def tables(patterns: Sequence[str]) -> list[_gate_parts.Table]:
    """Return the registered tables whose name or kind matches a pattern."""
    import importlib

    for name in MODULES:
        if (HERE / f"{name}.py").exists():
            importlib.import_module(name)
    return [
        table
        for table in _gate_parts.TABLES.values()
        if any(fnmatch.fnmatch(word, pattern) for pattern in patterns for word in (table.name, table.kind))
    ]


@lru_cache(maxsize=2)
def _parts(cohort: str, seed: int, size: int) -> _gate_parts.Parts:
    return _gate_parts.Parts.cut(cohort, seed, size)


@lru_cache(maxsize=1)
def _made(cohort: str, seed: int, size: int, table: str) -> pd.DataFrame:
    """Return a table, the same for both evaluations of it: the noise of a release is nobody's to repeat."""
    rng = np.random.default_rng([seed, zlib.crc32(table.encode())])
    return _gate_parts.TABLES[table].make(_parts(cohort, seed, size), rng)


def both(cases: Sequence[Case]) -> list[Row]:
    """Return the verdicts on one table."""
    return [judged(case) for case in cases]


def judged(case: Case) -> Row:
    """Return the verdict of one evaluation, with its reasons and the deciding figure."""
    import warnings

    warnings.simplefilter("ignore")
    tables(("*",))
    start = time.process_time()
    try:
        parts = _parts(case.cohort, case.seed, case.size)
        frame = _made(case.cohort, case.seed, case.size, case.table)
        made = time.process_time()
        told = evaluated(parts, _gate_parts.canonical(parts.schema, frame.reset_index(drop=True)), case)
    except Exception as error:  # one table's fault must not end the others
        traceback.print_exc()
        return {**vars(case), "verdict": "failed", "decided": type(error).__name__, "figure": str(error)}
    decided, figure = deciding(told)
    return {
        **vars(case),
        "verdict": told["verdict"],
        "decided": decided,
        "figure": figure,
        "reasons": [reason for reason in told["reasons"] if reason["severity"] != "warn"],
        "warnings": [reason["metric"] for reason in told["reasons"] if reason["severity"] == "warn"],
        "rows": {"a part": len(parts.train), "synthetic": len(frame)},
        "seconds": {"made": round(made - start, 1), "evaluated": round(time.process_time() - made, 1)},
    }


def evaluated(parts: _gate_parts.Parts, frame: pd.DataFrame, case: Case) -> Row:
    """Return what `synthgen evaluate` says of files with these rows."""
    from synthgen.data.tables import RealTable, SyntheticTable
    from synthgen.pipeline import evaluate_files as files

    names = ("train", "holdout", *(["reference"] if case.reference else []))
    shuffled = np.random.default_rng([case.seed, 1])
    real = {}
    for name in names:
        part = getattr(parts, name)
        units = np.array([f"{name}{i}" for i in range(len(part))], dtype=object)
        order = shuffled.permutation(len(part)) if case.again else np.arange(len(part))
        real[name] = RealTable(parts.schema, part.iloc[order].reset_index(drop=True), units[order])
    if case.again:
        frame = frame.iloc[shuffled.permutation(len(frame))].reset_index(drop=True)
    table = SyntheticTable(parts.schema, frame)
    seed = case.seed + (10_000 if case.again else 0)
    if case.metrics:
        return _some(real, table, case.metrics, seed)
    return files.evaluate_tables(
        real, table, policy="default", claim=None, seed=seed, progress=lambda *_: None
    )


def _some(real: Mapping[str, Any], table: Any, patterns: Sequence[str], seed: int) -> Row:
    """Return what some metrics and the rules about them say."""
    from synthgen.evaluation.base import HEADS
    from synthgen.evaluation.run import evaluate_all, metric_names
    from synthgen.pipeline import evaluate_files as files
    from synthgen.release.gate.gate import decide, load_policy

    names = [name for name in metric_names() if any(fnmatch.fnmatch(name, p) for p in patterns)]
    policy = load_policy("default")
    rules = tuple(rule for rule in policy.rules if rule.metric in names)
    inputs = files.inputs_of(real, table, claim=None, seed=seed)
    results = evaluate_all(inputs, seed=seed, only=names)
    share = len({rule.head for rule in rules}) / len({rule.head for rule in policy.rules})
    levels = {name: share * getattr(policy, name) for name in ("wrongful_refusal", "wrongful_doubt")}
    told = decide(results, policy.model_copy(update={"rules": rules, **levels})).to_json()
    told["reasons"] = [reason for reason in told["reasons"] if reason["metric"] not in HEADS]
    grave = [reason["severity"] for reason in told["reasons"] if reason["severity"] != "warn"]
    return {**told, "verdict": grave[0] if grave else "release"}


def deciding(told: Mapping[str, Any]) -> tuple[str, str]:
    """Return the rule that decided and its figure; of a released table the figure nearest to its limit."""
    grave = [reason for reason in told["reasons"] if reason["severity"] != "warn"]
    if grave:
        return grave[0]["metric"], grave[0]["message"].partition(" Source: ")[0]
    held = {name: figure for head in told["heads"].values() for name, figure in head["metrics"].items()}
    known = {
        name: abs(figure["value"] - figure["threshold"]) / (abs(figure["threshold"]) or 1.0)
        for name, figure in held.items()
        if figure["threshold"] is not None and figure["value"] is not None
    }
    if not known:
        return "", ""
    nearest = min(known, key=lambda name: known[name])
    return nearest, f"{held[nearest]['value']:.3g}, limit {held[nearest]['threshold']:.3g}"


def show(rows: Sequence[Row], what: Mapping[str, _gate_parts.Table]) -> None:
    """Print a table a cohort and size, and how many tables were decided as they should be."""
    for cohort, size in dict.fromkeys((row["cohort"], row["size"]) for row in rows):
        mine = [row for row in rows if (row["cohort"], row["size"]) == (cohort, size)]
        parts = max((row["rows"]["a part"] for row in mine if "rows" in row), default=0)
        print(f"\n{cohort}, {parts:,} patients a part\n")
        print("| table | kind | what | verdicts | decided by | figure |\n|---|---|---|---|---|---|")
        for name in dict.fromkeys(row["table"] for row in mine):
            held = sorted((r for r in mine if r["table"] == name), key=lambda r: (r["again"], r["seed"]))
            letters = "".join(LETTERS[row["verdict"]] for row in held if not row["again"])
            again = "".join(LETTERS[row["verdict"]] for row in held if row["again"])
            rule = Counter(row["decided"] for row in held).most_common(1)[0][0]
            figure = next(row["figure"] for row in held if row["decided"] == rule)
            shown = f"{letters} {again}".strip()
            cells = (name, what[name].kind, what[name].what, shown, rule, _short(figure))
            print("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    for kind in ("leaky", "harmful", "good", "release"):
        held = [row for row in rows if what[row["table"]].kind == kind]
        counts = Counter(row["verdict"] for row in held)
        if held:
            shown = ", ".join(f"{counts[verdict]} {verdict}" for verdict in LETTERS if counts[verdict])
            print(f"\n{kind}: {len(held)} evaluations: {shown}")
    pairs: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        key = (row["cohort"], row["size"], row["table"], row["seed"])
        pairs.setdefault(key, set()).add(row["verdict"])
    if any(row["again"] for row in rows):
        same = sum(len(verdicts) == 1 for verdicts in pairs.values())
        print(f"\nthe same verdict with rows in another order and another seed: {same} of {len(pairs)}")


def _short(text: str, most: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def cases(asked: argparse.Namespace, chosen: Sequence[_gate_parts.Table]) -> list[Case]:
    """Return all evaluations, those of a cohort and cut together."""
    return [
        Case(cohort, size, table.name, seed, tuple(asked.metrics), asked.reference, again)
        for cohort in asked.cohorts
        for size in asked.sizes
        for seed in range(asked.first, asked.first + asked.seeds)
        for table in chosen
        if not table.cohorts or cohort in table.cohorts
        for again in ((False, True) if asked.again else (False,))
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*_gate_parts.COHORTS, "simulated"]
    parser.add_argument("--only", nargs="*", default=["*"], metavar="PATTERN", help="names or kinds")
    parser.add_argument("--cohorts", "--datasets", nargs="+", default=["adult", "support2"], choices=known)
    parser.add_argument("--sizes", nargs="+", type=int, default=[2276], help="patients of a part at most")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--metrics", nargs="*", default=[], metavar="PATTERN")
    parser.add_argument("--reference", action="store_true", help="hand over the reference part too")
    parser.add_argument("--again", action="store_true", help="twice, with other orders and seeds")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--list", action="store_true", help="print the tables, and evaluate none")
    parser.add_argument("--json", type=Path, help="where the rows go, after each")
    return parser.parse_args()


def main() -> None:
    """Evaluate, print, and write."""
    asked = arguments()
    chosen = tables(asked.only)
    if asked.list:
        for table in chosen:
            print(f"{table.kind:8} {table.name}: {table.what}")
        return
    rows: list[Row] = []
    start = time.perf_counter()
    todo = cases(asked, chosen)
    with ProcessPoolExecutor(asked.workers) as pool:
        tables_of = groupby(todo, key=lambda case: (case.cohort, case.size, case.seed, case.table))
        futures = [pool.submit(both, list(same)) for _, same in tables_of]
        for row in (row for future in as_completed(futures) for row in future.result()):
            rows.append(row)
            print(
                f"{len(rows)}/{len(todo)} {row['cohort']} {row['table']} seed {row['seed']}"
                f"{' again' if row['again'] else ''}: {row['verdict']} by {row['decided']}",
                file=sys.stderr,
                flush=True,
            )
            if asked.json is not None:
                content = {"machine": _machine.facts(), "date": _machine.today(), "rows": rows}
                asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    show(rows, _gate_parts.TABLES)
    print(f"\n{time.perf_counter() - start:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    main()
