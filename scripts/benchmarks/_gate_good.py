"""Independent samples of the same patients, which must not be refused, and releases of our own generator."""

from functools import partial

import numpy as np
import pandas as pd
from _gate_parts import Parts, canonical, good, release

DELTA = 1e-5
EPSILONS = (1.0, 3.0, 10.0)


@good("independent sample", what="as many other patients")
def independent(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return parts.spare.iloc[rng.permutation(len(parts.spare))].reset_index(drop=True)


@good("independent sample, half as many", what="other patients")
def half(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return independent(parts, rng).iloc[: len(parts.spare) // 2]


@good("independent sample, twice as many", what="other patients, in no part that the evaluation is given")
def twice(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    both = pd.concat([parts.spare, parts.reference], ignore_index=True)
    return both.iloc[rng.permutation(len(both))].reset_index(drop=True)


@good("independent sample with replacement", what="other patients, some of them twice")
def again(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return parts.spare.iloc[rng.integers(len(parts.spare), size=len(parts.spare))].reset_index(drop=True)


@good("independent sample, sorted", what="other patients in the order of their columns")
def ordered(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return parts.spare.sort_values(list(parts.spare), ignore_index=True)


SHARE = 0.1
"""Of the budget for the sizes and outcomes of protected groups, where they are asked for."""


def marginal(parts: Parts, rng: np.random.Generator, *, epsilon: float, groups: bool = False) -> pd.DataFrame:
    """Fit `marginal` to the training patients, and draw as many records."""
    from synthgen.data.tables import RealTable
    from synthgen.generators.marginal.config import Config
    from synthgen.privacy.noise import NoiseSource
    from synthgen.sampling.draw import draw

    units = np.array([f"t{i}" for i in range(len(parts.train))], dtype=object)
    config = Config.model_validate({"groups": {"share": SHARE}} if groups else {})
    plan = config.plan(parts.schema, epsilon=epsilon, delta=DELTA, patients=len(units))
    model = config.fit(RealTable(parts.schema, parts.train, units), plan, noise=NoiseSource.system())
    table = draw(model, parts.schema, len(units), seed=int(rng.integers(2**31)))
    return canonical(parts.schema, table.frame)


for number in EPSILONS:
    release(f"marginal at epsilon {number:g}", what="our generator")(partial(marginal, epsilon=number))
    release(f"marginal at epsilon {number:g}, groups kept", what="our generator, small groups measured")(
        partial(marginal, epsilon=number, groups=True)
    )
