"""Changed copies, mixtures and composites of members' images are found, and strangers' images are not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.data.images import RealImages, SyntheticImages
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.features.matched_filter import Whitening, looks
from synthgen.evaluation.leakage.imaging import image_changed_copies
from tests.support.phantom_cohorts import attributes, schema_of

N_PATIENTS = 300


def pictures(n: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random images, which have many directions as radiographs do."""
    waves = rng.normal(size=(n, 7, 7)) / (1 + np.hypot(*np.mgrid[:7, :7]))
    basis = np.cos(np.pi * np.outer(np.arange(7), np.arange(28) + 0.5) / 28)
    values = np.einsum("nij,ir,jc->nrc", waves, basis, basis)
    return np.clip(128 + 25 * values, 0, 255).astype(np.uint8)[:, None]


def part(name: str, rng: np.random.Generator) -> RealImages:
    units = np.array([f"{name}{i}" for i in range(N_PATIENTS)], dtype=object)
    return RealImages(
        schema_of(size=28), attributes(N_PATIENTS, rng), units, pixels=pictures(N_PATIENTS, rng)
    )


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    rng = np.random.default_rng(1)
    parts = [part(name, rng) for name in ("train", "holdout", "reference")]
    foreign = SyntheticImages(parts[0].schema, attributes(N_PATIENTS, rng), pixels=pictures(N_PATIENTS, rng))
    return Inputs(parts[0].schema, *parts, foreign, "ill", ("sex",))


def judged(inputs: Inputs, pixels: np.ndarray | None = None) -> MetricResult:
    images: Any = inputs.synthetic
    if pixels is not None:
        inputs = replace(inputs, synthetic=SyntheticImages(images.schema, images.frame, pixels=pixels))
    return image_changed_copies.evaluate(inputs, rng=np.random.default_rng(0))


def mirrored(own: np.ndarray) -> np.ndarray:
    return np.roll(own[..., ::-1], 1, axis=2)


def gamma(own: np.ndarray) -> np.ndarray:
    return np.rint(255 * (own / 255) ** 1.4).astype(np.uint8)


def negative(own: np.ndarray) -> np.ndarray:
    return 255 - own


def noisy(own: np.ndarray) -> np.ndarray:
    return np.clip(own + np.random.default_rng(2).normal(0, 3, own.shape), 0, 255).astype(np.uint8)


def cropped(own: np.ndarray) -> np.ndarray:
    return np.pad(own[:, :, 1:-1, 1:-1], ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")


def mixed(own: np.ndarray) -> np.ndarray:
    return (own // 2 + np.roll(own, 1, axis=0) // 2).astype(np.uint8)


def halved(own: np.ndarray) -> np.ndarray:
    made = own.copy()
    made[..., 14:] = np.roll(own, 1, axis=0)[..., 14:]
    return made


@pytest.mark.parametrize("change", [mirrored, gamma, negative, noisy, cropped, mixed, halved])
def test_changed_copies_of_a_few_members_are_found(
    inputs: Inputs, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    train, images = inputs.train, inputs.synthetic
    pixels: Any = images.pixels.copy()  # type: ignore[attr-defined]
    pixels[:24] = change(train.pixels[:24])  # type: ignore[attr-defined]
    found = judged(inputs, pixels).estimates
    assert max(found["copied"].low, found["pointed"].low) > 0


def test_strangers_are_no_copies_and_the_control_is_found(inputs: Inputs) -> None:
    found = judged(inputs)
    assert (found.status, found.details["control"]["detected"]) == ("ok", True)
    for key in image_changed_copies.KEYS:
        assert found.estimates[key].low <= 0


def test_copies_of_one_group_are_found_there(inputs: Inputs) -> None:
    train: Any = inputs.train
    images: Any = inputs.synthetic
    women = np.flatnonzero(train.frame["sex"] == "F")[:24]
    pixels = images.pixels.copy()
    pixels[:24] = train.pixels[women]
    found = judged(inputs, pixels)
    assert found.estimates["worst_group"].low > 0
    worst = max(found.groups["worst_group"].items(), key=lambda item: item[1].low)[0]
    assert worst.startswith(("sex=F", "sex=F,"))


def test_every_synthetic_image_is_seen(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_changed_copies, "CHUNK", 64)
    images: Any = inputs.synthetic
    train: Any = inputs.train
    pixels = images.pixels.copy()
    pixels[-24:] = train.pixels[:24]
    assert judged(inputs, pixels).estimates["copied"].low > 0


def test_too_few_patients_are_insufficient(inputs: Inputs) -> None:
    train: Any = inputs.train
    few = replace(inputs, train=train.select(np.arange(N_PATIENTS) < 20))
    found = judged(few)
    assert found.status == "insufficient"
    assert found.estimates["copied"].status == "insufficient"


def test_whitened_images_vary_alike_in_all_directions_and_the_first_look_changes_nothing() -> None:
    grey = pictures(600, np.random.default_rng(3))[:, 0] / np.float32(255)
    seen = grey.reshape(600, -1)
    known = Whitening.of(seen, 20)
    variance = np.diag(np.cov(((seen - known.mean) @ known.weights).T))
    assert variance.max() == pytest.approx(1.0, abs=0.1)
    assert variance.min() == pytest.approx(0.5, abs=0.05)  # the last one's variance is added to itself
    found = list(looks(grey[:4], "all"))
    assert len(found) == 50
    assert np.array_equal(found[0], grey[:4])
    assert all(look.shape == grey[:4].shape for look in found)
