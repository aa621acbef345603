"""Leakage: do combinations of a few columns that only one patient has turn up among the synthetic rows?

Who knows a patient's age, sex and town looks for a row with these, and reads what else it says. Which
columns an attacker knows nobody can tell, so all pairs are tried, and triples and larger subsets that are
drawn from column names alone; first of all the protected columns, with and without the outcome. Which
subset tells most is then searched for: on one half of the patients, so that the other half can say whether
it tells anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from synthgen.evaluation.attacks.exact_counts import MAX_PATIENTS, MIN_PATIENTS, Exact, Subset, exact
from synthgen.evaluation.attacks.rates import halves
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, no_difference
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.shares import Compared, most_significant

MAX_PAIRS = 300
MAX_TRIPLES = 100
MAX_LARGER = 100
LARGER = (4, 7)
"""Columns of the larger subsets: so many at least, and one less than so many at most."""
LARGEST = 7
"""Columns of a searched subset at most."""
STARTS = 2
"""Pairs from which a search sets out."""
PATIENCE = 2
"""Columns in a row that may tell no more before a search ends."""
SEED = 11
NAMED = 5
ALL_ROWS = True
DEFINITION = (
    "Of the patients with a combination of values, as they are written, that no other patient of training,"
    " holdout or reference has, the share of whom a synthetic row has it: training minus other patients, by"
    " Fisher's exact test (a permutation of membership). quasi: the protected columns, alone or with the"
    f" outcome or another column; worst: also all pairs (at most {MAX_PAIRS}), {MAX_TRIPLES} triples and"
    f" {MAX_LARGER} subsets of 4 to 6 columns that are drawn from names alone. Each is the most significant"
    f" of these, corrected for their number (Bonferroni). searched: the subset of up to {LARGEST} columns"
    f" that tells most on one half of the patients, built column by column from the {STARTS} best pairs, as"
    " it tells on the other half; both ways round, corrected for two."
)
KEYS = ("quasi", "worst", "searched")
Half = tuple[np.ndarray, np.ndarray]
"""Which members, and which others, are of one half."""
NOTE = f"It takes {MIN_PATIENTS} patients a side, a reference, synthetic records, and two columns."


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count patients whose own combinations are among the synthetic rows, of all synthetic rows.

    Args:
        inputs: see `Inputs`.
        rng: not used: suspects and subsets have fixed seeds.

    Returns:
        ``quasi``, ``worst`` and ``searched`` (-1 to 1), ``groups["subset"]`` for the most significant
        ones, ``groups["searched"]`` for those that were searched for.
    """
    known = exact(inputs)
    if known is None or len(known.names) < 2:
        return _result(dict.fromkeys(KEYS, insufficient(0)), {}, 0, note=NOTE)
    quasi, others = _quasi(inputs, known), _others(len(known.names))
    tried = {subset: Matched(known, subset) for subset in dict.fromkeys([*quasi, *others])}
    every = {subset: one.compared() for subset, one in tried.items()}
    found = {subset: one for subset, one in every.items() if one is not None}
    named = sorted(found, key=lambda subset: found[subset].chance)[:NAMED]
    searched = _searched(known, {subset: one for subset, one in tried.items() if len(subset) == 2})
    estimates = {
        "quasi": _most([found[subset] for subset in quasi if subset in found], known),
        "worst": _most(list(found.values()), known),
        "searched": _most(list(searched.values()), known),
    }
    groups = {
        "subset": {_words(known, subset): found[subset].estimate() for subset in named},
        "searched": {_words(known, subset): one.estimate() for subset, one in searched.items()},
    }
    return _result(estimates, groups, len(found))


def expect(declared: Declared) -> MetricResult:
    """Return what would be found at a perfect generator: nothing, known as well as so many patients allow."""
    others = declared.holdout + declared.reference
    if (
        min(declared.train, others) < MIN_PATIENTS
        or not declared.synthetic
        or len(declared.schema.columns) < 2
    ):
        return _result(dict.fromkeys(KEYS, insufficient(others)), {}, 0, note=NOTE)
    found = no_difference(declared.train, others, most=MAX_PATIENTS)
    return _result(dict.fromkeys(KEYS, found), {}, 0)


