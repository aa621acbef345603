"""The generator `network`: marginals measured with DP, fitted by a neural network."""

from __future__ import annotations

from synthgen.generators.tabular.network.config import Config, Fitted, load

__all__ = ["Config", "Fitted", "load"]
