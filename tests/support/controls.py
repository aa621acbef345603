"""Generators whose fault is known, and the head that has to see it: the evaluation's negative controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.base import Claim, Inputs
from synthgen.evaluation.catalogue import load_metric
from synthgen.evaluation.run import evaluate_all
from synthgen.evaluation.statistics.patients import one_record_each
from synthgen.release.gate.gate import Verdict, decide, load_policy
from synthgen.release.gate.policy import Policy
from synthgen.schema.schema import Schema
from tests.evaluation.conftest import FIELDS, make_schema, simulate

COMPARISONS = 300
"""More than the whole policy ever makes: one metric alone is judged at least as strictly as among all."""


@dataclass(frozen=True)
class Control:
    """A faulty generator.

    Attributes:
        name: what it does.
        make: takes the parts and a seed, returns synthetic records.
        heads: the heads of which one at least must refuse; empty for a generator without fault.
        metrics: the cheapest metrics that refuse it, for runs over many seeds.
        n: training patients of these runs.
    """

    name: str
    make: Callable[[Inputs, int], pd.DataFrame]
    heads: tuple[str, ...]
    metrics: tuple[str, ...] = ()
    n: int = 800


def fresh(inputs: Inputs, seed: int, n: int | None = None) -> pd.DataFrame:
    """Return one record each of new patients: what a perfect generator gives."""
    n = inputs.train.unit_codes()[1] if n is None else n
    table = simulate(n, 7_000_000 + seed, inputs.schema)
    return one_record_each(table, n, rng=np.random.default_rng(seed))


def copied(part: RealTable, seed: int) -> pd.DataFrame:
    return one_record_each(part, part.unit_codes()[1], rng=np.random.default_rng(seed))


def blurred(frame: pd.DataFrame, schema: Schema, seed: int, share: float = 0.01) -> pd.DataFrame:
    """Return records with noise of a share of each number's range."""
    frame, rng = frame.copy(), np.random.default_rng(seed)
    for column in schema.columns:
        if column.kind != "category":
            noise = share * (column.maximum - column.minimum) * rng.normal(size=len(frame))
            frame[column.name] = (frame[column.name] + noise).clip(column.minimum, column.maximum)
    return frame


def copies(inputs: Inputs, seed: int) -> pd.DataFrame:
    return copied(inputs.train, seed)


def noisy_copies(inputs: Inputs, seed: int) -> pd.DataFrame:
    return blurred(copied(inputs.train, seed), inputs.schema, seed)


def noisy_copies_of_all(inputs: Inputs, seed: int) -> pd.DataFrame:
    parts = (inputs.train, inputs.holdout, inputs.reference)
    everyone = pd.concat([copied(part, seed) for part in parts], ignore_index=True)
    return blurred(everyone, inputs.schema, seed)


def half_copies(inputs: Inputs, seed: int) -> pd.DataFrame:
    frame = copied(inputs.train, seed)
    half = len(frame) // 2
    return pd.concat([frame[:half], fresh(inputs, seed, len(frame) - half)], ignore_index=True)


def memorised_subgroup(inputs: Inputs, seed: int) -> pd.DataFrame:
    mine, drawn = copied(inputs.train, seed), fresh(inputs, seed)
    return pd.concat([drawn[drawn["origin"] != "B"], mine[mine["origin"] == "B"]], ignore_index=True)


def dropped_minority(inputs: Inputs, seed: int) -> pd.DataFrame:
    drawn = fresh(inputs, seed, 2 * inputs.train.unit_codes()[1])
    return drawn[drawn["origin"] != "C"][: inputs.train.unit_codes()[1]]


def flipped_label(inputs: Inputs, seed: int) -> pd.DataFrame:
    drawn = fresh(inputs, seed)
    died = drawn["died"].astype(bool).to_numpy() ^ (drawn["origin"] == "B").to_numpy()
    return drawn.assign(died=pd.Categorical(died, categories=[False, True]))


def marginals_only(inputs: Inputs, seed: int) -> pd.DataFrame:
    drawn, rng = fresh(inputs, seed), np.random.default_rng(seed)
    return pd.DataFrame({name: drawn[name].iloc[rng.permutation(len(drawn))].array for name in drawn})


CONTROLS = (
    Control("copies of training rows", copies, ("leakage",), ("leakage_nearest_neighbour",)),
    Control("copies with 1 % noise", noisy_copies, ("leakage",), ("leakage_nearest_neighbour",)),
    Control("copies of all parts, 1 % noise", noisy_copies_of_all, ("leakage",), ("leakage_near_copies",)),
    Control("half of the rows copied", half_copies, ("leakage",), ("leakage_nearest_neighbour",)),
    Control("memorises one subgroup", memorised_subgroup, ("leakage",), ("leakage_strongest",)),
    Control("drops a minority", dropped_minority, ("fairness",), ("fairness_representation",)),
    Control(
        "flips one group's label",
        flipped_label,
        ("fairness",),
        ("fairness_utility_gap",),
        2500,
    ),
    Control("marginals only", marginals_only, ("fidelity", "utility"), ("utility_tstr",), 1500),
)
INDEPENDENT = Control("independent sample", fresh, ())


def inputs_of(control: Control, seed: int, n: int) -> Inputs:
    """Return a cohort of n training and n/2 holdout and reference patients, and the control's records."""
    schema = make_schema(FIELDS)
    parts = [simulate(size, 1000 * seed + i, schema) for i, size in enumerate((n, n // 2, n // 2))]
    claim, nothing = Claim(epsilon=1.0, delta=1e-5), SyntheticTable(schema, parts[0].frame.iloc[:0])
    inputs = Inputs(schema, *parts, nothing, "died", ("sex", "origin"), claim)
    frame = control.make(inputs, seed).reset_index(drop=True)
    return replace(inputs, synthetic=SyntheticTable(schema, frame))


def judge(inputs: Inputs, seed: int = 0) -> Verdict:
    """Return the verdict of the whole evaluation by the default policy."""
    return decide(evaluate_all(inputs, seed=seed), load_policy("default"))


def judge_by(inputs: Inputs, metrics: Sequence[str], seed: int = 0) -> Verdict:
    """Return the verdict of some metrics, at a level as strict as among all of them."""
    results = [load_metric(name).evaluate(inputs, rng=np.random.default_rng(seed)) for name in metrics]
    policy = load_policy("default")
    strict: Policy = policy.model_copy(update={"wrongful_refusal": policy.wrongful_refusal / COMPARISONS})
    return decide(results, strict)


def refusing(verdict: Verdict) -> set[str]:
    return {reason.head for reason in verdict.reasons if reason.severity == "refuse"}


def table_of_controls(n: int, seed: int) -> dict[str, dict[str, str]]:
    """Return by control what each head says: refuse, cannot-sign, warn or pass."""
    found = {}
    for control in (*CONTROLS, INDEPENDENT):
        verdict = judge(inputs_of(control, seed, n), seed)
        found[control.name] = {head: str(content["status"]) for head, content in verdict.heads.items()}
    return found
