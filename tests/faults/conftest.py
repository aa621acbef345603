"""One driver for all runs that are killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.runs import Driver, Run


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    made = Driver()
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody killed."""
    run = Run(tmp_path_factory.mktemp("whole"), driver).prepare()
    run.finish()
    return run


@pytest.fixture
def run(driver: Driver, tmp_path: Path) -> Run:
    return Run(tmp_path, driver).prepare()
