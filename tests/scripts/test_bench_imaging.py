"""The benchmark of images runs on any set in MedMNIST's layout, and its figures can be bad."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.evaluate import _image_learners

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(_image_learners, "STEPS", 5)
    return importlib.import_module("bench_imaging")


def test_a_row_has_every_figure_with_its_interval(bench: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 400), ("test", 130)):
        labels = np.arange(n) % 2
        images = np.clip(
            80 + 60 * labels[:, None, None] * (np.arange(12) < 6) + rng.normal(0, 9, (n, 12, 12)), 0, 255
        )
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels[:, None]}
    np.savez(tmp_path / "bars.npz", **arrays)
    asked = ["--data", str(tmp_path), "--sets", "bars", "--quick", "--json", str(tmp_path / "rows.json")]
    assert bench.main(asked) == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    figures = row["figures"]
    assert {"logistic.synthetic", "logistic.gap", "kernel", "precision", "recall", "coverage"} <= set(figures)
    assert figures["logistic.real"]["value"] > 0.95
    assert figures["logistic.synthetic"]["value"] > 0.9
    assert all(f["low"] <= f["value"] <= f["high"] for f in figures.values())
    sys.modules.pop("bench_imaging", None)
