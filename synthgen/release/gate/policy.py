"""What the gate holds a release to: thresholds with their sources, read from a file.

A policy is data. The shipped ``default`` has no outside authority where its sources say "our policy";
a hospital may write its own file with the same keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from pydantic import Field as Key
from pydantic import model_validator

from synthgen.errors import ConfigError
from synthgen.evaluation.catalogue import metric_names
from synthgen.files import yaml_file
from synthgen.settings import Settings

Harm = Literal["above", "below", "outside"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$"
WORDS = {"above": "at most", "below": "at least", "outside": "within plus or minus"}


class Rule(Settings):
    """One threshold.

    Attributes:
        metric: the metric's file name.
        key: one of its estimates; exactly one of ``key`` and ``groups`` is given.
        groups: one of its groupings: the rule holds for every group.
        title: what is judged, in words.
        harm: on which side of the threshold harm lies; ``outside`` is beyond plus or minus the threshold.
        threshold: where harm begins; None if the rule only warns.
        warn: where a warning begins, on the point estimate.
        harmless: the figure without any harm, such as 1 of a ratio; None is 0 where that is no harm, else the
            threshold. What proves harm at 95 % must be told from it among all comparisons of the head.
        passes: ``harm-excluded`` passes if the 95 % interval holds no harm; ``harm-unproven`` passes if it
            is not all harm, or no more than chance makes of so many comparisons.
        unproven: what it means if the 95 % interval holds harm and its absence.
        missing: what it means if there is no answer.
        decides: whether the rule counts as an answer of its head; a head without any cannot be signed.
        source: where the threshold comes from.
    """

    metric: str
    key: str | None = None
    groups: str | None = None
    title: str
    harm: Harm
    threshold: float | None = None
    warn: float | None = None
    harmless: float | None = None
    passes: Literal["harm-excluded", "harm-unproven"] = "harm-excluded"
    unproven: Literal["cannot-sign", "warn"] = "cannot-sign"
    missing: Literal["cannot-sign", "warn", "silent"] = "warn"
    decides: bool = False
    source: str = Key(min_length=1)

    @model_validator(mode="after")
    def _agree(self) -> Rule:
        if (self.key is None) == (self.groups is None):
            raise ValueError("a rule names either a key or groups")
        if self.threshold is None and self.warn is None:
            raise ValueError("a rule needs a threshold, or warn")
        if self.harm == "outside" and self.threshold is not None and self.threshold <= 0:
            raise ValueError("harm: outside needs a threshold above 0")
        if self.harmless is not None and self.is_harm(self.harmless):
            raise ValueError("harmless lies where the threshold says that harm is")
        return self

    def is_harm(self, value: float) -> bool:
        """Return whether a figure lies beyond the threshold."""
        if self.threshold is None:
            return False
        if self.harm == "outside":
            return abs(value) > self.threshold
        return value > self.threshold if self.harm == "above" else value < self.threshold

    @property
    def ideal(self) -> float:
        """The figure of a release without any harm."""
        if self.harmless is not None:
            return self.harmless
        return float(self.threshold or 0.0) if self.is_harm(0.0) else 0.0

    @property
    def name(self) -> str:
        """``<metric>.<key>``, as reasons and reports name it."""
        return f"{self.metric}.{self.key or self.groups}"

    @property
    def head(self) -> str:
        """The head of its metric."""
        return self.metric.partition("_")[0]

    @property
    def words(self) -> str:
        """The bound in words, for the report."""
        return ", ".join(part for part in (self.bound, self.warning) if part)

    @property
    def bound(self) -> str:
        """The threshold in words; empty if the rule only warns."""
        return "" if self.threshold is None else f"{WORDS[self.harm]} {self.threshold:.4g}"

    @property
    def warning(self) -> str:
        """Where the rule warns, in words; empty if it does not."""
        side = "below" if self.harm == "below" else "above"
        return "" if self.warn is None else f"warns {side} {self.warn:.4g}"


class Policy(Settings):
    """A named set of rules.

    Attributes:
        name: its name, of plain letters, so that none looks like another.
        title: what it is for.
        wrongful_refusal: largest probability that a release without any harm is refused, over all rules.
        wrongful_doubt: largest probability that a release without any harm cannot be signed because a rule
            that passes, or only warns, unless harm is proven finds it at 95 %, over all such rules.
        most_looks: looks at a cohort's holdout, over all its runs, beyond which another is refused; None
            allows any number. Each fit is charged in full either way, whatever its verdict.
        rules: the thresholds.
    """

    name: str = Key(pattern=NAME)
    title: str
    wrongful_refusal: float = Key(gt=0, lt=0.5)
    wrongful_doubt: float = Key(default=0.02, gt=0, lt=0.5)
    most_looks: int | None = Key(default=None, ge=1)
    rules: tuple[Rule, ...] = Key(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Policy:
        known = metric_names()
        unknown = sorted({rule.metric for rule in self.rules} - set(known))
        if unknown:
            raise ValueError(f"rules name the metrics {unknown}, expected some of {known}")
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("two rules judge the same figure")
        return self

    @property
    def residual_risk(self) -> float | None:
        """The loosest bound on an attack's advantage, or None if the policy bounds none."""
        bounds = [
            rule.threshold for rule in self.rules if rule.key == "advantage" and rule.threshold is not None
        ]
        return max(bounds, default=None)

    @property
    def digest(self) -> str:
        """SHA-256 of all rules, in hex: layout and comments of the file do not matter."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def thresholds(self) -> dict[str, str]:
        """Return each rule's bound in words, by ``<metric>.<key>``."""
        return {rule.name: rule.words for rule in self.rules}

    def margins(self) -> Mapping[str, tuple[float, ...]]:
        """Return the bounds of the rules over groups, or where they warn, by ``<metric>.<groups>``."""
        found: dict[str, tuple[float, ...]] = {}
        for rule in self.rules:
            bound = rule.threshold if rule.threshold is not None else rule.warn
            if rule.groups is not None and bound is not None:
                found[rule.name] = (-bound, bound) if rule.harm == "outside" else (bound,)
        return found


