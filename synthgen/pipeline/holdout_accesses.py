"""Count how often the same holdout was evaluated, and say what differs from the first time.

Figures on a holdout are honest once. Whoever evaluates again with other groups, another target, policy or
seed chooses among answers, so each evaluation is numbered in a ledger before any figure is known: that of a
run's cohort, or for files a small one in the folder of the real table, or the one that ``--ledger`` names.
Inputs are known by a digest of their content, which neither the order of rows nor patients' names change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import ConfigError, GateRefused, OperationError
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.canonical_order import digests
from synthgen.evaluation.run import whole
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.ledger.location import without_password
from synthgen.release.gate.looser_policy import looser
from synthgen.release.gate.policy import Policy, is_shipped, load_policy
from synthgen.release.record.deviations import SHIPPED
from synthgen.release.record.record import software_versions
from synthgen.schema.schema import Schema

FILE = "evaluations.ledger.db"
"""The ledger in a real table's folder: SQLite, hash-chained, `synthgen ledger verify` reads it."""
SEED_DIGITS = 8
REAL = ("train", "holdout")
"""The parts by which inputs are known again."""


@dataclass(frozen=True)
class Basis:
    """What an evaluation rests on. Sensitive: digests are of real records.

    Attributes:
        inputs: SHA-256 by name: ``train``, ``holdout``, ``reference``, ``synthetic``, ``schema``.
        policy: the rules.
        seed: of all draws.
        given: whether a person chose the seed; else it follows from the real inputs.
        target: label column of utility, or None.
        groups: protected columns.
        of_images: whether the shipped policy of images is the usual one.
    """

    inputs: Mapping[str, str]
    policy: Policy
    seed: int
    given: bool
    target: str | None
    groups: tuple[str, ...]
    of_images: bool = False

    @property
    def looser(self) -> tuple[str, ...]:
        """Where the policy allows more than the shipped one, rule by rule."""
        return looser(self.policy, load_policy(SHIPPED[self.of_images]))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as evaluations print them."""
        return {
            "policy": {
                "name": self.policy.name,
                "sha256": self.policy.digest,
                "shipped": is_shipped(self.policy),
                "looser": list(self.looser),
            },
            "inputs": {
                "sha256": dict(self.inputs),
                "seed": self.seed,
                "seed_from": "given" if self.given else "inputs",
                "target": self.target,
                "groups": list(self.groups),
                "version": software_versions().get("synthgen-medical", "unknown"),
            },
        }

    def entry(self) -> dict[str, Any]:
        """Return what the ledger holds of it, flat."""
        return {
            "inputs": dict(self.inputs),
            "policy": self.policy.name,
            "policy_sha256": self.policy.digest,
            "seed": self.seed,
            "target": self.target,
            "groups": list(self.groups),
        }


@dataclass(frozen=True)
class Accesses:
    """How often these inputs were evaluated.

    Attributes:
        number: this time included; None if nobody could count.
        ledger: where it is counted, or empty.
        why_not: why nobody could count, or empty.
        changes: what differs from the first time: what, before, now.
    """

    number: int | None
    ledger: str = ""
    why_not: str = ""
    changes: tuple[Mapping[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "counted": self.number is not None,
            "number": self.number,
            "ledger": self.ledger or None,
            "reason": self.why_not or None,
            "changes": [dict(change) for change in self.changes],
        }


def input_digests(inputs: Inputs) -> dict[str, str]:
    """Return the digest of each table and of the schema.

    The holdout is all that nobody has fitted on; a reference that was drawn from it is no input.
    """
    parts = {"train": inputs.train, "holdout": whole(inputs).holdout}
    if not inputs.reference_of_cohort:
        parts["reference"] = inputs.reference
    found = digests({**parts, "synthetic": inputs.synthetic})
    return {**found, "schema": inputs.schema.public().digest()}


def seed_of(schema: Schema, real: Mapping[str, Any]) -> int:
    """Return the seed that real tables and schema fix, whatever the synthetic table: nobody chooses it."""
    text = "".join(f"{name}:{found};" for name, found in sorted(digests(real).items()))
    return int(hashlib.sha256((text + schema.public().digest()).encode()).hexdigest()[:SEED_DIGITS], 16)


def file_ledger(real: Path, url: str | None) -> tuple[Ledger | None, str, str]:
    """Open the ledger that counts evaluations of a table's file.

    Args:
        real: the table.
        url: the ledger that a person names; None is `FILE` in the table's folder.

    Returns:
        the ledger, where it is, and why there is none.

    Raises:
        ConfigError: the named ledger cannot be used.
        DataError: the ledger is damaged or edited.
    """
    if url is not None:
        return Ledger.connect(without_password(url), base=Path.cwd()), shown_place(url), ""
    path = real.resolve().parent / FILE
    try:
        return Ledger.connect(f"sqlite:///{path}"), str(real.parent / FILE), ""
    except (OperationError, ConfigError) as error:
        return None, "", f"The ledger in the folder of the real table cannot be written: {error.message}"


def shown_place(url: str) -> str:
    """Return a ledger's URL without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}".partition("?")[0]


def enter(ledger: Ledger | None, where: str, why_not: str, basis: Basis) -> Accesses:
    """Number an evaluation of files, before it is made.

    Raises:
        GateRefused: the policy allows no further one; there is no entry.
    """
    if ledger is None:
        return Accesses(None, why_not=why_not)

    def same(content: Mapping[str, Any]) -> bool:
        held = content.get("inputs", {})
        return any(held.get(name) == basis.inputs[name] for name in REAL)

    try:
        earlier = ledger.note_access(basis.entry(), same=same, most=basis.policy.most_looks)
    except OperationError as error:
        return Accesses(None, why_not=f"The ledger cannot be written: {error.message}")
    if earlier is None:
        raise refused(basis.policy, "these files")
    return Accesses(len(earlier) + 1, where, changes=changes(earlier, basis.entry()))


def refused(policy: Policy, whose: str) -> GateRefused:
    """Return the refusal of one access too many."""
    return GateRefused(
        f"Expected at most {policy.most_looks} looks at the holdout of {whose}, as the policy "
        f"{policy.name!r} allows, got another.",
        where="release.policy",
        next_step="Release what was judged, or let the steward change most_looks for a recorded reason.",
    )


def changes(earlier: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """Return what an evaluation is about that the first of the same inputs was not about.

    Args:
        earlier: contents of the entries of the same inputs, in order.
        now: content of the new entry.
    """
    known = [content for content in earlier if "inputs" in content]
    if not known:
        return ()
    first, inputs = known[0], {"train": "training table", "holdout": "holdout", "schema": "schema"}
    inputs["reference"] = "reference"
    pairs = [("target", first["target"], now["target"]), ("groups", first["groups"], now["groups"])]
    pairs += [("policy", _policy(first), _policy(now)), ("seed", first["seed"], now["seed"])]
    pairs += [
        (word, _short(first["inputs"].get(name)), _short(now["inputs"].get(name)))
        for name, word in inputs.items()
    ]
    return tuple(
        {"what": what, "before": _said(before), "now": _said(after)}
        for what, before, after in pairs
        if before != after
    )


def _policy(content: Mapping[str, Any]) -> str:
    return f"{content['policy']} ({_short(content['policy_sha256'])})"


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]


def _said(value: object) -> str:
    if isinstance(value, str | None):
        return value or "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, Iterable) else str(value)
