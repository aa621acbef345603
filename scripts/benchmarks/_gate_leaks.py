"""Tables that give patients away: copies, near copies, parts of records, exact values, memorised groups.

Each is what a generator of known fault would release; none may be released by the gate. See `_gate_parts`.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from _gate_parts import Parts, leaky

from synthgen.evaluation.features.design import euclidean, ordinal
from synthgen.evaluation.features.neighbours import k_nearest

NOISE = 0.01
"""Standard deviation of a near copy's noise, as a part of a number's public range."""
MANY_ROWS = int(os.environ.get("SYNTHGEN_GATE_ROWS", "50000"))
"""Rows of the table that hides its copies in a crowd; 2,000,000 for the whole trial."""


def some_rows(frame: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return so many rows, each at most once while there are enough."""
    if n <= len(frame):
        return frame.iloc[rng.permutation(len(frame))[:n]].reset_index(drop=True)
    return frame.iloc[rng.integers(len(frame), size=n)].reset_index(drop=True)


def blurred(
    parts: Parts, frame: pd.DataFrame, rng: np.random.Generator, noise: float = NOISE
) -> pd.DataFrame:
    """Return rows whose numbers have normal noise of a part of their ranges, as precise as declared."""
    frame = frame.reset_index(drop=True).copy()
    for column in parts.schema.columns:
        if column.kind != "category":
            step = noise * (column.maximum - column.minimum) * rng.normal(size=len(frame))
            frame[column.name] = column.snapped(frame[column.name].to_numpy(float) + step)
    return frame


def planted(parts: Parts, chosen: pd.DataFrame, rng: np.random.Generator, rows: int = 0) -> pd.DataFrame:
    """Return near copies of some patients among rows of patients in no part, as many as train at least."""
    others = some_rows(parts.spare, max(rows, len(parts.train)) - len(chosen), rng)
    return pd.concat([blurred(parts, chosen, rng), others], ignore_index=True)


