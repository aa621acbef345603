"""Metrics of images against brute force, and generators with a known fault."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.data.images import SyntheticImages
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.features.radiomics_encoder import SIDE, encode, thumbnails
from synthgen.evaluation.fidelity.imaging import image_kernel, image_manifold
from synthgen.evaluation.fidelity.imaging.image_kernel import discrepancy
from synthgen.evaluation.leakage.imaging import image_copies, image_nearest
from synthgen.evaluation.learners import imaging
from synthgen.evaluation.utility import image_tstr
from tests.support.phantom_cohorts import cohort, synthetic


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "STEPS", 60)  # 16x16 ellipses need no more


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    parts = [cohort(240, seed=i, images=(1, 2), prefix=f"{i}-") for i in (1, 2, 3)]
    return Inputs(parts[0].schema, *parts, synthetic(240), "ill", ("sex",))


def changed(inputs: Inputs, pixels: np.ndarray, frame: Any = None) -> Inputs:
    images: Any = inputs.synthetic
    made = SyntheticImages(images.schema, images.frame if frame is None else frame, pixels=pixels)
    return replace(inputs, synthetic=made)


def run(module: Any, inputs: Inputs) -> dict[str, Any]:
    return dict(module.evaluate(inputs, rng=np.random.default_rng(0)).estimates)


def test_the_discrepancy_is_the_naive_one_and_unbiased() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)), rng.normal(0.3, 1.2, size=(9, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = np.mean([k(x[i], x[j]) for i in range(12) for j in range(12) if i != j])
    other = np.mean([k(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    assert discrepancy(x, y).value == pytest.approx(within + other - 2 * across)
    equal = [discrepancy(*np.split(rng.normal(size=(80, 3)), 2)).value for _ in range(400)]
    shifted = [
        discrepancy(rng.normal(size=(40, 3)), rng.normal(0.3, 1, size=(40, 3))).value for _ in range(400)
    ]
    error = np.std(equal) / 20
    assert abs(np.mean(equal)) < 4 * error  # false alarms 1e-4, fixed seed
    assert np.mean(shifted) > 4 * error


def test_features_are_numbers_on_a_like_scale_and_see_texture() -> None:
    images = synthetic(50, size=28)
    features = encode(images)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert 0.1 < np.linalg.norm(features, axis=1).mean() < 10
    smooth = thumbnails(images, 7).repeat(4, axis=1).repeat(4, axis=2)
    blurred = SyntheticImages(
        images.schema, images.frame, pixels=np.rint(smooth * 255).astype(np.uint8)[:, None]
    )
    noise = np.linalg.norm(features[::2].mean(axis=0) - features[1::2].mean(axis=0))
    assert np.linalg.norm(encode(blurred).mean(axis=0) - features.mean(axis=0)) > 3 * noise
    assert thumbnails(images, SIDE).shape == (50, SIDE, SIDE)


@pytest.mark.parametrize("form", [{"size": 1}, {"size": 28, "channels": 3}, {"size": 64, "bits": 12}])
def test_any_declared_form_is_encoded(form: dict[str, int]) -> None:
    features = encode(synthetic(3, **form))
    assert np.isfinite(features).all()
    assert features.shape[1] == encode(synthetic(1)).shape[1]


def test_a_perfect_generator_lies_where_real_images_do_and_noise_does_not(inputs: Inputs) -> None:
    good = run(image_kernel, inputs) | run(image_manifold, inputs)
    assert good["relative"].value < 0.2
    assert good["precision.ratio"].value > 0.8
    assert good["coverage.ratio"].value > 0.8
    pixels = np.random.default_rng(0).integers(0, 256, (240, 1, 16, 16)).astype(np.uint8)
    bad = run(image_kernel, changed(inputs, pixels)) | run(image_manifold, changed(inputs, pixels))
    assert bad["relative"].low > 1
    assert bad["precision.ratio"].high < 0.2
    assert bad["recall.ratio"].value < 0.5


def test_one_image_again_and_again_covers_nothing(inputs: Inputs) -> None:
    images: Any = inputs.synthetic
    same = run(image_manifold, changed(inputs, np.repeat(images.pixels[:1], 240, axis=0)))
    assert same["coverage.ratio"].high < 0.3
    assert same["recall.ratio"].high < 0.3


def test_copies_are_found_by_both_looks_and_independent_images_are_not(inputs: Inputs) -> None:
    train: Any = inputs.train
    stolen = replace(inputs, synthetic=SyntheticImages(train.schema, train.frame, pixels=train.pixels))
    nudged = np.clip(
        train.pixels.astype(int) + np.random.default_rng(0).integers(-3, 4, train.pixels.shape), 0, 255
    )
    for leak in (stolen, changed(inputs, nudged.astype(np.uint8), train.frame)):
        assert run(image_copies, leak)["difference"].low > 0.5
        assert run(image_nearest, leak)["advantage"].low > 0.5
    fair = run(image_copies, inputs) | run(image_nearest, inputs)
    assert fair["difference"].low <= 0
    assert fair["advantage"].low < 0.09


def test_the_attack_has_power_and_says_so(inputs: Inputs) -> None:
    result = image_nearest.evaluate(inputs, rng=np.random.default_rng(0))
    assert result.details["control"]["detected"]
    assert result.status == "ok"


def test_training_on_good_images_works_and_on_shuffled_labels_does_not(inputs: Inputs) -> None:
    good = run(image_tstr, inputs)
    assert good["logistic.real"].value > 0.95
    assert good["mean.gap"].value > -0.05
    frame = inputs.synthetic.frame.assign(ill=inputs.synthetic.frame["ill"].array[::-1])
    images: Any = inputs.synthetic
    assert run(image_tstr, changed(inputs, images.pixels, frame))["mean.gap"].high < -0.2
