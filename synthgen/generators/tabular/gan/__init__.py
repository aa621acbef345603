"""The generator `gan` of tables: a DP marginal model refined against a private critic."""

from __future__ import annotations

from synthgen.generators.tabular.gan.config import Config, Fitted, load

__all__ = ["Config", "Fitted", "load"]
