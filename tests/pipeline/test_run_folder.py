"""A run's folder: whose it is, and what a killed process may have left in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthgen.errors import ConfigError
from synthgen.pipeline.run_folder import RunFolder


def create(path: Path) -> RunFolder:
    return RunFolder.create(path, digest="d", source={}, resume=True)


@pytest.mark.parametrize(
    "left", [[], ["internal/"], ["internal/", "public/"], ["internal/.state.json.partial", "public/"]]
)
def test_a_folder_whose_making_was_killed_is_made_again(tmp_path, left):
    for name in left:
        target = tmp_path / "run" / name
        (target if name.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            target.write_text('{"dig')
    folder = create(tmp_path / "run")
    assert folder.state["digest"] == "d"
    assert folder.internal.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("other", ["notes.txt", "internal/answers.journal", "public/synthetic.csv"])
def test_a_folder_with_anything_else_is_refused(tmp_path, other):
    path = tmp_path / "run" / other
    path.parent.mkdir(parents=True)
    path.write_text("x")
    with pytest.raises(ConfigError, match="found other files"):
        create(tmp_path / "run")


def test_a_partial_run_with_stored_answers_says_what_resuming_costs(tmp_path):
    folder = create(tmp_path / "run")
    folder.answers.touch()
    with pytest.raises(ConfigError, match="with stored answers") as caught:
        RunFolder.create(tmp_path / "run", digest="d", source={}, resume=False)
    assert "not stored" in caught.value.next_step
