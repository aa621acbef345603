"""What a policy allows beyond the shipped one is said rule by rule; what it forbids beyond it is not."""

from __future__ import annotations

from typing import Any

import pytest

from synthgen.release.gate.looser_policy import looser
from synthgen.release.gate.policy import Policy, is_shipped, load_policy


def changed(name: str, **update: Any) -> Policy:
    shipped = load_policy("default")
    rules = tuple(rule.model_copy(update=update) if rule.name == name else rule for rule in shipped.rules)
    return shipped.model_copy(update={"name": "ours", "rules": rules})


LOOSER = [
    ("fidelity_tvd.excess1", {"threshold": 0.3}, "threshold 0.3 instead of 0.05"),
    ("utility_tstr.mean.gap", {"threshold": -0.2}, "threshold -0.2 instead of -0.05"),
    ("fairness_representation.log_ratio", {"threshold": 1.0}, "threshold 1 instead of 0.22314"),
    ("fidelity_tvd.excess1", {"threshold": None, "warn": 0.05}, "threshold none instead of 0.05"),
    ("leakage_claim.epsilon", {"warn": None}, "warn none instead of 1"),
    ("utility_tstr.mean.gap", {"passes": "harm-unproven"}, "passes harm-unproven instead of harm-excluded"),
    ("utility_tstr.mean.gap", {"unproven": "warn"}, "unproven warn instead of cannot-sign"),
    ("fairness_utility_gap.gap", {"missing": "silent"}, "missing silent instead of warn"),
    ("leakage_exact_match.difference", {"decides": True}, "decides True instead of False"),
    ("fidelity_tvd.excess1", {"harm": "below"}, "harm below instead of above"),
]


@pytest.mark.parametrize(("name", "update", "said"), LOOSER)
def test_each_way_of_allowing_more_is_named(name: str, update: dict[str, Any], said: str) -> None:
    policy = changed(name, **update)
    assert looser(policy, load_policy("default")) == (f"{name}: {said}",)
    assert not is_shipped(policy)


STRICTER = [
    ("fidelity_tvd.excess1", {"threshold": 0.01}),
    ("utility_tstr.mean.gap", {"threshold": -0.01}),
    ("fairness_utility_gap.gap", {"unproven": "cannot-sign"}),
    ("leakage_exact_match.difference", {"passes": "harm-excluded"}),
    ("fairness_utility_gap.gap", {"missing": "cannot-sign"}),
]


@pytest.mark.parametrize(("name", "update"), STRICTER)
def test_what_is_stricter_is_no_deviation(name: str, update: dict[str, Any]) -> None:
    assert looser(changed(name, **update), load_policy("default")) == ()


def test_a_rule_that_is_gone_and_more_proof_are_named() -> None:
    shipped = load_policy("default")
    few = shipped.model_copy(update={"rules": shipped.rules[1:], "wrongful_refusal": 1e-4})
    gone, proof = looser(few, shipped)
    assert gone.startswith(f"{shipped.rules[0].name}: no rule (")
    assert proof == "wrongful_refusal 0.0001 instead of 0.01: harm takes more proof"
    assert looser(shipped, shipped) == ()
    assert is_shipped(shipped)
