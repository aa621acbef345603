"""A noise source whose answers are fixed beforehand: what a fit makes of them can follow from them alone.

Two facts of every generator become tests that need no statistics:

* given the same answers, two cohorts that have nothing in common but the schema leave the same model, and are
  asked the same queries: whatever else flowed from the records into a number, an order or a size, shows;
* given the same answers, a cohort and the one without a patient are asked the same queries, so that their
  exact values can be compared: how far the patient moves each is what its noise must cover.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.dpsgd import noisy_sum
from synthgen.privacy.noise import NoiseSource


@dataclass(frozen=True)
class Query:
    """One draw: what was exact, and what hides it.

    Attributes:
        kind: ``gaussian`` or ``select``.
        values: the exact answer, or the candidates' scores, in lattice units.
        scale: sigma, or the selection's epsilon.
        units: sensitivity of a selection's scores.
        ask: number of the `NoiseSource.query` that it was drawn in, whose cost is ``rho`` for all its draws.
        rho: None where nothing was said of the cost.
        about: what was said of the query.
    """

    kind: str
    values: np.ndarray
    scale: float
    units: int
    ask: int
    rho: float | None
    about: Any

    @property
    def public(self) -> tuple[Any, ...]:
        """All of it that may not depend on a record."""
        return (self.kind, len(self.values), self.scale, self.units, self.rho, repr(self.about))


@dataclass
class FixedAnswers(NoiseSource):
    """Answers the n-th query with the n-th answer, whatever the exact values are, and remembers them."""

    size: float = 40.0  # of the answers, in standard deviations of the noise
    queries: list[Query] = field(default_factory=list)
    gradients: list[tuple[int, float]] = field(default_factory=list)
    is_private = True

    def __post_init__(self) -> None:
        self._secret = np.random.default_rng(99)
        self._asks = 0
        self._said: tuple[int, float | None, Any] = (0, None, None)

    @contextlib.contextmanager
    def query(self, rho: float, about: Sequence[Any]) -> Iterator[None]:
        self._asks += 1
        self._said = (self._asks, rho, about)
        try:
            yield
            assert any(query.ask == self._asks for query in self.queries), "paid for, and drawn without noise"
        finally:
            self._said = (0, None, None)

    def _next(self, kind: str, values: np.ndarray, scale: float, units: int) -> np.random.Generator:
        self.queries.append(Query(kind, values.copy(), scale, units, *self._said))
        return np.random.default_rng([len(self.queries), 5])

    def _gaussian(self, values: Any, sigma: float) -> Any:
        rng = self._next("gaussian", values, float(sigma), 0)
        return np.rint(rng.exponential(self.size * sigma, values.size)).astype(np.int64)

    def _select(self, lattice: Any, epsilon: float, units: int) -> int:
        return int(self._next("select", lattice, float(epsilon), units).integers(lattice.size))

    def _normal(self, size: int) -> Any:
        self.gradients.append((size, 0.0))
        return np.random.default_rng([len(self.gradients), 6]).standard_normal(size)

    def _words(self, size: int) -> Any:  # masks and coins: as many as there are patients, and nobody's to see
        return self._secret.integers(0, 2**64, size=size, dtype=np.uint64)


@contextlib.contextmanager
def unseen_gradients() -> Iterator[None]:
    """Let DP-SGD release its noise alone: of patients nothing is left but what else is made of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noisy_sum.NoisySum, "add", lambda self, clipped: None)
        yield


def moved(first: Sequence[Query], second: Sequence[Query]) -> list[float]:
    """Return what each query really costs where two neighbours are told apart by it, in zCDP.

    A Gaussian query costs ``|move|**2 / (2 sigma**2)``; a selection is within its ``epsilon**2 / 8`` if no
    score moves by more than its ``units``, and infinite if one does.
    """
    found = []
    for one, other in zip(first, second, strict=True):
        assert one.public == other.public
        step = (one.values - other.values).astype(float)
        if one.kind == "gaussian":
            found.append(float(step @ step) / (2.0 * one.scale**2))
        else:
            assert len(step)
            found.append(one.scale**2 / 8 if np.abs(step).max() <= one.units else math.inf)
    return found


def saved(model: Any, folder: Path) -> dict[str, bytes]:
    """Return a model's files."""
    folder.mkdir(parents=True)
    model.save(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
