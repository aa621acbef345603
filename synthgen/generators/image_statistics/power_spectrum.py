"""How much of an image lies at each frequency, paid for once, so that draws are as sharp as real images.

A noisy histogram of each band's power over the images gives the band's mean logarithm; drawn images are
filtered, all alike, until theirs is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn, idctn

from synthgen.data.images import RealImages, intensities_in_parts
from synthgen.privacy.marginal_queries import LATTICE, lattice_weights, weighted_marginal
from synthgen.privacy.noise import NoiseSource

LEAST, LARGEST, N_CELLS = -9.0, 0.0, 28  # decimal logarithms of a band's mean power; cells of the histogram
MOST_GAIN = 2.5
_CHUNK = 1024


@dataclass(frozen=True)
class Bands:
    """Rings of frequencies of a square image.

    Attributes:
        size: pixels a side.
    """

    size: int

    @property
    def edges(self) -> np.ndarray:
        """Borders of the rings, in half periods a side: each is a half wider than the last one."""
        found = [0.5]
        while found[-1] <= (self.size - 1) * math.sqrt(2):
            found.append(max(found[-1] + 1.0, 1.5 * found[-1]))
        return np.array(found)

    @property
    def number(self) -> int:
        """Number of rings; the mean is in none."""
        return len(self.edges) - 1

    @property
    def places(self) -> np.ndarray:
        """Ring of each cosine, ``(row, column)``; -1 for the mean."""
        axis = np.arange(self.size)
        return np.digitize(np.hypot(axis[:, None], axis[None, :]), self.edges) - 1

    def powers(self, images: np.ndarray) -> np.ndarray:
        """Return the logarithm of each ring's mean power, ``(image, ring)``, of images of all channels."""
        places, parts = self.places, [np.zeros((0, self.number))]
        for start in range(0, len(images), _CHUNK):
            turned = dctn(np.asarray(images[start : start + _CHUNK], float), axes=(2, 3), norm="ortho")
            power = (turned**2).mean(axis=1) / self.size**2
            rings = [power[:, places == i].mean(axis=1) for i in range(self.number)]
            parts.append(
                np.log10(np.stack(rings, axis=1) + 10**LEAST) if rings else np.zeros((len(power), 0))
            )
        return np.concatenate(parts)

    def filtered(self, images: np.ndarray, gains: np.ndarray) -> np.ndarray:
        """Return images whose cosines were multiplied by their ring's gain."""
        whole = np.append(gains, 1.0)[self.places]
        turned = dctn(np.asarray(images, float), axes=(2, 3), norm="ortho")
        return np.asarray(idctn(turned * whole, axes=(2, 3), norm="ortho"), dtype=np.float32)

    def gains(self, images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Return the gains that bring the images' mean logarithms to what is wanted; NaN asks for nothing."""
        away = np.where(np.isnan(wanted), 0.0, wanted - self.powers(images).mean(axis=0))
        return np.asarray(np.clip(10 ** (away / 2.0), 1.0 / MOST_GAIN, MOST_GAIN))


def measure(data: RealImages, *, rho: float, noise: NoiseSource) -> np.ndarray:
    """Return each ring's mean logarithm of power; NaN where noise hides it.

    Guarantee:
        ``rho``-zCDP, at 0 of which no record is read: one marginal a ring, each of an equal part of ``rho``,
        which a patient moves by at most `LATTICE`.
    """
    bands = Bands(data.pixels.shape[-1])
    if not rho:
        return np.full(bands.number, np.nan)
    weights = lattice_weights(*data.unit_codes())
    parts = intensities_in_parts(data.pixels, data.schema)
    powers = np.concatenate([np.zeros((0, bands.number)), *map(bands.powers, parts)])
    step = (LARGEST - LEAST) / N_CELLS
    cells = np.clip(((powers - LEAST) / step).astype(np.int64), 0, N_CELLS - 1)
    middles = LEAST + step * (np.arange(N_CELLS) + 0.5)
    sigma = LATTICE * math.sqrt(bands.number / (2.0 * rho))
    found = np.full(bands.number, np.nan)
    for i in range(bands.number):
        with noise.query(rho / bands.number, ["spectrum", i, bands.number]):
            exact = weighted_marginal([cells[:, i]], [N_CELLS], weights)
            counts = noise.discrete_gaussian(exact, sigma=sigma).astype(float)
        counts = np.where(counts > 2.5 * sigma, counts, 0.0)
        if counts.any():
            found[i] = counts @ middles / counts.sum()
    return found
