"""The fixed sentences of a privacy record, with the plan's numbers put in."""

from __future__ import annotations

from typing import Any

from synthgen.privacy.plan import PrivacyPlan
from synthgen.release.record.inputs import Composition, Deployment

_RANDOMNESS = (
    "Privacy noise, and every draw that decides which patients and records a step sees, come from the "
    "operating system's CSPRNG (or a generator keyed from it) and are drawn on the CPU, whatever device "
    "computes. They are in no config, checkpoint, log or bundle; noised answers are in the run's internal "
    "folder. What a patient's own loss draws in a step follows from a fresh key of that patient. "
    "What the loss of a patient draws inside a step follows from a key that the operating system gives that "
    "patient for that step, on every device; no claim rests on its secrecy. "
    "The run's seed serves what sees no record: initial weights, pretraining on public or paid material, and "
    "synthetic records."
)
_DEVICES = {
    "cpu": "The fit computed on the CPU.",
    "cuda": (
        "The fit computed on a GPU. The clip covers the rounding of its sums, which are taken in float64; "
        "that of a patient's own gradient, whose last bits may depend on the batch, no proof covers. The "
        "tests of this version run on CPUs."
    ),
    None: "Which device the fit computed on was not recorded.",
}


def randomness(device: str | None) -> str:
    """Return what is random and where it comes from, for the device that a fit computed on.

    Args:
        device: ``cpu`` or ``cuda``; None where it was not recorded.

    Raises:
        ValueError: nothing is known of the device.
    """
    if device not in _DEVICES:
        raise ValueError(f"Expected a device of {list(_DEVICES)}, got {device!r}.")
    return f"{_RANDOMNESS} {_DEVICES[device]}"


FIGURES = (
    "Exact figures on real records are with the data steward and are not in this bundle. "
    "The verdict was computed from real records and lies outside the guarantee."
)
SIZE_UNPROTECTED = "The number of patients in the cohort (it was counted from the data)."


def _unit_in_words(plan: PrivacyPlan) -> str:
    if plan.unit == "row":
        return "One row. A patient with several rows is NOT protected as a whole."
    return f"One patient, with all of that patient's records; at most {plan.max_records} of them are used."


def _domain(plan: PrivacyPlan) -> str:
    return (
        "Medical images with attributes" if "attributes" in plan.parameters else "Tables of medical records"
    )


def registry_block(deployment: Deployment, plan: PrivacyPlan, composition: Composition) -> dict[str, Any]:
    """Return the record as an entry of the OpenDP deployments registry."""
    rho = plan.parameters.get("rho")
    paid = plan.parameters.get("preprocessing")
    total = float(rho) + (paid["rho"] if paid else 0.0) if isinstance(rho, (int, float)) else None
    return {
        "basic": {
            "name": deployment.name,
            "data_curators": list(deployment.curators),
            "intended_use": deployment.intended_use,
            "data_product_type": "Synthetic data",
            "region": deployment.region,
            "description": deployment.description,
            "publication_date": deployment.publication_date,
            "sector": "Healthcare",
        },
        "dp_variant": {
            "variant_name": "(epsilon, delta)-differential privacy",
            "data_domain": f"{_domain(plan)}; {_unit_in_words(plan)}",
            "unprotected_quantities": [SIZE_UNPROTECTED] if plan.patients_counted else [],
        },
        "privacy_loss": {
            "privacy_unit": plan.unit,
            "privacy_unit_details": _unit_in_words(plan),
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "rho": total,
        },
        "deployment_model": {
            "model_name": "Central",
            "actors": "The curator sees the real records; recipients of this bundle see synthetic ones only.",
            "release_type": "One-shot",
            "data_source_type": "Static",
            "access_type": "Non-interactive",
        },
        "accounting": {
            "post_processing": "Sampling, decoding, checks and this record are post-processing.",
            "composition": _composition(composition),
        },
        "implementation": {
            "preprocessing_and_hyperparameter_tuning": (f"{_domains(plan)} {deployment.tuning}"),
            "mechanisms": "; ".join(stage.name for stage in plan.stages) or plan.generator,
            "justification": deployment.justification,
        },
        "administrative": {"registry_authors": list(deployment.authors)},
    }


def _composition(composition: Composition) -> str:
    """Return what is proven for the events of the ledger."""
    joint = f"All events that the cohort's ledger holds compose jointly ({composition.accountant})."
    if not composition.adaptive:
        return joint
    return (
        f"{joint} That figure is for events that were planned together. Each of these may have been chosen "
        "after the outputs of earlier ones were seen: for such a sequence the cap is proven, by a Renyi "
        "filter."
    )


def _domains(plan: PrivacyPlan) -> str:
    """Return where bounds and categories come from."""
    declared = "Schema, bounds and categories are declared, not read off the data"
    rows = plan.parameters.get("preprocessing", {}).get("columns", ())
    if not rows:
        return f"{declared}."
    return f"{declared}; those of {', '.join(row['column'] for row in rows)} were learnt under the guarantee."


def statement_block(deployment: Deployment, plan: PrivacyPlan, composition: Composition) -> dict[str, str]:
    """Return the answers to the reporting list of "How to DP-fy ML"."""
    return {
        "setting": "Central model: a trusted curator holds the records.",
        "data_accesses_covered": (
            f"The fit and its paid queries. {_domains(plan)} "
            "The steward's evaluation is not covered: its figures stay with the steward."
        ),
        "output_of_mechanism": "The fitted generator. All synthetic records are drawn from it alone.",
        "unit": _unit_in_words(plan),
        "adjacency": plan.adjacency,
        "accountant": composition.accountant,
        "accountant_assumptions": (
            "The fit draws patients and noise as the plan's event says: Poisson sampling where the event "
            "samples, noise from the operating system."
        ),
        "final_model": f"epsilon {plan.epsilon:g} at delta {plan.delta:g}.",
        "tuning": deployment.tuning,
    }
