"""Coverage on simulated twins: a perfect generator covers, others do not, and the stamp follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.audit.twin_inference import TwinInference, cohort_of, coverage_on_twins, why_not
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.statistics.logit import coefficients
from synthgen.evaluation.utility import twin_inference
from synthgen.evaluation.utility.inference import features
from synthgen.schema.schema import Schema
from tests.evaluation.conftest import FIELDS, make_schema


def test_patients_follow_the_truth(schema: Schema) -> None:
    """20,000 patients: squared distances over squared errors of k coefficients; 1e-3 of right ones fail."""
    from scipy.stats import chi2

    cohort, truth = cohort_of(schema, "died", 20_000, rng=np.random.default_rng(0))
    found = features(schema, cohort.frame, "died")
    matrix = np.column_stack([np.ones(len(cohort)), *(found[name] for name in truth)])
    label = (cohort.frame["died"] == schema.column("died").labels[-1]).to_numpy(dtype=float)
    beta, errors = (part[1:] for part in coefficients(matrix, label))
    distance = ((beta - np.array(list(truth.values()))) / errors) ** 2
    assert distance.sum() < chi2.ppf(0.9999, len(truth))
    assert np.abs(np.array(list(truth.values()))).min() > 5 * np.median(errors), "there is something to find"
    numbers = cohort.frame[["age", "sodium"]]
    assert numbers.corr().iloc[0, 1] > 0.15, "columns depend on each other"


def shown(make: Callable[[RealTable, int], SyntheticTable], schema: Schema) -> TwinInference:
    return coverage_on_twins(make, schema, "died", patients=2000, fits=6, rng=np.random.default_rng(1))


def test_fresh_patients_cover_copied_ones_as_if_real_do_not_and_shuffled_labels_do_not(
    schema: Schema,
) -> None:
    rng = np.random.default_rng(2)

    def resampled(cohort: RealTable, n: int) -> SyntheticTable:
        frame = cohort.frame.sample(n, replace=True, random_state=rng)
        return SyntheticTable(schema, frame.reset_index(drop=True))

    def shuffled(cohort: RealTable, n: int) -> SyntheticTable:
        label = cohort.frame["died"].sample(frac=1, random_state=rng).reset_index(drop=True)
        return SyntheticTable(schema, cohort.frame.assign(died=label))

    fair, wrong = shown(resampled, schema), shown(shuffled, schema)
    assert fair.coverage is not None
    assert fair.naive is not None
    assert wrong.coverage is not None
    assert fair.coverage > 0.9 > fair.naive, "a second draw from n patients doubles the variance"
    assert wrong.coverage < 0.6
    assert (fair.stamp, wrong.stamp) == ("valid for inference", "not for inference")
    assert fair.fits == 6
    assert TwinInference(reason="why").stamp == "not for inference"
    assert TwinInference.from_json(fair.to_json()) == fair


def test_records_that_hold_too_little_of_a_feature_count_as_missed(schema: Schema) -> None:
    def constant(cohort: RealTable, n: int) -> SyntheticTable:
        return SyntheticTable(schema, cohort.frame.iloc[[0] * n].reset_index(drop=True))

    assert shown(constant, schema).coverage == 0.0


@pytest.mark.parametrize(
    ("target", "rules", "word"),
    [(None, [], "target"), ("age", [], "target"), ("died", ["died implies age >= 18"], "rule")],
)
def test_what_has_no_such_twin_is_said(target: str | None, rules: list[str], word: str) -> None:
    schema = make_schema(FIELDS).model_copy(update={"rules": tuple(rules)})
    assert word in why_not(schema, target)
    assert why_not(make_schema(FIELDS), "died") == ""


def test_the_result_reads_no_record_and_says_why_there_is_none(build: Callable[..., Inputs]) -> None:
    inputs = build(lambda train, n: train.frame.iloc[:n], n=60)
    rng = np.random.default_rng(0)
    found = TwinInference(0.6, 0.3, 63, 3, 2000)
    results = [
        twin_inference.evaluate(replace(inputs, inference=told), rng=rng)
        for told in (found, TwinInference(reason="because"), None)
    ]
    assert [result.status for result in results] == ["ok", "insufficient", "not-applicable"]
    assert not any(result.reads_real for result in results)
    assert results[0].details["stamp"] == "not for inference"
    assert results[0].estimates["coverage"].low < 0.6 < results[0].estimates["coverage"].high
    assert results[1].note == "because"
