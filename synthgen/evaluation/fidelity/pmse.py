"""Fidelity: can a table of two columns tell synthetic from real records, beyond what chance can?

Within each cell of a pair's table the propensity score is the share of synthetic records; pMSE is its
mean squared distance from the overall share, S_pMSE the same in units of its expectation where one
fitted model drew the records. S_pMSE grows with the number of records, and its published bounds come
from a survey of 5,000: so at most that many records are compared a side. Two independent real samples
of one size have an expectation of 2, not 1, since chance moves both: it is measured beside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs, MetricResult
from synthgen.evaluation.features.design import cell_codes, n_cells, unit_scale
from synthgen.evaluation.statistics.intervals import from_halves, insufficient, without_interval
from synthgen.evaluation.statistics.patients import half_samples, one_record_each, sample_rows
from synthgen.evaluation.statistics.tables import BLOCKS, Side, pairs
from synthgen.schema.schema import Column

MAX_ROWS = 5_000
GROUPS = 5
SPLITS = 50
MIN_PATIENTS = 50
WORST = 20
DEFINITION = (
    "pMSE of the saturated propensity model of a pair's table (numbers in 5 groups of equal size, missing a"
    " cell), divided by (k - 1)(1 - c)^2 c / N for k cells, N records, a share c of them synthetic; at most"
    " 5,000 holdout patients' records and as many synthetic ones; mean over pairs. Synthpop's S_pMSE: Snoke"
    " et al. (2018), JRSS A 181:663; Raab, Nowok and Dibben (2021), arXiv:2109.12717. Intervals are about the"
    " mean over new draws of as many records, generator held fixed: split halves of 50 blocks of patients;"
    " max has none, since chance chose the pair. effect: chi-squared of membership by cell over N, less its"
    " expectation (k - 1) / (N - 1) for two samples of the same patients, mean over pairs: Cohen's w squared,"
    " which means the same at any N. ratio: the mean over that of training records."
)
_KEYS = ("effect", "ratio", "mean", "max", "mean_real")


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare the tables of pairs of columns.

    Args:
        inputs: see `Inputs`; the holdout gives one random record a patient, as a synthetic row is one.
        rng: draws samples, and splits of blocks of patients in halves.

    Returns:
        ``effect`` from -1 to 1, 0 in expectation for two independent samples; ``ratio``; S_pMSE's ``mean``
        and ``max`` over pairs and ``mean_real``, for training records in the synthetic ones'
        place; from 0, 1 in expectation if one fitted model drew both, 2 for two independent samples.
    """
    n_holdout, n_train = inputs.holdout.unit_codes()[1], inputs.train.unit_codes()[1]
    rows = min(len(inputs.synthetic), n_holdout, n_train, MAX_ROWS)
    chosen = pairs(len(inputs.schema.columns), rng=rng)
    if rows < MIN_PATIENTS or not chosen:
        note = "Too few patients or rows." if chosen else "A table of one column has no pairs."
        return _result({key: insufficient(rows) for key in _KEYS}, {}, note=note)
    frames = {
        "holdout": one_record_each(inputs.holdout, rows, rng=rng),
        "synthetic": sample_rows(inputs.synthetic.frame, rows, rng=rng),
        "real": one_record_each(inputs.train, rows, rng=rng),
    }
    table = {arm: _by_pair(inputs, frames["holdout"], frames[arm], chosen, rng)[0] for arm in _ARMS[1:]}
    table["synthetic"], table["effect"] = _by_pair(
        inputs, frames["holdout"], frames["synthetic"], chosen, rng
    )
    worst = np.argsort(-table["synthetic"][:, 0])
    estimates = {
        "effect": from_halves(table["effect"].mean(axis=0), n=rows, units=BLOCKS),
        "ratio": without_interval(
            float(table["synthetic"][:, 0].mean() / max(table["real"][:, 0].mean(), 1e-9)), n=rows
        ),
        "mean": _mean(table["synthetic"], rows),
        "max": without_interval(table["synthetic"][worst[0], 0], n=rows),
        "mean_real": _mean(table["real"], rows),
    }
    names = [column.name for column in inputs.schema.columns]
    listed = [
        {"columns": [names[j] for j in chosen[i]], **{arm: float(table[arm][i, 0]) for arm in _ARMS}}
        for i in worst[:WORST]
    ]
    return _result(estimates, {"rows": rows, "pairs": len(chosen), "worst_pairs": listed})


_ARMS = ("synthetic", "real")


