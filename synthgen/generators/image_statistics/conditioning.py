"""What pixels are conditioned on: classes by the labels, and guides from all other attributes.

Both follow from the schema alone. A class is a crossing of the label columns; a guide is a number or a
category on a public scale, whose effect on the pixels is taken to be linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthgen.schema.schema import Column, Schema

MOST_CLASSES = 64
MOST_GUIDES = 16


@dataclass(frozen=True)
class Conditioning:
    """How attributes become classes and guides.

    Attributes:
        classes: label columns, each with one cell a label and one for a missing value where it may be
            missing.
        guides: other columns, the protected ones first.
    """

    classes: tuple[Column, ...]
    guides: tuple[Column, ...]

    @classmethod
    def of(cls, schema: Schema) -> Conditioning:
        """Choose columns by role, so that there are few classes and guides."""
        labels: list[Column] = []
        for name in schema.with_role("label"):
            column = schema.column(name)
            if column.kind == "category" and _n_cells([*labels, column]) <= MOST_CLASSES:
                labels.append(column)
        others = [column for column in schema.columns if column not in labels]
        others.sort(key=lambda column: column.field.role != "protected")
        guides: list[Column] = []
        for column in others:
            if sum(map(_width, guides)) + _width(column) <= MOST_GUIDES:
                guides.append(column)
        return cls(tuple(labels), tuple(guides))

    @property
    def n_classes(self) -> int:
        """Number of classes; 1 if there is no label."""
        return _n_cells(self.classes)

    @property
    def n_guides(self) -> int:
        """Number of guides."""
        return sum(map(_width, self.guides))

    def class_of(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the class of each record, from 0."""
        found = np.zeros(len(frame), dtype=np.int64)
        for column in self.classes:
            codes = frame[column.name].cat.codes.to_numpy().astype(np.int64)
            found = found * _cells(column) + np.where(codes < 0, len(column.labels), codes)
        return found

    def guides_of(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the guides, ``(record, guide)``, of length 1 at most; a missing value is 0."""
        parts = [np.zeros((len(frame), 0))]
        for column in self.guides:
            if column.kind == "category":
                codes = frame[column.name].cat.codes.to_numpy().astype(np.int64)
                parts.append((codes[:, None] == np.arange(len(column.labels))).astype(float))
                continue
            span = column.maximum - column.minimum
            scaled = 2.0 * (frame[column.name].to_numpy(float) - column.minimum) / span - 1.0
            parts.append(np.clip(np.nan_to_num(scaled, nan=0.0), -1.0, 1.0)[:, None])
        return np.asarray(np.concatenate(parts, axis=1) / np.sqrt(max(len(self.guides), 1)))


def _cells(column: Column) -> int:
    return len(column.labels) + int(column.nullable)


def _n_cells(columns: list[Column] | tuple[Column, ...]) -> int:
    return int(np.prod([_cells(column) for column in columns], dtype=np.int64)) if columns else 1


def _width(column: Column) -> int:
    return len(column.labels) if column.kind == "category" else 1
