"""One small picture a column: its shares, as SVG that is written here, not by a drawing library.

The public report is made anew wherever a bundle is verified and compared byte by byte. So its pictures may
depend on nothing but the shares: no fonts, no library's version, no machine. All numbers have two decimals.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

from synthgen.release.plain_language import percent
from synthgen.release.report.html import Html, element
from synthgen.release.report.marginals import Marginal

MOST_LABELS = 9
MOST_LETTERS = 22
WIDTH, ROW, LETTER = 252.0, 14.4, 4.9
"""Width of a picture, height of a row and mean width of a letter, in the picture's units."""
AXIS = 16.0
"""Height of the line of numbers below the picture."""
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def marginal_chart(synthetic: Marginal, real: Marginal | None) -> Html:
    """Return one column's shares: synthetic filled, real (internal edition only) as an outline."""
    against = ", beside the real ones" if real else ""
    alt = f"Shares of the synthetic records by {synthetic.column}{against}."
    if synthetic.kind == "category":
        return _bars(alt, *_merged(synthetic, real))
    return _histogram(alt, synthetic, real)


def missing_note(synthetic: Marginal, real: Marginal | None) -> str:
    """Return the share of missing values of a number, which its histogram does not draw."""
    if synthetic.kind == "category" or not (synthetic.missing or (real and real.missing)):
        return ""
    if real is None:
        return f"missing {percent(synthetic.missing)}"
    return f"missing {percent(synthetic.missing)}, real {percent(real.missing)}"


def _bars(alt: str, labels: Sequence[str], shares: Sequence[float], others: Sequence[float] | None) -> Html:
    """Return horizontal bars, one a category."""
    short = [text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…" for text in labels]
    left = 8.0 + LETTER * max((len(text) for text in short), default=0)
    largest = max([*shares, *(others or []), 1e-6]) * 1.02
    scale, bottom = (WIDTH - left - 12.0) / largest, ROW * max(len(labels), 2)
    parts = []
    for tick in _ticks(0.0, largest, most=4):
        x = left + scale * tick
        parts += [_line(x, 0.0, x, bottom), _text(x, bottom + 11.0, _percent(tick), "middle")]
    for i, (label, share) in enumerate(zip(short, shares, strict=True)):
        y = ROW * i
        parts.append(_text(left - 5.0, y + 10.0, label, "end", strong=True))
        parts.append(_rectangle(left, y + 2.7, scale * share, ROW - 5.4, "synthetic"))
        if others is not None:
            parts.append(_rectangle(left, y + 1.0, scale * others[i], ROW - 2.0, "real"))
    numbers = ", ".join(f"{label} {percent(share)}" for label, share in zip(labels, shares, strict=True))
    return _picture(f"{alt} {numbers}.", parts, height=bottom + AXIS)


def _histogram(alt: str, synthetic: Marginal, real: Marginal | None) -> Html:
    """Return vertical bars, one a bin, that touch."""
    left, bottom = 30.0, ROW * 6
    largest = max([*synthetic.shares, *(real.shares if real else ()), 1e-6]) * 1.05
    low, high = synthetic.edges[0], synthetic.edges[-1]
    across, up = (WIDTH - left - 14.0) / ((high - low) or 1.0), bottom / largest
    places = [left + across * (edge - low) for edge in synthetic.edges]
    parts = []
    for tick in _ticks(0.0, largest, most=4):
        y = bottom - up * tick
        parts += [_line(left, y, WIDTH - 14.0, y), _text(left - 5.0, y + 3.0, _percent(tick), "end")]
    parts.append(_stairs(places, [bottom - up * share for share in synthetic.shares], bottom, "synthetic"))
    if real is not None:
        parts.append(_stairs(places, [bottom - up * share for share in real.shares], bottom, "real"))
    if synthetic.kind == "date":
        marks = _calendar(datetime.date.fromisoformat(synthetic.origin), low, high)
    else:
        marks = [(tick, _number(tick)) for tick in _ticks(low, high, most=5)]
    parts += [_text(left + across * (place - low), bottom + 12.0, text, "middle") for place, text in marks]
    ends = f"{_number(low)} to {_number(high)}" if synthetic.kind != "date" else "over its public range"
    return _picture(f"{alt} {len(synthetic.shares)} bins, {ends}.", parts, height=bottom + AXIS)


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


def _ticks(low: float, high: float, *, most: int) -> list[float]:
    """Return at most ``most + 1`` round numbers from low to high.

    Example:
        >>> _ticks(0.0, 0.5, most=4), _ticks(17.5, 100.5, most=5)
        ([0.0, 0.2, 0.4], [20.0, 40.0, 60.0, 80.0, 100.0])
    """
    width = (high - low) / most
    if not width > 0 or not math.isfinite(width):
        return [low]
    power = 10.0 ** math.floor(math.log10(width))
    step = next(power * one for one in STEPS if power * one >= width * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _calendar(origin: datetime.date, low: float, high: float) -> list[tuple[float, str]]:
    """Return starts of years, or of months where there are fewer than three years: days and words."""
    first, last = (origin + datetime.timedelta(days=math.ceil(edge)) for edge in (low, high))
    years = range(first.year, last.year + 1)
    starts = [datetime.date(year, 1, 1) for year in years]
    text = "%Y"
    if last.year - first.year < 3:
        starts, text = [datetime.date(year, month, 1) for year in years for month in range(1, 13)], "%Y-%m"
    starts = [start for start in starts if first <= start <= last]
    starts = starts[:: max(1, math.ceil(len(starts) / 5))]
    return [(float((start - origin).days), f"{start:{text}}") for start in starts]


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.6g}"


def _picture(alt: str, parts: Sequence[Html], *, height: float) -> Html:
    box = f"0 0 {_at(WIDTH)} {_at(height)}"
    return element(
        "svg", element("title", alt), *parts, viewBox=box, role="img", aria_label=alt, class_="panel"
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> Html:
    return element("line", x1=_at(x1), y1=_at(y1), x2=_at(x2), y2=_at(y2), class_="grid")


def _text(x: float, y: float, text: str, anchor: str, *, strong: bool = False) -> Html:
    return element("text", text, x=_at(x), y=_at(y), text_anchor=anchor, class_="ink" if strong else "muted")


def _rectangle(x: float, y: float, width: float, height: float, class_: str) -> Html:
    return element("rect", x=_at(x), y=_at(y), width=_at(width), height=_at(height), class_=class_)


def _stairs(places: Sequence[float], tops: Sequence[float], bottom: float, class_: str) -> Html:
    """Return the outline of bars that touch, from the bottom and back to it."""
    steps = [f"M{_at(places[0])} {_at(bottom)}"]
    for right, top in zip(places[1:], tops, strict=True):
        steps.append(f"V{_at(top)}H{_at(right)}")
    return element("path", d="".join(steps) + f"V{_at(bottom)}", class_=class_)


def _at(value: float) -> str:
    """Return a coordinate with two decimals at most.

    Example:
        >>> _at(3.14159), _at(2.0), _at(-0.001)
        ('3.14', '2', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
