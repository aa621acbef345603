"""A patient more or less moves a step's mean by one clip, and leaves all that the others draw as it was.

The audit's case: `masks` gave label masks to the first half of the batch's rows, so with an odd number of
rows a patient one patient more changed the others' losses, and the mean of the sum moved by 2.12 C.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import synthgen.generators
from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.random_draws import KEYS
from synthgen.dpsgd.row_independence import PROBE_UNITS, check_batches, company
from synthgen.dpsgd.validator import shaken
from tests.support.coupling import (
    CLIP,
    MODULES,
    clipped,
    masks_by_halves_of_the_batch,
    mean_move,
    module_of,
    old_masks,
    rows_of,
)

COMPANIES = [(0, 1, 2), (0, 1, 2, 3), (3, 2, 0), (1,), (4, 0, 3, 1, 2)]


def test_every_deep_generator_of_the_package_is_tried_here() -> None:
    found = set()
    for file in Path(synthgen.generators.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and "PrivateModule" in {
                getattr(b, "id", "") for b in node.bases
            }:
                found.add(node.name)
    assert found == set(MODULES)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("name", MODULES)
def test_the_mean_of_a_step_moves_by_at_most_one_clip(name: str, rows: int) -> None:
    """Estimated over the step's own draws; the difference of each draw is bounded too, so nothing alarms."""
    module, batch = module_of(name, rows), rows_of(name, 3, rows)
    times, tried = (2, [1]) if name == "ImageTraining" else (8, range(3))
    moves = [float(mean_move(module, batch, gone, times=times).norm()) for gone in tried]
    assert max(moves) <= CLIP * (1 + 1e-5)
    assert max(moves) > 0.3 * CLIP  # gradients are large: the bound is in reach


@pytest.mark.parametrize("rows", [1, 3])
def test_the_mean_moves_by_more_where_masks_are_counted_over_the_batch(rows: int) -> None:
    """The control: what the audit saw. With two rows a patient the halves are each patient's own."""
    module = module_of("DenoiserTraining", rows)
    with old_masks():
        moves = [
            float(mean_move(module, rows_of("DenoiserTraining", 3, rows), gone, times=30).norm())
            for gone in range(3)
        ]
    assert max(moves) > 1.1 * CLIP


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("name", MODULES)
def test_a_patients_gradient_stays_whoever_else_is_in_the_batch(name: str, rows: int) -> None:
    module, batch = module_of(name, rows), rows_of(name, 5, rows)
    engine = UnitGradients(module.private_model())

    def gradients(some) -> torch.Tensor:
        n = len(some[KEYS])
        found = engine.per_unit(lambda: module.losses(some), n_units=n, augmult=rows)
        return torch.cat([g.flatten(1) for g in found.values()], dim=1)

    whole = gradients(batch)
    for units in COMPANIES:
        found = gradients(company(batch, units, 5))
        for place, unit in enumerate(units):
            assert float((found[place] - whole[unit]).norm()) <= 1e-5 * float(whole[unit].norm())
    again = clipped(module, batch)
    assert torch.equal(again, clipped(module, batch))  # a batch's draws follow from its keys
    other = {**batch, KEYS: batch[KEYS] + 1}
    assert not torch.equal(again, clipped(module, other))


def test_rows_with_a_column_of_no_entries_are_put_together_as_others_are() -> None:
    rows = {"x": torch.arange(8.0).view(8, 1), "guides": torch.zeros(8, 0), KEYS: torch.arange(4)}
    found = company(rows, (3, 0), 4)  # two rows a patient: those of draw 0, then those of draw 1
    assert found["x"].flatten().tolist() == [3, 0, 7, 4]
    assert found["guides"].shape == (4, 0)
    assert found[KEYS].tolist() == [3, 0]


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("name", MODULES)
def test_the_probe_passes_every_deep_generator(name: str, rows: int) -> None:
    module = module_of(name, rows)
    with shaken(module):
        made_up = rows_of(name, PROBE_UNITS, rows)
        check_batches(module, UnitGradients(module.private_model()), module.losses, made_up, rows)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_probe_finds_masks_that_are_counted_over_the_batch(rows: int) -> None:
    module = module_of("DenoiserTraining", rows)
    made_up, engine = rows_of("DenoiserTraining", PROBE_UNITS, rows), UnitGradients(module.private_model())
    with old_masks(), shaken(module), pytest.raises(ValueError, match="do not depend on each other"):
        check_batches(module, engine, module.losses, made_up, rows)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_half_of_each_patients_rows_have_one_label_masked_alone(rows: int) -> None:
    from synthgen.dpsgd.random_draws import Draws
    from synthgen.generators.tabular.diffusion.denoiser import masks

    keys = torch.arange(4000) * 77_777_777_777
    hidden = masks(Draws(keys, rows), 6, [2, 4]).view(rows, 4000, 6)
    alone = (hidden.sum(2) == 1) & (hidden[..., 2] | hidden[..., 4])
    label_rows = alone.float().mean(1)
    assert bool((label_rows[: rows // 2] == 1).all())
    # Other rows mask one label alone by chance: 2 of 6 columns, and few columns where the level is low.
    by_chance = label_rows[rows // 2 + rows % 2 :]
    assert bool((by_chance < 0.15).all())
    if rows % 2:
        assert abs(float(label_rows[rows // 2]) - 0.53) < 0.06
    assert bool(hidden.any(2).all())
    old = masks_by_halves_of_the_batch(Draws(keys, rows), 6, [2, 4])
    assert old.shape == (rows * 4000, 6)
