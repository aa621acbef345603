"""How often each 95 % interval of the evaluation holds the truth, over simulated cohorts.

A repetition draws patients, lets a generator of known fault draw synthetic records, and runs a metric. The
truth is what the metric's definition says that its interval is about:

- a constant, where the generator leaves no doubt: an independent sample has no excess, no gap, no leak;
- for a metric that is conditional on fitted models, its value on a holdout of ``MANY`` patients;
- else the mean of its value over new draws of all that is drawn: here, over the repetitions.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from synthgen.evaluation.attacks import attack as _attack
from synthgen.evaluation.attacks import rates as _rates
from synthgen.evaluation.base import Claim, Estimate, Inputs, MetricResult
from synthgen.evaluation.catalogue import load_metric
from synthgen.evaluation.features import radiomics_encoder
from synthgen.evaluation.features.design import ordinal
from synthgen.evaluation.fidelity import discriminator as fidelity_discriminator
from synthgen.evaluation.learners import expected_labels, imaging, regressions, tabular
from synthgen.evaluation.statistics.auc import delong
from synthgen.schema.schema import Schema
from tests.support import worlds

MANY = 8_000
"""Patients on whom a truth is measured: twenty times as many as an interval rests on."""
LEAST = 0.95
BATCH = 10
JOINT = (
    "leakage_strongest",
    "leakage_attribute_inference.worst",
    "leakage_attribute_inference.mean_quasi",
    "leakage_exact_values.worst_column",
    "leakage_near_copies.copied",
    "leakage_near_copies.worst_group",
    "leakage_rare_values.rare",
    "leakage_unique_parts",
    "leakage_linkability.linked",
)
AT_LEAST = (
    "fidelity_precision_coverage.precision[origin=B]",
    "leakage_near_copies",
    "leakage_exact_match.difference",
    "leakage_rare_values",
    "leakage_linkability",
    "leakage_image_changed_copies",
    "fidelity_row_checks",
    "fairness_slices",
)
"""Intervals that are bounds by nature, see their functions. Of 80 patients one or two lie outside: samples of
so few misses cannot be told apart, and 97 % of the score intervals hold the truth, as whole numbers have it.
Real rows that stand for synthetic ones are counted as if drawn apart from these, which copies are not. The
lower ends of counts are those of Fisher's exact test, whose level whole numbers do not reach. Of a
search on halves that change places the errors may be one, or none of the other's. Of an independent sample
next to no record falls foul of what no patient does: of 0 in 400 an interval holds any rate near 0.
"""
SHORT = ("fairness_equalised_odds",)
"""Still short: of groups of a quarter of the patients .91 of the intervals hold the truth. Decisions are
steps, and learners of a fifth of the records, too few to tell a small group apart, treat it alike more often
than 1/size says. Refits by arm cover as little (.911 to .951); refits on halves take three times the time.
"""
LEAST_OF_SHORT = 0.9
"""What the test holds them to, so that they get no worse."""
AT_THRESHOLD = ("tpr", "beyond_claim", "excess_")
"""Figures about members above this very threshold, whose truth only scores of known distribution tell."""
RARE = 10
"""Of so many repetitions one is made with the package's own learners."""
WANTED = (0.935, 0.965)
KEPT = (
    "sex=F",
    "origin=A",
    "origin=B",
    "sex=F & origin=A",
    "sex=F: age",
    "origin=B: sodium",
    *(field["name"] for field in worlds.FIELDS),
)
"""Groups, and hidden columns, whose intervals are watched: large enough for an answer in each repetition."""
Row = tuple[float, float, float, float]
"""Value, low, high, truth: NaN where the truth is the mean over the repetitions."""


@dataclass(frozen=True)
class Case:
    """Metrics that one repetition runs in one world.

    Attributes:
        draw: the kind of cohort, of `worlds`.
        world: the generator's fault.
        metrics: file names.
        conditional: those whose truth is measured on a large holdout.
    """

    draw: Callable[[str, int], Inputs]
    world: str
    metrics: tuple[str, ...]
    conditional: tuple[str, ...] = ()


