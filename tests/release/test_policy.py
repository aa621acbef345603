"""Policies: the shipped one is whole, a wrong one names its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthgen import plugins
from synthgen.errors import ConfigError
from synthgen.evaluate._base import HEADS
from synthgen.release.policy import load_policy

RULE = """name: mine
title: A hospital's own
wrongful_refusal: 0.01
rules:
  - metric: leakage_claim
    key: epsilon
    title: epsilon
    harm: above
    threshold: 3
    source: the ethics board
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_default_policy_decides_on_every_head_and_names_a_source_for_every_threshold() -> None:
    policy = load_policy("default")
    assert {rule.metric.partition("_")[0] for rule in policy.rules if rule.decides} == set(HEADS)
    assert all(rule.source for rule in policy.rules)
    assert {rule.metric for rule in policy.rules} == {
        name for name in plugins.names("synthgen.evaluate") if name.partition("_")[0] in HEADS
    }
    assert policy.residual_risk == 0.09


def test_a_policy_says_its_bounds_in_words_and_numbers() -> None:
    policy = load_policy("default")
    assert policy.thresholds()["utility_tstr.mean.gap"] == "at least -0.05"
    assert policy.thresholds()["leakage_claim.epsilon"] == "at most 10, warns above 1"
    assert policy.margins() == {
        "fairness_representation.log_ratio": (-0.22314, 0.22314),
        "fairness_utility_gap.gap": (-0.05,),
    }


def test_a_policy_is_read_from_a_path(tmp_path: Path) -> None:
    policy = load_policy(str(write(tmp_path, RULE)))
    assert policy.rules[0].name == "leakage_claim.epsilon"
    assert policy.residual_risk is None


def test_an_unknown_name_lists_the_shipped_policies() -> None:
    with pytest.raises(ConfigError, match="default"):
        load_policy("defualt")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("threshold: 3", "treshold: 3", "treshold"),
        ("threshold: 3", 'threshold: "3"', "threshold"),
        ("harm: above", "harm: beneath", "harm"),
        ("metric: leakage_claim", "metric: leakage_clam", "leakage_clam"),
        ("    key: epsilon\n", "", "key or groups"),
        ("    threshold: 3\n", "", "threshold, or warn"),
        ("wrongful_refusal: 0.01", "wrongful_refusal: 1", "wrongful_refusal"),
        ("harm: above\n    threshold: 3", "harm: outside\n    threshold: 0", "above 0"),
    ],
)
def test_a_wrong_policy_is_a_config_error_with_file_line_and_key(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = write(tmp_path, RULE.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_policy(path)
    assert words in str(caught.value)
    assert caught.value.where.startswith(str(path))


def test_two_rules_for_one_figure_are_refused(tmp_path: Path) -> None:
    again = RULE.partition("rules:\n")[2]
    with pytest.raises(ConfigError, match="two rules"):
        load_policy(write(tmp_path, RULE + again))
