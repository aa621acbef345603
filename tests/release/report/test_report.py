"""The report: what the public edition cannot hold, and what both must."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import SyntheticTable
from synthgen.evaluation.base import Estimate, MetricResult
from synthgen.release.report import (
    PublicContent,
    ReportContent,
    marginals,
    render_public,
    render_report,
    write_report,
)

MakeContent = Callable[..., ReportContent]
VOID = {"meta", "br", "hr"}


class Page(HTMLParser):
    """Collects what the tests ask about, and the tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module", params=["internal", "public"])
def edition(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pages(make_content: MakeContent) -> dict[str, str]:
    content = make_content()
    return {name: render_report(content, edition=name) for name in ("internal", "public")}  # type: ignore[arg-type]


def test_changing_every_real_figure_leaves_the_public_edition_byte_identical(
    make_content: MakeContent,
) -> None:
    public = render_report(make_content(0.0), edition="public")
    assert render_report(make_content(0.037), edition="public") == public
    assert render_report(make_content(0.0, results=(), real=(), ingest={}), edition="public") == public


def test_the_internal_edition_does_change_with_the_real_figures(
    make_content: MakeContent, pages: dict[str, str]
) -> None:
    assert render_report(make_content(0.037), edition="internal") != pages["internal"]


def test_public_content_has_no_field_for_a_real_figure() -> None:
    assert {field.name: field.type for field in fields(PublicContent)} == {
        "record": "Mapping[str, Any]",
        "table": "SyntheticTable",
    }


def test_no_sentinel_of_the_sensitive_parts_is_in_the_public_edition(
    make_content: MakeContent, pages: dict[str, str]
) -> None:
    for sentinel in ("101,766", "71,518", "2,273", "0.652", "under-represented", "AUC on average", "14,300"):
        assert sentinel in pages["internal"]
        assert sentinel not in pages["public"]


def test_a_page_is_well_formed_and_stands_alone(edition: str, pages: dict[str, str]) -> None:
    page = Page(pages[edition])
    assert page.open == []
    assert page.wrong == []
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("img")
    assert "://" not in pages[edition]
    assert "@import" not in pages[edition]
    assert all((a["href"] or "").startswith("#") for tag in ("a", "use") for a in page.all(tag))
    assert len(pages[edition].encode()) < 2_000_000


def test_every_id_is_unique_and_every_reference_has_its_target(edition: str, pages: dict[str, str]) -> None:
    page = Page(pages[edition])
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for tag in ("a", "use") for a in page.all(tag)}
    targets |= set(re.findall(r"url\(#([^)]*)\)", pages[edition]))
    assert targets
    assert targets <= set(ids)


def test_a_page_can_be_read_without_seeing_it(edition: str, pages: dict[str, str]) -> None:
    page = Page(pages[edition])
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table")) > 0
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert all(svg.get("aria-label") and svg.get("role") == "img" for svg in page.all("svg"))
    assert page.all("svg")


def test_pages_are_the_same_bytes_every_time(make_content: MakeContent, pages: dict[str, str]) -> None:
    assert render_report(make_content(), edition="internal") == pages["internal"]
    assert render_report(make_content(), edition="public") == pages["public"]


def test_a_category_with_markup_is_escaped(edition: str, pages: dict[str, str]) -> None:
    assert "A &amp; &lt;b&gt;" in pages[edition]
    assert "A & <b>" not in pages[edition]
    assert "<b>race" not in pages[edition].replace("<b>race</b>", "")


def test_a_row_level_unit_and_a_counted_size_are_set_off(
    record: dict[str, Any], table: SyntheticTable
) -> None:
    plain = render_public(PublicContent(record, table))
    assert "ONE ROW" not in plain
    claim = {**record["claim"], "unit": "row", "max_records": 1}
    assert 'class="fact alarm"' in render_public(PublicContent({**record, "claim": claim}, table))
    counted = {**record["claim"], "patients_counted": True, "replace_one_epsilon": 2.125}
    page = render_public(PublicContent({**record, "claim": counted}, table))
    assert "NOT protected" in page
    assert "2.125" in page


