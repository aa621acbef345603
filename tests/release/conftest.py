"""A small release from end to end: schema, synthetic table, record, results, bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dp_accounting import dp_event

from synthgen.data.tables import SyntheticTable
from synthgen.evaluation.base import Estimate, MetricResult
from synthgen.privacy.accountant import gdp_mu, get_epsilon, to_json
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.release.bundle.bundle import write_bundle
from synthgen.release.record.record import Composition, Deployment, Judgement, privacy_record
from synthgen.release.report import ReportContent, marginals
from synthgen.schema.schema import Schema, load_schema

SCHEMA = """
unit: {column: patient, max_records: 4}
missingValues: ["?", ""]
fields:
  - {name: patient, type: string, role: id, constraints: {enum: ["REAL-0001", "REAL-0002"]}}
  - {name: encounter, type: integer, role: id, constraints: {minimum: 2278392, maximum: 443867222}}
  - {name: ward_note, type: string, role: drop}
  - {name: age, type: integer, constraints: {minimum: 18, maximum: 100}, role: protected, outside: clip}
  - {name: sex, type: string, constraints: {enum: ["F", "M"], required: true}, role: protected}
  - {name: race, type: string, constraints: {enum: ["no", "1e-6", "A & <b>"]}, role: protected}
  - {name: stage, type: integer, constraints: {enum: [1, 2, 3]}}
  - {name: albumin, type: number, constraints: {minimum: 0, maximum: 7.5}}
  - {name: admitted, type: date, origin: "2000-01-01",
     constraints: {minimum: "2001-01-01", maximum: "2004-12-31"}}
  - {name: died, type: boolean, trueValues: ["yes"], falseValues: ["no"]}
  - {name: readmitted, type: boolean, role: label}