def drawn_apart(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    """Return as many rows as train, each column of a patient in no part chosen by itself."""
    n = len(parts.train)
    return pd.DataFrame(
        {name: parts.spare[name].array.take(rng.integers(len(parts.spare), size=n)) for name in parts.spare}
    )


def unusual(parts: Parts, n: int) -> pd.DataFrame:
    """Return the training patients who lie farthest from the reference."""
    names = [column.name for column in parts.schema.columns]
    train, others = (euclidean(parts.schema, frame, names) for frame in (parts.train, parts.reference))
    return parts.train.iloc[np.argsort(-k_nearest(train, others)[0][:, 0])[:n]]


def ranked(values: pd.Series, own: np.ndarray) -> np.ndarray:
    """Return the cohort's own values at the ranks of other values; missing ones stay."""
    known = values.notna().to_numpy()
    order = np.argsort(np.argsort(values[known].to_numpy(float), kind="stable"))
    sorted_own = np.sort(own[~np.isnan(own)])
    made = values.to_numpy(float).copy()
    if known.any() and len(sorted_own):
        made[known] = sorted_own[(order * len(sorted_own)) // max(int(known.sum()), 1)]
    return made


def fine_number(parts: Parts) -> str:
    """Return the column of numbers with the most distinct values."""
    return max(parts.numbers, key=lambda name: parts.train[name].nunique())


@leaky("copies", exposes="every training record as it is")
def copies(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return some_rows(parts.train, len(parts.train), rng)


@leaky("copies with 1 % noise", exposes="every training record nearly")
def noisy_copies(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return blurred(parts, some_rows(parts.train, len(parts.train), rng), rng)


@leaky("copies with 5 % noise", exposes="every training record roughly")
def noisier_copies(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return blurred(parts, some_rows(parts.train, len(parts.train), rng), rng, 0.05)


@leaky("half of the rows copied", exposes="half of the training records")
def half_copied(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return planted(parts, some_rows(parts.train, len(parts.train) // 2, rng), rng)


@leaky("copies of all parts", exposes="every record of training, holdout and reference nearly")
def copies_of_all(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return blurred(parts, pd.concat([parts.train, parts.holdout, parts.reference], ignore_index=True), rng)


def _copied_share(share: float) -> Callable[[Parts, np.random.Generator], pd.DataFrame]:
    def make(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
        return planted(parts, some_rows(parts.train, round(share * len(parts.train)), rng), rng)

    return make


for _share in (2, 3, 4, 10):
    leaky(f"near copies of {_share} %", exposes=f"{_share} % of the patients, nearly whole")(
        _copied_share(_share / 100)
    )


@leaky("near copies of the 50 most unusual", exposes="who lies farthest from others")
def unusual_copied(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return planted(parts, unusual(parts, 50), rng)


@leaky("near copies of a small group", exposes="all patients of a category that 3 % have")
def group_copied(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    shares = [
        (abs(share - 0.03), name, label)
        for name in parts.categories
        for label, share in parts.train[name].value_counts(normalize=True).items()
        if share > 0.01
    ]
    _, name, label = min(shares, key=lambda item: item[0])
    return planted(parts, parts.train[parts.train[name] == label], rng)


@leaky("near copies of a minority of a protected group", exposes="half of the smallest protected group")
def minority_copied(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    shares = [
        (share, name, label)
        for name in parts.protected
        for label, share in parts.train[name].value_counts(normalize=True).items()
        if share * len(parts.train) >= 40
    ]
    _, name, label = min(shares, key=lambda item: item[0])
    chosen = parts.train[parts.train[name] == label]
    return planted(parts, some_rows(chosen, max(len(chosen) // 2, 20), rng), rng)


@leaky("near copies in a crowd", exposes="every training record nearly, among very many rows")
def crowd(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return planted(parts, parts.train, rng, rows=MANY_ROWS)


@leaky("quasi-identifiers and outcome", exposes="what is known of each patient, with the outcome")
def quasi_and_outcome(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame, known = drawn_apart(parts, rng), [*parts.quasi, parts.label]
    frame[known] = some_rows(parts.train, len(parts.train), rng)[known]
    return frame


@leaky("quasi-identifiers and outcome on real rows", exposes="the same, on rows of patients in no part")
def quasi_on_rows(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame, known = some_rows(parts.spare, len(parts.train), rng), [*parts.quasi, parts.label]
    frame[known] = some_rows(parts.train, len(parts.train), rng)[known]
    return frame


@leaky("quasi-identifiers and outcome of a fifth", exposes="the same of a fifth of the patients")
def quasi_of_a_fifth(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame, known = some_rows(parts.spare, len(parts.train), rng), [*parts.quasi, parts.label]
    fifth = len(parts.train) // 5
    frame.loc[: fifth - 1, known] = some_rows(parts.train, fifth, rng)[known].to_numpy()
    return frame


@leaky("copula with empirical marginals", exposes="every number of every patient")
def copula(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = some_rows(parts.spare, len(parts.train), rng)
    for name in parts.numbers:
        frame[name] = ranked(frame[name], parts.train[name].to_numpy(float))
    return frame


@leaky("one lab value by rank", exposes="every value of one number", cohorts=("support2", "flchain"))
def one_by_rank(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame, name = some_rows(parts.spare, len(parts.train), rng), fine_number(parts)
    frame[name] = ranked(frame[name], parts.train[name].to_numpy(float))
    return frame


def trees(parts: Parts, rng: np.random.Generator, leaf: int) -> pd.DataFrame:
    """Return rows whose columns are drawn in turn from the donors in the leaf that those before lead to.

    Source: Reiter (2005), Journal of Official Statistics 21:441; the default of synthpop.
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    names, n = [column.name for column in parts.schema.columns], len(parts.train)
    known = np.nan_to_num(ordinal(parts.schema, parts.train, names)[0], nan=-1.0)
    donors = np.empty((n, len(names)), dtype=int)
    donors[:, 0] = rng.integers(n, size=n)
    drawn = known[donors[:, :1], 0]
    for j in range(1, len(names)):
        kind = DecisionTreeClassifier if parts.schema.columns[j].kind == "category" else DecisionTreeRegressor
        tree = kind(min_samples_leaf=leaf, random_state=int(rng.integers(2**31)))
        leaves = tree.fit(known[:, :j], known[:, j]).apply(known[:, :j])
        reached = tree.apply(drawn)
        for node in np.unique(reached):
            rows = reached == node
            donors[rows, j] = rng.choice(np.flatnonzero(leaves == node), size=int(rows.sum()))
        drawn = np.column_stack([drawn, known[donors[:, j], j]])
    return pd.DataFrame({name: parts.train[name].array.take(donors[:, j]) for j, name in enumerate(names)})


@leaky("trees with leaves of 20", exposes="donors' values")
def trees_of_20(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return trees(parts, rng, 20)


@leaky("trees with leaves of 5", exposes="donors' values, nearly records")
def trees_of_5(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return trees(parts, rng, 5)


@leaky("swapped columns", exposes="records but for a third of the columns, which are other patients'")
def swapped(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = some_rows(parts.train, len(parts.train), rng)
    for name in rng.permutation(list(frame))[: len(frame.columns) // 3]:
        frame[name] = frame[name].array.take(rng.permutation(len(frame)))
    return frame


@leaky("rounded copies", exposes="records with numbers rounded to a twentieth of their range")
def rounded(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = some_rows(parts.train, len(parts.train), rng)
    for column in parts.schema.columns:
        if column.kind != "category":
            step = (column.maximum - column.minimum) / 20
            frame[column.name] = column.snapped(np.round(frame[column.name].to_numpy(float) / step) * step)
    return frame


def _blocks(names: Sequence[str], n_blocks: int) -> list[list[str]]:
    return [list(block) for block in np.array_split(np.array(names, dtype=object), n_blocks)]


@leaky("permuted blocks", exposes="a third of each record, on rows of three patients")
def permuted(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = parts.train.copy()
    for block in _blocks(list(frame), 3):
        frame[block] = some_rows(parts.train, len(frame), rng)[block]
    return frame


@leaky("blocks of a stranger", exposes="a third of each record, on a stranger's row")
def blocks_of_strangers(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = some_rows(parts.spare, len(parts.train), rng)
    block = _blocks(list(rng.permutation(list(frame))), 3)[0]
    frame[block] = some_rows(parts.train, len(frame), rng)[block]
    return frame


@leaky("interpolated neighbours", exposes="points between two training patients, as SMOTE makes them")
def interpolated(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    names = [column.name for column in parts.schema.columns]
    points = euclidean(parts.schema, parts.train, names)
    near = k_nearest(points, points, 6)[1]
    first = rng.permutation(len(points))
    second = near[first, rng.integers(1, 6, size=len(points))]
    share = rng.random(len(points))
    frame = parts.train.iloc[first].reset_index(drop=True)
    for column in parts.schema.columns:
        other = parts.train[column.name].array.take(second)
        if column.kind == "category":
            frame[column.name] = frame[column.name].where(share < 0.5, pd.Series(other))
        else:
            mine, theirs = frame[column.name].to_numpy(float), np.asarray(other, dtype=float)
            frame[column.name] = column.snapped(mine + share * (theirs - mine))
    return frame


def aggregated(parts: Parts, rng: np.random.Generator, k: int) -> pd.DataFrame:
    """Return the means and modes of groups of k neighbours, each once a member."""
    names = [column.name for column in parts.schema.columns]
    points = euclidean(parts.schema, parts.train, names)
    left, groups = rng.permutation(len(points)), []
    while len(left) >= k:
        nearest = k_nearest(points[left[:1]], points[left], k)[1][0]
        groups.append(left[nearest])
        left = np.delete(left, nearest)
    members = np.array(groups)
    columns = {}
    for column in parts.schema.columns:
        if column.kind == "category":
            codes = parts.train[column.name].cat.codes.to_numpy()[members]
            counts = (codes[:, :, None] == codes[:, None, :]).sum(axis=2)
            common = codes[np.arange(len(codes)), counts.argmax(axis=1)]
            columns[column.name] = pd.Categorical.from_codes(common, categories=list(column.labels))
        else:
            values = parts.train[column.name].to_numpy(float)[members]
            known = ~np.isnan(values)
            with np.errstate(invalid="ignore"):
                columns[column.name] = column.snapped(np.nansum(values, axis=1) / known.sum(axis=1))
    made = pd.DataFrame(columns)
    return made.iloc[np.repeat(np.arange(len(made)), k)].reset_index(drop=True)


@leaky("means of 2 neighbours", exposes="pairs of patients, averaged")
def means_of_2(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return aggregated(parts, rng, 2)


@leaky("means of 3 neighbours", exposes="triples of patients, averaged")
def means_of_3(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    return aggregated(parts, rng, 3)


@leaky("rare values kept", exposes="numbers that one patient has, on strangers' rows")
def rare_kept(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = some_rows(parts.spare, len(parts.train), rng)
    for name in parts.numbers:
        values = parts.train[name]
        rare = values[values.map(values.value_counts()) == 1].to_numpy(float)
        places = rng.permutation(len(frame))[: len(rare)]
        frame.loc[places, name] = rare
    return frame


@leaky("records with a new label", exposes="records but for the label, which is a coin's")
def new_label(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = some_rows(parts.train, len(parts.train), rng)
    frame[parts.label] = frame[parts.label].array.take(rng.permutation(len(frame)))
    return frame


@leaky("half of each record", exposes="half of each record's columns, at random, on a stranger's row")
def half_of_each(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = some_rows(parts.spare, len(parts.train), rng)
    mine = some_rows(parts.train, len(frame), rng)
    for name in frame:
        theirs = pd.Series(rng.random(len(frame)) < 0.5)
        frame[name] = frame[name].where(theirs, mine[name])
    return frame


@leaky("mixture with strangers", exposes="a fifth of the records with 2 % noise, the others strangers'")
def mixture(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    mine = blurred(parts, some_rows(parts.train, len(parts.train) // 5, rng), rng, 0.02)
    return pd.concat([mine, some_rows(parts.spare, len(parts.train) - len(mine), rng)], ignore_index=True)


@leaky("extremes kept", exposes="who has the largest or smallest value of a number")
def extremes(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    rows = set()
    for name in parts.numbers:
        order = parts.train[name].dropna().sort_values().index
        rows |= set(order[:5]) | set(order[-5:])
    return planted(parts, parts.train.loc[sorted(rows)], rng)


@leaky("memorised by a tree", exposes="labels of training records on their own neighbours' values")
def kernel(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = blurred(parts, some_rows(parts.train, len(parts.train), rng), rng, 0.03)
    for name in parts.categories:
        moved = pd.Series(rng.random(len(frame)) < 0.1)
        other = pd.Series(parts.train[name].array.take(rng.integers(len(parts.train), size=len(frame))))
        frame[name] = frame[name].where(~moved, other)
    return frame
