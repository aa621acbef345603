"""Small open cohorts for the demo and the tests, each with its source and licence.

A cohort is a folder of this package: ``*.schema.yaml``, configs, ``SOURCE.md``, and records. The records here
are synthetic: synthgen generated them from an open cohort under differential privacy
(``scripts/make_demo_cohorts.py``), and ``privacy_record.json`` is the evidence of that release. ``meps`` is a
public survey of real persons and has no records here: `synthgen.datasets.meps_survey` reads them from another
package.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from synthgen.errors import ConfigError


def names() -> tuple[str, ...]:
    """Return the names of the shipped cohorts.

    Example:
        >>> names()
        ('diabetes130', 'meps', 'pneumoniamnist')
    """
    folders = Path(str(resources.files(__name__))).iterdir()
    return tuple(sorted(folder.name for folder in folders if (folder / "SOURCE.md").is_file()))


def path(name: str) -> Path:
    """Return the folder of a shipped cohort.

    Args:
        name: one of `names`.

    Raises:
        ConfigError: no cohort of that name is shipped; the known names are listed.
    """
    if name not in names():
        raise ConfigError(
            f"Expected one of {list(names())}, got {name!r}.", where="datasets", next_step="Correct the name."
        )
    return Path(str(resources.files(__name__))) / name
