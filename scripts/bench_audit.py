"""Audit our generators, and our audits: what they show, and whether planted faults are caught.

``one run``: 1,000 canaries in a twin fit, by all that a plan fixes and with little free pretraining; the
attack of a recipient. ``many runs``: fits on two neighbouring data sets, the likelihood ratio of all that is
released of each against the claimed trade-off curve; small networks, which change no claim. With ``--faults``
noise is left out, halved, or a patient's records count in full, in trials of so many fits as have power .9.

Usage: ``bench_audit.py [--quick] [--faults] [--only NAME ...] [--processes N] [--json FILE]``. Everything is
simulated. Seconds are of one core.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

CANARIES, DELTA, PATIENTS = 1000, 1e-6, 2000
DEEP: dict[str, Any] = {"steps": 10, "pretraining": 5, "width": 8}
NETWORK: dict[str, Any] = {"steps": 20, "components": 20, "latent": 8, "hidden": 16}
SMALL: dict[str, dict[str, Any]] = {
    "marginal": {},
    "network": {**NETWORK, "last_steps": 20},
    "pategan": {**NETWORK, "generator_steps": 2, "features": 8, "rounds": 2},
    "diffusion": DEEP,
    "gan": DEEP,
    "images: embedding": {},
    "images: diffusion": {**DEEP, "steps": 5, "calls": 2},
    "images: gan": {**DEEP, "steps": 5, "critic_width": 4, "generator_steps": 1},
}
NOISED = ("diffusion", "gan", "images: diffusion", "images: gan")
OWN: dict[str, dict[str, Any]] = {
    "network": {"steps": 200, "last_steps": 200},
    "pategan": {"steps": 100},
    "diffusion": {"pretraining": 200},
    "gan": {"pretraining": 200},
    "images: diffusion": {"pretraining": 50, "width": 8},
    "images: gan": {"pretraining": 50, "width": 8},
}
COPIES = 8
TABLES_FAULT_ONLY = ("images: embedding", "images: diffusion", "images: gan")
"""Their patients' weights are tested with the generators; the fault that is planted is the tables'."""
FAULTS = ("no noise", "half the noise", "K copies")
WANTED, TRIALS, SPARE = 0.9, 10, 1.1
"""Power; most trials; and fits beyond those that a pilot says are needed, since it may be lucky."""
PILOT = (20, 300)
BLOCK = 10
"""Fits of an arm that one task makes."""


def mechanism(name: str, epsilon: float, *, copies: int = 1) -> Any:
    """Return a generator with its plan, at small settings, and two neighbouring data sets."""
    from tests.support.mechanisms import Mechanism, pictures, tabular
    from tests.support.noised import Noised

    kind: type[Mechanism] = Noised if name in NOISED else Mechanism
    if name.startswith("images: "):
        return pictures(name.removeprefix("images: "), epsilon, kind=kind, **SMALL[name])
    return tabular(name, epsilon, copies=copies, kind=kind, **SMALL[name])


@contextlib.contextmanager
def planted(name: str, fault: str) -> Any:
    """Let a patient's records, or its rows in a step, count in full each."""
    with contextlib.ExitStack() as stack:
        if fault == "K copies":
            from tests.support.mechanisms import records_count_in_full

            stack.enter_context(records_count_in_full())
            if name in NOISED:
                from synthgen.dpsgd.clipped_gradients import UnitGradients
                from tests.faults.engine_table import rows_as_units, swap

                stack.enter_context(swap(UnitGradients, "clipped_sum", rows_as_units)())
        yield


