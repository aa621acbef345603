"""Leakage: are synthetic images changed copies of members' images, or mixtures and composites of them?

A copy that is mirrored, moved, turned, scaled, cropped, blurred, or of another brightness lies far from its
original in pixels. Here each patient is asked for the most alike synthetic image, and each synthetic image
for the patients most like it, through changes of bearing and in quarters (`matched_filter`). A synthetic
image that nobody leaked into is like a member as often as like anybody else; mixtures point to two patients.

Every synthetic image is seen. All counts treat members and others alike, so that Fisher's exact test of them
is a test by permutation of membership.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen.evaluation.attacks.attack import expected_rates
from synthgen.evaluation.attacks.rates import true_positive_rates
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, no_difference
from synthgen.evaluation.features.design import partitions
from synthgen.evaluation.features.images import MIN_PATIENTS, NO_IMAGES, of_images
from synthgen.evaluation.features.matched_filter import SIDE, VIEWS, View, Whitening, looks
from synthgen.evaluation.features.radiomics_encoder import thumbnails
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.patients import maximum_by_patient, sample_patients
from synthgen.evaluation.statistics.shares import Compared, most_significant

NAME, TITLE = "leakage_image_changed_copies", "Changed copies and mixtures of images"
MAX_PATIENTS = 4_000
CHUNK = 1_000
LIKE = {"coarse": (0.95, 0.9, 0.8), "fine": (0.8, 0.6), "a quarter": (0.95, 0.9, 0.8)}
"""Cosines of each view from which on a synthetic image is like a patient's. Few: each try costs power."""
TYPICAL = {"coarse": 0.9, "fine": 0.6}
"""Those at which the most unusual patients, groups and labels are compared."""
AHEAD = {
    "coarse, first": (0.15,),
    "fine, first": (0.05, 0.15, 0.25),
    "fine, second": (0.05, 0.15),
    "a quarter, first": (0.25,),
}
"""By how much more like its patient than like the next a synthetic image must be to point there."""
UNUSUAL = 0.1
"""Share of the patients, those with an image farthest from the mean (Mahalanobis), compared apart."""
FEWEST = 20
CONTROL = 0.04
"""Share of the members whose mirrored and moved images the positive control plants."""
KEYS = ("copied", "worst_group", "pointed")
DEFINITION = (
    "Images are whitened by the covariance of all patients' images and compared by the absolute cosine,"
    " through reflection, shifts of up to 2 of 28 pixels, turns of up to 7 degrees and scales of .88 to 1.12;"
    " at full size and in quarters through fewer. copied: share of patients with a synthetic image alike from"
    " a cosine on, training minus other patients (holdout, and reference where it is of the cohort), the most"
    " significant of all cosines and views, also among the 10 % farthest from the mean image; worst_group:"
    " the same within protected groups and labels; pointed: share of patients to whom a synthetic image"
    " points, being more like them than like the next patient by a margin, as the first or the second"
    " (mixtures). Fisher's exact test and Mee's interval, corrected for their number (Bonferroni)."
    " excess_1pct and so on: true positive rate of the largest cosine at such a false positive rate, beyond"
    " that rate."
)


