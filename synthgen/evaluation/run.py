"""Run every metric of the package over one set of inputs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from dataclasses import replace
from types import ModuleType

import numpy as np

from synthgen.data.images import SyntheticImages
from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.canonical_order import canonical, ordered
from synthgen.evaluation.catalogue import load_metric, metric_names
from synthgen.evaluation.statistics.patients import one_row_each, together


def is_of_images(name: str) -> bool:
    """Return whether a metric is about pixels: the second word of its name is ``image``."""
    return name.split("_")[1] == "image"


def evaluate_all(
    inputs: Inputs,
    *,
    seed: int,
    progress: Callable[[str, float], None] | None = None,
    only: Collection[str] | None = None,
) -> list[MetricResult]:
    """Return the result of every metric, in alphabetical order; those of pixels for images only.

    Records stand in the order of their content (`_canonical`), so that the files' order decides nothing.
    Each metric has a random stream of its own, keyed with its name, so that adding one changes no other.
    Of linked records a metric sees one random row of each synthetic patient, unless it says ``ALL_ROWS``.
    Metrics of other heads than leakage test on the reference's patients too, see `whole`.
    ``details["caps"]`` states from where on a metric works on a sample, see `with_caps`.

    Args:
        inputs: see `Inputs`.
        seed: of all random draws.
        progress: called with the metric's name and the part done, from 0 to 1.
        only: names of the metrics to run; None runs all.
    """
    images = isinstance(inputs.synthetic, SyntheticImages)
    names = [name for name in metric_names() if images or not is_of_images(name)]
    names = [name for name in names if only is None or name in only]
    results = []
    inputs = single = canonical(inputs)
    if inputs.schema.unit.is_linked:
        rng = np.random.default_rng([seed, zlib.crc32(b"one row each")])
        single = replace(inputs, synthetic=one_row_each(inputs.synthetic, rng=rng))
    seen = {(True, True): inputs, (True, False): single}
    seen |= {(False, rows): whole(one) for (_, rows), one in seen.items()}
    for i, name in enumerate(names):
        if progress is not None:
            progress(name, i / len(names))
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        metric = load_metric(name)
        mine = seen[name.startswith("leakage"), bool(getattr(metric, "ALL_ROWS", False))]
        found = metric.evaluate(mine, rng=rng)
        results.append(with_caps(found, metric))
    if progress is not None:
        progress("done", 1.0)
    return results


def whole(inputs: Inputs) -> Inputs:
    """Return inputs whose holdout has the reference's patients too, whom only attacks need apart."""
    if not inputs.reference_of_cohort or not len(inputs.reference):
        return inputs
    return replace(inputs, holdout=ordered(together(inputs.holdout, inputs.reference)))


def with_caps(result: MetricResult, metric: ModuleType) -> MetricResult:
    """Return a result with its metric's caps by sampling: the ``MAX_...`` of its file, and what it adds."""
    names = [name for name in dir(metric) if name.startswith("MAX_")]
    caps = {name.removeprefix("MAX_").lower(): getattr(metric, name) for name in names}
    stated = result.details.get("caps", {})
    return replace(result, details={**result.details, "caps": {**caps, **stated}}) if caps else result
