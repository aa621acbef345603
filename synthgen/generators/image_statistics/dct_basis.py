"""A public basis for images: the lowest cosines of each channel, in units of a public spectrum.

Nothing here is learnt: natural and medical images alike have most of their energy at low frequencies, with an
amplitude that falls about as the frequency grows. Channels of a colour image are turned into brightness and
two differences first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.fft import dctn, idctn

OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
"""Rows are orthonormal: brightness, red against blue, green against both."""
COLOUR_SHARE = 0.25
GREY = 0.5


@dataclass(frozen=True)
class Basis:
    """The lowest cosines of an image.

    Attributes:
        channels: 1 or 3.
        size: pixels a side.
        n_cosines: coefficients of brightness; each colour difference has `COLOUR_SHARE` of them.
        power: the amplitude at frequency f is ``(1 + f) ** -power``.
    """

    channels: int
    size: int
    n_cosines: int
    power: float

    @cached_property
    def frequencies(self) -> np.ndarray:
        """Frequency of every cosine, ``(row, column)``."""
        axis = np.arange(self.size)
        return np.hypot(axis[:, None], axis[None, :])

    @cached_property
    def places(self) -> tuple[np.ndarray, ...]:
        """For each channel the flat places of its cosines, the lowest first."""
        order = np.argsort(self.frequencies.ravel(), kind="stable")
        colour = max(1, round(COLOUR_SHARE * self.n_cosines))
        return tuple(order[: self.n_cosines if i == 0 else colour] for i in range(self.channels))

    @cached_property
    def spectrum(self) -> np.ndarray:
        """Public amplitude of each coefficient."""
        flat = self.frequencies.ravel()
        return np.concatenate([(1.0 + flat[places]) ** -self.power for places in self.places])

    @property
    def dimension(self) -> int:
        """Coefficients in all."""
        return len(self.spectrum)

    def analyse(self, images: np.ndarray) -> np.ndarray:
        """Return ``(record, coefficient)``, over the spectrum, of ``(record, channel, row, column)``.

        Intensities from 0 to 1 are taken from mid-grey, and a pixel of difference 1 everywhere has norm 1
        over the spectrum: the transform is orthonormal over the number of pixels a side.
        """
        turned = self._cosines(images)
        chosen = [turned[:, i, places] for i, places in enumerate(self.places)]
        return np.asarray(np.concatenate(chosen, axis=1) / self.spectrum)

    def synthesise(self, coefficients: np.ndarray, rest: np.ndarray | None = None) -> np.ndarray:
        """Return intensities, which may lie outside 0 to 1; ``rest`` holds the other cosines, if any."""
        n = len(coefficients)
        turned = np.zeros((n, self.channels, self.size**2)) if rest is None else rest.copy()
        start = 0
        for i, places in enumerate(self.places):
            stop = start + len(places)
            turned[:, i, places] = coefficients[:, start:stop] * self.spectrum[start:stop]
            start = stop
        planes = turned.reshape(n, self.channels, self.size, self.size) * self.size
        images = idctn(planes, axes=(2, 3), norm="ortho")
        if self.channels == 3:
            images = np.einsum("ij,nihw->njhw", OPPONENT, images)
        return np.asarray(images + GREY)

    def _cosines(self, images: np.ndarray) -> np.ndarray:
        centred = np.asarray(images, dtype=float) - GREY
        if self.channels == 3:
            centred = np.einsum("ij,njhw->nihw", OPPONENT, centred)
        turned = dctn(centred, axes=(2, 3), norm="ortho") / self.size
        return np.asarray(turned).reshape(len(centred), self.channels, -1)
