"""The registry of settings that weaken a release: what each config and schema key does to the claim.

Every key stands here once, with the reason why it weakens the guarantee, or the evidence for it, or why it
does not. `deviations` says which weakening ones a run used; the privacy record holds that list, and card and
both editions of the report print it beside the claim. A test walks through all keys, so that a key that is
added later cannot be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synthgen.config.run_config import ResolvedConfig, groups_of
from synthgen.privacy.plan import PrivacyPlan
from synthgen.release.gate.looser_policy import looser
from synthgen.release.gate.policy import load_policy
from synthgen.release.sample_size import loose_delta
from synthgen.schema.image_format import MOST_LEFT_OUT, Dicom

if TYPE_CHECKING:
    from synthgen.privacy.ledger.ledger import Entry

SHIPPED = {False: "default", True: "images"}
"""The policy of a table and of images, where the config names none."""


@dataclass(frozen=True)
class Facts:
    """What a run is, as far as it is public.

    Attributes:
        loaded: its config, with schema, generator and policy.
        plan: what its fit has spent.
        entries: the ledger's rows.
        against: what was known beforehand against the run, which somebody started anyway.
        changes: choices that were changed after the fit: key, from and to.
    """

    loaded: ResolvedConfig
    plan: PrivacyPlan
    entries: Sequence[Entry] = ()
    against: Sequence[str] = ()
    changes: Sequence[Mapping[str, Any]] = ()

    @property
    def run(self) -> str:
        """The run's name in the ledger."""
        return self.loaded.digest[:16]


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        why: why it weakens the claim or its evidence, or why it does not.
        says: returns a sentence for each way in which a run is weaker for it; None if it never is.
    """

    why: str
    says: Callable[[Facts], Iterable[str]] | None = None


def deviations(facts: Facts) -> tuple[str, ...]:
    """Return what weakens a run's claim or its evidence: ``key: sentence``, in the registry's order.

    Post-processing of config, schema, plan and ledger: no sentence depends on a record.
    """
    return tuple(
        f"{key}: {sentence}"
        for key, setting in SETTINGS.items()
        if setting.says is not None
        for sentence in setting.says(facts)
    )


def override_deviation(verdict: str) -> str:
    """Return the deviation of a release against the gate, which is known after the record was made."""
    return f"release.override: a person released it against the verdict {verdict}."


def _counted(facts: Facts) -> Iterable[str]:
    if facts.plan.patients_counted:
        yield "the number of patients was counted from the data, so the cohort's size is not protected."


def _delta(facts: Facts) -> Iterable[str]:
    if loose_delta(facts.plan.patients, facts.plan.delta):
        yield "delta is not below one over the training patients: it allows to publish some of them whole."


def _without_id(facts: Facts) -> Iterable[str]:
    images = facts.loaded.config.data.images
    if images is not None and images.without_id == "own":
        yield (
            "each file that names no patient counts as a patient of its own: whoever has several such files "
            "is not protected as a whole."
        )


def _unevaluated(facts: Facts) -> Iterable[str]:
    if facts.loaded.config.evaluate is None:
        yield "nothing was held out, so the release was not evaluated."


def _groups(facts: Facts) -> Iterable[str]:
    if facts.loaded.config.evaluate is None:
        return
    schema = facts.loaded.schema
    left = sorted(set(schema.with_role("protected")) - set(groups_of(facts.loaded.config, schema)))
    if left:
        yield f"fairness was not evaluated for the protected columns {', '.join(left)}."


def _canaries(facts: Facts) -> Iterable[str]:
    section = facts.loaded.config.evaluate
    if section is not None and section.canaries == 0:
        yield "the audit of the guarantee was switched off."


def _policy(facts: Facts) -> Iterable[str]:
    usual = SHIPPED[facts.loaded.schema.images is not None]
    if facts.loaded.policy != usual:
        yield f"the verdict was reached under another policy than the shipped {usual!r}."
        for way in looser(load_policy(facts.loaded.policy), load_policy(usual)):
            yield f"the policy allows more than the shipped {usual!r}: {way}."


def _rows(facts: Facts) -> Iterable[str]:
    if facts.plan.unit == "row":
        yield "the protected unit is a row: a patient with several rows is not protected as a whole."


def _identifiers(facts: Facts) -> Iterable[str]:
    fields = facts.loaded.schema.fields
    names = [f.name for f in fields if f.identifier is False and not f.is_unseen]
    if names:
        yield f"a person declared that {', '.join(names)} hold no direct identifiers."


def _confirmed(facts: Facts) -> Iterable[str]:
    declared = [
        f for f in facts.loaded.schema.fields if not f.is_unseen and not f.bounds and not f.categories
    ]
    names = [f.name for f in declared if f.confirmed and "confirmed" in f.model_fields_set]
    if names:
        yield (
            f"the domains of {', '.join(names)} were read from the data and confirmed by a person as public: "
            "if they are not, they were published without protection."
        )


def _screened(facts: Facts) -> Iterable[str]:
    images = facts.loaded.schema.images
    left = sorted(set(Dicom().screened) - set(images.dicom.screened)) if images and images.dicom else []
    if left:
        yield f"images of the modalities {', '.join(left)} were not searched for text in the pixels."


def _left_out(facts: Facts) -> Iterable[str]:
    images = facts.loaded.schema.images
    if images is not None and images.most_left_out > MOST_LEFT_OUT:
        yield (
            f"up to {images.most_left_out:.0%} of the images may have been left out as unusable: the "
            "patients who remain may differ from the cohort."
        )


def _attempts(facts: Facts) -> Iterable[str]:
    void = {entry.content["entry"] for entry in facts.entries if entry.kind == "void"}
    mine = [
        entry
        for entry in facts.entries
        if entry.kind == "reserve" and entry.content.get("run") == facts.run and entry.seq not in void
        and not str(entry.content.get("purpose", "")).startswith("evaluate")
    ]  # fmt: skip
    if len(mine) > 1:
        yield (
            f"{len(mine) - 1} draws or fits of this run were lost or repeated, and charged in the ledger "
            "beyond the epsilon of this release."
        )


def _afresh(facts: Facts) -> Iterable[str]:
    spends = [entry for entry in facts.entries if entry.kind == "reserve"]
    if spends and all(entry.content.get("run") == facts.run for entry in spends):
        yield (
            "the ledger holds no spend from before this run: what was released of these patients earlier, "
            "if anything, is not in the composed epsilon."
        )


def _caps(facts: Facts) -> Iterable[str]:
    """Say each cap that was changed after a spend of this cohort; the ledger's reasons stay in the ledger."""
    cap, spent = None, False
    for entry in facts.entries:
        if entry.cohort != facts.loaded.config.cohort:
            continue
        if entry.kind == "reserve":
            spent = True
        elif entry.kind == "cap":
            new = (entry.content["epsilon"], entry.content["delta"])
            if spent and cap is not None and new != cap:
                yield (
                    f"the cap was changed after a spend, from epsilon {cap[0]:g} at delta {cap[1]:g} to "
                    f"epsilon {new[0]:g} at delta {new[1]:g}."
                )
            cap = new


