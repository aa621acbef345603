"""How often each brightness occurs: what a patient moves, what noise leaves, what the curves do."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import ConfigError
from synthgen.image_records import from_intensities, intensities
from synthgen.models import _brightness, imaging_embedding
from synthgen.models._brightness import IDENTITY, LEVELS
from synthgen.models._embedding import load
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.queries import LATTICE
from synthgen.sample import draw
from tests.models.test_image_warm import Asked
from tests.phantoms import cohort, joined, worst


@pytest.mark.parametrize("kind", ["white", "stripes", "spread"])
@pytest.mark.parametrize("n_images", [1, 7])
def test_a_patient_moves_the_histogram_by_no_more_than_the_noise_hides(n_images: int, kind: str) -> None:
    """A patient of white images alone moves it by just that: one cell, whatever the number of images."""
    base = cohort(60)
    both = joined(base, worst(base.schema, n_images, kind))
    spies = [Asked(), Asked()]
    for data, spy in zip((base, both), spies, strict=True):
        _brightness.measure(data, rho=0.5, cells=16, noise=spy)
    ((before, sigma),), ((after, again),) = (spy.queries for spy in spies)
    channels, height, width = base.pixels.shape[1:]
    bound = LATTICE * height * width * math.sqrt(channels)
    assert sigma == again == pytest.approx(bound / math.sqrt(2 * 0.5))
    move = float(np.linalg.norm(after - before))
    assert 0 < move <= bound
    if kind == "white" and channels == 1:
        assert move > 0.99 * bound


def test_every_pixel_is_counted_once_with_black_and_white_on_their_own() -> None:
    data, spy = cohort(40), Asked()
    _brightness.measure(data, rho=0.5, cells=8, noise=spy)
    counts = spy.queries[0][0].reshape(data.pixels.shape[1], 10)
    values = intensities(data.pixels, data.schema)
    codes, n_units = data.unit_codes()
    weights = (LATTICE // np.bincount(codes, minlength=n_units))[codes]
    edges = [-1.0, 0.0, *np.linspace(0, 1, 9)[1:-1], np.nextafter(1.0, 0.0), 2.0]
    for i in range(data.pixels.shape[1]):
        each = [np.histogram(-image, -np.array(edges)[::-1])[0][::-1] for image in values[:, i]]
        assert counts[i].tolist() == (np.array(each) * weights[:, None]).sum(axis=0).tolist()


def test_shares_are_near_the_exact_ones_and_a_proper_distribution() -> None:
    data = cohort(300)
    exact = _brightness.measure(data, rho=1.0, cells=16, noise=Asked())
    noisy = _brightness.measure(data, rho=1.0, cells=16, noise=NoiseSource.for_tests(1))
    assert noisy.sum(axis=1) == pytest.approx(np.ones(len(noisy)))
    assert (noisy >= 0).all()
    assert np.abs(np.cumsum(noisy - exact, axis=1)).max() < 5 * math.sqrt(18 / 2) / 300


@pytest.mark.parametrize(
    ("rho", "patients", "cells"),
    [(0.02, 60_000, 64), (0.02, 5_000, 64), (0.0006, 4_700, 8), (0.0006, 500, 0), (0.0, 9, 0)],
)
def test_cells_are_fewer_where_noise_is_larger(rho: float, patients: int, cells: int) -> None:
    assert _brightness.n_cells(rho, patients) == cells
    if cells:
        assert math.sqrt(cells / (2 * rho)) / patients <= _brightness.CLEAR


def test_without_cells_nobody_is_asked_and_nothing_changes() -> None:
    data, spy = cohort(20), Asked()
    shares = _brightness.measure(data, rho=0.0, cells=0, noise=spy)
    assert not spy.queries
    curves = _brightness.curves(np.random.default_rng(0).random((5, 1, 4, 4)), shares[:1])
    assert curves.tolist() == [IDENTITY.tolist()]


def test_curves_give_draws_the_shares_that_were_paid_for() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(0.3, 0.2, (400, 2, 8, 8))
    shares = np.stack([[0.6, 0.1, 0.1, 0.0, 0.1, 0.1], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
    curves = _brightness.curves(drawn, shares)
    assert curves.shape == (2, 2, len(LEVELS))
    assert (np.diff(curves, axis=2) >= 0).all()
    made = _brightness.toned(rng.normal(0.3, 0.2, (400, 2, 8, 8)), curves)
    assert (made[:, 0] == 0).mean() == pytest.approx(0.6, abs=0.02)
    assert (made[:, 0] == 1).mean() == pytest.approx(0.1, abs=0.02)
    assert ((made[:, 0] > 0.5) & (made[:, 0] <= 0.75)).mean() < 0.01
    assert ((made[:, 1] >= 0.5) & (made[:, 1] <= 0.75)).all()


def test_a_model_that_draws_one_grey_stays_finite() -> None:
    shares = np.array([[0.5, 0.25, 0.25, 0.0]])
    curves = _brightness.curves(np.full((3, 1, 4, 4), 0.2), shares)
    made = _brightness.toned(np.array([[[[0.1, 0.2, 0.9]]]]), curves)
    assert np.isfinite(made).all()
    assert 0 <= made.min() <= made.max() <= 1


def test_an_embedding_draws_a_background_as_black_as_the_real_one_and_keeps_it_when_saved(
    tmp_path: Path,
) -> None:
    """Half of each image is made black: without the histogram most of it is drawn grey."""
    data = cohort(300)
    values = intensities(data.pixels, data.schema)
    values[..., : values.shape[-1] // 2] = 0.0
    data.pixels[:] = from_intensities(values, data.schema)
    black = {}
    for share in (0.03, 0.0):
        config = imaging_embedding.Config(share_brightness=share)
        plan = config.plan(data.schema, epsilon=50.0, delta=1e-5, patients=300)
        model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
        drawn = draw(model, data.schema, 200, seed=1)
        black[share] = float((drawn.pixels == 0).mean())
    assert black[0.03] == pytest.approx(float((data.pixels == 0).mean()), abs=0.05)
    assert black[0.0] < black[0.03] - 0.1
    config = imaging_embedding.Config()
    plan = config.plan(data.schema, epsilon=50.0, delta=1e-5, patients=300)
    model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    model.save(tmp_path)
    again = draw(load(tmp_path, data.schema), data.schema, 20, seed=2)
    assert again.pixels.tobytes() == draw(model, data.schema, 20, seed=2).pixels.tobytes()


def test_shares_leave_something_for_the_moments() -> None:
    with pytest.raises((ValueError, ConfigError), match="share_brightness"):
        imaging_embedding.Config(share_brightness=0.92)