rules: ["died implies not readmitted"]
"""


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    path = tmp_path_factory.mktemp("schema") / "schema.yaml"
    path.write_text(SCHEMA, encoding="utf-8")
    return load_schema(path)


def draw(schema: Schema, n: int, seed: int) -> SyntheticTable:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for column in schema.columns:
        missing = (rng.random(n) < 0.1) & column.nullable
        if column.kind == "category":
            codes = rng.integers(0, len(column.labels), n)
            columns[column.name] = pd.Categorical.from_codes(
                np.where(missing, -1, codes), list(column.labels)
            )
            continue
        values = rng.uniform(column.minimum, column.maximum, n)
        columns[column.name] = np.where(
            missing, np.nan, values if column.kind == "number" else np.round(values)
        )
    frame = pd.DataFrame(columns)
    broken = schema.parsed_rules[0].violated(frame)
    frame.loc[broken, "readmitted"] = False
    return SyntheticTable(schema, frame)


@pytest.fixture(scope="session")
def table(schema: Schema) -> SyntheticTable:
    return draw(schema, 200, seed=1)


def write_csv(table: SyntheticTable, path: Path) -> None:
    """Write as `synthgen.sampling.draw.write_table` promises to, by other means."""
    frame = table.to_pandas()
    for field in table.schema.fields:
        if field.type == "boolean":
            cells = table.frame[field.name].map({True: field.true_values[0], False: field.false_values[0]})
            frame[field.name] = cells.astype(object)
    frame.to_csv(path, index=False, na_rep="?", lineterminator="\n")


@pytest.fixture(scope="session")
def files(table: SyntheticTable, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("public")
    write_csv(table, folder / "cohort.csv")
    table.to_pandas().to_parquet(folder / "cohort.parquet", index=False)
    return {"cohort.csv": folder / "cohort.csv", "cohort.parquet": folder / "cohort.parquet"}


EVENT = dp_event.ZCDpEvent(rho=0.02)
PLAN = PrivacyPlan(
    generator="marginal",
    unit="patient",
    max_records=4,
    epsilon=1.0,
    delta=1e-6,
    patients=57_200,
    event=EVENT,
    parameters={"rho": 0.02, "rounds": 12, "lattice": 65536},
    stages=(
        Stage("one-way marginals", 0.38, 0.3, 41.2, "each column once"),
        Stage("selection of pairs", 0.2, 0.1, None, "exponential mechanism, 12 rounds"),
        Stage("two-way marginals", 0.61, 0.6, 56.9, "the pairs selected"),
    ),
)
EARLIER = dp_event.GaussianDpEvent(10.0)


def composition(**changes: Any) -> Composition:
    events = [EARLIER, EVENT]
    made = Composition(
        cohort="diabetes130",
        patients=71_500,
        epsilon=get_epsilon(events, 1e-6),
        delta=1e-6,
        cap=2.0,
        events=tuple(to_json(event) for event in events),
        head="ab" * 32,
        mu=gdp_mu(events, 1e-6),
    )
    return replace(made, **changes)


DEPLOYMENT = Deployment(
    name="Diabetes, 130 hospitals: synthetic encounters",
    publication_date="2026-03-01",
    curators=("Data Stewardship Office",),
    intended_use="Teaching and method development.",
    description="Encounters of patients with diabetes.",
    region="United States",
    tuning="Hyper-parameters were chosen on public and simulated data only.",
)


@pytest.fixture(scope="session")
def make_record(schema: Schema) -> Callable[..., dict[str, Any]]:
    def make(**changes: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "deployment": DEPLOYMENT,
            "plan": PLAN,
            "event": to_json(EVENT),
            "composition": composition(),
            "judgement": Judgement("release", "default", "0" * 64, looks=1, residual_risk=0.09),
            "schema": schema,
            "files": {"cohort.csv": 200, "cohort.parquet": 200},
        }
        return privacy_record(**{**given, **changes})

    return make


@pytest.fixture(scope="session")
def record(make_record: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return make_record()


def estimate(value: float, half: float, n: int = 14_300, status: str = "ok") -> Estimate:
    return Estimate(value, value - half, value + half, n, status)  # type: ignore[arg-type]


def results(shift: float = 0.0) -> list[MetricResult]:
    """The four heads; ``shift`` moves every figure that reads real records."""

    def real(
        name: str, head: str, title: str, estimates: Mapping[str, Estimate], **more: Any
    ) -> MetricResult:
        moved = {
            k: replace(e, value=e.value + shift, low=e.low + shift, high=e.high + shift)
            for k, e in estimates.items()
        }
        return MetricResult(
            name, head, title, moved, "higher", reads_real=True, definition="As defined.", **more
        )  # type: ignore[arg-type]

    groups = [
        "sex=F",
        "sex=M",
        "race=no",
        "race=1e-6",
        "race=A & <b>",
        "sex=F & race=no",
        "sex=M & race=1e-6",
    ]
    rng = np.random.default_rng(5)
    ratios = {g: estimate(float(rng.normal(0, 0.08)), 0.05) for g in groups[:-1]}
    ratios[groups[-1]] = Estimate(float("nan"), float("nan"), float("nan"), 12, "insufficient")
    names = ["age", "albumin", "race", "stage", "admitted", "died", "readmitted", "sex"]
    columns = [
        {"columns": [name], "tvd": 0.06 - 0.006 * i + shift, "ceiling": 0.018 - 0.001 * i}
        for i, name in enumerate(names)
    ]
    utility: dict[str, Estimate] = {}
    for learner, (with_real, with_synthetic) in {
        "logistic": (0.652, 0.641),
        "boosting": (0.668, 0.629),
        "forest": (0.659, 0.633),
    }.items():
        utility[f"{learner}.real"] = estimate(with_real, 0.008)
        utility[f"{learner}.synthetic"] = estimate(with_synthetic, 0.009)
        utility[f"{learner}.gap"] = estimate(with_synthetic - with_real, 0.006)
    utility["mean.gap"] = estimate(-0.025, 0.005)
    attack = {
        "auc": estimate(0.503, 0.012),
        "advantage": estimate(0.004, 0.021),
        "tpr_1pct": estimate(0.011, 0.004),
        "tpr_10pct": estimate(0.104, 0.012),
    }
    fidelity = {
        "tvd1": estimate(0.031, 0.002),
        "ceiling1": estimate(0.014, 0.001),
        "excess1": estimate(0.017, 0.002),
    }
    claim = {"epsilon": Estimate(1.21, 1.21, 1.21, 0), "delta": Estimate(1e-6, 1e-6, 1e-6, 0)}
    control = {"planted_share": 0.5, "detected": True, "advantage": 0.44, "low": 0.41, "high": 0.47}
    return [
        real(
            "fidelity_tvd", "fidelity", "Total variation of marginals", fidelity, details={"columns": columns}
        ),
        real("utility_tstr", "utility", "Train on synthetic, test on real", utility),
        real(
            "fairness_representation",
            "fairness",
            "Representation of groups",
            {"worst": estimate(-0.11, 0.05)},
            groups={"log_ratio": ratios},
        ),
        real(
            "leakage_density_ratio",
            "leakage",
            "Density ratio attack",
            attack,
            baseline=0.5,
            control=0.498,
            details={"control": control},
        ),
        MetricResult("leakage_claim", "leakage", "Claimed guarantee", claim, "lower", False, "The ledger."),  # type: ignore[arg-type]
    ]


def verdict(shift: float = 0.0) -> Any:
    reasons = (
        SimpleNamespace(
            head="utility",
            metric="utility_tstr.mean.gap",
            severity="warn",
            message=f"Models lose {-0.025 + shift:.3f} AUC on average (margin -0.05).",
        ),
        SimpleNamespace(
            head="fairness",
            metric="fairness_representation.worst",
            severity="warn",
            message=f"race=1e-6 is under-represented: {-0.11 + shift:.3f}.",
        ),
        SimpleNamespace(
            head="leakage",
            metric="leakage_claim.epsilon",
            severity="warn",
            message="Epsilon 1.21 of all releases is above 1.",
        ),
    )
    return SimpleNamespace(verdict="release", reasons=reasons, heads={})


@pytest.fixture(scope="session")
def make_content(
    schema: Schema, table: SyntheticTable, record: dict[str, Any]
) -> Callable[..., ReportContent]:
    def make(shift: float = 0.0, **changes: Any) -> ReportContent:
        given: dict[str, Any] = {
            "title": "Diabetes, 130 hospitals",
            "table": table,
            "verdict": verdict(shift),
            "results": results(shift),
            "record": record,
            "real": marginals(schema, draw(schema, 150, seed=2 + int(1000 * shift)).frame),
            "ingest": {"records": 101_766, "units": 71_518 + int(1000 * shift), "missing": {"race": 2273}},
            "margins": {"fairness_representation.log_ratio": (-0.223, 0.223)},
            "thresholds": {"utility_tstr.mean.gap": "lower end at least -0.05"},
        }
        return ReportContent(**{**given, **changes})

    return make


@dataclass(frozen=True)
class Case:
    """All that a bundle is written from."""

    data_files: dict[str, Path]
    schema: Schema
    record: dict[str, Any]

    def write(self, output: Path, **changes: Any) -> Path:
        return write_bundle(output, **{**vars(self), **changes})


@pytest.fixture(scope="session")
def case(files: dict[str, Path], schema: Schema, record: dict[str, Any]) -> Case:
    return Case(files, schema, record)


@pytest.fixture(scope="session")
def bundle(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.write(tmp_path_factory.mktemp("bundle") / "release")
