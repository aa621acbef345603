"""Say that a package is missing before anything is reserved, not in the middle of a fit."""

from __future__ import annotations

from importlib.util import find_spec

from synthgen.errors import ConfigError


def require(what: str, *packages: str) -> None:
    """Check that packages of the extra ``deep`` are there, without loading them. A plan's first line.

    Args:
        what: what needs them, such as a generator's key.
        packages: their import names.

    Raises:
        ConfigError: one is not there.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{what!r} expects the package {missing[0]}, found none.",
            where="generator",
            next_step='pip install "synthgen-medical[deep]"',
        )
