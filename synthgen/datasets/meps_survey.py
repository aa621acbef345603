"""Read the Medical Expenditure Panel Survey from the optional package that carries it."""

from __future__ import annotations

import bz2
import importlib.util
from pathlib import Path

import pandas as pd

from synthgen.errors import ConfigError

PERSON = "person"
FILE = "datasets/meps/meps.csv.bz2"


def read_persons() -> pd.DataFrame:
    """Return the survey's persons, one row each, with a number for each person.

    Raises:
        ConfigError: the package ``linearmodels`` is not installed, or no longer carries the survey.
    """
    found = importlib.util.find_spec("linearmodels")
    roots = list(found.submodule_search_locations or ()) if found else []
    paths = [path for path in (Path(root) / FILE for root in roots) if path.is_file()]
    if not paths:
        raise ConfigError(
            "Expected the package linearmodels, which carries the survey's persons, found none.",
            where="demo tables --cohort meps",
            next_step='Install it: pip install "synthgen-medical[demo]".',
        )
    with bz2.open(paths[0], "rt", encoding="utf-8") as stream:
        persons = pd.read_csv(stream)
    flags = [name for name in ("vgh", "fph", "blhisp", "age2") if name in persons]
    persons = persons.astype(dict.fromkeys(flags, "int64"))
    persons.insert(0, PERSON, range(1, len(persons) + 1))
    return persons
