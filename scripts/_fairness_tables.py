"""The fairness tables of `docs/evaluation.md`, from the rows that `bench_fairness.py` keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
FIGURES = {"log_ratio": "share kept", "gap": "AUC", "true_positive": "ill found", "ece": "calibration"}
AUTO = {("diabetes130", 10.0): "diffusion"}  # what `auto` chooses there; elsewhere here `marginal`


def tables(rows: Sequence[Row]) -> Iterable[str]:
    """Yield the lines: for each cohort and epsilon the worst group of each arm, then race by group."""
    cells = sorted({(row["data"], row["epsilon"]) for row in rows})
    for data, epsilon in cells:
        yield from _worst([r for r in rows if (r["data"], r["epsilon"]) == (data, epsilon)], data, epsilon)
    for data, epsilon in cells:
        of = [r for r in rows if (r["data"], r["epsilon"], r["generator"]) == (data, epsilon, "marginal")]
        yield from _by_group(of, data, epsilon)


def arms_of(rows: Sequence[Row]) -> list[tuple[str, float, str]]:
    """Return generator, share and balance of each arm, `marginal` first and a generator's arms together."""
    found = {(row["generator"], row["share"], row["balance"]) for row in rows}
    return sorted(found, key=lambda arm: (arm[0] != "marginal", arm))


def _worst(rows: Sequence[Row], data: str, epsilon: float) -> Iterable[str]:
    chosen = AUTO.get((data, epsilon), "marginal")
    yield f"\n**{data}, epsilon {epsilon:g}** (`auto` takes `{chosen}`): the worst group of each figure\n"
    yield f"| generator | fits | {' | '.join(FIGURES.values())} | AUC lost, all | tvd2 |"
    yield "|---" * (len(FIGURES) + 4) + "|"
    for generator, share, balance in arms_of(rows):
        arm = [r for r in rows if (r["generator"], r["share"], r["balance"]) == (generator, share, balance)]
        name = f"`{generator}`" + (" groups" if share else "") + (f" balance {balance}" if balance else "")
        figures = ["by design" if balance and key == "log_ratio" else worst_of(arm, key) for key in FIGURES]
        whole = [r for r in arm if r["group"] == "all"]
        means = [sum(r[key] for r in whole) / len(whole) for key in ("auc_gap", "tvd2")]
        costs = [_signed(means[0], 3), _signed(means[1], 3).removeprefix("+")]
        yield f"| {name} | {len(whole)} | {' | '.join(figures)} | {' | '.join(costs)} |"


def worst_of(rows: Sequence[Row], key: str) -> str:
    """Return the group that is farthest from 0 over the fits (root mean square), and its least and largest.

    Bold where the 95 % interval leaves out 0 in more than half of the fits.
    """
    found = values_of(rows, key)
    if not found:
        return "too few"
    worst = max(found, key=lambda group: math.fsum(v * v for v, _ in found[group]) / len(found[group]))
    text = f"{worst.partition('=')[2]} {span(found[worst])}"
    return f"**{text}**" if sum(abs(v) > half for v, half in found[worst]) > len(found[worst]) / 2 else text


def values_of(rows: Sequence[Row], key: str) -> dict[str, list[tuple[float, float]]]:
    """Return by group the figure and the half width of its interval, one a fit, where there is one."""
    out: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.get(key) is not None:
            out.setdefault(row["group"], []).append(tuple(row[key]))
    return out


def span(values: Sequence[tuple[float, float]]) -> str:
    """Return the least and the largest of the fits, signed; one number where they round alike."""
    ends = [_signed(end, 2) for end in (min(v for v, _ in values), max(v for v, _ in values))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]}..{ends[1]}"


def _by_group(rows: Sequence[Row], data: str, epsilon: float) -> Iterable[str]:
    arms = arms_of(rows)
    names = [
        "groups" if share else f"balance {balance}" if balance else "plain" for _, share, balance in arms
    ]
    heads = [*(f"found: {name}" for name in names), *(f"share: {n}" for n in names if "balance" not in n)]
    yield f"\n**{data}, epsilon {epsilon:g}, `marginal`, race by group**\n"
    yield f"| group | found +- | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 2) + "|"
    by_arm = [[r for r in rows if (r["generator"], r["share"], r["balance"]) == arm] for arm in arms]
    for group in dict.fromkeys(row["group"] for row in rows if row["group"].startswith("race=")):
        held = [[row for row in arm if row["group"] == group] for arm in by_arm]
        found = [values_of(part, "true_positive").get(group) for part in held]
        shares = [
            values_of(part, "log_ratio").get(group)
            for part, name in zip(held, names, strict=True)
            if "balance" not in name
        ]
        half = _signed(found[0][0][1], 2).removeprefix("+") if found[0] else ""
        cells = [span(values) if values else "too few" for values in (*found, *shares)]
        yield f"| {group.partition('=')[2]} | {half} | {' | '.join(cells)} |"


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
