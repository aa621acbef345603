"""Real cohorts cut for tests of the gate, and the registry of the tables that it is tried on.

A table is a function ``(parts, rng) -> DataFrame`` in the canonical form of `synthgen.schema.schema`,
registered by `leaky`, `harmful`, `good` or `release`. It may read all parts; what it must not do is tune
itself to the gate. Cohorts are read from SYNTHGEN_TEST_DATA; each row is a patient. ``simulated`` is the
tests' own cohort, which is public.
"""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from synthgen.schema.schema import Schema

DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", "../shared/data"))
Make = Callable[["Parts", np.random.Generator], pd.DataFrame]
Kind = Literal["leaky", "harmful", "good", "release"]
Bounds = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Cohort:
    """A cohort with what is public about it.

    Attributes:
        frame: one row a patient; numbers as floats, all else as text, a missing category as ``missing``.
        numbers: public bounds of the columns of numbers.
        labels: the outcomes; the first is the target.
        protected: columns of the groups.
        quasi: what somebody who knows a patient knows.
        decimals: of columns of numbers, as they are published; integers are not among them.
    """

    frame: pd.DataFrame
    numbers: Bounds
    labels: tuple[str, ...]
    protected: tuple[str, ...]
    quasi: tuple[str, ...]
    decimals: Mapping[str, int]


