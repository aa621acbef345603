"""The generator `gan` of images: a DP base model refined against a private critic."""

from __future__ import annotations

from synthgen.generators.imaging.gan.config import Config
from synthgen.generators.imaging.gan.fitted import Fitted, load

__all__ = ["Config", "Fitted", "load"]
