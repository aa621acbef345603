"""Our attacks beside Anonymeter's, Synthcity's DOMIAS and SDMetrics', on the same three releases.

    python scripts/bench_evaluation.py [--tables adult support2] [--seeds 0 1 2] [--attacks NAME ...] [--ours]
    python scripts/bench_evaluation.py --show

Releases are those of `scripts/_evaluation_releases.py`: leaky, mid, private. Every attack is tried on all
training (member) and holdout rows, in a process of its own on one thread. auc and tpr are the area under
the ROC curve and the true positive rate at 1 % false positives of its scores; rate and control are its
successes on training and on holdout rows where it only counts successes; score is what the tool itself says
(Anonymeter's risk, SDMetrics' protection, of which 1 is best); cpu is seconds of the processor,
GiB the peak memory of its process (imports are in it). Anonymeter scores no record: its distance and, of
singling out, the number of queries that match a suspect alone, stand in. SDMetrics scores no record either:
its distance stands in. Rivals get environments of their own in ``.bench``; results are kept in
`scripts/results/evaluation_rivals.json`, a row a table, release and attack, a figure a seed.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import _evaluation_releases as releases
import _machine
import _rivals
import numpy as np
from _peers import ONE_THREAD
from _tabular_fit import load

from synthgen.evaluation.attacks.rates import true_positive_rates
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.catalogue import load_metric
from synthgen.evaluation.statistics.auc import delong

KEPT = Path(__file__).parent / "results" / "evaluation_rivals.json"
DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", "../shared/data"))
OURS = {
    "leakage_density_ratio": "density ratio",
    "leakage_nearest_neighbour": "nearest neighbour",
    "leakage_classifier": "classifier",
    "leakage_strongest": "strongest",
    "leakage_near_copies": "near copies",
    "leakage_attribute_inference": "attribute inference",
}
TITLES = OURS | _rivals.ATTACKS
FIGURES = ("auc", "tpr", "rate", "control", "score", "cpu_seconds", "peak_gib")
HEAD = ("attack", "auc", "tpr", "rate", "control", "score", "cpu", "GiB")

Row = dict[str, Any]


def measure(inputs: Inputs, name: str, seed: int) -> Row:
    """Run one of our metrics in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, inputs, name, seed).result()


