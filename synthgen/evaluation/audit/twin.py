"""Audit a plan in one run: canaries by secret coins in a twin that is fitted to simulated records only.

The twin costs no budget and is never released: its cohort is drawn from the public schema. It has the
release's plan, and so its noise. A guarantee holds for every cohort, so the twin's may be smaller than the
plan's: that is cheaper, and each canary weighs more. The attacker sees what a recipient of the release
sees, synthetic records, and so the bound is far below what the plan allows; the strongest attack on the
code is `synthgen.evaluation.audit.transcript`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from synthgen.data.images import RealImages, SyntheticImages
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.encode.simulate import simulate
from synthgen.evaluation.audit.bounds import OneRun, best_run
from synthgen.evaluation.audit.twin_images import patterns, pictures, places
from synthgen.evaluation.features.design import euclidean
from synthgen.evaluation.features.neighbours import k_nearest
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema

FLOOR = 0.01
DRAWS, EDGE = 4, 0.1
"""Draws for each canary, since no two are alike; and how near to a bound, as a part of the range."""
SHARES = (0.2, 0.9)
"""Parts of the coins that are guessed: the highest and lowest scores, or nearly all. All could not be right
even about a copier, since as many are guessed in as out and coins do not fall so evenly."""
CONFIDENCE = 0.999
"""Of the bounds that a release is refused by: one without harm is, once in a thousand at most."""
CANARIES = 1000
RECORDS_EACH = 5
"""Synthetic records that the attacker sees, for each canary."""
Drawn = Callable[[RealTable], SyntheticTable]
"""Fits the twin to a cohort and draws from it."""
Points = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TwinAudit:
    """What the audit of a plan found, or why there was none. From public and simulated values alone.

    Attributes:
        found: the bounds; None if no twin was fitted.
        crowd: simulated patients of the twin beside its canaries.
        records: synthetic records that the attacker saw.
        reason: why no twin was fitted; empty if one was.
    """

    found: OneRun | None
    crowd: int = 0
    records: int = 0
    reason: str = ""

    @property
    def note(self) -> str:
        """Why nothing is shown; empty if something is."""
        found = self.found
        if found is None or found.verdict != "no power":
            return self.reason
        return (
            f"No power: were all guesses about {found.canaries:,} canaries right, they would show epsilon "
            f"{found.ceiling:.3g}, below the claimed {found.claimed:.3g}. Finding nothing shows nothing."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        bounds = {} if self.found is None else asdict(self.found)
        return {"bounds": bounds, "crowd": self.crowd, "records": self.records, "reason": self.reason}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TwinAudit:
        """Return what `to_json` wrote."""
        found = OneRun(**content["bounds"]) if content["bounds"] else None
        return cls(found, content["crowd"], content["records"], content["reason"])


class Generator(Protocol):
    """What is audited: fits by a plan (see `synthgen.generators.base`)."""

    def fit(self, data: Any, plan: PrivacyPlan, *, noise: NoiseSource) -> Any:
        """Fit."""
        ...


def canaries(schema: Schema, n: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Return fabricated outliers, no two alike: numbers near one of their bounds, categories drawn evenly.

    Hard rules may be broken: a canary stands for whoever is least like the others. A schema of few values
    has fewer than ``n``.
    """
    columns: dict[str, Any] = {}
    for column in schema.columns:
        if column.kind == "category":
            values = rng.integers(0, len(column.labels), DRAWS * n)
            columns[column.name] = pd.Categorical.from_codes(values, pd.Index(column.labels))
        else:
            inward = EDGE * (column.maximum - column.minimum) * rng.random(DRAWS * n)
            inward = inward if column.kind == "number" else np.floor(inward)
            low, high = column.minimum + inward, column.maximum - inward
            columns[column.name] = np.where(rng.random(DRAWS * n) < 0.5, low, high).astype(float)
    return pd.DataFrame(columns).drop_duplicates(ignore_index=True).iloc[:n]


