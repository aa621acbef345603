"""The report's charts: what each shows, drawn into axes that `_figures.picture` makes."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synthgen.evaluate._base import Estimate
from synthgen.release._words import percent, rounded
from synthgen.release.report._figures import ALARM, GRID, INK, MUTED, REAL, SYNTHETIC, picture
from synthgen.release.report._html import Html
from synthgen.release.report._marginals import Marginal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 7.4
MOST_LABELS = 9
MOST_COLUMNS = 30
MOST_GROUPS = 40
MOST_LETTERS = 46
"""Of a group's name, which may be a crossing of two."""


def marginal_chart(name: str, synthetic: Marginal, real: Marginal | None) -> Html:
    """Return one column's shares: synthetic filled, real (internal edition only) as an outline or a tick."""
    category = synthetic.kind == "category"
    rows = len(_merged(synthetic, real)[0]) if category else 6
    against = ", beside the real ones" if real else ""
    alt = f"Shares of the synthetic records by {synthetic.column}{against}."

    def draw(axes: Axes) -> None:
        (_bars if category else _histogram)(axes, synthetic, real)

    return picture(name, alt, draw, width=3.5, height=0.55 + 0.2 * max(rows, 4))


def _bars(axes: Axes, synthetic: Marginal, real: Marginal | None) -> None:
    labels, shares, others = _merged(synthetic, real)
    places = list(range(len(labels)))
    axes.barh(places, shares, height=0.62, color=SYNTHETIC)
    if others is not None:
        axes.barh(places, others, height=0.86, facecolor="none", edgecolor=REAL, linewidth=1.3)
    axes.set_yticks(places, [_short(label) for label in labels])
    axes.invert_yaxis()
    _percent_axis(axes, max([*shares, *(others or [])], default=1.0))


def _histogram(axes: Axes, synthetic: Marginal, real: Marginal | None) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.stairs(synthetic.shares, synthetic.edges, fill=True, color=SYNTHETIC)
    if real is not None:
        axes.stairs(real.shares, real.edges, color=REAL, linewidth=1.5, baseline=None)
    axes.grid(visible=True, axis="y")
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.tick_params(axis="y", labelcolor=MUTED)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if synthetic.kind == "date":
        origin = datetime.date.fromisoformat(synthetic.origin)
        axes.set_xticks(*_calendar(origin, synthetic.edges[0], synthetic.edges[-1]))


def _calendar(origin: datetime.date, low: float, high: float) -> tuple[list[float], list[str]]:
    """Return ticks at the start of years, or of months where there are fewer than three years."""
    first, last = (origin + datetime.timedelta(days=math.ceil(edge)) for edge in (low, high))
    years = range(first.year, last.year + 1)
    starts = [datetime.date(year, 1, 1) for year in years]
    text = "%Y"
    if last.year - first.year < 3:
        starts, text = [datetime.date(year, month, 1) for year in years for month in range(1, 13)], "%Y-%m"
    starts = [start for start in starts if first <= start <= last]
    starts = starts[:: max(1, math.ceil(len(starts) / 5))]
    return [float((start - origin).days) for start in starts], [f"{start:{text}}" for start in starts]


def _merged(synthetic: Marginal, real: Marginal | None) -> tuple[list[str], list[float], list[float] | None]:
    """Return the largest synthetic categories, the others as one, and missing values last."""
    order = sorted(range(len(synthetic.labels)), key=lambda i: -synthetic.shares[i])
    kept = sorted(order[:MOST_LABELS]) if len(order) > MOST_LABELS + 1 else list(range(len(order)))
    rest = [i for i in range(len(order)) if i not in kept]

    def shares(marginal: Marginal) -> list[float]:
        tail = [sum(marginal.shares[i] for i in rest)] if rest else []
        return [*(marginal.shares[i] for i in kept), *tail, *([marginal.missing] if has_missing else [])]

    has_missing = synthetic.missing > 0 or (real is not None and real.missing > 0)
    labels = [synthetic.labels[i] for i in kept]
    labels += [f"({len(rest)} others)"] if rest else []
    labels += ["(missing)"] if has_missing else []
    return labels, shares(synthetic), None if real is None else shares(real)