def _disjoint(facts: Facts) -> Iterable[str]:
    mine = facts.loaded.config.cohort
    others = {
        name
        for entry in facts.entries
        if entry.kind == "cap"
        for name in (entry.cohort, *entry.content["disjoint_from"])
        if entry.content["disjoint_from"] and mine in (entry.cohort, *entry.content["disjoint_from"])
    } - {mine}
    if others:
        cohorts = "another cohort" if len(others) == 1 else f"{len(others)} other cohorts"
        yield (
            f"a person declared that no patient is also in {cohorts} of the ledger, whose spends are not in "
            "the composed epsilon."
        )


def _units(facts: Facts) -> Iterable[str]:
    mine = facts.loaded.config.cohort
    if any(entry.kind == "unit" and entry.cohort == mine for entry in facts.entries):
        yield "a person declared the privacy unit of spends that an older ledger recorded without one."
    if any(entry.kind == "same-unit" for entry in facts.entries):
        yield "a person declared that differently named columns identify the same patients."


def _rehearsal(facts: Facts) -> Iterable[str]:
    if facts.loaded.config.rehearsal:
        yield "this is a rehearsal on a table simulated from the schema; no patient's record was read."


def _anyway(facts: Facts) -> Iterable[str]:
    for because in facts.against:
        yield f"the run was started although it was known beforehand: {because}"