FIDELITY = ("fidelity_tvd", "fidelity_pmse", "fidelity_precision_coverage", "fairness_fidelity")
RATES = ("fairness_equalised_odds", "fairness_calibration", "fairness_representation")
HELD = (
    "utility_tstr",
    "utility_brier",
    "fairness_utility_gap",
    "utility_regression",
    "utility_augmentation",
)
ATTACKS = ("leakage_nearest_neighbour", "leakage_density_ratio", "leakage_classifier", "leakage_strongest")
COPIES = ("leakage_near_copies", "leakage_attribute_inference")
PARTS = (
    "leakage_exact_values",
    "leakage_partial_match",
    "leakage_rare_values",
    "leakage_unique_parts",
    "leakage_linkability",
    "leakage_singling_out",
)
"""Attacks on parts of records, whose control is membership itself: the truth is 0 where nothing leaks."""
HARMS = ("utility_labels", "fairness_slices", "fairness_shift")
CHECKS = ("fidelity_row_checks",)
"""Their truth is known of an independent sample alone: what they check is learnt anew from each cohort."""
LINKED = ("fidelity_rows_per_patient", "fidelity_lag_pairs")
IMAGES = ("fidelity_image_kernel", "fidelity_image_frechet", "fidelity_image_manifold")
LEARNT = ("utility_image_tstr", "fairness_image_gap")
IMAGE_LEAKS = ("leakage_image_nearest", "leakage_image_copies", "leakage_image_encoder")
CHANGED = ("leakage_image_changed_copies",)
CASES: dict[str, Case] = {
    **{f"fidelity/{w}": Case(worlds.table, w, FIDELITY) for w in ("independent", "faulty")},
    **{f"groups/{w}": Case(worlds.table, w, RATES) for w in ("independent", "faulty")},
    **{f"learners/{w}": Case(worlds.table, w, RATES[:2]) for w in ("independent", "faulty")},
    **{f"models/{w}": Case(worlds.table, w, HELD, HELD) for w in ("independent", "faulty")},
    **{f"harms/{w}": Case(worlds.table, w, HARMS) for w in ("independent", "faulty")},
    "checks/independent": Case(worlds.coarse, "independent", CHECKS),
    **{f"leakage/{w}": Case(worlds.table, w, (*ATTACKS, *COPIES)) for w in ("independent", "leaky")},
    "parts/independent": Case(worlds.table, "independent", PARTS),
    **{f"copies/{w}": Case(worlds.coarse, w, ("leakage_exact_match",)) for w in ("independent", "copying")},
    **{f"linked/{w}": Case(worlds.histories, w, LINKED) for w in ("independent", "faulty")},
    **{f"images/{w}": Case(worlds.images, w, (*IMAGES, *LEARNT), LEARNT) for w in ("independent", "faulty")},
    **{f"image leaks/{w}": Case(worlds.images, w, IMAGE_LEAKS) for w in ("independent", "leaky")},
    "changed copies/independent": Case(worlds.images, "independent", CHANGED),
}
EXTRA = ("discriminator/independent", "discriminator/faulty", "rates")
NAMES = (*CASES, *EXTRA)
NOTHING = (
    "excess",
    "gap",
    "advantage",
    "difference",
    "ece",
    "risk",
    "true_positive",
    "false_positive",
    "overall",
    "swapped",
    "visible",
    "expected",
    "numbers",
    "impossible",
    "broken",
)
"""Last words of the figures that are 0 in truth for an independent sample."""


def repetition(name: str, seed: int) -> dict[str, Row]:
    """Return value, interval and truth of every figure, by name, of one repetition."""
    if name == "rates":
        return rates(seed)
    if name.startswith("discriminator"):
        return discriminator(name.partition("/")[2], seed)
    case = CASES[name]
    found: dict[str, Row] = {}
    with cheap(name):
        inputs = case.draw(case.world, seed)
        if name.startswith("leakage"):
            inputs = replace(inputs, groups=("sex",))
        many = replace(inputs, holdout=large_holdout(case.draw)) if case.conditional else inputs
        for metric in case.metrics:
            module = load_metric(metric)
            result = module.evaluate(inputs, rng=np.random.default_rng(seed))
            truths = held_out(module, many) if metric in case.conditional else {}
            for key, estimate in figures(result).items():
                zero = case.world == "independent" and nothing(key, metric)
                truth = 0.0 if zero and metric not in case.conditional else truths.get(key, np.nan)
                if estimate.status == "ok" and not key.startswith(AT_THRESHOLD):
                    found[f"{metric}.{key}"] = (estimate.value, estimate.low, estimate.high, truth)
    return found


NO_LEAK = (
    "worst_column",
    "nearest",
    "pointed",
    "searched",
    "worst_group",
    "worst",
    "rare",
    "quasi",
    "linked",
    "univariate",
    "multivariate",
)
"""Those of the leakage head, beside `NOTHING`; also means over columns, and near copies at any distance."""


def nothing(key: str, metric: str) -> bool:
    """Return whether a figure is 0 in truth where the generator is perfect."""
    words = key.replace(".", " ").replace("[", " ").replace("1", "").replace("2", "").split()
    leaks = (*NO_LEAK, "mean", "mean_quasi", "copied") if metric.startswith("leakage_") else ()
    return any(word in (*NOTHING, *leaks) for word in words) and metric != "leakage_strongest"


def figures(result: MetricResult) -> dict[str, Estimate]:
    """Return all estimates of a metric, groups among them."""
    found = dict(result.estimates)
    for key, groups in result.groups.items():
        found |= {f"{key}[{group}]": groups[group] for group in KEPT if group in groups}
    return found


