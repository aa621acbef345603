"""What every generator offers: plan without records, fit by a plan, sample without either.

A generator is one public file of this package, ``tabular_<key>.py`` (or ``imaging_<key>.py``), with

* ``Config``: frozen settings; ``plan(schema, ...)`` reads no record, ``fit(data, plan, ...)`` is the
  one place that spends;
* ``Fitted``: holds only what was paid for; ``sample`` and ``save`` are post-processing;
* ``load(folder, schema) -> Fitted``: reads safetensors and JSON, never a pickle.

Contract tests run over every file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    from synthgen.data.images import RealImages, SyntheticImages

Progress = Callable[[str, float], None]
"""Called with what is being done and the part done, from 0 to 1. Never sees a record."""


@runtime_checkable
class TableModel(Protocol):
    """A fitted table generator. Publishable: holds only what the plan paid for."""

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticTable:
        """Draw records; with ``where``, each drawn record has exactly those values."""
        ...

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder."""
        ...


@runtime_checkable
class GivenModel(TableModel, Protocol):
    """A fitted generator that draws each record given some of its columns: what linked records need."""

    def sample_given(self, evidence: pd.DataFrame, *, rng: np.random.Generator) -> SyntheticTable:
        """Draw one record for each row of ``evidence``, whose columns it keeps exactly.

        Args:
            evidence: canonical values of some of the modelled columns; NaN is an observed missing value.
            rng: open randomness; the same state gives the same records, byte for byte.
        """
        ...


@runtime_checkable
class TableConfig(Protocol):
    """A table generator's settings."""

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee. Reads no record."""
        ...

    def fit(
        self, data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> TableModel:
        """Spend the plan. Only a holder of a ledger reservation calls this."""
        ...


def max_columns_for_audit(config: object, plan: PrivacyPlan) -> int:
    """Return how many columns a fit to a few patients may have to take seconds: public, for the audit's twin.

    A generator says so by a method ``max_audit_columns(plan)``; of one without, every fit takes long.
    """
    told = getattr(config, "max_audit_columns", None)
    return int(told(plan)) if callable(told) else 0


def memory_of(config: object, schema: Schema, patients: int) -> float | None:
    """Return the GiB that a run with a generator is estimated to need at most; None if it does not say.

    A generator says so by a method ``memory(schema, patients)``: a public rule, from measured runs, for its
    fit and for reading, drawing and evaluating as many patients.
    """
    said = getattr(config, "memory", None)
    return float(said(schema, patients)) if callable(said) else None


def table_memory(schema: Schema, patients: int) -> float:
    """Return the GiB that a table of so many patients takes, read, encoded, drawn and evaluated.

    `scripts/results/growth_marginal.json`: a million records of 50 columns take 1.9 GiB from reading to
    drawing; an evaluation holds three parts and a synthetic table, and samples of them.
    """
    cells = patients * min(schema.unit.max_records, 8) * max(len(schema.fields), 1)
    return 0.5 + cells * 60.0 / 2**30


LEARNT = 9_000.0
"""Bytes of an image's cosines in all copies: `scripts/bench_image_memory.py`, fits of `embedding` to 500 and
to 4,500 images of 128 pixels a side, less the pixels themselves."""


def image_memory(schema: Schema, patients: int, *, fit: float) -> float:
    """Return the GiB that a run of images of so many patients takes at its peak.

    Pixels are held as read. Three times do not overlap: while they are parted they are held twice; while they
    are learnt from there is `LEARNT` of each, and what the fit takes; and an evaluation holds a drawn image
    a patient, and copies of at most 20,000 images.

    Args:
        schema: the cohort's public description.
        patients: of the cohort, declared.
        fit: GiB that a fit takes whatever the number of images.
    """
    if schema.images is None or schema.images.size is None:
        return 0.0
    values = math.prod(schema.images.shape) * (1.0 if schema.images.bits == 8 else 2.0) / 2**30
    images = patients * min(schema.unit.max_records, 8)
    learnt = images * LEARNT / 2**30 + fit
    judged = patients * values + 12.0 * min(images, 20_000) * values
    return 0.8 + images * values + max(images * values, learnt, judged)


@runtime_checkable
class ImageModel(Protocol):
    """A fitted image generator: attributes first, pixels given them. Publishable."""

    @property
    def schema(self) -> Schema:
        """The cohort's public description."""
        ...

    @property
    def attributes(self) -> TableModel:
        """What draws the attributes; hard rules and conditions are its affair alone."""
        ...

    def render(self, table: SyntheticTable, *, rng: np.random.Generator) -> SyntheticImages:
        """Draw an image for each record of a table of attributes."""
        ...

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticImages:
        """Draw attributes, then an image for each."""
        ...

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder."""
        ...


@runtime_checkable
class ImageConfig(Protocol):
    """An image generator's settings."""

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee, attributes included. Reads no record."""
        ...

    def fit(
        self, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> ImageModel:
        """Spend the plan. Only a holder of a ledger reservation calls this."""
        ...
