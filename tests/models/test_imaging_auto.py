"""What `auto` chooses for images is a matter of public numbers."""

import pytest

from synthgen.models import imaging_auto


@pytest.mark.parametrize(
    ("patients", "epsilon", "chosen"),
    [
        (500, 1.0, "embedding"),
        (4_000, 1.0, "embedding"),
        (4_000, 10.0, "diffusion"),
        (60_000, 1.0, "diffusion"),
    ],
)
def test_few_patients_and_little_budget_get_the_embedding(patients: int, epsilon: float, chosen: str) -> None:
    assert imaging_auto.choose(epsilon=epsilon, delta=1e-5, patients=patients) == chosen


def test_without_torch_the_embedding_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging_auto, "DEEP", ("no_such_package",))
    assert imaging_auto.choose(epsilon=10.0, delta=1e-5, patients=60_000) == "embedding"
