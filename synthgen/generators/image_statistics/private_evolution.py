"""Private Evolution over phantoms: patients vote for the procedural image that is most like theirs.

Each round shows the same candidates to all patients; each patient's one vote, shared by its images, goes to
the nearest candidate of the image's class, and the noisy counts say which candidates live on and have
children (Lin et al. 2024, arXiv:2305.15560; for simulators, Lin et al. 2025, arXiv:2502.05505). What is
learnt is where in the unit cube of a phantom family a cohort's images lie, so votes buy anatomy, not pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen import phantoms
from synthgen.data.images import RealImages, intensities_in_parts
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.image_statistics.dct_basis import Basis
from synthgen.privacy.marginal_queries import LATTICE, ZCDPFilter, lattice_weights, weighted_marginal
from synthgen.privacy.noise import NoiseSource

COSINES, POWER = 100, 0.5
CLEAR, FEWEST, MOST = 4.0, 12, 600
ROUNDS = 6
REACH, SHRINK, MOVED, JITTER = 0.25, 0.65, 0.5, 0.03
"""A child differs from its parent by normal steps of `REACH`, times `SHRINK` each round, in a part `MOVED` of
its parameters; what the last round chose is drawn with `JITTER`."""
_CHUNK = 1024
RENDERED_PIXELS = 2**21
"""Pixels of phantoms that are rendered at once: a family draws at twice the size, in some twenty arrays."""


@dataclass(frozen=True)
class Candidates:
    """Points of phantom families.

    Attributes:
        family: number of each candidate's family.
        points: ``(candidate, parameter)``, as long as the longest family's; the rest is ignored.
    """

    family: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.family)

    def take(self, index: np.ndarray) -> Candidates:
        """Return some of them."""
        return Candidates(self.family[index], self.points[index])

    def moved(self, reach: float, part: float, rng: np.random.Generator) -> Candidates:
        """Return children, folded back into the cube."""
        steps = rng.standard_normal(self.points.shape) * reach * (rng.random(self.points.shape) < part)
        return Candidates(self.family, 1.0 - np.abs(1.0 - np.abs(self.points + steps)))

    def and_(self, other: Candidates) -> Candidates:
        """Return both."""
        return Candidates(
            np.concatenate([self.family, other.family]), np.concatenate([self.points, other.points])
        )

    def render(self, names: list[str], size: int, rng: np.random.Generator) -> np.ndarray:
        """Return their images, ``(candidate, size, size)``, some at a time, so that memory stays small."""
        images = np.zeros((len(self), size, size), dtype=np.float32)
        at_once = max(1, RENDERED_PIXELS // size**2)
        for i, name in enumerate(names):
            family = phantoms.family(name)
            mine = np.flatnonzero(self.family == i)
            for start in range(0, len(mine), at_once):
                some = mine[start : start + at_once]
                images[some] = family.render(self.points[some, : family.DIMENSION], size, rng=rng)
        return images


@dataclass(frozen=True)
class SelectedPhantoms:
    """What the votes chose, by class. Publishable.

    Attributes:
        names: the families.
        candidates: of each class.
        weights: of each class's candidates; they sum to 1.
    """

    names: list[str]
    candidates: list[Candidates]
    weights: list[np.ndarray]

    def draw(self, classes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return an image for each class, ``(image, size, size)``, near those that were voted for."""
        images = np.zeros((len(classes), size, size), dtype=np.float32)
        for c in np.unique(classes):
            mine = np.flatnonzero(classes == c)
            chosen = rng.choice(len(self.weights[c]), len(mine), p=self.weights[c])
            parents = self.candidates[c].take(chosen)
            images[mine] = parents.moved(JITTER, 1.0, rng).render(self.names, size, rng)
        return images


def numbers_of(rho: float, patients: int, classes: int, families: list[str]) -> dict[str, Any]:
    """Return the votes' public numbers: as many candidates as noise of their counts allows to tell apart."""
    if not rho:
        return {"rho": 0.0, "rounds": 0, "candidates": MOST, "families": families}
    sigma = math.sqrt(ROUNDS / (2.0 * rho))
    n = min(max(round(patients / classes / (CLEAR * sigma)), FEWEST), MOST)
    return {"rho": rho, "rounds": ROUNDS, "candidates": n, "families": families}


