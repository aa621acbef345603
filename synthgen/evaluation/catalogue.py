"""List the metrics of the package and load them by name, ``HEAD_FILE``, such as ``leakage_near_copies``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from synthgen.errors import ConfigError
from synthgen.evaluation.base import HEADS


@cache
def _places() -> dict[str, str]:
    """Return the dotted name of each metric's module, without importing it."""
    found = {}
    for head in HEADS:
        package = f"synthgen.evaluation.{head}"
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.ispkg:
                found[f"{head}_{module.name.rpartition('.')[2]}"] = module.name
    return found


def metric_names() -> list[str]:
    """Return the names of all metrics, in alphabetical order."""
    return sorted(_places())


def load_metric(name: str) -> ModuleType:
    """Import a metric's module.

    Raises:
        ConfigError: there is no metric of that name; the known names are listed.
    """
    if name not in _places():
        raise ConfigError(
            f"Expected one of {metric_names()}, got {name!r}.",
            where="metric",
            next_step="Correct the metric's name.",
        )
    return importlib.import_module(_places()[name])
