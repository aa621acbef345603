"""The gate's verdicts on our own generators, fitted to whole real cohorts, with the sentence that decided.

    python scripts/benchmarks/bench_verdicts.py [--generators marginal diffusion auto] [--epsilons 1 3 10]
        [--cohorts adult support2 ...] [--train N ...] [--holdout 0.3] [--workers 2]
    python scripts/benchmarks/bench_verdicts.py --show

Of each cohort a share is held out, of which half is the attacker's reference; the others train, or a declared
number of them. The claim is the plan's own, composed alone. Verdicts are kept in
`scripts/results/verdicts.json`, a row a cohort, generator, epsilon and number of training patients; what is
there is not fitted again. ``--show`` prints the table of `docs/evaluation.md`.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
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

KEPT = HERE.parent / "results" / "verdicts.json"
DELTA = 1e-5
SEED = 0
Row = dict[str, Any]
KEY = ("cohort", "generator", "epsilon", "train")


def fitted(cohort: str, generator: str, epsilon: float, train: int | None, holdout: float) -> Row:
    """Fit one generator, draw as many records as patients trained, and evaluate them as files are."""
    import warnings

    from synthgen import plugins
    from synthgen.data.tables import RealTable, SyntheticTable
    from synthgen.pipeline import evaluate_files as files
    from synthgen.privacy.noise import NoiseSource
    from synthgen.sampling.draw import draw

    warnings.simplefilter("ignore")
    held = _gate_parts.COHORTS[cohort]()
    schema = _gate_parts.schema_of(held)
    frame = _gate_parts.canonical(schema, held.frame)
    order = np.random.default_rng(SEED).permutation(len(frame))
    tested = round(len(frame) * holdout)
    chosen = {"holdout": order[:tested], "train": order[tested:][:train]}
    parts = {
        name: RealTable(
            schema, frame.iloc[rows].reset_index(drop=True), np.array([f"p{i}" for i in rows], dtype=object)
        )
        for name, rows in chosen.items()
    }
    n = len(parts["train"])
    start = time.process_time()
    config = plugins.load("synthgen.generators.tabular", generator).Config()
    plan = config.plan(schema, epsilon=epsilon, delta=DELTA, patients=n)
    model = config.fit(parts["train"], plan, noise=NoiseSource.system())
    drawn = draw(model, schema, n, seed=SEED).frame
    table = SyntheticTable(schema, _gate_parts.canonical(schema, drawn))
    fit = time.process_time()
    told = files.evaluate_tables(
        parts, table, policy="default", claim=(epsilon, DELTA), seed=None, progress=lambda *_: None
    )
    grave = [reason for reason in told["reasons"] if reason["severity"] != "warn"]
    figures = {key: value for head in told["heads"].values() for key, value in head["metrics"].items()}
    return {
        **{"cohort": cohort, "generator": generator, "epsilon": epsilon, "train": n},
        **{"chose": plan.generator, "holdout": tested, "verdict": told["verdict"]},
        "reasons": [{key: reason[key] for key in ("metric", "severity", "message")} for reason in grave],
        "figures": {
            key: figures[key]["value"]
            for key in ("fidelity_tvd.excess2", "utility_tstr.mean.gap", "leakage_strongest.advantage")
            if key in figures
        },
        "seconds": {"fit": round(fit - start), "evaluate": round(time.process_time() - fit)},
    }


def kept() -> list[Row]:
    """Return the rows that are kept."""
    return list(json.loads(KEPT.read_text(encoding="utf-8"))["rows"]) if KEPT.exists() else []


def keep(row: Row) -> None:
    """Write a row in the place of one of the same cohort, generator, epsilon and number of patients."""
    rows = {tuple(one[key] for key in KEY): one for one in kept()}
    rows[tuple(row[key] for key in KEY)] = row
    content = {
        "machine": _machine.facts(),
        "date": _machine.today(),
        "rows": [rows[key] for key in sorted(rows)],
    }
    KEPT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def show(rows: list[Row]) -> None:
    """Print the table of the documents: a line a fit, with the sentence that decided."""
    print("| cohort | trained | generator | epsilon | verdict | what decided |\n|---|---|---|---|---|---|")
    for row in rows:
        name = (
            row["generator"]
            if row["chose"] in ("", row["generator"])
            else f"{row['generator']} ({row['chose']})"
        )
        sentence = row["reasons"][0]["message"].partition(" Source: ")[0] if row["reasons"] else shown(row)
        more = len(row["reasons"]) - 1
        sentence += f" And {more} more." if more > 0 else ""
        cells = (row["cohort"], f"{row['train']:,}", name, f"{row['epsilon']:g}", row["verdict"], sentence)
        print("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")


def shown(row: Row) -> str:
    """Return the main figures of a release."""
    words = {
        "fidelity_tvd.excess2": "pairs of columns {:.3f} further than real ones",
        "utility_tstr.mean.gap": "AUROC {:+.3f}",
        "leakage_strongest.advantage": "strongest attack {:+.3f}",
    }
    figures = [
        text.format(row["figures"][key]) for key, text in words.items() if row["figures"].get(key) is not None
    ]
    return "No harm beyond a margin: " + ", ".join(figures) + "."


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--show", action="store_true", help="print what is kept; fit nothing")
    parser.add_argument("--generators", nargs="+", default=["marginal", "diffusion", "auto"])
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 3.0, 10.0])
    parser.add_argument(
        "--cohorts", nargs="+", default=list(_gate_parts.COHORTS), choices=list(_gate_parts.COHORTS)
    )
    parser.add_argument(
        "--train", nargs="+", type=int, default=[], help="numbers of training patients; all if none"
    )
    parser.add_argument("--holdout", type=float, default=0.3)
    parser.add_argument("--again", action="store_true", help="fit what is kept once more")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    return parser.parse_args()


def main() -> None:
    """Fit, evaluate, keep and print."""
    asked = arguments()
    if asked.show:
        show(kept())
        return
    sizes = asked.train or [None]
    done = {(row["cohort"], row["generator"], row["epsilon"], row.get("asked")) for row in kept()}
    todo = [
        (cohort, generator, epsilon, train)
        for cohort in asked.cohorts
        for train in sizes
        for epsilon in asked.epsilons
        for generator in asked.generators
        if asked.again or (cohort, generator, epsilon, train) not in done
    ]
    with ProcessPoolExecutor(asked.workers) as pool:
        futures = {pool.submit(fitted, *case, asked.holdout): case for case in todo}
        for future in as_completed(futures):
            row = future.result() | {"asked": futures[future][3]}
            keep(row)
            print(row["cohort"], row["generator"], row["epsilon"], row["train"], row["verdict"], flush=True)
    show(kept())


if __name__ == "__main__":
    main()
