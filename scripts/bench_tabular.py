"""Quality and time of `marginal` beside its peers, on three real tables with public schemas and one split.

    python scripts/bench_tabular.py [--quick] [--full] [--json FILE] [--bench ../shared/bench]

Ours is fitted 3 times a row (mean and sd), its noise drawn from the operating system. Peers were fitted
once, in environments of their own, at most 300 s a fit; their rows are kept in `scripts/results/peers.json`
with machine, date, load and versions. Each run repeats one of them, to show whether the machine is
comparable; ``--full`` measures and keeps all of them anew, and adds dpmm AIM; ``--quick`` is one fit of
ours on support2 beside the kept rows. ``--keep`` writes ours into `scripts/results` too.

``--bench`` names the folder with ``tables.py`` and ``score.py``: tvd1 and tvd2 are the mean total
variation of 1- and 2-way marginals to held-out real rows over 20 public bins; AUC is that of logistic
regression and boosting, trained on drawn rows and tested on held-out real ones; s is fit and sample,
cpu the seconds of the processor (a loaded machine has more s than cpu).
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _machine
import _peers
import _tabular_rows as shown
import numpy as np
import pandas as pd

from synthgen import plugins
from synthgen.privacy.noise import NoiseSource
from synthgen.records import RealTable
from synthgen.sample import draw
from synthgen.schema import Schema

DELTA = 1e-5
TABLES = ("adult", "support2", "diabetes")
EPSILONS = (1.0, 10.0)
FITS = 3
REPEATED = ("sn-mst", "adult", 1.0)
SLOW = ("dpmm-aim",)  # with --full only
MEASURES = ("tvd1", "tvd2", "auc_lr", "auc_gb", "seconds", "cpu_seconds")
COMPARABLE = 1.5  # the repeated fit's processor time against the kept one's, either way
# What a row of ours should reach: at most these distances and seconds, at least these AUCs.
GOALS: dict[tuple[str, float], dict[str, float]] = {
    ("adult", 1.0): {"tvd2": 0.034, "auc_lr": 0.892, "auc_gb": 0.905, "seconds": 30},
    ("support2", 1.0): {"tvd2": 0.108, "auc_lr": 0.868, "auc_gb": 0.860, "seconds": 30},
    ("diabetes", 1.0): {"tvd2": 0.028, "auc_lr": 0.624, "auc_gb": 0.616},
    ("adult", 10.0): {"auc_lr": 0.899, "auc_gb": 0.912},
    ("support2", 10.0): {"tvd2": 0.084, "auc_lr": 0.878, "auc_gb": 0.870},
}

Row = dict[str, Any]


def schema_of(tables: Any, name: str) -> Schema:
    """Return the public schema that the benchmark's own bounds and labels make."""
    train, test, numbers, label, protected = tables.load(name)
    fields = []
    for column in train:
        role = "label" if column == label else "protected" if column in protected else "feature"
        field: dict[str, Any] = {"name": column, "role": role}
        if column in numbers:
            low, high = numbers[column]
            held = train[column].dropna()
            whole = bool((held == held.round()).all()) and float(low).is_integer()
            limits = {"minimum": low, "maximum": high, "required": not train[column].isna().any()}
            field |= {"type": "integer" if whole else "number", "constraints": limits, "outside": "clip"}
        else:
            labels = sorted(set(train[column]) | set(test[column]))
            field |= {"type": "string", "constraints": {"enum": labels, "required": True}}
        fields.append(field)
    return Schema.model_validate_json(json.dumps({"unit": "row", "fields": fields}))


def table_of(tables: Any, name: str, schema: Schema) -> RealTable:
    """Return the training rows in canonical form."""
    train = tables.load(name)[0]
    frame = {
        column.name: pd.Categorical(train[column.name], categories=list(column.labels))
        if column.labels
        else train[column.name].astype(float)
        for column in schema.columns
    }
    units = np.array([str(i) for i in range(len(train))], dtype=object)
    return RealTable(schema, pd.DataFrame(frame), units)


def ours(
    scorer: Any,
    data: RealTable,
    name: str,
    epsilon: float,
    *,
    fits: int,
    options: dict[str, Any],
    generator: str = shown.OURS,
) -> Row:
    """Fit `marginal`, or another of our generators, a few times and score what each draws."""
    row: Row = {"peer": generator, "table": name, "epsilon": epsilon, "delta": DELTA, "fits": fits}
    row |= {"options": options, "status": "scored", "date": _machine.today(), "load_start": _machine.load()}
    scores = []
    for seed in range(fits):
        start, worked = time.perf_counter(), time.process_time()
        config = plugins.load("synthgen.models", generator, prefix="tabular_").Config(**options)
        plan = config.plan(data.schema, epsilon=epsilon, delta=DELTA, patients=len(data))
        model = config.fit(data, plan, noise=NoiseSource.system())
        drawn = draw(model, data.schema, len(data), seed=seed).to_pandas()
        seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - worked}
        scores.append({**scorer.score(name, drawn), **seconds})
    row |= {key: float(np.mean([score[key] for score in scores])) for key in MEASURES}
    row |= {
        f"sd_{key}": float(np.std([score[key] for score in scores], ddof=min(fits - 1, 1)))
        for key in MEASURES
    }
    return row | {"load_end": _machine.load(), "machine": _machine.facts()}


