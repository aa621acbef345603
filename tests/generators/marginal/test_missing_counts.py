"""Empty cells: noise alone makes almost none, and a share of missing values above the noise stays."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from synthgen.config.run_config import load_config
from synthgen.data.tables import RealTable
from synthgen.errors import ConfigError
from synthgen.generators.marginal import config as tabular_marginal
from synthgen.generators.marginal.missing_counts import least_deviations, stand_out
from synthgen.pipeline import run as pipeline
from synthgen.privacy.noise import NoiseSource
from synthgen.schema.schema import Schema

LABELS = list("abcd")


def table(n_patients, *, missing, required=False, columns=6):
    """Return numbers and categories, the first of which is a label and the second protected."""
    rng = np.random.default_rng(0)
    limits = {"required": required}
    content, fields = {}, [{"name": "pid", "type": "string", "role": "id"}]
    for i in range(columns):
        content[f"n{i}"] = pd.Series(np.clip(rng.normal(50, 15, n_patients), 0, 100))
        fields.append(
            {"name": f"n{i}", "type": "number", "constraints": {"minimum": 0, "maximum": 100, **limits}}
        )
        codes = rng.choice(4, n_patients, p=[0.4, 0.3, 0.2, 0.1])
        content[f"c{i}"] = pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(LABELS)))
        role = {0: "label", 1: "protected"}.get(i, "feature")
        fields.append(
            {"name": f"c{i}", "type": "string", "constraints": {"enum": LABELS, **limits}, "role": role}
        )
    frame = pd.DataFrame(content)
    for name in frame if missing else ():
        frame.loc[rng.random(n_patients) < missing, name] = np.nan
    schema = Schema.model_validate_json(json.dumps({"unit": {"column": "pid"}, "fields": fields}))
    return RealTable(schema, frame, np.arange(n_patients).astype(str).astype(object))


def empty_shares(data, *, seed, **settings):
    generator = tabular_marginal.Config(iterations=100, **settings)
    plan = generator.plan(data.schema, epsilon=1.0, delta=1e-6, patients=len(data))
    model = generator.fit(data, plan, noise=NoiseSource.for_tests(seed))
    return model.sample(4000, rng=np.random.default_rng(seed)).frame.isna().mean().to_numpy()


@pytest.mark.parametrize("method", ["roles", "mst", "aim"])
def test_columns_without_missing_values_get_no_empty_cells_at_epsilon_1(method):
    # Noise passes in one table of 20: 4 or more of 24 columns have false alarms below 1e-5.
    data = table(1500, missing=0.0, columns=2 if method == "aim" else 6)
    shares = np.array([empty_shares(data, seed=seed, method=method) for seed in range(2)])
    assert (shares > 0).sum() <= 3
    assert shares.mean() < 0.003


def test_two_percent_of_missing_values_stay_about_two_percent():
    # Standard error of the mean of 24 noisy shares below .0006: four of them are .0024, false alarms 1e-4.
    data = table(16_000, missing=0.02)
    shares = np.array([empty_shares(data, seed=seed) for seed in range(2)])
    assert abs(shares.mean() - 0.02) < 0.0025


def test_noise_alone_passes_in_one_table_of_twenty_and_many_true_columns_pass_more_easily():
    rng = np.random.default_rng(0)
    alone = np.array([stand_out(rng.normal(size=20)).any() for _ in range(4000)])
    assert 0.035 < alone.mean() < 0.065  # 4 standard errors: .014
    assert stand_out(np.full(20, 1.7)).all()
    assert not stand_out(np.r_[1.7, np.zeros(19)]).any()
    assert (np.diff(least_deviations(20)) < 0).all()


def test_plan_says_which_share_of_empty_cells_noise_hides_and_what_to_declare(tmp_path):
    fields = table(10, missing=0.0).schema.model_dump(mode="json", by_alias=True)
    (tmp_path / "s.yaml").write_text(json.dumps(fields), encoding="utf-8")
    config = {
        "cohort": "c",
        "data": {"table": {"path": "t.csv", "schema": "s.yaml"}},
        "budget": {"epsilon": 1.0, "delta": 1e-3, "patients": 20, "ledger": "sqlite:///l.db"},
        "generator": {"name": "marginal"},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config), encoding="utf-8")
    warnings = pipeline.plan_summary(load_config(tmp_path / "c.yaml"))["warnings"]
    text = next(line for line in warnings if line.startswith("EMPTY CELLS"))
    assert "required: true" in text
    assert not re.search(r"\de\+", text)
    for field in fields["fields"]:
        field["constraints"]["required"] = True
    (tmp_path / "s.yaml").write_text(json.dumps(fields), encoding="utf-8")
    warnings = pipeline.plan_summary(load_config(tmp_path / "c.yaml"))["warnings"]
    assert not any(line.startswith("EMPTY CELLS") for line in warnings)


def test_a_saved_model_with_other_bins_is_refused_and_not_read_wrongly(tmp_path):
    data = table(60, missing=0.0, columns=1)
    generator = tabular_marginal.Config(iterations=50, rounds=1)
    plan = generator.plan(data.schema, epsilon=5.0, delta=1e-3, patients=60)
    generator.fit(data, plan, noise=NoiseSource.for_tests(0)).save(tmp_path)
    tabular_marginal.load(tmp_path, data.schema)
    meta = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**meta, "fine_cells": meta["fine_cells"] + 7}))
    with pytest.raises(ConfigError, match="bins of this version"):
        tabular_marginal.load(tmp_path, data.schema)
