"""The rivals of our attacks: each tool in an environment of its own, benchmark only, never a dependency."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _peers import ONE_THREAD, environment

REQUIREMENTS = {
    "anonymeter": ("anonymeter==1.1.0",),
    "sdmetrics": ("sdmetrics==0.32.0",),
    "synthcity": ("synthcity==0.2.12", "opacus==1.5.2"),  # a newer opacus does not load beside its torch
}
ATTACKS = {
    "anonymeter-singling-out": "Anonymeter singling out",
    "anonymeter-linkability": "Anonymeter linkability",
    "anonymeter-inference": "Anonymeter inference",
    "anonymeter-distance": "Anonymeter's distance",
    "sdmetrics-overfitting": "SDMetrics DCR overfitting",
    "sdmetrics-baseline": "SDMetrics DCR baseline",
    "sdmetrics-disclosure": "SDMetrics disclosure",
    "sdmetrics-distance": "SDMetrics' distance",
    "synthcity-prior": "Synthcity DOMIAS prior",
    "synthcity-kde": "Synthcity DOMIAS KDE",
    "synthcity-bnaf": "Synthcity DOMIAS BNAF",
}
LIMIT = 1_800  # seconds an attack

Row = dict[str, Any]


def run(attack: str, frames: dict[str, pd.DataFrame], what: Row) -> tuple[Row, np.ndarray | None]:
    """Run one attack of a rival.

    Args:
        attack: a key of `ATTACKS`.
        frames: ``train``, ``holdout``, ``reference`` and ``synthetic``.
        what: ``numbers``, ``label``, ``secrets`` and ``seed``.

    Returns:
        What it says and costs, or a ``status`` that says why it says nothing; and a score a record of train,
        then holdout, if it has one.
    """
    family = attack.partition("-")[0]
    python, why = environment(family, REQUIREMENTS[family])
    if python is None:
        return {"status": f"not installed: {why}"}, None
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, frame in frames.items():
            frame.to_csv(folder / f"{name}.csv", index=False)
        (folder / "what.json").write_text(json.dumps(what), encoding="utf-8")
        command = [str(python), str(Path(__file__).with_name("_rival_worker.py")), attack, str(folder)]
        settings = os.environ | ONE_THREAD
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=folder, env=settings, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            return {"status": f"nothing after {LIMIT} s"}, None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            print(f"{attack}: {last}", file=sys.stderr, flush=True)
            return {"status": f"failed: {last.partition(':')[0]}"}, None
        scores = folder / "scores.npy"
        said = {"status": "scored", **json.loads(done.stdout.splitlines()[-1])}
        return said, np.load(scores) if scores.exists() else None
