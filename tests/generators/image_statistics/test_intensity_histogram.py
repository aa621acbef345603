"""How often each brightness occurs: what a patient moves, what noise leaves, what the curve does."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from synthgen.data.images import from_intensities, intensities
from synthgen.errors import ConfigError
from synthgen.generators.embedding import config as imaging_embedding
from synthgen.generators.embedding.fitted import load
from synthgen.generators.image_statistics import intensity_histogram
from synthgen.generators.image_statistics.intensity_histogram import IDENTITY, LEVELS
from synthgen.privacy.marginal_queries import LATTICE
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from tests.generators.two_stage.test_imaging import Asked
from tests.support.phantom_cohorts import cohort, joined, worst


@pytest.mark.parametrize("kind", ["white", "stripes", "spread"])
@pytest.mark.parametrize("n_images", [1, 7])
def test_a_patient_moves_the_histogram_by_no_more_than_the_noise_hides(n_images: int, kind: str) -> None:
    """A patient of white images alone moves it by just that: one cell, whatever the number of images."""
    base = cohort(60)
    both = joined(base, worst(base.schema, n_images, kind))
    spies = [Asked(), Asked()]
    for data, spy in zip((base, both), spies, strict=True):
        intensity_histogram.measure(data, rho=0.5, cells=16, noise=spy)
    ((before, sigma),), ((after, again),) = (spy.queries for spy in spies)
    height, width = base.pixels.shape[2:]
    bound = LATTICE * height * width
    assert sigma == again == pytest.approx(bound / math.sqrt(2 * 0.5))
    move = float(np.linalg.norm(after - before))
    assert 0 < move <= bound
    if kind == "white":
        assert move > 0.99 * bound


def test_every_pixel_is_counted_once_with_black_and_white_on_their_own() -> None:
    data, spy = cohort(40), Asked()
    intensity_histogram.measure(data, rho=0.5, cells=8, noise=spy)
    counts = spy.queries[0][0]
    values = intensities(data.pixels, data.schema)[:, 0]
    codes, n_units = data.unit_codes()
    weights = (LATTICE // np.bincount(codes, minlength=n_units))[codes]
    edges = [-1.0, 0.0, *np.linspace(0, 1, 9)[1:-1], np.nextafter(1.0, 0.0), 2.0]
    each = [np.histogram(-image, -np.array(edges)[::-1])[0][::-1] for image in values]
    assert counts.tolist() == (np.array(each) * weights[:, None]).sum(axis=0).tolist()


def test_shares_are_near_the_exact_ones_and_a_proper_distribution() -> None:
    data = cohort(300)
    exact = intensity_histogram.measure(data, rho=1.0, cells=16, noise=Asked())
    noisy = intensity_histogram.measure(data, rho=1.0, cells=16, noise=NoiseSource.for_tests(1))
    assert noisy.sum() == pytest.approx(1.0)
    assert (noisy >= 0).all()
    assert np.abs(np.cumsum(noisy - exact)).max() < 5 * math.sqrt(18 / 2) / 300


@pytest.mark.parametrize(
    ("rho", "patients", "cells"),
    [(0.02, 60_000, 64), (0.02, 5_000, 64), (0.0006, 4_700, 8), (0.0006, 500, 0), (0.0, 9, 0)],
)
def test_cells_are_fewer_where_noise_is_larger(rho: float, patients: int, cells: int) -> None:
    assert intensity_histogram.n_cells(rho, patients) == cells
    if cells:
        assert math.sqrt(cells / (2 * rho)) / patients <= intensity_histogram.CLEAR


def test_without_cells_nobody_is_asked_and_nothing_changes() -> None:
    data, spy = cohort(20), Asked()
    shares = intensity_histogram.measure(data, rho=0.0, cells=0, noise=spy)
    assert not spy.queries
    curve = intensity_histogram.curve(np.random.default_rng(0).random((5, 1, 4, 4)), shares)
    assert curve.tolist() == IDENTITY.tolist()


@pytest.mark.parametrize("shares", [[0.6, 0.1, 0.1, 0.0, 0.1, 0.1], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_curve_gives_draws_the_shares_that_were_paid_for(shares: list[float], channels: int) -> None:
    rng = np.random.default_rng(0)

    def drawn() -> np.ndarray:
        grey = rng.normal(0.3, 0.2, (400, 1, 8, 8))
        return grey + (0.02 * rng.normal(size=(400, 3, 8, 8)) if channels == 3 else 0)

    curve = intensity_histogram.curve(drawn(), np.array(shares))
    assert curve.shape == (2, len(LEVELS))
    assert (np.diff(curve, axis=1) >= 0).all()
    bright = intensity_histogram.luminance(intensity_histogram.toned(drawn(), curve))
    assert (bright <= 1e-6).mean() == pytest.approx(shares[0], abs=0.02)
    assert (bright >= 1 - 1e-6).mean() == pytest.approx(shares[-1], abs=0.02)
    assert ((bright > 0.5) & (bright <= 0.75)).mean() == pytest.approx(shares[3], abs=0.02)


def test_tone_changes_neither_hue_nor_the_order_of_channels_and_gives_the_wanted_brightness() -> None:
    rng = np.random.default_rng(1)
    images = rng.normal(0.5, 0.4, (50, 3, 6, 6))
    curve = np.stack([LEVELS, LEVELS**2])
    made = intensity_histogram.toned(images, curve)
    wanted = np.interp(intensity_histogram.luminance(images), *curve)
    assert np.abs(intensity_histogram.luminance(made) - wanted).max() < 1e-5
    before = images - intensity_histogram.luminance(images)[:, None]
    after = made - intensity_histogram.luminance(made)[:, None]
    length = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    there = length > 1e-3
    assert ((before * after).sum(axis=1)[there] / length[there]).min() > 0.999
    assert (np.linalg.norm(after, axis=1) <= np.linalg.norm(before, axis=1) + 1e-5).all()


def cells(n: int, seed: int) -> np.ndarray:
    """Red cells, some with a violet nucleus, on a pale ground: red and blue never fall together alone."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:24, 0:24]
    made = np.empty((n, 3, 24, 24), dtype=np.float32)
    for image in made:
        image[:] = np.array([0.92, 0.85, 0.82])[:, None, None]
        middle, radius = rng.uniform(9, 15, 2), rng.uniform(6, 9)
        distance = np.hypot(rows - middle[0], columns - middle[1])
        image[:, distance < radius] = np.array([0.85, 0.55, 0.58])[:, None]
        if rng.random() < 0.5:
            image[:, distance < radius / 2] = np.array([0.45, 0.25, 0.6])[:, None]
    return made + 0.02 * rng.normal(size=made.shape).astype(np.float32)


