"""What every metric of images keeps, whatever it measures. A new one is found by its file name."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from synthgen.data.images import SyntheticImages
from synthgen.evaluation.base import Claim, Inputs, MetricResult
from synthgen.evaluation.catalogue import load_metric, metric_names
from synthgen.evaluation.learners import imaging
from synthgen.evaluation.results_json import results_from_json, results_to_json
from synthgen.evaluation.run import evaluate_all, is_of_images
from synthgen.release.gate.gate import decide, load_policy
from tests.support.phantom_cohorts import cohort, synthetic

NAMES = [name for name in metric_names() if is_of_images(name)]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "STEPS", 20)  # 16x16 ellipses need no more


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    train, holdout, reference = (cohort(260, seed=i, images=(1, 2), prefix=f"secret{i}-") for i in (1, 2, 3))
    return Inputs(train.schema, train, holdout, reference, synthetic(300), "ill", ("sex",), Claim(1.0, 1e-5))


def run(name: str, inputs: Inputs) -> MetricResult:
    result: MetricResult = load_metric(name).evaluate(inputs, rng=np.random.default_rng(0))
    return result


def test_every_head_has_a_metric_of_images() -> None:
    assert {name.partition("_")[0] for name in NAMES} == {"fidelity", "utility", "fairness", "leakage"}


@pytest.mark.parametrize("name", NAMES)
def test_a_result_keeps_the_contract(name: str, inputs: Inputs) -> None:
    before = [part.pixels.copy() for part in (inputs.train, inputs.holdout, inputs.synthetic)]  # type: ignore[attr-defined]
    result = run(name, inputs)
    assert (result.name, result.head, result.status) == (name, name.partition("_")[0], "ok"), result.note
    assert result.title
    assert result.definition
    assert result.estimates
    for estimate in (e for family in (result.estimates, *result.groups.values()) for e in family.values()):
        if estimate.status == "ok":
            claimed = math.isfinite(estimate.low) or math.isfinite(estimate.high)
            assert not claimed or estimate.low <= estimate.value <= estimate.high
            assert math.isfinite(estimate.value)
        else:
            assert math.isnan(estimate.value)
    first = results_to_json([result])
    assert first == results_to_json([run(name, replace(inputs))])
    text = json.dumps(first, allow_nan=False)
    assert "secret" not in text
    assert json.loads(json.dumps(results_to_json(results_from_json(json.loads(text))))) == json.loads(text)
    after = (inputs.train, inputs.holdout, inputs.synthetic)
    assert all(np.array_equal(a, b.pixels) for a, b in zip(before, after, strict=True))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_few_patients_or_no_image_never_pass_for_an_answer(name: str, inputs: Inputs) -> None:
    few = replace(
        inputs,
        train=inputs.train.select(np.arange(len(inputs.train)) < 12),
        holdout=inputs.holdout.select(np.arange(len(inputs.holdout)) < 12),
        reference=inputs.reference.select(np.arange(len(inputs.reference)) < 12),
    )
    assert run(name, few).status != "ok"
    images: SyntheticImages = inputs.synthetic  # type: ignore[assignment]
    empty = SyntheticImages(images.schema, images.frame.iloc[:0], pixels=images.pixels[:0])
    assert run(name, replace(inputs, synthetic=empty)).status != "ok"
    bare = run(name, replace(inputs, target=None, groups=(), claim=None))
    assert bare.status == "ok" or bare.note


def test_the_gate_releases_a_perfect_generator_and_refuses_one_that_copies(inputs: Inputs) -> None:
    """Fixed seeds; to exclude harm would take a larger cohort, so no reason may be a refusal."""
    policy = load_policy("images")
    perfect = decide(evaluate_all(inputs, seed=0), policy)
    assert "refuse" not in {reason.severity for reason in perfect.reasons}
    train = inputs.train
    copies = SyntheticImages(train.schema, train.frame, pixels=train.pixels)  # type: ignore[attr-defined]
    leak = decide(evaluate_all(replace(inputs, synthetic=copies), seed=0), policy)
    assert {r.metric for r in leak.reasons if r.severity == "refuse"} >= {
        "leakage_image_nearest.advantage",
        "leakage_image_copies.difference",
    }
