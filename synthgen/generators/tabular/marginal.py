"""The generator `marginal`: noisy marginals and a graphical model, see `synthgen.generators.marginal`."""

from __future__ import annotations

from synthgen.generators.marginal.config import Config, Fitted, load

__all__ = ["Config", "Fitted", "load"]
