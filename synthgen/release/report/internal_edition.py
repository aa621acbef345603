"""The steward's sections: reasons and the four heads, with every figure. None of it may leave."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from synthgen.evaluation.base import HEADS, Estimate, Head, MetricResult
from synthgen.release.plain_language import plain_odds, rounded
from synthgen.release.report.contact_sheets import real_sheets
from synthgen.release.report.content import ReportContent
from synthgen.release.report.evidence_basis import basis
from synthgen.release.report.fairness import fairness_grid
from synthgen.release.report.html import Html, badge, element, join, paragraph, table
from synthgen.release.report.pictures import pictures
from synthgen.release.report.public_edition import (
    Section,
    audited,
    band,
    budget,
    constraints,
    data,
    guarantee,
    images,
    limits,
    override,
    panels,
    removed,
    verify,
    weighed,
)

QUESTIONS: dict[Head, str] = {
    "fidelity": "Do the synthetic records look like the real ones?",
    "utility": "Will a model trained on them work on real patients?",
    "fairness": "For whom will it not?",
    "leakage": "What do they give away about who took part?",
}
WORST = 10
_SEVERITY = {"refuse": "refuse", "cannot-sign": "cannot-sign", "warn": "warn"}


def internal_sections(content: ReportContent) -> list[Section]:
    """Return the body of the internal edition."""
    record, synthetic = content.record, content.table
    sections: list[Section] = []
    if record is None:
        sections.append(("guarantee", "The guarantee", _foreign(content.claim)))
    else:
        sections += [("guarantee", "The guarantee", guarantee(record)), *audited(record)]
        sections.append(("budget", "What was spent, and how", budget(record)))
    sections += [(head, head.capitalize(), _head(head, content)) for head in HEADS]
    if content.basis:
        sections.append(("basis", "What the evaluation rests on", basis(content.basis)))
    drawn = panels(weighed(synthetic), content.real)
    sections.append(("data", "The synthetic records", join([data(synthetic), constraints(synthetic)])))
    sections += images(synthetic)
    if content.sheets is not None:
        sections.append(("real-images", "Real images, for the steward alone", real_sheets(content.sheets)))
    sections.append(("marginals", "Columns", drawn))
    if content.ingest:
        sections.append(("ingest", "What ingestion counted", _ingest(content.ingest)))
    if record is not None:
        sections.append(("removed", "What the generator never saw", removed(record)))
        sections.append(("limits", "Limits", limits(record, linked=synthetic.schema.unit.is_linked)))
        sections.append(("verify", "How to reproduce and verify", verify(record)))
    return sections


def internal_band(content: ReportContent) -> Html:
    """Return the verdict with its reasons by head, the gravest first."""
    order = {"refuse": 0, "cannot-sign": 1, "warn": 2}
    groups = []
    for head in HEADS:
        reasons = [reason for reason in content.verdict.reasons if reason.head == head]
        reasons.sort(key=lambda reason: order.get(reason.severity, 3))
        items = [
            element(
                "li", badge(reason.severity, _SEVERITY.get(reason.severity, "plain")), " ", reason.message
            )
            for reason in reasons
        ]
        body = element("ul", *items) if items else paragraph("Nothing to report.")
        groups.append(element("div", element("h3", head.capitalize()), body))
    known = set(HEADS)
    others = [paragraph(r.message) for r in content.verdict.reasons if r.head not in known]
    made = Html("") if content.record is None else override(content.record)
    return band(content.verdict.verdict, made, element("div", *groups, class_="reasons"), *others)


def _foreign(claim: tuple[float, float] | None) -> Html:
    """Say what is known of the guarantee of another generator's table."""
    if claim is None:
        text = "This table came with no privacy guarantee. That attacks find little is no evidence of safety."
        return paragraph(text, class_="alarm")
    words = plain_odds(*claim)
    said = f"The table's maker claims epsilon {rounded(claim[0])} at delta {rounded(claim[1])}."
    return join([paragraph(f"{said} synthgen cannot prove it.", class_="alarm"), paragraph(words)])


def _head(head: Head, content: ReportContent) -> Html:
    results = [result for result in content.results if result.head == head]
    question = paragraph(QUESTIONS[head], class_="question")
    if not results:
        return join(
            [question, paragraph("Nothing was measured. A missing head cannot be signed.", class_="alarm")]
        )
    charts = join(chart for result in results for chart in pictures(result, content.margins))
    worst = [_worst_pairs(result) for result in results]
    told = [_about(result) for result in results]
    protected = content.table.schema.with_role("protected")
    glance = fairness_grid(content.results, content.margins, protected=protected)
    return join(
        [
            question,
            glance if head == "fairness" else Html(""),
            _numbers(head, results, content),
            charts,
            *worst,
            *told,
        ]
    )


