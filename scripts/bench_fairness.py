"""Fairness of our table generators by group, and what ``sample --balance COLUMN`` changes.

    python scripts/bench_fairness.py [--table FILE --schema FILE] [--generators marginal,network]
        [--epsilons 1,10] [--balance COLUMN] [--patients N] [--json FILE]

Without a table the shipped Diabetes 130-US cohort is used. Of the patients 6 in 10 train, 2 are held out and
2 are the attacker's. A row is a group; a figure stands with the half width of its 95 % interval. The
balanced arm is drawn from the same model, which costs no privacy: each category of the column gets as many
records as any other, and the records of a category are as good or bad as before.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

METRICS = {
    "fairness_representation": "log_ratio",
    "fairness_utility_gap": "gap",
    "fairness_equalised_odds": "true_positive",
    "fairness_calibration": "ece",
    "fairness_fidelity": "excess",
}


def rows_of(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Fit each generator once at each epsilon; return a row an arm and group."""
    from synthgen import plugins
    from synthgen.evaluate._base import Inputs
    from synthgen.evaluate._patients import sample_patients
    from synthgen.ingest.table import read_table
    from synthgen.privacy.noise import NoiseSource
    from synthgen.sample import draw
    from synthgen.schema import load_schema

    schema = load_schema(asked.schema)
    table = sample_patients(read_table(asked.table, schema)[0], asked.patients, rng=np.random.default_rng(0))
    codes, n_units = table.unit_codes()
    part = np.random.default_rng(1).permutation(n_units) % 10
    train, holdout, reference = (
        table.select(np.isin(part, wanted)[codes]) for wanted in (range(6), (6, 7), (8, 9))
    )
    n_train = train.unit_codes()[1]
    groups = tuple(n for n in schema.with_role("protected") if schema.column(n).kind == "category")
    rows = []
    for name in asked.generators.split(","):
        config = plugins.load("synthgen.models", name, prefix="tabular_").Config()
        for epsilon in map(float, asked.epsilons.split(",")):
            plan = config.plan(schema, epsilon=epsilon, delta=1e-6, patients=n_train)
            model = config.fit(train, plan, noise=NoiseSource.system())
            for balance in (None, asked.balance or groups[0]):
                drawn = draw(model, schema, n_train, seed=1, balance=balance)
                target = schema.with_role("label")[0]
                inputs = Inputs(schema, train, holdout, reference, drawn, target, groups)
                for row in judged(inputs):
                    rows.append({"generator": name, "epsilon": epsilon, "balance": balance or "", **row})
                print(text_of(rows, name, epsilon, balance), flush=True)
    return rows


def judged(inputs: Any) -> list[dict[str, Any]]:
    """Return by group each metric's figure and the half width of its interval; None where insufficient."""
    from synthgen import plugins

    found: dict[str, dict[str, Any]] = {}
    for metric, key in METRICS.items():
        module = plugins.load("synthgen.evaluate", metric)
        result = module.evaluate(inputs, rng=np.random.default_rng(0))
        for group, estimate in result.groups.get(key, {}).items():
            known = estimate.status == "ok"
            half = (estimate.high - estimate.low) / 2
            found.setdefault(group, {})[key] = [estimate.value, half] if known else None
    return [{"group": group, **figures} for group, figures in found.items() if " & " not in group]


def text_of(rows: list[dict[str, Any]], name: str, epsilon: float, balance: str | None) -> str:
    """Return the rows of one arm as a table in Markdown."""
    keys = list(METRICS.values())
    how = f", balanced by {balance}" if balance else ""
    lines = [f"\n{name}, epsilon {epsilon:g}{how}\n", f"| group | {' | '.join(keys)} |"]
    lines.append("|---" * (len(keys) + 1) + "|")
    for row in rows:
        if (row["generator"], row["epsilon"], row["balance"]) == (name, epsilon, balance or ""):
            cells = [row.get(key) for key in keys]
            words = ["too few" if c is None else f"{c[0]:+.3f} +- {c[1]:.3f}" for c in cells]
            lines.append(f"| {row['group']} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> None:
    """Print a table an arm."""
    shipped = resources.files("synthgen.datasets") / "diabetes130"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=Path(str(shipped / "encounters.parquet")))
    parser.add_argument("--schema", type=Path, default=Path(str(shipped / "encounters.schema.yaml")))
    parser.add_argument("--generators", default="marginal")
    parser.add_argument("--epsilons", default="1,10")
    parser.add_argument("--balance", default=None, help="column; the first protected one without it")
    parser.add_argument("--patients", type=int, default=100_000)
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    rows = rows_of(asked)
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