def load_policy(name_or_path: str | Path) -> Policy:
    """Read a shipped policy by name, or a policy file by path.

    Raises:
        ConfigError: there is no such policy, the file is wrong, with its line, or it takes the name of a
            shipped policy for other rules.
    """
    text = str(name_or_path)
    known = shipped_names()
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")) or "/" in text:
        policy = _read(Path(name_or_path))
        if policy.name.casefold().strip() in known and not is_shipped(policy):
            raise ConfigError(
                f"Expected another name of a policy with rules of its own, got {policy.name!r}, which is the "
                "name of a shipped one.",
                where=str(name_or_path),
                next_step="Give the policy another `name`; reports and records show it.",
            )
        return policy
    if text not in known:
        raise ConfigError(
            f"Expected one of the shipped policies {known} or a path to a .yaml file, got another name.",
            next_step="Correct `release.policy`.",
        )
    return _of_package(text)


def shipped_names() -> list[str]:
    """Return the names of the policies of the package."""
    return sorted(Path(item.name).stem for item in _shipped().iterdir() if item.name.endswith(".yaml"))


def is_shipped(policy: Policy) -> bool:
    """Return whether a policy has name and rules of a policy of the package."""
    return policy.name in shipped_names() and policy.digest == load_policy(policy.name).digest


def _shipped() -> Traversable:
    return resources.files("synthgen.release") / "policies"


@cache
def _of_package(name: str) -> Policy:
    with resources.as_file(_shipped() / f"{name}.yaml") as path:
        return _read(path)


def _read(path: Path) -> Policy:
    return yaml_file.parse(Policy, yaml_file.read(path), path=path)
