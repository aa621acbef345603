"""Find generators, phantoms and metrics by place: adding one is adding a file or a folder.

There is no registry to edit. The files and folders of a package are its plug-ins, and their name is their key
in the config.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from synthgen.errors import ConfigError


def names(package: str) -> list[str]:
    """Return the plug-ins of a package in alphabetical order, without importing them.

    Args:
        package: dotted name, such as ``synthgen.generators.tabular``.
    """
    root = importlib.import_module(package)
    return sorted(module.name for module in pkgutil.iter_modules(root.__path__))


def load(package: str, name: str) -> ModuleType:
    """Import the plug-in of that name.

    Raises:
        ConfigError: no file or folder of that name exists; the known names are listed.
    """
    known = names(package)
    if name not in known:
        raise ConfigError(
            f"Expected one of {known}, got {name!r}.",
            where=package,
            next_step="Correct the name in the config.",
        )
    return importlib.import_module(f"{package}.{name}")
