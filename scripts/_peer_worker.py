"""Fit one peer on the training part of a table, in the peer's own environment: `scripts/_peers.py` runs it.

    python _peer_worker.py PEER TABLE EPSILON DELTA LIMIT BENCH OUT.csv

For marginal methods numbers are cut into the benchmark's 20 public bins, over which distances are measured,
and drawn uniformly inside a bin afterwards; they spend nothing on bounds or categories. Deep ones get the
table as it is, missing numbers at the median, and a tenth of epsilon for bounds. One JSON object is printed.
"""

import contextlib
import importlib
import json
import os
import resource
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import _machine
import numpy as np
import pandas as pd

PACKAGES = ("smartnoise-synth", "dpmm", "mostlyai-engine", "torch", "mbi", "opendp", "numpy", "pandas")
PATIENCE = 12
EPOCHS = {"dpctgan": 300, "patectgan": 300}
OUT_OF_TIME = 75  # the exit code that `_peers` knows


def codes_of(binned: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return each cell as a number from 0, and what the numbers stand for."""
    domain = {column: sorted(binned[column].unique()) for column in binned}
    codes = {
        column: binned[column].map({value: code for code, value in enumerate(values)})
        for column, values in domain.items()
    }
    return pd.DataFrame(codes), domain


def smartnoise(method: str, epsilon: float, delta: float) -> tuple[Any, Any]:
    """Return what fits and what draws of SmartNoise."""
    synthesizer = importlib.import_module("snsynth").Synthesizer.create(method, epsilon=epsilon, delta=delta)

    def fit(codes: pd.DataFrame) -> None:
        synthesizer.fit(codes, categorical_columns=list(codes.columns), preprocessor_eps=0.0)

    return fit, synthesizer.sample


def dpmm(method: str, epsilon: float, delta: float) -> tuple[Any, Any]:
    """Return what fits and what draws of dpmm."""
    pipelines = importlib.import_module("dpmm.pipelines")
    maker = {"mst": pipelines.MSTPipeline, "aim": pipelines.AIMPipeline}[method]
    pipeline = maker(epsilon=epsilon, delta=delta)

    def fit(codes: pd.DataFrame) -> None:
        domain = {column: {"categories": list(range(int(codes[column].max()) + 1))} for column in codes}
        pipeline.fit(codes.astype("category"), domain=domain, random_state=0)

    return fit, lambda n_records: pipeline.generate(n_records=n_records)


def smartnoise_gan(method: str, epsilon: float, delta: float, numbers: Any) -> tuple[Any, Any]:
    """Return what fits and what draws of SmartNoise's conditional GANs."""
    settings = {"epsilon": epsilon, "delta": delta, "epochs": EPOCHS[method]}
    synthesizer = importlib.import_module("snsynth").Synthesizer.create(method, **settings)

    def fit(rows: pd.DataFrame) -> None:
        rows = rows.copy()
        for column in numbers:
            rows[column] = rows[column].fillna(rows[column].median()).astype(float)
        labels = [column for column in rows if column not in numbers]
        kinds = {"categorical_columns": labels, "continuous_columns": list(numbers)}
        synthesizer.fit(rows, **kinds, preprocessor_eps=0.1 * epsilon)

    return fit, synthesizer.sample


def mostly(epsilon: float, delta: float, limit: float) -> tuple[Any, Any]:
    """Return what fits and what draws of MOSTLY AI's engine, which stops training by itself in time."""
    domain = importlib.import_module("mostlyai.engine.domain")
    privacy = domain.DifferentialPrivacyConfig(
        max_epsilon=0.9 * epsilon, delta=delta, value_protection_epsilon=0.1 * epsilon
    )
    minutes = 0.8 * limit / 60
    model = importlib.import_module("mostlyai.engine").TabularARGN(
        differential_privacy=privacy, max_training_time=minutes, verbose=0
    )
    return model.fit, lambda n_records: model.sample(n_samples=n_records)


@contextlib.contextmanager
def limited(limit: float) -> Iterator[None]:
    """Let what is inside have ``limit`` seconds, see `stop_after`."""
    over = threading.Event()
    threading.Thread(target=stop_after, args=(limit, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def stop_after(limit: float, over: threading.Event) -> None:
    """End this process once a step has had ``limit`` seconds, and as many of the processor.

    On a machine that others use too it gets up to `PATIENCE` times as long: load is not held against it.
    """
    wall, processor = time.perf_counter(), time.process_time()
    while not over.wait(0.5):
        waited, worked = time.perf_counter() - wall, time.process_time() - processor
        if waited >= limit and (worked >= limit or waited >= PATIENCE * limit):
            print(json.dumps({"fit_seconds": waited, "fit_cpu_seconds": worked}), flush=True)
            os._exit(OUT_OF_TIME)


def main() -> None:
    peer, table, epsilon, delta, limit, bench, out = sys.argv[1:]
    warnings.filterwarnings("ignore")
    sys.path.insert(0, bench)
    tables = importlib.import_module("tables")
    train, _, numbers, _, _ = tables.load(table)
    family, _, method = peer.partition("-")
    deep = family == "mostly" or method in EPOCHS
    if family == "mostly":
        fit, draw = mostly(float(epsilon), float(delta), float(limit))
    elif deep:
        fit, draw = smartnoise_gan(method, float(epsilon), float(delta), numbers)
    else:
        fit, draw = {"sn": smartnoise, "dpmm": dpmm}[family](method, float(epsilon), float(delta))
    start, worked = time.perf_counter(), time.process_time()
    with limited(float(limit)):
        codes, domain = (train, {}) if deep else codes_of(tables.binned(train, numbers))
        fit(codes)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    with limited(float(limit)):
        drawn = draw(len(train))
    if not deep:
        labels = {column: np.array(domain[column])[drawn[column].astype(int)] for column in domain}
        drawn = tables.unbinned(pd.DataFrame(labels), numbers)
    done, done_cpu = time.perf_counter(), time.process_time()
    drawn.to_csv(out, index=False)
    seconds = {"fit_seconds": fitted - start, "sample_seconds": done - fitted}
    cpu = {"fit_cpu_seconds": fitted_cpu - worked, "sample_cpu_seconds": done_cpu - fitted_cpu}
    peak = {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    print(json.dumps({**seconds, **cpu, **peak, "versions": _machine.versions(*PACKAGES)}))


if __name__ == "__main__":
    main()
