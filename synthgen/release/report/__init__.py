"""The report: one HTML file that needs no network and no script, in two editions.

The internal edition is the steward's and holds every figure. The public edition is made from
`PublicContent`, a privacy record and a synthetic table, so it cannot hold a figure of a real record.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from synthgen.files.safe_files import write_bytes
from synthgen.release.plain_language import rounded
from synthgen.release.record.record import record_digest
from synthgen.release.report.content import Edition, PublicContent, ReportContent
from synthgen.release.report.html import Html, element, join, paragraph
from synthgen.release.report.internal_edition import internal_band, internal_sections
from synthgen.release.report.marginals import Marginal, marginals
from synthgen.release.report.public_edition import Section, edition_badge, public_band, public_sections

__all__ = [
    "Marginal",
    "PublicContent",
    "ReportContent",
    "marginals",
    "render_public",
    "render_report",
    "write_report",
]

_WARNING = {
    "internal": "This edition holds figures computed from real patients. It must stay with the steward.",
    "public": (
        "This edition holds declared parameters and synthetic records, and one word computed from real "
        "patients: the verdict."
    ),
}


def write_report(path: Path, content: ReportContent, *, edition: Edition) -> None:
    """Write one edition; a crash leaves the old file or none.

    Args:
        path: the HTML file.
        content: what the steward sees; the public edition is made from its public part alone.
        edition: ``internal`` or ``public``.

    Raises:
        ValueError: the public edition was asked for and there is no privacy record.
        OperationError: the disk refused.
    """
    text = render_report(content, edition=edition)
    write_bytes(path, text.encode(), "write the report", private=edition == "internal")


def render_report(content: ReportContent, *, edition: Edition) -> str:
    """Return one edition as HTML. See `write_report`."""
    if edition == "public":
        return render_public(content.public())
    record = content.record
    made_by = "another generator" if record is None else f"generator {record['plan']['generator']}"
    cohort = "" if record is None else f"cohort {record['ledger']['cohort']}, "
    subtitle = f"{cohort}{made_by}, {len(content.table):,} synthetic records"
    return _page(
        content.title,
        subtitle,
        edition="internal",
        digest="" if record is None else record_digest(record),
        band=internal_band(content),
        sections=internal_sections(content),
    )


def render_public(content: PublicContent) -> str:
    """Return the public edition as HTML.

    Guarantee:
        post-processing of the privacy record and of synthetic records; reads nothing else.
    """
    record = content.record
    basic = record["registry"]["basic"]
    subtitle = (
        f"cohort {record['ledger']['cohort']}, generator {record['plan']['generator']}, "
        f"{len(content.table):,} synthetic records, epsilon {rounded(record['claim']['epsilon'])}, "
        f"published {basic['publication_date']}"
    )
    return _page(
        basic["name"],
        subtitle,
        edition="public",
        digest=record_digest(record),
        band=public_band(record),
        sections=public_sections(content),
    )


def _page(
    title: str, subtitle: str, *, edition: Edition, digest: str, band: Html, sections: list[Section]
) -> str:
    css = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    head = join(
        [
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_policy(css, edition)),
            element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name_="color-scheme", content="light dark"),
            element("meta", name_="synthgen-edition", content=edition),
            element("meta", name_="synthgen-record", content=digest),
            element("title", f"{title}: {edition} report"),
            element("style", Html(css)),
        ],
        between="\n",
    )
    links = [element("li", element("a", heading, href=f"#{anchor}")) for anchor, heading, _ in sections]
    body = join(
        [
            element("a", "Skip to the report", href="#main", class_="skip"),
            element(
                "header",
                edition_badge(edition),
                element("h1", title),
                paragraph(subtitle, class_="subtitle"),
                paragraph(_WARNING[edition], class_=f"edition {edition}"),
            ),
            element("nav", element("ul", *links), aria_label="Sections"),
            element("main", band, *(_section(*section) for section in sections), id="main"),
            element(
                "footer", paragraph(f"Made by synthgen. Privacy record: {digest or 'none'}", class_="hash")
            ),
        ],
        between="\n",
    )
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _policy(css: str, edition: str) -> str:
    """Return what a browser may do with a page: show its text, its own style and its pictures, no more.

    The internal edition's charts, which matplotlib draws, carry styles of their own.
    """
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    style = f"'sha256-{digest}'" if edition == "public" else "'unsafe-inline'"
    rest = "script-src 'none'; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; style-src {style}; img-src data:; {rest}"


def _section(anchor: str, heading: str, body: Html) -> Html:
    title = element("h2", heading, id=f"{anchor}-title")
    return element("section", title, body, id=anchor, aria_labelledby=f"{anchor}-title")
