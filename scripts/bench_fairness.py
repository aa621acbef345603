"""Fairness of our table generators by group, what `sample --balance` and what `groups` change.

    python scripts/bench_fairness.py [--data diabetes130|support2] [--generators marginal,network] [--fits N]
        [--epsilons 1,10] [--share S] [--processes N] [--json FILE]
    python scripts/bench_fairness.py --show

Of the patients 6 in 10 train, 3 are held out and 1 is nobody's, by the same split in each fit. Each generator
is fitted without and with `groups: {share: S}`; the balanced arm is drawn from the first model. Both
cohorts lie in the folder that SYNTHGEN_TEST_DATA names. `--show` prints the tables of
`docs/evaluation.md` from what is kept in `scripts/results/fairness.json`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import resources
from pathlib import Path
from typing import Any

import _demo_sources
import _fairness_tables

HERE = Path(__file__).parent
RESULTS = HERE / "results"
METRICS = {
    "fairness_representation": "log_ratio",
    "fairness_utility_gap": "gap",
    "fairness_equalised_odds": "true_positive",
    "fairness_calibration": "ece",
    "fairness_fidelity": "excess",
}
GENERATORS = "marginal,network,diffusion,gan,pategan"
BALANCED = {"diabetes130": "race", "support2": "race"}
Row = dict[str, Any]


def paths_of(data: str) -> tuple[Path, Path]:
    """Return the files of a cohort and of its schema."""
    if data == "diabetes130":
        shipped = Path(str(resources.files("synthgen.datasets") / "diabetes130"))
        return _demo_sources.encounters_file(_demo_sources.CACHE), shipped / "encounters.schema.yaml"
    folder = Path(os.environ.get("SYNTHGEN_TEST_DATA", HERE.parents[1] / "shared" / "data"))
    return folder / "support2" / "support2.csv.gz", HERE / "support2.schema.yaml"


def fitted(data: str, generator: str, epsilon: float, share: float, patients: int) -> list[Row]:
    """Fit once and judge its arms: a row an arm and group, and one of the whole table."""
    import numpy as np

    from synthgen import plugins
    from synthgen.evaluation.base import Inputs
    from synthgen.evaluation.fidelity import tvd as fidelity_tvd
    from synthgen.evaluation.statistics.patients import sample_patients
    from synthgen.evaluation.utility import tstr
    from synthgen.ingest.tables.table import read_table
    from synthgen.privacy.noise import NoiseSource
    from synthgen.sampling.draw import draw
    from synthgen.schema.schema import load_schema

    start = time.process_time()
    path, described = paths_of(data)
    schema = load_schema(described)
    table = sample_patients(read_table(path, schema)[0], patients, rng=np.random.default_rng(0))
    codes, n_units = table.unit_codes()
    part = np.random.default_rng(1).permutation(n_units) % 10
    train, holdout, rest = (
        table.select(np.isin(part, wanted)[codes]) for wanted in (range(6), (6, 7, 8), (9,))
    )
    n_train = train.unit_codes()[1]
    options = {"groups": {"share": share}} if share else {}
    config = plugins.load("synthgen.generators.tabular", generator).Config(**options)
    plan = config.plan(schema, epsilon=epsilon, delta=1e-6, patients=n_train)
    model = config.fit(train, plan, noise=NoiseSource.system())
    target, groups = schema.with_role("label")[0], schema.with_role("protected")
    rows = []
    for balance in ("",) if share else ("", BALANCED[data]):
        drawn = draw(model, schema, n_train, seed=1, balance=balance or None)
        inputs = Inputs(schema, train, holdout, rest, drawn, target, groups)
        head = {"data": data, "generator": generator, "epsilon": epsilon, "share": share, "balance": balance}
        tvd = fidelity_tvd.evaluate(inputs, rng=np.random.default_rng(0)).estimates
        gap = tstr.evaluate(inputs, rng=np.random.default_rng(0)).estimates["mean.gap"]
        whole = {"tvd2": tvd["tvd2"].value, "auc_gap": gap.value, "cpu": time.process_time() - start}
        rows += [{**head, "group": "all", **whole}, *({**head, **row} for row in judged(inputs))]
    return rows


def judged(inputs: Any) -> list[Row]:
    """Return by group each metric's figure and the half width of its interval; None where insufficient."""
    import numpy as np

    from synthgen.evaluation.catalogue import load_metric

    found: dict[str, Row] = {}
    for metric, key in METRICS.items():
        result = load_metric(metric).evaluate(inputs, rng=np.random.default_rng(0))
        for group, estimate in result.groups.get(key, {}).items():
            known = estimate.status == "ok"
            half = (estimate.high - estimate.low) / 2
            found.setdefault(group, {})[key] = [round(estimate.value, 4), round(half, 4)] if known else None
    return [{"group": group, **figures} for group, figures in found.items() if " & " not in group]


def jobs_of(asked: argparse.Namespace) -> Iterator[tuple[str, str, float, float]]:
    """Yield what is fitted, the most telling first: each fit without `groups`, then with, then the next."""
    generators, epsilons = asked.generators.split(","), [float(text) for text in asked.epsilons.split(",")]
    for _, share in itertools.product(range(asked.fits), (0.0, asked.share)):
        for job in itertools.product(generators, asked.data.split(","), epsilons):
            yield job[1], job[0], job[2], share


def measured(asked: argparse.Namespace) -> None:
    """Run all jobs, in several processes; what is done is printed and written as it comes."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows: list[Row] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.processes, mp_context=context) as pool:
        jobs = {pool.submit(fitted, *job, asked.patients): job for job in jobs_of(asked)}
        for fit, done in enumerate(as_completed(jobs)):
            try:
                rows += [{"fit": fit, **row} for row in done.result()]
            except Exception as error:  # one fit that fails must not lose the others
                print(f"failed: {jobs[done]}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            print(*jobs[done], file=sys.stderr, flush=True)
            if asked.json is not None:
                asked.json.write_text(compact(rows), encoding="utf-8")


def compact(rows: list[Row]) -> str:
    """Return JSON with a line a row."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


def main() -> None:
    """Measure, or show what is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="diabetes130", help="diabetes130, support2, or both with a comma")
    parser.add_argument("--generators", default=GENERATORS)
    parser.add_argument("--epsilons", default="1,10")
    parser.add_argument("--share", type=float, default=0.1, help="of `groups`")
    parser.add_argument("--fits", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--patients", type=int, default=100_000, help="at most")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    if asked.show:
        kept = json.loads((RESULTS / "fairness.json").read_text(encoding="utf-8"))
        print("\n".join(_fairness_tables.tables(kept)))
    else:
        measured(asked)


if __name__ == "__main__":
    main()