@pytest.mark.parametrize("word", ["release", "refuse", "cannot-sign"])
def test_the_verdict_and_an_override_are_in_words(
    record: dict[str, Any], table: SyntheticTable, word: str
) -> None:
    made = {"reason": "Needed for <teaching>.", "who": "Dr A", "when": "2026-03-01"}
    verdict = {**record["verdict"], "verdict": word, "override": made}
    page = render_public(PublicContent({**record, "verdict": verdict}, table))
    assert {"release": "Release", "refuse": "Refuse", "cannot-sign": "Cannot sign"}[word] in page
    assert "Needed for &lt;teaching&gt;." in page
    assert "outside the guarantee" in page


def test_a_table_of_another_generator_has_an_internal_edition_only(make_content: MakeContent) -> None:
    content = make_content(record=None, claim=(3.0, 1e-5))
    assert "synthgen cannot prove it" in render_report(content, edition="internal")
    with pytest.raises(ValueError, match="privacy record"):
        render_report(content, edition="public")
    unclaimed = replace(content, claim=None)
    assert "no privacy guarantee" in render_report(unclaimed, edition="internal")


def test_a_head_without_results_says_that_it_cannot_be_signed(make_content: MakeContent) -> None:
    page = render_report(make_content(results=()), edition="internal")
    assert page.count("A missing head cannot be signed") == 4


def test_the_internal_file_is_for_its_owner_alone_and_replaces_the_old_one(
    make_content: MakeContent, tmp_path: Path, pages: dict[str, str]
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    write_report(path, make_content(), edition="internal")
    assert path.read_text(encoding="utf-8") == pages["internal"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_marginals_are_weighted_shares_that_sum_to_one(table: SyntheticTable) -> None:
    weights = np.random.default_rng(0).uniform(0.1, 1.0, len(table))
    for marginal in marginals(table.schema, table.frame, weights):
        assert sum(marginal.shares) + marginal.missing == pytest.approx(1.0)
    sex = next(m for m in marginals(table.schema, table.frame, weights) if m.column == "sex")
    naive = pd.Series(weights).groupby(table.frame["sex"].astype(str).to_numpy()).sum() / weights.sum()
    assert dict(zip(sex.labels, sex.shares, strict=True)) == pytest.approx(naive.to_dict())


def test_bins_never_cut_a_whole_number_apart(table: SyntheticTable) -> None:
    age = next(m for m in marginals(table.schema, table.frame) if m.column == "age")
    assert all(edge % 1 == 0.5 for edge in age.edges)
    assert (age.edges[0], len(age.shares)) == (17.5, len(age.edges) - 1)


def test_an_empty_table_has_a_report(table: SyntheticTable, record: dict[str, Any]) -> None:
    empty = SyntheticTable(table.schema, table.frame.iloc[:0])
    assert "0 records" in render_public(PublicContent(record, empty))


def test_the_steward_sees_each_measure_with_its_own_axis_and_the_public_sees_none(
    make_content: MakeContent,
) -> None:
    def about(value: float) -> Estimate:
        return Estimate(value, value - 0.01, value + 0.01, 900)

    def found(name: str, keys: dict[str, float], **more: Any) -> MetricResult:
        estimates = {key: about(value) for key, value in keys.items()}
        head = name.partition("_")[0]
        return MetricResult(name, head, name, estimates, "lower", True, "As defined.", **more)  # type: ignore[arg-type]

    pairs = [{"columns": ["age", "race"], "synthetic": 41.5, "real": 2.1}]
    groups = {part: {"sex=F": about(0.91)} for part in ("precision", "coverage")}
    results = [
        found("fidelity_pmse", {"mean": 4.7}, details={"worst_pairs": pairs}),
        found(
            "fidelity_precision_coverage", {"coverage.real": 0.97, "coverage.synthetic": 0.9}, groups=groups
        ),
        found("utility_brier", {"forest.real": 0.2, "forest.synthetic": 0.21}),
        found("utility_tstr", {"forest.real": 0.7, "forest.synthetic": 0.69}),
    ]
    content = make_content(results=results)
    page = render_report(content, edition="internal")
    for text in (
        "age x race",
        "41.5",
        "Brier score on real patients (0: best)",
        "area under the ROC curve, on real patients",
        "other real records",
        "fidelity_precision_coverage: coverage, by group",
        "precision within the group, synthetic / real; 1: as real records",
    ):
        assert page.count(text) >= 1, text
        assert text not in render_report(content, edition="public")