def _changed(facts: Facts) -> Iterable[str]:
    for change in facts.changes:
        before, after = (_said(change[end]) for end in ("from", "to"))
        yield f"{change['key']} was changed after the fit, from {before} to {after}."


def _said(value: Any) -> str:
    """Return a choice in words."""
    if value is None:
        return "the default"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)


def _neutral(why: str, keys: str) -> Mapping[str, Setting]:
    return {key: Setting(why) for key in keys.split()}


_READING = "says how cells or files are read; what cannot be read so is refused or counted as missing"
_PLACE = "names a file or a cohort, and nothing of the guarantee follows from the name"
_CLAIM = "is the claim itself, which record, card and report print"
_PAID = "is paid for from the declared epsilon"
_DOMAIN = "is a declared public domain; the mechanism is private whatever stands in it"
_WORDS = "says how values are written"
_FORM = "shapes the mechanism; the noise is calibrated to it, so the claim is the same"
_FREE = "concerns synthetic records, which are post-processing"

SETTINGS: Mapping[str, Setting] = {
    # The config.
    **_neutral(_PLACE, "cohort data.table.path data.table.schema data.images.path data.images.schema"),
    **_neutral(_PLACE, "data.images.table budget.ledger"),
    **_neutral(_FREE, "seed sample.records release.formats release.csv_formulas"),
    **_neutral(
        _READING,
        "data.table.delimiter data.table.encoding data.table.decimal data.table.date_format "
        "data.images.size data.images.delimiter data.images.encoding data.images.decimal "
        "data.images.date_format",
    ),
    "data.images.patients": Setting(
        "says who is who, as the unit's column does; a wrong answer is the curator's"
    ),
    "data.images.without_id": Setting(
        "takes one patient for several, who are then clipped apart", _without_id
    ),
    "budget.epsilon": Setting(_CLAIM),
    "budget.delta": Setting("a delta of one over the patients allows to publish some of them whole", _delta),
    "budget.patients": Setting("without it the size is counted from the data and not protected", _counted),
    "budget.preprocessing": Setting(_PAID),
    "evaluate": Setting("without it there is no evidence", _unevaluated),
    "evaluate.holdout": Setting("fixes how much evidence there is; intervals widen with less"),
    "evaluate.target": Setting("says what utility is measured on, and the report names it"),
    "evaluate.groups": Setting("a protected column that is left out is not looked at", _groups),
    "evaluate.canaries": Setting("without them the audit is not run", _canaries),
    "release.policy": Setting("another policy may allow more harm", _policy),
    # The schema.
    **_neutral(_WORDS, "schema.title schema.description schema.fields.title schema.fields.description"),
    **_neutral(
        _WORDS,
        "schema.fields.decimals schema.missingValues schema.fields.missingValues schema.fields.format "
        "schema.fields.trueValues",
    ),
    **_neutral(_WORDS, "schema.fields.falseValues schema.fields.origin"),
    **_neutral(
        _WORDS,
        "schema.dialect.bom schema.dialect.compression schema.dialect.decimalChar schema.dialect.delimiter "
        "schema.dialect.encoding schema.dialect.formulas schema.dialect.lineTerminator "
        "schema.dialect.quoting "
        "schema.dialect.storage schema.fields.timezone",
    ),
    "schema.unit.column": Setting("says who is a patient; a wrong column is the curator's"),
    "schema.unit.max_records": Setting(
        "bounds what a patient contributes, and the claim is for all that is used"
    ),
    "schema.unit.level": Setting("a row is less than a patient", _rows),
    "schema.unit.records": Setting("linked rows are one patient's in the mechanism too"),
    "schema.unit.order": Setting("orders a patient's own rows"),
    **_neutral(_DOMAIN, "schema.fields.name schema.fields.type schema.fields.constraints.minimum"),
    **_neutral(_DOMAIN, "schema.fields.constraints.maximum schema.fields.constraints.enum"),
    **_neutral(_DOMAIN, "schema.fields.constraints.required schema.fields.bins schema.fields.scale"),
    **_neutral(_DOMAIN, "schema.fields.outside schema.fields.codes schema.fields.since schema.fields.static"),
    "schema.fields.role": Setting(
        "ids and dropped columns are never seen; the other roles weigh the same patients"
    ),
    **_neutral(_PAID, "schema.fields.bounds schema.fields.categories"),
    "schema.fields.confirmed": Setting(
        "a domain read from the data is public only if a person says so", _confirmed
    ),
    "schema.fields.identifier": Setting("lets a column through that looks like an identifier", _identifiers),
    "schema.rules": Setting("rules are public and hold in what is drawn; no record is asked"),
    **_neutral(_DOMAIN, "schema.images.file schema.images.channels schema.images.bits schema.images.fit"),
    **_neutral(_DOMAIN, "schema.images.size schema.images.dicom.attributes schema.images.dicom.window"),
    **_neutral(
        "selects files by their own header, so that each patient's contribution is that patient's own",
        "schema.images.dicom.modality schema.images.dicom.view schema.images.dicom.body_part "
        "schema.images.dicom.frames",
    ),
    "schema.others": Setting(
        "drops columns that the schema does not name before anything is learnt from them"
    ),
    "schema.images.most_left_out": Setting(
        "allows more images to be left out than usual: the cohort is another than the declared one", _left_out
    ),
    "schema.images.dicom.screened": Setting("text in pixels may be a name", _screened),
    # The generators: every option of every one of them.
    **_neutral(
        "divides the same budget between parts of the mechanism",
        "generator.share generator.share_one generator.share_role generator.share_select "
        "generator.share_votes generator.share_centre generator.share_lengths "
        "generator.share_brightness generator.share_spectrum generator.share_steps "
        "generator.groups.share",
    ),
    **_neutral(
        _FORM,
        "generator.name generator.method generator.rounds generator.cliques generator.most_cells "
        "generator.max_cells generator.weights.pair generator.weights.protected "
        "generator.weights.label_triple generator.weights.protected_triple generator.votes "
        "generator.patients_per_teacher generator.features generator.steps generator.batch "
        "generator.draws generator.cosines generator.power generator.cells generator.cut "
        "generator.trained generator.critic_steps",
    ),
    **_neutral(
        "concerns the network and its optimiser; what a patient contributes is clipped and noised alike",
        "generator.width generator.blocks generator.critic_width generator.hidden "
        "generator.latent generator.components generator.learning_rate generator.critic_rate "
        "generator.generator_rate generator.rate generator.dropout generator.ema_decay "
        "generator.adversarial generator.generator_steps generator.pull generator.penalty "
        "generator.pair_penalty generator.last_steps generator.hold generator.hold_spectrum "
        "generator.iterations generator.pretraining generator.resample generator.seed",
    ),
    **_neutral(
        "concerns what is drawn from paid statistics",
        "generator.augment generator.refill generator.strength generator.calls generator.guidance "
        "generator.candidates",
    ),
    "generator.attributes": Setting(
        "names the table generator of the attributes, whose options stand here too"
    ),
    "generator.prior": Setting("names families of procedural images, which are public and see no record"),
    "generator.device": Setting("says where is computed; the record's randomness names what a GPU changes"),
    # What is no key: how the run went.
    "rehearsal": Setting("reads no patient, and its figures are of none", _rehearsal),
    "run.anyway": Setting("the evidence is known to be too thin before anything is spent", _anyway),
    "run.changes": Setting("a choice made after a look at the figures can be made to please", _changed),
    "run.attempts": Setting("a lost draw is drawn again and charged again", _attempts),
    "run.ledger": Setting(
        "a ledger composes what it holds, and nothing that was released without it", _afresh
    ),
    "run.caps": Setting("a cap that is raised after a spend bounds less than was announced", _caps),
    "run.disjoint": Setting(
        "cohorts declared disjoint compose in parallel; a wrong answer hides spends", _disjoint
    ),
    "run.units": Setting("a declared unit is not proven by what was recorded when it was spent", _units),
}
