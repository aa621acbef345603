"""Our generators on two neighbouring data sets, for the audit of the code by transcripts."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from synthgen import plugins
from synthgen.data.images import RealImages
from synthgen.data.tables import RealTable
from synthgen.evaluation.audit.transcript import Replay, Tap, log_ratio
from synthgen.generators.marginal import mechanism
from synthgen.privacy.accountant import tradeoff
from synthgen.privacy.marginal_queries import LATTICE
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema
from tests.support import phantom_cohorts as phantoms

FIELDS = [
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "a", "type": "string", "constraints": {"enum": ["x", "y"]}},
    {"name": "b", "type": "string", "constraints": {"enum": ["u", "v"]}, "role": "label"},
]
CROWD, COPIES = 20, 8


@dataclass(frozen=True)
class Mechanism:
    """A generator with its plan, and the same data with and without one patient."""

    config: Any
    plan: PrivacyPlan
    with_patient: Any
    without: Any

    def score(self, *, member: bool, sigma_times: float = 1.0, seed: int) -> float:
        tap = Tap(NoiseSource.for_tests(seed), sigma_times=sigma_times)

        def fit(data: Any, noise: NoiseSource) -> object:
            return self.config.fit(data, self.plan, noise=noise)

        return log_ratio(fit, self.with_patient, self.without, member=member, tap=tap)

    def scores(self, n: int, *, sigma_times: float = 1.0, seed: int = 0) -> tuple[list[float], list[float]]:
        """Return the attacker's scores of n fits with the patient, and of n without."""
        arms = [
            [
                self.score(member=member, sigma_times=sigma_times, seed=2 * (seed + i) + member)
                for i in range(n)
            ]
            for member in (True, False)
        ]
        return arms[0], arms[1]

    def claim(self) -> Callable[[float], float]:
        """Return the claimed trade-off curve; remembered at rates of four digits, rounded up."""

        @cache
        def at(rounded: float) -> float:
            return tradeoff([self.plan.event], rounded)

        return lambda rate: at(min(1.0, math.ceil(rate * 10_000) / 10_000))

    def mu(self) -> float:
        """Return how far apart one fit's noisy answers lie with and without the patient, in their noise."""
        tap = Tap(NoiseSource.for_tests(12345))
        self.config.fit(self.without, self.plan, noise=tap)
        replay = Replay(tap.answers)
        self.config.fit(self.with_patient, self.plan, noise=replay)
        pairs = zip(tap.answers, replay.exact, strict=True)
        squares = [(((a.exact - other) / a.scale) ** 2).sum() for a, other in pairs if not a.is_choice]
        return math.sqrt(float(sum(squares)))

    def rates(self, times: float) -> tuple[float, float]:
        """Return the attack's true and false positive rate, were the noise so many times smaller."""
        mu = times * self.mu()
        return float(norm.cdf(mu / 2)), float(norm.cdf(-mu / 2))


def tabular(
    name: str, epsilon: float, *, copies: int = 1, kind: type[Mechanism] = Mechanism, **options: Any
) -> Mechanism:
    """Return a table generator; the patient is alone in every cell, with ``copies`` equal records."""
    unit = {"column": "pid", "max_records": copies}
    schema = Schema.model_validate_json(json.dumps({"unit": unit, "fields": FIELDS}))
    config = plugins.load("synthgen.generators.tabular", name).Config(**options)
    plan = config.plan(schema, epsilon=epsilon, delta=1e-6, patients=CROWD)

    def data(k: int) -> RealTable:
        labels = {"a": ["x", "y"], "b": ["u", "v"]}
        frame = pd.DataFrame(
            {
                name: pd.Categorical([first] * CROWD + [other] * k, categories=[first, other])
                for name, (first, other) in labels.items()
            }
        )
        names = [column.name for column in schema.columns]
        return RealTable(schema, frame[names], np.array([f"p{i}" for i in range(CROWD)] + ["c"] * k))

    return kind(config, plan, data(copies), data(0))


def marginal(epsilon: float, *, copies: int = 1) -> Mechanism:
    """Return the marginal generator."""
    return tabular("marginal", epsilon, copies=copies)


def pictures(name: str, epsilon: float, *, kind: type[Mechanism] = Mechanism, **options: Any) -> Mechanism:
    """Return a generator of images; the patient is all white among greys, and alone in the attributes."""
    schema = phantoms.schema_of(size=8, max_records=1)
    crowd = phantoms.cohort(CROWD, images=(1, 1))
    crowd = RealImages(schema, crowd.frame, crowd.units, pixels=crowd.pixels[:, :, ::2, ::2].copy())
    keep = np.arange(len(crowd)) > 0
    pixels = crowd.pixels.copy()
    pixels[0] = 255
    config = plugins.load("synthgen.generators.imaging", name).Config(**options)
    plan = config.plan(schema, epsilon=epsilon, delta=1e-6, patients=CROWD)
    everyone = RealImages(schema, crowd.frame, crowd.units, pixels=pixels)
    return kind(config, plan, everyone, everyone.select(keep))


def embedding(epsilon: float) -> Mechanism:
    """Return the generator of images by moments."""
    return pictures("embedding", epsilon)


@contextlib.contextmanager
def records_count_in_full() -> Iterator[None]:
    """Plant a fault: each of a patient's records weighs as much as a patient."""
    kept = mechanism.lattice_weights
    mechanism.lattice_weights = lambda codes, n_units: np.full(len(codes), LATTICE, dtype=np.int64)
    try:
        yield
    finally:
        mechanism.lattice_weights = kept
