"""The embedding: sensitivity on neighbours, noise of the stated size, images that follow their attributes."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.data.images import RealImages, from_intensities, intensities
from synthgen.errors import ConfigError
from synthgen.generators.embedding import dp_merf
from synthgen.generators.embedding import mechanism as fitting
from synthgen.generators.embedding.config import Config
from synthgen.generators.image_statistics import noisy_moments
from synthgen.generators.image_statistics.dct_basis import Basis
from synthgen.generators.saved_model import load_model, save_model
from synthgen.privacy.marginal_queries import ZCDPFilter
from synthgen.privacy.noise import Integers, NoiseSource
from synthgen.sampling.draw import draw
from tests.support.phantom_cohorts import cohort, joined, schema_of, worst

KINDS = [(1, "white"), (1, "stripes"), (40, "spread"), (40, "white"), (7, "spread")]


class Asked(NoiseSource):
    """No noise; keeps what was asked: the cost that was named, and exact values over sigma."""

    def __init__(self) -> None:
        self.queries: list[tuple[float, list[np.ndarray]]] = []

    @contextlib.contextmanager
    def query(self, rho: float, about: Any) -> Iterator[None]:
        self.queries.append((rho, []))
        yield

    def _gaussian(self, values: Integers, sigma: float) -> Integers:
        self.queries[-1][1].append(values / sigma)
        return values.copy()

    def _select(self, lattice: Integers, epsilon: float, units: int) -> int:
        return int(np.argmax(lattice))


def frobenius(move: np.ndarray) -> float:
    """Length of symmetric matrices, written as diagonals and sqrt(2) times what lies above."""
    return float(np.sqrt((move.astype(float) ** 2).sum()))


def sums_of(data: RealImages, basis: Basis, radius: float = 0.3) -> np.ndarray:
    guides = fitting.Conditioning.of(data.schema)
    vectors = fitting._vectors(fitting._coefficients(data, basis), guides.guides_of(data.frame), radius)
    whole = noisy_moments.to_lattice(vectors, fitting.vector_bound(guides.n_guides))
    weights = noisy_moments.record_weights(*data.unit_codes())
    return noisy_moments.exact_sums(whole, weights, guides.class_of(data.frame), guides.n_classes)


@pytest.mark.parametrize(("n_images", "kind"), KINDS)
@pytest.mark.parametrize("ill", [0.5, 0.0])
def test_a_patient_moves_the_moments_by_at_most_their_bound_however_rare_the_class(
    n_images: int, kind: str, ill: float
) -> None:
    base = cohort(60, ill=ill)  # without any ill patient the class that the worst one is in is empty
    both = joined(base, worst(base.schema, n_images, kind))
    basis = Basis(1, 16, 40, 0.5)
    moved = sums_of(both, basis) - sums_of(base, basis)
    guides = fitting.Conditioning.of(base.schema).n_guides
    most = noisy_moments.UNIT * noisy_moments.lattice_bound(fitting.vector_bound(guides))
    assert 0 < frobenius(moved) <= most
    if kind == "white":  # cut to length 1, so the bound is close
        assert frobenius(moved) > 0.8 * most


def test_one_weight_a_record_or_means_of_a_rare_class_would_break_that_bound() -> None:
    base = cohort(60, ill=0.0)
    bad = worst(base.schema, 40, "white")
    basis = Basis(1, 16, 40, 0.5)
    most = noisy_moments.UNIT * noisy_moments.lattice_bound(fitting.vector_bound(3))
    lone = RealImages(
        bad.schema, bad.frame, np.array([f"w{i}" for i in range(40)], dtype=object), pixels=bad.pixels
    )
    assert frobenius(sums_of(lone, basis)) > 30 * most
    # The published query divides by realised counts and adds noise for the mean count: a lone record of its
    # class moves that class's mean by its whole length, where that noise allows a 30th of it.
    plain = sums_of(joined(base, worst(base.schema, 1, "white")), basis) - sums_of(base, basis)
    by_class = frobenius(plain) / noisy_moments.UNIT
    allowed = noisy_moments.lattice_bound(fitting.vector_bound(3)) / (61 / 2)
    assert by_class / 1 > 20 * allowed


@pytest.mark.parametrize(("n_images", "kind"), KINDS)
@pytest.mark.parametrize("cells", [1, 3])
def test_each_release_of_a_whole_fit_costs_at_most_what_it_names(
    monkeypatch: pytest.MonkeyPatch, n_images: int, kind: str, cells: int
) -> None:
    """D and D' are asked the same queries: the answers that later queries rest on are those of D."""
    base = cohort(80)
    both = joined(base, worst(base.schema, n_images, kind))
    plan = Config(cells=cells).plan(base.schema, epsilon=2.0, delta=1e-5, patients=80)
    held: dict[str, Any] = {}
    for name in ("_centre", "_lengths", "centres"):
        original = getattr(fitting, name)

        def once(*args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            found = _original(*args, **kwargs)
            return held.setdefault(_name, found)

        monkeypatch.setattr(fitting, name, once)
    spies = [Asked(), Asked()]
    for data, spy in zip((base, both), spies, strict=True):
        fitting.learn(data, plan.parameters, noise=spy)
    total = 0.0
    for (rho, before), (again, after) in zip(spies[0].queries, spies[1].queries, strict=True):
        assert rho == again
        move = sum(float(((b - a) ** 2).sum()) for a, b in zip(before, after, strict=True))
        assert 0 < move / 2 <= rho * (1 + 1e-9)
        total += rho
    assert total == pytest.approx(plan.parameters["rho_pixels"])
    assert len(spies[0].queries) == (3 if cells == 1 else 4)


def test_a_fit_spends_its_rho_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    original = ZCDPFilter.spend

    def spy(self: ZCDPFilter, rho: float) -> None:
        original(self, rho)
        spent.append(rho)

    monkeypatch.setattr(ZCDPFilter, "spend", spy)
    data = cohort(50)
    plan = Config().plan(data.schema, epsilon=1.0, delta=1e-5, patients=50)
    fitting.learn(data, plan.parameters, noise=NoiseSource.for_tests(0))
    assert sum(spent) == pytest.approx(plan.parameters["rho_pixels"])


def test_noise_has_the_stated_scale_and_a_wrong_scale_is_rejected() -> None:  # fixed seed; false alarms 1e-4
    size, rho, bound = 60, 0.5, 1.74
    noisy, above = noisy_moments.noisy_sums(
        np.zeros((3, size, size), dtype=np.int64), bound=bound, rho=rho, noise=NoiseSource.for_tests(0)
    )
    assert np.array_equal(noisy, noisy.transpose(0, 2, 1))
    upper = np.triu_indices(size, k=1)
    off, on = noisy[:, upper[0], upper[1]].ravel(), noisy[:, range(size), range(size)].ravel()
    sigma = bound / np.sqrt(2 * rho)

    def fits(values: np.ndarray, deviation: float) -> bool:
        n = len(values)
        return abs((values**2).sum() / deviation**2 - n) < 3.9 * np.sqrt(2 * n)

    assert above == pytest.approx(sigma / np.sqrt(2), rel=1e-5)
    assert fits(off, sigma / np.sqrt(2))
    assert fits(on, sigma)
    assert not fits(off, sigma)
    assert not fits(on, 0.7 * sigma)


def test_vectors_on_the_lattice_are_never_longer_than_the_bound_and_always_numbers() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(0, 10.0 ** rng.integers(-3, 30), (200, 9)), np.full((1, 9), np.nan)])
    vectors = np.concatenate([vectors, np.full((1, 9), np.inf), np.zeros((1, 9)), np.full((1, 9), 1 / 3)])
    whole = noisy_moments.to_lattice(vectors, 1.0)
    assert whole.dtype == np.int64
    assert ((whole**2).sum(axis=1) <= noisy_moments.lattice_bound(1.0)).all()
    assert (whole**2).sum(axis=1)[:100].min() > 0.95 * noisy_moments.lattice_bound(1.0)


