"""Choose what the steward's contact sheets show: real images of each label, and the nearest pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.data.images import RealImages, SyntheticImages
from synthgen.data.tables import Cohort, SyntheticTable
from synthgen.evaluation.features.radiomics_encoder import thumbnails
from synthgen.release.report.contact_sheets import COLUMNS, ROWS, RealSheets, by_label

SIDE = 16
MOST = 5_000
_CHUNK = 512


def real_sheets(cohort: Cohort, table: SyntheticTable) -> RealSheets | None:
    """Return the real images that the internal report shows; None for tables.

    Args:
        cohort: the cohort in its parts. Sensitive.
        table: the synthetic records.
    """
    train = cohort.train
    if not isinstance(train, RealImages) or not isinstance(table, SyntheticImages):
        return None
    shown: Any = train
    rows = by_label(train.schema, shown)
    sheets = tuple(train.pixels[places] for places in rows.values())
    return RealSheets(train.schema, tuple(rows), sheets, _pairs(train, table))


def _pairs(train: RealImages, synthetic: SyntheticImages) -> np.ndarray:
    """Return synthetic images, each followed by the nearest real one, nearest pairs first."""
    drawn = thumbnails(synthetic, SIDE)[:MOST].reshape(-1, SIDE**2)
    real = thumbnails(train, SIDE).reshape(-1, SIDE**2)
    if not len(drawn) or not len(real):
        return train.pixels[:0]
    norms = (real**2).sum(axis=1)
    best, where = np.empty(len(drawn)), np.empty(len(drawn), dtype=np.int64)
    for start in range(0, len(drawn), _CHUNK):
        block = drawn[start : start + _CHUNK]
        far = norms - 2 * block @ real.T + (block**2).sum(axis=1)[:, None]
        where[start : start + _CHUNK] = far.argmin(axis=1)
        best[start : start + _CHUNK] = far.min(axis=1)
    nearest = np.argsort(best, kind="stable")[: COLUMNS * ROWS // 2]
    pairs = np.stack([synthetic.pixels[nearest], train.pixels[where[nearest]]], axis=1)
    return np.asarray(pairs.reshape(-1, *train.pixels.shape[1:]))
