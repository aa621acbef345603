"""Run one attack of another tool, in the tool's own environment: `scripts/_rivals.py` runs it.

    python _rival_worker.py ATTACK FOLDER

The folder holds the CSV files ``train``, ``holdout``, ``reference``, ``synthetic``, ``what.json``. One JSON
object is printed; an attack that scores records leaves them in ``scores.npy``, training rows first.
"""

import importlib
import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import _machine
import numpy as np
import pandas as pd

PACKAGES = ("anonymeter", "sdmetrics", "synthcity", "torch", "numpy", "pandas")
ATTEMPTS = 200_000  # queries that singling out may try; its own limit is ten million
SUBSAMPLE = {"num_rows_subsample": 500, "num_iterations": 3}  # SDMetrics' own way to shorten its scores

Answer = tuple[np.ndarray | None, dict[str, Any]]


class Data:
    """The four tables of a release, and what is public about them."""

    def __init__(self, folder: Path) -> None:
        what = json.loads((folder / "what.json").read_text(encoding="utf-8"))
        self.numbers, self.label, self.secrets = what["numbers"], what["label"], what["secrets"]
        self.seed = what["seed"]
        self.train, self.holdout, self.reference, self.synthetic = (
            self._read(folder / f"{name}.csv") for name in ("train", "holdout", "reference", "synthetic")
        )
        self.suspects = pd.concat([self.train, self.holdout], ignore_index=True)

    def _read(self, path: Path) -> pd.DataFrame:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        return frame.assign(**{name: pd.to_numeric(frame[name]) for name in self.numbers})

    def others(self, name: str) -> list[str]:
        """Return all columns but one."""
        return [column for column in self.train if column != name]


def singling_out(data: Data) -> Answer:
    """Rate of Anonymeter's queries that single out; a record's score: how many match it alone of all."""
    module = importlib.import_module("anonymeter.evaluators.singling_out_evaluator")
    polars = importlib.import_module("polars")
    attack = module.SinglingOutEvaluator(
        ori=data.train,
        syn=data.synthetic,
        control=data.holdout,
        n_attacks=len(data.train),
        max_attempts=ATTEMPTS,
        seed=data.seed,
    )
    attack.evaluate(mode="multivariate")
    rng = np.random.default_rng(data.seed)
    drawn, suspects = polars.from_pandas(data.synthetic), polars.from_pandas(data.suspects)
    queries = module.multivariate_singling_out_queries(drawn, len(data.train), 3, ATTEMPTS, rng)
    hits = (
        suspects.select([query.alias(str(i)) for i, query in enumerate(queries)]).fill_null(False).to_numpy()
    )
    return hits[:, hits.sum(axis=0) == 1].sum(axis=1).astype(float), _rates(attack.results())


def linkability(data: Data) -> Answer:
    """Rate at which the nearest synthetic record is the same by either half of the columns."""
    module = importlib.import_module("anonymeter.evaluators.linkability_evaluator")
    names = list(data.train)
    attack = module.LinkabilityEvaluator(
        ori=data.train,
        syn=data.synthetic,
        control=data.holdout,
        aux_cols=(names[::2], names[1::2]),
        n_attacks=len(data.train),
    )
    return None, _rates(attack.evaluate(n_jobs=1).results())


def inference(data: Data) -> Answer:
    """Rate of right guesses of each secret column by Anonymeter's nearest neighbour."""
    module = importlib.import_module("anonymeter.evaluators.inference_evaluator")
    found = {}
    for secret in data.secrets:
        attack = module.InferenceEvaluator(
            ori=data.train,
            syn=data.synthetic,
            control=data.holdout,
            aux_cols=data.others(secret),
            secret=secret,
            regression=secret in data.numbers,
            n_attacks=len(data.train),
        )
        found[secret] = _rates(attack.evaluate(n_jobs=1).results())
    worst = max(found, key=lambda name: found[name]["rate"] - found[name]["control"])
    excess = {name: round(rates["rate"] - rates["control"], 4) for name, rates in found.items()}
    return None, {**found[worst], "secret": worst, "excess_by_secret": excess}


def anonymeter_distance(data: Data) -> Answer:
    """Nearness to the closest synthetic record by Anonymeter's own distance."""
    module = importlib.import_module("anonymeter.neighbors.mixed_types_kneighbors")
    search = module.MixedTypeKNeighbors(n_neighbors=1, n_jobs=1).fit(data.synthetic)
    return -search.kneighbors(data.suspects, return_distance=True)[0][:, 0], {}


def sdmetrics_distance(data: Data) -> Answer:
    """Nearness to the closest synthetic record by SDMetrics' own distance."""
    module = importlib.import_module("sdmetrics.single_table.privacy.dcr_utils")
    return -module.calculate_dcr(data.suspects, data.synthetic, _metadata(data)).to_numpy(), {}


def overfitting(data: Data) -> Answer:
    """SDMetrics' DCROverfittingProtection: 1 is its best."""
    module = importlib.import_module("sdmetrics.single_table")
    found = module.DCROverfittingProtection.compute_breakdown(
        data.train, data.synthetic, data.holdout, *_described(data), **SUBSAMPLE
    )
    return None, {"score": found["score"], "rate": found["synthetic_data_percentages"]["closer_to_training"]}


