"""All metrics, in order, each with a stream of its own; results survive JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthgen.errors import DataError
from synthgen.evaluation.base import HEADS, Inputs, MetricResult
from synthgen.evaluation.catalogue import load_metric, metric_names
from synthgen.evaluation.fidelity import tvd
from synthgen.evaluation.results_json import results_from_json, results_to_json
from synthgen.evaluation.run import evaluate_all, is_of_images


@pytest.fixture(scope="module")
def inputs(build: Callable[..., Inputs], rows: Callable[[int, int], pd.DataFrame]) -> Inputs:
    return build(lambda train, n: rows(n, 950), n=300)


Evaluation = tuple[list[MetricResult], list[tuple[str, float]]]


@pytest.fixture(scope="module")
def evaluation(inputs: Inputs) -> Evaluation:
    """Return the results at seed 3 and what was told of the progress."""
    told: list[tuple[str, float]] = []
    return evaluate_all(inputs, seed=3, progress=lambda name, done: told.append((name, done))), told


def test_every_head_has_a_metric_and_helpers_are_none() -> None:
    names = metric_names()
    assert {name.partition("_")[0] for name in names} == set(HEADS)
    assert all(not name.startswith("_") for name in names)


def test_all_metrics_run_in_order_and_progress_ends_at_one(evaluation: Evaluation) -> None:
    results, told = evaluation
    assert [result.name for result in results] == [n for n in metric_names() if not is_of_images(n)]
    names = [n for n in metric_names() if not is_of_images(n)]
    assert [name for name, _ in told] == [*names, "done"]
    assert told[-1][1] == 1.0


def test_each_result_states_the_caps_by_sampling_of_its_metric(evaluation: Evaluation) -> None:
    stated = {result.name: result.details.get("caps", {}) for result in evaluation[0]}
    for name in stated:
        text = Path(load_metric(name).__file__).read_text(encoding="utf-8")
        for constant, number in re.findall(r"^MAX_(\w+) = ([\d_]+)$", text, flags=re.MULTILINE):
            assert stated[name][constant.lower()] == int(number), name
    assert stated["leakage_near_copies"] == {"holdout": 4_000, "rivals": 20_000, "patients": 20_000}
    assert stated["leakage_density_ratio"]["members"] == 300  # an attack counts whom it tries itself
    assert stated["utility_tstr"]["rows"] == 30_000


def test_a_metrics_result_depends_on_the_seed_and_not_on_its_neighbours(
    inputs: Inputs, evaluation: Evaluation
) -> None:
    first, again = evaluation[0], evaluate_all(replace(inputs), seed=3)
    assert results_to_json(first) == results_to_json(again)
    other = evaluate_all(replace(inputs), seed=4)
    assert results_to_json(first) != results_to_json(other)


def test_results_survive_json_with_nan_as_null(evaluation: Evaluation) -> None:
    results = evaluation[0]
    text = json.dumps(results_to_json(results), allow_nan=False)
    assert "null" in text
    back = results_from_json(json.loads(text))
    assert results_to_json(back) == results_to_json(results)
    assert [result.estimates.keys() for result in back] == [result.estimates.keys() for result in results]


@pytest.mark.parametrize("content", [[{"name": "x"}], [{"estimates": [], "groups": {}}], ["text"]])
def test_results_of_another_form_are_refused(content: list[object]) -> None:
    with pytest.raises(DataError, match="Evaluate again"):
        results_from_json(content)  # type: ignore[arg-type]


def test_numpy_values_become_plain_json(inputs: Inputs) -> None:
    result = tvd.evaluate(inputs, rng=np.random.default_rng(0))
    changed = replace(
        result, details={"a": np.float64(1.5), "b": np.array([1, 2]), "c": (np.bool_(True), np.inf)}
    )
    assert results_to_json([changed])[0]["details"] == {"a": 1.5, "b": [1, 2], "c": [True, None]}
