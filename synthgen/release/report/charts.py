"""The report's charts: what each shows, drawn into axes that `figures.picture` makes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synthgen.evaluation.base import Estimate
from synthgen.printable import printable
from synthgen.release.plain_language import rounded
from synthgen.release.report.figures import ALARM, INK, REAL, SYNTHETIC, picture
from synthgen.release.report.html import Html

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 7.4
MOST_COLUMNS = 30
MOST_GROUPS = 40
MOST_LETTERS = 46
"""Of a group's name, which may be a crossing of two."""


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


def _short(text: str, most: int = 22) -> str:
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"
