"""Print who catches which faulty generator, and the smallest cohort that each gate can sign.

The cohort is simulated, so everything here is public. Usage: ``bench_gate.py [--quick] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

SIZES = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
SIGNED = ("pass", "warn")


def controls(n: int, seeds: int) -> dict[str, dict[str, str]]:
    """Return by control and head in how many seeds the head refuses."""
    from tests.evaluate.controls import CONTROLS, INDEPENDENT, inputs_of, judge

    found: dict[str, dict[str, str]] = {}
    for control in (*CONTROLS, INDEPENDENT):
        said = [judge(inputs_of(control, 900 + seed, n), seed).heads for seed in range(seeds)]
        found[control.name] = {
            head: f"{sum(heads[head]['status'] == 'refuse' for heads in said)}/{seeds}" for head in said[0]
        }
        print("|", control.name, *(f"| {cell}" for cell in found[control.name].values()), "|", flush=True)
    return found


def smallest(sizes: tuple[int, ...], seeds: int) -> dict[str, int | None]:
    """Return by rule the smallest cohort from which on independent samples pass it in all seeds."""
    from synthgen.release.gate import load_policy
    from tests.evaluate.controls import INDEPENDENT, inputs_of, judge

    rules = [rule for rule in load_policy("default").rules if rule.threshold is not None and rule.key]
    rules = [rule for rule in rules if rule.metric != "fidelity_rules"]  # this cohort's schema has no rule
    passed: dict[str, dict[int, bool]] = {rule.name: {} for rule in rules} | {"the whole verdict": {}}
    for n in sizes:
        for name in passed:
            passed[name][n] = True
        for seed in range(seeds):
            verdict = judge(inputs_of(INDEPENDENT, 800 + seed, n), seed)
            figures: dict[str, Any] = {}
            for content in verdict.heads.values():
                figures |= content["metrics"]
            for rule in rules:
                status = figures.get(rule.name, {"status": "insufficient"})["status"]
                passed[rule.name][n] &= status in (*SIGNED, "not-applicable", "reported")
            passed["the whole verdict"][n] &= verdict.verdict == "release"
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
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer seeds and sizes")
    parser.add_argument("--json", type=Path, help="where the figures go")
    asked = parser.parse_args()
    start = time.perf_counter()
    seeds, sizes = (1, SIZES[1:4]) if asked.quick else (3, SIZES)
    print(f"Refusals by head in {seeds} seeds, n = 2,000 training patients, half as many held out:")
    print("| control | fidelity | utility | fairness | leakage |\n|---|---|---|---|---|")
    table = controls(2000, seeds)
    print("Smallest number of training patients (half as many holdout and reference) that a gate signs:")
    needed = smallest(sizes, seeds)
    for name, n in needed.items():
        print(f"| {name} | {'over ' + str(sizes[-1]) if n is None else n} |")
    if asked.json is not None:
        content = {"controls": table, "smallest": needed, "seconds": time.perf_counter() - start}
        asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