def test_exact_sums_are_the_naive_ones() -> None:
    rng = np.random.default_rng(0)
    vectors, classes = rng.integers(-1000, 1000, (50, 4)), rng.integers(0, 3, 50)
    weights = rng.integers(1, 200, 50)
    naive = np.zeros((3, 4, 4), dtype=np.int64)
    for q, w, c in zip(vectors, weights, classes, strict=True):
        naive[c] += w * np.outer(q, q)
    assert np.array_equal(noisy_moments.exact_sums(vectors, weights, classes, 3), naive)


@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 12)])
def test_a_whole_basis_gives_back_what_it_analyses(channels: int, size: int) -> None:
    images = np.random.default_rng(0).random((3, channels, size, size))
    basis = Basis(channels, size, size**2, 1.0)
    kept = basis.synthesise(basis.analyse(images))
    assert np.allclose(kept.mean(axis=1), images.mean(axis=1))  # brightness whole; colours have fewer cosines
    assert basis.dimension == size**2 + (channels - 1) * round(0.25 * size**2)


@pytest.fixture(scope="module")
def fitted() -> Any:
    data = cohort(1500, images=(1, 2))
    plan = Config().plan(data.schema, epsilon=8.0, delta=1e-5, patients=1500)
    return Config().fit(data, plan, noise=NoiseSource.for_tests(0))