def held_out(module: ModuleType, many: Inputs) -> dict[str, float]:
    """Return the metric's values for the same fitted models on a large holdout: learners have fixed seeds."""
    gap = load_metric("fairness_utility_gap")
    with changed(module, "DRAWS", 1), changed(gap, "DRAWS", 1):
        result = module.evaluate(many, rng=np.random.default_rng(0))
    return {key: estimate.value for key, estimate in figures(result).items()}


@lru_cache(maxsize=2)
def large_holdout(draw: Callable[[str, int], Inputs]) -> Any:
    if draw is worlds.images:
        return worlds.real_images(MANY, 3)
    return worlds.simulate(MANY, 3, worlds.table_schema())


def discriminator(world: str, seed: int) -> dict[str, Row]:
    """Return the discriminator's figures; the truth is the area of its own fitted trees on new records.

    It is .5 whatever the trees, where both sides are drawn alike, as training and holdout patients are.
    """
    inputs, sides = worlds.table(world, seed), large_sides(world)
    areas: list[float] = []
    fit, features = fidelity_discriminator._scores, fidelity_discriminator.features
    new: list[np.ndarray] = []

    def coded(schema: Schema, real: pd.DataFrame, frame: pd.DataFrame) -> np.ndarray:
        new[:] = new or [features(schema, real, side) for side in sides]
        return features(schema, real, frame)

    def scores(matrix: Any, truth: Any, tests: Any, categories: Any) -> Any:
        *found, ones, zeros = fit(matrix, truth, (*tests, *new), categories)
        areas.append(delong(ones, zeros).value)
        return found

    with ExitStack() as stack:
        for name, value in (("features", coded), ("_scores", scores), ("TREES", 20)):
            stack.enter_context(changed(fidelity_discriminator, name, value))
        result = fidelity_discriminator.evaluate(inputs, rng=np.random.default_rng(seed))
    auc = 0.5 if world == "independent" else areas[0]
    truths = {"auc": auc, "auc_real": 0.5, "excess": auc - 0.5}
    return {
        f"fidelity_discriminator.{key}": (e.value, e.low, e.high, truths[key])
        for key, e in result.estimates.items()
    }


@lru_cache(maxsize=2)
def large_sides(world: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return new synthetic records and new patients."""
    schema = worlds.table_schema()
    train = worlds.simulate(MANY, 4, schema)
    drawn, held = worlds.TABLES[world](train, MANY, 5), worlds.independent(train, MANY, 7)
    return drawn, held


def rates(seed: int) -> dict[str, Row]:
    """Return an attack's figures on scores of known distribution: members lie up to one unit higher."""
    rng = np.random.default_rng(seed)
    shift = rng.uniform(0, 1)
    members, others = rng.normal(shift, 1, 1500), rng.normal(size=1200)
    claim = Claim(epsilon=0.5, delta=1e-5)
    found = {"_auc.delong": (delong(members, others), float(norm.cdf(shift / np.sqrt(2))))}
    for key, estimate in _rates.true_positive_rates(members, others, claim=claim, rng=rng).items():
        rate = _rates.RATES[key.rpartition("_")[2]]
        cut = np.sort(others)[::-1][int(rate * len(others))]
        hit, false = float(norm.sf(cut - shift)), float(norm.sf(cut))
        limit = {"beyond": _rates.allowed(claim, false), "excess": false}.get(key.partition("_")[0], 0.0)
        truth = hit - limit
        found[f"_rates.{key}"] = estimate, truth
    return {key: (e.value, e.low, e.high, truth) for key, (e, truth) in found.items() if e.status == "ok"}


@contextmanager
def cheap(name: str) -> Iterator[None]:
    """Take small learners, attacks without a control, pixels for features: intervals stay as they are.

    Cases named ``learners`` keep the learners of the package, and are run less often.
    """
    names = (*IMAGES, *IMAGE_LEAKS, *LEARNT, *HELD, *ATTACKS)
    modules = {metric: load_metric(metric) for metric in names}
    with ExitStack() as stack:
        stack.enter_context(changed(imaging, "encode", _pixels))
        for metric in (*IMAGES, "leakage_image_encoder"):
            stack.enter_context(changed(modules[metric], "ENCODERS", {radiomics_encoder.NAME: _pixels}))
        for metric in IMAGE_LEAKS[:2]:
            stack.enter_context(changed(modules[metric], "points", _pixels))
        for module in (imaging, modules["utility_image_tstr"]):
            stack.enter_context(changed(module, "learners", lambda: ("logistic",)))
        if not name.startswith("learners"):
            stack.enter_context(changed(tabular, "_FITS", _SMALL))
            stack.enter_context(changed(modules["leakage_density_ratio"], "TREES", 10))
            stack.enter_context(changed(_attack, "score", _without_control))
        if name.startswith("models"):
            stack.enter_context(changed(modules["utility_tstr"], "fifths", lambda _: ()))
            for module in (modules["utility_regression"], regressions):
                stack.enter_context(changed(module, "LEARNERS", ("ridge",)))
        stack.enter_context(changed(expected_labels, "TREES", 10))
        yield


def _without_control(inputs: Inputs, scorer: Any, *, rng: np.random.Generator) -> Any:
    found = _ATTACK(inputs, scorer, rng=rng)
    return found and replace(found, plant=lambda: found.told)


_ATTACK = _attack.score


def _pixels(images: Any) -> np.ndarray:
    return np.asarray(images.pixels.reshape(len(images.pixels), -1) / 255, dtype=np.float32)


def _small(model: Any, schema: Schema, target: str, frame: Any, holdout: Any, rows: int) -> np.ndarray:
    names = [column.name for column in schema.columns if column.name != target]
    train, test = (np.nan_to_num(ordinal(schema, part, names)[0], nan=-1.0) for part in (frame, holdout))
    return tabular.spread(model, train, frame[target].cat.codes.to_numpy(), test, 2)


_SMALL = {
    "logistic": tabular._FITS["logistic"],
    "boosting": partial(
        _small, HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=7, early_stopping=False)
    ),
    "forest": partial(_small, RandomForestClassifier(10, min_samples_leaf=10, random_state=7)),
}


