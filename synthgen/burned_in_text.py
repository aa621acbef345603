"""Look for text that is burned into an image: a screen, not proof that there is none.

Letters are small connected marks, brighter (or darker) than what surrounds them and nearly of one tone, that
stand in a row, at like heights and short distances. Speckle and anatomy are neither of one tone nor in rows.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LETTERS = 4
"""Marks in a row from which on a row is text: our own choice, shorter than any name or date with a blank."""
HEIGHTS = (5, 64)
CONTRAST = 0.25
EVEN = 0.12
NEAR = 31


def has_text(planes: list[np.ndarray]) -> bool:
    """Return whether an image holds a row of marks that looks like text.

    Args:
        planes: one or three planes of intensities from 0 to 1, ``(row, column)``.
    """
    grey = planes[0] if len(planes) == 1 else np.mean(planes, axis=0)
    if min(grey.shape) < 2 * HEIGHTS[0]:
        return False
    return any(_has_row(_marks(shade)) for shade in (grey, 1 - grey))


def _marks(grey: np.ndarray) -> np.ndarray:
    """Return the boxes of marks, one a row: top, left, height, width."""
    ground = ndimage.uniform_filter(grey, size=NEAR, mode="nearest")
    above = grey - ground > CONTRAST
    labels, _ = ndimage.label(above, structure=np.ones((3, 3)))
    found = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        high, wide = (part.stop - part.start for part in place)
        if not HEIGHTS[0] <= high <= HEIGHTS[1] or not 1 <= wide <= 1.6 * high:
            continue
        own = labels[place] == number
        fill = own.mean()
        inner = grey[place][own]
        bright = inner[inner >= np.median(inner)]
        if 0.15 <= fill <= 0.9 and float(bright.std()) < EVEN and float(inner.max()) > 0.5:
            found.append((place[0].start, place[1].start, high, wide))
    return np.array(found, dtype=float).reshape(-1, 4)


def _has_row(marks: np.ndarray) -> bool:
    """Return whether enough marks follow each other on one line."""
    for top, left, high, wide in marks:
        level = np.abs(marks[:, 0] + marks[:, 2] - top - high) <= 0.3 * high
        alike = level & (np.abs(marks[:, 2] - high) <= 0.45 * high)
        count, edge = 1, left + wide
        for _, start, _, width in marks[alike & (marks[:, 1] > left)][
            np.argsort(marks[alike & (marks[:, 1] > left), 1])
        ]:
            if start - edge > 1.2 * high:
                break
            if start >= edge - 1:
                count, edge = count + 1, start + width
        if count >= LETTERS:
            return True
    return False
