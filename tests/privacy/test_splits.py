"""Parts and kept records depend on the patient's own id alone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synthgen.privacy.splits import keep_records, new_key, part_of

KEY = bytes(range(32))
SHARES = {"train": 0.7, "reference": 0.1, "holdout": 0.2}
TABLES = st.lists(st.sampled_from([f"p{i}" for i in range(12)]), min_size=1, max_size=60)


@settings(derandomize=True, deadline=None)
@given(TABLES, st.integers(1, 4), st.data())
def test_removing_any_patient_leaves_all_others_where_they_were(table, max_records, data):
    units = np.array(table)
    gone = data.draw(st.sampled_from(sorted(set(table))))
    rest = units != gone
    parts = part_of(units, key=KEY, shares=SHARES)
    kept = keep_records(units, key=KEY, max_records=max_records)
    assert (part_of(units[rest], key=KEY, shares=SHARES) == parts[rest]).all()
    assert (keep_records(units[rest], key=KEY, max_records=max_records) == kept[rest]).all()


def test_a_seeded_permutation_would_fail_the_same_check():
    def permuted(units: np.ndarray) -> np.ndarray:
        order = np.random.default_rng(0).permutation(len(units))
        return np.where(order < 0.7 * len(units), "train", "holdout")

    units = np.array([f"p{i}" for i in range(200)])
    moved = (permuted(units[1:]) != permuted(units)[1:]).mean()
    assert moved > 0.2


@settings(derandomize=True, deadline=None)
@given(TABLES, st.integers(1, 4))
def test_a_patient_keeps_as_many_records_as_allowed_and_has_one_part(table, max_records):
    units = np.array(table)
    kept = keep_records(units, key=KEY, max_records=max_records)
    parts = part_of(units, key=KEY, shares=SHARES)
    for unit in set(table):
        assert kept[units == unit].sum() == min(max_records, table.count(unit))
        assert len(set(parts[units == unit])) == 1


@settings(derandomize=True, deadline=None)
@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter_for_parts(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    units = np.array(table)
    assert (
        part_of(units[order], key=KEY, shares=SHARES) == part_of(units, key=KEY, shares=SHARES)[order]
    ).all()


def test_shares_hold_and_wrong_shares_are_rejected():
    # Binomial tests at 1e-3 on a fixed key; 20,000 patients.
    parts = part_of(np.array([f"p{i}" for i in range(20_000)]), key=KEY, shares=SHARES)
    for name, share in SHARES.items():
        hits = int((parts == name).sum())
        assert stats.binomtest(hits, 20_000, share).pvalue > 1e-3
        assert stats.binomtest(hits, 20_000, share + 0.02).pvalue < 1e-3


def test_every_record_of_a_patient_is_equally_likely_to_be_kept():
    units = np.repeat([f"p{i}" for i in range(4000)], 5)
    kept = keep_records(units, key=KEY, max_records=2).reshape(-1, 5).sum(axis=0)
    for hits in kept:
        assert stats.binomtest(int(hits), 4000, 0.4).pvalue > 1e-4
    assert stats.binomtest(4000, 4000, 0.4).pvalue < 1e-4  # keeping the first records would be found


def test_parts_and_kept_records_are_independent_of_each_other():
    units = np.repeat([f"p{i}" for i in range(4000)], 2)
    first = keep_records(units, key=KEY, max_records=1)[::2]
    train = part_of(units[::2], key=KEY, shares={"train": 0.5, "holdout": 0.5}) == "train"
    table = [
        [(first & train).sum(), (first & ~train).sum()],
        [(~first & train).sum(), (~first & ~train).sum()],
    ]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_another_key_draws_other_parts_and_other_records():
    units = np.repeat([f"p{i}" for i in range(500)], 3)
    other = bytes(reversed(KEY))
    assert (part_of(units, key=KEY, shares=SHARES) != part_of(units, key=other, shares=SHARES)).mean() > 0.3
    assert (
        keep_records(units, key=KEY, max_records=1) != keep_records(units, key=other, max_records=1)
    ).any()


def test_a_part_with_share_zero_stays_empty_and_a_whole_share_takes_all():
    units = np.array([f"p{i}" for i in range(2000)])
    assert set(part_of(units, key=KEY, shares={"a": 0.0, "b": 1.0, "c": 0.0})) == {"b"}


def test_keys_come_from_the_system_and_differ():
    assert len(new_key()) == 32
    assert new_key() != new_key()


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": float("nan")}])
def test_shares_that_are_no_division_are_refused(shares):
    with pytest.raises(ValueError, match="shares"):
        part_of(np.array(["a"]), key=KEY, shares=shares)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="key"):
        part_of(np.array(["a"]), key=b"short", shares={"a": 1.0})
    with pytest.raises(ValueError, match="max_records"):
        keep_records(np.array(["a"]), key=KEY, max_records=0)
    with pytest.raises(ValueError, match="text"):
        part_of(np.array([1, 2]), key=KEY, shares={"a": 1.0})


def test_no_records_are_no_parts():
    assert len(part_of(np.array([], dtype=str), key=KEY, shares=SHARES)) == 0
    assert len(keep_records(np.array([], dtype=str), key=KEY, max_records=1)) == 0


def test_100_000_patients_take_less_than_two_seconds():
    units = np.repeat([f"p{i}" for i in range(50_000)], 2)
    start = time.perf_counter()
    part_of(np.array([f"p{i}" for i in range(100_000)]), key=KEY, shares=SHARES)
    middle = time.perf_counter()
    keep_records(units, key=KEY, max_records=1)
    end = time.perf_counter()
    print(f"parts of 100,000 patients: {middle - start:.2f} s; kept records of 100,000: {end - middle:.2f} s")
    assert end - start < 4  # one second each on an idle machine
