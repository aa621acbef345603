"""Make drawn records keep hard rules between numbers and dates, with the smallest changes that do.

Every generator draws columns that it sees only in cells, so two values of one record may break a rule that
their cells allow (``start <= end`` inside one month), and no draw meets a sum. Records that break a rule are
settled here, whatever drew them, by the schema and the drawn table alone:

1. *Exchange*: where the cells of a record's values (a `CELLS`-th of the column's drawn values each) leave no
   way to keep the rules, it gives the value of one column to another record, near in rank, and takes that
   one's, if both together then miss the rules by less. No column's distribution changes.
2. *Draw inside the cells*: column after column a value is kept if the rules still can be met with it, else
   one is taken from the column's own drawn values in the interval that the rules leave, which follows from
   the others by bounds propagation. The result of an equation comes last and follows from its parts.
3. The same with the public bounds in place of the cells: of results first, then of all columns.

What is still broken, such as rules of categories alone, is left to whoever draws: by drawing it anew. All
of it is post-processing; no real record is reached.

Source of step 2: bounds consistency, Apt (2003), Principles of Constraint Programming, Section 6.5. For
comparisons of two columns, and for one equation, it never runs into a dead end.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from synthgen.encode.table import Encoder, Grid
from synthgen.schema.fields import domain_of
from synthgen.schema.rule_clauses import Clause, clauses
from synthgen.schema.rule_values import Linear, Node, misses, numbers
from synthgen.schema.rules import Rule
from synthgen.schema.schema import Schema

CELLS, LEAST_IN_CELL = 64, 20
"""Cells of a column's drawn values, and values in each at least."""
EXCHANGES = 200
TRIES = 16
"""Draws inside the public bounds for records that nothing less has settled."""
NEAR = 1e-9

Ends = tuple[Any, Any]
Limits = Mapping[str, Ends]


def settle(
    frame: pd.DataFrame,
    schema: Schema,
    *,
    rng: np.random.Generator,
    fixed: Collection[str] = (),
    within: Limits | None = None,
    exchange: bool = True,
    rules: Sequence[Rule] | None = None,
) -> pd.DataFrame:
    """Return records that keep the rules between numbers as far as changes of these columns can make them.

    Args:
        frame: drawn records in canonical form. It is not changed.
        schema: their public description.
        rng: open randomness; the same state gives the same records, byte for byte.
        fixed: columns that are not changed.
        within: for a number, the closed interval to keep to: two numbers, or two arrays with one a record.
        exchange: whether records may exchange values; not where rows of one patient hang together.
        rules: those to keep; all of the schema's if None.

    Returns:
        The same records; those that broke no rule are as they were, but for exchanged values.
    """
    rules = [rule for rule in (schema.parsed_rules if rules is None else rules) if rule.columns <= set(frame)]
    if not rules or not len(frame):
        return frame
    grids = Encoder.of(schema).grids
    columns = {str(name): frame[name].reset_index(drop=True) for name in frame}
    for name in frozenset[str]().union(*(rule.columns for rule in rules)) - set(fixed):
        columns[name] = _on_steps(columns[name], grids[name])
    broken = [rule.violated(columns) for rule in rules]
    for group in _groups(rules):
        if any(broken[i].any() for i in group):
            held = _Group([rules[i] for i in group], grids, columns, frozenset(fixed), within or {}, rng)
            held.settle(exchange=exchange)
    return pd.DataFrame(columns).set_axis(frame.index)


def _on_steps(values: pd.Series, grid: Grid) -> pd.Series:
    """Return a number's values as they are written: rounding them later would break rules."""
    if not grid.edges or grid.column.per_unit is None:
        return values
    return pd.Series(grid.column.snapped(values.to_numpy(float)), name=values.name)


