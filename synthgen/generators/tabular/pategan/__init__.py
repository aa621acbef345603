"""The generator `pategan`: teachers on disjoint patients, a student on their noisy votes."""

from __future__ import annotations

from synthgen.generators.tabular.pategan.config import Config, Fitted, load

__all__ = ["Config", "Fitted", "load"]
