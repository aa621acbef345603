"""``kill -9`` at any moment of a run: the ledger never shows less than was drawn, and --resume finishes."""

from __future__ import annotations

import random

import pytest

from tests.faults.runs import Run


def query(steps: list[str], number: int) -> int:
    """Return the step at which the noise of a query was just drawn."""
    return [i for i, step in enumerate(steps) if step == "drawn"][number]


def test_a_run_that_nobody_kills_spends_its_plan_once(whole):
    whole.check()
    assert whole.witnessed() == pytest.approx(whole.booked())
    kinds = [entry.kind for entry in whole.ledger().entries()]
    assert kinds == ["cap", "reserve", "draw", "commit", "release"]
    assert (whole.folder / "run" / "internal" / "answers.journal").stat().st_mode & 0o777 == 0o600


def slow(*values: object, name: str) -> object:
    return pytest.param(*values, id=name, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("after", "lost"),
    [
        slow(-4, 0, name="nothing yet"),
        slow(-3, 1, name="announced"),
        slow(-2, 1, name="announced on disk"),
        slow(-1, 1, name="about to draw"),
        pytest.param(0, 1, id="drawn"),
        slow(1, 0, name="stored"),  # kill -9 loses no page of a file
        slow(2, 0, name="stored on disk"),
    ],
)
def test_each_window_of_a_query(run, whole, after, lost):
    assert run.go(kill_at=query(whole.steps(), 4) + after)["status"] == -9
    run.check()
    assert len(run.records("intent")) - len(run.records("answer")) == lost
    run.finish()
    spends = [entry for entry in run.ledger().entries() if entry.kind == "reserve"]
    assert len(spends) == 1 + lost


@pytest.mark.parametrize(
    "step",
    [
        slow("after reserve", name="reserved"),
        slow("after draw", name="draw row"),
        slow("before commit", name="saved"),
        "after commit",
    ],
)
def test_a_kill_around_the_ledgers_rows_costs_nothing(run, whole, step):
    assert run.go(kill_at=whole.steps().index(step))["status"] == -9
    run.check()
    run.finish()
    assert run.booked() == pytest.approx(whole.booked())


def test_a_ledger_on_postgresql_keeps_the_same_promise(driver, tmp_path, whole, postgresql):
    postgresql.empty()
    run = Run(tmp_path, driver, postgresql.url()).prepare()
    assert run.go(kill_at=query(whole.steps(), 5))["status"] == -9
    run.check()
    run.finish()
    assert len([entry for entry in run.ledger().entries() if entry.kind == "reserve"]) == 2


def test_a_draw_that_is_repeated_without_paying_is_noticed_by_these_tests(run, whole):
    assert run.go(kill_at=query(whole.steps(), 4))["status"] == -9
    assert run.go(unpaid=True)["status"] == 5
    with pytest.raises(AssertionError):
        run.check()


def test_what_was_lost_is_paid_for_again_or_the_run_ends_with_4(run, whole):
    run.ledger().open_cohort("cut", epsilon=1.0, delta=1e-6, reason="no headroom")
    assert run.go(kill_at=query(whole.steps(), 4))["status"] == -9
    before = run.witnessed()
    assert run.go()["status"] == 4
    assert "Query 5 of this fit was drawn and its answer lost" in (run.folder / "witness.log").read_text()
    assert run.witnessed() == before
    run.check()
    run.ledger().open_cohort("cut", epsilon=1.5, delta=1e-6, reason="the lost query")
    run.finish()


@pytest.mark.slow
def test_steps_all_over_a_run(driver, tmp_path, whole):
    for at in range(0, len(whole.steps()), 5):
        (folder := tmp_path / str(at)).mkdir()
        run = Run(folder, driver).prepare()
        assert run.go(kill_at=at)["status"] == -9
        run.check()
        run.finish()


@pytest.mark.slow
def test_fifty_kills_at_random_moments(driver, tmp_path, whole):
    """Every third moment is uniform in time, the others are uniform over the steps of a run."""
    chance, kills, finished = random.Random(20), 0, 0
    asked: list[int] = []
    seconds: dict[bool, float] = {}
    for evaluate in (False, True):
        (folder := tmp_path / f"timed{evaluate}").mkdir()
        seconds[evaluate] = Run(folder, driver).prepare(evaluate=evaluate).go()["seconds"]
    lost = 0
    while kills < 50:
        (folder := tmp_path / str(finished)).mkdir()
        evaluate = finished % 5 == 4
        run = Run(folder, driver).prepare(evaluate=evaluate)
        while kills < 50:
            after = {"kill_after": chance.uniform(0, seconds[evaluate])}
            moment = after if kills % 3 == 0 else {"kill_at": chance.randrange(len(whole.steps()))}
            outcome = run.go(**moment)
            run.check()
            if outcome["status"] != -9:
                break
            kills += 1
            asked.append(len(run.records("intent")))
            lost += len(run.records("intent")) - len(run.records("answer")) > 0
            if chance.random() < 0.5:
                break
        run.finish(judged=True)
        finished += 1
    print(f"{kills} kills in {finished} runs, all finished; draws announced at the kills: {sorted(asked)}")
    assert len(set(asked)) > 8  # all over the fit, not in its breaks alone
    assert lost > 0
