"""What is known of a run before anything is spent: whether its release could be signed, and whether it fits.

Config, schema, declared sizes, the policy, the ledger's totals and this machine decide; no record is read.
What `plan` lists here stops `run` and `fit` before the reservation, unless somebody goes on `--anyway`, which
the privacy record then says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthgen import plugins
from synthgen.config.run_config import ResolvedConfig, formats_of, groups_of, holdout_of, target_of
from synthgen.errors import ConfigError, SynthgenError
from synthgen.evaluation.expected_power import Declared
from synthgen.generators.base import memory_of
from synthgen.generators.longitudinal.model import for_schema
from synthgen.machine.resources import available_memory, free_disk
from synthgen.pipeline.rehearsal import is_simulated
from synthgen.privacy.accountant import PrivacyFilter
from synthgen.privacy.ledger.ledger import Spend
from synthgen.privacy.plan import PrivacyPlan
from synthgen.release.export.dicom import unwritable
from synthgen.release.forecast import Hindrance, Power, forecast, needed_patients
from synthgen.release.gate.policy import Policy, load_policy

HOLDOUTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
LIKELY = 0.9
"""Chance of a perfect generator to be signed below which a person is warned: our own choice."""
MEMORY_SHARE = 0.95
"""Part of the available memory that a run may be estimated to need."""
RUN_GIB, BYTES_PER_CELL = 0.3, 60.0
"""Disk that reports, journal and model take, and a cell of a table in all its formats."""
ANYWAY = "Change that, or go on with --anyway, which the privacy record will say."


@dataclass(frozen=True)
class Outlook:
    """What is known before a run.

    Attributes:
        hindrances: why the release could not be signed, or the run not end; empty if nothing is known.
        chance: probability that a perfect generator would be signed; None if the patients are not declared.
        memory: GiB that the run is estimated to need at most; None if its generator does not say.
        notices: what a person should know, and what stops nothing.
        gates: what each gate can tell at the declared sizes; empty if they are not declared.
    """

    hindrances: tuple[Hindrance, ...]
    chance: float | None
    memory: float | None
    notices: tuple[str, ...] = ()
    gates: tuple[Power, ...] = ()


def outlook(loaded: ResolvedConfig, plan: PrivacyPlan, *, output: Path | None = None) -> Outlook:
    """Return what is known before a run.

    Args:
        loaded: its config.
        plan: its plan.
        output: the run's folder; None if it is not chosen.
    """
    policy = load_policy(loaded.policy)
    spent, looks, notices = _of_ledger(loaded)
    found: list[Hindrance] = []
    chance = None
    gates: tuple[Power, ...] = ()
    if loaded.config.rehearsal:
        notices.append("A rehearsal: it books into a ledger of its own, and nothing of it can be released.")
    else:
        forecasts, chance, holdouts, gates = _signable(loaded, plan, policy, spent, looks)
        found += forecasts
        if not found and chance is not None and chance < LIKELY:
            notices.append(_risk(chance, holdouts))
    cohort = loaded.config.budget.patients or plan.patients
    memory = memory_of(for_schema(loaded.generator, loaded.schema), loaded.schema, cohort)
    found += _machine(loaded, plan, memory, output)
    if loaded.config.data.table is not None and not loaded.table.exists():
        notices.append("There is no file at data.table.path yet: a plan needs none, `run` and `fit` do.")
    return Outlook(tuple(found), chance, memory, tuple(notices), gates)


def require_signable(loaded: ResolvedConfig, seen: Outlook) -> None:
    """Refuse a run whose release is known to be unsignable, before anything is reserved.

    Raises:
        ConfigError: names every reason with what to do.
    """
    found = seen.hindrances
    if not found:
        return
    listed = " ".join(f"({i + 1}) {one.because} {one.do}".rstrip() for i, one in enumerate(found))
    raise ConfigError(
        f"Expected a run whose release can be signed, but {'this is' if len(found) == 1 else 'these are'} "
        f"known beforehand: {listed}",
        where=str(loaded.path),
        next_step=f"Nothing was spent. {ANYWAY}",
    )


def _signable(
    loaded: ResolvedConfig, plan: PrivacyPlan, policy: Policy, spent: Spend | None, looks: int
) -> tuple[list[Hindrance], float | None, dict[float, float], tuple[Power, ...]]:
    """Return why the gate could not sign, a perfect generator's chance, by larger holdouts, and powers."""
    found = [Hindrance(why, "Correct release.formats.") for why in _formats(loaded)]
    if loaded.config.evaluate is None:
        because = "Nothing is held out, so nothing can be evaluated."
        return [*found, Hindrance(because, "Add `evaluate: {holdout: 0.2}` to the config.")], 0.0, {}, ()
    if policy.most_looks is not None and looks >= policy.most_looks:
        because = f"The policy allows {policy.most_looks} looks at the holdout, and there were {looks}."
        found.append(Hindrance(because, "Release what was evaluated, or let the steward change the policy."))
    patients = loaded.config.budget.patients
    if patients is None:
        return found, None, {}, ()
    share = holdout_of(loaded.config)
    epsilon = plan.epsilon if spent is None or not spent.entries else spent.cap

    def declared(n: int, held: float = share) -> Declared:
        train = max(1, round(n * (1 - held)))
        records = loaded.config.sample.records
        return Declared(
            schema=loaded.schema,
            train=train,
            reference=round(n * held / 2),
            holdout=round(n * held / 2),
            synthetic=train if records is None else records,
            target=target_of(loaded.config, loaded.schema),
            groups=groups_of(loaded.config, loaded.schema),
            epsilon=epsilon,
            looks=looks + 1,
        )

    seen = forecast(policy, declared(patients))
    unhelped = [one for one in seen.hindrances if not one.do]
    remedy = ""
    if unhelped:
        others = [h for h in HOLDOUTS if h > share and not forecast(policy, declared(patients, h)).hindrances]
        enough = needed_patients(policy, declared)
        ways = [f"evaluate.holdout: {others[0]}" if others else ""]
        ways.append(f"about {enough:,} patients with this holdout" if enough else "")
        told = " or ".join(way for way in ways if way)
        remedy = f"It takes {told}." if told else "More records in sample.records may do."
    found += [Hindrance(one.because, one.do or remedy) for one in seen.hindrances]
    larger = {}
    if not seen.hindrances and seen.chance < LIKELY:
        wider = {h: forecast(policy, declared(patients, h)) for h in HOLDOUTS if h > share}
        larger = {h: one.chance for h, one in wider.items() if not one.hindrances}
    return found, seen.chance, larger, seen.gates


