"""What image generators share: attributes first, by a table generator with its part of the budget.

The label, the protected attributes and all other columns are drawn by a table generator; pixels are drawn
given them. Its plan and that of the pixels are composed into one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from dp_accounting import dp_event
from pydantic import Field, ValidationError, model_validator

from synthgen import plugins
from synthgen.data.images import RealImages
from synthgen.files.safe_files import make_folders
from synthgen.generators import model_files
from synthgen.generators.base import Progress, TableConfig, TableModel
from synthgen.generators.model_files import write_name
from synthgen.privacy.accountant import calibrate_rho, epsilon_of_rho, from_json, get_epsilon, to_json
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

TABLES = "synthgen.generators.tabular"
SHARE_COLUMN, SHARE_MOST = 0.03, 0.2
KEY, NAME = "attributes", "generator.json"


class ImagingSettings(Settings):
    """Settings of every image generator.

    Attributes:
        attributes: the table generator's name, its options, and ``share``: its part of rho. Without a share
            it is `SHARE_COLUMN` a column, at most `SHARE_MOST`: a public rule.
    """

    attributes: dict[str, Any] = Field(default_factory=lambda: {"name": "marginal"})

    @model_validator(mode="after")
    def _readable(self) -> ImagingSettings:
        share = self.attributes.get("share", SHARE_MOST)
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
            raise ValueError("attributes.share: expected a number above 0 and below 1")
        known = plugins.names(TABLES)
        if self.attributes.get("name") not in known:
            raise ValueError(f"attributes.name: expected one of {known}, got another name")
        try:
            self.table_config()
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            at = ".".join(str(part) for part in ("attributes", *first["loc"]))
            raise ValueError(f"{at}: {first['msg']}") from None
        return self

    def table_config(self) -> TableConfig:
        """Return the settings of the table generator."""
        options = {key: value for key, value in self.attributes.items() if key != "share"}
        module = plugins.load(TABLES, str(options["name"]))
        return cast(TableConfig, module.Config.model_validate_json(json.dumps(options)))

    def share(self, schema: Schema) -> float:
        """Return the table generator's part of rho."""
        default = min(SHARE_MOST, SHARE_COLUMN * len(schema.columns))
        return float(self.attributes.get("share", default))


def with_attributes(
    settings: ImagingSettings,
    schema: Schema,
    make: Callable[[float], PrivacyPlan],
    *,
    epsilon: float,
    delta: float,
    patients: int,
) -> PrivacyPlan:
    """Return the plan of attributes and pixels together. Reads no record.

    Args:
        settings: the image generator's.
        schema: the cohort's public description.
        make: the pixels' plan of an epsilon, at ``delta``.
        epsilon: of both together, at ``delta``.
        delta: probability of failure.
        patients: public number of patients that will train.

    Returns:
        The pixels' plan, whose event is the composition of both and costs at most ``epsilon``.

    Raises:
        ValueError: epsilon or delta is out of range.
    """
    rho, share = calibrate_rho(epsilon, delta), settings.share(schema)
    own = settings.table_config().plan(
        schema, epsilon=epsilon_of_rho(rho * share, delta), delta=delta, patients=patients
    )
    left = epsilon_of_rho(rho * (1 - share), delta)
    pixels = make(left)
    while (spent := get_epsilon([_both(own, pixels)], delta, adaptive=True)) > epsilon:
        left *= min(0.999, epsilon / spent)
        pixels = make(left)
    listed = {"generator": own.generator, "event": to_json(own.event), "parameters": dict(own.parameters)}
    stages = [replace(s, name=f"attributes: {s.name}", share=s.share * share) for s in own.stages]
    stages += [replace(s, share=s.share * (1 - share)) for s in pixels.stages]
    return replace(
        pixels,
        epsilon=epsilon,
        event=_both(own, pixels),
        parameters={KEY: listed, **_rho(own, pixels), **pixels.parameters},
        stages=tuple(stages),
    )


def _rho(own: PrivacyPlan, pixels: PrivacyPlan) -> dict[str, float]:
    """Return the rho of the whole plan, where both parts are zCDP."""
    parts = (own.event, pixels.event)
    rhos = [part.rho for part in parts if isinstance(part, dp_event.ZCDpEvent)]
    return {"rho": float(sum(rhos))} if len(rhos) == len(parts) else {}


def _both(own: PrivacyPlan, pixels: PrivacyPlan) -> dp_event.DpEvent:
    return dp_event.ComposedDpEvent([own.event, pixels.event])


def fit_attributes(
    settings: ImagingSettings,
    data: RealImages,
    plan: PrivacyPlan,
    *,
    noise: NoiseSource,
    progress: Progress | None,
) -> TableModel:
    """Spend the attributes' part of the plan; see the table generator's ``fit`` for the guarantee."""
    listed = plan.parameters[KEY]
    own = replace(
        plan,
        generator=listed["generator"],
        event=from_json(listed["event"]),
        parameters=listed["parameters"],
        stages=(),
    )
    return settings.table_config().fit(data, own, noise=noise, progress=progress)


def save_attributes(model: TableModel, generator: str, folder: Path) -> None:
    """Write the attributes' model into a folder of its own inside ``folder``."""
    place = folder / KEY
    make_folders(place, private=False)
    model.save(place)
    write_name(place / NAME, generator)


def load_attributes(folder: Path, schema: Schema) -> tuple[TableModel, str]:
    """Read what `save_attributes` wrote.

    Raises:
        ConfigError: there is none.
    """
    place = folder / KEY
    with model_files.reading(folder, "a saved model of attributes"):
        name = str(model_files.meta(place, "generator.json")["generator"])
    module = plugins.load(TABLES, name)
    return cast(TableModel, module.load(place, schema)), name
