"""Pay for the domains that a schema marks as paid: planned without a record, learnt once, then public.

A share of the plan's rho buys one noisy histogram a column; a small part of delta buys the thresholds
below which a category stays hidden (see `synthgen.privacy.private_bounds` and
`synthgen.privacy.partition_selection`). The schema that comes out is publishable, and from there on it is the
cohort's schema.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from dp_accounting import dp_event

from synthgen.errors import ConfigError
from synthgen.ingest.tables.canonical import category_texts, read_column, since
from synthgen.privacy.accountant import FAILURE_SHARE, calibrate_rho, epsilon_of_rho, failure, get_epsilon
from synthgen.privacy.marginal_queries import ZCDPFilter, lattice_weights
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.partition_selection import stable_histogram, threshold_for
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.privacy.private_bounds import SIGNIFICANT, noisy_range, public_edges
from synthgen.schema.fields import MAX_CATEGORIES, OTHER, Column, Constraints, Field, column_of
from synthgen.schema.schema import Schema

DELTA_SHARE = FAILURE_SHARE / 10
"""Part of the plan's delta for all thresholds: ten fits that learn categories fit into a cap of its delta."""

PLANNED_CATEGORIES = 20
KEY = "preprocessing"


def with_preprocessing(
    schema: Schema,
    make: Callable[[Schema, float], PrivacyPlan],
    *,
    share: float | None,
    epsilon: float,
    delta: float,
) -> PrivacyPlan:
    """Plan a generator, with what is paid before it. Reads no record.

    Args:
        schema: the table's description; domains that are still to be paid for may be missing.
        make: the generator's plan of a schema and an epsilon, at ``delta``.
        share: part of rho for the paid domains.
        epsilon: of all together, at ``delta``.
        delta: probability of failure of all together.

    Returns:
        The generator's plan; with paid domains its event is the composition of theirs and its own, so that
        ``(epsilon, delta)`` is the total.

    Raises:
        ValueError: epsilon is too small.
    """
    if not schema.paid or share is None:
        return make(schema, epsilon)
    rho = calibrate_rho(epsilon, delta)
    paid = _numbers(schema, rho * share, delta * DELTA_SHARE)
    left = epsilon_of_rho(rho * (1 - share), delta)
    plan = make(provisional(schema), left)
    while (spent := get_epsilon([_composed(paid, plan)], delta, adaptive=True)) > epsilon:
        # A generator that is not calibrated by `calibrate_rho` composes to a little more.
        left *= min(0.999, epsilon / spent)
        plan = make(provisional(schema), left)
    scaled = [replace(stage, share=stage.share * (1 - share)) for stage in plan.stages]
    return replace(
        plan,
        epsilon=epsilon,
        event=_composed(paid, plan),
        parameters={**plan.parameters, KEY: paid},
        stages=(*_stages(paid, rho, delta), *scaled),
    )


def learn(
    frame: pd.DataFrame,
    units: np.ndarray,
    schema: Schema,
    plan: PrivacyPlan,
    *,
    noise: NoiseSource,
    decimal: str = ".",
    date_format: str | None = None,
) -> Schema:
    """Spend the plan's preprocessing: return the schema with the paid domains filled in.

    Guarantee:
        ``delta``-approximate ``rho``-zCDP with the numbers of the plan, for neighbours that differ in all
        records of one patient, whatever these hold: each column is one histogram that moves by at most one
        patient in the L2 norm.

    Args:
        frame: raw modelled columns of the records that train. Sensitive.
        units: text id of each record's patient, of which none has more than ``max_records``. Sensitive.
        schema: the table's description.
        plan: what `with_preprocessing` returned for the same schema.
        noise: the operating system's source, or a test's.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text.

    Returns:
        A complete schema. Publishable: the fields keep their ``paid`` marks.
    """
    numbers = plan.parameters[KEY]
    spender = ZCDPFilter(numbers["rho"])
    codes, distinct = pd.factorize(units)
    weights = lattice_weights(codes.astype(np.int64), len(distinct))
    found: dict[str, Field] = {}
    for item in numbers["columns"]:
        column = column_of(next(field for field in schema.fields if field.name == item["column"]))
        spender.spend(item["rho"])
        if column.field.bounds == "paid":
            values = _values(frame, column, schema, decimal, date_format)
            found[column.name] = _bounded(column, values, weights, item, noise)
        else:
            tokens = schema.tokens(column.field)
            texts = category_texts(frame[column.name], column, tokens, decimal=decimal)
            found[column.name] = _listed(column, texts, weights, item, noise)
    fields = tuple(found.get(field.name, field) for field in schema.fields)
    return Schema.model_validate_json(
        schema.model_copy(update={"fields": fields}).model_dump_json(by_alias=True)
    )


def provisional(schema: Schema) -> Schema:
    """Return a complete schema for planning: what is not paid for yet has its whole public range."""
    fields = tuple(_placeholder(field) if field.unpaid else field for field in schema.fields)
    return schema.model_copy(update={"fields": fields})


def _placeholder(field: Field) -> Field:
    if field.bounds == "paid":
        return _with_bounds(column_of(field), None)
    listed = range(PLANNED_CATEGORIES)
    enum = tuple(listed) if field.type == "integer" else tuple(f"category {i}" for i in listed)
    return _with_categories(field, enum)


