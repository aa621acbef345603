"""Find what holds between the columns of a table in every record: order of dates, comparisons, sums.

A relation that held in the data is no rule yet: a rule comes from medicine. So an order of dates is suggested
as `since`, unconfirmed like every domain, and a comparison or a sum as a comment that a person makes a rule.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_RECORDS = 30
"""A relation is looked for where so many records have all of its values."""
MOST_COLUMNS = 60
"""At most so many columns of numbers are compared with each other."""
PROBE = 400
"""So many records show whether a relation is worth a look at all of them."""
MOST_RULES = 30
BY_CHANCE = 10.0
"""A comparison tells something only if so many records would break it, were the two columns independent: a
pulse is above an age by its units alone."""


@dataclass(frozen=True)
class Interval:
    """A date that never lies before another one of its record.

    Attributes:
        column: the later date.
        base: the date that it counts from.
        least: fewest days between the two.
        most: most days between the two.
    """

    column: str
    base: str
    least: int
    most: int


def intervals(days: Mapping[str, np.ndarray], kinds: Mapping[str, Any]) -> list[Interval]:
    """Return for each date the nearest date that it can count from.

    A date counts from another one only if, in every record that has it, the other one is there and not later:
    an interval without a start would be missing. A start counts from no other date itself.

    Args:
        days: each date column's values, NaN where missing. Sensitive.
        kinds: of each; dates count from dates only, and moments from moments.
    """
    order = list(days)
    names = sorted(days, key=lambda name: (np.nanmean(days[name]), order.index(name)))
    found: list[Interval] = []
    counted: set[str] = set()
    for place, name in enumerate(names):
        usable = [n for n in names[:place] if n not in counted and kinds[n] == kinds[name]]
        fitting = [one for one in (_interval(days, name, other) for other in usable) if one is not None]
        if fitting:
            found.append(min(fitting, key=lambda one: one.most - one.least))
            counted.add(name)
    return sorted(found, key=lambda one: order.index(one.column))


def _interval(days: Mapping[str, np.ndarray], name: str, base: str) -> Interval | None:
    there = np.isfinite(days[name])
    if int(there.sum()) < MIN_RECORDS or np.isnan(days[base][there]).any():
        return None
    gaps = np.round((days[name] - days[base])[there], 9)
    least, most = math.floor(gaps.min()), math.ceil(gaps.max())
    return Interval(name, base, least, most) if gaps.min() >= 0 and least < most else None


def rules(numbers: Mapping[str, np.ndarray], decimals: Mapping[str, int]) -> list[str]:
    """Return comparisons and sums that hold in every record, as rules of the schema.

    Args:
        numbers: columns of numbers, NaN where missing. Sensitive.
        decimals: decimals of each column, to which a sum must hold.
    """
    usable = [name for name in numbers if _can_stand(name)]
    names = [name for name in usable if np.isfinite(numbers[name]).sum() >= MIN_RECORDS][:MOST_COLUMNS]
    sizes = {name: np.unique(numbers[name][np.isfinite(numbers[name])]).size for name in names}
    varied = [name for name in names if sizes[name] > 5]
    parts_of = [name for name in names if sizes[name] > 1]  # points of a score are few: 0 to 4
    sums = _sums(varied, parts_of, numbers, decimals)
    within = {frozenset((total, part)) for total, parts in sums for part in parts}
    shown = [f"{_quoted(total)} = {' + '.join(map(_quoted, parts))}" for total, parts in sums]
    for first, second in itertools.combinations(varied, 2):
        if frozenset((first, second)) not in within:
            shown += _comparison(first, second, numbers)
    return shown[:MOST_RULES]


def orders(moments: Mapping[str, np.ndarray], counted: Sequence[Interval]) -> list[str]:
    """Return orders of dates that no `since` keeps already, as rules of the schema.

    Args:
        moments: each date column's days, NaN where missing. Sensitive.
        counted: dates that count from another one.
    """
    kept = {frozenset((one.column, one.base)) for one in counted}
    days = {name: values for name, values in moments.items() if _can_stand(name)}
    pairs = [pair for pair in itertools.combinations(days, 2) if frozenset(pair) not in kept]
    return [rule for pair in pairs for rule in _comparison(*pair, days)][:MOST_RULES]


def _comparison(first: str, second: str, numbers: Mapping[str, np.ndarray]) -> list[str]:
    a, b = numbers[first], numbers[second]
    for one, other, low, high in ((first, second, a, b), (second, first, b, a)):
        probe = slice(0, PROBE)
        if bool((low[probe] > high[probe]).any()) or bool((low > high).any()):
            continue
        both = np.isfinite(low) & np.isfinite(high)
        if int(both.sum()) < MIN_RECORDS or _broken_by_chance(low[both], high[both]) < BY_CHANCE:
            continue
        sign = "<" if bool((low[both] < high[both]).all()) else "<="
        return [f"{_quoted(one)} {sign} {_quoted(other)}"]
    return []


def _broken_by_chance(low: np.ndarray, high: np.ndarray) -> float:
    """Return how many records would have the lower value on top if the columns were independent."""
    below = np.searchsorted(np.sort(high), low, side="left")
    return float(below.sum()) / len(high)


def _sums(
    totals: Sequence[str],
    names: Sequence[str],
    numbers: Mapping[str, np.ndarray],
    decimals: Mapping[str, int],
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the totals that two to four other columns always add up to."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for total in totals:
        tolerance = 0.5 * 10.0 ** -max(decimals[total], 0)
        others = [name for name in names if name != total]
        parts = _parts(total, others, numbers, tolerance)
        if parts and not any(total in known and set(parts) - {total} <= {t, *known} for t, known in found):
            found.append((total, parts))
    return found


def _parts(
    total: str, others: Sequence[str], numbers: Mapping[str, np.ndarray], tolerance: float
) -> tuple[str, ...] | None:
    target = numbers[total]
    for parts in itertools.combinations(others, 2):
        if _adds_up(
            target[:PROBE], [numbers[name][:PROBE] for name in parts], tolerance, least=1
        ) and _adds_up(target, [numbers[name] for name in parts], tolerance, least=MIN_RECORDS):
            return parts
    return _by_least_squares(target, others, numbers, tolerance)


def _adds_up(target: np.ndarray, parts: Sequence[np.ndarray], tolerance: float, *, least: int) -> bool:
    gap = np.abs(target - np.sum(parts, axis=0))
    known = np.isfinite(gap)
    return int(known.sum()) >= least and bool((gap[known] <= tolerance * (1 + 1e-9)).all())


def _by_least_squares(
    target: np.ndarray, others: Sequence[str], numbers: Mapping[str, np.ndarray], tolerance: float
) -> tuple[str, ...] | None:
    """Return three or four columns with coefficient one that give the target, if least squares show them."""
    if len(others) < 3:
        return None
    block = np.column_stack([numbers[name] for name in others])
    usual = np.isfinite(block).mean(axis=0) > 0.9
    kept = [name for name, one in zip(others, usual, strict=True) if one]
    block = block[:, usual]
    rows = np.flatnonzero(np.isfinite(block).all(axis=1) & np.isfinite(target))[:PROBE]
    if len(rows) < max(MIN_RECORDS, 3 * len(kept)):
        return None
    weights, *_ = np.linalg.lstsq(block[rows], target[rows], rcond=None)
    parts = tuple(name for name, weight in zip(kept, weights, strict=True) if weight > 0.5)
    close = bool((np.minimum(np.abs(weights), np.abs(weights - 1)) < 0.05).all())
    if not (close and 3 <= len(parts) <= 4):
        return None
    return (
        parts if _adds_up(target, [numbers[name] for name in parts], tolerance, least=MIN_RECORDS) else None
    )


def _can_stand(name: str) -> bool:
    """Return whether a rule can name a column."""
    return "`" not in name and name.isprintable()


def _quoted(name: str) -> str:
    plain = re.fullmatch(r"[^\W\d][\w.]*", name) and name not in (
        "implies",
        "and",
        "or",
        "not",
        "in",
        "is",
        "missing",
    )
    return name if plain else f"`{name}`"
