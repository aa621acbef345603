"""Parts of public image cohorts, and makers of leaky, harmful and good synthetic images from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from _imaging_sets import SHARED
from scipy import ndimage

from synthgen.data.images import RealImages, SyntheticImages
from synthgen.schema.schema import Schema

DELTA = 1e-5


@dataclass(frozen=True)
class Parts:
    """Parts of a cohort, disjoint by patient: train, holdout, and those that good images are taken from."""

    train: RealImages
    holdout: RealImages
    spare: RealImages


@dataclass(frozen=True)
class Made:
    """A kind of synthetic images, and how they are made."""

    name: str
    kind: str
    what: str
    make: Callable[[Parts, np.random.Generator], SyntheticImages]


MADE: dict[str, Made] = {}
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def cohort(name: str) -> RealImages:
    """Return PneumoniaMNIST (28 px; a patient an image) or Kermany's children (64 px, by patient).

    Both lack protected columns, without which no policy signs: viral pneumonia is Kermany's group, and a coin
    that was tossed for each image is PneumoniaMNIST's.
    """
    if name == "pneumoniamnist":
        with np.load(SHARED / "medmnist" / f"{name}.npz") as held:
            splits = ("train", "val", "test")
            pixels, labels = (
                np.concatenate([held[f"{s}_{what}"] for s in splits]) for what in ("images", "labels")
            )
        patients, labels = np.arange(len(labels)), labels.reshape(-1)
        group = np.random.default_rng(5).random(len(labels)) < 0.5
    else:
        with np.load(SHARED / "kermany_cxr" / "kermany_cxr_64.npz") as held:
            pixels, labels, patients = held["images"], held["label"], held["patient"]
            group = held["subclass"] == 2
    fields = [
        {"name": "patient", "type": "string", "role": "id"},
        {"name": "file", "type": "string", "role": "id"},
        {"name": "group", "type": "boolean", "role": "protected", "constraints": {"required": True}},
        {"name": "label", "type": "boolean", "role": "label", "constraints": {"required": True}},
    ]
    described = {
        "unit": {"column": "patient", "max_records": 40},
        "fields": fields,
        "images": {"file": "file", "size": pixels.shape[1]},
    }
    schema = Schema.model_validate_json(json.dumps(described))
    frame = pd.DataFrame(
        {
            column: pd.Categorical.from_codes(values.astype(int), categories=[False, True])
            for column, values in (("group", group), ("label", labels))
        }
    )
    units = np.array([f"k{i}" for i in patients], dtype=object)
    return RealImages(schema, frame, units, pixels=np.ascontiguousarray(pixels[:, None]))


def cut(name: str, seed: int) -> Parts:
    """Return a third of the patients as each part."""
    data = cohort(name)
    codes, n = data.unit_codes()
    side = np.random.default_rng([seed, 3]).permutation(n) % 3
    return Parts(*(data.select(side[codes] == i) for i in range(3)))


def made(kind: str, name: str, what: str) -> Callable[..., Callable[..., SyntheticImages]]:
    """Register a maker."""

    def register(make: Callable[..., SyntheticImages]) -> Callable[..., SyntheticImages]:
        MADE[name] = Made(name, kind, what, make)
        return make

    return register


def synthetic(images: RealImages, pixels: np.ndarray, frame: pd.DataFrame | None = None) -> SyntheticImages:
    return SyntheticImages(images.schema, images.frame if frame is None else frame, pixels=pixels)


def planted(parts: Parts, rows: np.ndarray, pixels: np.ndarray) -> SyntheticImages:
    """Return strangers' images, some replaced by these pixels with these training rows' attributes."""
    spare = parts.spare
    rows, pixels = rows[: len(spare)], pixels[: len(spare)]
    frame = pd.concat([parts.train.frame.iloc[rows], spare.frame.iloc[len(rows) :]], ignore_index=True)
    return synthetic(spare, np.concatenate([pixels, spare.pixels[len(rows) :]]), frame)


def first_rows(
    parts: Parts, rng: np.random.Generator, share: float, among: np.ndarray | None = None
) -> np.ndarray:
    """Return one image of each of a share of the training patients, in any order; ``among`` some images."""
    codes, n = parts.train.unit_codes()
    order = rng.permutation(len(codes) if among is None else among)
    _, first = np.unique(codes[order], return_index=True)
    return np.asarray(rng.permutation(order[first])[: max(1, round(share * n))])


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def noise(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rounded(own + rng.normal(0, 5, own.shape))


def mirror(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.ascontiguousarray(own[..., ::-1])


def shift(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    step = max(1, own.shape[-1] // 14)
    return np.asarray(ndimage.shift(own, (0, 0, step, -step), order=0, mode="nearest"))


def crop(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    wide = ndimage.zoom(own.astype(float), (1, 1, 1.1, 1.1), order=1)
    size = own.shape[-1]
    at = (wide.shape[-1] - size) // 2
    return rounded(wide[:, :, at : at + size, at : at + size])


def turn(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rounded(ndimage.rotate(own.astype(float), 5, axes=(2, 3), reshape=False, order=1, mode="nearest"))


def gamma(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rounded(255 * (own / 255.0) ** 1.5)


def contrast(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rounded(40 + 0.7 * own)


def blur(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rounded(ndimage.gaussian_filter(own.astype(float), (0, 0, own.shape[-1] / 28, own.shape[-1] / 28)))


def mirror_shift_gamma(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return gamma(shift(mirror(own, rng), rng), rng)


CHANGES: dict[str, Change] = {
    "noise": noise, "mirrored": mirror, "moved": shift, "cropped": crop, "turned 5 degrees": turn,
    "gamma 1.5": gamma, "contrast .7": contrast, "blurred": blur,
    "mirrored, moved, gamma": mirror_shift_gamma,
}  # fmt: skip
SHARES = (0.01, 0.02, 0.04)


def _changed(change: Change, share: float) -> Callable[[Parts, np.random.Generator], SyntheticImages]:
    def make(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
        rows = first_rows(parts, rng, share)
        return planted(parts, rows, change(parts.train.pixels[rows], rng))

    return make


for _name, _change in CHANGES.items():
    for _share in SHARES if _change in (noise, mirror_shift_gamma) else (0.04,):
        _what = f"an image of each of {_share:.0%} of the patients, the rest strangers"
        made("leaky", f"{_name}, {_share:.0%}", _what)(_changed(_change, _share))
    made("leaky", f"{_name}, all", "all training images")(_changed(_change, 1.0))


@made("leaky", "one label's copies", "4 % of the patients, all of label 0, with noise")
def of_a_label(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    mine = np.flatnonzero(parts.train.frame["label"].cat.codes == 0)
    rows = first_rows(parts, rng, 0.04, mine)
    return planted(parts, rows, noise(parts.train.pixels[rows], rng))


@made("leaky", "the most unusual", "3 % of the patients, farthest from the mean image, with noise")
def unusual(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    own = parts.train.pixels.astype(np.float32)
    far = ((own - own.mean(axis=0)) ** 2).mean(axis=(1, 2, 3))
    mine = np.argsort(-far)[: int(0.05 * len(far))]
    rows = first_rows(parts, rng, 0.03, mine)
    return planted(parts, rows, noise(parts.train.pixels[rows], rng))


def _mixed(weight: float, share: float) -> Callable[[Parts, np.random.Generator], SyntheticImages]:
    def make(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
        rows, others = (first_rows(parts, rng, share) for _ in range(2))
        own, other = (parts.train.pixels[of].astype(float) for of in (rows, others))
        return planted(parts, rows, rounded(weight * own + (1 - weight) * other))

    return make


def _pieces(n: int, share: float) -> Callable[[Parts, np.random.Generator], SyntheticImages]:
    """Return a maker of images whose squares, ``n`` a side, are of as many patients (2: two halves)."""

    def make(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
        rows = first_rows(parts, rng, share)
        pixels = parts.train.pixels[rows].copy()
        step = pixels.shape[-1] // n
        for i in range(n):
            for j in range(n):
                if (n == 2 and j == 0) or i == j == 0:
                    continue
                other = pixels if (n == 2 and i) else parts.train.pixels[first_rows(parts, rng, share)]
                if n == 2 and i == 0:
                    pixels[..., step:] = other[: len(pixels), ..., step:]
                elif n != 2:
                    square = np.s_[..., i * step : (i + 1) * step, j * step : (j + 1) * step]
                    pixels[square] = other[: len(pixels)][square]
        return planted(parts, rows, pixels)

    return make


made("leaky", "mixtures, .5 and .5, all", "pairs of training images")(_mixed(0.5, 1.0))
made("leaky", "mixtures, .5 and .5, 4 %", "pairs of training images, the rest strangers")(_mixed(0.5, 0.04))
made("leaky", "mixtures, .7 and .3, 4 %", "pairs of training images, the rest strangers")(_mixed(0.7, 0.04))
made("leaky", "halves, all", "left and right half of two patients")(_pieces(2, 1.0))
made("leaky", "halves, 4 %", "left and right half of two patients, the rest strangers")(_pieces(2, 0.04))
made("leaky", "patches, all", "4 x 4 squares of 16 patients")(_pieces(4, 1.0))


def _flipped(share: float) -> Callable[[Parts, np.random.Generator], SyntheticImages]:
    def make(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
        frame = parts.spare.frame.copy()
        codes = frame["label"].cat.codes.to_numpy()
        wrong = rng.random(len(codes)) < share
        frame["label"] = pd.Categorical.from_codes(
            np.where(wrong, 1 - codes, codes), dtype=frame["label"].dtype
        )
        return synthetic(parts.spare, parts.spare.pixels, frame)

    return make


def _of_label(parts: Parts, label: int) -> np.ndarray:
    return np.asarray(parts.spare.frame["label"].cat.codes == label)


made("harmful", "10 % of labels flipped", "strangers' images")(_flipped(0.1))
made("harmful", "30 % of labels flipped", "strangers' images")(_flipped(0.3))


@made("harmful", "a label absent", "strangers' images of label 1 alone")
def absent(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    kept = parts.spare.select(_of_label(parts, 1))
    return synthetic(kept, kept.pixels)


@made("harmful", "a label blurred", "strangers' images, those of label 0 blurred thrice as wide as above")
def blurred_label(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    pixels, mine = parts.spare.pixels.copy(), _of_label(parts, 0)
    width = 3 * pixels.shape[-1] / 28
    pixels[mine] = rounded(ndimage.gaussian_filter(pixels[mine].astype(float), (0, 0, width, width)))
    return synthetic(parts.spare, pixels)


@made("harmful", "few modes", "20 strangers' images, with noise")
def few_modes(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    rows = rng.permutation(len(parts.spare))[:20][rng.integers(20, size=len(parts.spare))]
    frame = parts.spare.frame.iloc[rows].reset_index(drop=True)
    return synthetic(parts.spare, noise(parts.spare.pixels[rows], rng), frame)


@made("harmful", "negatives", "strangers' images, black for white")
def negatives(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    return synthetic(parts.spare, 255 - parts.spare.pixels)


@made("harmful", "a group absent", "strangers' images, none of the protected group")
def group_absent(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    kept = parts.spare.select(np.asarray(parts.spare.frame["group"].cat.codes == 0))
    return synthetic(kept, kept.pixels)


@made("good", "independent", "strangers' images")
def independent(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    return synthetic(parts.spare, parts.spare.pixels)


@made("good", "independent, half as many", "strangers' images")
def half(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    kept = parts.spare.select(rng.permutation(len(parts.spare)) < len(parts.spare) // 2)
    return synthetic(kept, kept.pixels)


@made("release", "embedding at epsilon 10", "our generator")
def embedding(parts: Parts, rng: np.random.Generator) -> SyntheticImages:
    from synthgen.generators.imaging.embedding import Config
    from synthgen.privacy.noise import NoiseSource

    n = parts.train.unit_codes()[1]
    config = Config()
    plan = config.plan(parts.train.schema, epsilon=10.0, delta=DELTA, patients=n)
    return config.fit(parts.train, plan, noise=NoiseSource.system()).sample(len(parts.spare), rng=rng)
