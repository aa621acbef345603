"""The demo: the main job on a small open cohort, from start to bundle."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthgen import datasets
from synthgen.config.run_config import load_config
from synthgen.datasets import meps_survey
from synthgen.errors import ConfigError
from synthgen.files.safe_files import replacing, write_bytes
from synthgen.pipeline import run as pipeline

DEMOS: dict[str, dict[str, tuple[str, ...]]] = {
    "tables": {
        "diabetes130": ("diabetes130_marginal_eps1.yaml", "diabetes130_marginal_eps4.yaml"),
        "meps": ("meps_marginal_eps3.yaml",),
    },
    "imaging": {"pneumoniamnist": ("pneumoniamnist_eps10.yaml",)},
}


def run(
    what: str,
    output: Path,
    *,
    progress: Callable[[str, float], None],
    generator: str | None = None,
    cohort: str | None = None,
) -> dict[str, Any]:
    """Run a demo in a folder of its own, ledger included.

    Where the first config's honest verdict is not release, the second config, with its own cohort name and
    cap declared beside it, shows a bundle.

    Args:
        what: ``tables`` or ``imaging``.
        output: the demo's folder; a finished demo is not run again.
        progress: called with what is being done and the part done, from 0 to 1.
        generator: key of the generator, with its own defaults; None is the config's.
        cohort: name of the demo's cohort; None is the one that ships with the package, which is synthetic.

    Returns:
        The first run's verdict as the command line prints it; ``runs`` holds the outcome of each config.

    Raises:
        ConfigError: there is no such demo, cohort or generator, or the package that carries the cohort is
            missing.
    """
    if what not in DEMOS:
        raise ConfigError(f"Expected one of {sorted(DEMOS)}, got {what!r}.", where="demo")
    cohorts = DEMOS[what]
    cohort = next(iter(cohorts)) if cohort is None else cohort
    if cohort not in cohorts:
        raise ConfigError(f"Expected one of {list(cohorts)} as cohort, got {cohort!r}.", where=f"demo {what}")
    configs = cohorts[cohort]
    persons = meps_survey.read_persons() if cohort == "meps" else None
    output = output.resolve()
    for file in datasets.path(cohort).iterdir():
        if file.is_file() and file.suffix != ".py" and not os.path.lexists(output / file.name):
            write_bytes(output / file.name, file.read_bytes(), private=False)
    if persons is not None:
        with replacing(output / "meps.parquet", private=True) as stream:
            persons.to_parquet(stream, index=False)
    outcomes = []
    overrides = [] if generator is None else [f"generator={{name: {generator}}}"]
    for name in configs:
        loaded = load_config(output / name, overrides=overrides)
        folder = "_".join(part for part in (Path(name).stem, generator) if part)
        outcome = pipeline.run(loaded, output / folder, overrides=overrides, resume=True, progress=progress)
        outcomes.append(outcome)
        if outcome["verdict"] == "release":
            break
    shown = next((o for o in outcomes if o["verdict"] == "release"), outcomes[0])
    report = str(Path(shown["run"]) / "internal" / "report.html")
    return {**shown, "report": report, "runs": [{"run": o["run"], "verdict": o["verdict"]} for o in outcomes]}
