"""The fairness table that a steward reads in ten seconds."""

from __future__ import annotations

import math

import pytest

from synthgen.evaluate._base import Estimate, MetricResult, result
from synthgen.release.report._fairness import fairness_grid, word

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


def test_without_groups_or_margins_there_is_no_table() -> None:
    assert fairness_grid([made()], {"fairness_utility_gap.gap": (-0.05,)}) == ""
    assert fairness_grid([made(A=FEW)], {}) == ""