def baseline(data: Data) -> Answer:
    """SDMetrics' DCRBaselineProtection: 1 is its best."""
    module = importlib.import_module("sdmetrics.single_table")
    return None, {
        "score": module.DCRBaselineProtection.compute(
            data.train, data.synthetic, *_described(data), **SUBSAMPLE
        )
    }


def disclosure(data: Data) -> Answer:
    """SDMetrics' DisclosureProtection of the label, four columns known; of training and of holdout rows."""
    module = importlib.import_module("sdmetrics.single_table")
    options = {
        "known_column_names": data.others(data.label)[:4],
        "sensitive_column_names": [data.label],
        "continuous_column_names": [name for name in data.others(data.label)[:4] if name in data.numbers],
    }
    scores = [
        module.DisclosureProtection.compute_breakdown(part, data.synthetic, **options)
        for part in (data.train, data.holdout)
    ]
    rates = [1 - found["cap_protection"] for found in scores]
    return None, {"score": scores[0]["score"], "rate": rates[0], "control": rates[1]}


def domias(method: str, data: Data) -> Answer:
    """Density ratio of DOMIAS as Synthcity ships it, on its label-encoded columns, missing at the median."""
    module = importlib.import_module("synthcity.metrics.eval_privacy")
    tools = importlib.import_module("synthcity.metrics._utils")
    encoded = _encoded(data)
    synthetic, suspects, reference = (encoded[name] for name in ("synthetic", "suspects", "reference"))
    attack = getattr(module, f"DomiasMIA{method}")()
    real = np.concatenate([suspects.to_numpy(), reference.to_numpy()])
    attack.norm = tools.normal_func_feat(real, [int(len(np.unique(column)) >= 10) for column in real.T])
    device = importlib.import_module("torch").device("cpu")
    cut = len(synthetic) * 4 // 5 if method == "BNAF" else len(synthetic)  # a flow needs rows to stop by
    learnt, kept = (part.reset_index(drop=True) for part in (synthetic[:cut], synthetic[cut:]))
    inside, outside = attack.evaluate_p_R(learnt, kept, reference.to_numpy(), suspects.to_numpy(), device)
    ratio = inside / (outside + 1e-10)
    return np.nan_to_num(ratio, nan=0.0, posinf=np.finfo(float).max), {}


def _encoded(data: Data) -> dict[str, pd.DataFrame]:
    """Return all tables with labels numbered and columns standardised by the synthetic ones."""
    frames = {"synthetic": data.synthetic, "suspects": data.suspects, "reference": data.reference}
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in frames}
    for column in data.train:
        known = data.synthetic[column]
        if column not in data.numbers:
            labels = sorted(set().union(*(frame[column] for frame in frames.values())))
        for name, frame in frames.items():
            if column in data.numbers:
                cells = frame[column].fillna(known.median()).to_numpy(dtype=float)
            else:
                cells = pd.Categorical(frame[column], categories=labels).codes.astype(float)
            found[name][column] = cells
    spread = {column: np.std(found["synthetic"][column]) for column in data.train}
    kept = [column for column in data.train if spread[column] > 0]
    return {
        name: pd.DataFrame({c: (cells[c] - found["synthetic"][c].mean()) / spread[c] for c in kept})
        for name, cells in found.items()
    }


def _rates(results: Any) -> dict[str, Any]:
    """Return Anonymeter's success rates and its risk with interval."""
    risk = results.risk()
    return {
        "rate": results.attack_rate.value,
        "control": results.control_rate.value,
        "baseline": results.baseline_rate.value,
        "score": risk.value,
        "interval": [round(float(bound), 4) for bound in risk.ci],
    }


def _metadata(data: Data) -> dict[str, Any]:
    kinds = {name: "numerical" if name in data.numbers else "categorical" for name in data.train}
    return {"columns": {name: {"sdtype": kind} for name, kind in kinds.items()}}


def _described(data: Data) -> tuple[dict[str, Any], str]:
    return {"tables": {"table": _metadata(data)}}, "table"


ATTACKS = {
    "anonymeter-singling-out": singling_out,
    "anonymeter-linkability": linkability,
    "anonymeter-inference": inference,
    "anonymeter-distance": anonymeter_distance,
    "sdmetrics-overfitting": overfitting,
    "sdmetrics-baseline": baseline,
    "sdmetrics-disclosure": disclosure,
    "sdmetrics-distance": sdmetrics_distance,
    "synthcity-prior": lambda data: domias("Prior", data),
    "synthcity-kde": lambda data: domias("KDE", data),
    "synthcity-bnaf": lambda data: domias("BNAF", data),
}
MODULES = {
    "anonymeter": "anonymeter.evaluators",
    "sdmetrics": "sdmetrics.single_table",
    "synthcity": "synthcity.metrics.eval_privacy",
}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    warnings.filterwarnings("ignore")
    importlib.import_module(MODULES[name.partition("-")[0]])
    data = Data(folder)
    np.random.seed(data.seed)  # noqa: NPY002  the tools draw from it
    start, worked = time.perf_counter(), time.process_time()
    scores, said = ATTACKS[name](data)
    cost = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - worked}
    cost["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if scores is not None:
        np.save(folder / "scores.npy", scores)
    print(json.dumps({**said, **cost, "versions": _machine.versions(*PACKAGES)}))


if __name__ == "__main__":
    main()
