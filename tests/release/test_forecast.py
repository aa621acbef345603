"""The plain warning that there are too few patients."""

import numpy as np
import pytest

from synthgen.evaluation.expected_power import Declared
from synthgen.privacy.accountant import calibrate_rho
from synthgen.release.forecast import forecast
from synthgen.release.gate.policy import load_policy, shipped_names
from synthgen.release.sample_size import TOLERATED, few_patients, typical_noise, warnings_of
from tests.support import phantom_cohorts


def test_noise_beyond_the_tolerated_half_width_is_said_and_less_is_not():
    # 1.96 sigma / patients is 5 % at sigma = 25.5 and 1,000 patients
    assert few_patients(1000, 25.6, epsilon=1.0, delta=1e-6)
    assert few_patients(1000, 25.4, epsilon=1.0, delta=1e-6) == []


def test_the_number_of_patients_and_the_epsilon_it_names_would_do():
    text = few_patients(100, 30.0, epsilon=1.0, delta=1e-6)[0]
    needed = int(text.split("about ")[1].split(" training")[0].replace(",", ""))
    assert few_patients(needed, 30.0, epsilon=1.0, delta=1e-6) == []
    assert few_patients(needed - 1, 30.0, epsilon=1.0, delta=1e-6)
    enough = float(text.split(", or epsilon ")[1].split(" ")[0])
    scale = (calibrate_rho(1.0, 1e-6) / calibrate_rho(enough, 1e-6)) ** 0.5
    assert 1.96 * 30.0 * scale / 100 == pytest.approx(TOLERATED, rel=0.05)


def test_the_half_width_is_that_of_simulated_noise():
    noise = np.random.default_rng(0).normal(0, 8, 20_000) / 100
    half = float(np.quantile(np.abs(noise), 0.95))
    shown = int(few_patients(100, 8.0, epsilon=1.0, delta=1e-6)[0].split("minus ")[1].split(" ")[0])
    assert abs(shown / 100 - half) < 0.01


def test_a_plan_that_names_no_noise_is_judged_by_what_a_single_count_would_take():
    assert typical_noise([None, None]) is None
    assert typical_noise([None, 3.0, 5.0, 100.0]) == 5.0
    assert few_patients(100, None, epsilon=1.0, delta=1e-6)
    assert few_patients(
        100, 1.1, epsilon=1.0, delta=1e-6
    )  # a noise multiplier of training is no count's noise
    assert few_patients(100_000, None, epsilon=1.0, delta=1e-6) == []


def test_a_record_is_judged_by_its_generators_stages_and_not_by_what_was_paid_before(record):
    assert warnings_of(record) == []
    few = {**record, "plan": {**record["plan"], "patients": 10}}
    assert warnings_of(few)[0].startswith("TOO FEW PATIENTS")
    loud = [{"noise": 1e9}, *record["plan"]["stages"]]
    parameters = {**record["plan"]["parameters"], "preprocessing": {"columns": {"a": 1}}}
    paid = {**record, "plan": {**record["plan"], "stages": loud, "parameters": parameters}}
    assert warnings_of(paid) == []


@pytest.mark.parametrize("name", shipped_names())
def test_a_forecast_knows_every_key_that_a_shipped_policy_judges(name, schema):
    images = phantom_cohorts.schema_of() if name == "images" else schema
    target = next(iter(images.with_role("label")))
    groups = tuple(images.with_role("protected"))
    for patients in (40, 4000):
        declared = Declared(images, patients, patients // 4, patients // 4, patients, target, groups)
        found = forecast(load_policy(name), declared)  # a key that no metric has ends with an error
        assert found.gates or found.hindrances
