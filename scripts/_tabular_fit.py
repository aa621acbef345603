"""One fit of one of our generators on a benchmark table, in a process of its own: scores and cost."""

import functools
import importlib
import json
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from synthgen import plugins
from synthgen.data.tables import RealTable
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema

DELTA = 1e-5
FEWEST = 50  # test rows of each outcome that a group needs for its gap to be measured

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


def fit(generator: str, name: str, epsilon: float, seed: int, options: Row, bench: Path) -> Row:
    """Fit once, draw as many records as there are real ones, and score them, in a fresh process.

    Returns:
        What ``score.py`` says, `gap`, seconds, those of the processor, and the process's peak memory in GiB
        when it had drawn and before it scored (the real table and the imports are in it).
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_fit, generator, name, epsilon, seed, options, bench).result()


def _fit(generator: str, name: str, epsilon: float, seed: int, options: Row, bench: Path) -> Row:
    tables, scorer = load(bench)
    schema = schema_of(tables, name)
    data = table_of(tables, name, schema)
    start, worked = time.perf_counter(), time.process_time()
    config = plugins.load("synthgen.generators.tabular", generator).Config(**options)
    plan = config.plan(schema, epsilon=epsilon, delta=DELTA, patients=len(data))
    model = config.fit(data, plan, noise=NoiseSource.system())
    drawn = draw(model, schema, len(data), seed=seed).to_pandas()
    cost = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - worked}
    cost["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**scorer.score(name, drawn), "gap": gap(tables, scorer, name, drawn), **cost}


def load(bench: Path) -> tuple[Any, Any]:
    """Return the modules ``tables`` and ``score`` of the benchmark's folder."""
    if str(bench) not in sys.path:
        sys.path.insert(0, str(bench))
    return importlib.import_module("tables"), importlib.import_module("score")


def gap(tables: Any, scorer: Any, name: str, drawn: pd.DataFrame) -> float:
    """Return how much worse the worst-served group is served: real-trained minus synthetic-trained AUC.

    The largest difference over the groups of each protected column that have at least `FEWEST` held-out
    real rows of each outcome; boosting, as ``score.py`` trains it.

    Args:
        tables: the benchmark's module of that name.
        scorer: likewise.
        name: of the table.
        drawn: synthetic rows.
    """
    train, test, numbers, label, protected = tables.load(name)
    drawn = drawn[train.columns].copy()
    for column in drawn:
        if column in numbers:
            drawn[column] = pd.to_numeric(drawn[column], errors="coerce").clip(*numbers[column])
        else:
            drawn[column] = drawn[column].astype(object).where(drawn[column].notna(), "missing").astype(str)
    learn = functools.partial(_chances, scorer, train, test, numbers, label)
    real, synthetic = learn(train), learn(drawn)
    outcome = (test[label] == sorted(train[label].unique())[-1]).to_numpy()
    found = [float("-inf")]
    for column in protected:
        for group in sorted(test[column].unique()):
            rows = (test[column] == group).to_numpy()
            if min(outcome[rows].sum(), (~outcome[rows]).sum()) >= FEWEST:
                served = [roc_auc_score(outcome[rows], chance[rows]) for chance in (real, synthetic)]
                found.append(float(served[0] - served[1]))
    return max(found)


def _chances(
    scorer: Any, train: pd.DataFrame, test: pd.DataFrame, numbers: Any, label: str, rows: pd.DataFrame
) -> np.ndarray:
    """Train boosting on ``rows`` and return its chances on the held-out rows."""
    values = {
        column: np.array(sorted(train[column].unique())[:200]) for column in train if column not in numbers
    }
    outcome = (rows[label] == sorted(train[label].unique())[-1]).to_numpy()
    if outcome.all() or not outcome.any():
        return np.full(len(test), 0.5)
    model = HistGradientBoostingClassifier(random_state=0, max_iter=100)
    model.fit(scorer.design(rows, numbers, label, values), outcome)
    return np.asarray(model.predict_proba(scorer.design(test, numbers, label, values))[:, 1])
