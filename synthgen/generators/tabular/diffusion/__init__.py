"""The generator `diffusion` of tables: a DP marginal model refined by masked diffusion."""

from __future__ import annotations

from synthgen.generators.tabular.diffusion.config import Config, Fitted, load

__all__ = ["Config", "Fitted", "load"]
