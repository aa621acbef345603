"""Build HTML from values: all text is escaped (`synthgen.printable.html`), unless it is `Html` already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synthgen.printable import html

_VOID = frozenset({"meta", "br", "hr", "img"})


class Html(str):
    """Markup that may stand in a page as it is."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str) -> Html:
    """Return an element; plain text among its children and all attributes are escaped.

    Args:
        name: tag name.
        children: text or `Html`.
        attributes: by name; a trailing underscore is cut off (``class_``), others become hyphens.

    Example:
        >>> element("td", "a < b", class_="number")
        '<td class="number">a &lt; b</td>'
    """
    names = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    written = "".join(f' {key}="{html(value)}"' for key, value in names.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str], *, between: str = "") -> Html:
    """Return the parts one after the other, text escaped."""
    return Html(between.join(part if isinstance(part, Html) else html(part) for part in parts))


def paragraph(*children: str, class_: str = "") -> Html:
    """Return a paragraph."""
    return element("p", *children, class_=class_) if class_ else element("p", *children)


def listing(items: Sequence[str]) -> Html:
    """Return a bulleted list."""
    return element("ul", *(element("li", item) for item in items))


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()
) -> Html:
    """Return a table with caption, column heads and row heads, inside a frame that scrolls by itself.

    Args:
        caption: what the table shows.
        head: column heads.
        rows: cells; the first of each row is its head.
        numbers: positions of columns to be set flush right.
    """
    right = set(numbers)

    def css(i: int) -> dict[str, str]:
        return {"class_": "number"} if i in right else {}

    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, **css(i)) for i, cell in enumerate(row[1:], start=1)),
        )
        for row in rows
    ]
    heads = [element("th", text, scope="col", **css(i)) for i, text in enumerate(head)]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *body),
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, str, str]]) -> Html:
    """Return large figures side by side: (term, value, style), style empty or ``alarm``."""
    cells = [
        element("div", element("dt", term), element("dd", value), class_=f"fact {style}".strip())
        for term, value, style in pairs
    ]
    return element("dl", *cells, class_="facts")


def badge(text: str, style: str) -> Html:
    """Return a short word set off by colour and by its text."""
    return element("span", text, class_=f"badge {style}")
