"""What may be measured keeps the junction tree small."""

import itertools

import numpy as np

from synthgen.generators.graphical.belief_propagation import tree_cells
from synthgen.generators.marginal.workload import Affordable, Candidate


def test_what_is_called_affordable_is_and_the_rest_is_not():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(8)]
    wrong = seen = 0
    for _ in range(40):
        sizes = {name: int(rng.integers(2, 8)) for name in names}
        taken = [
            tuple(sorted(rng.choice(names, size=int(rng.integers(2, 4)), replace=False)))
            for _ in range(int(rng.integers(1, 9)))
        ]
        found = [Candidate(c, 1.0) for k in (2, 3) for c in itertools.combinations(names, k)]
        answers = Affordable(sizes, 3000)(found, taken)
        for candidate, answer in zip(found, answers, strict=True):
            cells = tree_cells(sizes, [*taken, candidate.attributes])
            seen += 1
            # The bound knows of one tree; greedy elimination may find a slightly larger one.
            wrong += bool(answer) != (cells <= 3000)
            assert not answer or cells <= 1.5 * 3000
    assert wrong <= 0.01 * seen


def test_what_was_too_large_once_stays_refused():
    sizes = {"a": 40, "b": 40, "c": 40}
    check = Affordable(sizes, 3000)
    found = [Candidate(("a", "b"), 1.0), Candidate(("b", "c"), 1.0), Candidate(("a", "b", "c"), 1.0)]
    assert check(found, []).tolist() == [True, True, False]
    assert check(found, [("a", "b")]).tolist() == [True, False, False]
