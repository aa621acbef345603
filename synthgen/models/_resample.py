"""Resample a synthetic table so that its counts come closer to the paid noisy ones.

Post-processing in the line of Wang et al. (2023), arXiv:2305.15538: more records are drawn than asked for,
each gets a weight, as even as can be, under which the table's marginals explain the noisy counts, and the
records asked for are drawn by these weights. It reads synthetic records and noisy counts only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from synthgen.models._estimate import DISCREPANCY, Measurement, total_of

Cells = Mapping[str, np.ndarray]
POOL, LEAST_POOL = 3, 20_000  # records drawn for each one asked for; and at least so many in all
STEPS = 60


def weights_of(
    cells: Cells, paid: Sequence[Measurement], *, steps: int = STEPS, discrepancy: float = DISCREPANCY
) -> np.ndarray:
    """Return the weight of each record: close to even, and closer to the noisy counts.

    Entropic mirror descent on the chi-square of the counts from even weights, so that they stay in the
    exponential family that maximum entropy asks for. It stops where the noise explains the misfit.

    Args:
        cells: coarse cells of the synthetic records, by column.
        paid: noisy counts over these cells.
        steps: steps, at most.
        discrepancy: stop below this part of the chi-square that noise alone would leave.

    Returns:
        float64 weights, non-negative, summing to 1.
    """
    n_records = len(next(iter(cells.values())))
    weights = np.full(n_records, 1.0 / max(n_records, 1))
    terms = [_term(m, cells, total_of(paid)) for m in paid] if n_records else []
    n_counts = sum(m.counts.size for m in paid)
    loss, gradient = _loss(terms, weights)
    step = 1.0 / max(float(np.abs(gradient).max(initial=0.0)), 1e-300)
    for _ in range(steps if terms else 0):
        if 2.0 * loss < discrepancy * n_counts:
            break
        moved = weights * np.exp(-step * (gradient - gradient.min()))
        moved /= moved.sum()
        new_loss, new_gradient = _loss(terms, moved)
        if new_loss > loss:
            step *= 0.5
            continue
        weights, loss, gradient, step = moved, new_loss, new_gradient, 1.3 * step
    return weights


def resampled(
    draw: Callable[[int], dict[str, np.ndarray]],
    n_records: int,
    paid: Sequence[Measurement],
    *,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return records drawn by `weights_of` from a larger draw.

    Args:
        draw: draws that many records without a condition; coarse cells by column.
        n_records: records to return.
        paid: noisy counts.
        rng: open randomness; the same state gives the same records.
    """
    pool = draw(max(POOL * n_records, LEAST_POOL) if n_records else 0)
    order = rng.permutation(len(next(iter(pool.values()))))
    ladder = np.cumsum(weights_of(pool, paid)[order])
    # Evenly spaced quantiles of the weights in random order: each record comes as often as it weighs, to
    # within one.
    places = (np.arange(n_records) + rng.random()) / max(n_records, 1)
    kept = order[np.minimum(np.searchsorted(ladder, places * ladder[-1:], side="right"), len(order) - 1)]
    kept = rng.permutation(kept)
    return {name: values[kept] for name, values in pool.items()}


def _term(measured: Measurement, cells: Cells, total: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each record's place in a clique's counts, the noisy shares, and their inverse variance."""
    flat = np.ravel_multi_index(
        [cells[name].astype(np.int64) for name in measured.attributes], measured.counts.shape
    )
    sigma = np.broadcast_to(np.asarray(measured.sigma, dtype=float), measured.counts.shape)
    return flat, measured.counts.ravel() / total, (total / sigma.ravel()) ** 2


def _loss(
    terms: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return half the chi-square of weighted records, and its gradient by record."""
    value, gradient = 0.0, np.zeros(len(weights))
    for flat, target, precision in terms:
        miss = np.bincount(flat, weights=weights, minlength=len(target)) - target
        pull = precision * miss
        value += 0.5 * float((pull * miss).sum())
        gradient += pull[flat]
    return value, gradient
