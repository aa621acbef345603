"""Quality and time of `marginal` on adult, support2 and diabetes130, scored as the peers were.

    python scripts/bench_tabular.py --bench ../shared/bench [--quick] [--json FILE] [--set share_one=0.3]

``--bench`` names the folder with ``tables.py`` (public schemas and one fixed split) and ``score.py``.
Every fit draws its noise from the operating system, so figures move from run to run: means are printed.
"""

import argparse
import importlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthgen.models.tabular_marginal import Config
from synthgen.privacy.noise import NoiseSource
from synthgen.records import RealTable
from synthgen.sample import draw
from synthgen.schema import Schema

DELTA = 1e-5


def schema_of(tables: Any, name: str) -> Schema:
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
    train = tables.load(name)[0]
    frame = {
        column.name: pd.Categorical(train[column.name], categories=list(column.labels))
        if column.labels
        else train[column.name].astype(float)
        for column in schema.columns
    }
    units = np.array([str(i) for i in range(len(train))], dtype=object)
    return RealTable(schema, pd.DataFrame(frame), units)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--quick", action="store_true", help="one fit of support2 at epsilon 1")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--set", action="append", default=[], help="option=value of the generator")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.bench.resolve()))
    tables, scorer = importlib.import_module("tables"), importlib.import_module("score")
    options = {key: json.loads(value) for key, _, value in (text.partition("=") for text in arguments.set)}
    names = ["support2"] if arguments.quick else ["adult", "support2", "diabetes"]
    rows = []
    heads = f"{'tvd1':>8}{'tvd2':>8}{'AUC lr':>8}{'AUC gb':>8}{'sd lr':>7}{'sd gb':>7}{'s':>7}"
    print(f"{'table':10}{'eps':>5}{heads}")
    for name in names:
        schema = schema_of(tables, name)
        data = table_of(tables, name, schema)
        for epsilon in [1.0] if arguments.quick else [1.0, 10.0]:
            scores = []
            for seed in range(1 if arguments.quick else 3):
                start = time.perf_counter()
                config = Config(**options)
                plan = config.plan(schema, epsilon=epsilon, delta=DELTA, patients=len(data))
                model = config.fit(data, plan, noise=NoiseSource.system())
                drawn = draw(model, schema, len(data), seed=seed).to_pandas()
                seconds = time.perf_counter() - start
                scores.append({**scorer.score(name, drawn), "seconds": seconds})
            mean = {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}
            sd = {key: float(np.std([s[key] for s in scores])) for key in ("auc_lr", "auc_gb")}
            print(
                f"{name:10}{epsilon:5.0f}{mean['tvd1']:8.4f}{mean['tvd2']:8.4f}{mean['auc_lr']:8.4f}"
                f"{mean['auc_gb']:8.4f}{sd['auc_lr']:7.4f}{sd['auc_gb']:7.4f}{mean['seconds']:7.1f}",
                flush=True,
            )
            rows.append({"table": name, "epsilon": epsilon, "mean": mean, "sd": sd, "fits": len(scores)})
    if arguments.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
