"""Results as JSON and back, for the internal report. NaN and infinity are written as null."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from synthgen.errors import DataError
from synthgen.evaluation.base import Estimate, MetricResult


def results_to_json(results: Iterable[MetricResult]) -> list[dict[str, Any]]:
    """Return plain JSON values."""
    return [
        {field.name: _plain(getattr(result, field.name)) for field in fields(result)} for result in results
    ]


def results_from_json(content: Iterable[Mapping[str, Any]]) -> list[MetricResult]:
    """Return the results that `results_to_json` wrote.

    Raises:
        DataError: a key is missing or unknown.
    """
    try:
        return [_result(item) for item in content]
    except (TypeError, KeyError, AttributeError):
        raise DataError(
            "Expected results of this version of synthgen, got other keys.", next_step="Evaluate again."
        ) from None


def _result(item: Mapping[str, Any]) -> MetricResult:
    estimates = {key: _estimate(value) for key, value in item["estimates"].items()}
    groups = {
        key: {group: _estimate(value) for group, value in held.items()}
        for key, held in item["groups"].items()
    }
    return MetricResult(**{**item, "estimates": estimates, "groups": groups})


def _estimate(value: Mapping[str, Any]) -> Estimate:
    numbers = {key: math.nan if value[key] is None else float(value[key]) for key in ("value", "low", "high")}
    freedom = math.inf if value["freedom"] is None else float(value["freedom"])
    return Estimate(**{**value, **numbers, "freedom": freedom})


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(held) for held in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