def turned(before: np.ndarray, after: np.ndarray) -> float:
    """Share of coloured pixels whose hue turned by more than 20 degrees."""
    hues = [images - intensity_histogram.luminance(images)[:, None] for images in (before, after)]
    length = np.linalg.norm(hues[0], axis=1) * np.linalg.norm(hues[1], axis=1)
    coloured = length > 0.05**2
    return float(((hues[0] * hues[1]).sum(axis=1)[coloured] < np.cos(np.pi / 9) * length[coloured]).mean())


def test_one_curve_on_luminance_turns_no_hue_and_a_curve_a_channel_does() -> None:
    """The defect that was: draws of Gaussians, toned channel by channel, take hues that no image has."""
    real = cells(400, 0)
    flat = real.reshape(400, -1)
    mean, rng = flat.mean(axis=0), np.random.default_rng(2)
    _, lengths, axes = np.linalg.svd(flat - mean, full_matrices=False)
    draws = mean + (rng.normal(size=(400, 20)) * lengths[:20] / 20.0) @ axes[:20]
    made = draws.reshape(real.shape).astype(np.float32)

    def shares(values: np.ndarray) -> np.ndarray:
        counts = np.histogram(np.clip(values, 0, 1), np.linspace(0, 1, 33))[0].astype(float)
        return np.concatenate([[0.0], counts / counts.sum(), [0.0]])

    one = intensity_histogram.toned(
        made, intensity_histogram.curve(made, shares(intensity_histogram.luminance(real)))
    )
    planes = [made[:, [i]] for i in range(3)]
    toned = [
        intensity_histogram.toned(p, intensity_histogram.curve(p, shares(real[:, i])))
        for i, p in enumerate(planes)
    ]
    assert turned(made, one) < 0.001
    assert turned(made, np.concatenate(toned, axis=1)) > 0.02
    assert (
        np.abs(
            np.quantile(intensity_histogram.luminance(one), 0.5)
            - np.quantile(intensity_histogram.luminance(real), 0.5)
        )
        < 0.03
    )


def test_a_model_that_draws_one_grey_stays_finite() -> None:
    curve = intensity_histogram.curve(np.full((3, 1, 4, 4), 0.2), np.array([0.5, 0.25, 0.25, 0.0]))
    made = intensity_histogram.toned(np.array([[[[0.1, 0.2, 0.9]]]]), curve)
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
