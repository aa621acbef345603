"""The gate's three ways, on hand-made results."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import ConfigError, DataError
from synthgen.evaluation.base import HEADS, Estimate, Head, MetricResult, Status
from synthgen.release.gate.confidence_levels import false_discovery, holm, tail_of
from synthgen.release.gate.gate import Policy, Rule, Verdict, decide, load_policy, verdict_from_json

NONE = Estimate(math.nan, math.nan, math.nan, 3, "insufficient")
Estimates = dict[str, Estimate]


def about(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value, value - half, value + half, 1000)


def result(
    name: str, estimates: Estimates, groups: dict[str, Estimates] | None = None, status: Status = "ok"
) -> MetricResult:
    head: Head = name.partition("_")[0]  # type: ignore[assignment]
    return MetricResult(
        name, head, name, estimates, "lower", True, "As defined.", groups=groups or {}, status=status
    )


def harmless() -> dict[str, MetricResult]:
    attack = {"advantage": about(0.0)} | {f"beyond_claim_{r}pct": about(-0.02) for r in ("10", "1", "0.1")}
    attack |= {f"excess_{r}pct": about(0.0) for r in ("10", "1", "0.1")}
    made = [
        result("fidelity_tvd", {"excess1": about(0.01), "excess2": about(0.02)}),
        result("fidelity_rules", {"violated": about(0.0, 0.0)}),
        result("fidelity_pmse", {"effect": about(0.0, 0.001)}),
        result("fidelity_associations", {"worst": Estimate(0.1, 0.0, 0.3, 1000)}),
        result("fidelity_categories", {"lost": about(0.0), "invented": about(0.0)}),
        result("fidelity_row_checks", {"impossible": about(0.0), "broken": about(0.0)}),
        result("fidelity_discriminator", {"excess": about(0.0)}),
        result(
            "fidelity_precision_coverage",
            {"precision.ratio": about(0.97), "coverage.ratio": about(0.95)},
            {part: {"F": about(0.97), "M": about(0.95)} for part in ("precision", "coverage")},
        ),
        result("utility_tstr", {"mean.gap": about(-0.01)}),
        result("utility_brier", {"mean.gap": about(0.002)}),
        result(
            "utility_labels",
            {"worst": about(0.0)},
            {
                key: {"died": about(0.0), "readmitted": about(0.0)}
                for key in ("visible", "swapped", "expected")
            },
        ),
        result(
            "fairness_slices",
            {"worst": about(0.0)},
            {key: {"died": about(0.0), "readmitted": about(0.0)} for key in ("swapped", "expected")},
        ),
        result(
            "fairness_shift",
            {"worst": about(0.0)},
            {key: {"F": about(0.0), "M": about(0.0)} for key in ("numbers", "categories", "small")},
        ),
        result(
            "fairness_representation",
            {"worst": about(0.05)},
            {"log_ratio": {"F": about(0.05), "M": about(0)}},
        ),
        result("fairness_utility_gap", {"worst": about(0.0)}, {"gap": {"F": about(0.0), "M": about(0.0)}}),
        result(
            "fairness_equalised_odds",
            {"worst": about(0.0)},
            {rate: {"F": about(0.0), "M": about(0.01)} for rate in ("true_positive", "false_positive")},
        ),
        result(
            "fairness_calibration",
            {"worst": about(0.0), "overall": about(0.0)},
            {"ece": {"F": about(0.0), "M": about(0.01)}},
        ),
        result("fairness_fidelity", {"worst": about(0.0)}, {"excess": {"F": about(0.0), "M": about(0.01)}}),
        result("utility_regression", {"target.gap": replace(NONE, n=0, status="not-applicable")}),
        result("utility_inference", {"coverage": about(0.95)}),
        result("utility_twin_inference", {"coverage": about(0.95)}),
        result("leakage_claim", {"epsilon": about(0.9, 0.0), "looks": about(1, 0.0)}),
        result("leakage_audit", {"excess": about(-0.9, 0.0)}),
        result("leakage_nearest_neighbour", attack),
        result("leakage_density_ratio", attack),
        result("leakage_classifier", attack),
        result("leakage_strongest", attack, {"group_advantage": {"F": about(0.0), "M": about(0.0)}}),
        result("leakage_exact_values", {**attack, "worst_column": about(0.01)}),
        result("leakage_partial_match", attack),
        result("leakage_rare_values", {"rare": about(0.0)}),
        result("leakage_singling_out", {"univariate": about(0.0), "multivariate": about(0.0)}),
        result("leakage_linkability", {"linked": about(0.0)}),
        result("leakage_decimals", {"finer": about(0.0, 0.0)}),
        result("leakage_unique_parts", {key: about(0.0) for key in ("quasi", "worst", "searched")}),
        result(
            "leakage_attribute_inference",
            {key: about(0.01) for key in ("worst", "mean", "worst_quasi", "mean_quasi")},
        ),
        result(
            "leakage_near_copies",
            {key: about(0.0) for key in ("difference", "copied", "nearest", "worst_group", "holdout_excess")},
        ),
        result("leakage_exact_match", {"difference": about(0.0), "holdout_excess": about(0.0)}),
    ]
    return {one.name: one for one in made}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("default")


def judged(policy: Policy, **changes: MetricResult | None) -> Verdict:
    held = harmless() | changes
    return decide([one for one in held.values() if one is not None], policy)


def single(name: str, key: str, estimate: Estimate) -> dict[str, MetricResult]:
    kept = harmless()[name]
    return {name: replace(kept, estimates={**kept.estimates, key: estimate})}


def group(name: str, key: str, estimate: Estimate) -> dict[str, MetricResult]:
    kept = harmless()[name]
    return {name: replace(kept, groups={**kept.groups, key: {**kept.groups[key], "F": estimate}})}


def test_results_without_harm_are_released_without_a_word(policy: Policy) -> None:
    verdict = judged(policy)
    assert (verdict.verdict, verdict.reasons) == ("release", ())
    assert {head: held["status"] for head, held in verdict.heads.items()} == dict.fromkeys(HEADS, "pass")


PLAIN = [
    ("fidelity_tvd", "excess1", 0.05, 1),
    ("fidelity_tvd", "excess2", 0.05, 1),
    ("fidelity_pmse", "effect", 0.09, 1),
    ("fidelity_categories", "lost", 0.02, 1),
    ("fidelity_categories", "invented", 0.02, 1),
    ("fidelity_row_checks", "impossible", 0.1, 1),
    ("fidelity_row_checks", "broken", 0.05, 1),
    ("fidelity_discriminator", "excess", 0.4, 1),
    ("fidelity_precision_coverage", "precision.ratio", 0.8, -1),
    ("fidelity_precision_coverage", "coverage.ratio", 0.8, -1),
    ("utility_tstr", "mean.gap", -0.05, -1),
    ("utility_brier", "mean.gap", 0.05, 1),
    ("leakage_nearest_neighbour", "advantage", 0.09, 1),
    ("leakage_density_ratio", "advantage", 0.09, 1),
    ("leakage_classifier", "advantage", 0.09, 1),
    ("leakage_exact_values", "advantage", 0.09, 1),
    ("leakage_partial_match", "advantage", 0.09, 1),
]


@pytest.mark.parametrize(("name", "key", "threshold", "harm"), PLAIN)
def test_proven_harm_refuses_and_open_harm_cannot_be_signed(
    policy: Policy, name: str, key: str, threshold: float, harm: int
) -> None:
    proven = judged(policy, **single(name, key, about(threshold + 0.05 * harm)))
    straddling = judged(policy, **single(name, key, about(threshold)))
    excluded = judged(policy, **single(name, key, about(threshold - 0.011 * harm)))
    assert [proven.verdict, straddling.verdict, excluded.verdict] == ["refuse", "cannot-sign", "release"]
    assert [reason.metric for reason in proven.reasons] == [f"{name}.{key}"]
    assert proven.heads[name.partition("_")[0]]["status"] == "refuse"


@pytest.mark.parametrize(
    ("name", "key"), [("leakage_exact_match", "difference"), ("leakage_density_ratio", "beyond_claim_1pct")]
)
def test_a_bound_of_nothing_passes_as_long_as_the_interval_holds_it(
    policy: Policy, name: str, key: str
) -> None:
    assert judged(policy, **single(name, key, about(0.009))).verdict == "release"
    alone = judged(policy, **single(name, key, about(0.012)))  # 95 % alone, but one of 25 such comparisons
    assert (alone.verdict, [reason.severity for reason in alone.reasons]) == ("release", ["warn"])
    assert "harm is proven at 95 %, though not corrected for" in alone.reasons[0].message
    assert judged(policy, **single(name, key, about(0.0185))).verdict == "cannot-sign"
    assert judged(policy, **single(name, key, about(0.05))).verdict == "refuse"


@pytest.mark.parametrize(
    ("name", "key", "beyond"),
    [
        ("fairness_representation", "log_ratio", -0.5),
        ("fairness_representation", "log_ratio", 0.5),
        ("fairness_utility_gap", "gap", -0.2),
        ("fidelity_precision_coverage", "precision", 0.5),
        ("fidelity_precision_coverage", "coverage", 0.5),
    ],
)
def test_a_group_refuses_only_if_its_whole_interval_lies_beyond(
    policy: Policy, name: str, key: str, beyond: float
) -> None:
    proven = judged(policy, **group(name, key, about(beyond)))
    straddling = judged(policy, **group(name, key, about(beyond, 1.0)))
    small = judged(policy, **group(name, key, NONE))
    assert [proven.verdict, straddling.verdict, small.verdict] == ["refuse", "release", "release"]
    assert all("F" in v.reasons[0].message for v in (proven, straddling, small))
    assert [v.reasons[0].severity for v in (straddling, small)] == ["warn", "warn"]


def test_one_record_that_breaks_a_hard_rule_is_refused(policy: Policy) -> None:
    broken = Estimate(1e-5, 1e-5, 1e-5, 100_000)
    verdict = judged(policy, **single("fidelity_rules", "violated", broken))
    assert (verdict.verdict, verdict.reasons[0].metric) == ("refuse", "fidelity_rules.violated")


def test_copies_of_the_holdout_beyond_one_in_a_hundred_are_refused_if_proven(policy: Policy) -> None:
    verdicts = [
        judged(policy, **single("leakage_exact_match", "holdout_excess", about(value))).verdict
        for value in (0.005, 0.015, 0.027, 0.06)
    ]
    assert verdicts == ["release", "release", "cannot-sign", "refuse"]


def test_a_rate_that_too_few_patients_can_answer_is_said_with_how_many_it_takes(policy: Policy) -> None:
    kept = harmless()["leakage_density_ratio"]
    few = replace(
        kept,
        estimates={**kept.estimates, "beyond_claim_0.1pct": replace(NONE, n=1500)},
        details={"needs": {"beyond_claim_0.1pct": 10_000}},
    )
    verdict = judged(policy, leakage_density_ratio=few)
    assert verdict.verdict == "release"
    assert [reason.severity for reason in verdict.reasons] == ["warn"]
    assert "It takes 10,000 holdout patients, and there were 1,500." in verdict.reasons[0].message


def test_without_a_claim_nothing_is_asked_about_it(policy: Policy) -> None:
    held = harmless()
    names = ("leakage_nearest_neighbour", "leakage_density_ratio", "leakage_classifier")
    silent = {
        name: replace(
            held[name],
            estimates={
                key: replace(NONE, n=0, status="not-applicable") if key.startswith("beyond") else estimate
                for key, estimate in held[name].estimates.items()
            },
        )
        for name in names
    }
    verdict = judged(policy, **silent)
    assert (verdict.verdict, verdict.reasons) == ("release", ())
    assert verdict.heads["leakage"]["metrics"]["leakage_density_ratio.beyond_claim_1pct"]["status"] == (
        "not-applicable"
    )


def test_a_metric_without_any_answer_is_told_once(policy: Policy) -> None:
    held = harmless()["fidelity_precision_coverage"]
    estimates = dict.fromkeys(held.estimates, NONE)
    nothing = replace(held, estimates=estimates, groups={}, status="insufficient", note="Too few.")
    verdict = judged(policy, fidelity_precision_coverage=nothing)
    assert [reason.severity for reason in verdict.reasons] == ["warn"]
    assert "Too few." in verdict.reasons[0].message


def test_a_reason_states_value_interval_threshold_and_source(policy: Policy) -> None:
    message = judged(policy, **single("utility_tstr", "mean.gap", about(-0.2))).reasons[0].message
    assert all(text in message for text in ("-0.2", "-0.21 to -0.19", "at least -0.05", "Source: our policy"))


@pytest.mark.parametrize("head", HEADS)
def test_a_head_that_nobody_measured_cannot_be_signed(policy: Policy, head: str) -> None:
    gone = {name: None for name in harmless() if name.startswith(head)}
    verdict = judged(policy, **gone)
    assert verdict.verdict == "cannot-sign"
    assert verdict.heads[head]["status"] == "cannot-sign"


def test_nothing_at_all_cannot_be_signed(policy: Policy) -> None:
    assert decide([], policy).verdict == "cannot-sign"


def test_attacks_without_power_sign_nothing_but_may_still_refuse(policy: Policy) -> None:
    names = ("leakage_nearest_neighbour", "leakage_density_ratio", "leakage_classifier")
    held = harmless()
    powerless = {name: replace(held[name], status="insufficient", note="It misses copies.") for name in names}
    verdict = judged(policy, **powerless)
    assert verdict.verdict == "cannot-sign"
    assert any("It misses copies." in reason.message for reason in verdict.reasons)
    one = judged(policy, **{names[0]: powerless[names[0]]})
    assert (one.verdict, one.heads["leakage"]["status"]) == ("release", "warn")
    estimates = {**held[names[0]].estimates, "advantage": about(0.5)}
    harmful = replace(powerless[names[0]], estimates=estimates)
    assert judged(policy, **{names[0]: harmful}).verdict == "refuse"


def test_epsilon_warns_above_one_and_refuses_above_ten(policy: Policy) -> None:
    verdicts = [
        judged(policy, **single("leakage_claim", "epsilon", about(e, 0.0))) for e in (1.0, 1.5, 10.0, 10.5)
    ]
    assert [v.verdict for v in verdicts] == ["release", "release", "release", "refuse"]
    assert [[r.severity for r in v.reasons] for v in verdicts] == [[], ["warn"], ["warn"], ["refuse"]]


def test_a_warning_says_whether_the_bound_is_kept(policy: Policy) -> None:
    kept = judged(policy, **single("fidelity_pmse", "effect", about(0.05))).reasons
    assert [reason.severity for reason in kept] == ["warn"]
    assert "This is at most 0.09, but the policy warns above 0.01." in kept[0].message
    looks = judged(policy, **single("leakage_claim", "looks", about(2.0, 0.0))).reasons
    assert "The policy warns above 1." in looks[0].message
    open_one = judged(policy, **group("fairness_utility_gap", "gap", about(-0.05))).reasons
    assert "neither harm nor its absence is proven, so a warning only" in open_one[0].message


def test_an_infinite_epsilon_is_refused(policy: Policy) -> None:
    endless = Estimate(math.inf, math.inf, math.inf, 0)
    assert judged(policy, **single("leakage_claim", "epsilon", endless)).verdict == "refuse"


def test_refusal_outranks_an_open_question_and_comes_first(policy: Policy) -> None:
    changes = single("fidelity_tvd", "excess1", about(0.05)) | single("utility_tstr", "mean.gap", about(-0.3))
    verdict = judged(policy, **changes)
    assert verdict.verdict == "refuse"
    assert [reason.severity for reason in verdict.reasons] == ["refuse", "cannot-sign"]


def crowded(policy: Policy, estimate: Estimate, others: int, key: str = "gap") -> Verdict:
    crowd = {f"g{i}": about(0.0) for i in range(others)} | {"F": estimate}
    return judged(
        policy, fairness_utility_gap=replace(harmless()["fairness_utility_gap"], groups={key: crowd})
    )


def test_more_comparisons_ask_for_more_proof_of_harm_but_never_make_it_a_warning(policy: Policy) -> None:
    # 3.9 standard errors beyond the threshold: proven if it is one of few comparisons, not if one of many.
    estimate = about(-0.05 - 0.01 / 1.96 * 3.9)
    verdicts = [crowded(policy, estimate, others) for others in (2, 96, 4000)]
    assert [verdict.verdict for verdict in verdicts] == ["refuse", "cannot-sign", "cannot-sign"]
    noisy = crowded(policy, about(-0.26, 0.2), 96)  # beyond -.05, but a chance effect in so many groups
    assert (noisy.verdict, noisy.reasons[0].severity) == ("release", "warn")
    barely = crowded(policy, about(-0.0601), 4000)  # the 95 % interval lies beyond -.05
    assert (barely.verdict, barely.reasons[0].metric) == ("cannot-sign", "fairness_utility_gap.gap")


def test_many_groups_of_one_head_blind_no_other_head(policy: Policy) -> None:
    leak = single("leakage_attribute_inference", "worst", about(0.09 + 0.01 / 1.96 * 4.2))
    crowd = {f"g{i}": about(0.0) for i in range(5000)}
    many = {"fairness_utility_gap": replace(harmless()["fairness_utility_gap"], groups={"gap": crowd})}
    assert judged(policy, **leak, **many).verdict == "refuse"


def test_a_proof_names_the_interval_that_decided(policy: Policy) -> None:
    """A gap of -.106 beyond -.05 is harm, whether it is proven for one comparison or for all."""
    gap = Estimate(-0.106, -0.15, -0.062, 1000)
    open_one = judged(policy, **single("utility_tstr", "mean.gap", gap)).reasons[0]
    assert open_one.severity == "cannot-sign"
    assert "neither harm nor" not in open_one.message
    assert "harm is proven at 95 %, though not corrected for 8 comparisons of utility" in open_one.message
    # Holm's first step of the policy's .01 over four heads and eight comparisons of utility: .0003125 a side
    half = 0.044 * 3.4205 / 1.9600
    assert f"(99.938 % interval {-0.106 - half:.3g} to {-0.106 + half:.3g})" in open_one.message
    proven = judged(policy, **single("utility_tstr", "mean.gap", replace(gap, low=-0.126, high=-0.086)))
    assert "harm is proven, corrected for 8 comparisons of utility (99.938 % interval -0.141 to -0.0711)" in (
        proven.reasons[0].message
    )
    grouped = crowded(policy, gap, 96).reasons[0]
    assert "not corrected for 114 comparisons of fairness (F: 99.9956 % interval " in grouped.message


def test_holm_steps_down_and_few_degrees_of_freedom_ask_for_more() -> None:
    assert [level.proven for level in holm([0.01, 0.004, 0.3], 0.03, [1, 1, 1])] == [True, True, False]
    assert [level.proven for level in holm([0.011, 0.016, 0.3], 0.03, [1, 1, 1])] == [False] * 3
    assert [round(level.tail, 4) for level in holm([0.01, 0.004, 0.3], 0.03, [1, 1, 2])] == [
        0.015,
        0.01,
        0.015,
    ]
    assert false_discovery([0.02, 0.5, 0.01], 0.03) == [True, False, True]
    assert false_discovery([0.02, 0.5, 0.011], 0.02) == [False] * 3
    rule = Rule(metric="utility_tstr", key="k", title="t", harm="outside", threshold=0.1, source="s")
    assert tail_of(rule, about(0.11)) == pytest.approx(0.05)
    assert tail_of(rule, about(-0.11)) == pytest.approx(0.05)
    few = replace(about(0.14), freedom=4.0)
    assert tail_of(rule, few) == pytest.approx(2 * 1.9e-4, rel=0.05)  # 11.1 of Student's with 4
    assert tail_of(rule, about(0.14)) < 1e-13


def test_generators_without_harm_are_refused_at_most_as_often_as_the_policy_says(policy: Policy) -> None:
    """2,000 draws at the border of zero harm, where the error is largest.

    At a true rate of .01 more than 35 refusals have a probability under .001; the seed is fixed. Without
    the correction the rate is about .05 and the test fails, as its second half shows.
    """
    rng = np.random.default_rng(0)
    keys = [
        (f"leakage_{a}", f"beyond_claim_{r}pct")
        for a in ("nearest_neighbour", "density_ratio")
        for r in (10, 1)
    ]
    keys.append(("leakage_exact_match", "difference"))

    def refusals(wrongful: float) -> int:
        loose = policy.model_copy(update={"wrongful_refusal": wrongful})
        count = 0
        for _ in range(2000):
            held = harmless()
            for name, key in keys:
                drawn = about(float(rng.normal(0, 0.01 / 1.96)))
                held[name] = replace(held[name], estimates={**held[name].estimates, key: drawn})
            count += decide(list(held.values()), loose).verdict == "refuse"
        return count

    assert refusals(policy.wrongful_refusal) <= 35
    assert refusals(0.9) > 35


def test_generators_without_harm_are_doubted_at_most_as_often_as_the_policy_says(policy: Policy) -> None:
    """600 draws at the border of zero harm; figures of the same patients rise together.

    At a true rate of .02 more than 30 doubts have a probability under 1e-5; the seed is fixed. Without the
    correction the rate is .1 and more, as the second half shows.
    """
    rng = np.random.default_rng(0)
    names = ("nearest_neighbour", "density_ratio", "classifier")
    keys = [(f"leakage_{a}", f"beyond_claim_{r}pct") for a in names for r in (10, 1)]
    keys += [("leakage_exact_match", "difference"), ("leakage_near_copies", "copied")]

    def doubts(wrongful: float) -> int:
        loose = policy.model_copy(update={"wrongful_doubt": wrongful, "wrongful_refusal": 1e-4})
        count = 0
        for _ in range(600):
            held, shared = harmless(), rng.normal()
            for name, key in keys:
                limit = next(r.threshold for r in policy.rules if r.name == f"{name}.{key}") or 0.0
                drawn = about(limit + 0.01 / 1.96 * float(0.6 * shared + 0.8 * rng.normal()))
                held[name] = replace(held[name], estimates={**held[name].estimates, key: drawn})
            count += decide(list(held.values()), loose).verdict != "release"
        return count

    assert doubts(policy.wrongful_doubt) <= 30
    assert doubts(0.9) > 40


def test_a_verdict_survives_json(policy: Policy) -> None:
    verdict = judged(policy, **single("utility_tstr", "mean.gap", NONE))
    text = json.dumps(verdict.to_json(), allow_nan=False)
    assert verdict_from_json(json.loads(text)).to_json() == verdict.to_json()
    with pytest.raises(DataError):
        verdict_from_json({"verdict": "release"})


def test_every_threshold_of_the_default_policy_names_its_source(policy: Policy) -> None:
    assert {rule.metric.partition("_")[0] for rule in policy.rules if rule.decides} == set(HEADS)
    assert all(rule.source for rule in policy.rules)
    assert policy.wrongful_refusal == 0.01
    assert policy.residual_risk == 0.09
    assert set(policy.margins()) == {
        "fairness_representation.log_ratio",
        "fairness_utility_gap.gap",
        "fairness_equalised_odds.true_positive",
        "fairness_equalised_odds.false_positive",
        "fairness_calibration.ece",
        "fairness_fidelity.excess",
        *(f"fairness_shift.{key}" for key in ("numbers", "categories", "small")),
        *(f"fairness_slices.{key}" for key in ("swapped", "expected")),
        *(f"utility_labels.{key}" for key in ("visible", "swapped", "expected")),
        "utility_regression.gap",
        "utility_tstr.gap",
        "leakage_strongest.group_advantage",
        "fidelity_precision_coverage.precision",
        "fidelity_precision_coverage.coverage",
    }
    assert "at least -0.05" in policy.thresholds()["utility_tstr.mean.gap"]


def test_an_unknown_policy_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="default"):
        load_policy("lenient")


WRONG = [
    ("metric: fidelity_tvd", "metric: fidelity_tv", "fidelity_tv"),
    ("key: excess1", "kee: excess1", "kee"),
    ("threshold: 0.05", 'threshold: "0.05"', "threshold"),
    ("wrongful_refusal: 0.01", "wrongful_refusal: 1.5", "wrongful_refusal"),
    ("key: excess2", "key: excess1", "two rules"),
]


@pytest.mark.parametrize(("old", "new", "named"), WRONG)
def test_a_wrong_policy_file_is_refused_with_its_place(
    tmp_path: Path, policy: Policy, old: str, new: str, named: str
) -> None:
    from synthgen.release.gate import policy as module

    text = (Path(module.__file__).parents[1] / "policies" / "default.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_policy(str(path)) == policy
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=named) as caught:
        load_policy(str(path))
    assert "mine.yaml" in caught.value.where


def test_a_key_that_a_metric_does_not_give_is_a_config_error(policy: Policy) -> None:
    rule = policy.rules[0].model_copy(update={"key": "excess3"})
    with pytest.raises(ConfigError, match="excess1"):
        decide(list(harmless().values()), policy.model_copy(update={"rules": (rule,)}))
