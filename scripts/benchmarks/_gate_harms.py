"""Harmful tables: independent samples of the same patients with one fault each, which must not be released.

Nothing of them leaks, and most of what is usually measured (marginals, the target's AUROC) is hardly moved.
Each is made by a rule that reads public roles and shares of the cohort only, so that it serves any cohort
that has what the fault is about.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from _gate_parts import Parts, harmful

ONE_IN_TEN, THREE_YEARS = 0.1, 3.0


def sample(parts: Parts) -> pd.DataFrame:
    """Return the records of patients in no part that the evaluation is given."""
    return parts.spare.copy()


def flipped(frame: pd.DataFrame, name: str, where: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return the records with another label where asked, drawn evenly from the others."""
    labels = list(frame[name].cat.categories)
    codes = frame[name].cat.codes.to_numpy().astype(int)
    moved = (codes + rng.integers(1, len(labels), len(codes))) % len(labels)
    changed = np.where(where & (codes >= 0), moved, codes)
    return frame.assign(**{name: pd.Categorical.from_codes(changed, categories=labels)})


def shuffled(
    frame: pd.DataFrame, names: list[str], where: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the records with the columns' values, each by itself, exchanged among the records asked for."""
    frame, places = frame.copy(), np.flatnonzero(where)
    for name in names:
        order = np.arange(len(frame))
        order[places] = rng.permutation(places)
        frame[name] = frame[name].array.take(order)
    return frame


def largest(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Return which records are of the commonest category."""
    return (frame[name] == frame[name].value_counts().index[0]).to_numpy()


def first_sex(parts: Parts, frame: pd.DataFrame) -> np.ndarray:
    name = next(n for n in parts.protected if n in ("sex", "gender"))
    return (frame[name] == frame[name].value_counts().index[1]).to_numpy()


def ties(parts: Parts) -> list[tuple[float, str, str]]:
    """Return pairs of columns but the labels, the closest in rank first, with one column twice at most."""
    names = [name for name in parts.train if name not in parts.labels]
    codes = {n: parts.train[n].cat.codes if n in parts.categories else parts.train[n] for n in names}
    ranks = pd.DataFrame(codes).rank()
    close = ranks.corr().abs().to_numpy()
    pairs = [(float(close[i, j]), a, b) for i, a in enumerate(names) for j, b in enumerate(names) if i < j]
    found: list[tuple[float, str, str]] = []
    for strength, a, b in sorted(pairs, reverse=True):
        if not {a, b} & {name for pair in found for name in pair[1:]}:
            found.append((strength, a, b))
    return found


def subgroup(parts: Parts, frame: pd.DataFrame) -> tuple[str, np.ndarray]:
    """Return a column that is neither protected nor a label, and who has a common category of it."""
    for name in parts.categories:
        if name in (*parts.protected, *parts.labels):
            continue
        shares = frame[name].value_counts(normalize=True)
        fit = shares[(shares > 0.1) & (shares < 0.45)]
        if len(fit):
            return name, (frame[name] == fit.index[0]).to_numpy()
    name = next(n for n in parts.numbers)
    return name, (frame[name] > frame[name].quantile(0.7)).to_numpy()


@harmful("30 % of one sex's labels flipped", harm="a model trusts one sex's records wrongly")
def one_sex_flipped(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    return flipped(frame, parts.label, first_sex(parts, frame) & (rng.random(len(frame)) < 0.3), rng)


def flips(share: float) -> Callable[[Parts, np.random.Generator], pd.DataFrame]:
    def make(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
        frame = sample(parts)
        return flipped(frame, parts.label, rng.random(len(frame)) < share, rng)

    return make


harmful("5 % of labels flipped", harm="one label in twenty is wrong")(flips(0.05))
harmful("10 % of labels flipped", harm="one label in ten is wrong")(flips(0.10))


@harmful("association reversed in a subgroup", harm="the label's risk is upside down in a subgroup")
def reversed_in_subgroup(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    """The record at the highest risk in the subgroup gets the label of that at the lowest, and so on."""
    frame = sample(parts)
    _, inside = subgroup(parts, frame)
    risk = _risk(parts, frame)
    places = np.flatnonzero(inside)
    ordered = places[np.argsort(risk[places], kind="stable")]
    order = np.arange(len(frame))
    order[ordered] = ordered[::-1]
    return frame.assign(**{parts.label: frame[parts.label].array.take(order)})


def _risk(parts: Parts, frame: pd.DataFrame) -> np.ndarray:
    """Return the share of the label's last category that trees learnt from the training records expect."""
    from sklearn.ensemble import RandomForestClassifier

    names = [n for n in frame if n not in parts.labels]
    coded = [
        pd.DataFrame({n: f[n].cat.codes if n in parts.categories else f[n].fillna(-1.0) for n in names})
        for f in (parts.train, frame)
    ]
    model = RandomForestClassifier(100, min_samples_leaf=10, random_state=0)
    truth = parts.train[parts.label].cat.codes.to_numpy()
    return np.asarray(model.fit(coded[0], truth == truth.max()).predict_proba(coded[1])[:, 1])


@harmful("label shuffled in a subgroup", harm="the label says nothing in a subgroup that is not protected")
def shuffled_in_subgroup(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    return shuffled(frame, [parts.label], subgroup(parts, frame)[1], rng)


@harmful("category of about 5 % absent", harm="a disease does not occur")
def absent(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    shares = {
        (name, label): share
        for name in parts.categories
        if name not in (*parts.labels, *parts.protected)
        for label, share in parts.train[name].value_counts(normalize=True).items()
    }
    name, label = min(shares, key=lambda key: abs(shares[key] - 0.057))
    keep = (frame[name] != label).to_numpy()
    return frame.iloc[np.flatnonzero(keep)[rng.integers(int(keep.sum()), size=len(frame))]]


@harmful("two correlations removed", harm="two pairs of columns are independent of each other")
def uncorrelated(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    for _, name, _ in ties(parts)[:2]:
        frame = shuffled(frame, [name], np.ones(len(frame), dtype=bool), rng)
    return frame


@harmful("one sex three years older", harm="a group's patients are older than they are")
def older(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    if "age" in parts.numbers:
        column = parts.schema.column("age")
        moved = frame["age"] + THREE_YEARS * first_sex(parts, frame)
        return frame.assign(age=moved.clip(column.minimum, column.maximum))
    codes = frame["age"].cat.codes.to_numpy().astype(int)
    labels = list(frame["age"].cat.categories)  # ages in classes of ten years: three in ten move up
    up = np.minimum(codes + (first_sex(parts, frame) & (rng.random(len(frame)) < 0.3)), len(labels) - 1)
    return frame.assign(age=pd.Categorical.from_codes(up, categories=labels))


@harmful("impossible pairs", harm="one record in seven contradicts itself")
def impossible(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    """Of a closest pair of categories one is drawn anew, so that it goes with what it never goes with."""
    frame = sample(parts)
    names = [n for n in parts.categories if n not in parts.labels]
    empty: dict[tuple[str, str], float] = {}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            table = pd.crosstab(parts.train[a], parts.train[b]).to_numpy()
            likely = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
            empty[a, b] = float(likely[table == 0].sum() / table.sum())
    a, b = max(empty, key=lambda pair: empty[pair])
    share = min(1.0, 0.138 / max(empty[a, b], 1e-9))
    return shuffled(frame, [b], rng.random(len(frame)) < share, rng)


@harmful("second label destroyed", harm="the second outcome says nothing", cohorts=("support2", "flchain"))
def second(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    return shuffled(frame, [parts.labels[1]], np.ones(len(frame), dtype=bool), rng)


@harmful(
    "order of moments broken",
    harm="one patient in three is followed for less time than until discharge",
    cohorts=("support2 with moments",),
)
def disordered(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    moved = rng.random(len(frame)) < 0.327
    first, last = frame["discharged"].to_numpy(), frame["followed"].to_numpy()
    return frame.assign(discharged=np.where(moved, last, first), followed=np.where(moved, first, last))


# Of our own, beyond those of the issue.


@harmful("prevalence of the label doubled", harm="twice as many have the rarer outcome")
def doubled(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    rare = (frame[parts.label] == frame[parts.label].value_counts().index[-1]).to_numpy()
    weights = np.where(rare, 2.0, 1.0)
    return frame.iloc[rng.choice(len(frame), size=len(frame), p=weights / weights.sum())]


@harmful("label of a third class of patients certain", harm="all of a subgroup have the commonest outcome")
def certain(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    labels = frame[parts.label].cat.categories
    inside = subgroup(parts, frame)[1]
    commonest = frame[parts.label].value_counts().index[0]
    texts = np.where(inside, commonest, frame[parts.label].astype(object))
    return frame.assign(**{parts.label: pd.Categorical(texts, categories=labels)})


@harmful("two categories exchanged", harm="what is called one thing is another")
def exchanged(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    """Of the column whose categories tell most about the label, the two commonest change names."""
    frame = sample(parts)
    name = max(
        (n for n in parts.categories if n not in parts.labels and frame[n].nunique() > 1),
        key=lambda n: pd.crosstab(frame[n], frame[parts.label], normalize="index").iloc[:, -1].std(),
    )
    first, other = frame[name].value_counts().index[:2]
    texts = frame[name].astype(object).replace({first: other, other: first})
    return frame.assign(**{name: pd.Categorical(texts, categories=frame[name].cat.categories)})


@harmful("upper fifth of a number cut off", harm="no patient has the values that matter most")
def truncated(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    spread = {n: float(frame[n].nunique()) for n in parts.numbers}
    name = max(spread, key=lambda n: spread[n])
    return frame.assign(**{name: frame[name].clip(upper=frame[name].quantile(0.8))})


@harmful(
    "missing values imputed by the mean",
    harm="what was not measured looks measured",
    cohorts=("support2", "heart_uci", "flchain"),
)
def imputed(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    return frame.assign(**{n: frame[n].fillna(round(float(frame[n].mean()), 1)) for n in parts.numbers})


@harmful("three records in ten in another unit", harm="values of a number are halved")
def wrong_unit(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    name = max(parts.numbers, key=lambda n: float(frame[n].mean() / frame[n].std()))
    column = parts.schema.column(name)
    halved = np.where(rng.random(len(frame)) < 3 * ONE_IN_TEN, frame[name] / 2, frame[name])
    return frame.assign(**{name: np.clip(halved, column.minimum, column.maximum)})


@harmful("half of the records made of two patients", harm="half of the columns are of somebody else")
def chimeras(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    names = list(frame)[1::2]
    where = rng.random(len(frame)) < 0.5
    places = np.flatnonzero(where)
    order = np.arange(len(frame))
    order[places] = rng.permutation(places)
    return frame.assign(**{n: frame[n].array.take(order) for n in names})


@harmful("small group made of the others' records", harm="a minority is the majority under another name")
def renamed(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    name = "race" if "race" in parts.protected else parts.protected[0]
    counts = frame[name].value_counts()
    group = counts[counts >= 0.05 * len(frame)].index[-1]
    inside = (frame[name] == group).to_numpy()
    others = frame[~inside]
    drawn = others.iloc[rng.integers(len(others), size=int(inside.sum()))].assign(**{name: group})
    both = pd.concat([others, drawn], ignore_index=True)
    return both.assign(**{name: pd.Categorical(both[name], categories=frame[name].cat.categories)})


@harmful("few patients many times", harm="one patient in ten stands for all")
def repeated(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    return frame.iloc[rng.integers(len(frame) // 10, size=len(frame))]


@harmful("all columns independent within the label", harm="the record of a patient is made of many patients")
def by_label(parts: Parts, rng: np.random.Generator) -> pd.DataFrame:
    frame = sample(parts)
    names = [name for name in frame if name != parts.label]
    for label in frame[parts.label].cat.categories:
        frame = shuffled(frame, names, (frame[parts.label] == label).to_numpy(), rng)
    return frame
