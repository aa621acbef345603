"""Events survive JSON, and nothing else is let in."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from dp_accounting import dp_event as e
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.privacy import event_json

NUMBERS = st.floats(0, 1e12, allow_nan=False)
RATES = st.floats(0, 1)
COUNTS = st.integers(0, 10**9)
LEAVES = st.one_of(
    st.just(e.NoOpDpEvent()),
    st.just(e.NonPrivateDpEvent()),
    st.builds(e.GaussianDpEvent, NUMBERS),
    st.builds(e.LaplaceDpEvent, NUMBERS),
    st.builds(e.DiscreteLaplaceDpEvent, NUMBERS, st.integers(1, 10**6)),
    st.builds(e.RandomizedResponseDpEvent, RATES, st.integers(1, 99)),
    st.builds(e.ZCDpEvent, NUMBERS, NUMBERS),
    st.builds(e.TruncatedSubsampledGaussianDpEvent, COUNTS, RATES, COUNTS, NUMBERS),
)
EVENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(e.PoissonSampledDpEvent, RATES, inner),
        st.builds(e.SelfComposedDpEvent, inner, COUNTS),
        st.builds(e.ComposedDpEvent, st.lists(inner, max_size=4)),
        st.builds(e.RepeatAndSelectDpEvent, inner, st.floats(1, 1e6), st.floats(0, 1e6)),
    ),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None)
@given(EVENTS)
def test_every_allowed_event_survives_json(event):
    text = json.dumps(event_json.to_json(event), allow_nan=False)
    assert event_json.from_json(json.loads(text)) == event
    assert event_json.canonical(event_json.from_json(json.loads(text))) == event_json.canonical(event)


def test_numpy_numbers_become_plain_ones():
    event = e.SelfComposedDpEvent(e.ZCDpEvent(np.float64(0.5)), np.int64(3))
    assert json.loads(event_json.canonical(event))["event"]["rho"] == 0.5
    assert type(event_json.to_json(event)["count"]) is int


@pytest.mark.parametrize(
    "event",
    [
        e.SampledWithoutReplacementDpEvent(100, 10, e.GaussianDpEvent(1.0)),  # shuffling
        e.SampledWithReplacementDpEvent(100, 10, e.GaussianDpEvent(1.0)),
        e.SingleEpochTreeAggregationDpEvent(1.0, 4),
        e.UnsupportedDpEvent(),
        e.ComposedDpEvent([e.NoOpDpEvent(), e.UnsupportedDpEvent()]),
        "GaussianDpEvent",
    ],
)
def test_a_class_off_the_list_is_refused_when_written(event):
    with pytest.raises(ValueError, match="Expected a privacy event"):
        event_json.to_json(event)


def test_a_subclass_that_pretends_to_be_cheaper_is_refused():
    class GaussianDpEvent(e.GaussianDpEvent):
        pass

    with pytest.raises(ValueError, match="Expected a privacy event"):
        event_json.to_json(GaussianDpEvent(1.0))


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        [],
        {"class": "os.system"},
        {"class": ["ZCDpEvent"]},
        {"class": "DpEvent"},
        {"class": "ZCDpEvent", "rho": 1.0},
        {"class": "ZCDpEvent", "rho": 1.0, "xi": 0.0, "module_name": "os"},
        {"class": "ZCDpEvent", "rho": -1.0, "xi": 0.0},
        {"class": "ZCDpEvent", "rho": math.nan, "xi": 0.0},
        {"class": "ZCDpEvent", "rho": math.inf, "xi": 0.0},
        {"class": "ZCDpEvent", "rho": "1.0", "xi": 0.0},
        {"class": "ZCDpEvent", "rho": True, "xi": 0.0},
        {"class": "PoissonSampledDpEvent", "sampling_probability": 1.5, "event": {"class": "NoOpDpEvent"}},
        {"class": "SelfComposedDpEvent", "event": {"class": "NoOpDpEvent"}, "count": -1},
        {"class": "SelfComposedDpEvent", "event": {"class": "NoOpDpEvent"}, "count": 1.5},
        {"class": "SelfComposedDpEvent", "event": None, "count": 1},
        {"class": "ComposedDpEvent", "events": {"class": "NoOpDpEvent"}},
    ],
)
def test_what_would_pay_budget_back_or_is_unknown_is_refused_when_read(mapping):
    with pytest.raises(ValueError, match=r"Expected|expected"):
        event_json.from_json(mapping)
