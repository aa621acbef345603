"""The fairness table that a steward reads in ten seconds."""

from __future__ import annotations

import math

import pytest

from synthgen.evaluation.base import Estimate, MetricResult, result
from synthgen.release.report.fairness import fairness_grid, word

FEW = Estimate(math.nan, math.nan, math.nan, n=3, status="insufficient")


def made(**groups: Estimate) -> MetricResult:
    return result("fairness_utility_gap", "Gap", "As defined.", {}, groups={"gap": groups})


@pytest.mark.parametrize(
    ("value", "half", "harm", "margin", "said"),
    [
        (-0.2, 0.1, "below", -0.05, "harm"),
        (-0.1, 0.1, "below", -0.05, "open"),
        (-0.01, 0.2, "below", -0.05, "ok"),
        (0.3, 0.05, "outside", 0.2, "harm"),
        (-0.3, 0.05, "outside", 0.2, "harm"),
        (-0.3, 0.2, "outside", 0.2, "open"),
        (0.2, 0.05, "above", 0.09, "harm"),
        (0.1, 0.05, "above", 0.09, "open"),
    ],
)
def test_a_word_says_on_which_side_the_interval_lies(
    value: float, half: float, harm: str, margin: float, said: str
) -> None:
    assert word(Estimate(value, value - half, value + half, n=99), margin, harm) == said


def test_the_worst_group_comes_first_and_too_few_is_no_pass() -> None:
    good, bad = Estimate(0.0, -0.01, 0.01, n=99), Estimate(-0.3, -0.4, -0.2, n=99)
    shown = fairness_grid([made(A=good, B=FEW, C=bad)], {"fairness_utility_gap.gap": (-0.05,)})
    assert [shown.index(f">{group}<") for group in "CBA"] == sorted(shown.index(f">{g}<") for g in "ABC")
    assert "too few" in shown.split("<p")[0]
    assert shown.count('class="badge ok"') == 1
    assert "harm -0.30" in shown


def counted(shown: str, text: str) -> str:
    return shown.partition(f"<dt>{text}")[2].partition("<dd>")[2].partition("<")[0]


def test_every_group_and_crossing_has_a_row_or_is_counted() -> None:
    """Crossings beyond the shown ones were once dropped without a word."""
    good, bad = Estimate(0.0, -0.01, 0.01, n=99), Estimate(-0.3, -0.4, -0.2, n=99)
    groups = {f"race={i}": good for i in range(40)} | {"sex=F": FEW}
    crossings = {f"race={i} & sex=F": bad if i < 30 else FEW if i < 35 else good for i in range(40)}
    made_of = [made(**groups, **crossings)]
    shown = fairness_grid(made_of, {"fairness_utility_gap.gap": (-0.05,)}, protected=("race", "sex", "age"))
    rows = shown.count('<th scope="row">')
    assert rows == 41 + 20
    assert "without a row: 20 (10 harm, 5 too few, 5 ok)" in shown
    counts = {"harm": 30, "open": 0, "too few": 6, "ok": 45}
    assert {text: counted(shown, text) for text in counts} == {t: f"{n} of 81" for t, n in counts.items()}
    assert "left out by <code>evaluate.groups</code>: age." in shown


def test_a_group_with_one_unanswered_question_is_not_counted_as_ok() -> None:
    good = Estimate(0.0, -0.01, 0.01, n=99)
    shares = result("fairness_representation", "Share", "As defined.", {}, groups={"log_ratio": {"A": good}})
    margins = {"fairness_utility_gap.gap": (-0.05,), "fairness_representation.log_ratio": (0.2,)}
    shown = fairness_grid([made(A=FEW), shares], margins)
    assert (counted(shown, "too few"), counted(shown, "ok")) == ("1 of 1", "0 of 1")


def test_without_groups_or_margins_there_is_no_table() -> None:
    assert fairness_grid([made()], {"fairness_utility_gap.gap": (-0.05,)}) == ""
    assert fairness_grid([made(A=FEW)], {}) == ""
