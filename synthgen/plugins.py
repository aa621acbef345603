"""Find generators and metrics by file name: adding one is adding one file.

There is no registry to edit. The public files of a package (no leading underscore) are its
plug-ins, and a file's name is its key in the config.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from synthgen.errors import ConfigError


def names(package: str, *, prefix: str = "") -> list[str]:
    """Return the plug-ins of a package in alphabetical order, without importing them.

    Args:
        package: dotted name, such as ``synthgen.generators``.
        prefix: keep the names that start with it, and cut it off, such as ``tabular_``.
    """
    root = importlib.import_module(package)
    found = (module.name for module in pkgutil.iter_modules(root.__path__))
    return sorted(
        name.removeprefix(prefix) for name in found if not name.startswith("_") and name.startswith(prefix)
    )


def load(package: str, name: str, *, prefix: str = "") -> ModuleType:
    """Import the plug-in of that name.

    Raises:
        ConfigError: no public file of that name exists; the known names are listed.
    """
    known = names(package, prefix=prefix)
    if name not in known:
        raise ConfigError(
            f"Expected one of {known}, got {name!r}.",
            where=package,
            next_step="Correct the name in the config.",
        )
    return importlib.import_module(f"{package}.{prefix}{name}")
