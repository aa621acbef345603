"""Parts that share patients are refused, whatever became of ids and values; parts of a cohort are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable
from synthgen.errors import DataError
from synthgen.evaluation.overlap import overlap, require_disjoint
from tests.support.controls import blurred

Cohort = Callable[[int, int], RealTable]


def anew(table: RealTable, frame: pd.DataFrame, name: str = "n") -> RealTable:
    """Return a table whose patients have new ids, one a record."""
    return RealTable(table.schema, frame, np.array([f"{name}{i}" for i in range(len(frame))], dtype=object))


@pytest.fixture(scope="module")
def parts(cohort: Cohort) -> dict[str, RealTable]:
    return {name: cohort(n, i) for i, (name, n) in enumerate({"train": 900, "holdout": 500}.items())}


def refused(parts: dict[str, RealTable]) -> str:
    with pytest.raises(DataError) as caught:
        require_disjoint(parts)
    assert caught.value.exit_code == 3
    return str(caught.value)


def mixed(parts: dict[str, RealTable], share: float, noise: float, seed: int = 0) -> RealTable:
    """Return a holdout of which a share are blurred training records with new ids."""
    train, holdout = parts["train"], parts["holdout"]
    rng = np.random.default_rng(seed)
    n = round(share * len(holdout))
    copies = train.frame.iloc[rng.permutation(len(train))[:n]].reset_index(drop=True)
    copies = blurred(copies, train.schema, seed, noise) if noise else copies
    return anew(holdout, pd.concat([holdout.frame[n:], copies], ignore_index=True))


def test_parts_of_one_cohort_pass_in_all_shapes(cohort: Cohort) -> None:
    """30 pairs, each looked at some 20 times: a false alarm has a probability under 1e-5."""
    sizes = ((300, 300), (900, 150), (150, 900), (60, 60), (600, 40))
    for seed in range(6):
        for n, m in sizes:
            require_disjoint({"train": cohort(n, 100 + seed), "holdout": cohort(m, 500 + seed)})


def test_a_cohort_of_few_columns_with_many_equal_records_passes(tiny_schema: object) -> None:
    rng = np.random.default_rng(0)

    def drawn(n: int, name: str) -> RealTable:
        columns = {
            "sex": pd.Categorical(rng.choice(["F", "M"], n), categories=["F", "M"]),
            "score": rng.integers(0, 4, n).astype(float),
            "lab": rng.integers(0, 5, n).astype(float),
            "died": pd.Categorical(rng.random(n) < 0.2, categories=[False, True]),
        }
        units = np.array([f"{name}{i}" for i in range(n)], dtype=object)
        return RealTable(tiny_schema, pd.DataFrame(columns), units)  # type: ignore[arg-type]

    for n, m in ((500, 500), (4000, 300), (300, 4000)):
        require_disjoint({"train": drawn(n, "t"), "holdout": drawn(m, "h")})


def test_other_patients_of_a_denser_population_pass(cohort: Cohort) -> None:
    """The holdout has men and women, the training table women alone, twice as dense there."""
    both = cohort(900, 41)
    women = cohort(1500, 42)
    women = women.select((women.frame["sex"] == "F").to_numpy())
    require_disjoint({"train": women, "holdout": both})
    require_disjoint({"train": both, "holdout": women})


def test_a_holdout_that_is_the_real_table_is_refused(parts: dict[str, RealTable]) -> None:
    train = parts["train"]
    same = train.take(np.random.default_rng(0).permutation(len(train)))
    assert "holds the same records" in refused({"train": train, "holdout": same})
    assert "equal or nearly equal" in refused({"train": train, "holdout": anew(train, train.frame[1:])})


def test_one_patient_in_two_parts_is_refused_by_the_id(parts: dict[str, RealTable]) -> None:
    units = parts["holdout"].units.copy()
    units[0] = parts["train"].units[5]
    message = refused({**parts, "holdout": replace(parts["holdout"], units=units)})
    assert "1 patients of the holdout have an id of the real table" in message
    assert str(units[0]) not in message


@pytest.mark.parametrize(
    ("share", "noise"), [(0.2, 0.0), (0.2, 0.002), (0.5, 0.0), (0.5, 0.01), (1.0, 0.0), (1.0, 0.02)]
)
def test_a_holdout_of_moved_training_rows_is_refused(
    parts: dict[str, RealTable], share: float, noise: float
) -> None:
    message = refused({**parts, "holdout": mixed(parts, share, noise)})
    assert "nearly equal to records of the real table" in message


def test_the_number_of_shared_records_is_about_right(parts: dict[str, RealTable]) -> None:
    found = overlap(mixed(parts, 0.5, 0.002), parts["train"])
    assert found is not None
    assert abs(found.records / found.of - 0.5) < 0.1


def test_a_reference_of_training_rows_is_refused(parts: dict[str, RealTable], cohort: Cohort) -> None:
    reference = mixed({**parts, "holdout": cohort(400, 9)}, 0.5, 0.002)
    assert "reference" in refused({**parts, "reference": reference})
    require_disjoint({**parts, "reference": cohort(400, 9)})