class Matched:
    """Which patients have a combination of their own, and of whom a row has it. Sensitive.

    Attributes:
        subset: columns of the combination.
    """

    def __init__(self, known: Exact, subset: Subset, *, sampled: bool = False) -> None:
        counts = known.counts(subset, sampled=sampled)
        self.subset = subset
        own = counts.patients == 0
        self._own, self._met = known.by_patient(own), known.by_patient(own & (counts.rows > 0))

    def compared(self, half: Half | None = None) -> Compared | None:
        """Return the comparison, among some members and others or all; None if one side has nobody."""
        sides = [
            [
                int((side if half is None else side[part]).sum())
                for side, part in zip(one, half or one, strict=True)
            ]
            for one in (self._own, self._met)
        ]
        (n, other_n), (hits, other_hits) = sides
        return Compared(hits, n, other_hits, other_n) if min(n, other_n) else None


def _most(found: list[Compared], known: Exact) -> Estimate:
    return most_significant(found) if found else insufficient(known.n_suspects)


def _words(known: Exact, subset: Subset) -> str:
    return " & ".join(known.names[j] for j in subset)


def _searched(known: Exact, pairs: Mapping[Subset, Matched]) -> dict[Subset, Compared]:
    """Return the subsets that tell most on one half of the patients, as they tell on the other half.

    The choice saw no membership of the other half, so that one test of it is exact, and both need a
    correction for two only, however many subsets were tried.
    """
    rng = np.random.default_rng(SEED)
    members, others = (side.unit_codes()[1] for side in (known.suspects.members, known.suspects.others))
    first = halves(members, rng), halves(others, rng)
    second = ~first[0], ~first[1]
    found: dict[Subset, Compared] = {}
    for learnt, tested in ((first, second), (second, first)):
        best = _built(known, pairs, learnt)
        one = None if best is None else Matched(known, best.subset).compared(tested)
        if best is None or one is None:
            continue
        if best.subset not in found or one.chance < found[best.subset].chance:
            found[best.subset] = one
    return found


def _built(known: Exact, pairs: Mapping[Subset, Matched], half: Half) -> Matched | None:
    """Return the subset that tells most of a half, built from the best pairs by the best further column.

    A path ends where two columns in a row have told no more.
    """

    def chance(one: Matched) -> float:
        told = one.compared(half)
        return 1.0 if told is None else told.chance

    best: Matched | None = None
    for start in sorted(pairs.values(), key=chance)[:STARTS]:
        here, top, idle = start, start, 0
        while idle < PATIENCE and len(here.subset) < LARGEST:
            left = [j for j in range(len(known.names)) if j not in here.subset]
            if not left:
                break
            further = [tuple(sorted((*here.subset, j))) for j in left]
            here = min((Matched(known, subset, sampled=True) for subset in further), key=chance)
            idle = 0 if chance(here) < chance(top) else idle + 1
            top = here if idle == 0 else top
        best = top if best is None or chance(top) < chance(best) else best
    return best


def _quasi(inputs: Inputs, known: Exact) -> list[Subset]:
    """Return the protected columns, and these with the outcome and with each other column."""
    protected = [j for j, name in enumerate(known.names) if name in inputs.groups]
    if not protected:
        return []
    more = [j for j in range(len(known.names)) if j not in protected]
    found = [tuple(protected)] if len(protected) > 1 else []
    return [*found, *(tuple(sorted((*protected, j))) for j in more)]


def _others(n: int) -> list[Subset]:
    """Return pairs, triples and larger subsets of n columns, drawn by a public seed."""
    rng = np.random.default_rng(SEED)
    pairs: list[Subset] = list(combinations(range(n), 2))
    chosen = [pairs[i] for i in sorted(rng.permutation(len(pairs))[:MAX_PAIRS])]
    sizes = [3] * MAX_TRIPLES + rng.integers(*LARGER, size=MAX_LARGER).tolist()
    drawn = [tuple(sorted(rng.permutation(n)[:size].tolist())) for size in sizes if size < n]
    return [*chosen, *drawn]


def _result(
    estimates: dict[str, Estimate],
    groups: Mapping[str, Mapping[str, Estimate]],
    tried: int,
    *,
    note: str = "",
) -> MetricResult:
    return result(
        "leakage_unique_parts",
        "Combinations that one patient has",
        DEFINITION,
        estimates,
        better="lower",
        groups={name: family for name, family in groups.items() if family},
        details={"subsets": tried},
        status="insufficient" if note else "ok",
        note=note,
    )
