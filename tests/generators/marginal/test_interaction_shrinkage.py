"""Shrinking a pair's interaction: noise goes, structure stays."""

import json

import numpy as np
import pytest

from synthgen.encode.table import Grid, _edges
from synthgen.generators.compression import Compression
from synthgen.generators.marginal.interaction_shrinkage import Bands, shrink
from synthgen.schema.schema import Schema

FIELDS = [
    {"name": "x", "type": "integer", "constraints": {"minimum": 0, "maximum": 7, "required": True}},
    {"name": "y", "type": "integer", "constraints": {"minimum": 0, "maximum": 7}},
    {"name": "died", "type": "string", "constraints": {"enum": ["no", "yes"], "required": True}},
]


def bands_of(name):
    schema = Schema.model_validate_json(json.dumps({"unit": "row", "fields": FIELDS}))
    column = next(column for column in schema.columns if column.name == name)
    grid = Grid(column, _edges(column, 8))
    return Bands.of(grid, Compression(np.arange(grid.n_cells), np.ones(grid.n_cells)))


@pytest.mark.parametrize("name", ["x", "y", "died"])
def test_the_basis_is_orthonormal_and_begins_with_the_constant(name):
    bands = bands_of(name)
    np.testing.assert_allclose(bands.basis.T @ bands.basis, np.eye(len(bands.band)), atol=1e-12)
    assert np.ptp(bands.basis[:, 0]) < 1e-12
    assert (bands.band == 0).sum() == 1


def interaction(table):
    """Return the size of what row and column means do not explain."""
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return np.abs(rest).sum()


def test_pure_noise_shrinks_to_independence_and_a_strong_trend_stays():
    rng = np.random.default_rng(0)
    rows, columns = bands_of("died"), bands_of("x")
    even = np.full((2, 8), 100.0)
    slope = 60.0 * np.outer([1, -1], np.linspace(-1, 1, 8))
    before, after, kept = [], [], []
    for _ in range(200):
        noise = 20.0 * rng.standard_normal((2, 8))
        before.append(interaction(noise))
        after.append(interaction(shrink(even + noise, even, sigma=20.0, rows=rows, columns=columns) - even))
        trend = shrink(even + slope + noise, even, sigma=20.0, rows=rows, columns=columns)
        kept.append(interaction(trend - even - slope) / before[-1])
    assert np.mean(after) < 0.5 * np.mean(before)
    assert np.mean(kept) < 0.85  # nearer the truth than the noisy counts are


def test_row_and_column_sums_stay_and_no_noise_changes_nothing():
    rng = np.random.default_rng(1)
    counts = rng.random((2, 9)) * 100
    even = np.full((2, 9), 50.0)
    got = shrink(counts, even, sigma=30.0, rows=bands_of("died"), columns=bands_of("y"))
    np.testing.assert_allclose(got.sum(axis=0), counts.sum(axis=0))
    np.testing.assert_allclose(got.sum(axis=1), counts.sum(axis=1))
    same = shrink(counts, even, sigma=0.0, rows=bands_of("died"), columns=bands_of("y"))
    np.testing.assert_allclose(same, counts)
