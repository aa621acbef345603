"""Linked records with any table generator that draws given evidence: rows of a patient stay together.

The generator is fitted, once and under its own plan, to the flat table of `flattening`. A synthetic patient
is then walked through: what belongs to the patient first (static columns, number of rows, first time), then
row after row, each given the patient and the row before. All of the walk is post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthgen import plugins
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.encode.rule_repair import settle
from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError
from synthgen.generators.base import GivenModel, Progress, TableConfig, TableModel, memory_of
from synthgen.generators.conditions import conditions
from synthgen.generators.longitudinal.flattening import GAP, ROWS, START, Layout
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema

PATIENCE, REDRAWS = 3, 20
"""Redraws before rows that break a rule between numbers are settled, and redraws in all."""


@dataclass(frozen=True)
class Longitudinal:
    """A generator's settings, for linked records.

    Attributes:
        inner: the generator's own.
    """

    inner: TableConfig

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: twice the generator's."""
        return 2.0 * (memory_of(self.inner, schema, patients) or 0.0)

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee: the generator's plan of the flat table. Reads no record.

        Guarantee:
            the generator's. A patient has at most ``max_records`` flat rows, which follow from the
            patient's own rows, so that patients of linked records are the units of the plan.
        """
        flat = Layout(schema).flat
        plan = self.inner.plan(flat, epsilon=epsilon, delta=delta, patients=patients)
        return replace(plan, parameters={**plan.parameters, "linked_rows": schema.unit.max_records})

    def fit(
        self, data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> LinkedModel:
        """Spend the plan on the flat table. Guarantee: the generator's, by patient; see `plan`."""
        flat = Layout(data.schema).flatten(data)
        return LinkedModel.of(data.schema, self.inner.fit(flat, plan, noise=noise, progress=progress))


