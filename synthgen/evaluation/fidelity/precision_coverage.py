"""Fidelity: do synthetic records lie where patients are (precision), and everywhere they are (coverage)?

A generator that draws one kind of patient only has full precision and little coverage; one that adds
noise has the reverse. What an equal number of real records reaches stands beside, since neither figure
is 1 for a perfect generator. Distances lie on public bounds, so one far record stretches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs, MetricResult
from synthgen.evaluation.expected_power import NOISE, Declared, around, enough, spread
from synthgen.evaluation.features.design import euclidean, group_codes
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.manifold import (
    NEIGHBOURS,
    Places,
    compare,
    in_halves,
    intervals,
    radii,
    share_ratio,
    squared_distances,
)
from synthgen.evaluation.statistics.patients import one_record_each, sample_rows

MAX_ROWS = 3_000
MIN_PATIENTS = 50
ARMS = ("synthetic", "real")
PARTS = ("precision", "coverage", "density")
GATED = ("precision", "coverage")
DEFINITION = (
    "Precision: share of synthetic records within the ball of any holdout record, which reaches to its 5th"
    " nearest neighbour; coverage: share of balls that hold a synthetic record; density: balls a record lies"
    " in, over 5. Squared Gower distance on public bounds, one record of each of at most 3,000 patients a"
    " side. The ratio is to training patients' records in the synthetic ones' place. A group is compared"
    " with itself alone. Intervals are about the mean over new draws of as many records, generator held"
    " fixed: split halves of all sides, radii anew, of shares for the design effect of Wilson's interval and,"
    " of a ratio, Koopman's. Naeem et al. (2020), arXiv:2002.09797."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare synthetic records with the balls around the holdout's.

    Args:
        inputs: see `Inputs`.
        rng: draws the records and the splits.

    Returns:
        ``<part>.synthetic``, ``<part>.real`` for training records and ``<part>.ratio``, from 0, for the
        parts precision, coverage and density; ``groups["precision"]`` and ``groups["coverage"]``: the
        ratios within each group.
    """
    n_holdout, n_train = inputs.holdout.unit_codes()[1], inputs.train.unit_codes()[1]
    rows = min(len(inputs.synthetic), n_holdout, n_train, MAX_ROWS)
    if rows < MIN_PATIENTS:
        return _result({f"{part}.ratio": insufficient(rows) for part in PARTS}, {}, {}, note=_FEW)
    frames = {
        "holdout": one_record_each(inputs.holdout, rows, rng=rng),
        "synthetic": sample_rows(inputs.synthetic.frame, rows, rng=rng),
        "real": one_record_each(inputs.train, rows, rng=rng),
    }
    distances = _distances(inputs, frames)
    draws = in_halves(distances.figures, dict.fromkeys(frames, np.arange(rows)), rng=rng)
    estimates: dict[str, Estimate] = {}
    for part in PARTS:
        synthetic, real = (draws[f"{part}.{arm}"] for arm in ARMS)
        found = intervals(part, synthetic, real, rows)
        estimates |= {f"{part}.{key}": estimate for key, estimate in found.items()}
    details = {"rows": rows, "neighbours": NEIGHBOURS}
    return _result(estimates, _by_group(inputs, frames, distances, rng), details)


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures."""
    rows = min(declared.compared, declared.holdout, MAX_ROWS)
    one = enough(around(1.0, spread(rows, NOISE["share"]), rows), rows, MIN_PATIENTS)
    groups = {part: {"every group": one} for part in GATED} if declared.groups else {}
    note = "" if rows >= MIN_PATIENTS else _FEW
    return _result({f"{part}.ratio": one for part in PARTS}, groups, {}, note=note)


_FEW = "Too few patients or rows."


@dataclass(frozen=True)
class _Distances:
    """Squared distances: of the holdout's records among themselves, and to each arm's."""

    between: np.ndarray
    across: Mapping[str, np.ndarray]

    def figures(self, places: Places) -> dict[str, float]:
        """Return ``<part>.<arm>`` among the records at these places."""
        real = places["holdout"]
        squared_radii = radii(self.between[np.ix_(real, real)])
        return {
            f"{part}.{arm}": value
            for arm in ARMS
            for part, value in compare(self.across[arm][np.ix_(real, places[arm])], squared_radii).items()
        }


def _distances(inputs: Inputs, frames: Mapping[str, pd.DataFrame]) -> _Distances:
    names = [column.name for column in inputs.schema.columns]
    points = {side: euclidean(inputs.schema, frame, names) for side, frame in frames.items()}
    holdout = points["holdout"]
    across = {arm: squared_distances(holdout, points[arm]) for arm in ARMS}
    return _Distances(squared_distances(holdout, holdout), across)


def _by_group(
    inputs: Inputs, frames: Mapping[str, pd.DataFrame], distances: _Distances, rng: np.random.Generator
) -> dict[str, dict[str, Estimate]]:
    """Return the ratios among each group's own records; small groups are insufficient."""
    found: dict[str, dict[str, Estimate]] = {part: {} for part in GATED}
    for name in inputs.groups:
        column = inputs.schema.column(name)
        codes = {side: group_codes(column, frame[name])[0] for side, frame in frames.items()}
        names = group_codes(column, frames["holdout"][name])[1]
        for i in np.union1d(codes["holdout"], codes["real"]):
            places = {side: np.flatnonzero(code == i) for side, code in codes.items()}
            fewest = min(len(places["holdout"]), len(places["real"]))
            draws = in_halves(distances.figures, places, rng=rng) if fewest >= MIN_PATIENTS else None
            for part in GATED:
                found[part][names[i]] = (
                    insufficient(fewest)
                    if draws is None
                    else share_ratio(
                        draws[f"{part}.synthetic"], draws[f"{part}.real"], len(places["holdout"])
                    )
                )
    return {key: held for key, held in found.items() if held}


def _result(
    estimates: dict[str, Estimate],
    groups: dict[str, dict[str, Estimate]],
    details: dict[str, Any],
    *,
    note: str = "",
) -> MetricResult:
    return MetricResult(
        name="fidelity_precision_coverage",
        head="fidelity",
        title="Precision and coverage",
        estimates=estimates,
        better="higher",
        reads_real=True,
        definition=DEFINITION,
        groups=groups,
        details=details,
        status="insufficient" if note else "ok",
        note=note,
    )
