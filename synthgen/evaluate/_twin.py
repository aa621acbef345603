"""Audit a plan in one run: canaries by secret coins in a twin that is fitted to simulated records only.

The twin costs no budget and is never released: its cohort is drawn from the public schema. It has the
plan, and so the noise, of the release. The attacker sees what a recipient of the release sees, a
synthetic table, and so the bound is far below what the plan allows; the strongest attack on the code is
`synthgen.evaluate._transcript`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from synthgen.encode.simulate import simulate
from synthgen.evaluate._design import euclidean
from synthgen.evaluate._neighbours import k_nearest
from synthgen.evaluate.audit import OneRun, one_run
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.records import RealTable
from synthgen.schema import Schema

FLOOR = 0.01
GUESSED = 0.2
"""Share of the coins that are guessed: the attack is surest of the highest and lowest scores."""


def canaries(schema: Schema, n: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Return fabricated outliers: every number at one of its bounds, every category drawn evenly.

    Hard rules may be broken: a canary stands for whoever is least like the others.
    """
    columns: dict[str, Any] = {}
    for column in schema.columns:
        if column.kind == "category":
            values = rng.integers(0, len(column.labels), n)
            columns[column.name] = pd.Categorical.from_codes(values, pd.Index(column.labels))
        else:
            columns[column.name] = np.where(rng.random(n) < 0.5, column.minimum, column.maximum).astype(float)
    return pd.DataFrame(columns)


def audit_table(
    config: Any,
    plan: PrivacyPlan,
    schema: Schema,
    *,
    n_canaries: int,
    n_records: int,
    rng: np.random.Generator,
    noise: NoiseSource,
    coin: NoiseSource,
) -> OneRun:
    """Fit a twin of a table generator with canaries, guess who was in, and bound epsilon.

    Args:
        config: the generator's settings.
        plan: the release's plan; the twin's cohort has its number of patients, canaries among them.
        schema: the release's schema.
        n_canaries: canaries, about half of which are in.
        n_records: synthetic records that the attacker sees.
        rng: draws cohort and canaries in the open, and the twin's records.
        noise: the fit's noise.
        coin: the canaries' secret coins.

    Returns:
        See `synthgen.evaluate.audit.one_run`.

    Raises:
        ValueError: there are more canaries than patients.
    """
    if n_canaries > plan.patients:
        raise ValueError(f"Expected at most {plan.patients} canaries, the plan's patients, got {n_canaries}.")
    coins = coin.poisson_mask(n_canaries, rate=0.5)
    fabricated = canaries(schema, n_canaries, rng=rng)
    inside = fabricated[coins]
    crowd = simulate(schema, plan.patients - len(inside), rng=rng).frame
    cohort = pd.concat([crowd, inside], ignore_index=True)[[c.name for c in schema.columns]]
    ids = np.array([f"twin{i}" for i in range(len(cohort))])
    twin = config.fit(RealTable(schema, cohort, ids), plan, noise=noise)
    drawn = twin.sample(n_records, rng=rng).frame
    foreign = simulate(schema, n_records, rng=rng).frame
    names = [column.name for column in schema.columns]
    points, base, other = (euclidean(schema, frame, names) for frame in (fabricated, drawn, foreign))
    close, far = (k_nearest(points, rows)[0][:, 0] for rows in (base, other))
    scores = np.log(far + FLOOR) - np.log(close + FLOOR)
    guesses = max(2, round(GUESSED * n_canaries))
    return one_run(scores, coins, epsilon=plan.epsilon, delta=plan.delta, guesses=guesses)