@dataclass(frozen=True)
class LinkedModel:
    """A fitted generator of patients with their rows. Publishable: holds only what the plan paid for.

    Attributes:
        schema: of the linked records.
        inner: the generator fitted to the flat table.
    """

    schema: Schema
    inner: GivenModel

    @classmethod
    def of(cls, schema: Schema, inner: TableModel) -> LinkedModel:
        """Return the model of linked records.

        Raises:
            ConfigError: the generator cannot draw given evidence.
        """
        if not isinstance(inner, GivenModel):
            raise _refused(type(inner).__name__)
        return cls(schema, inner)

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticTable:
        """Draw patients with all their rows. Post-processing: may be called for ever.

        Args:
            n_records: PATIENTS to draw, 0 or more; each has 1 to ``max_records`` rows.
            rng: open randomness; the same state gives the same rows, byte for byte.
            where: conditions on static columns, see the generator's ``sample``.

        Raises:
            ConfigError: a condition on a column that is not static.
        """
        other = sorted(set(where or {}) - set(self._layout.static))
        if other:
            raise ConfigError(
                f"Expected conditions on a patient's static columns, got {other}.",
                where="where",
                next_step=f"Name some of {list(self._layout.static)}, or mark the column `static: true`.",
            )
        heads = self._heads(self.inner.sample(n_records, rng=rng, where=where).frame, where or {}, rng)
        rows = heads[ROWS].to_numpy().astype(np.int64)
        who, frames = np.arange(n_records), [self._row(heads, heads.get(START))]
        patients, above = [], heads
        for place in range(int(rows.max(initial=0))):
            here = rows[who] > place
            who, above = who[here], above[here].reset_index(drop=True)
            above = self._next(heads.iloc[who].reset_index(drop=True), above, place, rng)
            frames.append(self._row(above, above.get(self.schema.unit.order or "")))
            patients.append(who)
        units = np.concatenate([np.empty(0, dtype=np.int64), *patients])
        frame = pd.concat(frames[1:] or [frames[0].iloc[:0]], ignore_index=True)
        order = np.argsort(units, kind="stable")
        return SyntheticTable(self.schema, frame.iloc[order].reset_index(drop=True), units=units[order] + 1)

    def save(self, folder: Path) -> None:
        """Write the generator's own files."""
        self.inner.save(folder)

    @cached_property
    def _layout(self) -> Layout:
        return Layout(self.schema)

    def _next(
        self, heads: pd.DataFrame, above: pd.DataFrame, place: int, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Draw the next row of each patient; one that breaks a hard rule is drawn anew, then settled.

        What belongs to the patient stays, and time does not run back.

        Args:
            heads: what belongs to the patient, and the number of rows.
            above: the row before, as this returned it; at the first place, anything.
            place: of the row to draw, from 0.
            rng: open randomness.
        """
        n_rows = heads[ROWS].to_numpy().astype(np.int64)
        first = np.full(len(heads), place == 0)
        given = {name: heads[name] for name in (*self._layout.static, *((START,) if self._time else ()))}
        given |= self._layout.where_it_stands(np.full(len(heads), place), n_rows)
        evidence = pd.DataFrame(given | self._layout.previous(above, first=first))
        since = above[self._time] if self._time and place else None
        drawn = self._drawn(evidence, since, rng)
        for turn in range(REDRAWS):
            if turn >= PATIENCE:
                drawn = self._settled(drawn, since, rng)
            broken = self._broken(drawn)
            if not broken.any():
                break
            again = evidence[broken].reset_index(drop=True)
            later = None if since is None else since[broken].reset_index(drop=True)
            fresh = self._drawn(again, later, rng)
            order = np.argsort(np.concatenate([np.flatnonzero(~broken), np.flatnonzero(broken)]))
            drawn = pd.concat([drawn[~broken], fresh], ignore_index=True).iloc[order].reset_index(drop=True)
        return drawn

    def _heads(self, heads: pd.DataFrame, where: Mapping[str, Any], rng: np.random.Generator) -> pd.DataFrame:
        """Return what belongs to patients, settled by the hard rules of static columns and the first time."""
        names = {name: name for name in self._layout.static} | ({self._time: START} if self._time else {})
        rules = [rule for rule in self.schema.parsed_rules if rule.columns <= set(names)]
        held = conditions(self.schema, Encoder.of(self.schema), where)
        within = {name: one.interval for name, one in held.items() if one.interval is not None}
        part = pd.DataFrame({name: heads[own] for name, own in names.items()})
        part = settle(part, self.schema, rng=rng, within=within, rules=rules)
        return heads.assign(**{own: part[name] for name, own in names.items()})

    def _settled(
        self, drawn: pd.DataFrame, since: pd.Series | None, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Return rows that keep the hard rules between numbers; at the first place the time is given."""
        fixed = [*self._layout.static, *([self._time] if self._time and since is None else [])]
        time = self._layout.time
        within = {} if since is None or time is None else {time.name: (since.to_numpy(float), time.maximum)}
        names = [column.name for column in self.schema.columns]
        part = settle(drawn[names], self.schema, rng=rng, fixed=fixed, within=within, exchange=False)
        return drawn.assign(**{name: part[name] for name in names})

    def _drawn(
        self, evidence: pd.DataFrame, since: pd.Series | None, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Draw rows given what is known; time goes on by the gap and stops at its public end."""
        drawn = self.inner.sample_given(evidence, rng=rng).frame
        time = self._layout.time
        if time is None:
            return drawn
        now = drawn[START] if since is None else since + drawn[GAP]
        decimals = 9 if time.kind == "number" else 0
        return drawn.assign(**{time.name: np.minimum(np.round(now, decimals), time.maximum)})

    def _broken(self, drawn: pd.DataFrame) -> np.ndarray:
        broken = np.zeros(len(drawn), dtype=bool)
        for rule in self.schema.parsed_rules:
            broken |= rule.violated(drawn)
        return broken

    def _row(self, drawn: pd.DataFrame, time: pd.Series | None) -> pd.DataFrame:
        held = drawn if time is None or self._time is None else drawn.assign(**{self._time: time})
        return held[[column.name for column in self.schema.columns]]

    @property
    def _time(self) -> str | None:
        return self.schema.unit.order


def for_schema(config: Any, schema: Schema) -> TableConfig:
    """Return a generator's settings as the schema needs them: linked records walk through the flat table.

    Raises:
        ConfigError: the records are linked and the generator cannot draw given evidence.
    """
    if not schema.unit.is_linked:
        return config  # type: ignore[no-any-return]
    if not can_link(config.name):
        raise _refused(config.name)
    return Longitudinal(config)


def can_link(generator: str) -> bool:
    """Return whether a generator's ``Fitted`` class draws given evidence."""
    module = plugins.load("synthgen.generators.tabular", generator)
    return hasattr(module.Fitted, "sample_given")


def with_schema(model: TableModel, schema: Schema) -> TableModel:
    """Return a loaded generator as the schema needs it."""
    return LinkedModel.of(schema, model) if schema.unit.is_linked else model


def fitted_schema(schema: Schema) -> Schema:
    """Return the schema that a generator itself was fitted with."""
    return Layout(schema).flat if schema.unit.is_linked else schema


def _refused(name: str) -> ConfigError:
    return ConfigError(
        f"Expected a generator that draws a row given the row before, got {name!r}, which cannot.",
        where="generator.name",
        next_step="Choose marginal, or `unit: {records: single}` in the schema.",
    )