def _risk(chance: float, holdouts: Mapping[float, float]) -> str:
    """Return that the spend may end without a signature, and the larger holdouts up to one that is enough."""
    better: list[str] = []
    for holdout, reached in holdouts.items():
        if reached > chance:
            better.append(f"{reached:.2f} with evaluate.holdout: {holdout}")
        if reached >= LIKELY:
            break
    ways = f"It is {', '.join(better)}, and fewer are left to learn from; m" if better else "M"
    return (
        f"Even a perfect generator would be signed with probability {chance:.2f} only, since few patients "
        f"test it, and what is spent does not come back. {ways}ore patients help too."
    )


def _formats(loaded: ResolvedConfig) -> list[str]:
    if "dicom" not in formats_of(loaded.config):
        return []
    why = unwritable(loaded.schema)
    return [why] if why else []


def _of_ledger(loaded: ResolvedConfig) -> tuple[Spend | None, int, list[str]]:
    """Return the cohort's spends and looks, if its ledger is there, and what to know of it."""
    if loaded.config.rehearsal:
        return None, 0, []
    notices = []
    if loaded.config.budget.ledger is None:
        notices.append(
            f"No ledger is named, so spends count in {loaded.ledger.removeprefix('sqlite:///')} for this "
            "cohort alone: what is released of the same patients under another name is not counted. "
            "Recommended: budget.ledger, one for the organisation."
        )
    if is_simulated(loaded.table):
        notices.append(
            "The table was made by `synthgen schema simulate`: `rehearsal: true` keeps it out of the ledger."
        )
    try:
        ledger = loaded.open_ledger(create=False)
        if loaded.config.cohort not in ledger.cohorts():
            others = ledger.cohorts()
            return None, 0, notices + _shared(others)
        spent = ledger.spent(loaded.config.cohort)
        looks = ledger.looks(loaded.config.cohort)
    except SynthgenError:
        return None, 0, notices
    return spent, looks, notices + _shared([name for name in spent.cohorts if name != loaded.config.cohort])