def distance_chart(name: str, columns: Sequence[Mapping[str, Any]]) -> Html:
    """Return total variation by column: synthetic as bars, what real data reach as a tick."""
    shown = list(columns)[:MOST_COLUMNS]
    labels = [" x ".join(row["columns"]) for row in shown]

    def draw(axes: Axes) -> None:
        places = list(range(len(shown)))
        axes.barh(places, [row["tvd"] for row in shown], height=0.6, color=SYNTHETIC, label="synthetic")
        ceiling = [row["ceiling"] for row in shown]
        axes.plot(ceiling, places, "|", color=REAL, ms=11, mew=2.4, label="real against real (ceiling)")
        axes.set_yticks(places, [_short(label, 34) for label in labels])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("total variation from the holdout (0: equal)")
        _legend(axes)

    alt = f"Total variation of {len(shown)} columns from the holdout, beside what real data reach."
    return picture(name, alt, draw, width=WIDE, height=1.0 + 0.24 * len(shown))


def pair_chart(
    name: str, pairs: Mapping[str, tuple[Estimate, Estimate]], *, axis: str, names: tuple[str, str]
) -> Html:
    """Return real against synthetic for each learner or figure, with 95 % intervals."""

    def draw(axes: Axes) -> None:
        for i, (real, synthetic) in enumerate(pairs.values()):
            label = i == 0
            _interval(axes, real, i - 0.16, REAL, "D", names[0] if label else "")
            _interval(axes, synthetic, i + 0.16, SYNTHETIC, "o", names[1] if label else "")
        axes.set_yticks(range(len(pairs)), [key.replace("_", " ") for key in pairs])
        axes.set_ylim(len(pairs) - 0.4, -0.6)
        axes.set_xlabel(axis)
        _legend(axes)

    alt = "; ".join(
        f"{key}: real {rounded(r.value)}, synthetic {rounded(s.value)}" for key, (r, s) in pairs.items()
    )
    return picture(name, f"{axis}. {alt}.", draw, width=WIDE, height=1.1 + 0.42 * len(pairs))


def forest_chart(
    name: str, rows: Mapping[str, Estimate], *, axis: str, centre: float, margins: Sequence[float] = ()
) -> Html:
    """Return estimates with 95 % intervals about a centre line; dashed lines mark the policy's margins.

    What rests on too few patients is named on the axis and not drawn: a point there would mislead.
    """
    shown = dict(list(rows.items())[:MOST_GROUPS])

    def draw(axes: Axes) -> None:
        axes.axvline(centre, color=INK, linewidth=1.0)
        for margin in margins:
            axes.axvline(margin, color=ALARM, linewidth=1.0, linestyle=(0, (4, 3)))
        for i, estimate in enumerate(shown.values()):
            _interval(axes, estimate, i, SYNTHETIC, "o", "")
        names = [
            f"{_short(key, MOST_LETTERS)}{'' if _known(e) else ' (too few)'}" for key, e in shown.items()
        ]
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel(axis, loc="right")

    alt = "; ".join(f"{key} {rounded(e.value) if _known(e) else 'too few'}" for key, e in shown.items())
    return picture(name, f"{axis}: {alt}.", draw, width=WIDE, height=0.9 + 0.25 * len(shown))


def _known(estimate: Estimate) -> bool:
    numbers = (estimate.value, estimate.low, estimate.high)
    return estimate.status == "ok" and all(math.isfinite(number) for number in numbers)


def _interval(axes: Axes, estimate: Estimate, place: float, colour: str, marker: str, label: str) -> None:
    if not _known(estimate):
        return
    axes.plot(
        [estimate.low, estimate.high], [place, place], color=colour, linewidth=2.0, solid_capstyle="round"
    )
    axes.plot([estimate.value], [place], marker, color=colour, ms=6.5, label=label or "_")


def _legend(axes: Axes) -> None:
    if not axes.get_legend_handles_labels()[0]:  # a group chart in which no group could be judged
        return
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, handlelength=1.4, borderaxespad=0.2)


def _percent_axis(axes: Axes, largest: float) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_xlim(0, max(largest * 1.08, 1e-6))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if largest > 0.05 else 1))
    axes.spines["left"].set_color(GRID)


def _short(text: str, most: int = 22) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def missing_note(synthetic: Marginal, real: Marginal | None) -> str:
    """Return the share of missing values of a number, which its histogram does not draw."""
    if synthetic.kind == "category" or not (synthetic.missing or (real and real.missing)):
        return ""
    if real is None:
        return f"missing {percent(synthetic.missing)}"
    return f"missing {percent(synthetic.missing)}, real {percent(real.missing)}"