def _numbers(head: Head, results: Sequence[MetricResult], content: ReportContent) -> Html:
    """Return every estimate of a head with interval, threshold and status."""
    severities = {reason.metric: reason.severity for reason in content.verdict.reasons}
    rows = []
    for result in results:
        if not result.estimates:
            rows.append([result.title, "", "", "", "", badge(result.status, "plain")])
        for key, estimate in result.estimates.items():
            name = f"{result.name}.{key}"
            severity = severities.get(name, "")
            style = _SEVERITY.get(severity, "plain")
            threshold = content.thresholds.get(name, "reported only")
            if not severity:
                severity, style = _measured(estimate, gated=name in content.thresholds)
            status = badge(severity, style)
            rows.append([f"{result.title}: {key}", *_figures(estimate), threshold, status])
    adaptive = (content.basis.get("accesses", {}).get("number") or 1) > 1 or (
        content.record is not None and content.record["evaluation"]["adaptive"]
    )
    interval = "95 % interval (adaptive: may not cover)" if adaptive else "95 % interval"
    columns = ["measure", "value", interval, "patients", "threshold", "status"]
    return table(f"{head.capitalize()}: all figures", columns, rows, numbers=(1, 2, 3))


def _measured(estimate: Estimate, *, gated: bool) -> tuple[str, str]:
    """Return the word and style of a figure that the gate gives no reason about."""
    if estimate.status != "ok":
        return estimate.status, "plain"
    return ("pass", "ok") if gated else ("measured", "plain")


def _figures(estimate: Estimate) -> list[str]:
    if not math.isfinite(estimate.value):
        return ["none", "none", f"{estimate.n:,}"]
    patients = f"{estimate.n:,}" if estimate.n else ""
    if estimate.low == estimate.high:
        return [rounded(estimate.value), "exact", patients]
    if not math.isfinite(estimate.low):
        return [rounded(estimate.value), "none claimed", patients]
    return [_three(estimate.value), f"{_end(estimate.low)} to {_end(estimate.high)}", patients]


def _end(value: float) -> str:
    """Return an interval's end: a digit is enough of one that is almost 0."""
    if abs(value) < 1e-9:
        return "0"
    return _three(value) if abs(value) >= 0.0005 else f"{value:.1g}"


def _three(value: float) -> str:
    return f"{value:.3f}" if 0.0005 <= abs(value) < 10 else rounded(value)


def _worst_pairs(result: MetricResult) -> Html:
    """Return the pairs of columns that tell synthetic from real best, where a result lists them."""
    listed = result.details.get("worst_pairs")
    rows = [
        [" x ".join(row["columns"]), _three(row["synthetic"]), _three(row["real"])]
        for row in (listed if isinstance(listed, Sequence) else [])
        if {"columns", "synthetic", "real"} <= set(row)
    ]
    caption = f"{result.title}: the pairs that fit worst"
    columns = ["pair", "synthetic", "real against real"]
    return table(caption, columns, rows[:WORST], numbers=(1, 2)) if rows else Html("")


def _about(result: MetricResult) -> Html:
    """Return a result's definition, control and note."""
    lines = [element("b", result.title), f": {result.definition}"]
    control = result.details.get("control")
    if isinstance(control, Mapping):
        told = ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in control.items())
        lines.append(f" Positive control: {told}.")
    body = [paragraph(*lines, class_="definition")]
    if result.note:
        body.append(paragraph(result.note, class_="warning"))
    return join(body)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _three(value) if isinstance(value, (int, float)) else str(value)


def _ingest(counts: Mapping[str, Any]) -> Html:
    """Return the counts of ingestion: whole numbers first, then by column."""
    whole = [[key, f"{value:,}"] for key, value in counts.items() if isinstance(value, int)]
    parts = [table("Read", ["what", "count"], whole, numbers=(1,))] if whole else []
    for key, held in counts.items():
        if isinstance(held, Mapping) and held:
            rows = [[str(name), _counted(value)] for name, value in held.items()]
            parts.append(table(f"{key.capitalize()}, by column", ["column", "count"], rows, numbers=(1,)))
    return join(parts)


def _counted(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner:,}" for key, inner in value.items() if isinstance(inner, int))
    return f"{value:,}" if isinstance(value, int) else str(value)