def one_run(task: tuple[str, float]) -> dict[str, Any]:
    """Audit a generator's plan in one run."""
    from synthgen import plugins
    from synthgen.evaluation.audit.twin import audit_twin
    from synthgen.privacy.noise import NoiseSource
    from tests.evaluation.conftest import FIELDS, make_schema
    from tests.support import phantom_cohorts as phantoms

    name, epsilon = task
    images = name.startswith("images: ")
    key = name.removeprefix("images: ")
    schema = phantoms.schema_of(size=16) if images else make_schema(FIELDS)
    config = plugins.load(f"synthgen.generators.{'imaging' if images else 'tabular'}", key).Config(
        **OWN.get(name, {})
    )
    plan = config.plan(schema, epsilon=epsilon, delta=DELTA, patients=PATIENTS)
    start = time.process_time()
    rng, (noise, coin) = np.random.default_rng(0), (NoiseSource.system() for _ in "ab")
    found = audit_twin(config, plan, schema, n_canaries=CANARIES, rng=rng, noise=noise, coin=coin).found
    assert found is not None
    return {
        "audit": "one run", "generator": name, "claim": epsilon, "shown": found.epsilon,
        "ceiling": found.ceiling, "mu": found.mu, "verdict": found.verdict,
        "confidence": found.confidence, "seconds": round(time.process_time() - start, 1),
    }  # fmt: skip


def scores(task: tuple[str, float, str, bool, int]) -> tuple[float, list[float]]:
    """Return seconds and scores of a block of an arm."""
    warnings.simplefilter("ignore")
    name, epsilon, fault, member, block = task
    times = {"no noise": 1e-6, "half the noise": 0.5}.get(fault, 1.0)
    copies = COPIES if fault == "K copies" else 1
    made, start = mechanism(name, epsilon, copies=copies), time.process_time()
    seeds = range(BLOCK * block, BLOCK * (block + 1))
    with planted(name, fault):
        found = [made.score(member=member, sigma_times=times, seed=2 * seed + member) for seed in seeds]
    return time.process_time() - start, found


