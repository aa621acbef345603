"""Drawing from a junction tree when each record brings its own evidence, against brute force."""

import itertools

import numpy as np
import pytest

from synthgen.generators.graphical import conditional_sampling
from synthgen.generators.graphical.belief_propagation import Structure
from synthgen.generators.graphical.conditional_sampling import draw_given

SIZES = {"a": 2, "b": 3, "c": 2, "d": 3, "e": 2, "f": 2}
CLIQUES = [("a", "b", "c"), ("b", "c", "d"), ("d", "e")]  # f stands alone


def tree_and_joint(seed=0):
    rng = np.random.default_rng(seed)
    structure = Structure(SIZES, CLIQUES)
    tree = structure.tree(structure.beliefs([rng.random(place.shape) ** 3 for place in structure.places]))
    joint = np.ones(tuple(SIZES.values()))
    names = list(SIZES)
    for node in tree.nodes:
        own = node.table
        if node.separator:
            away = tuple(i for i, name in enumerate(node.attributes) if name not in node.separator)
            own = own / own.sum(axis=away, keepdims=True)
        order = sorted(range(own.ndim), key=lambda i: names.index(node.attributes[i]))
        joint = joint * own.transpose(order).reshape(
            [SIZES[name] if name in node.attributes else 1 for name in names]
        )
    return tree, joint


@pytest.mark.parametrize("observed", [("d",), ("a", "e"), ("b", "f"), ("c", "d", "e"), ("f",), ()])
@pytest.mark.parametrize("most", [conditional_sampling.MOST_NUMBERS, 20])
def test_draws_follow_the_joint_distribution_given_each_records_own_evidence(observed, most, monkeypatch):
    # 40,000 records a condition: a share is off by 4 of its standard deviations (.01) by chance in 1e-4.
    monkeypatch.setattr(conditional_sampling, "MOST_NUMBERS", most)
    tree, joint = tree_and_joint()
    assert joint.sum() == pytest.approx(1.0)
    names = list(SIZES)
    conditions = list(itertools.product(*[range(SIZES[name]) for name in observed]))
    each, rng = 40_000, np.random.default_rng(1)
    cells = rng.permutation(np.repeat(np.arange(len(conditions)), each))
    given = {name: np.array([c[k] for c in conditions])[cells] for k, name in enumerate(observed)}
    drawn = draw_given(tree, given, len(cells), rng=rng) | given
    worst, control = 0.0, 0.0
    for number, condition in enumerate(conditions):
        index = tuple(condition[observed.index(n)] if n in observed else slice(None) for n in names)
        expected = joint[index] / joint[index].sum()
        free = [name for name in names if name not in observed]
        mine = cells == number
        flat = np.ravel_multi_index([drawn[name][mine].astype(int) for name in free], expected.shape)
        share = np.bincount(flat, minlength=expected.size) / each
        worst = max(worst, float(np.abs(share - expected.ravel()).max()))
        blind = joint.sum(axis=tuple(names.index(name) for name in observed))
        control = max(control, float(np.abs(share - blind.ravel()).max()))
    print(f"largest miss {worst:.4f}; of a draw that ignores what is observed {control:.3f}")
    assert worst < 0.01
    assert control > 0.05 or set(observed) <= {"f"}


def test_the_same_state_gives_the_same_records_and_no_record_is_no_problem():
    tree, _ = tree_and_joint()
    given = {"d": np.arange(300) % 3}
    first, second = (draw_given(tree, given, 300, rng=np.random.default_rng(4)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    empty = draw_given(tree, {"d": np.empty(0, dtype=int)}, 0, rng=np.random.default_rng(0))
    assert set(empty) == set(SIZES) - {"d"}
    everything = {name: np.zeros(5, dtype=int) for name in SIZES}
    assert draw_given(tree, everything, 5, rng=np.random.default_rng(0)) == {}


def test_evidence_without_any_chance_still_gives_records():
    structure = Structure({"a": 2, "b": 2, "c": 2}, [("a", "b"), ("b", "c")])
    tables = [np.array([[0.5, 0.0], [0.0, 0.5]])] * 2
    tree = structure.tree(structure.beliefs(tables))
    drawn = draw_given(tree, {"a": np.array([0, 0]), "c": np.array([0, 1])}, 2, rng=np.random.default_rng(0))
    assert drawn["b"][0] == 0
    assert set(drawn["b"]) <= {0, 1}
