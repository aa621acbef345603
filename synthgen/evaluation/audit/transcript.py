"""The strongest attack on a mechanism that draws its noise from a `NoiseSource`: its whole transcript.

All that depends on records passes a mechanism's noise source: counts go in exact and come out noisy,
scores go in and a choice comes out. Whoever reads the answers, and knows all patients but one, can work
out how likely they are with and without that one. That ratio is the best test there is (Neyman and
Pearson, 1933), however cleverly the mechanism chose its questions: it chose them by the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen.privacy.noise import NoiseSource

Fit = Callable[[Any, NoiseSource], object]
"""Runs a mechanism on data with a noise source."""


@dataclass(frozen=True)
class Answer:
    """One draw: what went in, what came out, and its sigma, or a choice's epsilon over twice units."""

    exact: np.ndarray
    noisy: np.ndarray
    scale: float
    is_choice: bool


class Tap(NoiseSource):
    """Passes draws on to another source and keeps them. For simulated data: it holds exact answers."""

    def __init__(self, source: NoiseSource, *, sigma_times: float = 1.0) -> None:
        self._source, self._times = source, sigma_times
        self.answers: list[Answer] = []

    def _gaussian(self, values: np.ndarray, sigma: float) -> np.ndarray:
        # A planted fault draws with another sigma than it was asked for; the claim is about what was asked.
        sigma_drawn = sigma * self._times
        noisy = self._source._gaussian(values, sigma_drawn) if sigma_drawn > 0 else values.copy()
        self.answers.append(Answer(values.copy(), noisy.copy(), sigma, is_choice=False))
        return noisy

    def _select(self, lattice: np.ndarray, epsilon: float, units: int) -> int:
        chosen = self._source._select(lattice, epsilon, units)
        scale = epsilon / (2 * units)
        self.answers.append(Answer(lattice.copy(), np.array([chosen]), scale, is_choice=True))
        return chosen

    def _normal(self, size: int) -> np.ndarray:
        return self._times * self._source._normal(size)

    def _words(self, size: int) -> np.ndarray:
        return self._source._words(size)


class Replay(NoiseSource):
    """Gives the answers of a transcript again, and keeps what would have gone in.

    Args:
        answers: the transcript.
        source: of what no transcript holds: coins and gradients' noise; None where there is none.
    """

    def __init__(self, answers: list[Answer], source: NoiseSource | None = None) -> None:
        self._answers, self._source = answers, source
        self.exact: list[np.ndarray] = []

    def _gaussian(self, values: np.ndarray, sigma: float) -> np.ndarray:
        return self._next(values)

    def _select(self, lattice: np.ndarray, epsilon: float, units: int) -> int:
        return int(self._next(lattice)[0])

    def _normal(self, size: int) -> np.ndarray:
        return super()._normal(size) if self._source is None else self._source._normal(size)

    def _words(self, size: int) -> np.ndarray:
        return super()._words(size) if self._source is None else self._source._words(size)

    def _next(self, exact: np.ndarray) -> np.ndarray:
        if len(self.exact) == len(self._answers):
            raise ValueError("Expected the transcript's questions, got more of them.")
        answer = self._answers[len(self.exact)]
        if answer.exact.shape != exact.shape:
            raise ValueError(
                "Expected the transcript's questions, got others: they depend on more than answers."
            )
        self.exact.append(exact.copy())
        return answer.noisy.copy()


def log_ratio(fit: Fit, with_patient: Any, without: Any, *, member: bool, tap: Tap) -> float:
    """Run a mechanism once and return how much likelier its answers are with the patient than without.

    Args:
        fit: runs the mechanism; its draws must come from the source that it is given, and all else that it
            does must depend on their answers alone.
        with_patient: simulated data.
        without: the same without one patient.
        member: which of the two the mechanism sees.
        tap: a fresh `Tap`.

    Returns:
        The logarithm of the ratio of probabilities.

    Raises:
        ValueError: the questions depend on something else than the answers: a leak in itself.
    """
    fit(with_patient if member else without, tap)
    replay = Replay(tap.answers)
    fit(without if member else with_patient, replay)
    return ratio_of(tap.answers, replay.exact, member=member)


def ratio_of(answers: list[Answer], replayed: list[np.ndarray], *, member: bool) -> float:
    """Return how much likelier answers are with the patient than without.

    Args:
        answers: the transcript of a run on one of the two data sets.
        replayed: what would have gone in on the other.
        member: whether the run was on the one with the patient.
    """
    total = 0.0
    for answer, other in zip(answers, replayed, strict=True):
        mine, theirs = _log_probability(answer, answer.exact), _log_probability(answer, other)
        total += (mine - theirs) if member else (theirs - mine)
    return total


def _log_probability(answer: Answer, exact: np.ndarray) -> float:
    """Return the log-probability of the answer, up to what both data sets share."""
    if answer.is_choice:
        scores = answer.scale * (exact - exact.max()).astype(float)
        return float(scores[int(answer.noisy[0])] - np.log(np.exp(scores).sum()))
    return -float((((answer.noisy - exact) / answer.scale) ** 2).sum()) / 2