def test_images_follow_the_label_and_a_fit_on_shuffled_labels_does_not(fitted: Any) -> None:
    real = cohort(1500, images=(1, 2))
    mixed = RealImages(
        real.schema, real.frame.assign(ill=real.frame["ill"].array[::-1]), real.units, pixels=real.pixels
    )
    plan = Config().plan(real.schema, epsilon=8.0, delta=1e-5, patients=1500)
    wrong = Config().fit(mixed, plan, noise=NoiseSource.for_tests(0))

    def contrast(images: Any) -> np.ndarray:
        ill = images.frame["ill"].astype(bool).to_numpy()
        values = intensities(images.pixels, images.schema)
        return values[ill].mean(axis=0) - values[~ill].mean(axis=0)

    truth = contrast(real)
    drawn = [contrast(draw(model, real.schema, 1000, seed=3)) for model in (fitted, wrong)]
    same = [float(np.corrcoef(truth.ravel(), found.ravel())[0, 1]) for found in drawn]
    assert same[0] > 0.9
    assert (drawn[1] ** 2).sum() < 0.1 * (truth**2).sum()


def test_images_follow_sex_and_age(fitted: Any) -> None:
    schema = fitted.schema
    women, men = (draw(fitted, schema, 600, seed=1, where={"sex": sex}) for sex in ("F", "M"))
    gap = intensities(women.pixels, schema).mean() - intensities(men.pixels, schema).mean()
    assert 0.05 < gap < 0.15  # .1 in the cohort
    old, young = (draw(fitted, schema, 600, seed=1, where={"age": ages}) for ages in ((90, 100), (0, 10)))
    wide = [intensities(i.pixels, schema)[:, 0, 8, 3].mean() for i in (old, young)]
    assert wide[0] - wide[1] > 0.1  # the edge of the ellipse of the old


def test_cells_find_the_kinds_of_images_within_a_class_and_their_shares() -> None:
    """A third of one class is white above, the rest below: one Gaussian draws mixtures of the two."""
    rng = np.random.default_rng(0)
    frame = cohort(1500, images=(1, 1)).frame.assign(ill=cohort(1500, images=(1, 1), ill=0.0).frame["ill"])
    above = rng.random(1500) < 1 / 3
    half = np.where(np.arange(16)[:, None] < 8, 0.8, 0.2) * np.ones((16, 16))
    values = np.where(above[:, None, None], half, 1 - half) + rng.normal(0, 0.02, (1500, 16, 16))
    schema = schema_of()
    units = np.array([f"p{i}" for i in range(1500)], dtype=object)
    data = RealImages(schema, frame, units, pixels=from_intensities(values[:, None], schema))
    middling, share = [], []
    for cells in (1, 2):
        config = Config(cells=cells, augment=False, cut=0.9, share_brightness=0.0)
        plan = config.plan(schema, epsilon=8.0, delta=1e-5, patients=1500)
        images = draw(config.fit(data, plan, noise=NoiseSource.for_tests(0)), schema, 1000, seed=0)
        drawn = intensities(images.pixels, schema)[:, 0]
        contrast = drawn[:, :8].mean(axis=(1, 2)) - drawn[:, 8:].mean(axis=(1, 2))
        middling.append(float((np.abs(contrast) < 0.3).mean()))
        share.append(float((contrast > 0).mean()))
    assert middling[1] < 0.05 < 0.2 < middling[0]
    assert abs(share[1] - 1 / 3) < 0.06


def test_conditions_hold_and_rules_are_those_of_the_attributes(fitted: Any) -> None:
    images = draw(fitted, fitted.schema, 50, seed=0, where={"ill": True, "age": (20, 30)})
    assert images.frame["ill"].astype(bool).all()
    assert images.frame["age"].between(20, 30).all()
    with pytest.raises(ConfigError):
        draw(fitted, fitted.schema, 3, seed=0, where={"sex": "X"})


@pytest.mark.parametrize("n_records", [0, 1, 2500])
def test_sampling_repeats_under_its_seed_and_after_saving(
    fitted: Any, n_records: int, tmp_path: Path
) -> None:
    save_model(fitted, fitted.schema, "embedding", tmp_path)
    model, schema, name = load_model(tmp_path)
    assert (schema, name) == (fitted.schema, "embedding")
    first, again = (draw(m, schema, n_records, seed=5) for m in (fitted, model))
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.frame.equals(again.frame)
    assert first.pixels.shape == (n_records, 1, 16, 16)
    if n_records:
        assert first.pixels.tobytes() != draw(fitted, schema, n_records, seed=6).pixels.tobytes()
    assert all(file.suffix in (".json", ".safetensors") for file in tmp_path.rglob("*") if file.is_file())


