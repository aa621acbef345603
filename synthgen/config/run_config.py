"""A run's config: one section a stage, read once, with every path resolved and every option checked.

Configs are data: generators are chosen by name, and no key names code. Relative paths start from
the file that names them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from synthgen import plugins
from synthgen.config.data_section import PARQUET, DataSection, require_formats, sized
from synthgen.errors import ConfigError
from synthgen.files import yaml_file
from synthgen.files.json_file import read_bytes
from synthgen.schema.file_dialect import Formulas
from synthgen.schema.schema import Schema, load_schema
from synthgen.settings import Settings

if TYPE_CHECKING:
    from synthgen.privacy.ledger.ledger import Ledger

GENERATORS = "synthgen.generators"
Kind = Literal["tabular", "imaging"]
Format = Literal["csv", "parquet", "dicom"]
AUTO = {"name": "auto"}
CONFIG, SCHEMA, POLICY = "config.yaml", "schema.yaml", "policy."
"""Names of the copies in a run; a policy keeps its own name after the prefix."""
FILL_IN = "FILL_IN"
"""What a drafted config says where only a person knows the value."""
SECTION = "Name the section first, such as budget.epsilon=1."


class BudgetSection(Settings):
    """What may be spent. All public.

    Attributes:
        ledger: URL of the organisation's ledger. None is a file of this cohort alone, next to the config: see
            `own_ledger`.
        epsilon: of this fit, at ``delta``.
        delta: probability of failure.
        patients: declared number of patients of the cohort; without it they are counted, and the
            record says that the cohort's size is not protected.
        preprocessing: part of it, as zCDP's rho, for what the schema marks as paid.
    """

    ledger: str | None = Field(default=None, min_length=1)
    epsilon: float = Field(gt=0, le=1000)
    delta: float = Field(gt=0, lt=1)
    patients: int | None = Field(default=None, ge=1, le=10**10)
    preprocessing: float | None = Field(default=None, gt=0, lt=1)

    @field_validator("ledger")
    @classmethod
    def _plain_ledger(cls, url: str | None) -> str | None:
        from synthgen.privacy.ledger.location import without_password

        try:
            return url if url is None else without_password(url)
        except ConfigError as error:  # it becomes one with the line of the config
            raise ValueError(f"{error.message} {error.next_step}") from None


class SampleSection(Settings):
    """How many records, of linked ones patients, are drawn; without a number, as many as patients train."""

    records: int | None = Field(default=None, ge=0, le=10**9)


class EvaluateSection(Settings):
    """How the release is judged. Without this section nothing is held out and nothing can be signed.

    Attributes:
        holdout: part of the patients that is held out.
        target: label column that utility is measured on.
        groups: protected columns.
        canaries: fabricated patients in the twin fit of the audit; 0 for no audit; None follows a public
            rule (`synthgen.pipeline.audit`).
    """

    holdout: float = Field(default=0.2, gt=0, lt=0.9)
    target: str | None = None
    groups: tuple[str, ...] | None = None
    canaries: int | None = Field(default=None, ge=0, le=100_000)


class ReleaseSection(Settings):
    """How the release is decided and written.

    Attributes:
        policy: name of a shipped policy, or path of a file.
        formats: files of the release; ``dicom`` is written next to the bundle, for images. None is the
            input's own format: see `formats_of`.
        csv_formulas: whether text files keep cells and headers that a spreadsheet would run as formulas, or
            escape them with an apostrophe (`synthgen.schema.file_dialect.escaped`).
    """

    policy: str = "default"
    formats: tuple[Format, ...] | None = Field(default=None, min_length=1)
    csv_formulas: Formulas = "keep"


class RunConfig(Settings):
    """A whole run.

    Attributes:
        cohort: the ledger's name for these patients.
        rehearsal: the table was made by ``synthgen schema simulate``, which is checked; the run books into a
            ledger of its own, and nothing of it can be released.
        seed: of initial weights and of what is drawn in the open.
        data: what goes in.
        budget: what may be spent.
        generator: its name and options.
        sample: how much is drawn.
        evaluate: how the release is judged; None holds nothing out.
        release: how it is decided and written.
    """

    cohort: str = Field(min_length=1, max_length=200)
    rehearsal: bool = False
    seed: int = Field(default=0, ge=0, lt=2**63)
    data: DataSection
    budget: BudgetSection
    generator: dict[str, Any] = Field(default_factory=AUTO.copy)
    sample: SampleSection = SampleSection()
    evaluate: EvaluateSection | None = None
    release: ReleaseSection = ReleaseSection()


@dataclass(frozen=True)
class ResolvedConfig:
    """A config with all that it names.

    Attributes:
        config: the config.
        path: its file.
        schema: the table's schema, complete.
        generator: the generator's own settings (see `synthgen.generators.base.TableConfig`).
        table: resolved path of the table, or of the images.
        policy: name of a shipped policy, or resolved path of a file.
        digest: SHA-256 over all that fixes the fit, with schema and version: the run folder belongs to it.
        choices: what follows the fit, by key of the config: it can be changed later without a new spend.
        named_ledger: URL of the ledger that the operator named instead of the config's.
        ledger_is_named: whether the operator named the ledger himself, there or with ``--set``.
        files: the files that were read, by the name of their copy in a run.
    """

    config: RunConfig
    path: Path
    schema: Schema
    generator: Any
    table: Path
    policy: str
    digest: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    named_ledger: str | None = None
    ledger_is_named: bool = False
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def ledger(self) -> str:
        """URL of the ledger: the operator's, the config's, or the cohort's own."""
        return self.named_ledger or self.config.budget.ledger or own_ledger(self.config.cohort)

    def open_ledger(self, *, create: bool) -> Ledger:
        """Open the ledger. A server is one that the operator named, on the command line or in his settings.

        Raises:
            SynthgenError: see `synthgen.privacy.ledger.ledger.Ledger.connect`.
        """
        from synthgen.privacy.ledger.ledger import Ledger

        return Ledger.connect(self.ledger, base=self.base, create=create, named=self.ledger_is_named)

    @property
    def base(self) -> Path:
        """Folder that relative paths start from."""
        return self.path.parent

    @property
    def sources(self) -> tuple[Path, ...]:
        """All that is read: the table; or the images, and the tables that are named beside them."""
        images = self.config.data.images
        named = () if images is None else (images.table, images.patients)
        return (self.table, *(self.base / name for name in named if name is not None))