def _groups(rules: Sequence[Rule]) -> list[list[int]]:
    """Return the rules in groups that share no column."""
    out: list[tuple[set[str], list[int]]] = []
    for number, rule in enumerate(rules):
        joined = [group for group in out if group[0] & rule.columns]
        out = [group for group in out if not group[0] & rule.columns]
        names = set(rule.columns).union(*(group[0] for group in joined))
        out.append((names, [*(i for group in joined for i in group[1]), number]))
    return [sorted(members) for _, members in out]


@dataclass
class _Group:
    """Rules that share columns, and the table's columns, which are changed in place."""

    rules: Sequence[Rule]
    grids: Mapping[str, Grid]
    columns: dict[str, pd.Series]
    fixed: frozenset[str]
    within: Limits
    rng: np.random.Generator

    def settle(self, *, exchange: bool) -> None:
        """Settle the broken records in place."""
        if not self.movable:
            return
        if exchange:
            self._exchange()
        left = np.flatnonzero(~self._possible(np.arange(self.n_records)))
        for free in ((), self.results or self.movable[-1:]):
            left = self._drawn_inside(left, free, keep=1.0)
        for turn in range(TRIES):
            left = self._drawn_inside(left, self.movable, keep=0.5**turn)

    @cached_property
    def n_records(self) -> int:
        """Records of the table."""
        return len(next(iter(self.columns.values())))

    @cached_property
    def names(self) -> list[str]:
        """The rules' columns, in the schema's order."""
        used = frozenset[str]().union(*(rule.columns for rule in self.rules))
        return [name for name in self.columns if name in used]

    @cached_property
    def movable(self) -> tuple[str, ...]:
        """Numbers and dates that may be changed; results of equations come last."""
        free = [n for n in self.names if n not in self.fixed and n in self.grids and self.grids[n].edges]
        return (*(n for n in free if n not in self.equated), *(n for n in free if n in self.equated))

    @cached_property
    def equations(self) -> tuple[Linear, ...]:
        """The equations between several columns that the rules name."""
        atoms = [one for found in self.alternatives for clause in found for one in clause.linear]
        return tuple(one for one in atoms if one.operator == "==" and len(one.terms) > 1)

    @cached_property
    def equated(self) -> frozenset[str]:
        """Results of equations."""
        return frozenset(one.result for one in self.equations)

    @property
    def results(self) -> tuple[str, ...]:
        """Movable results of equations."""
        return tuple(name for name in self.movable if name in self.equated)

    @cached_property
    def alternatives(self) -> list[tuple[Clause, ...]]:
        """For each rule that has few enough the alternatives in which it holds."""
        found = [clauses(rule.tree) for rule in self.rules]
        return [one for one in found if one is not None]

    @cached_property
    def pools(self) -> dict[str, np.ndarray]:
        """The drawn values of each movable column, sorted."""
        return {n: np.sort(self.columns[n].dropna().to_numpy(float)) for n in self.movable}

    def _possible(self, rows: np.ndarray) -> np.ndarray:
        """Return whether rows keep all rules as they are."""
        part = {name: self.columns[name].iloc[rows] for name in self.names}
        return self._may(part, part)

    def _may(self, low: Mapping[str, Any], high: Mapping[str, Any]) -> np.ndarray:
        """Return whether records may keep all rules between two ends."""
        out = np.logical_and.reduce([rule.possible(low, high) for rule in self.rules])
        return np.asarray(out, dtype=bool)

    def _missed(self, low: Mapping[str, Any], high: Mapping[str, Any]) -> np.ndarray:
        """Return by how much records miss the rules between two ends, 0 where they may keep all."""
        parts = [misses(rule.tree, low, high, self.scales) for rule in self.rules]
        return np.asarray(np.sum(parts, axis=0))

    @cached_property
    def scales(self) -> dict[str, float]:
        """The size of each movable column: the spread of its drawn values."""
        return {name: float(np.ptp(pool)) if len(pool) else 1.0 for name, pool in self.pools.items()}

    def _limits(self, name: str, rows: np.ndarray, *, wide: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends between which a movable column may be moved: its public bounds, or its cell."""
        column, values = self.grids[name].column, self.columns[name].to_numpy(float)[rows]
        if wide:
            ends = np.array([column.minimum, column.maximum])
            if column.per_unit is not None:
                ends = column.of_steps(np.array(column.ends, dtype=float))
            low, high = np.full(len(rows), ends[0]), np.full(len(rows), ends[1])
        else:
            low, high = self._cell(name, values)
        if name in self.within:
            first, last = (self._each(end, rows) for end in self.within[name])
            low, high = np.maximum(low, first), np.minimum(high, last)
        return np.where(np.isnan(values), np.nan, low), np.where(np.isnan(values), np.nan, high)

    def _each(self, end: Any, rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.broadcast_to(np.asarray(end, dtype=float), self.n_records)[rows])

    def _cell(self, name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the values' cells: equal parts of the drawn; a frequent value is its own."""
        edges, alone = self.cells[name]
        step = self._step(name)
        at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
        low, high = edges[at], edges[np.minimum(at + 1, len(edges) - 1)]
        high = np.where(at < len(edges) - 2, high - step, high)
        single = np.isin(values, alone)
        return np.where(single, values, low), np.where(single, values, np.maximum(high, low))

    @cached_property
    def cells(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each movable column the borders of its cells, and the values that fill a cell alone."""
        out = {}
        for name, pool in self.pools.items():
            if not len(pool):
                out[name] = np.zeros(1), np.zeros(0)
                continue
            n_cells = max(1, min(CELLS, len(pool) // LEAST_IN_CELL))
            marks = pool[np.round(np.linspace(0, len(pool) - 1, n_cells + 1)).astype(np.int64)]
            edges, counts = np.unique(marks, return_counts=True)
            out[name] = edges, edges[counts > 1]
        return out

    # Step 1: exchange

    def _exchange(self) -> None:
        """Exchange values between records until the cells of each leave a way, or no exchange helps."""
        everyone = np.arange(self.n_records)
        ends = {name: self._limits(name, everyone, wide=False) for name in self.movable}
        low: dict[str, Any] = {n: ends[n][0] if n in ends else self.columns[n] for n in self.names}
        high: dict[str, Any] = {n: ends[n][1] if n in ends else self.columns[n] for n in self.names}
        values = {name: self.columns[name].to_numpy(float).copy() for name in self.movable}
        own = {name for name in self.within if np.ndim(self.within[name][0])}  # limits that fit nobody else
        names = [name for name in self.movable if name not in own]
        missed, idle = self._missed(low, high), 0
        for turn in range(EXCHANGES if names else 0):
            if not missed.any() or idle > 3 * len(names):
                break
            name = names[turn % len(names)]
            bad = np.flatnonzero((missed > 0) & ~np.isnan(values[name]))
            one, other = self._partners(values[name], bad)
            both, swap = np.concatenate([one, other]), np.concatenate([other, one])
            then = self._missed(
                {n: _at(end, swap if n == name else both) for n, end in low.items()},
                {n: _at(end, swap if n == name else both) for n, end in high.items()},
            )
            mine, theirs = then[: len(one)], then[len(one) :]
            fine = mine + theirs < (missed[one] + missed[other]) * (1.0 - NEAR)
            missed[one[fine]], missed[other[fine]] = mine[fine], theirs[fine]
            mine, theirs = one[fine], other[fine]
            for array in (values[name], low[name], high[name]):
                array[mine], array[theirs] = array[theirs], array[mine]
            idle = 0 if len(mine) else idle + 1
        for name in self.movable:
            self.columns[name] = pd.Series(values[name], name=name)

    def _partners(self, values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs of different records, of which none is in two: each of ``rows`` and one near in rank.

        The distance in rank is drawn evenly in its logarithm: near exchanges are tried as often as far ones.
        """
        order = np.argsort(values, kind="stable")
        n_values = int(np.count_nonzero(~np.isnan(values)))
        if n_values < 2 or not len(rows):
            return rows[:0], rows[:0]
        rank = np.empty(len(values), dtype=np.int64)
        rank[order] = np.arange(len(values))
        far = np.ceil(np.exp(self.rng.random(len(rows)) * np.log(n_values))).astype(np.int64)
        far *= self.rng.choice([-1, 1], size=len(rows))
        other = order[np.clip(rank[rows] + far, 0, n_values - 1)]
        pair = self.rng.permutation(len(rows))
        first = np.full(len(values), len(rows), dtype=np.int64)
        np.minimum.at(first, rows, pair)
        np.minimum.at(first, other, pair)
        kept = (first[rows] == pair) & (first[other] == pair) & (rows != other)
        return rows[kept], other[kept]

    # Steps 2 and 3: draw inside intervals

    def _drawn_inside(self, rows: np.ndarray, free: Sequence[str], *, keep: float) -> np.ndarray:
        """Draw the broken records' numbers inside their cells, of ``free`` columns inside the public bounds.

        Args:
            rows: the broken records.
            free: columns that may leave their cells.
            keep: chance that a value which the rules allow is kept; fewer are where that has led nowhere.

        Returns:
            The rows that are still broken.
        """
        if not len(rows):
            return rows
        before = {name: self.columns[name].to_numpy(float)[rows] for name in self.movable}
        ends = {name: self._limits(name, rows, wide=name in free) for name in self.movable}
        chosen = self._choices(rows, ends)
        possible = (chosen >= 0).all(axis=1)
        kinds, which = np.unique(chosen[possible], axis=0, return_inverse=True)
        for number, kind in enumerate(kinds):
            members = np.flatnonzero(possible)[which.reshape(-1) == number]
            linear = [
                one for found, i in zip(self.alternatives, kind, strict=True) for one in found[i].linear
            ]
            for part in np.array_split(self.rng.permutation(members), 2):
                mine = {name: (low[part], high[part]) for name, (low, high) in ends.items()}
                self._assign(rows[part], linear, mine, keep)
        broken = np.asarray(~self._possible(rows))
        for name, (low, high) in ends.items():
            now = self.columns[name].to_numpy(float)[rows]
            broken |= (now < low) | (now > high)  # no way was left, and the rules hold by chance
            broken |= np.isin(now, self.grids[name].reserved)  # its text would be read as missing
        for name, values in before.items():
            self._write(name, rows[broken], values[broken])
        return np.asarray(rows[broken])

    def _write(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        column = self.columns[name].to_numpy(float).copy()
        column[rows] = values
        self.columns[name] = pd.Series(column, name=name)

    def _choices(self, rows: np.ndarray, ends: Limits) -> np.ndarray:
        """Return for each row the alternative of each rule, -1 where its categories leave none.

        One that holds already goes first, then those that the ends leave possible, at random.
        """
        part = {name: self.columns[name].iloc[rows] for name in self.names}
        low = {name: ends[name][0] if name in ends else part[name] for name in self.names}
        high = {name: ends[name][1] if name in ends else part[name] for name in self.names}
        out = np.empty((len(rows), len(self.alternatives)), dtype=np.int64)
        for i, found in enumerate(self.alternatives):
            scores = np.empty((len(rows), len(found)))
            for j, clause in enumerate(found):
                atoms: list[Node] = [("linear", one) for one in clause.linear]
                holds, reach = np.ones((2, len(rows)), dtype=bool)
                for atom in atoms:
                    rule = Rule("", frozenset(), atom)
                    holds &= ~rule.violated(part)
                    reach &= rule.possible(low, high)
                scores[:, j] = 4.0 * holds + 2.0 * reach + self.rng.random(len(rows))
                scores[:, j] += 0.0 if clause.linear else 1.0  # asks nothing of numbers
                scores[~clause.open(part, len(rows)), j] = -1.0
            out[:, i] = np.where(scores.max(axis=1) < 0, -1, scores.argmax(axis=1))
        return out

    def _assign(self, rows: np.ndarray, linear: Sequence[Linear], ends: Limits, keep: float) -> None:
        """Give the rows' columns values that meet comparisons which must all hold, column after column."""
        names = [name for name in self.names if any(name in dict(one.terms) for one in linear)]
        moved = [name for name in self.movable if name in names]
        plain = self.rng.permutation([name for name in moved if name not in self.equated]).tolist()
        low = np.column_stack([ends[n][0] if n in moved else numbers(self.columns[n])[rows] for n in names])
        high = np.column_stack([ends[n][1] if n in moved else numbers(self.columns[n])[rows] for n in names])
        system = _System.of(linear, names, [self._step(name) for name in names], np.isnan(low))
        low, high = system.narrowed(np.nan_to_num(low), np.nan_to_num(high))
        for name in (*plain, *self._by_depth([n for n in moved if n in self.equated])):
            at = names.index(name)
            now = self.columns[name].to_numpy(float)[rows]
            fits = (now >= low[:, at] - NEAR) & (now <= high[:, at] + NEAR)
            stays = np.isnan(now) | (fits & (self.rng.random(len(rows)) < keep))
            fresh = self._between(name, now, low[:, at], high[:, at], system.digits(at))
            value = np.where(stays, now, fresh)
            low[:, at] = high[:, at] = np.nan_to_num(value)
            low, high = system.narrowed(low, high)
            self._write(name, rows, value)

    def _by_depth(self, results: Sequence[str]) -> list[str]:
        """Return results of equations so that each comes after the results among its own parts."""
        parts = {one.result: {n for n, _ in one.terms} - {one.result} for one in self.equations}
        left, out = list(results), []
        while left:
            ready = [n for n in left if not parts.get(n, set()) & (set(left) - {n})] or left[:1]
            out += ready
            left = [n for n in left if n not in ready]
        return out

    def _between(
        self, name: str, now: np.ndarray, low: np.ndarray, high: np.ndarray, digits: int | None
    ) -> np.ndarray:
        """Return values of a column between two ends, from where it was no farther than a cell of drawn ones.

        Where no drawn value lies between the ends, any value there is as likely.
        """
        pool, u = self.pools[name], self.rng.random(len(low))
        first, last = np.searchsorted(pool, low - NEAR, "left"), np.searchsorted(pool, high + NEAR, "right")
        near = max(1, len(pool) // CELLS)
        first, last = (
            np.where(now > high, np.maximum(first, last - near), first),
            np.where(now < low, np.minimum(last, first + near), last),
        )
        place = np.minimum(first + (u * (last - first)).astype(np.int64), len(pool) - 1)
        seen = pool[place] if len(pool) else low
        column = self.grids[name].column
        even = low + u * (high - low)
        if column.per_unit is not None:
            first_step, last_step = _ceiling(low * column.per_unit), -_ceiling(-high * column.per_unit)
            even = column.of_steps(first_step + np.floor(u * (last_step - first_step + 1)))
        else:
            near = np.round(even, self._decimals(name))
            even = np.where((near >= low) & (near <= high), near, even)
            if digits is not None:
                near = np.round(even, digits)
                even = np.where((near >= low - NEAR) & (near <= high + NEAR), near, even)
        return np.asarray(np.where(last > first, seen, even), dtype=float)

    def _decimals(self, name: str) -> int:
        """Return decimals for a number without declared ones, a hundredth of a cell fine."""
        column = self.grids[name].column
        return max(0, math.ceil(2.0 - math.log10((column.maximum - column.minimum) / CELLS)))

    def _step(self, name: str) -> float:
        """Return the distance of the values that a column may take; 0 where any may be."""
        if name not in self.grids or not self.grids[name].edges:
            return 1.0
        return domain_of(self.grids[name].column.field).step


def _ceiling(steps: np.ndarray) -> np.ndarray:
    """Return numbers of steps rounded up, those that are whole but for the error of a float as they are."""
    near = np.round(steps)
    with np.errstate(invalid="ignore"):  # no end at all
        whole = np.abs(steps - near) <= 1e-4 + 2.0 * np.spacing(np.abs(steps))
    return np.asarray(np.where(whole, near, np.ceil(steps)))


def _at(values: Any, rows: np.ndarray) -> Any:
    return values.iloc[rows] if isinstance(values, pd.Series) else values[rows]


@dataclass(frozen=True)
class _System:
    """Comparisons that must all hold, as ends of weighted sums.

    Attributes:
        factors: "comparison column".
        low: smallest value of each sum, "record comparison": none where an operand is missing.
        high: largest.
        steps: of each column, 0 where any value may be.
    """

    factors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(
        cls, linear: Sequence[Linear], names: Sequence[str], steps: Sequence[float], missing: np.ndarray
    ) -> _System:
        """Return the comparisons over these columns; ``missing`` says where a value is, "record column"."""
        n_records = len(missing)
        factors = np.zeros((len(linear), len(names)))
        low, high = np.empty((2, n_records, len(linear)))
        for i, one in enumerate(linear):
            for name, factor in one.terms:
                factors[i, names.index(name)] = factor
            used = factors[i] != 0
            known = [step for step, name in zip(steps, used, strict=True) if name and step]
            whole = all(float(factor).is_integer() for _, factor in one.terms)
            fine = min(known) if whole and len(known) == used.sum() else NEAR * max(abs(one.constant), 1.0)
            strict = fine / 2.0 if one.operator in ("<", ">") else 0.0
            room = one.slack if one.operator == "==" else 0.0
            low[:, i] = one.constant - room + strict if one.operator in (">", ">=", "==") else -np.inf
            high[:, i] = one.constant + room - strict if one.operator in ("<", "<=", "==") else np.inf
            vacuous = missing[:, used].any(axis=1)
            low[vacuous, i], high[vacuous, i] = -np.inf, np.inf
        return cls(factors, low, high, np.array(steps))

    def digits(self, at: int) -> int | None:
        """Return the decimals of a column that follow from the others' decimals, None if they have no end."""
        rows = self.factors[self.factors[:, at] != 0]
        others = np.delete(rows, at, axis=1)
        if not len(rows) or not (rows == np.round(rows)).all():
            return None
        steps = np.delete(self.steps, at)[(others != 0).any(axis=0)]
        return round(-float(np.log10(steps.min()))) if len(steps) and steps.min() > 0 else 12

    def narrowed(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of each column, "record column", that the comparisons leave: bounds consistency."""
        low, high = low.copy(), high.copy()
        for _ in range(2 * len(self.factors) + 2):
            before = low.copy(), high.copy()
            for i, row in enumerate(self.factors):
                used = np.flatnonzero(row)
                one, other = row[used] * low[:, used], row[used] * high[:, used]
                least, most = np.minimum(one, other), np.maximum(one, other)
                top = self.high[:, i : i + 1] - (least.sum(axis=1, keepdims=True) - least)
                bottom = self.low[:, i : i + 1] - (most.sum(axis=1, keepdims=True) - most)
                first, last = bottom / row[used], top / row[used]
                first, last = np.where(row[used] > 0, first, last), np.where(row[used] > 0, last, first)
                for k, column in enumerate(used.tolist()):
                    low[:, column] = np.maximum(low[:, column], self._up(first[:, k], column))
                    high[:, column] = np.minimum(high[:, column], -self._up(-last[:, k], column))
            if np.array_equal(before[0], low) and np.array_equal(before[1], high):
                break
        return low, high

    def _up(self, values: np.ndarray, column: int) -> np.ndarray:
        step = self.steps[column]
        return _ceiling(values / step) * step if step else values