def audit_twin(
    config: Generator,
    plan: PrivacyPlan,
    schema: Schema,
    *,
    n_canaries: int,
    rng: np.random.Generator,
    noise: NoiseSource,
    coin: NoiseSource,
    confidence: float = CONFIDENCE,
) -> TwinAudit:
    """Fit a twin of a generator with canaries, guess who was in, and bound epsilon.

    Guarantee:
        Reads no real record and no number that was counted on any: schema, settings, plan and simulated
        patients only. Of a generator that keeps to its plan the bound exceeds the claim with probability at
        most ``1 - confidence``.

    Args:
        config: the generator's settings.
        plan: the release's plan.
        schema: the release's schema, of a table or of images.
        n_canaries: canaries, about half of which are in; fewer where the schema has fewer distinct patients.
            As many simulated patients stand beside them.
        rng: draws cohort and canaries in the open, and the twin's records.
        noise: the fit's noise.
        coin: the canaries' secret coins.
        confidence: of the bounds.

    Returns:
        See `synthgen.evaluation.audit.bounds.one_run`.
    """
    n_records = RECORDS_EACH * n_canaries
    fabricated = canaries(schema, n_canaries, rng=rng)
    if schema.images is not None:
        fabricated = fabricated.sample(n_canaries, replace=True, random_state=rng, ignore_index=True)
    coins = coin.poisson_mask(len(fabricated), rate=0.5)

    def drawn(cohort: RealTable) -> SyntheticTable:
        table: SyntheticTable = config.fit(cohort, plan, noise=noise).sample(n_records, rng=rng)
        return table

    seen = _tables if schema.images is None else _pictures
    points, base, foreign = seen(schema, fabricated, coins, n_records, drawn, rng)
    close, far = (k_nearest(points, rows)[0][:, 0] for rows in (base, foreign))
    scores = np.log(far + FLOOR) - np.log(close + FLOOR)
    found = best_run(
        scores, coins, epsilon=plan.epsilon, delta=plan.delta, shares=SHARES, confidence=confidence
    )
    return TwinAudit(found, crowd=len(coins), records=n_records)


def _tables(
    schema: Schema,
    fabricated: pd.DataFrame,
    coins: np.ndarray,
    n_records: int,
    drawn: Drawn,
    rng: np.random.Generator,
) -> Points:
    """Return canaries, the twin's records and foreign ones as points."""
    names = [column.name for column in schema.columns]
    foreign = simulate(schema, n_records, rng=rng).frame
    cohort, units = _people(schema, fabricated[coins], len(coins), rng)
    records = drawn(RealTable(schema, cohort, units)).frame
    points, base, other = (euclidean(schema, frame, names) for frame in (fabricated, records, foreign))
    return points, base, other


def _pictures(
    schema: Schema,
    fabricated: pd.DataFrame,
    coins: np.ndarray,
    n_records: int,
    drawn: Drawn,
    rng: np.random.Generator,
) -> Points:
    """Return canaries, the twin's images and foreign ones as points: of pixels alone."""
    odd, crowd = patterns(schema, len(coins), rng=rng), pictures(schema, len(coins), rng=rng)
    foreign = pictures(schema, n_records, rng=rng)
    cohort, units = _people(schema, fabricated[coins], len(crowd), rng)
    images = drawn(RealImages(schema, cohort, units, pixels=np.concatenate([crowd, odd[coins]])))
    if not isinstance(images, SyntheticImages):
        raise ValueError(f"Expected synthetic images of a generator of images, got {type(images).__name__}.")
    points, base, other = (places(pixels, schema) for pixels in (odd, images.pixels, foreign))
    return points, base, other


def _people(
    schema: Schema, fabricated: pd.DataFrame, crowd: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a simulated crowd with the canaries behind it, one record a patient, and the patients."""
    frame = pd.concat([simulate(schema, crowd, rng=rng).frame, fabricated], ignore_index=True)
    return frame[[column.name for column in schema.columns]], np.array(
        [f"twin{i}" for i in range(len(frame))]
    )
