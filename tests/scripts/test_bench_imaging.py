"""The benchmark of images runs on any set in MedMNIST's layout, and its figures can be bad."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 400), ("test", 130)):
        labels = np.arange(n) % 2
        images = np.clip(
            80 + 60 * labels[:, None, None] * (np.arange(12) < 6) + rng.normal(0, 9, (n, 12, 12)), 0, 255
        )
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels[:, None]}
    np.savez(tmp_path / "bars.npz", **arrays)
    return tmp_path


@pytest.mark.usefixtures("scripts")
def test_a_row_has_every_figure(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench: Any = importlib.import_module("bench_imaging")
    learner: Any = importlib.import_module("_imaging_learner")
    sets: Any = importlib.import_module("_imaging_sets")
    monkeypatch.setattr(learner.probabilities, "__kwdefaults__", {"steps": 30, "seed": 0, "gpu": False})
    asked = bench._parser().parse_args(["--records", "400", "--sheet", str(bars)])
    found = bench.one("bars", sets.path_of("bars", bars), "embedding", {"name": "embedding"}, 10.0, 0, asked)
    assert json.loads(json.dumps(found)) == found
    assert found["measure"] == "AUC"
    assert found["value"] > 0.9
    assert set(found["figures"]) == {"kernel", "precision", "recall", "coverage"}
    assert (bars / "bars_embedding_10_0.png").exists()
    real = bench.one("bars", sets.path_of("bars", bars), "real", {}, None, 0, asked)
    assert real["value"] > 0.95


@pytest.mark.usefixtures("scripts")
def test_the_classifier_trained_directly_learns_under_a_budget_and_not_without_one(
    bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = importlib.import_module("bench_imaging")
    direct: Any = importlib.import_module("_dp_classifier")
    monkeypatch.setattr(direct, "STEPS", 25)
    monkeypatch.setattr(direct, "RATE", 0.5)  # few steps are long ones
    asked, path = bench._parser().parse_args([]), bars / "bars.npz"
    good, none = (bench.one("bars", path, bench.DIRECT, {}, e, 0, asked) for e in (10.0, 0.02))
    assert good["value"] > 0.9
    assert good["measure"] == none["measure"] == "AUC"
    assert none["value"] < 0.85
    assert good["figures"] == {}
    assert bench._imaging_rows.line(good)


@pytest.mark.usefixtures("scripts")
def test_without_a_gpu_the_gpu_mode_runs_in_a_tiny_setting(
    bars: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = importlib.import_module("bench_imaging")
    gpu: Any = importlib.import_module("_imaging_gpu")
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    out = bars / "rows.json"
    asked = ["--gpu", "--data", str(bars), "--sets", "bars", "fashion_mnist", "--epsilons", "10"]
    assert bench.main([*asked, "--generators", "diffusion", "--json", str(out), "--train", "60"]) == 0
    (row,) = json.loads(out.read_text())
    assert row["images_per_second"] > 0
    assert row["ratio"] > 0
    assert "fashion_mnist: no fashion_mnist.npz" in capsys.readouterr().out


@pytest.mark.usefixtures("scripts")
def test_differences_are_paired_over_test_images() -> None:
    rows: Any = importlib.import_module("_imaging_rows")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)

    def fits(who: str, spread: float) -> list[dict[str, Any]]:
        said = [np.clip(0.5 + 0.2 * (truth - 0.5) + rng.normal(0, spread, 300), 0, 1) for _ in range(2)]
        made = [rows.answers(np.stack([1 - s, s], axis=1), truth) for s in said]
        more = {"set": "s", "generator": who, "epsilon": 1.0, "figures": {}, "cpu_seconds": 1, "peak_gib": 1}
        return [row | more | {"seed": i} for i, row in enumerate(made)]

    sharp, dull = fits("diffusion", 0.05), fits("embedding", 0.4)
    low, high = rows.paired(sharp, dull)
    assert 0 < low < sharp[0]["value"] - dull[0]["value"] + 0.1
    assert high < 0.5
    shown = rows.table([*sharp, *dull])
    assert len(shown) == 4
    assert "(+0." in shown[2]
    several = rng.dirichlet(np.ones(3), 50)
    answer = rows.answers(several, several.argmax(axis=1))
    assert answer["value"] == 1.0
    assert rows.unpack(answer["answers"]).all()
    assert len(rows.unpack(answer["answers"])) == 50
