"""The audit's result: in the four heads, at the gate, and for images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.data.images import RealImages, SyntheticImages
from synthgen.evaluation.audit.bounds import OneRun
from synthgen.evaluation.audit.twin import TwinAudit, audit_twin
from synthgen.evaluation.audit.twin_images import places
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.leakage import audit as leakage_audit
from synthgen.generators.embedding.config import Config
from synthgen.privacy.noise import NoiseSource
from synthgen.release.gate.gate import decide, load_policy
from synthgen.schema.schema import Schema
from tests.support import phantom_cohorts as phantoms

CLEAN = TwinAudit(OneRun(1000, 200, 101, 0.0, 4.9, 0.0, 2.1, 1.0, 0.999), crowd=1000, records=5000)


def audited(**changes: Any) -> TwinAudit:
    assert CLEAN.found is not None
    return replace(CLEAN, found=replace(CLEAN.found, **changes))


@pytest.fixture
def judged(tiny: Callable[..., Any], tiny_schema: Schema) -> Callable[[TwinAudit | None], MetricResult]:
    table, drawn = tiny([("F", 0, 1.0, True)], ["a"]), tiny([("F", 0, 1.0, True)])
    inputs = Inputs(tiny_schema, table, table, table, drawn)
    return lambda audit: leakage_audit.evaluate(replace(inputs, audit=audit), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("audit", "severity", "word"),
    [
        (audited(epsilon=1.01), "refuse", "harm is proven"),
        (audited(epsilon=0.99), None, ""),
        (audited(claimed=5.0), "warn", "No power"),
        (TwinAudit(None, reason="The config asks for no audit."), "warn", "asks for no audit"),
        (None, None, ""),
    ],
)
@pytest.mark.parametrize("policy", ["default", "images"])
def test_the_gate_refuses_a_bound_above_the_claim_and_takes_nothing_else_for_an_answer(
    policy: str,
    audit: TwinAudit | None,
    severity: str | None,
    word: str,
    judged: Callable[[TwinAudit | None], MetricResult],
) -> None:
    result = judged(audit)
    verdict = decide([result], load_policy(policy))
    mine = [reason for reason in verdict.reasons if reason.metric == "leakage_audit.excess"]
    assert [reason.severity for reason in mine] == ([] if severity is None else [severity])
    assert all(word in reason.message for reason in mine)
    unanswered = [reason.head for reason in verdict.reasons if reason.metric == reason.head]
    assert "leakage" in unanswered, "an audit that finds nothing answers for no head"
    assert result.reads_real is False
    assert (result.status == "ok") == (severity in ("refuse", None) and audit is not None)


def test_an_audit_survives_json() -> None:
    for audit in (CLEAN, TwinAudit(None, reason="why")):
        assert TwinAudit.from_json(json.loads(json.dumps(audit.to_json()))) == audit


class _Copier(Config):
    """Returns the images it was fitted on."""

    def fit(self, data: RealImages, plan: Any, *, noise: Any, progress: Any = None) -> Any:
        class Fitted:
            def sample(self, n: int, *, rng: np.random.Generator) -> SyntheticImages:
                return SyntheticImages(data.schema, data.frame, pixels=data.pixels)

        return Fitted()


def test_a_twin_of_the_image_generator_shows_no_violation_and_one_of_a_copier_does() -> None:
    schema = phantoms.schema_of(size=12, channels=3)
    found = {}
    for name, config in (("embedding", Config()), ("copier", _Copier())):
        plan = config.plan(schema, epsilon=1.0, delta=1e-5, patients=2000)
        noise, coin = NoiseSource.for_tests(1), NoiseSource.for_tests(2)
        audit = audit_twin(
            config, plan, schema, n_canaries=300, rng=np.random.default_rng(3), noise=noise, coin=coin
        )
        assert audit.found is not None
        found[name] = audit.found.verdict
    assert found == {"embedding": "no violation", "copier": "violation"}


@pytest.mark.parametrize("size", [8, 16, 28])
def test_pictures_are_compared_by_the_means_of_blocks(size: int) -> None:
    schema = phantoms.schema_of(size=size)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, size, size)).astype(np.uint8)
    points = places(pixels, schema)
    side = min(size, 16)
    assert points.shape == (3, side**2)
    place = np.arange(size) * side // size
    first = pixels[1, 0][np.ix_(place == 2, place == 1)].mean() / 255
    assert points[1].reshape(side, side)[2, 1] == pytest.approx(first, rel=1e-5)


def test_canaries_are_distinct_outliers_as_far_as_the_schema_has_any() -> None:
    from synthgen.evaluation.audit.twin import canaries
    from tests.evaluation.conftest import FIELDS, make_schema

    schema = make_schema(FIELDS)
    frame = canaries(schema, 500, rng=np.random.default_rng(0))
    assert len(frame) == len(frame.drop_duplicates()) == 500
    for column in schema.columns:
        if column.kind != "category":
            width = column.maximum - column.minimum
            edge = np.minimum(frame[column.name] - column.minimum, column.maximum - frame[column.name])
            assert (edge >= 0).all()
            assert (edge <= 0.1 * width).all()
            if column.kind == "integer":
                assert (frame[column.name] % 1 == 0).all()
    binary = make_schema([FIELDS[0], {"name": "died", "type": "boolean", "role": "label"}])
    assert len(canaries(binary, 500, rng=np.random.default_rng(0))) == 2