def load_config(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    copies: Path | None = None,
    ledger: str | None = None,
    ledger_is_named: bool | None = None,
) -> ResolvedConfig:
    """Read a config, its schema, and its generator's settings.

    Args:
        path: YAML 1.2 file.
        overrides: ``a.b=value`` texts that replace keys; values are read as YAML.
        copies: folder of a run with copies of config, schema and policy, which are read instead.
        ledger: URL that the operator named instead of the config's.
        ledger_is_named: whether the operator gave the ledger's URL himself; None if the overrides are his.

    Raises:
        ConfigError: with path, key and line of the first problem.
    """
    path = Path(path).resolve()
    files = {CONFIG: path} if copies is None else {CONFIG: copies / CONFIG}
    document = yaml_file.read(files[CONFIG])
    _override(document, overrides)
    _require_filled_in(document, path)
    config = yaml_file.parse(RunConfig, document, path=path)
    files[SCHEMA] = path.parent / config.data.source.schema_path if copies is None else copies / SCHEMA
    schema_path = files[SCHEMA]
    schema = sized(load_schema(schema_path, unpaid=True), config.data.images, where=str(schema_path))
    if Path(config.data.source.path).suffix.lower() not in PARQUET:
        schema = schema.with_date_format(config.data.source.date_format, where=str(path))
    require_share(config.budget, schema, where=str(path))
    require_formats(formats_of(config), schema, where=str(path))
    _require_columns(config, schema, path, document)
    policy = config.release.policy
    if Path(policy).suffix in (".yaml", ".yml"):
        name = f"{POLICY}{Path(policy).name}"
        files[name] = path.parent / policy if copies is None else copies / name
        policy = str(files[name])
    policy = "images" if policy == "default" and schema.images is not None else policy
    kind: Kind = "tabular" if schema.images is None else "imaging"
    generator = generator_settings(document.get("generator", config.generator), path=path, modality=kind)
    digest = _digest(config, schema, generator)
    table = path.parent / config.data.source.path
    if ledger_is_named is None:
        ledger_is_named = any(text.partition("=")[0] in ("budget", "budget.ledger") for text in overrides)
    return ResolvedConfig(
        config=config,
        path=path,
        schema=schema,
        generator=generator,
        table=table,
        policy=policy,
        digest=digest,
        choices=_choices(config, policy),
        named_ledger=ledger,
        ledger_is_named=ledger_is_named or ledger is not None,
        files=files,
    )


