"""Near copies and attribute inference: brute force, copies, and generators that are merely different."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from synthgen.evaluation.features.neighbours import k_nearest
from synthgen.evaluation.leakage import near_copies
from synthgen.evaluation.leakage.partial_records import attribute_inference
from synthgen.evaluation.leakage.partial_records.attribute_inference import same
from synthgen.evaluation.statistics.intervals import difference_of_means
from tests.evaluation.conftest import FIELDS, make_schema
from tests.support.controls import CONTROLS, INDEPENDENT, Control, fresh, inputs_of


def by_name(name: str) -> Control:
    return next(control for control in CONTROLS if control.name == name)


def test_nearest_rows_are_those_of_brute_force_across_chunks() -> None:
    rng = np.random.default_rng(0)
    points, base = rng.random((700, 4), dtype=np.float32), rng.random((9000, 4), dtype=np.float32)
    distances, places = k_nearest(points, base, 3)
    exact = np.sqrt(((points[::70, None] - base[None]) ** 2).sum(axis=2))
    np.testing.assert_array_equal(places[::70], np.argsort(exact, axis=1)[:, :3])
    np.testing.assert_allclose(distances[::70], np.sort(exact, axis=1)[:, :3], atol=2e-3)
    few = k_nearest(points[:2], base[:2], 5)[0]
    assert few.shape == (2, 5)
    assert (few[:, 1:] == few[:, 1:2]).all()
    inside = near_copies.within(points[::70], np.full(10, 0.3), base)
    np.testing.assert_array_equal(inside, (exact < 0.3).sum(axis=1))


@pytest.mark.parametrize("name", ["copies of training rows", "copies with 1 % noise"])
def test_near_copies_of_training_patients_are_found(name: str) -> None:
    result = near_copies.evaluate(inputs_of(by_name(name), 1, 1000), rng=np.random.default_rng(0))
    assert result.estimates["difference"].low > 0.2
    assert result.estimates["holdout_excess"].low <= 0.01


def test_a_generator_with_another_density_is_not_taken_for_one_that_saw_the_holdout() -> None:
    """Collapsed on typical patients, or flattened: neither lies nearer to strangers than real records do."""

    def typical(inputs: object, seed: int) -> pd.DataFrame:
        drawn = fresh(inputs, seed, 8000)  # type: ignore[arg-type]
        kept = drawn[(drawn["sodium"] - 138).abs() < 3]
        return kept[:2000]

    def spread(inputs: object, seed: int) -> pd.DataFrame:
        drawn, rng = fresh(inputs, seed, 2000), np.random.default_rng(seed)  # type: ignore[arg-type]
        return drawn.assign(sodium=rng.uniform(110, 170, len(drawn)))

    for make in (typical, spread):
        for seed in range(5):
            inputs = inputs_of(Control("other", make, ()), 10 + seed, 2000)
            found = near_copies.evaluate(inputs, rng=np.random.default_rng(0))
            assert found.estimates["holdout_excess"].low <= 0.0


def test_hidden_values_of_members_are_told_by_copies_and_not_by_an_independent_sample() -> None:
    rng = np.random.default_rng(0)
    leaky, fair = (
        attribute_inference.evaluate(inputs_of(c, 2, 1500), rng=rng)
        for c in (by_name("copies of training rows"), INDEPENDENT)
    )
    assert leaky.estimates["worst"].low > 0.2
    assert fair.estimates["worst"].low < 0.03
    assert leaky.groups["difference"]["died"].low > 0.09
    tried = fair.details["columns_tried"]["died"]
    assert 0.5 < tried["baseline"] <= 1
    assert abs(tried["train"] - tried["holdout"]) < 0.08


def test_a_guess_is_right_if_equal_or_close_and_missing_is_a_value() -> None:
    schema = make_schema(FIELDS)
    age, ward = schema.column("age"), schema.column("ward")
    truth, guess = pd.Series([50.0, 50.0, np.nan, np.nan]), pd.Series([54.0, 55.0, np.nan, 50.0])
    assert same(age, truth, guess).tolist() == [True, False, True, False]  # 5 % of 18..100 is 4.1
    assert same(ward, pd.Series(["w1", "w1", None]), pd.Series(["w1", "w2", None])).tolist() == [1, 0, 1]


def test_the_difference_of_two_means_covers_the_truth_and_half_of_it_does_not() -> None:
    """2,000 repetitions: .95 lies within .935 and .965 but for 2e-3."""
    rng = np.random.default_rng(1)
    found = [difference_of_means(rng.binomial(2, 0.4, 300) / 2, rng.random(500)) for _ in range(2000)]
    truth = 0.4 - 0.5
    covered = np.mean([e.low <= truth <= e.high for e in found])
    halved = np.mean([abs(e.value - truth) <= (e.high - e.low) / 4 for e in found])
    assert 0.935 <= covered <= 0.965
    assert halved < 0.8
