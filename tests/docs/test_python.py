"""The code of docs/python.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_code_blocks_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(0), 600
    age = rng.integers(18, 95, n)
    pd.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "age": age,
            "sex": rng.choice(["F", "M"], n),
            "cost": np.round(rng.gamma(2, 300, n), 2),
            "died": rng.random(n) < 1 / (1 + np.exp(-(age - 75) / 8)),
        }
    ).to_csv("cohort.csv", index=False)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102 - our own page
    assert Path("report.html").is_file()
    assert set(names["fake"]["sex"]) == {"F"}  # type: ignore[index]
