"""What `auto` chooses for images is a matter of public numbers."""

import pytest

from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.imaging import auto
from synthgen.schema.schema import Schema
from tests.support.phantom_cohorts import schema_of


@pytest.mark.parametrize(
    ("patients", "epsilon", "size", "chosen"),
    [
        (500, 1.0, 28, "embedding"),
        (4_000, 1.0, 28, "embedding"),
        (4_000, 10.0, 28, "diffusion"),
        (4_000, 10.0, 16, "embedding"),
        (10_000, 5.0, 64, "diffusion"),
        (60_000, 1.0, 64, "diffusion"),
        (60_000, 1.0, 128, "embedding"),  # more memory than `MEMORY_GIB`
        (60_000, 10.0, 28, "embedding"),
    ],
)
def test_few_patients_little_budget_and_tiny_images_get_the_embedding(
    patients: int, epsilon: float, size: int, chosen: str
) -> None:
    found = auto.choose(schema_of(size=size), epsilon=epsilon, delta=1e-5, patients=patients)
    assert found == chosen


def test_many_classes_get_the_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    schema: Schema = schema_of(size=28)
    monkeypatch.setattr(Conditioning, "n_classes", property(lambda self: 10))
    assert auto.choose(schema, epsilon=10.0, delta=1e-5, patients=4_000) == "embedding"


def test_without_torch_the_embedding_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "DEEP", ("no_such_package",))
    assert auto.choose(schema_of(size=64), epsilon=10.0, delta=1e-5, patients=60_000) == "embedding"
