"""Fit one peer on the training part of a table, in the peer's own environment: `scripts/_peers.py` runs it.

    python _peer_worker.py PEER TABLE EPSILON DELTA LIMIT BENCH OUT.csv

Numbers are cut into the benchmark's 20 public bins, over which distances are measured, and drawn uniformly
inside a bin afterwards; a peer spends nothing on bounds or categories. One JSON object is printed.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

PACKAGES = ("smartnoise-synth", "dpmm", "torch", "mbi", "opendp", "numpy", "pandas")
PATIENCE = 12
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


def versions() -> dict[str, str]:
    """Return the versions that are installed here, of what matters to a peer."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    peer, table, epsilon, delta, limit, bench, out = sys.argv[1:]
    warnings.filterwarnings("ignore")
    sys.path.insert(0, bench)
    tables = importlib.import_module("tables")
    train, _, numbers, _, _ = tables.load(table)
    family, _, method = peer.partition("-")
    fit, draw = {"sn": smartnoise, "dpmm": dpmm}[family](method, float(epsilon), float(delta))
    start, worked = time.perf_counter(), time.process_time()
    with limited(float(limit)):
        codes, domain = codes_of(tables.binned(train, numbers))
        fit(codes)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    with limited(float(limit)):
        drawn = draw(len(train))
    labels = pd.DataFrame({column: np.array(domain[column])[drawn[column].astype(int)] for column in domain})
    done, done_cpu = time.perf_counter(), time.process_time()
    tables.unbinned(labels, numbers).to_csv(out, index=False)
    seconds = {"fit_seconds": fitted - start, "sample_seconds": done - fitted}
    cpu = {"fit_cpu_seconds": fitted_cpu - worked, "sample_cpu_seconds": done_cpu - fitted_cpu}
    print(json.dumps({**seconds, **cpu, "versions": versions()}))


if __name__ == "__main__":
    main()
