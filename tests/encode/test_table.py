"""Public cells: what they hold, and that a value goes through them and comes back near."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.encode.table import Encoder, coarse_bins, is_wide
from synthgen.errors import DataError
from synthgen.schema import code_systems as codes
from synthgen.schema.schema import Schema

DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", "../shared/data"))


def grid_of(**field):
    fields = [{"name": "id", "type": "string", "role": "id"}, {"name": "x", **field}]
    schema = Schema.model_validate_json(json.dumps({"unit": {"column": "id"}, "fields": fields}))
    return Encoder.of(schema).grids["x"]


def number(low, high, **more):
    return grid_of(type=more.pop("type", "number"), constraints={"minimum": low, "maximum": high}, **more)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.sampled_from([(0.0, 1e6), (0.0, 1.0), (-5.0, 1e5), (1.0, 1e4), (18.0, 100.0), (-1e6, -1.0)]),
    st.sampled_from(["auto", "linear", "log"]),
    st.floats(0, 1),
)
def test_a_drawn_number_lies_in_the_cell_of_the_value_and_within_the_bounds(bounds, scale, u):
    grid = number(*bounds, scale=scale)
    value = bounds[0] + u**8 * (bounds[1] - bounds[0])
    cell = grid.encode(pd.Series([value]))
    assert (np.diff(grid.edges) > 0).all()
    drawn = grid.decode(np.repeat(cell, 20), rng=np.random.default_rng(0))
    assert drawn.between(*bounds).all()
    assert (grid.encode(drawn) == cell).mean() >= 0.9  # rounding may reach a border


@pytest.mark.parametrize("kind", ["number", "integer"])
def test_bounds_and_zero_have_cells_of_their_own(kind):
    grid = number(0, 50_000, type=kind)
    cells = grid.encode(pd.Series([0.0, 50_000.0, 1.0, 49_999.0, np.nan]))
    assert len(set(cells.tolist())) == 5
    drawn = grid.decode(np.full(50, cells[0]), rng=np.random.default_rng(0))
    assert (drawn == 0).all()


def test_which_numbers_are_wide_follows_from_their_public_bounds():
    wide = [
        number(0, 1e6),
        number(0, 1.0),
        number(1, 1e4),
        number(0, 5000, type="integer"),
        number(-9, 9, scale="log"),
    ]
    equal = [
        number(18, 100),
        number(-40, 60),
        number(0, 90, type="integer"),
        number(0, 1e6, scale="linear"),
        number(0, 1e6, bins=20),
    ]
    assert all(is_wide(grid.column) for grid in wide)
    assert not any(is_wide(grid.column) for grid in equal)
    assert all(90 <= grid.n_values <= 190 for grid in [*wide, *equal])


@pytest.mark.parametrize(
    ("name", "high", "limit"),
    [("lognormal", 1e6, 0.05), ("zero-inflated", 1e5, 0.03), ("uniform", 1e3, 0.02)],
)
def test_cells_keep_the_shape_of_skewed_numbers_and_equal_cells_do_not(name, high, limit):
    rng = np.random.default_rng(0)
    n = 40_000
    values = {
        "lognormal": rng.lognormal(6, 1.2, n),
        "zero-inflated": np.where(rng.random(n) < 0.6, 0, rng.gamma(0.7, 300, n)),
        "uniform": rng.uniform(0, high, n),
    }[name].clip(0, high)
    shift = {}
    for scale in ("auto", "linear"):
        grid = number(0.0, high, scale=scale)
        drawn = np.sort(grid.decode(grid.encode(pd.Series(values)), rng=rng))
        both = np.concatenate([drawn, values])
        gap = np.searchsorted(drawn, both, side="right") - np.searchsorted(
            np.sort(values), both, side="right"
        )
        shift[scale] = np.abs(gap).max() / n
    print(name, shift)
    assert shift["auto"] < limit
    if name != "uniform":
        assert shift["linear"] > 3 * limit  # the control: equal cells lose the shape


def test_codes_are_ordered_by_their_hierarchy_so_that_neighbours_can_be_joined():
    grid = grid_of(type="string", codes="icd9")
    assert grid.is_ordered
    assert not grid_of(type="string", constraints={"enum": ["b", "a"]}).is_ordered
    labels = list(grid.column.labels)
    assert labels.index("250") - labels.index("249") == 1
    assert labels.index("V01") > labels.index("E999") > labels.index("999")
    drawn = grid.decode(np.array([249, grid.missing]), rng=np.random.default_rng(0))
    assert drawn.tolist()[0] == "250"
    assert drawn.isna().tolist() == [False, True]


@pytest.mark.parametrize("kind", ["icd9", "icd10"])
def test_a_category_is_its_own_category_and_the_list_names_none_twice(kind):
    found = codes.categories(kind)
    assert len(set(found)) == len(found)
    assert [codes.category(kind, one) for one in found] == list(found)
    assert codes.in_order(kind, set(found)) == found


def diabetes_codes():
    with zipfile.ZipFile(DATA / "diabetes130" / "dataset_diabetes.zip") as archive:
        member = next(name for name in archive.namelist() if name.endswith("diabetic_data.csv"))
        frame = pd.read_csv(archive.open(member), usecols=["diag_1", "diag_2", "diag_3"], dtype=str)
    return {text for name in frame for text in frame[name].dropna().unique()} - {"?"}


def mimic_codes():
    frame = pd.read_csv(DATA / "mimic3_demo" / "DIAGNOSES_ICD.csv.gz", usecols=["icd9_code"], dtype=str)
    return set(frame["icd9_code"].dropna())


@pytest.mark.parametrize("read", [diabetes_codes, mimic_codes])
def test_every_diagnosis_of_a_real_cohort_has_a_public_category(read):
    try:
        texts = read()
    except FileNotFoundError:
        pytest.skip("the cohort is not in SYNTHGEN_TEST_DATA")
    public = set(codes.categories("icd9"))
    assert len(texts) > 500
    assert not {text for text in texts if codes.category("icd9", text) not in public}


def test_moments_keep_their_time_of_day_and_their_order_on_the_way_out():
    from synthgen.data.tables import SyntheticTable
    from synthgen.ingest.tables.table import canonical

    form = "%d.%m.%Y %H:%M"
    fields = [
        {"name": "id", "type": "string", "role": "id"},
        {
            "name": "out",
            "type": "datetime",
            "since": "in",
            "format": form,
            "constraints": {"minimum": 0, "maximum": 30},
        },
        {
            "name": "in",
            "type": "datetime",
            "format": form,
            "origin": "2000-01-01",
            "constraints": {"minimum": "2010-01-01", "maximum": "2020-01-01"},
        },
    ]
    schema = Schema.model_validate_json(json.dumps({"unit": {"column": "id"}, "fields": fields}))
    raw = pd.DataFrame(
        {
            "out": ["05.03.2012 23:59", "04.03.2012 00:00", "", "01.01.2012 08:00"],
            "in": ["01.03.2012 22:59", "04.03.2012 00:00", "04.03.2012 01:00", ""],
        }
    )
    table, _ = canonical(raw, np.array(["a", "b", "c", "d"], dtype=object), schema)
    np.testing.assert_allclose(table.frame["out"].tolist()[:2], [4 + 1 / 24, 0.0])
    assert table.frame["out"].isna().tolist() == [False, False, True, True]  # no start, no interval
    start = pd.Timestamp("2012-03-01 22:59") - pd.Timestamp("2000-01-01")
    assert table.frame["in"].tolist()[0] == start / pd.Timedelta(days=1)
    out = SyntheticTable(schema, table.frame).to_pandas()
    assert out["out"].tolist()[:2] == ["05.03.2012 23:59", "04.03.2012 00:00"]
    assert list(out.columns) == ["id", "out", "in"]
    with pytest.raises(DataError, match="outside the bounds"):
        canonical(raw.assign(out="01.03.2011 00:00"), np.array(["a", "b", "c", "d"], dtype=object), schema)


def through(grid, values):
    """Return values drawn from the cells of values: all that a generator with no error could give back."""
    return grid.decode(grid.encode(pd.Series(values)), rng=np.random.default_rng(1)).to_numpy()


@pytest.mark.parametrize("cells", [20, 100])
@pytest.mark.parametrize(
    ("field", "sign"),
    [
        ({"type": "number", "minimum": 0, "maximum": 1e6}, 1),
        ({"type": "number", "minimum": 0, "maximum": 1e6, "scale": "log"}, 1),
        ({"type": "number", "minimum": 0, "maximum": 1e6, "decimals": 1}, 1),
        ({"type": "number", "minimum": 0.1, "maximum": 1e6, "decimals": 1, "scale": "log"}, 1),
        ({"type": "number", "minimum": -1e6, "maximum": 0, "decimals": 2}, -1),
        ({"type": "number", "minimum": -1e6, "maximum": 1e6, "decimals": 1}, 1),
        ({"type": "number", "minimum": -1e6, "maximum": 1e6}, -1),
        ({"type": "integer", "minimum": 0, "maximum": 10_000_000}, 1),
    ],
)
def test_values_far_below_the_largest_bound_keep_their_quartiles(field, sign, cells):
    # hCG: half of all values below 2, bounds to a million. Equal bins gave a median of 63.6.
    limits = {key: field[key] for key in ("minimum", "maximum")}
    more = {key: field[key] for key in field if key not in limits}
    fields = [
        {"name": "id", "type": "string", "role": "id"},
        {"name": "x", "constraints": limits, **more},
    ]
    schema = Schema.model_validate_json(json.dumps({"unit": {"column": "id"}, "fields": fields}))
    grid = Encoder.of(schema, fine_cells=cells).grids["x"]
    scale = 20.0 if field["type"] == "integer" else 1.9
    values = sign * np.random.default_rng(0).lognormal(np.log(scale), 1.5, 20_000)
    values = np.clip(np.round(values, 0 if field["type"] == "integer" else 1), limits["minimum"], 1e7)
    before, after = (np.quantile(np.abs(x), [0.25, 0.5, 0.75]) for x in (values, through(grid, values)))
    assert (np.abs(np.log(after / before)) < (0.5 if cells == 20 else 0.2)).all()


@pytest.mark.parametrize("low", [0, -50_000])
@pytest.mark.parametrize("more", [{}, {"decimals": 2}, {"scale": "log"}, {"type": "integer"}])
def test_zero_is_a_bin_of_its_own(low, more):
    rng = np.random.default_rng(0)
    values = np.where(rng.random(5000) < 0.6, 0.0, np.round(rng.lognormal(3, 1, 5000) + 1, 0))
    drawn = through(number(low, 50_000, **more), values)
    assert ((drawn == 0) == (values == 0)).all()


@pytest.mark.parametrize("decimals", [0, 1, 2, 3, 6, -2])
def test_drawn_numbers_have_the_declared_decimals_and_stay_within_the_bounds(decimals):
    grid = number(-3.7, 812.3, decimals=decimals)
    values = np.round(np.random.default_rng(0).uniform(-3.7, 812.3, 2000), decimals)
    drawn = through(grid, np.clip(values, -3.7, 812.3))
    np.testing.assert_array_equal(drawn, np.round(drawn, decimals))
    assert drawn.min() >= -3.7
    assert drawn.max() <= 812.3
    one = number(0, 3, decimals=1)  # one cell a value: nothing is blurred
    exact = np.round(np.random.default_rng(0).uniform(0, 3, 500), 1)
    np.testing.assert_array_equal(through(one, exact), exact)


def test_a_number_whose_text_means_missing_is_never_drawn():
    grid = number(0, 120, type="integer", missingValues=["", "99", "-1"])
    drawn = grid.decode(np.arange(grid.n_values).repeat(200), rng=np.random.default_rng(0))
    assert 99 not in set(drawn)
    assert {98, 100} <= set(drawn)


def test_bins_too_wide_for_the_declared_precision_are_said():
    fields = [
        {"name": "id", "type": "string", "role": "id"},
        {"name": "equal", "type": "number", "decimals": 1, "scale": "linear"},
        {"name": "asked", "type": "integer", "bins": 10},
        {"name": "wide", "type": "number", "decimals": 1},
        {"name": "free", "type": "number", "scale": "linear"},
    ]
    for field in fields[1:]:
        field["constraints"] = {"minimum": 0, "maximum": 1e6}
    schema = Schema.model_validate_json(json.dumps({"unit": {"column": "id"}, "fields": fields}))
    found = coarse_bins(schema, fine_cells=100)
    assert [name for name, _, _ in found] == ["equal", "asked"]
    assert "scale: log" in found[0][2]
