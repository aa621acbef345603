"""The generator `diffusion` of images: a DP base model refined by DP-SGD diffusion."""

from __future__ import annotations

from synthgen.generators.imaging.diffusion.config import Config
from synthgen.generators.imaging.diffusion.fitted import Fitted, load

__all__ = ["Config", "Fitted", "load"]