@dataclass(frozen=True)
class Seen:
    """What one view shows of each patient. Sensitive.

    Attributes:
        best: cosine of the most alike synthetic image.
        ahead: by how much some synthetic image is more like this patient than like the next; -1 for none.
        second: the same of images that are more like one other patient, against the third.
    """

    best: np.ndarray
    ahead: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Suspects:
    """Members' and others' images, those of a patient together; members come first. Sensitive."""

    grey: np.ndarray
    patient: np.ndarray
    members: int
    patients: int

    def compared(self, hit: np.ndarray, among: np.ndarray) -> Compared | None:
        """Return how many members and others of those ``among`` are hit."""
        mine = np.arange(self.patients) < self.members
        n, other_n = int((among & mine).sum()), int((among & ~mine).sum())
        if min(n, other_n) == 0 or n + other_n < FEWEST:
            return None
        hit = hit & among
        return Compared(int((hit & mine).sum()), n, int((hit & ~mine).sum()), other_n)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Search the synthetic images for changed copies and mixtures.

    Args:
        inputs: see `Inputs`.
        rng: draws patients where the cap is met, those of the positive control, and breaks ties.

    Returns:
        ``copied``, ``worst_group`` and ``pointed`` (-1 to 1), ``tpr_1pct``, ``excess_1pct`` and so on;
        ``groups["copied"]``, ``groups["pointed"]`` by kind of likeness, ``groups["worst_group"]`` by group.
    """
    if not of_images(inputs):
        return result(NAME, TITLE, DEFINITION, {}, better="lower", status="not-applicable", note=NO_IMAGES)
    parts = [inputs.holdout, *([inputs.reference] if inputs.reference_of_cohort else [])]
    sides: list[Any] = [
        sample_patients(inputs.train, MAX_PATIENTS, rng=rng),
        *(sample_patients(part, MAX_PATIENTS // len(parts), rng=rng) for part in parts if len(part)),
    ]
    sizes = [side.unit_codes()[1] for side in sides]
    if min(sizes[0], sum(sizes[1:]), len(inputs.synthetic)) < MIN_PATIENTS:
        nothing = dict.fromkeys(KEYS, insufficient(min(sizes[0], sum(sizes[1:]))))
        return _answer(
            nothing, note=f"It takes {MIN_PATIENTS} patients a side, and as many synthetic images."
        )
    suspects = _suspects(sides, sizes)
    synthetic = _grey(inputs.synthetic)
    seen, detected = {}, False
    planted = rng.permutation(suspects.members)[: max(1, round(CONTROL * suspects.members))]
    for view in VIEWS:
        known = Whitening.of(view.of(suspects.grey), view.components)
        seen[view.name] = _look(view, known, suspects, synthetic)
        if view is VIEWS[0]:
            detected = _control(view, known, suspects, planted, seen[view.name])
    everybody = np.ones(suspects.patients, dtype=bool)
    seen = {**{name: seen[name] for name in TYPICAL}, "a quarter": _joined(seen)}
    copied = _copied(suspects, seen, everybody)
    pointed = _pointed(suspects, seen, everybody)
    groups = _by_group(inputs, sides, suspects, seen)
    best = np.max([one.best for one in seen.values()], axis=0)
    cut = suspects.members
    estimates = {
        "copied": most_significant(list(copied.values())),
        "pointed": most_significant(list(pointed.values())),
        "worst_group": most_significant(list(groups.values())) if groups else insufficient(suspects.patients),
        **true_positive_rates(best[:cut], best[cut:], claim=inputs.claim, rng=rng),
    }
    families = {"copied": copied, "pointed": pointed, "worst_group": groups}
    by_group = {
        name: {key: one.estimate() for key, one in family.items()} for name, family in families.items()
    }
    details = {
        "caps": {"members": suspects.members, "others": suspects.patients - suspects.members},
        "synthetic": len(synthetic),
        "control": {"planted_share": CONTROL, "detected": detected},
    }
    note = "" if detected else "Mirrored and moved copies of members are missed, so it shows nothing here."
    return _answer(estimates, groups=by_group, details=details, note=note)


def expect(declared: Declared) -> MetricResult:
    """Return what would be found at a perfect generator: nothing, known as well as so many patients allow."""
    if not of_images(declared):
        return result(NAME, TITLE, DEFINITION, {}, better="lower", status="not-applicable", note=NO_IMAGES)
    others = declared.holdout + declared.reference
    if min(declared.train, others, declared.synthetic) < MIN_PATIENTS:
        nothing = dict.fromkeys(KEYS, insufficient(min(declared.train, others)))
        return _answer(
            nothing, note=f"It takes {MIN_PATIENTS} patients a side, and as many synthetic images."
        )
    found = no_difference(min(declared.train, MAX_PATIENTS), others, most=MAX_PATIENTS)
    return _answer({**dict.fromkeys(KEYS, found), **expected_rates(declared)})


def _grey(images: Any) -> np.ndarray:
    return thumbnails(images, min(SIDE, min(images.pixels.shape[2:])))


def _suspects(sides: list[Any], sizes: list[int]) -> Suspects:
    """Join the sides; images of a patient stand together."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    patient = np.concatenate([side.unit_codes()[0] + at for side, at in zip(sides, starts, strict=False)])
    order = np.argsort(patient, kind="stable")
    grey = np.concatenate([_grey(side) for side in sides])
    return Suspects(grey[order], patient[order], sizes[0], int(starts[-1]))


def _alike(view: View, known: Whitening, suspects: Suspects, base: np.ndarray) -> np.ndarray:
    """Return absolute cosines, ``(patient, base)``, the largest of all bearings and a patient's images."""
    found = np.zeros((len(suspects.grey), len(base)), dtype=np.float32)
    for look in looks(suspects.grey, view.bearings):
        np.maximum(found, np.abs(known.directions(view.of(look)) @ base.T), out=found)
    return np.maximum.reduceat(found, np.unique(suspects.patient, return_index=True)[1], axis=0)


