"""Test 9: two processes make one training. Same bits on both, the sum of one process, noise counted once.

The processes run every case right, and then with each planted defect, whose check must fail.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from synthgen.privacy.noise import NoiseSource
from tests.support import distributed_worker as world_worker
from tests.support.dpsgd import C


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What two processes wrote, "case -> result" of each."""
    out = tmp_path_factory.mktemp("world")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in "01":
        env = {**os.environ, "RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0", "WORLD_SIZE": "2",
               "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
               "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1",
               "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}  # fmt: skip
        command = [sys.executable, "-m", "tests.support.distributed_worker", str(out)]
        started.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    try:
        errors = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(p.returncode == 0 for p in started), "\n".join(e[-2000:] for e in errors)
    return [json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1)]


def check_same_bits(case: str, both: list) -> None:
    assert both[0][case]["weights"] == both[1][case]["weights"], "the processes' weights differ"


def check_one_sum(both: list) -> None:
    alone = world_worker.trained(1.0, 3, 7, NoiseSource.none())
    for one in both:
        assert np.allclose(one["sum"]["released"], alone["released"], rtol=1e-6, atol=1e-9)
    check_same_bits("sum", both)


def check_masks(both: list) -> None:
    masks = np.zeros((world_worker.STEPS, 12), dtype=bool)
    for one in both:
        for step, share in enumerate(one["masks"]["seen"]):
            assert not masks[step, share].any(), "a patient in both processes"
            masks[step, share] = True
    pairs = np.corrcoef(masks[:, 0::2].ravel(), masks[:, 1::2].ravel())[0, 1]
    assert abs(pairs) < 5 / np.sqrt(masks.size / 2), f"masks of the processes correlate: {pairs}"
    assert abs(masks.mean() - 0.2) < 5 * np.sqrt(0.16 / masks.size)


def check_noise(both: list) -> None:
    scaled = np.array(both[0]["noise"]["released"]).ravel() / (C / 5.0)
    low, high = stats.chi2.ppf([1e-7, 1 - 1e-7], scaled.size)
    assert low < (scaled**2).sum() < high, f"variance {scaled.var()}"
    check_same_bits("noise", both)


def check_counts(both: list) -> None:
    assert [one["counts"]["steps"] for one in both] == [40, 40]


def right(world):
    return [one["right"] for one in world]


def test_9_the_sum_is_that_of_one_process_and_the_weights_have_the_same_bits(world):
    check_one_sum(right(world))


@pytest.mark.parametrize("case", ["empty", "masks", "noise", "gan"])
def test_9_weights_have_the_same_bits_also_with_noise_empty_shards_and_two_optimizers(world, case):
    check_same_bits(case, right(world))
    assert right(world)[0]["gan"]["average"] == right(world)[1]["gan"]["average"]


def test_9_an_empty_process_joins_every_step(world):
    assert [len(one["empty"]["seen"]) for one in right(world)] == [3, 3]
    assert right(world)[1]["empty"]["seen"] == [[], [], []]
    check_counts(right(world))


def test_9_one_mask_is_shared_out_and_shares_are_independent(world):
    check_masks(right(world))


def test_9_noise_is_counted_once(world):
    check_noise(right(world))


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("5 no sum over processes", check_one_sum),
        ("6 shared shards", check_one_sum),
        ("7 equal seeds", check_masks),
        ("8 empty shards dropped", check_counts),
        ("noise of every process", check_noise),
    ],
)
def test_9_each_planted_defect_is_caught(world, fault, check):
    with pytest.raises(AssertionError):
        check([one[fault] for one in world])
