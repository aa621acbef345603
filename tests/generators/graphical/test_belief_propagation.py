"""Belief propagation and the estimator, against brute force and against mbi."""

import itertools
import warnings

import numpy as np
import pytest

from synthgen.generators.graphical.belief_propagation import Structure, tree_cells
from synthgen.generators.graphical.estimation import Measurement, estimate

CLIQUES = {
    "chain": [("a", "b"), ("b", "c"), ("c", "d")],
    "loop": [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")],
    "star": [("a", "b"), ("a", "c"), ("a", "d")],
    "triples": [("a", "b", "c"), ("b", "c", "d")],
    "forest": [("a", "b"), ("c", "d")],
    "alone": [],
}
SIZES = {"a": 2, "b": 3, "c": 4, "d": 3}


def joint_of(structure, factors):
    """Multiply all factors over the whole domain."""
    names = list(SIZES)
    joint = np.ones([SIZES[name] for name in names])
    for place, factor in zip(structure.places, factors, strict=True):
        axes = sorted(range(len(place.attributes)), key=lambda i: names.index(place.attributes[i]))
        shape = [SIZES[name] if name in place.attributes else 1 for name in names]
        joint = joint * factor.transpose(axes).reshape(shape)
    return joint / joint.sum()


@pytest.mark.parametrize("cliques", CLIQUES.values(), ids=CLIQUES)
def test_beliefs_equal_the_marginals_of_the_whole_joint(cliques):
    rng = np.random.default_rng(0)
    structure = Structure(SIZES, cliques)
    factors = [rng.random(place.shape) + 0.1 for place in structure.places]
    factors[0].flat[0] = 0.0  # a structural zero
    joint = joint_of(structure, factors)
    names = list(SIZES)
    for place, belief in zip(structure.places, structure.beliefs(factors), strict=True):
        gone = tuple(i for i, name in enumerate(names) if name not in place.attributes)
        kept = [name for name in names if name in place.attributes]
        expected = joint.sum(axis=gone).transpose([kept.index(name) for name in place.attributes])
        np.testing.assert_allclose(belief, expected, atol=1e-12)


@pytest.mark.parametrize("cliques", CLIQUES.values(), ids=CLIQUES)
def test_the_tree_covers_each_clique_and_runs_together(cliques):
    structure = Structure(SIZES, cliques)
    for clique in cliques:
        assert set(clique) <= set(structure.places[structure.home(clique)].attributes)
    for name in SIZES:  # running intersection: nodes of a column form one connected subtree
        holding = [i for i, place in enumerate(structure.places) if name in place.attributes]
        tops = [i for i in holding if name not in structure.places[i].separator]
        assert len(tops) == 1
    assert structure.n_cells == tree_cells(SIZES, cliques)


def test_factors_that_leave_nothing_possible_are_refused():
    structure = Structure(SIZES, [("a", "b")])
    factors = [np.zeros(place.shape) for place in structure.places]
    with pytest.raises(ValueError, match="possible"):
        structure.beliefs(factors)


def noisy(cliques, sigma, seed=1):
    rng = np.random.default_rng(seed)
    names = list(SIZES)
    joint = rng.dirichlet(np.full(int(np.prod(list(SIZES.values()))), 0.5)).reshape(list(SIZES.values()))
    out = []
    for clique in [*[(name,) for name in names], *cliques]:
        gone = tuple(i for i, name in enumerate(names) if name not in clique)
        counts = 1000 * joint.sum(axis=gone)
        out.append(Measurement(clique, counts + sigma * rng.standard_normal(counts.shape), sigma or 1.0))
    return joint, out


@pytest.mark.parametrize("key", ["chain", "loop", "star", "triples"])
def test_exact_counts_of_all_cliques_are_reproduced(key):
    _joint, measured = noisy(CLIQUES[key], 0.0)
    model = estimate(measured, SIZES, iterations=3000, forbidden={})
    for i, place in enumerate(model.structure.places):
        for m in measured:
            if set(m.attributes) <= set(place.attributes):
                got = 1000 * model.structure.marginal(model.tables[i], i, m.attributes)
                np.testing.assert_allclose(got, m.counts, atol=2.0 * np.sqrt(m.counts.size))


@pytest.mark.parametrize("key", ["chain", "loop", "triples"])
def test_the_loss_is_as_small_as_that_of_mbi(key):
    import jax

    jax.config.update("jax_enable_x64", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mbi = pytest.importorskip("mbi")
    _, measured = noisy(CLIQUES[key], 30.0)
    domain = mbi.Domain(tuple(SIZES), tuple(SIZES.values()))
    linear = [mbi.LinearMeasurement(m.counts.ravel(), m.attributes, m.sigma) for m in measured]
    theirs = mbi.estimation.MirrorDescent().estimate(domain, linear, iters=1000)
    ours = estimate(measured, SIZES, iterations=1000, forbidden={})

    def miss(project):
        return sum(float(((project(m) - m.counts) ** 2).sum()) / m.sigma**2 for m in measured)

    def of_ours(m):
        index = ours.structure.home(m.attributes)
        return theirs.total * ours.structure.marginal(ours.tables[index], index, m.attributes)

    reference = miss(lambda m: np.asarray(theirs.project(m.attributes).datavector(flatten=False)))
    # Ours stops where noise explains the rest; mbi's goes on to the least loss.
    enough = 0.7 * sum(m.counts.size for m in measured)
    assert miss(of_ours) <= max(1.02 * reference, 1.02 * enough)


def test_a_warm_start_begins_where_the_last_model_ended():
    _, measured = noisy([("a", "b"), ("b", "c")], 5.0)
    first = estimate(measured, SIZES, iterations=500, forbidden={})
    again = estimate(measured, SIZES, iterations=0, forbidden={}, warm_start=first)
    for one, two in itertools.zip_longest(first.tables, again.tables):
        np.testing.assert_allclose(one, two, atol=1e-9)


def test_forbidden_cells_stay_empty():
    _, measured = noisy([("a", "b")], 5.0)
    mask = np.zeros((2, 3), dtype=bool)
    mask[1, 2] = True
    model = estimate(measured, SIZES, iterations=200, forbidden={("a", "b"): mask})
    index = model.structure.home(("a", "b"))
    assert model.structure.marginal(model.tables[index], index, ("a", "b"))[1, 2] == 0.0
