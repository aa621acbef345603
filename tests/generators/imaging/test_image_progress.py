"""Progress of image fits: every stage says how much of it is done, often enough for a rate."""

import re
import subprocess
import sys
from collections import defaultdict
from typing import Any

import pytest

from synthgen.privacy.noise import NoiseSource
from tests.generators.two_stage.test_imaging import NAMES, config_of
from tests.support.phantom_cohorts import cohort


@pytest.mark.parametrize("name", NAMES)
def test_pretraining_and_dp_sgd_report_each_step_as_a_part_of_their_stage(name: str) -> None:
    data, told = cohort(40), defaultdict[str, list[float]](list)
    config = config_of(name)
    plan = config.plan(data.schema, epsilon=5.0, delta=1e-5, patients=4000)
    stages: list[str] = []

    def progress(what: str, done: float) -> None:
        stage = re.sub(r": \d.*", "", what)
        stages.append(stage)
        told[stage].append(done)

    config.fit(data, plan, noise=NoiseSource.for_tests(0), progress=progress)
    for stage, steps in (("pretraining", config.pretraining), ("DP-SGD", config.steps)):
        assert len(told[stage]) == steps
        assert told[stage][-1] == 1.0
        assert told[stage] == sorted(told[stage])
    assert all(0.0 <= done <= 1.0 for values in told.values() for done in values)
    order = list(dict.fromkeys(stages))
    assert order.index("votes") < order.index("pretraining") < order.index("DP-SGD") < order.index("done")


def threads(environment: dict[str, str]) -> str:
    code = "import synthgen, os; print(os.environ['OMP_WAIT_POLICY'], os.environ['OPENBLAS_NUM_THREADS'])"
    found: Any = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return str(found.stdout).strip()


def test_waiting_threads_sleep_unless_the_user_says_otherwise() -> None:
    """Spinning made a step on a loaded machine cost 3.8 CPU seconds instead of .5."""
    import os

    ours = ("OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")
    plain = {key: value for key, value in os.environ.items() if key not in ours}
    assert threads(plain) == "PASSIVE 1"
    assert threads({**plain, "OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_NUM_THREADS": "4"}) == "ACTIVE 4"


@pytest.mark.parametrize(("load", "threads_used"), [(0.3, 2), (1.2, 2), (2.1, 1), (15.0, 1)])
def test_training_takes_the_free_cores_and_gives_the_threads_back(
    monkeypatch: pytest.MonkeyPatch, load: float, threads_used: int
) -> None:
    import os

    import torch

    from synthgen.generators.device import free_cores

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    try:
        with free_cores():
            assert torch.get_num_threads() == threads_used
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
