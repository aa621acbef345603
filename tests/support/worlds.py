"""Simulated cohorts with generators of known fault, drawn anew in each repetition of a coverage test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd

from synthgen.data.images import RealImages, SyntheticImages, from_intensities
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.base import Claim, Inputs
from synthgen.evaluation.statistics.patients import one_record_each
from synthgen.schema.schema import Schema
from tests.evaluation import test_within_patient as linked
from tests.evaluation.conftest import FIELDS, make_schema, simulate
from tests.support import phantom_cohorts as phantoms
from tests.support.controls import blurred, copied

PATIENTS = {"train": 400, "holdout": 400, "reference": 300}
GROUPS = ("sex", "origin")
Generator = Callable[[RealTable, int, int], pd.DataFrame]
"""Takes the training records, a number of rows and a seed; returns synthetic records."""


def independent(train: RealTable, n: int, seed: int) -> pd.DataFrame:
    """Return one record each of new patients: what a perfect generator gives."""
    return one_record_each(simulate(n, 7_000_000 + seed, train.schema), n, rng=np.random.default_rng(seed))


def faulty(train: RealTable, n: int, seed: int) -> pd.DataFrame:
    """Return records of wrong labels, most often in group B, of too high a sodium, and few of group C."""
    drawn, rng = independent(train, 2 * n, seed), np.random.default_rng(seed)
    drawn = drawn[(drawn["origin"] != "C") | (rng.random(len(drawn)) < 0.6)][:n].reset_index(drop=True)
    wrong = rng.random(n) < np.where(drawn["origin"] == "B", 0.25, 0.05)
    died = drawn["died"].astype(bool).to_numpy() ^ wrong
    return drawn.assign(
        died=pd.Categorical(died, categories=[False, True]), sodium=np.minimum(drawn["sodium"] + 1.5, 170.0)
    )


def leaky(train: RealTable, n: int, seed: int) -> pd.DataFrame:
    """Return new patients' records, and copies of two in five training patients with noise of 1 % on them."""
    rng = np.random.default_rng(seed)
    cut = rng.binomial(n, 0.4)
    mine = blurred(copied(train, seed).iloc[rng.permutation(n)[:cut]], train.schema, seed)
    return pd.concat([mine, independent(train, n - cut, seed)], ignore_index=True)


def copying(train: RealTable, n: int, seed: int) -> pd.DataFrame:
    """Return new patients' records, and exact copies of one in ten training patients."""
    rng = np.random.default_rng(seed)
    cut = rng.binomial(n, 0.1)
    mine = copied(train, seed).iloc[rng.permutation(n)[:cut]]
    return pd.concat([mine, independent(train, n - cut, seed)], ignore_index=True)


def coarse(world: str, seed: int) -> Inputs:
    """Return a cohort of few distinct values, in which records match by chance."""
    inputs = table(world, seed)
    rounded = {name: getattr(inputs, name) for name in ("train", "holdout", "reference", "synthetic")}
    for name, part in rounded.items():
        frame = part.frame.assign(
            age=(part.frame["age"] / 6).round() * 6,
            creatinine=(part.frame["creatinine"] * 2).round() / 2,
            sodium=(part.frame["sodium"] / 4).round() * 4,
        )
        rounded[name] = replace(part, frame=frame)
    return replace(inputs, **rounded)


TABLES: dict[str, Generator] = {
    "independent": independent,
    "faulty": faulty,
    "leaky": leaky,
    "copying": copying,
}


@lru_cache(maxsize=1)
def table_schema() -> Schema:
    return make_schema(FIELDS)


def table(world: str, seed: int) -> Inputs:
    """Return a cohort of patients with up to four records each, and as many synthetic records as patients."""
    schema = table_schema()
    parts = {
        part: simulate(n, 10 * seed + i, schema) for i, (part, n) in enumerate(PATIENTS.items(), start=1)
    }
    frame = TABLES[world](parts["train"], PATIENTS["train"], seed)
    synthetic = SyntheticTable(schema, frame.reset_index(drop=True))
    return Inputs(schema, **parts, synthetic=synthetic, target="died", groups=GROUPS, claim=Claim(1.0, 1e-5))


def histories(world: str, seed: int) -> Inputs:
    """Return linked records; the faulty generator loses every other row of a patient."""
    schema = linked_schema()
    parts = [linked.real(schema, n, 10 * seed + i) for i, n in enumerate((400, 300, 50), start=1)]
    frame, units = linked.simulate(400, 5_000_000 + seed)
    if world == "faulty":
        keep = np.random.default_rng(seed).random(len(frame)) < 0.6
        frame, units = frame[keep].reset_index(drop=True), units[keep]
    return Inputs(schema, *parts, SyntheticTable(schema, frame, units=pd.factorize(units)[0] + 1))


@lru_cache(maxsize=1)
def linked_schema() -> Schema:
    return linked.make_schema()


SIDE = 4
"""Pixels a side: coverage is about the interval, so images are small and their features are the pixels."""


def pictures(frame: pd.DataFrame, rng: np.random.Generator, *, noise: float = 0.15) -> np.ndarray:
    """Return noise about a plane whose slopes follow label and sex."""
    ill, sex = (frame[name].cat.codes.to_numpy()[:, None, None] for name in ("ill", "sex"))
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    values = 0.5 + 0.12 * ill * x + 0.1 * sex * y + noise * rng.normal(size=(len(frame), SIDE, SIDE))
    return from_intensities(np.clip(values, 0, 1)[:, None], image_schema())


@lru_cache(maxsize=1)
def image_schema() -> Schema:
    return phantoms.schema_of(size=SIDE)


def real_images(n_patients: int, seed: int) -> RealImages:
    rng = np.random.default_rng(seed)
    units = np.repeat([f"s{seed}p{i}" for i in range(n_patients)], rng.integers(1, 3, n_patients))
    frame = phantoms.attributes(len(units), rng)
    return RealImages(image_schema(), frame, units.astype(object), pixels=pictures(frame, rng))


def images(world: str, seed: int) -> Inputs:
    """Return images; the faulty generator's are noisier, two in five of the leaky one's are copies."""
    parts = [real_images(n, 10 * seed + i) for i, n in enumerate((400, 300, 200), start=1)]
    rng = np.random.default_rng(5_000_000 + seed)
    frame = phantoms.attributes(400, rng)
    pixels = pictures(frame, rng, noise=0.19 if world == "faulty" else 0.15)
    if world == "leaky":
        codes, _ = parts[0].unit_codes()
        first = np.unique(codes, return_index=True)[1][rng.permutation(400)[: rng.binomial(400, 0.4)]]
        pixels[: len(first)] = parts[0].pixels[first]
    synthetic = SyntheticImages(image_schema(), frame, pixels=pixels)
    return Inputs(image_schema(), *parts, synthetic, "ill", ("sex",), Claim(1.0, 1e-5))
