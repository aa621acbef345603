"""Start a child process that runs a module of this package, and nothing of the current folder.

This is the only module of the package that starts processes. Python would put the current folder first in a
child's path of modules, so that a ``json.py`` next to a hospital's scans would be run. A child has the safe
path (``-P``), the root folder as its working folder, the parent's path of modules without the current folder,
and none of the parent's other environment: a decoder of a stranger's file needs no password of the database.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from synthgen.machine.startup import absolute_parts

NEUTRAL = Path(os.path.abspath(os.sep))
_PATHS = ("LD_LIBRARY_PATH", "PATH")
_PASSED = (
    "HOME",
    "LANG",
    "PYTHONHOME",
    "PYTHONUTF8",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
)
_PASSED_PREFIXES = ("LC_", "OMP_", "OPENBLAS_", "SYNTHGEN_LIMIT_")


def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a module of this package, with pipes to its input and output.

    Args:
        module: its whole name.
        arguments: of its command line.

    Raises:
        ValueError: the module is not of this package.
        OSError: the operating system refused.
    """
    if module.split(".")[0] != __name__.split(".")[0]:
        raise ValueError(f"Expected a module of this package, got {module!r}.")
    return subprocess.Popen(  # noqa: S603 - this package and this interpreter
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=NEUTRAL,
        env=environment(),
        bufsize=0,
    )


def environment() -> dict[str, str]:
    """Return the environment of a child: what Python and its libraries need, one thread, and no secret."""
    kept = {
        key: value for key, value in os.environ.items() if key in _PASSED or key.startswith(_PASSED_PREFIXES)
    }
    kept |= {key: absolute_parts(os.environ[key]) for key in _PATHS if key in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(module_path()), "OMP_NUM_THREADS": "1"}


def module_path() -> list[str]:
    """Return where this process finds modules, without the current folder, unless this package lies in it."""
    own = Path(__file__).resolve().parents[2]
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        here = own
    places = [Path(entry) for entry in sys.path if os.path.isabs(entry)]
    return [str(own), *(str(place) for place in places if place != own and place.resolve() != here)]