@dataclass(frozen=True)
class Parts:
    """A cohort cut in four parts of as many patients, by a seed.

    Attributes:
        name: of the cohort.
        seed: of the cut.
        schema: the table's public description.
        label: the target.
        labels: all outcomes.
        protected: columns of the groups.
        quasi: what somebody who knows a patient knows.
        train: what a generator is fitted on.
        holdout: what nobody has fitted on.
        reference: what an attacker owns; not given to the evaluation unless asked for.
        spare: patients in no other part: an independent sample.
    """

    name: str
    seed: int
    schema: Schema
    label: str
    labels: tuple[str, ...]
    protected: tuple[str, ...]
    quasi: tuple[str, ...]
    train: pd.DataFrame
    holdout: pd.DataFrame
    reference: pd.DataFrame
    spare: pd.DataFrame

    @classmethod
    def cut(cls, name: str, seed: int, size: int) -> "Parts":
        """Cut a cohort; parts are smaller than ``size`` where it has too few patients.

        Raises:
            FileNotFoundError: the cohort's file is not under SYNTHGEN_TEST_DATA.
        """
        held = _simulated(seed, 4 * size) if name == "simulated" else COHORTS[name]()
        schema = schema_of(held)
        size = min(size, len(held.frame) // 4)
        order = np.random.default_rng([seed, len(held.frame)]).permutation(len(held.frame))
        frame = canonical(schema, held.frame)
        cuts = [frame.iloc[order[i * size : (i + 1) * size]].reset_index(drop=True) for i in range(4)]
        return cls(name, seed, schema, held.labels[0], held.labels, held.protected, held.quasi, *cuts)

    @property
    def numbers(self) -> list[str]:
        """Names of the columns of numbers."""
        return [column.name for column in self.schema.columns if column.kind != "category"]

    @property
    def categories(self) -> list[str]:
        """Names of the columns of categories."""
        return [column.name for column in self.schema.columns if column.kind == "category"]


@dataclass(frozen=True)
class Table:
    """A table that the gate is tried on.

    Attributes:
        name: what it is.
        kind: ``leaky`` and ``harmful`` ones must not be released, ``good`` ones must not be refused; of a
            ``release`` of a generator the verdict is read, not set.
        what: what is exposed, or what is wrong.
        make: makes it.
        cohorts: those that it can be made of; all if empty.
    """

    name: str
    kind: Kind
    what: str
    make: Make
    cohorts: tuple[str, ...] = ()


TABLES: dict[str, Table] = {}


def leaky(name: str, *, exposes: str, cohorts: tuple[str, ...] = ()) -> Callable[[Make], Make]:
    """Register a table that gives patients away."""
    return _register(name, "leaky", exposes, cohorts)


def harmful(name: str, *, harm: str, cohorts: tuple[str, ...] = ()) -> Callable[[Make], Make]:
    """Register a table that misleads who works with it."""
    return _register(name, "harmful", harm, cohorts)


def good(name: str, *, what: str = "", cohorts: tuple[str, ...] = ()) -> Callable[[Make], Make]:
    """Register a table that may be released."""
    return _register(name, "good", what, cohorts)


def release(name: str, *, what: str = "", cohorts: tuple[str, ...] = ()) -> Callable[[Make], Make]:
    """Register the release of a generator, good or not."""
    return _register(name, "release", what, cohorts)


def _register(name: str, kind: Kind, what: str, cohorts: tuple[str, ...]) -> Callable[[Make], Make]:
    def registered(make: Make) -> Make:
        if name in TABLES:
            raise ValueError(f"Expected each table once, got {name!r} twice.")
        TABLES[name] = Table(name, kind, what, make, cohorts)
        return make

    return registered


def canonical(schema: Schema, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns as the evaluation takes them."""
    return pd.DataFrame(
        {
            column.name: pd.Categorical(frame[column.name], categories=list(column.labels))
            if column.kind == "category"
            else frame[column.name].astype(float)
            for column in schema.columns
        }
    )


def schema_of(cohort: Cohort) -> Schema:
    """Return a cohort's schema; its categories are those of the whole file, which stand for a codebook."""
    fields = []
    for name in cohort.frame:
        role = "label" if name in cohort.labels else "protected" if name in cohort.protected else "feature"
        field: dict[str, Any] = {"name": name, "role": role}
        if name in cohort.numbers:
            low, high = cohort.numbers[name]
            limits = {"minimum": low, "maximum": high, "required": not cohort.frame[name].isna().any()}
            whole = name not in cohort.decimals
            field |= {"type": "integer" if whole else "number", "constraints": limits, "outside": "clip"}
            field |= {} if whole else {"decimals": cohort.decimals[name]}
        else:
            labels = sorted(set(cohort.frame[name]))
            field |= {"type": "string", "constraints": {"enum": labels, "required": True}}
        fields.append(field)
    return Schema.model_validate_json(json.dumps({"unit": "row", "fields": fields}))


def _cohort(
    frame: pd.DataFrame,
    numbers: Bounds,
    *,
    labels: tuple[str, ...],
    protected: tuple[str, ...],
    quasi: tuple[str, ...],
    decimals: Mapping[str, int],
) -> Cohort:
    frame = frame.reset_index(drop=True)
    columns = {}
    for name in frame:
        if name in numbers:
            values = pd.to_numeric(frame[name], errors="coerce").clip(*numbers[name])
            columns[name] = values.round(decimals.get(name, 0))
        else:
            columns[name] = frame[name].astype(object).where(frame[name].notna(), "missing").astype(str)
    return Cohort(pd.DataFrame(columns), numbers, labels, protected, quasi, decimals)


@cache
def _adult() -> Cohort:
    names = [
        *("age", "workclass", "fnlwgt", "education", "education_num", "marital", "occupation"),
        *("relationship", "race", "sex", "capital_gain", "capital_loss", "hours", "country", "income"),
    ]
    read = [
        pd.read_csv(DATA / "adult" / file, header=None, names=names, skipinitialspace=True, skiprows=skip)
        for file, skip in (("adult.data.gz", 0), ("adult.test.gz", 1))
    ]
    frame = pd.concat(read).dropna().drop(columns=["fnlwgt", "education_num"])
    frame["income"] = frame["income"].str.rstrip(".")
    numbers = {"age": (17, 90), "capital_gain": (0, 99999), "capital_loss": (0, 4356), "hours": (1, 99)}
    return _cohort(
        frame,
        numbers,
        labels=("income",),
        protected=("sex", "race"),
        quasi=("age", "sex", "race", "marital", "education", "country"),
        decimals={},
    )


@cache
def _support2() -> Cohort:
    frame = pd.read_csv(DATA / "support2" / "support2.csv.gz", low_memory=False)
    numbers = {
        **{"age": (18, 102), "num.co": (0, 9), "scoma": (0, 100), "avtisst": (1, 83), "sps": (0, 100)},
        **{"aps": (0, 150), "meanbp": (0, 200), "wblc": (0, 50), "hrt": (0, 250), "resp": (0, 70)},
        **{"temp": (31, 42), "pafi": (0, 900), "alb": (0, 7), "bili": (0, 40), "crea": (0, 15)},
        **{"sod": (110, 180), "ph": (6.8, 7.8), "adlsc": (0, 7)},
    }
    categories = ["sex", "race", "dzgroup", "dzclass", "ca", "diabetes", "dementia", "death", "hospdead"]
    return _cohort(
        frame[[*numbers, *categories]],
        numbers,
        labels=("hospdead", "death"),
        protected=("sex", "race"),
        quasi=("age", "sex", "race", "dzgroup", "ca", "diabetes"),
        decimals={
            **{"age": 2, "avtisst": 2, "sps": 2, "wblc": 2, "temp": 2, "pafi": 1, "alb": 2, "bili": 2},
            **{"crea": 2, "ph": 3, "adlsc": 2},
        },
    )


@cache
def _moments() -> Cohort:
    """SUPPORT2 with the days from entry to discharge and to the end of follow-up, which is no earlier."""
    held = _support2()
    days = {"slos": "discharged", "d.time": "followed"}
    frame = pd.read_csv(DATA / "support2" / "support2.csv.gz", low_memory=False)[list(days)]
    return replace(
        held,
        frame=pd.concat([held.frame, frame.rename(columns=days).astype(float)], axis=1),
        numbers={**held.numbers, "discharged": (0, 400), "followed": (0, 2100)},
    )


@cache
def _diabetes130() -> Cohort:
    with (
        zipfile.ZipFile(DATA / "diabetes130" / "dataset_diabetes.zip") as archive,
        archive.open("dataset_diabetes/diabetic_data.csv") as file,
    ):
        frame = pd.read_csv(file, low_memory=False, keep_default_na=False).drop_duplicates("patient_nbr")
    frame["readmitted"] = np.where(frame["readmitted"] == "NO", "no", "yes")
    numbers = {
        **{"time_in_hospital": (1, 14), "num_lab_procedures": (1, 132), "num_procedures": (0, 6)},
        **{"num_medications": (1, 81), "number_outpatient": (0, 42), "number_emergency": (0, 76)},
        **{"number_inpatient": (0, 21), "number_diagnoses": (1, 16)},
    }
    categories = [
        *("race", "gender", "age", "admission_type_id", "discharge_disposition_id", "admission_source_id"),
        *("max_glu_serum", "A1Cresult", "metformin", "glipizide", "glyburide", "insulin", "change"),
        *("diabetesMed", "readmitted"),
    ]
    return _cohort(
        frame[[*numbers, *categories]],
        numbers,
        labels=("readmitted",),
        protected=("race", "gender"),
        quasi=("race", "gender", "age", "time_in_hospital", "admission_type_id"),
        decimals={},
    )


@cache
def _heart_uci() -> Cohort:
    frame = pd.read_csv(DATA / "heart_uci" / "heart_disease_uci.csv").drop(columns="id")
    frame["num"] = np.where(frame["num"] > 0, "yes", "no")
    for name in ("fbs", "exang"):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "missing").astype(str)
    numbers = {
        **{"age": (20, 90), "trestbps": (0, 250), "chol": (0, 700), "thalch": (50, 230)},
        **{"oldpeak": (-3, 7), "ca": (0, 3)},
    }
    return _cohort(
        frame,
        numbers,
        labels=("num",),
        protected=("sex",),
        quasi=("age", "sex", "dataset", "cp"),
        decimals={"oldpeak": 1},
    )


@cache
def _flchain() -> Cohort:
    frame = pd.read_csv(DATA / "survival_r" / "flchain.csv").drop(columns="chapter")
    frame["death"] = np.where(frame["death"] > 0, "yes", "no")
    frame["mgus"] = np.where(frame["mgus"] > 0, "yes", "no")
    frame["sample.yr"] = frame["sample.yr"].astype(int).astype(str)
    numbers = {
        **{"age": (50, 110), "kappa": (0, 25), "lambda": (0, 30), "flc.grp": (1, 10)},
        **{"creatinine": (0, 12), "futime": (0, 5500)},
    }
    return _cohort(
        frame,
        numbers,
        labels=("death", "mgus"),
        protected=("sex",),
        quasi=("age", "sex", "sample.yr"),
        decimals={"kappa": 3, "lambda": 3, "creatinine": 1},
    )


def _simulated(seed: int, patients: int) -> Cohort:
    from synthgen.evaluation.statistics.patients import one_record_each
    from tests.evaluation.conftest import FIELDS, make_schema, simulate

    table = simulate(patients, 1_000_000 + seed, make_schema(FIELDS))
    frame = one_record_each(table, patients, rng=np.random.default_rng(seed))
    numbers = {"age": (18, 100), "creatinine": (0.0, 10.0), "sodium": (110.0, 170.0)}
    return _cohort(
        frame,
        numbers,
        labels=("died",),
        protected=("sex", "origin"),
        quasi=("sex", "origin", "age", "ward"),
        decimals={"creatinine": 2, "sodium": 1},
    )


COHORTS: dict[str, Callable[[], Cohort]] = {
    "adult": _adult,
    "support2": _support2,
    "diabetes130": _diabetes130,
    "heart_uci": _heart_uci,
    "flchain": _flchain,
    "support2 with moments": _moments,
}
