"""Statistics bought for small groups: each protected column with each label, measured whatever the data.

Where a group is small, the noise of a count is a large part of it. At epsilon 1 the pairs of the label of
Diabetes 130-US with its other columns bear noise of 58 patients, among them the 878 Hispanic patients of a
training part, so that how many of these are readmitted is off by .04. The few pairs of a protected column
therefore have a public part of rho of their own, split so that small groups are told as exactly as can be,
and what noise is left is shrunk group by group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from synthgen.errors import ConfigError
from synthgen.generators.graphical.estimation import Measurement
from synthgen.generators.graphical.junction_tree import Attributes
from synthgen.generators.longitudinal.flattening import given_of, links_of
from synthgen.generators.marginal.workload import role_pairs
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

LEAST_PART = 0.05  # of the largest part: no pair is left out, however large its groups
SALVAGEABLE = 3.0  # standard deviations of the noise that a group must have in patients to steer the split
ITERATIONS = 50


class Groups(Settings):
    """What is reserved for groups. Public.

    Attributes:
        share: part of rho for the pairs of a protected column with a label; all else has the rest. Measured
            on diabetes at epsilon 1, see `docs/evaluation.md`.
    """

    share: float = Field(default=0.1, gt=0, le=0.5)


def group_pairs(schema: Schema) -> list[Attributes]:
    """Return the pairs of a protected column with a label, by the public roles alone.

    Raises:
        ConfigError: the schema has none.
    """
    names, protected = [column.name for column in schema.columns], set(schema.with_role("protected"))
    pairs = role_pairs(names, schema.with_role("label"), links=links_of(schema), given=given_of(schema))
    labels = set(schema.with_role("label"))
    found = [pair for pair in pairs if set(pair) & protected and set(pair) & labels]
    if not found:
        raise ConfigError(
            "Expected a column of role protected and one of role label for `groups`, got none.",
            where="generator.groups",
            next_step="Give the roles in the schema, or leave `groups` out.",
        )
    return found


def split_by_need(
    rho: float, pairs: Sequence[Attributes], ones: Mapping[str, np.ndarray], schema: Schema
) -> list[float]:
    """Split rho over the pairs so that the summed squared relative error of their groups is least.

    A group of n patients has relative error sigma / n, and sigma**2 is 1 / (2 rho_i); the Lagrangian gives
    rho_i proportional to the root of the sum of 1 / n**2 over the pair's groups. Groups that drown in any
    noise do not steer the split.

    Args:
        rho: what the pairs have together.
        pairs: what `group_pairs` returned.
        ones: noisy counts of each column, in patients: paid for.
        schema: the table's public description.
    """
    least = SALVAGEABLE * np.sqrt(len(pairs) / (2.0 * rho))
    protected = set(schema.with_role("protected"))
    needs = []
    for pair in pairs:
        held = [ones[name] for name in pair if name in protected]
        sizes = np.concatenate([counts[counts > least] for counts in held])
        needs.append(float(np.sqrt((1.0 / sizes**2).sum())) if len(sizes) else 0.0)
    parts = np.maximum(needs, LEAST_PART * max(needs)) if max(needs) > 0 else np.ones(len(pairs))
    return [float(part) for part in rho * parts / parts.sum()]


def sizes_of(one: Measurement, pairs: Sequence[tuple[Measurement, int]]) -> np.ndarray:
    """Return the patients of each group, none of them gone, from all paid counts that speak of them.

    The counts are joined by their precision; what is told is the mean of a count that cannot be negative,
    given the noisy one (a normal distribution cut off at 0). A group that the noise would wipe out keeps
    about the size below which the noise cannot see it. Reads noisy counts only.

    Args:
        one: the one-way marginal of a protected column.
        pairs: pairs with that column, and its axis in each.
    """
    from scipy.special import log_ndtr

    told = [one.counts, *(np.moveaxis(pair.counts, axis, 0).sum(axis=1) for pair, axis in pairs)]
    cells = [1, *(pair.counts.shape[1 - axis] for pair, axis in pairs)]
    scales = [one.scale, *(pair.scale for pair, _ in pairs)]
    precision = [1.0 / (scale**2 * n) for scale, n in zip(scales, cells, strict=True)]
    mean = np.average(np.stack(told), axis=0, weights=precision)
    sigma = 1.0 / np.sqrt(sum(precision))
    place = mean / sigma
    density = np.exp(-0.5 * place**2 - log_ndtr(place)) / np.sqrt(2.0 * np.pi)
    return np.asarray(mean + sigma * density)


def shrink_groups(measured: Measurement, axis: int, overall: np.ndarray, sizes: np.ndarray) -> Measurement:
    """Shrink each group's shares towards everybody's by as much as its own noise asks for.

    Empirical Bayes: shares of groups differ from everybody's with a common variance, found by maximum
    likelihood; the noise of a group's shares has variance (sigma / n)**2. So a large group stays as it was
    measured and a tiny one is told by the others. Reads noisy counts only.

    Args:
        measured: noisy counts of a pair.
        axis: the axis of the groups.
        overall: everybody's shares over the other axis, from paid counts.
        sizes: patients of each group, as `sizes_of` tells them; the counts returned sum to them.

    Source: Morris (1983), JASA 78:47-55, Section 2.
    """
    counts = np.moveaxis(measured.counts, axis, 0)
    miss = counts - counts.sum(axis=1, keepdims=True) * overall
    known = np.maximum(sizes, max(measured.scale, 1.0))
    noise = (measured.scale / known) ** 2
    seen = ((miss / known[:, None]) ** 2).sum(axis=1) / max(counts.shape[1] - 1, 1)
    spread = float(max(seen.max(), 1e-12))
    for _ in range(ITERATIONS):
        weight = 1.0 / (noise + spread) ** 2
        spread = float(max((weight * (seen - noise)).sum() / weight.sum(), 1e-12))
    kept = spread / (spread + noise)
    shrunk = sizes[:, None] * (overall + kept[:, None] * miss / known[:, None])
    return Measurement(measured.attributes, np.moveaxis(shrunk, 0, axis), measured.sigma)
