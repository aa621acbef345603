"""What the tests of the ledger share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dp_accounting import dp_event as e

from synthgen import errors
from synthgen.privacy.accountant import calibrate_rho
from synthgen.privacy.ledger.ledger import Ledger

DELTA = 1e-6
RHO = calibrate_rho(1.0, DELTA)


def opened(ledger: Ledger, *names: str) -> Ledger:
    for name in names:
        ledger.open_cohort(name, epsilon=1.0, delta=DELTA)
    return ledger


def book(ledger: Ledger, cohort: str = "icu", rho: float = RHO / 4, key: str = "") -> int:
    return ledger.reserve(cohort, e.ZCDpEvent(rho), purpose="fit marginal", run="run-1", key=key)


def in_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(errors.__file__).parents[1])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
