"""synthgen: synthetic medical cohorts under patient-level differential privacy, with their evidence.

    schema = synthgen.Schema.draft(df, unit="patient_id", labels="died", protected="sex")
    schema = schema.confirm()                        # you have checked each domain: it is public knowledge
    model = synthgen.fit(df, schema=schema, epsilon=1.0, delta=1e-6, patients=70_000, cohort="icu")
    fake = model.sample(10_000, where={"sex": "F"})  # a pandas DataFrame
    model.save("model/"); synthgen.load("model/").sample(10)

`plan`, `fit`, `load`, `evaluate` and `run` do the work; `Schema`, `Model`, `Plan` and `Evaluation` are what
they take and return; `SynthgenError` is the base of all errors, each with ``.where`` and ``.next_step``.
Heavy packages load at first use, so that this import is fast.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from synthgen.machine.startup import prepare

prepare()

# Before torch and numpy load their threads. Those of OpenMP sleep while they wait for each other instead of
# spinning, and OpenBLAS has one: where other jobs hold the cores (two cores, load 15), spinning made a
# training step cost 3.8 CPU seconds instead of .5, and decompositions of 300 x 300 matrices 12 instead of .3.
# Results do not depend on the first; the second makes them independent of the number of cores. A user's own
# setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if TYPE_CHECKING:
    from synthgen.api import Evaluation, Model, Plan, evaluate, fit, load, plan, run
    from synthgen.errors import SynthgenError
    from synthgen.schema_text import Schema

__all__ = ["Evaluation", "Model", "Plan", "Schema", "SynthgenError", "evaluate", "fit", "load", "plan", "run"]

_HOMES = {
    **dict.fromkeys(
        ("Evaluation", "Model", "Plan", "evaluate", "fit", "load", "plan", "run"), "synthgen.api"
    ),
    "Schema": "synthgen.schema_text",
    "SynthgenError": "synthgen.errors",
}


def __getattr__(name: str) -> Any:
    """Load a public name at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'synthgen' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
