"""synthgen: synthetic medical cohorts under patient-level differential privacy, with their evidence.

    model = synthgen.fit("encounters.parquet", schema="encounters.schema.yaml", generator="marginal",
                         epsilon=1.0, delta=1e-6, patients=70_000, ledger="sqlite:///ledger.db")
    table = model.sample(10_000, where={"sex": "F"})
    model.save("model/"); synthgen.load("model/").sample(10)

Heavy packages load at first use, so that this import is fast.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Before torch and scikit-learn load OpenMP: threads that wait for each other sleep instead of spinning. Where
# other jobs hold the cores, spinning made a training step cost 3.8 CPU seconds instead of .5 (two cores, load
# 15). Nothing that is computed depends on it; a setting of the user's own wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from synthgen.api import Model, fit, load
    from synthgen.records import RealTable, SyntheticTable
    from synthgen.schema import Schema, load_schema

__all__ = ["Model", "RealTable", "Schema", "SyntheticTable", "fit", "load", "load_schema"]

_HOMES = {
    "Model": "synthgen.api",
    "fit": "synthgen.api",
    "load": "synthgen.api",
    "RealTable": "synthgen.records",
    "SyntheticTable": "synthgen.records",
    "Schema": "synthgen.schema",
    "load_schema": "synthgen.schema",
}


def __getattr__(name: str) -> Any:
    """Load a public name at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'synthgen' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
