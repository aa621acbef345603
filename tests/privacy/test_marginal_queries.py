"""Weighted marginals against a naive count, and what they refuse."""

import itertools

import numpy as np
import pytest

from synthgen.errors import SynthgenError
from synthgen.privacy.marginal_queries import LATTICE, ZCDPFilter, lattice_weights, weighted_marginal


def naive(columns: list[np.ndarray], shape: list[int], weights: np.ndarray) -> list[int]:
    counts = dict.fromkeys(itertools.product(*(range(n) for n in shape)), 0)
    for record in range(len(weights)):
        counts[tuple(int(column[record]) for column in columns)] += int(weights[record])
    return [counts[cell] for cell in sorted(counts)]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
@pytest.mark.parametrize("shape", [[7], [3, 5], [5, 3], [2, 4, 3]])
def test_a_weighted_marginal_is_what_counting_record_by_record_gives(shape: list[int], dtype: type) -> None:
    rng = np.random.default_rng(0)
    units = rng.integers(0, 120, size=300)
    weights = lattice_weights(units, 120)
    columns = [rng.integers(0, n, size=300).astype(dtype) for n in shape]
    before = [column.copy() for column in columns]
    counts = weighted_marginal(columns, shape, weights)
    assert counts.dtype == np.int64
    assert counts.tolist() == naive(columns, shape, weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, columns, strict=True))
    if len(shape) == 2 and shape[0] != shape[1]:  # the control: the other order of columns is another answer
        assert counts.tolist() != weighted_marginal(columns[::-1], shape[::-1], weights).tolist()


def test_weights_are_whole_and_those_of_a_unit_sum_to_at_most_the_lattice() -> None:
    units = np.repeat(np.arange(60), np.arange(1, 61))
    weights = lattice_weights(units, 60)
    assert np.array_equal(weights, np.floor(weights))
    sums = np.bincount(units, weights=weights)
    assert sums.max() == LATTICE
    assert (sums > LATTICE - np.arange(1, 61)).all()


@pytest.mark.parametrize("cell", [-1, 3])
def test_a_cell_outside_its_column_is_refused_and_not_counted_elsewhere(cell: int) -> None:
    columns = [np.array([0, cell, 2]), np.array([0, 1, 1])]
    with pytest.raises(ValueError, match="Expected cells from 0 to 2"):
        weighted_marginal(columns, [3, 2], np.ones(3))


def test_no_record_gives_no_count() -> None:
    empty = np.zeros(0, dtype=np.int32)
    assert weighted_marginal([empty, empty], [2, 3], np.zeros(0)).tolist() == [0] * 6


def test_a_filter_refuses_what_goes_beyond_its_rho() -> None:
    spender = ZCDPFilter(0.3)
    for _ in range(3):
        spender.spend(0.1)
    assert spender.left == pytest.approx(0.0, abs=1e-12)
    for more in (1e-6, 0.1, -0.1, float("nan")):
        with pytest.raises(SynthgenError, match="a spend of at most"):
            spender.spend(more)
    assert spender.spent == pytest.approx(0.3)
