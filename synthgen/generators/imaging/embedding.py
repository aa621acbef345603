"""The generator `embedding`: DP statistics of a fixed embedding, see `synthgen.generators.embedding`."""

from __future__ import annotations

from synthgen.generators.embedding.config import Config, Fitted, load

__all__ = ["Config", "Fitted", "load"]