def _measured(inputs: Inputs, name: str, seed: int) -> Row:
    metric = load_metric(name)
    start, worked = time.perf_counter(), time.process_time()
    found = metric.evaluate(inputs, rng=np.random.default_rng(seed))
    row: Row = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - worked}
    row["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    known = found.estimates
    if "auc" in known:
        row |= {"auc": known["auc"].value, "tpr": known["tpr_1pct"].value}
    elif "difference" in known:
        row |= {"rate": known["train"].value, "control": known["holdout"].value}
    else:
        tried = found.details["columns_tried"]
        worst = max(tried, key=lambda column: tried[column]["train"] - tried[column]["holdout"])
        row |= {"rate": tried[worst]["train"], "control": tried[worst]["holdout"], "secrets": list(tried)}
    return row | {"status": "scored"}


def rival(inputs: Inputs, name: str, secrets: list[str], seed: int) -> Row:
    """Run one attack of another tool, and judge its scores as ours are."""
    parts = (inputs.train.frame, inputs.holdout.frame, inputs.reference.frame, inputs.synthetic.frame)
    frames = dict(zip(("train", "holdout", "reference", "synthetic"), parts, strict=True))
    numbers = [column.name for column in inputs.schema.columns if column.kind != "category"]
    what = {"numbers": numbers, "label": inputs.target, "secrets": secrets, "seed": seed}
    row, scores = _rivals.run(name, frames, what)
    if scores is not None:
        members, others = scores[: len(parts[0])], scores[len(parts[0]) :]
        rates = true_positive_rates(members, others, claim=None, rng=np.random.default_rng(seed))
        row |= {"auc": delong(members, others).value, "tpr": rates["tpr_1pct"].value}
    return row


def kept() -> list[Row]:
    """Return the rows that were kept."""
    return list(json.loads(KEPT.read_text(encoding="utf-8"))["rows"]) if KEPT.exists() else []


def keep(table: str, release: str, attack: str, seed: int, found: Row) -> None:
    """Write what one run found into the row of its table, release and attack, in the place of the seed's."""
    key = (table, release, attack)
    rows = {(row["table"], row["release"], row["attack"]): row for row in kept()}
    row = rows.get(key, {"table": table, "release": release, "attack": attack, "runs": {}})
    row["runs"][str(seed)] = {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}
    row |= {"date": _machine.today(), "machine": _machine.facts(), "rows": releases.ROWS}
    rows[key] = row
    ordered = sorted(rows.values(), key=lambda row: (row["table"], row["release"], row["attack"]))
    KEPT.write_text(json.dumps({"format": 1, "rows": ordered}, indent=1) + "\n", encoding="utf-8")


def cells_of(row: Row) -> list[str]:
    """Return a row of the table: means over seeds, and the standard deviation of auc and tpr."""
    runs = [run for run in row["runs"].values() if run["status"] == "scored"]
    if not runs:
        return [TITLES[row["attack"]], next(iter(row["runs"].values()))["status"], *[""] * 6]
    held = {key: [run[key] for run in runs if key in run] for key in FIGURES}
    shown = [_spread(held[key]) for key in ("auc", "tpr")]
    shown += [f"{np.mean(held[key]):.3f}" if held[key] else "" for key in ("rate", "control", "score")]
    return [
        TITLES[row["attack"]],
        *shown,
        f"{np.mean(held['cpu_seconds']):.1f}",
        f"{np.max(held['peak_gib']):.2f}",
    ]


def _spread(values: list[float]) -> str:
    """Return the mean, and the standard deviation of more than one."""
    if not values:
        return ""
    return f"{np.mean(values):.3f}" + (f" +-{np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def show(rows: list[Row]) -> None:
    """Print a table a release, our attacks first, and who finds most."""
    for table in sorted({row["table"] for row in rows}):
        for release in releases.RELEASES:
            mine = [row for row in rows if (row["table"], row["release"]) == (table, release)]
            mine.sort(key=lambda row: list(TITLES).index(row["attack"]))
            seeds = max((len(row["runs"]) for row in mine), default=0)
            print(f"\n{table}, {release}, {releases.ROWS} rows a part, {seeds} seeds")
            for line in (list(HEAD), ["---"] * len(HEAD), *map(cells_of, mine)):
                print("| " + " | ".join(line) + " |")
            for line in first(mine):
                print(line)


def first(rows: list[Row]) -> list[str]:
    """Return which attack finds most, ours and another's, by AUC, by true positive rate and by excess."""
    lines = []
    for title, value in (
        ("auc", lambda run: run.get("auc")),
        ("tpr at 1 %", lambda run: run.get("tpr")),
        ("rate minus control", lambda run: run["rate"] - run["control"] if "control" in run else None),
    ):
        best = {}
        for row in rows:
            found = [value(run) for run in row["runs"].values() if value(run) is not None]
            side = "ours" if row["attack"] in OURS else "rivals"
            if found and float(np.mean(found)) > best.get(side, ("", -2.0))[1]:
                best[side] = TITLES[row["attack"]], float(np.mean(found))
        lines.append(f"{title}: " + "; ".join(f"{side} {v:.3f} ({name})" for side, (name, v) in best.items()))
    return lines


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print what is kept; run nothing")
    parser.add_argument("--tables", nargs="+", default=["adult", "support2"])
    parser.add_argument("--releases", nargs="+", default=list(releases.RELEASES), choices=releases.RELEASES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--attacks", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--ours", action="store_true", help="our attacks alone")
    parser.add_argument("--bench", type=Path, default=DATA.parent / "bench", help="the folder of tables.py")
    return parser.parse_args()


def main() -> None:
    asked = arguments_of()
    if asked.show:
        show(kept())
        return
    os.environ.update(ONE_THREAD)
    tables, _ = load(asked.bench.resolve())
    wanted = [name for name in asked.attacks if name in OURS or not asked.ours]
    for seed in asked.seeds:
        for table in asked.tables:
            parts = releases.Parts.cut(tables, table, seed)
            for release in asked.releases:
                inputs = parts.inputs(releases.release(parts, release, seed))
                secrets = measure(inputs, "leakage_attribute_inference", seed)["secrets"]
                for name in wanted:
                    ours = name in OURS
                    found = measure(inputs, name, seed) if ours else rival(inputs, name, secrets, seed)
                    keep(table, release, name, seed, found)
                    print(table, release, seed, TITLES[name], found, flush=True)


if __name__ == "__main__":
    main()