def peer_rows(arguments: argparse.Namespace, scorer: Any, name: str, epsilon: float) -> Iterator[Row]:
    """Yield the peers' rows of a table and epsilon: kept, or measured now where that was asked for."""
    held = {row["peer"]: row for row in _peers.find(_peers.kept(), name, epsilon)}
    for peer in _peers.PEERS:
        place = f"{peer}:{name}:{epsilon:g}:"
        missing = peer not in held and peer not in SLOW and "missing" in arguments.refresh
        if arguments.full or missing or any(place.startswith(f"{asked}:") for asked in arguments.refresh):
            fresh = _measured(arguments.bench, scorer, peer, name, epsilon)
            if fresh is not None:
                _peers.keep({key: value for key, value in fresh.items() if key != "now"})
                yield fresh
                continue
        if peer in held:
            yield held[peer]
        if (peer, name, epsilon) == REPEATED and not arguments.quick and not arguments.refresh:
            again = _measured(arguments.bench, scorer, peer, name, epsilon)
            if again is not None:
                yield again


def _measured(bench: Path, scorer: Any, peer: str, name: str, epsilon: float) -> Row | None:
    row = _peers.measure(peer, name, epsilon, delta=DELTA, bench=bench.resolve(), score=scorer.score)
    if row is None:
        return None
    parts = ("fit_seconds", "sample_seconds"), ("fit_cpu_seconds", "sample_cpu_seconds")
    if row["status"] == "scored":
        row |= {
            "seconds": round(sum(row[key] for key in parts[0]), 2),
            "cpu_seconds": round(sum(row[key] for key in parts[1]), 2),
        }
    return row | {"now": True}


def goals_of(row: Row) -> list[str]:
    """Return a line for each goal of a row of ours that was missed, or one that says all were reached."""
    wanted = GOALS.get((row["table"], row["epsilon"]), {})
    lines = []
    for key, limit in wanted.items():
        lower = key.startswith("auc")
        if row[key] < limit if lower else row[key] > limit:
            side = ">=" if lower else "<="
            lines.append(
                f"missed: {row['table']} eps {row['epsilon']:.0f} {key} {side} {limit}, got {row[key]:.4f}"
            )
    if wanted and not lines:
        lines = [f"reached: {row['table']} eps {row['epsilon']:.0f}, all of {', '.join(wanted)}"]
    return lines


def comparable(rows: list[Row], *, full: bool) -> str:
    """Say how the repeated fit's time compares to the kept one's."""
    peer, name, epsilon = REPEATED
    if full:
        return "machine: all peers were measured in this run"
    again = [
        row for row in rows if row.get("now") and (row["peer"], row["table"], row["epsilon"]) == REPEATED
    ]
    held = [row for row in _peers.find(_peers.kept(), name, epsilon) if row["peer"] == peer]
    if not again or not held or "cpu_seconds" not in again[0] or "cpu_seconds" not in held[0]:
        return "machine: no peer was repeated in this run"
    factor = again[0]["cpu_seconds"] / held[0]["cpu_seconds"]
    verdict = "comparable" if 1 / COMPARABLE <= factor <= COMPARABLE else "NOT comparable: use --full"
    return (
        f"machine: {_peers.PEERS[peer]} on {name} took {factor:.2f} x the kept row's cpu seconds: {verdict}"
    )


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument(
        "--quick", action="store_true", help="one fit on support2 at epsilon 1; no peer is run"
    )
    parser.add_argument("--full", action="store_true", help="measure and keep all peers anew, dpmm AIM too")
    refresh = "measure and keep PEER[:TABLE[:EPSILON]] anew, or what is `missing`; fit nothing of ours"
    parser.add_argument("--refresh", nargs="+", default=[], metavar="PEER", help=refresh)
    parser.add_argument("--also", nargs="+", default=[], help="others of our generators, beside `marginal`")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="write ours into scripts/results")
    parser.add_argument("--set", action="append", default=[], help="option=value of the generator")
    return parser.parse_args()


def rows_of(arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of this run as they are measured."""
    sys.path.insert(0, str(arguments.bench.resolve()))
    tables, scorer = importlib.import_module("tables"), importlib.import_module("score")
    options = {key: json.loads(value) for key, _, value in (text.partition("=") for text in arguments.set)}
    for name in ("support2",) if arguments.quick else arguments.tables:
        schema = schema_of(tables, name)
        data = table_of(tables, name, schema)
        if not arguments.quick and not arguments.refresh:
            real = {"peer": shown.REAL, "table": name, "epsilon": None, "fits": 1, "status": "scored"}
            yield real | scorer.score(name, tables.load(name)[0])
        for epsilon in EPSILONS[:1] if arguments.quick else EPSILONS:
            if not arguments.refresh:
                fits = 1 if arguments.quick else FITS
                yield ours(scorer, data, name, epsilon, fits=fits, options=options)
                for generator in arguments.also:
                    yield ours(scorer, data, name, epsilon, fits=fits, options={}, generator=generator)
            yield from peer_rows(arguments, scorer, name, epsilon)


def main() -> None:
    arguments = arguments_of()
    print(shown.line_of(list(shown.HEAD)))
    rows = []
    for row in rows_of(arguments):
        rows.append(row)
        print(shown.line_of(shown.cells_of(row)), flush=True)
    mine = [row for row in rows if row["peer"] == shown.OURS]
    lines = [*(line for row in mine for line in goals_of(row)), comparable(rows, full=arguments.full)]
    print("\n".join(lines))
    if arguments.json:
        machine = {**_machine.facts(), "versions": _machine.versions(*shown.VERSIONS)}
        document = {"machine": machine, "rows": rows, "goals": lines}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if arguments.keep and mine:
        shown.keep(rows, lines)


if __name__ == "__main__":
    main()