def _look(view: View, known: Whitening, suspects: Suspects, synthetic: np.ndarray) -> Seen:
    """Return what the view shows of all synthetic images, in chunks."""
    best = np.zeros(suspects.patients, dtype=np.float32)
    ahead, second = np.full((2, suspects.patients), -1.0, dtype=np.float32)
    for start in range(0, len(synthetic), CHUNK):
        alike = _alike(view, known, suspects, known.directions(view.of(synthetic[start : start + CHUNK])))
        best = np.maximum(best, alike.max(axis=1))
        places = np.argpartition(-alike, 2, axis=0)[:3]
        order = np.argsort(-np.take_along_axis(alike, places, axis=0), axis=0)
        places = np.take_along_axis(places, order, axis=0)
        values = np.take_along_axis(alike, places, axis=0)
        np.maximum.at(ahead, places[0], values[0] - values[1])
        np.maximum.at(second, places[1], values[1] - values[2])
        np.maximum.at(second, places[0], values[1] - values[2])
    return Seen(best, ahead, second)


def _control(view: View, known: Whitening, suspects: Suspects, planted: np.ndarray, seen: Seen) -> bool:
    """Return whether mirrored and moved copies of these members would be found at the 1 % level."""
    first = np.unique(suspects.patient, return_index=True)[1][planted]
    moved = np.roll(suspects.grey[first][:, :, ::-1], 1, axis=2)
    alike = _alike(view, known, suspects, known.directions(view.of(moved)))
    with_copies = np.maximum(seen.best, alike.max(axis=1))
    everybody = np.ones(suspects.patients, dtype=bool)
    tried = [suspects.compared(with_copies >= like, everybody) for like in LIKE["coarse"]]
    chances = [one.chance for one in tried if one is not None]
    return bool(chances) and min(chances) * len(chances) < 0.01


def _unusual(suspects: Suspects) -> np.ndarray:
    """Return which patients' images lie farthest from the mean, of the coarse view."""
    view = VIEWS[0]
    image = view.of(suspects.grey)
    known = Whitening.of(image, view.components)
    far = np.linalg.norm((image - known.mean) @ known.weights, axis=1)
    by_patient = maximum_by_patient(far.astype(float), suspects.patient, suspects.patients)
    return np.asarray(by_patient >= np.quantile(by_patient, 1 - UNUSUAL))


def _joined(seen: dict[str, Seen]) -> Seen:
    """Return the largest of what the quarters show."""
    quarters = [one for name, one in seen.items() if name.startswith("quarter")]
    return Seen(
        *(np.max([getattr(one, key) for one in quarters], axis=0) for key in ("best", "ahead", "second"))
    )


def _copied(suspects: Suspects, seen: dict[str, Seen], everybody: np.ndarray) -> dict[str, Compared]:
    unusual = _unusual(suspects)
    found = {
        f"{name}, cosine from {like:g}": suspects.compared(seen[name].best >= like, everybody)
        for name, likes in LIKE.items()
        for like in likes
    }
    for name, like in TYPICAL.items():
        hit = seen[name].best >= like
        found[f"{name}, cosine from {like:g}, unusual"] = suspects.compared(hit, unusual)
    return _kept(found)


def _pointed(suspects: Suspects, seen: dict[str, Seen], everybody: np.ndarray) -> dict[str, Compared]:
    found = {}
    for key, margins in AHEAD.items():
        name, _, which = key.partition(", ")
        values = seen[name].ahead if which == "first" else seen[name].second
        for margin in margins:
            found[f"{key} by {margin:g}"] = suspects.compared(values >= margin, everybody)
    return _kept(found)


def _by_group(
    inputs: Inputs, sides: list[Any], suspects: Suspects, seen: dict[str, Seen]
) -> dict[str, Compared]:
    """Return the comparisons within protected groups, their crossings, and labels."""
    import pandas as pd

    first = [side.frame.iloc[np.unique(side.unit_codes()[0], return_index=True)[1]] for side in sides]
    frame = pd.concat(first, ignore_index=True)
    labels = [inputs.target] if inputs.target and inputs.target not in inputs.groups else []
    told = [*partitions(inputs.schema, frame, inputs.groups)]
    told += [one for label in labels for one in partitions(inputs.schema, frame, (label,))]
    found = {}
    for codes, names in told:
        for i in np.unique(codes):
            for name, like in TYPICAL.items():
                key = f"{names[i]}, {name}, cosine from {like:g}"
                found[key] = suspects.compared(seen[name].best >= like, codes == i)
    return _kept(found)


def _kept(found: dict[str, Compared | None]) -> dict[str, Compared]:
    return {key: one for key, one in found.items() if one is not None}


def _answer(estimates: dict[str, Estimate], *, note: str = "", **more: Any) -> MetricResult:
    status: Any = "insufficient" if note else "ok"
    return result(NAME, TITLE, DEFINITION, estimates, better="lower", status=status, note=note, **more)
