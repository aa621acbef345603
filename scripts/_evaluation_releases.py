"""Three releases of a real table whose leak is known in kind: leaky, mid and private.

leaky   half of the training rows with 1 % noise, and as many rows of people in no part
mid     sequential trees (CART) with leaves of 5 rows, which draw donors' values: no privacy, overfitted
private `marginal` at epsilon 1

The table is cut into training, holdout, reference and spare rows by the seed; a row is a person of its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from _tabular_fit import DELTA, schema_of

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.features.design import ordinal
from synthgen.generators.marginal.config import Config
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema

ROWS = 1_500  # in each of training, holdout and reference
RELEASES = ("leaky", "mid", "private")
NOISE, LEAF, EPSILON = 0.01, 5, 1.0


@dataclass(frozen=True)
class Parts:
    """A real table cut for attacks: three parts of `ROWS`, and rows of nobody in them."""

    schema: Schema
    label: str
    train: pd.DataFrame
    holdout: pd.DataFrame
    reference: pd.DataFrame
    spare: pd.DataFrame

    @classmethod
    def cut(cls, tables: Any, name: str, seed: int) -> "Parts":
        """Cut a table of the benchmark's module ``tables``."""
        schema, (train, test, _, label, _) = schema_of(tables, name), tables.load(name)
        frame = canonical(schema, pd.concat([train, test], ignore_index=True))
        order = np.random.default_rng(seed).permutation(len(frame))
        cuts = [order[i * ROWS : (i + 1) * ROWS] for i in range(3)] + [order[3 * ROWS : 3 * ROWS + ROWS // 2]]
        return cls(schema, label, *(frame.iloc[cut].reset_index(drop=True) for cut in cuts))

    def inputs(self, released: pd.DataFrame) -> Inputs:
        """Return what an attack of ours takes."""
        real = [
            RealTable(self.schema, part, np.array([f"{name}{i}" for i in range(len(part))], dtype=object))
            for name, part in (("t", self.train), ("h", self.holdout), ("r", self.reference))
        ]
        return Inputs(self.schema, *real, SyntheticTable(self.schema, released), self.label)


def canonical(schema: Schema, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns as our evaluation takes them."""
    columns = {
        column.name: pd.Categorical(frame[column.name], categories=list(column.labels))
        if column.labels
        else frame[column.name].astype(float)
        for column in schema.columns
    }
    return pd.DataFrame(columns)


def release(parts: Parts, name: str, seed: int) -> pd.DataFrame:
    """Return as many synthetic rows as there are training rows."""
    rng = np.random.default_rng([seed, RELEASES.index(name)])
    if name == "leaky":
        half = parts.train.iloc[rng.permutation(ROWS)[: ROWS // 2]]
        copies = blurred(parts.schema, half, rng)
        return pd.concat([copies, parts.spare.iloc[: ROWS - len(copies)]], ignore_index=True)
    if name == "mid":
        return trees(parts.schema, parts.train, rng)
    data = parts.inputs(parts.train.iloc[:0]).train
    config = Config()
    plan = config.plan(parts.schema, epsilon=EPSILON, delta=DELTA, patients=ROWS)
    model = config.fit(data, plan, noise=NoiseSource.system())
    return canonical(parts.schema, draw(model, parts.schema, ROWS, seed=seed).to_pandas())


def blurred(schema: Schema, frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return rows whose numbers have normal noise of 1 % of the public range; integers stay integers."""
    frame = frame.reset_index(drop=True)
    for column in schema.columns:
        if column.kind != "category":
            noise = NOISE * (column.maximum - column.minimum) * rng.normal(size=len(frame))
            moved = (frame[column.name] + noise).clip(column.minimum, column.maximum)
            frame[column.name] = moved.round() if column.kind == "integer" else moved
    return frame


def trees(schema: Schema, train: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return rows whose columns are drawn in turn from the leaf that those before lead to.

    Source: Reiter (2005), Journal of Official Statistics 21:441; synthpop's default.
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    names = [column.name for column in schema.columns]
    known = np.nan_to_num(ordinal(schema, train, names)[0], nan=-1.0)
    donors = np.empty((ROWS, len(names)), dtype=int)
    donors[:, 0] = rng.integers(len(train), size=ROWS)
    drawn = known[donors[:, :1], 0]
    for j in range(1, len(names)):
        kind = DecisionTreeClassifier if schema.columns[j].kind == "category" else DecisionTreeRegressor
        tree = kind(min_samples_leaf=LEAF, random_state=int(rng.integers(2**31)))
        leaves = tree.fit(known[:, :j], known[:, j]).apply(known[:, :j])
        reached = tree.apply(drawn)
        for leaf in np.unique(reached):
            rows = reached == leaf
            donors[rows, j] = rng.choice(np.flatnonzero(leaves == leaf), size=int(rows.sum()))
        drawn = np.column_stack([drawn, known[donors[:, j], j]])
    return pd.DataFrame({name: train[name].array.take(donors[:, j]) for j, name in enumerate(names)})
