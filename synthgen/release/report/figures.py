"""Pictures as inline SVG: drawn by matplotlib, coloured by the page, the same bytes every time.

Text stays text, so that it can be read aloud, searched and scaled. Colours are the page's CSS
variables, so that print and dark mode need no second picture. Ids are made unique in the page.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synthgen.printable import html
from synthgen.release.report.html import Html

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette for colour-blind readers; each colour goes with a shape or a line of its own.
INK, MUTED, GRID = "#111318", "#5b6472", "#d9dde3"
SYNTHETIC, REAL, ALARM = "#0072b2", "#d55e00", "#b3261e"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SYNTHETIC: "--synthetic",
    REAL: "--real",
    ALARM: "--alarm",
}
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_STYLE: Any = {  # matplotlib's stubs ask for a mapping of literal keys
    "svg.fonttype": "none",
    "svg.hashsalt": "synthgen",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.parse_math": False,
}


def picture(name: str, alt: str, draw: Callable[[Axes], None], *, width: float, height: float) -> Html:
    """Return one picture.

    Args:
        name: unique in the page, in letters, digits and hyphens.
        alt: what it shows, for those who do not see it.
        draw: draws into the axes.
        width: in inches.
        height: in inches.
    """
    _load()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _inline(stream.getvalue(), name, alt, width)


def _load() -> None:
    """Load matplotlib without the current folder's ``matplotlibrc``, which may be anybody's, or a pipe."""
    if "matplotlib" in sys.modules or not os.path.lexists("matplotlibrc"):
        return
    with contextlib.chdir(os.path.abspath(os.sep)):
        importlib.import_module("matplotlib")


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change a report
        matplotlib.rcParams.update(_STYLE)
        yield


def _inline(svg: str, name: str, alt: str, width: float) -> Html:
    """Turn a stand-alone SVG file into an element of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\b(id|clip-path)="(url\(#)?', lambda m: f"{m[0]}{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#(?!" + re.escape(name) + r")", f"url(#{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", rf"font: \1 {_FONT}", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    opening = re.match(r"<svg[^>]*>", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    if opening is None or box is None:
        raise ValueError("Expected matplotlib to write an svg element with a viewBox.")
    head = f'<svg {box[0]} role="img" aria-label="{html(alt)}" style="max-width: {width:g}in">'
    return Html(head + f"<title>{html(alt)}</title>" + svg[opening.end() :].strip())
