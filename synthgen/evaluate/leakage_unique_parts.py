"""Leakage: do combinations of a few columns that only one patient has turn up among the synthetic rows?

Who knows a patient's age, sex and town looks for a row with these, and reads what else it says. Which
columns an attacker knows nobody can tell, so all pairs are tried, and triples and larger subsets that are
drawn from column names alone; first of all the protected columns, with and without the outcome.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._declared import Declared, no_difference
from synthgen.evaluate._exact import MAX_PATIENTS, MIN_PATIENTS, Exact, Subset, compared, exact
from synthgen.evaluate._intervals import insufficient
from synthgen.evaluate._shares import Compared, most_significant

MAX_PAIRS = 300
MAX_TRIPLES = 100
MAX_LARGER = 100
LARGER = (4, 7)
"""Columns of the larger subsets: so many at least, and one less than so many at most."""
SEED = 11
NAMED = 5
ALL_ROWS = True
DEFINITION = (
    "Share of all patients with a combination of values, as they are written, that no other patient of"
    " training, holdout or reference has and that a synthetic row has: training minus other patients, by"
    " Fisher's exact test (a permutation of membership). quasi: the protected columns, alone or with the"
    f" outcome or another column; worst: also all pairs (at most {MAX_PAIRS}), {MAX_TRIPLES} triples and"
    f" {MAX_LARGER} subsets of 4 to 6 columns that are drawn from names alone. Each is the most significant"
    " of these, corrected for their number (Bonferroni)."
)
NOTE = f"It takes {MIN_PATIENTS} patients a side, a reference, synthetic records, and two columns."


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count patients whose own combinations are among the synthetic rows, of all synthetic rows.

    Args:
        inputs: see `Inputs`.
        rng: not used: suspects and subsets have fixed seeds.

    Returns:
        ``quasi`` and ``worst`` (-1 to 1), and ``groups["subset"]`` for the most significant ones.
    """
    known = exact(inputs)
    if known is None or len(known.names) < 2:
        return _result(dict.fromkeys(("quasi", "worst"), insufficient(0)), {}, 0, note=NOTE)
    quasi, others = _quasi(inputs, known), _others(len(known.names))
    found = {subset: _matched(known, subset) for subset in dict.fromkeys([*quasi, *others])}
    named = sorted(found, key=lambda subset: found[subset].chance)[:NAMED]
    estimates = {
        "quasi": most_significant([found[subset] for subset in quasi]) if quasi else insufficient(0),
        "worst": most_significant(list(found.values())),
    }
    groups = {" & ".join(known.names[j] for j in subset): found[subset].estimate() for subset in named}
    return _result(estimates, groups, len(found))


def expect(declared: Declared) -> MetricResult:
    """Return what would be found at a perfect generator: nothing, known as well as so many patients allow."""
    others = declared.holdout + declared.reference
    if (
        min(declared.train, others) < MIN_PATIENTS
        or not declared.synthetic
        or len(declared.schema.columns) < 2
    ):
        return _result(dict.fromkeys(("quasi", "worst"), insufficient(others)), {}, 0, note=NOTE)
    found = no_difference(declared.train, others, most=MAX_PATIENTS)
    return _result(dict.fromkeys(("quasi", "worst"), found), {}, 0)


def _matched(known: Exact, subset: Subset) -> Compared:
    counts = known.counts(subset)
    return compared(known, (counts.patients == 0) & (counts.rows > 0))


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
    estimates: dict[str, Estimate], groups: dict[str, Estimate], tried: int, *, note: str = ""
) -> MetricResult:
    return result(
        "leakage_unique_parts",
        "Combinations that one patient has",
        DEFINITION,
        estimates,
        better="lower",
        groups={"subset": groups} if groups else {},
        details={"subsets": tried},
        status="insufficient" if note else "ok",
        note=note,
    )