def own_ledger(cohort: str) -> str:
    """Return the URL of a cohort's own ledger: a file named after it.

    Example:
        >>> own_ledger("icu-2024"), own_ledger("ward/7")
        ('sqlite:///ledger_icu-2024.db', 'sqlite:///ledger_ward_7-aae8d949.db')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", cohort)[:80]
    if plain != cohort:
        plain += f"-{hashlib.sha256(cohort.encode()).hexdigest()[:8]}"
    return f"sqlite:///ledger_{plain}.db"


def generator_settings(
    options: Mapping[str, Any], *, path: Path = Path("generator"), modality: Kind = "tabular"
) -> Any:
    """Return the settings of the generator that ``options`` names.

    Args:
        options: its section of the config.
        path: the config, for messages.
        modality: what it generates.

    Raises:
        ConfigError: unknown generator or option.
    """
    name, known = options.get("name"), plugins.names(f"{GENERATORS}.{modality}")
    if name not in known:
        line = yaml_file.line_of(options, ("name",))
        raise ConfigError(
            f"generator.name: expected one of {known}, got another name.",
            where=f"{path}:{line}" if line else str(path),
            next_step="Correct the name.",
        )
    module = plugins.load(f"{GENERATORS}.{modality}", name)
    return yaml_file.parse(module.Config, options, path=path, at=("generator",))


def require_share(budget: BudgetSection, schema: Schema, *, where: str) -> None:
    """Refuse a share without anything to pay for, and anything to pay for without a share.

    Raises:
        ConfigError: names the columns.
    """
    names = [field.name for field in schema.paid]
    declared = [field.name for field in schema.paid if not field.unpaid]
    if declared:
        raise ConfigError(
            f"Expected domains that are declared or paid, got both in {declared}.",
            where=where,
            next_step="Remove `paid` where the domain is public or paid for already, or remove the domain.",
        )
    if names and budget.preprocessing is None:
        raise ConfigError(
            f"budget.preprocessing: expected a share of the budget, since {names} are paid, found none.",
            where=where,
            next_step="Add `preprocessing: 0.1` to budget, or declare these domains from public sources.",
        )
    if names and schema.unit.level == "row":
        raise ConfigError(
            f"Expected a patient's id as unit, since {names} are paid, got `unit: row`.",
            where=where,
            next_step="Name the unit's column; the parts of nameless rows would follow from what is paid.",
        )
    if budget.preprocessing is not None and not names:
        raise ConfigError(
            "budget.preprocessing: expected a column with `bounds: paid` or `categories: paid`, found none.",
            where=where,
            next_step="Remove the share; it would buy nothing.",
        )


def holdout_of(config: RunConfig) -> float:
    """Return the part of the patients that is held out; 0 without an evaluation."""
    return config.evaluate.holdout if config.evaluate else 0.0


def formats_of(config: RunConfig) -> tuple[Format, ...]:
    """Return the formats that are written: the config's; else Parquet for Parquet, and CSV for other input.

    Of images, the input is the table of attributes that the config names.
    """
    if config.release.formats is not None:
        return config.release.formats
    table, images = config.data.table, config.data.images
    named = table.path if table is not None else (images.table if images is not None else None)
    return ("parquet",) if Path(named or "").suffix.lower() in PARQUET else ("csv",)


def tables_of(config: RunConfig) -> tuple[Format, ...]:
    """Return the formats of tables that are written; a table of images goes beside any DICOM files as CSV."""
    return tuple(kind for kind in formats_of(config) if kind != "dicom") or ("csv",)


def groups_of(config: RunConfig, schema: Schema) -> tuple[str, ...]:
    """Return the protected columns that the evaluation looks at."""
    named = config.evaluate.groups if config.evaluate else None
    return schema.with_role("protected") if named is None else named


def target_of(config: RunConfig, schema: Schema) -> str | None:
    """Return the label column that utility is measured on."""
    named = config.evaluate.target if config.evaluate else None
    labels = schema.with_role("label")
    return named or (labels[0] if labels else None)


def _require_columns(config: RunConfig, schema: Schema, path: Path, document: Any) -> None:
    """Refuse a group that is a date, or a target that is no column, with the line that names it."""
    if config.evaluate is None:
        return
    kinds = {c.name: "date" if c.field.is_moment else c.kind for c in schema.columns}
    asked = [("groups", name) for name in groups_of(config, schema)]
    for key, name in (*asked, ("target", target_of(config, schema))):
        usable = [n for n, kind in kinds.items() if kind != "date" or key == "target"]
        if name is not None and name not in usable:
            line = yaml_file.line_of(document, ("evaluate", key))
            raise ConfigError(
                f"evaluate.{key}: expected one of {usable}, "
                f"got {f'the date {name!r}' if name in kinds else 'another name'}.",
                where=f"{path}:{line}" if line else str(path),
                next_step="Name one of these columns, or leave it out.",
            )


def _require_filled_in(document: Any, path: Path) -> None:
    """Refuse a drafted config in which a person has still to fill in something, and list all of it."""
    if not isinstance(document, dict):
        return
    places: list[tuple[str, ...]] = [(str(key),) for key in document]
    open_keys: list[tuple[str, ...]] = []
    while places:
        place = places.pop()
        node: Any = document
        for key in place:
            node = node[key]
        if isinstance(node, dict):
            places += [(*place, str(key)) for key in node if isinstance(key, str)]
        elif node == FILL_IN:
            open_keys.append(place)
    if open_keys:
        lines = {place: yaml_file.line_of(document, place) or 0 for place in open_keys}
        ordered = sorted(open_keys, key=lambda place: lines[place])
        names = ", ".join(f"{'.'.join(place)} (line {lines[place]})" for place in ordered)
        raise ConfigError(
            f"Expected values in place of {FILL_IN}, got none for {names}.",
            where=f"{path}:{lines[ordered[0]]}",
            next_step="Fill them in; the comment on each line says what they are.",
        )


def _override(document: Any, overrides: Sequence[str]) -> None:
    for text in overrides:
        keys, sign, value = text.partition("=")
        parts = keys.split(".")
        if not sign or not all(parts):
            raise ConfigError(
                "Expected --set a.b=value.", where="--set", next_step="Name the key, then its value."
            )
        node = document
        for part in parts[:-1]:
            if not isinstance(node, dict):
                raise ConfigError(f"{keys}: expected the key of a section.", where="--set", next_step=SECTION)
            node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{keys}: expected the key of a section.", where="--set", next_step=SECTION)
        try:
            node[parts[-1]] = yaml_file.value(value, where="--set")
        except ConfigError:
            step = "Quote a text that holds brackets or a colon."
            raise ConfigError(
                f"{keys}: expected a YAML value, got other text.", where="--set", next_step=step
            ) from None


FOLLOWING = {"sample": None, "release": None, "evaluate": ("target", "groups")}
"""What follows the fit: sections of the config, or keys of one. All else fixes the fit."""


def _digest(config: RunConfig, schema: Schema, generator: Any) -> str:
    """Return the hash of all that fixes the fit. Keys at their defaults do not count: new ones can come."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("synthgen-medical")
    except PackageNotFoundError:
        release = "not installed"
    fixed = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    fixed.pop("generator", None)
    for section, keys in FOLLOWING.items():
        if keys is None:
            fixed.pop(section, None)
    if config.evaluate is not None:
        asked = config.evaluate.canaries  # the audit is made once: it cannot be repeated until it pleases
        fixed["evaluate"] = {
            "holdout": config.evaluate.holdout,
            **({} if asked is None else {"canaries": asked}),
        }
    content = {
        "config": fixed,
        "generator": generator.model_dump(mode="json"),
        "schema": schema.digest(),
        "version": release,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _choices(config: RunConfig, policy: str) -> dict[str, Any]:
    """Return what follows the fit by its key, as JSON values; a policy's file with its hash."""
    shown = policy
    if Path(policy).suffix in (".yaml", ".yml") and Path(policy).is_file():
        content = hashlib.sha256(read_bytes(Path(policy), "config_bytes")).hexdigest()
        shown = f"{Path(policy).name.removeprefix(POLICY)} {content[:12]}"
    found: dict[str, Any] = {
        "sample.records": config.sample.records,
        "release.formats": list(formats_of(config)),
        "release.policy": shown,
        # Runs of versions without this choice kept formulas.
        **({} if config.release.csv_formulas == "keep" else {"release.csv_formulas": "escape"}),
    }
    if config.evaluate is not None:
        section = config.evaluate.model_dump(mode="json")
        found |= {f"evaluate.{key}": section[key] for key in FOLLOWING["evaluate"] or ()}
    return found