@contextmanager
def changed(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name, None)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def strongest(key: str, rows: Mapping[str, list[Row]]) -> float:
    """Return the mean of a figure's values; of the largest of several figures, the largest of their means."""
    metric, _, figure = key.partition(".")
    figure = figure.replace("group_advantage", "advantage")
    parts = [f"{attack}.{figure}" for attack in ATTACKS if metric == "leakage_strongest" != attack]
    if figure == "worst":
        parts = [other for other in rows if other.startswith(f"{metric}.difference")]
    return max(float(np.nanmean([row[0] for row in rows[part]])) for part in parts or [key])


def batch(name: str, first: int, count: int) -> tuple[str, float, list[dict[str, Row]]]:
    """Return some repetitions of a case, and the processor's seconds that they took."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [repetition(name, first + i) for i in range(count)]
    return name, time.process_time() - start, rows


def run(
    names: Sequence[str], *, first: int = 0, repetitions: int, processes: int | None, limit: float = math.inf
) -> Iterator[tuple[str, float, list[dict[str, Row]]]]:
    """Yield batches of repetitions, all cases in turn, until the limit in seconds."""
    start = time.perf_counter()
    with ProcessPoolExecutor(processes) as pool:
        asked = [
            pool.submit(batch, name, first + at, min(BATCH, repetitions - at))
            for at in range(0, repetitions, BATCH)
            for name in names
            if at < repetitions // (RARE if name.startswith("learners") else 1)
        ]
        for future in asked:
            if time.perf_counter() - start > limit:
                pool.shutdown(cancel_futures=True)
                return
            yield future.result()


def outside(
    table: Mapping[str, Mapping[str, float]], wanted: tuple[float, float] = WANTED
) -> dict[str, float]:
    """Return the figures whose intervals cover less or more often than is wanted.

    Of intervals that hold for several figures at once only the lower bound counts: they say at least 95 %. So
    it does of `AT_LEAST`. Those of `SHORT` are among them: the benchmark prints them.
    """
    return {
        key: held["coverage"]
        for key, held in table.items()
        if not wanted[0] <= held["coverage"] <= (1.0 if key.startswith((*JOINT, *AT_LEAST)) else wanted[1])
    }


def summary(rows: Mapping[str, list[Row]]) -> dict[str, dict[str, float]]:
    """Return coverage with its binomial error, by figure; figures without interval are left out."""
    found = {}
    repetitions = max(len(held) for held in rows.values())
    for key, held in rows.items():
        value, low, high, truth = np.array(held).T
        known = np.isfinite(low)
        if known.sum() < LEAST * repetitions:  # too few patients in too many repetitions, or no interval
            continue
        value, low, high, truth = (part[known] for part in (value, low, high, truth))
        truth = np.where(np.isnan(truth), strongest(key, rows), truth)
        share = float(np.mean((low <= truth) & (truth <= high)))
        found[key] = {
            "coverage": share,
            "error": float(np.sqrt(share * (1 - share) / len(value))),
            "truth": float(truth.mean()),
            "bias": float(np.mean(value - truth)),
            "half_width": float(np.median(high - low) / 2),
            "width_ratio": float(np.median(high - low) / 2 / (1.96 * np.std(value - truth) + 1e-12)),
            "missed_low": float(np.mean(truth < low)),
            "missed_high": float(np.mean(truth > high)),
            "answers": len(value),
        }
    return found