def _numbers(schema: Schema, rho: float, delta: float) -> dict[str, Any]:
    """Return what the paid domains cost: all public, JSON values."""
    each = rho / len(schema.paid)
    sigma = math.sqrt(1 / (2 * each))
    n_lists = sum(field.categories == "paid" for field in schema.paid)
    rows: list[dict[str, Any]] = []
    for field in schema.paid:
        row: dict[str, Any] = {"column": field.name, "rho": each, "sigma": sigma}
        if field.categories == "paid":
            row["delta"] = delta / n_lists
            row["threshold"] = threshold_for(row["delta"], sigma=sigma, max_records=schema.unit.max_records)
        rows.append(row)
    return {"rho": rho, "delta": delta if n_lists else 0.0, "columns": rows}


def _composed(paid: Mapping[str, Any], plan: PrivacyPlan) -> dp_event.DpEvent:
    hidden = [failure(row["delta"]) for row in paid["columns"] if "delta" in row]
    histograms = [dp_event.ZCDpEvent(row["rho"]) for row in paid["columns"]]
    return dp_event.ComposedDpEvent([*histograms, *hidden, plan.event])


def _stages(paid: Mapping[str, Any], rho: float, delta: float) -> list[Stage]:
    stages = []
    for row in paid["columns"]:
        if "delta" in row:
            what = f"shows what about {row['threshold']:.0f} patients hold; delta {row['delta']:.1e}"
        else:
            what = f"shows a range's ends that about {SIGNIFICANT * row['sigma']:.0f} patients hold"
        kind = "categories" if "delta" in row else "bounds"
        epsilon = get_epsilon([dp_event.ZCDpEvent(row["rho"])], delta, adaptive=True)
        stages.append(Stage(f"{kind} of {row['column']}", epsilon, row["rho"] / rho, row["sigma"], what))
    return stages


def _values(
    frame: pd.DataFrame, column: Column, schema: Schema, decimal: str, date_format: str | None
) -> np.ndarray:
    """Return a column's numbers, one a record, NaN where there is none. Sensitive."""

    def read(one: Column) -> Any:
        tokens = schema.tokens(one.field)
        return read_column(frame[one.name], one, tokens, decimal=decimal, date_format=date_format)

    reading = read(column)
    if column.field.since is not None:
        start = schema.column(column.field.since)
        reading = since(reading, read(start), column, start.field.origin)
    return np.asarray(reading.values, dtype=float)


def _bounded(
    column: Column, values: np.ndarray, weights: np.ndarray, item: Mapping[str, Any], noise: NoiseSource
) -> Field:
    edges = public_edges(_edge_kind(column), column.field.origin)
    found = noisy_range(values, weights, edges, sigma=item["sigma"], noise=noise)
    return _with_bounds(column, found)


def _with_bounds(column: Column, found: tuple[float, float] | None) -> Field:
    """Return the field with bounds; a bound that was declared stays, and nothing found is the whole grid."""
    field = column.field
    edges = public_edges(_edge_kind(column), field.origin)
    low, high = found or (edges[0], edges[-1])
    if column.kind != "number" or _edge_kind(column) == "date":
        high -= 1.0 / (column.per_unit or 1.0)  # the last value below the border
    if _edge_kind(column) == "date":
        low, high = (float(end) for end in np.clip([low, high], *field.times.reach))
    limits = field.constraints
    low, high = (_ours(column.minimum, low), _ours(column.maximum, high))
    if not low < high:  # a constant column, or a declared bound beyond what was found
        low, high = (low, low + 1) if limits.minimum is not None else (high - 1, high)
    update = {"minimum": _as_written(field, low), "maximum": _as_written(field, high)}
    return field.model_copy(update={"constraints": limits.model_copy(update=update), "outside": "clip"})


def _ours(declared: float, found: float) -> float:
    return found if math.isnan(declared) else declared


def _as_written(field: Field, value: float) -> float | int | str:
    if field.is_moment and field.since is None:
        return field.times.bound_text(value)
    return value if field.type in ("number", "datetime") else int(value)


def _edge_kind(column: Column) -> Literal["integer", "number", "date"]:
    """Return the kind of the public grid on which a column's range is looked for."""
    if column.field.is_moment and column.field.since is None:
        return "date"
    return "number" if column.kind == "number" else "integer"


def _listed(
    column: Column, texts: pd.Series, weights: np.ndarray, item: Mapping[str, Any], noise: NoiseSource
) -> Field:
    codes, distinct = pd.factorize(texts)
    counts = stable_histogram(
        codes.astype(np.int64),
        weights,
        len(distinct),
        sigma=item["sigma"],
        threshold=item["threshold"],
        noise=noise,
    )
    shown = np.flatnonzero(~np.isnan(counts))
    largest = shown[np.argsort(-counts[shown], kind="stable")][: MAX_CATEGORIES - 1]
    # Sorted by their own text: the order of first appearance would tell which record comes first.
    kept = sorted(str(distinct[place]) for place in largest)
    if column.field.type == "integer":
        return _with_categories(column.field, tuple(sorted(int(text) for text in kept)))
    return _with_categories(column.field, tuple(kept))


def _with_categories(field: Field, enum: tuple[str | int, ...]) -> Field:
    if not enum:
        if field.type == "integer":
            raise ConfigError(
                f"column {field.name!r}: expected a category that enough patients hold, found none.",
                where="budget.preprocessing",
                next_step="Raise the share, declare the categories, or set `role: drop`.",
            )
        enum = (OTHER,)
    limits: Constraints = field.constraints.model_copy(update={"enum": enum})
    return field.model_copy(update={"constraints": limits, "outside": "other"})
