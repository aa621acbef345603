"""The mixture of products: marginals, conditions and evidence against brute force."""

import itertools

import numpy as np
import pytest

from synthgen.generators.graphical.mixture_of_products import Mixture

SIZES = {"a": 2, "b": 3, "c": 4}


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    rng = np.random.default_rng(0)
    tables = {name: rng.dirichlet(np.full(size, 0.5), size=5) for name, size in SIZES.items()}
    return Mixture(rng.dirichlet(np.ones(5)), tables)


@pytest.fixture(scope="module")
def joint(mixture: Mixture) -> np.ndarray:
    out = np.zeros(tuple(SIZES.values()))
    for k, weight in enumerate(mixture.weights):
        for cell in itertools.product(*map(range, SIZES.values())):
            chances = [mixture.tables[name][k, i] for name, i in zip(SIZES, cell, strict=True)]
            out[cell] += weight * float(np.prod(chances))
    return out


def share(cells: dict[str, np.ndarray]) -> np.ndarray:
    out = np.zeros(tuple(SIZES.values()))
    np.add.at(out, tuple(cells[name] for name in SIZES), 1.0)
    return out / out.sum()


def test_marginals_are_those_of_the_joint_distribution(mixture: Mixture, joint: np.ndarray) -> None:
    assert np.allclose(mixture.marginal(("c", "a")), joint.sum(axis=1).T)
    for clique, table in mixture.marginals([("a", "b"), ("a", "c"), ("b", "c", "a"), ("b",)]):
        axes = [list(SIZES).index(name) for name in clique]
        away = tuple(i for i in range(3) if i not in axes)
        left = [i for i in range(3) if i in axes]
        assert np.allclose(table, joint.sum(axis=away).transpose([left.index(i) for i in axes]))


def test_draws_follow_the_joint_distribution(mixture: Mixture, joint: np.ndarray) -> None:
    """False alarms below 1e-6 (24 cells of 200,000 draws: .006 is more than five standard errors)."""
    drawn = mixture.sample(200_000, rng=np.random.default_rng(1))
    assert np.abs(share(drawn) - joint).max() < 0.006
    assert np.abs(share(drawn) - np.full(joint.shape, 1 / joint.size)).max() > 0.02  # the check can fail


def test_masks_draw_from_the_conditional_distribution(mixture: Mixture, joint: np.ndarray) -> None:
    masks = {"a": np.array([0.0, 1.0]), "c": np.array([0.5, 0.0, 1.0, 0.25])}
    wanted = joint * masks["a"][:, None, None] * masks["c"]
    drawn = mixture.sample(200_000, rng=np.random.default_rng(2), masks=masks)
    assert np.abs(share(drawn) - wanted / wanted.sum()).max() < 0.006
    assert np.abs(share(drawn) - joint).max() > 0.02
    with pytest.raises(ValueError, match="no chance"):
        mixture.sample(5, rng=np.random.default_rng(2), masks={"a": np.zeros(2)})


def test_what_is_given_stays_and_the_rest_follows_it(mixture: Mixture, joint: np.ndarray) -> None:
    n = 150_000
    rng = np.random.default_rng(3)
    seen = {"a": rng.integers(-1, 2, n), "c": rng.integers(-1, 4, n)}
    drawn = mixture.given(seen, rng=rng)
    for name, values in seen.items():
        assert (drawn[name] == values)[values >= 0].all()
    part = (seen["a"] == 1) & (seen["c"] == -1)
    got = share({name: values[part] for name, values in drawn.items()})
    wanted = np.zeros_like(joint)
    wanted[1] = joint[1] / joint[1].sum()
    assert np.abs(got - wanted).max() < 0.02
    part = (seen["a"] == 0) & (seen["c"] == 2)
    got = share({name: values[part] for name, values in drawn.items()})[0, :, 2]
    assert np.abs(got - joint[0, :, 2] / joint[0, :, 2].sum()).max() < 0.02
    assert np.abs(got - joint.sum(axis=(0, 2))).max() > 0.05  # the unconditional share would be rejected


def test_the_same_state_gives_the_same_records(mixture: Mixture) -> None:
    a, b = (mixture.sample(100, rng=np.random.default_rng(5)) for _ in range(2))
    assert all((a[name] == b[name]).all() for name in SIZES)
    assert len(mixture.sample(0, rng=np.random.default_rng(5))["a"]) == 0
