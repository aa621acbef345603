"""Public cells, features and distances."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.evaluation.features.design import (
    CODE_LENGTH,
    cell_codes,
    euclidean,
    group_codes,
    n_cells,
    ordinal,
    partitions,
)
from synthgen.schema.schema import Schema


def test_cells_are_labels_in_order_one_cell_an_integer_equal_widths_and_a_last_one_for_missing(
    tiny_schema: Schema, tiny: Callable[..., Any]
) -> None:
    frame = tiny([("F", 0, 0.0, True), ("M", 3, 10.0, False), (np.nan, np.nan, np.nan, np.nan)]).frame
    cells = {c.name: cell_codes(c, frame[c.name]).tolist() for c in tiny_schema.columns}
    assert cells == {"sex": [0, 1, 2], "score": [0, 3, 4], "lab": [0, 19, 20], "died": [1, 0, 2]}
    assert [n_cells(c) for c in tiny_schema.columns] == [3, 5, 21, 3]


@settings(derandomize=True, max_examples=50, deadline=None)
@given(value=st.floats(0, 10), bins=st.integers(2, 50))
def test_a_number_lies_between_the_edges_of_its_cell(value: float, bins: int) -> None:
    field = {"name": "x", "type": "number", "constraints": {"minimum": 0, "maximum": 10}}
    schema = Schema.model_validate_json(json.dumps({"unit": "row", "fields": [field]}))
    cell = int(cell_codes(schema.columns[0], pd.Series([value]), bins=bins)[0])
    width = 10 / bins
    assert cell * width - 1e-9 <= value <= (cell + 1) * width + 1e-9


def test_numbers_beyond_the_bounds_fall_into_the_outermost_cells(tiny_schema: Schema) -> None:
    lab = tiny_schema.column("lab")
    assert cell_codes(lab, pd.Series([-5.0, 99.0])).tolist() == [0, 19]


def test_a_different_label_and_a_missing_value_are_one_apart_and_numbers_their_public_share(
    tiny_schema: Schema, tiny: Callable[..., Any]
) -> None:
    frame = tiny(
        [("F", 0, 2.0, True), ("M", 0, 2.0, True), ("F", 0, 7.0, True), ("F", 0, np.nan, True)]
    ).frame
    points = euclidean(tiny_schema, frame, ["sex", "score", "lab", "died"])
    squared = ((points - points[0]) ** 2).sum(axis=1)
    np.testing.assert_allclose(squared[:3], [0, 1, 0.25], atol=1e-6)
    assert 1 <= squared[3] <= 1.25


def test_a_wide_category_has_a_bounded_code_whose_squared_distances_are_one_on_average() -> None:
    field = {"name": "x", "type": "string", "constraints": {"enum": [f"c{i}" for i in range(300)]}}
    schema = Schema.model_validate_json(json.dumps({"unit": "row", "fields": [field]}))
    frame = pd.DataFrame({"x": pd.Categorical(schema.columns[0].labels, categories=schema.columns[0].labels)})
    points = euclidean(schema, frame, ["x"])
    assert points.shape == (300, CODE_LENGTH)
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)[np.triu_indices(300, 1)]
    assert squared.mean() == pytest.approx(1, abs=0.02)
    assert squared.min() > 0.1


def test_trees_see_label_numbers_and_missing_values(tiny_schema: Schema, tiny: Callable[..., Any]) -> None:
    matrix, categories = ordinal(tiny_schema, tiny([("M", 3, np.nan, True)]).frame, ["sex", "score", "lab"])
    np.testing.assert_array_equal(matrix, [[1.0, 1.0, np.nan]])
    assert categories.tolist() == [True, False, False]


def test_groups_are_named_by_column_and_label_and_numbers_by_their_range(
    tiny_schema: Schema, tiny: Callable[..., Any]
) -> None:
    frame = tiny([("F", 0, 9.9, True), (np.nan, 0, np.nan, True)]).frame
    codes, names = group_codes(tiny_schema.column("sex"), frame["sex"])
    assert [names[i] for i in codes] == ["sex=F", "sex=missing"]
    codes, names = group_codes(tiny_schema.column("lab"), frame["lab"])
    assert [names[i] for i in codes] == ["lab=8..10", "lab=missing"]
    codes, names = group_codes(tiny_schema.column("score"), pd.Series([0.0, 3.0]))
    assert [names[i] for i in codes] == ["score=0", "score=3"]


def test_groups_of_an_integer_are_named_by_the_values_that_they_hold() -> None:
    field = {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100}}
    schema = Schema.model_validate_json(json.dumps({"unit": "row", "fields": [field]}))
    ages = pd.Series(np.arange(18.0, 101.0))
    codes, names = group_codes(schema.columns[0], ages)
    for age, code in zip(ages, codes, strict=True):
        low, high = names[code].removeprefix("age=").split("..")
        assert int(low) <= age <= int(high)


def test_partitions_are_each_column_and_each_crossing_of_two(
    tiny_schema: Schema, tiny: Callable[..., Any]
) -> None:
    frame = tiny([("F", 0, 1.0, True), ("M", 3, 1.0, np.nan), (np.nan, 1, 1.0, False)]).frame
    found = [[names[i] for i in codes] for codes, names in partitions(tiny_schema, frame, ["sex", "died"])]
    assert found == [
        ["sex=F", "sex=M", "sex=missing"],
        ["died=True", "died=missing", "died=False"],
        ["sex=F & died=True", "sex=M & died=missing", "sex=missing & died=False"],
    ]
    assert len(list(partitions(tiny_schema, frame, ["sex", "score", "died"]))) == 6
