"""Patients whom the generator never saw: those held out and, if it is of the same cohort, the reference.

An attack that needs no reference of its own takes both as non-members, and so has twice as many of them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.memo import remembered


@remembered
def non_members(inputs: Inputs) -> RealTable:
    """Return the holdout patients, with the reference's where these are of the same cohort."""
    if not inputs.reference_of_cohort or len(inputs.reference) == 0:
        return RealTable(inputs.schema, inputs.holdout.frame, inputs.holdout.units)
    parts = (inputs.holdout, inputs.reference)
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    units = [np.array([f"{i} {unit}" for unit in part.units], dtype=object) for i, part in enumerate(parts)]
    return RealTable(inputs.schema, frame, np.concatenate(units))
