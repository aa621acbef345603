"""Quality, fairness, time and memory of our table generators beside their peers, on three real tables.

    python scripts/bench_tabular.py [--quick] [--full] [--json FILE] [--bench ../shared/bench]
    python scripts/bench_tabular.py --also diffusion gan network pategan auto --only
    python scripts/bench_tabular.py --also diffusion --only --set pretraining=0 --keep
    python scripts/bench_tabular.py --show

Ours are fitted 3 times a row (mean and sd), their noise drawn from the operating system, each fit in a
process of its own. Peers were fitted once, in environments of their own, at most 300 s a fit; their rows are
kept in `scripts/results/peers.json` with machine, date, load and versions, and those of our other generators
in `generators.json`. Each run repeats one peer, to show whether the machine is comparable; ``--full``
measures and keeps all of them anew, and adds dpmm AIM; ``--quick`` is one fit of ours on support2 beside the
kept rows. ``--keep`` writes ours into `scripts/results` too; ``--show`` prints what is kept and who is first.

``--bench`` names the folder with ``tables.py`` and ``score.py``: tvd1 and tvd2 are the mean total
variation of 1- and 2-way marginals to held-out real rows over 20 public bins; AUC is that of logistic
regression and boosting, trained on drawn rows and tested on held-out real ones; gap is how much AUC the
worst-served protected group loses to training on real rows (boosting); s is fit and sample, cpu the seconds
of the processor (a loaded machine has more s than cpu), GiB the process's peak memory.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _machine
import _peers
import _tabular_fit as fitting
import _tabular_rows as shown
import numpy as np

TABLES = ("adult", "support2", "diabetes")
EPSILONS = (1.0, 10.0)
FITS = 3
REPEATED = ("sn-mst", "adult", 1.0)
SLOW = ("dpmm-aim",)  # with --full only
MEASURES = ("tvd1", "tvd2", "auc_lr", "auc_gb", "gap", "seconds", "cpu_seconds", "peak_gib")
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
Score = Callable[[str, Any], Row]


def ours(generator: str, name: str, epsilon: float, *, fits: int, options: Row, bench: Path) -> Row:
    """Fit `marginal`, or another of our generators, a few times and score what each draws."""
    changed = ", ".join(f"{key} {value}" for key, value in options.items())
    row: Row = {
        "peer": f"{generator}: {changed}" if changed else generator,
        "table": name,
        "epsilon": epsilon,
        "delta": fitting.DELTA,
        "fits": fits,
    }
    row |= {"options": options, "status": "scored", "date": _machine.today(), "load_start": _machine.load()}
    scores = [fitting.fit(generator, name, epsilon, seed, options, bench) for seed in range(fits)]
    row |= {key: float(np.mean([score[key] for score in scores])) for key in MEASURES}
    row |= {
        f"sd_{key}": float(np.std([score[key] for score in scores], ddof=min(fits - 1, 1)))
        for key in MEASURES
    }
    return row | {"load_end": _machine.load(), "machine": _machine.facts()}


def peer_rows(arguments: argparse.Namespace, score: Score, name: str, epsilon: float) -> Iterator[Row]:
    """Yield the peers' rows of a table and epsilon: kept, or measured now where that was asked for."""
    held = {row["peer"]: row for row in _peers.find(_peers.kept(), name, epsilon)}
    for peer in _peers.PEERS:
        place = f"{peer}:{name}:{epsilon:g}:"
        missing = peer not in held and peer not in SLOW and "missing" in arguments.refresh
        if arguments.full or missing or any(place.startswith(f"{asked}:") for asked in arguments.refresh):
            fresh = _measured(arguments.bench, score, peer, name, epsilon)
            if fresh is not None:
                _peers.keep({key: value for key, value in fresh.items() if key != "now"})
                yield fresh
                continue
        if peer in held:
            yield held[peer]
        if (peer, name, epsilon) == REPEATED and not arguments.quick and not arguments.refresh:
            again = _measured(arguments.bench, score, peer, name, epsilon)
            if again is not None:
                yield again


def _measured(bench: Path, score: Score, peer: str, name: str, epsilon: float) -> Row | None:
    row = _peers.measure(peer, name, epsilon, delta=fitting.DELTA, bench=bench, score=score)
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
    parser.add_argument("--only", action="store_true", help="those of --also alone: no `marginal`, no peer")
    parser.add_argument(
        "--show", action="store_true", help="print what is kept, and who is first; fit nothing"
    )
    parser.add_argument("--epsilons", nargs="+", type=float, default=list(EPSILONS))
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="write ours into scripts/results")
    parser.add_argument(
        "--set", action="append", default=[], help="option=value of `marginal`; with --only, of the others"
    )
    arguments = parser.parse_args()
    arguments.bench = arguments.bench.resolve()
    return arguments


def rows_of(arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of this run as they are measured."""
    tables, scorer = fitting.load(arguments.bench)
    options = {key: json.loads(value) for key, _, value in (text.partition("=") for text in arguments.set)}
    fits = 1 if arguments.quick else FITS

    def score(name: str, drawn: Any) -> Row:
        return {**scorer.score(name, drawn), "gap": fitting.gap(tables, scorer, name, drawn)}

    for name in ("support2",) if arguments.quick else arguments.tables:
        if not arguments.quick and not arguments.refresh:
            real = {"peer": shown.REAL, "table": name, "epsilon": None, "fits": 1, "status": "scored"}
            yield real | score(name, tables.load(name)[0])
        for epsilon in EPSILONS[:1] if arguments.quick else arguments.epsilons:
            if not arguments.refresh and not arguments.only:
                yield ours(shown.OURS, name, epsilon, fits=fits, options=options, bench=arguments.bench)
            for generator in arguments.also:
                row = ours(
                    generator,
                    name,
                    epsilon,
                    fits=fits,
                    options=options if arguments.only else {},
                    bench=arguments.bench,
                )
                if arguments.keep:
                    _peers.keep(row, shown.OTHERS)
                yield row
            if not arguments.only:
                yield from peer_rows(arguments, score, name, epsilon)


def main() -> None:
    arguments = arguments_of()
    print(shown.line_of(list(shown.HEAD)))
    rows = []
    for row in shown.all_kept() if arguments.show else rows_of(arguments):
        rows.append(row)
        print(shown.line_of(shown.cells_of(row)), flush=True)
    if arguments.show:
        lines = shown.ranks_of(rows)
    else:
        mine = [row for row in rows if row["peer"] == shown.OURS]
        lines = [*(line for row in mine for line in goals_of(row)), comparable(rows, full=arguments.full)]
        if arguments.keep and mine:
            shown.keep(rows, lines)
    print("\n".join(lines))
    if arguments.json:
        machine = {**_machine.facts(), "versions": _machine.versions(*shown.VERSIONS)}
        document = {"machine": machine, "rows": rows, "goals": lines}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
