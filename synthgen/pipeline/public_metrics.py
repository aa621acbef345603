"""A figure on held-out patients that may be published: paid for, noised, entered in the ledger."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.encode.table import Encoder
from synthgen.generators.marginal.measurement import Records, split_rho
from synthgen.privacy.marginal_queries import ZCDPFilter, lattice_weights
from synthgen.privacy.noise import NoiseSource

CELLS = 20


def fidelity(
    held: RealTable, table: SyntheticTable, *, rho: float, patients: int, noise: NoiseSource
) -> dict[str, Any]:
    """Return the one-way total variation of each column, from noisy counts of held-out patients.

    Guarantee:
        ``rho``-zCDP: the counts are noisy marginals in which a patient weighs at most one, and all that
        follows is post-processing. Denominators are declared, not counted.

    Args:
        held: records of held-out patients. Sensitive.
        table: the synthetic records.
        rho: what may be spent.
        patients: declared number of held-out patients.
        noise: source of the noise.

    Returns:
        JSON values: by column the noisy total variation, and the part of it that noise alone is expected
        to cause.
    """
    encoder = Encoder.of(held.schema, fine_cells=CELLS)
    codes, n_units = held.unit_codes()
    sizes = {name: grid.n_cells for name, grid in encoder.grids.items()}
    records = Records(
        encoder.encode(held.frame),
        lattice_weights(codes, n_units),
        sizes,
        spender=ZCDPFilter(rho),
        noise=noise,
    )
    drawn, weights = encoder.encode(table.frame), table.unit_weights()
    columns = {}
    for (name, n_cells), part in zip(sizes.items(), split_rho(rho, list(sizes.values())), strict=True):
        measured = records.measure((name,), part)
        share = np.bincount(drawn[name], weights=weights, minlength=n_cells) / max(weights.sum(), 1.0)
        distance = 0.5 * np.abs(np.maximum(measured.counts, 0.0) / patients - share).sum()
        from_noise = 0.5 * np.sqrt(2 / np.pi) * measured.scale * n_cells / patients
        columns[name] = {
            "total_variation": round(float(distance), 4),
            "from_noise": round(float(from_noise), 4),
        }
    mean = float(np.mean([column["total_variation"] for column in columns.values()]))
    return {"total_variation": round(mean, 4), "columns": columns, "patients": patients}
