"""How well generators keep what belongs together in a patient: rows per patient, and pairs of rows.

    python scripts/bench_linked.py [--quick] [--json FILE] [--generator NAME] [--fits N]

The original cohort Diabetes 130-US hospitals is read from SYNTHGEN_TEST_DATA: encounters of a patient linked,
at most four, in the order of the file; 70 % of the patients train. Each row shows the total variation to the
patients held out of the numbers of rows and of the pairs of neighbouring rows, beside real training patients
(the ceiling) and beside the same synthetic rows assigned to patients at random, which is what rows without
a memory would reach.
"""

import argparse
import importlib.resources
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import _demo_sources
import _machine
import numpy as np

from synthgen import plugins
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.fidelity import lag_pairs, rows_per_patient
from synthgen.generators.longitudinal.model import for_schema
from synthgen.ingest.tables.linked import kept_in_order
from synthgen.ingest.tables.table import read_table
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema, load_schema

DELTA, TRAIN, QUICK = 1e-6, 0.7, 6000
HEAD = ("generator", "eps", "patients", "rows", "ceiling", "pairs", "ceiling", "dealt out", "fit s", "draw s")


def main() -> None:
    """Fit, draw and measure at epsilon 1 and 10."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} patients, one fit")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    parser.add_argument("--generator", default="marginal")
    parser.add_argument("--fits", type=int, default=3)
    options = parser.parse_args()
    train, holdout = parts(QUICK if options.quick else None)
    rows = []
    print("".join(f"{name:>11}" for name in HEAD), flush=True)
    for epsilon in (1.0, 10.0):
        seeds = range(1 if options.quick else options.fits)
        fits = [measure(options.generator, epsilon, train, holdout, seed) for seed in seeds]
        row = {key: fits[0][key] if isinstance(fits[0][key], str) else mean(fits, key) for key in fits[0]}
        rows.append(row)
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()]
        print("".join(f"{cell:>11}" for cell in cells), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": _machine.facts(), "rows": rows}, indent=1) + "\n")


def mean(fits: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([fit[key] for fit in fits]))


def parts(n_patients: int | None) -> tuple[RealTable, RealTable]:
    """Return the encounters of the original cohort as linked records, in two parts."""
    folder = importlib.resources.files("synthgen.datasets") / "diabetes130"
    with importlib.resources.as_file(folder) as path:
        single = load_schema(path / "encounters.schema.yaml")
        content = single.model_dump(mode="json", by_alias=True)
        content["unit"]["records"] = "linked"
        schema = Schema.model_validate_json(json.dumps(content))
        table = kept_in_order(read_table(_demo_sources.encounters_file(_demo_sources.CACHE), schema)[0])
    codes, n_units = table.unit_codes()
    place = np.random.default_rng(0).permutation(n_units)[codes]
    n_units = min(n_units, n_patients or n_units)
    cut = round(TRAIN * n_units)
    return table.select(place < cut), table.select((place >= cut) & (place < n_units))


def measure(
    name: str, epsilon: float, train: RealTable, holdout: RealTable, seed: int
) -> dict[str, float | str]:
    """Fit once and return a row."""
    schema, n_patients = train.schema, train.unit_codes()[1]
    config = for_schema(plugins.load("synthgen.generators.tabular", name).Config(), schema)
    plan = config.plan(schema, epsilon=epsilon, delta=DELTA, patients=n_patients)
    started = time.perf_counter()
    model = config.fit(train, plan, noise=NoiseSource.system())
    fitted = time.perf_counter()
    drawn = draw(model, schema, n_patients, seed=seed)
    done = time.perf_counter()
    inputs = Inputs(schema, train, holdout, holdout, drawn)
    order = np.random.default_rng(seed).permutation(len(drawn))
    dealt = replace(drawn, frame=drawn.frame.iloc[order].reset_index(drop=True))
    rows, pairs = (values(metric, inputs, drawn) for metric in (rows_per_patient, lag_pairs))
    loose = values(lag_pairs, inputs, dealt)
    return {
        "generator": name,
        "epsilon": epsilon,
        "patients": float(n_patients),
        "rows": rows[0],
        "rows_ceiling": rows[1],
        "pairs": pairs[0],
        "pairs_ceiling": pairs[1],
        "pairs_dealt_out": loose[0],
        "fit_seconds": fitted - started,
        "draw_seconds": done - fitted,
    }


def values(metric: Any, inputs: Inputs, synthetic: SyntheticTable) -> tuple[float, float]:
    """Return a metric's distance and ceiling."""
    found = metric.evaluate(replace(inputs, synthetic=synthetic), rng=np.random.default_rng(0)).estimates
    return found["tvd"].value, found["ceiling"].value


if __name__ == "__main__":
    main()