def standardised(observed: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return S_pMSE of the saturated model of a table.

    Args:
        observed: counts of real records, ``(draw, cell)``.
        synthetic: counts of synthetic records, ``(draw, cell)``.

    Returns:
        float64, one a draw; 0 where one cell holds everything.

    Source: Snoke et al. (2018), arXiv:1604.06651, Theorem 1; pMSE by cell as in Raab et al. (2021),
    Appendix A.
    """
    both = observed + synthetic
    total = both.sum(axis=1)
    share = synthetic.sum(axis=1) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        propensity = np.where(both > 0, synthetic / both, 0.0)
    pmse = (both * (propensity - share[:, None]) ** 2).sum(axis=1) / total
    freedom = np.maximum((both > 0).sum(axis=1) - 1, 1)
    return np.asarray(pmse / (freedom * (1 - share) ** 2 * share / total))


def effect(observed: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return the part of membership that a table explains beyond chance: a squared effect size w.

    The chi-squared statistic of membership by cell, over the records, has the expectation (k - 1) / N where
    both sides are samples of the same patients, at any N; the rest is the noncentral part for each record.

    Args:
        observed: counts of real records, ``(draw, cell)``.
        synthetic: counts of synthetic records, ``(draw, cell)``.

    Source: Cohen (1988), Statistical Power Analysis, chapter 7.
    """
    both = observed + synthetic
    total = both.sum(axis=1)
    share = synthetic.sum(axis=1) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        propensity = np.where(both > 0, synthetic / both, 0.0)
    explained = (both * (propensity - share[:, None]) ** 2).sum(axis=1) / total / (share * (1 - share))
    freedom = np.maximum((both > 0).sum(axis=1) - 1, 0)
    return np.asarray(explained - freedom / (total - 1))


def _mean(table: np.ndarray, n: int) -> Estimate:
    """Return the mean over pairs.

    In units of its expectation without a difference, 2, the mean is 1 + l, and its variance is proportional
    to 1 + 2 l, as of a noncentral chi-squared variable, with l proportional to n. So the variance at full
    size is (1 + 2 l) / (1 + l) that at half size, where other figures have a half.
    """
    mean = table.mean(axis=0)
    beyond = max(float(mean[0]) / 2 - 1, 0.0)
    scale = np.full(len(mean), np.sqrt(2 * (1 + 2 * beyond) / (1 + beyond)))
    return from_halves(
        np.where(np.arange(len(mean)) > 0, scale, 1.0) * mean, n=n, units=BLOCKS, positive=True
    )


def _by_pair(
    inputs: Inputs,
    holdout: pd.DataFrame,
    other: pd.DataFrame,
    chosen: list[tuple[int, ...]],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return S_pMSE, ``(pair, draw)``, and the effect size likewise."""
    coded = [_groups(column, holdout[column.name], other[column.name]) for column in inputs.schema.columns]
    sizes = [size for _, _, size in coded]
    sides = [Side.of_rows(np.column_stack([pair[i] for pair in coded]), rng=rng) for i in (0, 1)]
    draws = [half_samples(BLOCKS, SPLITS, rng=rng) for _ in sides]
    counts = [
        [side.counts(pair, sizes, held) for side, held in zip(sides, draws, strict=True)] for pair in chosen
    ]
    return (
        np.stack([standardised(*both) for both in counts]),
        np.stack([effect(*both) for both in counts]),
    )


def _groups(column: Column, first: pd.Series, second: pd.Series) -> tuple[np.ndarray, np.ndarray, int]:
    """Return both sides' cells and their number: labels, or groups of the pooled numbers of equal size."""
    if column.kind == "category":
        return cell_codes(column, first), cell_codes(column, second), n_cells(column)
    places = [unit_scale(column, values) for values in (first, second)]
    pooled = np.concatenate(places)
    pooled = pooled[~np.isnan(pooled)]
    edges = np.unique(np.quantile(pooled, np.arange(1, GROUPS) / GROUPS)) if len(pooled) else np.empty(0)
    codes = [
        np.where(np.isnan(place), len(edges) + 1, np.searchsorted(edges, place, side="left"))
        for place in places
    ]
    return codes[0].astype(np.int64), codes[1].astype(np.int64), len(edges) + 2


def _result(estimates: dict[str, Estimate], details: dict[str, Any], *, note: str = "") -> MetricResult:
    return MetricResult(
        name="fidelity_pmse",
        head="fidelity",
        title="Propensity score of pairs (S_pMSE)",
        estimates=estimates,
        better="lower",
        reads_real=True,
        definition=DEFINITION,
        details=details,
        status="insufficient" if note else "ok",
        note=note,
    )