def _shared(others: Sequence[str]) -> list[str]:
    if not others:
        return []
    names = ", ".join(others[:5])
    return [
        f"The ledger counts this cohort together with {names}: their spends count against its cap, and its "
        "own against theirs. If they share no patient, declare it: synthgen ledger open COHORT "
        "--disjoint-from OTHER --reason TEXT."
    ]


def over_the_cap(loaded: ResolvedConfig, plan: PrivacyPlan) -> Hindrance | None:
    """Return that the ledger would refuse the plan, if it would; the reservation itself decides."""
    spent, _, _ = _of_ledger(loaded)
    if spent is None or not spent.entries:
        return None
    events = getattr(spent.event, "events", [spent.event])
    if PrivacyFilter(spent.cap, spent.delta).fits([*events, plan.event]):
        return None
    left = f"The cap of epsilon {spent.cap:g} leaves epsilon {spent.left:.3g}"
    needed = PrivacyFilter(spent.cap, spent.delta).enough([*events, plan.event])
    because = f"{left}, and this run needs {plan.epsilon:g}."
    steward = "let the steward raise the cap for a recorded reason"
    enough = "" if needed is None else f": epsilon {needed:g} would be enough"
    return Hindrance(because, f"Lower budget.epsilon, or {steward}{enough}.")


def _machine(
    loaded: ResolvedConfig, plan: PrivacyPlan, memory: float | None, output: Path | None
) -> list[Hindrance]:
    found = []
    free = available_memory()
    if memory is not None and free is not None and memory > MEMORY_SHARE * free:
        images = loaded.config.data.images
        smaller = "" if images is None else f", a smaller data.images.size than {images.size}"
        others = ", ".join(_smaller(loaded, plan, MEMORY_SHARE * free))
        use = f", or generator: {others}" if others else ""
        because = f"The run is estimated to need {memory:.2g} GiB of memory, and {free:.2g} GiB are free."
        found.append(Hindrance(because, f"Use a machine with more{smaller}{use}."))
    disk, space = _disk(loaded, plan), free_disk(output if output is not None else loaded.base)
    if space is not None and disk > space:
        because = f"The run is estimated to need {disk:.2g} GiB of disk, and {space:.2g} GiB are free."
        found.append(Hindrance(because, "Free some space, or choose another --output."))
    return found


def _smaller(loaded: ResolvedConfig, plan: PrivacyPlan, most: float) -> list[str]:
    """Return the generators that would fit, with their default settings."""
    package = f"synthgen.generators.{'tabular' if loaded.schema.images is None else 'imaging'}"
    fitting = []
    for name in plugins.names(package):
        module = plugins.load(package, name)
        memory = memory_of(module.Config(), loaded.schema, loaded.config.budget.patients or plan.patients)
        if name != "auto" and memory is not None and memory <= most:
            fitting.append(name)
    return fitting


def _disk(loaded: ResolvedConfig, plan: PrivacyPlan) -> float:
    """Return about how many GiB a run writes."""
    records = loaded.config.sample.records
    n = plan.patients if records is None else records
    if loaded.schema.unit.is_linked:
        n *= loaded.schema.unit.max_records
    size = n * len(loaded.schema.fields) * BYTES_PER_CELL
    if loaded.schema.images is not None:
        channels, rows, columns = loaded.schema.images.shape
        size += 2.0 * n * channels * rows * columns * loaded.schema.images.bits / 8
    return RUN_GIB + size / 2**30
