r"""Text that others wrote, made safe to show: on a terminal, in Markdown, in HTML, as JSON.

Names of files, columns and categories, values of a config, a reason in a record: any of them may hold line
ends, escape sequences, bidirectional controls or marks that are not seen, and so forge a line of output,
hide one, or turn text round. What the command line prints, whatever it is, passes `printable` line by line
(`synthgen.cli.terminal`); the report passes `html`, and the data card `markdown` and `code`.

Escapes are written as in Python: ``\n``, ``\x1b``, ``\u202e``; a byte of a file name that is not UTF-8 as
``\xff``. Letters of all scripts stay as they are. A backslash in the text stays single, so an escape is for
reading and is not meant to be reversed.
"""

from __future__ import annotations

import html as _html
import json
import re
import shlex
import unicodedata
from typing import Any

__all__ = ["code", "html", "json_text", "markdown", "printable", "printable_lines", "seen", "shell", "yaml"]

MOST_MARKS = 4
"""Combining marks in a row that are shown; a pile of more runs into the lines above and below."""
_UNSEEN = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}.union(
        range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)
    )
)
"""Code points that print nothing although Unicode counts them among letters, marks or symbols."""
_GAP = re.compile(r"(?<=\S) {4,}(?=\S)|(?<=\S) {2,}\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""Return a text as one line that shows all that is in it and does nothing to the terminal.

    Escaped are control characters (C0, DEL, C1), so also ANSI sequences, line and paragraph separators,
    bidirectional controls, zero-width and other unseen characters, tags, private-use and unassigned code
    points, lone surrogates, spaces other than the plain one, combining marks beyond `MOST_MARKS` in a row,
    and gaps of spaces inside the text that could push the rest to a line of its own.

    Example:
        >>> print(printable("a\x1b[2K\nverified: yes"), printable("Müller\u202e"), printable("x\udcff"))
        a\x1b[2K\nverified: yes Müller\u202e x\xff
    """
    return _GAP.sub(_shown_gap, _shown(text))


def printable_lines(text: str) -> str:
    r"""Return a text of several lines, each `printable` but for its gaps, which set columns in a help text.

    Whoever gives several lines answers for where they end: a name within them is made `printable` first.

    Example:
        >>> print(printable_lines("one\x07\n  two"))
        one\x07
          two
    """
    return "\n".join(_shown(line) for line in text.split("\n"))


def shell(text: str) -> str:
    r"""Return a text as one word of a POSIX shell, `printable`; for commands that a person may copy.

    Example:
        >>> print(shell("plain.csv"), shell("$(rm x).csv"), shell("a\n'b"))
        plain.csv '$(rm x).csv' $'a\n\'b'
    """
    if printable(text) == text:
        return shlex.quote(text)
    quoted = printable(text.replace("\\", "\\\\").replace("'", "\\'"))
    return f"$'{quoted}'"


def html(text: str) -> str:
    r"""Return a text that may stand in HTML, as content or as an attribute in quotes.

    Example:
        >>> print(html('<b title="x">\u202e'))
        &lt;b title=&quot;x&quot;&gt;\u202e
    """
    return _html.escape(printable(text), quote=True)


def markdown(text: str) -> str:
    r"""Return a text that may stand in a line of Markdown: no markup, no HTML, no link follows from it.

    It keeps to CommonMark and to the tables and links of GitHub's Markdown, also at the start of a line.

    Example:
        >>> print(markdown("<script>*a* | b"), markdown("1. https://x.org"), markdown("a-b = 1"))
        \<script\>\*a\* \| b 1\. https\://x.org a-b = 1
    """
    shown = re.sub(r"([\\`*\[\]<>&|~!$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", printable(text))
    shown = re.sub(r"\b(https?|ftp):", r"\1\\:", shown, flags=re.IGNORECASE)
    shown = re.sub(r"\b(www)\.", r"\1\\.", shown, flags=re.IGNORECASE)
    shown = re.sub(r"(?<=[\w.+-])@(?=\w)", r"\\@", shown)
    shown = re.sub(r"^( *)([-+=#])", r"\1\\\2", shown)
    return re.sub(r"^( *\d+)([.)])", r"\1\\\2", shown)


def code(text: str, *, in_table: bool = False) -> str:
    r"""Return a text as a code span of Markdown, in which nothing is markup, whatever backticks it holds.

    Args:
        text: such as the name of a column.
        in_table: whether it stands in a cell of a table, where GitHub reads ``|`` first.

    Example:
        >>> print(code("a`b"), code("a|b", in_table=True), code("a b"))
        ``a`b`` `a\|b` `a b`
    """
    shown = printable(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    padded = f" {shown} " if shown.startswith("`") or shown.endswith("`") else shown or " "
    whole = f"{fence}{padded}{fence}"
    return whole.replace("|", r"\|") if in_table else whole


def json_text(
    value: Any, *, indent: int | None = None, sort_keys: bool = False, ascii_only: bool = True
) -> str:
    r"""Return JSON that is valid everywhere and may be shown on a terminal; reading it gives the same texts.

    Only lone surrogates, the bytes of a file name that are no UTF-8, change: no JSON text can hold them, so
    they are written as `printable` shows them.

    Args:
        value: JSON values, without NaN and infinity.
        indent: spaces a level; None is one line.
        sort_keys: whether keys are sorted.
        ascii_only: write all but ASCII as ``\uXXXX``; else letters of all scripts stay as they are.

    Raises:
        ValueError: a number is NaN or infinite.

    Example:
        >>> print(json_text({"a": "\x7f\u202eü"}, ascii_only=False))
        {"a": "\u007f\u202eü"}
    """
    written = json.dumps(
        _encodable(value), indent=indent, sort_keys=sort_keys, ensure_ascii=ascii_only, allow_nan=False
    )
    if written.isascii() and "\x7f" not in written:
        return written
    return "".join(sign if sign == "\n" or _is_seen(sign) else _json_escape(sign) for sign in written)


def yaml(text: str) -> str:
    r"""Return YAML in which all that a person would not see stands as an escape; it reads back the same.

    Args:
        text: YAML whose values and keys that are not `seen` are in double quotes.

    Example:
        >>> print(yaml('name: "M\u00fcller\u202e"'))
        name: "Müller\u202e"
    """
    if text.replace("\n", "").isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(sign if sign == "\n" or _is_seen(sign) else _escaped(sign) for sign in text)


def seen(text: str) -> bool:
    """Return whether a person sees every character of a text.

    Example:
        >>> seen("Müller, 5 µg/l"), seen("M\u200buller")
        (True, False)
    """
    return all(map(_is_seen, text))


def _is_seen(sign: str) -> bool:
    return sign.isprintable() and ord(sign) not in _UNSEEN


def _shown(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    marks, shown = 0, []
    for sign in text:
        marks = marks + 1 if unicodedata.category(sign) in ("Mn", "Me") else 0
        shown.append(sign if _is_seen(sign) and marks <= MOST_MARKS else _escaped(sign))
    return "".join(shown)


def _escaped(sign: str) -> str:
    number = ord(sign)
    if sign in _SHORT:
        return _SHORT[sign]
    if 0xDC80 <= number <= 0xDCFF:  # a byte that was no UTF-8, by the file system's `surrogateescape`
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _shown_gap(match: re.Match[str]) -> str:
    return r"\x20" * len(match[0])


def _json_escape(sign: str) -> str:
    number = ord(sign)
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def _encodable(value: Any) -> Any:
    """Return a JSON value whose texts, keys included, hold no lone surrogate."""
    if isinstance(value, str):
        return _SURROGATE.sub(lambda match: _escaped(match[0]), value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(inner) for inner in value]
    return value
