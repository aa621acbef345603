"""Write privacy events as JSON and read them back: allow-listed classes, checked numbers, no pickle.

The ledger stores events, never epsilons, so that everything a cohort has spent can be composed anew.
Names and fields are those of ``dp_accounting``; their meaning never changes. A class, field or number
that this table does not know is an error: an event with a negative ``rho`` or ``count`` would pay
budget back.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

Check = Callable[[Any], Any]


def _number(low: float, high: float = math.inf) -> Check:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError("expected a finite number")
        if not low <= float(value) <= high:
            raise ValueError(f"expected a number from {low:g} to {high:g}")
        return float(value)

    return check


def _count(low: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < low:
            raise ValueError(f"expected a whole number of at least {low}")
        return int(value)

    return check


def _event(value: Any) -> Any:
    return to_json(value) if isinstance(value, DpEvent) else from_json(value)


def _events(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("expected a list of events")
    return [_event(item) for item in value]


_PROBABILITY = _number(0, 1)
_FIELDS: Mapping[str, Mapping[str, Check]] = {
    "NoOpDpEvent": {},
    "NonPrivateDpEvent": {},
    "GaussianDpEvent": {"noise_multiplier": _number(0)},
    "LaplaceDpEvent": {"noise_multiplier": _number(0)},
    "DiscreteLaplaceDpEvent": {"noise_parameter": _number(0), "sensitivity": _count(1)},
    "RandomizedResponseDpEvent": {"noise_parameter": _PROBABILITY, "num_buckets": _count(1)},
    "ZCDpEvent": {"rho": _number(0), "xi": _number(0)},
    "PoissonSampledDpEvent": {"sampling_probability": _PROBABILITY, "event": _event},
    "SelfComposedDpEvent": {"event": _event, "count": _count(0)},
    "ComposedDpEvent": {"events": _events},
    "RepeatAndSelectDpEvent": {"event": _event, "mean": _number(1), "shape": _number(0)},
    "TruncatedSubsampledGaussianDpEvent": {
        "dataset_size": _count(0),
        "sampling_probability": _PROBABILITY,
        "truncated_batch_size": _count(0),
        "noise_multiplier": _number(0),
    },
}


def to_json(event: DpEvent) -> dict[str, Any]:
    """Return an event as JSON values.

    Raises:
        ValueError: the class is not on the list (such as sampling without replacement, which is what
            shuffling is), or a number is out of its range.

    Example:
        >>> to_json(dp_event.ZCDpEvent(rho=0.5))
        {'class': 'ZCDpEvent', 'rho': 0.5, 'xi': 0.0}
    """
    name = type(event).__name__
    if name not in _FIELDS or type(event) is not getattr(dp_event, name):
        raise ValueError(
            f"Expected a privacy event of {sorted(_FIELDS)}, got {name}. Book it as one of these."
        )
    return {"class": name} | {
        field: _checked(name, field, check, getattr(event, field)) for field, check in _FIELDS[name].items()
    }


def from_json(mapping: Mapping[str, Any]) -> DpEvent:
    """Return the event that `to_json` wrote.

    Raises:
        ValueError: a class or field is unknown or missing, or a number is out of its range.

    Example:
        >>> from_json({"class": "GaussianDpEvent", "noise_multiplier": 2.0})
        GaussianDpEvent(noise_multiplier=2.0)
    """
    name = mapping.get("class") if isinstance(mapping, Mapping) else None
    if not isinstance(name, str) or name not in _FIELDS:
        raise ValueError(f"Expected a privacy event with a class of {sorted(_FIELDS)}.")
    fields = _FIELDS[name]
    if set(mapping) != {"class", *fields}:
        raise ValueError(f"Expected {name} with the fields {sorted(fields)}, got other fields.")
    values = {field: _checked(name, field, check, mapping[field]) for field, check in fields.items()}
    return getattr(dp_event, name)(**values)


def failure(delta: float) -> DpEvent:
    """Return the event of a mechanism that may give everything away, with probability ``delta``.

    Guarantee:
        ``(0, delta)``-DP: with probability ``delta`` the records are published, else nothing is.

    Raises:
        ValueError: ``delta`` is not below 1.

    Example:
        >>> split_failure(dp_event.ComposedDpEvent([failure(1e-9), dp_event.ZCDpEvent(0.5)]))[1]
        1e-09
    """
    if not 0 < delta < 1:
        raise ValueError(f"Expected 0 < delta < 1, got {delta=}.")
    return dp_event.PoissonSampledDpEvent(delta, dp_event.NonPrivateDpEvent())


def split_failure(event: DpEvent) -> tuple[DpEvent, float]:
    """Return an event without its failures, and the sum of their probabilities.

    Guarantee:
        A mechanism that the whole event describes behaves, but for a probability of at most the second
        value, like one that the first describes: delta-approximate Renyi privacy, whose deltas add up.

    Source: Bun and Steinke (2016), arXiv:1605.02065, Definition 8.1 and Lemma 8.2.
    """
    if isinstance(event, dp_event.SelfComposedDpEvent):
        rest, delta = split_failure(event.event)
        return dp_event.SelfComposedDpEvent(rest, event.count), delta * event.count
    if isinstance(event, dp_event.ComposedDpEvent):
        parts = [split_failure(part) for part in event.events]
        return dp_event.ComposedDpEvent([part for part, _ in parts]), math.fsum(d for _, d in parts)
    if isinstance(event, dp_event.PoissonSampledDpEvent) and isinstance(
        event.event, dp_event.NonPrivateDpEvent
    ):
        rate = float(event.sampling_probability)
        return (dp_event.NoOpDpEvent(), rate) if rate < 1 else (event.event, 0.0)
    return event, 0.0


def canonical(event: DpEvent) -> str:
    """Return an event as JSON text, the same text for the same event. A key for caches."""
    return json.dumps(to_json(event), sort_keys=True, separators=(",", ":"))


def _checked(name: str, field: str, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{name}.{field}: {error}") from None