def test_a_plan_reads_no_record_and_keeps_to_its_epsilon() -> None:
    from synthgen.privacy.accountant import get_epsilon

    schema = schema_of(size=28)
    for epsilon in (0.3, 1.0, 10.0):
        plans = [Config().plan(schema, epsilon=epsilon, delta=1e-5, patients=4000) for _ in range(2)]
        assert plans[0] == plans[1]
        assert 0.98 * epsilon < get_epsilon([plans[0].event], 1e-5, adaptive=True) <= epsilon
        json.dumps(dict(plans[0].parameters))
    with pytest.raises(ConfigError, match="images"):
        Config().plan(schema.model_copy(update={"images": None}), epsilon=1.0, delta=1e-5, patients=10)


def test_the_attributes_generator_and_its_share_are_options() -> None:
    plan = Config(attributes={"name": "marginal", "share": 0.4, "rounds": 2}).plan(
        schema_of(), epsilon=1.0, delta=1e-5, patients=100
    )
    own = plan.parameters["attributes"]
    assert own["parameters"]["rounds"] == 2
    assert plan.parameters["rho"] == own["event"]["rho"] + plan.parameters["rho_pixels"]
    assert own["event"]["rho"] / plan.parameters["rho"] == pytest.approx(0.4, rel=1e-3)
    for wrong in ({"name": "nothing"}, {"name": "marginal", "share": 1.5}, {"name": "marginal", "roundz": 1}):
        with pytest.raises(ValueError, match="attributes"):
            Config(attributes=wrong)


@pytest.mark.parametrize(("size", "channels", "bits"), [(1, 1, 8), (28, 3, 8), (64, 1, 12), (128, 1, 16)])
def test_any_declared_form_is_drawn(size: int, channels: int, bits: int) -> None:
    data = cohort(40, size=size, channels=channels, bits=bits)
    plan = Config().plan(data.schema, epsilon=5.0, delta=1e-5, patients=40)
    images = draw(Config().fit(data, plan, noise=NoiseSource.for_tests(0)), data.schema, 5, seed=0)
    assert images.pixels.shape == (5, channels, size, size)
    assert images.pixels.max() <= 2**bits - 1


@pytest.mark.parametrize("kind", ["constant", "one class", "one image", "one patient", "poisoned"])
@pytest.mark.parametrize("epsilon", [0.1, 10.0])
def test_odd_cohorts_give_images_and_never_nan(kind: str, epsilon: float) -> None:
    data = cohort(30, ill=0.0 if kind == "one class" else 0.5)
    if kind == "constant":
        data = RealImages(data.schema, data.frame, data.units, pixels=np.full_like(data.pixels, 255))
    if kind == "one image":
        data = data.select(np.arange(len(data)) == 0)
    if kind == "one patient":
        data = RealImages(data.schema, data.frame, np.full(len(data), "p", dtype=object), pixels=data.pixels)
    if kind == "poisoned":
        data = joined(data, worst(data.schema, 40, "stripes"))
    config = Config(cells=3) if kind in ("one image", "poisoned") else Config()
    plan = config.plan(data.schema, epsilon=epsilon, delta=1e-5, patients=30)
    model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    for tensor in (model.learnt.centre, model.learnt.lengths, *vars(model.learnt.moments).values()):
        assert np.isfinite(tensor).all()
    assert len(draw(model, data.schema, 20, seed=0).pixels) == 20


@pytest.mark.parametrize(("n_images", "kind"), KINDS)
def test_a_patient_moves_merfs_sums_by_at_most_what_they_cost(n_images: int, kind: str) -> None:
    base = cohort(80)
    both = joined(base, worst(base.schema, n_images, kind))
    plan = Config(method="merf").plan(base.schema, epsilon=2.0, delta=1e-5, patients=80)
    spies = [Asked(), Asked()]
    for data, spy in zip((base, both), spies, strict=True):
        dp_merf.embed(data, plan.parameters, noise=spy)
    (rho, before), (_, after) = spies[0].queries[0], spies[1].queries[0]
    move = sum(float(((b - a) ** 2).sum()) for a, b in zip(before, after, strict=True))
    assert 0 < move / 2 <= rho * (1 + 1e-9)
    if n_images == 1:
        assert move / 2 > 0.9 * rho


def test_merf_draws_images_of_each_class_and_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dp_merf, "STEPS", 60)
    data = cohort(300)
    config = Config(method="merf")
    plan = config.plan(data.schema, epsilon=8.0, delta=1e-5, patients=300)
    model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    save_model(model, data.schema, "embedding", tmp_path)
    drawn = [draw(m, data.schema, 30, seed=1) for m in (model, load_model(tmp_path)[0])]
    assert drawn[0].pixels.tobytes() == drawn[1].pixels.tobytes()
    assert drawn[0].pixels.shape == (30, 1, 16, 16)
