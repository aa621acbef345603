"""Print who catches which faulty generator, and the smallest cohort that each gate can sign.

The cohort is simulated, so everything here is public. Usage::

    bench_gate.py [--quick] [--processes N] [--json FILE]
    bench_gate.py --seeds 100 --n 5000 --controls independent [--processes N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

SIZES = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
SIGNED = ("pass", "warn")
Told = dict[str, Any]


def judged(name: str, n: int, seed: int) -> Told:
    """Return the verdict about one control, by seed, with its heads' statuses and what refuses."""
    import warnings

    from tests.evaluate.controls import CONTROLS, INDEPENDENT, inputs_of, judge

    warnings.simplefilter("ignore")
    control = next(control for control in (*CONTROLS, INDEPENDENT) if control.name == name)
    verdict = judge(inputs_of(control, seed, n), seed)
    figures = {key: f["status"] for head in verdict.heads.values() for key, f in head["metrics"].items()}
    return {
        "seed": seed,
        "verdict": verdict.verdict,
        "heads": {head: content["status"] for head, content in verdict.heads.items()},
        "refused": [reason.message for reason in verdict.reasons if reason.severity == "refuse"],
        "figures": figures,
    }


def controls(
    names: Sequence[str], n: int, seeds: int, pool: ProcessPoolExecutor
) -> Iterator[tuple[str, Told]]:
    """Yield each verdict as it is known, by control."""
    for name in names:
        for told in pool.map(partial(judged, name, n), range(900, 900 + seeds)):
            yield name, told


def smallest(sizes: tuple[int, ...], seeds: int, pool: ProcessPoolExecutor) -> dict[str, int | None]:
    """Return by rule the smallest cohort from which on independent samples pass it in all seeds."""
    from synthgen.release.gate import load_policy

    rules = [rule for rule in load_policy("default").rules if rule.threshold is not None and rule.key]
    names = [
        rule.name for rule in rules if rule.metric != "fidelity_rules"
    ]  # this cohort's schema has no rule
    passed: dict[str, dict[int, bool]] = {name: {} for name in (*names, "the whole verdict")}
    for n in sizes:
        told = list(pool.map(partial(judged, "independent sample", n), range(800, 800 + seeds)))
        for name in names:
            statuses = [one["figures"].get(name, "insufficient") for one in told]
            passed[name][n] = all(status in (*SIGNED, "not-applicable", "reported") for status in statuses)
        passed["the whole verdict"][n] = all(one["verdict"] == "release" for one in told)
        print(f"n = {n}: done", file=sys.stderr, flush=True)
    return {name: _first(held) for name, held in passed.items()}


def _first(passed: dict[int, bool]) -> int | None:
    """Return the size from which on all sizes pass."""
    good = None
    for n in sorted(passed, reverse=True):
        if not passed[n]:
            break
        good = n
    return good


def main() -> None:
    """Print both tables, or the verdicts on the controls asked for."""
    from tests.evaluate.controls import CONTROLS, INDEPENDENT

    known = [control.name for control in (*CONTROLS, INDEPENDENT)]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer seeds and sizes")
    parser.add_argument("--seeds", type=int, help="seeds of each control")
    parser.add_argument("--n", type=int, default=2000, help="training patients, twice those held out")
    parser.add_argument("--controls", nargs="*", help="those whose names begin so, and no table of sizes")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="where the figures go, after each verdict")
    asked = parser.parse_args()
    start = time.perf_counter()
    seeds = asked.seeds or (1 if asked.quick else 3)
    names = [name for name in known if asked.controls is None or name.startswith(tuple(asked.controls))]
    found: dict[str, list[Told]] = {name: [] for name in names}
    content: dict[str, Any] = {"n": asked.n}
    with ProcessPoolExecutor(asked.processes) as pool:
        for name, told in controls(names, asked.n, seeds, pool):
            found[name].append(told)
            content |= {"controls": {key: _counts(held) for key, held in found.items() if held}}
            content |= {
                "refused": {key: [t["refused"] for t in held if t["refused"]] for key, held in found.items()}
            }
            _write(asked.json, content, start)
        _show(content["controls"], asked.n, seeds)
        if asked.controls is None:
            content["smallest"] = smallest(
                SIZES[1:4] if asked.quick else SIZES, 1 if asked.quick else 3, pool
            )
            print(
                "Smallest number of training patients (half as many holdout and reference) that a gate signs:"
            )
            for name, n in content["smallest"].items():
                print(f"| {name} | {'over ' + str(SIZES[-1]) if n is None else n} |")
            _write(asked.json, content, start)


def _counts(held: Sequence[Told]) -> dict[str, str]:
    """Return by head, and of the whole verdict, in how many seeds it refuses."""
    seeds = len(held)
    heads = {head: f"{sum(t['heads'][head] == 'refuse' for t in held)}/{seeds}" for head in held[0]["heads"]}
    return heads | {"verdict": f"{sum(t['verdict'] == 'refuse' for t in held)}/{seeds}"}


def _show(table: dict[str, dict[str, str]], n: int, seeds: int) -> None:
    print(f"Refusals by head in {seeds} seeds, n = {n:,} training patients, half as many held out:")
    print("| control | fidelity | utility | fairness | leakage | verdict |\n|---|---|---|---|---|---|")
    for name, cells in table.items():
        print("|", name, *(f"| {cell}" for cell in cells.values()), "|")


def _write(path: Path | None, content: dict[str, Any], start: float) -> None:
    if path is not None:
        held = {**content, "seconds": time.perf_counter() - start}
        path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