def vote(
    data: RealImages,
    numbers: Mapping[str, Any],
    *,
    noise: NoiseSource,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> SelectedPhantoms:
    """Let patients vote, round after round.

    Guarantee:
        ``rho``-zCDP with the ``rho`` of ``numbers``, at 0 of which no record is read: each round is one
        marginal over (class, candidate), which a patient moves by at most `LATTICE` in L2, whatever its
        images and their classes; candidates depend on earlier noisy counts and on ``seed`` alone.

    Args:
        data: training images. Sensitive.
        numbers: as `numbers_of` returns.
        noise: source of the noise.
        seed: of candidates; open.
        progress: receives how many rounds are done.
    """
    rng, names = np.random.default_rng(seed), list(numbers["families"])
    if not numbers["rho"]:
        return _unasked(names, int(numbers["candidates"]), Conditioning.of(data.schema).n_classes, rng)
    size, n = data.pixels.shape[-1], int(numbers["candidates"])
    conditioning = Conditioning.of(data.schema)
    classes, weights = conditioning.class_of(data.frame), lattice_weights(*data.unit_codes())
    basis = Basis(1, size, min(COSINES, size * size), POWER)
    parts = intensities_in_parts(data.pixels, data.schema)
    seen = _joined([basis.analyse(images.mean(axis=1)[:, None]) for images in parts], basis)
    spender = ZCDPFilter(numbers["rho"])
    rho = numbers["rho"] / numbers["rounds"]
    sigma = LATTICE / math.sqrt(2.0 * rho)
    shown = [first(names, n, rng) for _ in range(conditioning.n_classes)]
    for turn in range(numbers["rounds"]):
        progress(turn)
        places = np.zeros(len(seen), dtype=np.int64)
        for c, candidates in enumerate(shown):
            mine = classes == c
            places[mine] = _nearest(seen[mine], _features(candidates.render(names, size, rng), basis))
        most = max(map(len, shown))
        spender.spend(rho)
        with noise.query(rho, ["votes", turn, len(shown), most]):
            exact = weighted_marginal([classes, places], [len(shown), most], weights)
            counts = noise.discrete_gaussian(exact, sigma=sigma).reshape(len(shown), most) / LATTICE
        chances = [_chances(counts[c, : len(shown[c])], 2.0 * sigma / LATTICE) for c in range(len(shown))]
        if turn < numbers["rounds"] - 1:
            reach = REACH * SHRINK**turn
            shown = [_next(s, p, n, reach, rng) for s, p in zip(shown, chances, strict=True)]
    return SelectedPhantoms(names, shown, chances)


def _unasked(names: list[str], n: int, classes: int, rng: np.random.Generator) -> SelectedPhantoms:
    """Return what is drawn where nobody was asked: all of the cubes, alike."""
    even = np.full(n, 1.0 / n)
    return SelectedPhantoms(names, [first(names, n, rng) for _ in range(classes)], [even] * classes)


def first(names: list[str], n: int, rng: np.random.Generator) -> Candidates:
    """Return the first candidates: uniform over the families and their cubes."""
    most = max(phantoms.family(name).DIMENSION for name in names)
    return Candidates(rng.integers(0, len(names), n), rng.random((n, most)))


def _next(
    shown: Candidates, chances: np.ndarray, n: int, reach: float, rng: np.random.Generator
) -> Candidates:
    """Return the best third, and children of all that were voted for."""
    best = np.argsort(-chances)[: min(n // 3, int((chances > 0).sum()))]
    parents = shown.take(rng.choice(len(chances), n, p=chances))
    return shown.take(best).and_(parents.moved(reach, MOVED, rng))


def _chances(counts: np.ndarray, floor: float) -> np.ndarray:
    """Return shares of the counts that stand out of the noise; of the largest one if none does."""
    kept = np.where(counts > floor, counts, 0.0)
    if not kept.any():
        kept = (counts == counts.max()).astype(float)
    return np.asarray(kept / kept.sum())


def _features(grey: np.ndarray, basis: Basis) -> np.ndarray:
    return _joined([basis.analyse(grey[i : i + _CHUNK, None]) for i in range(0, len(grey), _CHUNK)], basis)


def _joined(parts: list[np.ndarray], basis: Basis) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, basis.dimension))


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the number of the nearest other of each point: each point's own affair."""
    lengths = (others**2).sum(axis=1)
    parts = [
        (lengths - 2.0 * points[i : i + _CHUNK] @ others.T).argmin(axis=1)
        for i in range(0, len(points), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