@dataclass
class Arms:
    """Scores of fits of one generator with one fault, each fit used once.

    Attributes:
        name: the generator.
        epsilon: its claim.
        fault: what is planted; empty for nothing.
        spread: maps tasks to processes.
        used: blocks so far.
        seconds: of one core, so far.
    """

    name: str
    epsilon: float
    fault: str
    spread: Any
    used: int = 0
    seconds: float = 0.0

    def next(self, n: int) -> tuple[list[float], list[float]]:
        """Return n scores of fresh fits with the patient, and n without, rounded up to blocks."""
        blocks = range(self.used, self.used + math.ceil(n / BLOCK))
        self.used = blocks.stop
        tasks = [(self.name, self.epsilon, self.fault, member, i) for member in (True, False) for i in blocks]
        done = list(self.spread(scores, tasks))
        self.seconds += sum(seconds for seconds, _ in done)
        found = [score for _, part in done for score in part]
        return found[: len(found) // 2], found[len(found) // 2 :]

    @property
    def each(self) -> float:
        """Seconds of a fit in both arms."""
        return self.seconds / max(BLOCK * self.used, 1)


def many_runs(name: str, epsilon: float, n: int, spread: Any) -> dict[str, Any]:
    """Test a generator's claim on n fits a side, and say what epsilon they show, and could."""
    from synthgen.evaluation.audit import bounds
    from synthgen.evaluation.statistics.intervals import clopper_pearson

    arms = Arms(name, epsilon, "", spread)
    found = bounds.many_runs(*arms.next(n), mechanism(name, epsilon).claim())
    all_right = clopper_pearson(found.runs, found.runs)[0], clopper_pearson(0, found.runs)[1]
    shown, ceiling = (
        max(0.0, math.log(max(low - DELTA, 1e-300) / high))
        for low, high in ((found.low, found.high), all_right)
    )
    verdict = "violation" if found.violated else "no violation"
    return {
        "audit": "many runs", "generator": name, "claim": epsilon, "shown": shown, "ceiling": ceiling,
        "fits": found.runs, "true": found.true_positive, "false": found.false_positive,
        "allowed": found.allowed, "verdict": verdict, "seconds": round(arms.seconds, 1),
    }  # fmt: skip


def caught(name: str, epsilon: float, fault: str, spend: float, spread: Any) -> dict[str, Any]:
    """Return how often a planted fault is caught with the fits that a pilot asks for, pilot left out."""
    from scipy.stats import norm

    from synthgen.evaluation.audit import bounds

    claim = mechanism(name, epsilon, copies=COPIES if fault == "K copies" else 1).claim()
    arms = Arms(name, epsilon, fault, spread)
    pilot = arms.next(PILOT[0])
    more = min(PILOT[1], int(0.3 * spend / arms.each)) - PILOT[0]
    if more > 0:
        pilot = tuple(first + then for first, then in zip(pilot, arms.next(more), strict=True))
    if name in NOISED:
        rates = tuple(float(norm.cdf(np.mean(arm) / max(np.std(arm), 1e-9))) for arm in pilot)
    else:  # known beforehand, selections left out
        times = {"no noise": 1000.0, "half the noise": 2.0, "K copies": float(COPIES)}[fault]
        rates = mechanism(name, epsilon, copies=COPIES if fault == "K copies" else 1).rates(times)
    n = bounds.runs_needed(*rates, claim, wanted=WANTED)
    row = {"generator": name, "claim": epsilon, "fault": fault, "pilot": len(pilot[0]), "rates": rates}
    if n is None:
        return {**row, "fits": None, "power": None, "caught": 0, "trials": 0}
    n = math.ceil(SPARE * n / BLOCK) * BLOCK
    trials = min(TRIALS, int(spend / (n * arms.each)))
    hits = sum(bounds.many_runs(*arms.next(n), claim).violated for _ in range(trials))
    power = bounds.power(n, *rates, claim)
    return {**row, "fits": n, "power": power, "caught": hits, "trials": trials}


def _shown(row: dict[str, Any]) -> str:
    cells = [row[key] for key in ("generator", "claim", "audit", "shown", "ceiling", "verdict")]
    cells.append(f"{row['fits']} fits a side" if "fits" in row else f"{CANARIES} canaries")
    cells.append(f"{row['seconds']} s")
    return "| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else cell for cell in cells) + " |"


def _told(row: dict[str, Any]) -> str:
    fits = "over 20,000" if row["fits"] is None else row["fits"]
    power = "-" if row["power"] is None else f"{row['power']:.2f}"
    hits = f"{row['caught']} of {row['trials']}" if row["trials"] else "not run"
    return f"| {row['generator']} | {row['claim']:g} | {row['fault']} | {fits} | {power} | {hits} |"


def rows(options: argparse.Namespace, spread: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a kind, ``audits`` or ``faults``, and a row of it."""
    each = [(name, epsilon) for name in options.only for epsilon in options.epsilons]
    if options.faults:
        for name, epsilon in each:
            for fault in FAULTS:
                if fault != "K copies" or name not in TABLES_FAULT_ONLY:
                    yield "faults", caught(name, epsilon, fault, options.spend, spread)
        return
    for row in spread(one_run, each) if "one" in options.audits else ():
        yield "audits", row
    for name, epsilon in each if "many" in options.audits else ():
        yield "audits", many_runs(name, epsilon, options.fits, spread)


def keep(path: Path, kind: str, row: dict[str, Any]) -> None:
    """Write a row in the place of an older one about the same."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    what = ("audit", "generator", "claim", "fault")
    others = [old for old in kept.get(kind, []) if any(old.get(key) != row.get(key) for key in what)]
    path.write_text(json.dumps({**kept, kind: [*others, row]}, indent=1) + "\n")


def main() -> None:
    """Print the tables, a row as it is ready."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="marginal alone, few fits")
    parser.add_argument("--faults", action="store_true", help="plant faults instead")
    parser.add_argument("--only", nargs="+", default=list(SMALL), choices=list(SMALL))
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 10.0])
    parser.add_argument("--audits", nargs="+", default=["one", "many"], choices=["one", "many"])
    parser.add_argument("--fits", type=int, default=300, help="fits a side of the test of many runs")
    parser.add_argument("--spend", type=float, default=120, help="seconds of one core on a fault's trials")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.only, options.fits, options.spend = ["marginal"], 20, 2
    heads = ["generator", "epsilon", "fault", "fits a side", "power", "caught"]
    if not options.faults:
        heads = ["generator", "claim", "audit", "shown", "ceiling", "verdict", "of", "time"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    with contextlib.ExitStack() as stack:
        spread: Callable[..., Any] = map
        if options.processes > 1:
            pool = multiprocessing.get_context("spawn").Pool(options.processes)
            spread = stack.enter_context(pool).imap
        for kind, row in rows(options, spread):
            print((_told if kind == "faults" else _shown)(row), flush=True)
            if options.json:
                keep(options.json, kind, row)


if __name__ == "__main__":
    main()
