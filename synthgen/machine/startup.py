"""What holds before other packages load: no telemetry, and no code of the current folder.

``python -m synthgen`` puts the current folder first in the path of modules, a script its own folder, and an
empty part of ``PYTHONPATH`` the current folder: a ``json.py`` next to a hospital's scans would be run. Where
synthgen is the program, these leave the path, as under ``python -P``; in a notebook or another program the
path stays as it is. An empty part of ``PATH`` means the current folder, too. matplotlib, which Lightning also
imports, reads a ``matplotlibrc`` of the current folder, which can name a module to load: it is imported with
the root folder as the current one.

Out of reach is what Python loads before this module: a ``synthgen`` folder under ``python -m synthgen``, a
``sitecustomize`` on ``PYTHONPATH``. The script ``synthgen`` and ``python -P -m synthgen`` have no such gap.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

TELEMETRY_OFF = ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
"""What huggingface_hub, which diffusers needs, looks at; no other dependency reports anything."""
OFFLINE = "HF_HUB_OFFLINE"


def prepare() -> None:
    """Switch telemetry off; in synthgen's own program also take the current folder out of all paths."""
    for name in TELEMETRY_OFF:
        os.environ.setdefault(name, "1")
    if not _is_program():
        return
    os.environ.setdefault(OFFLINE, "1")
    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    unsafe = {"", os.curdir}
    if _relative_parts(os.environ.get("PYTHONPATH", "")):
        unsafe.add(_current())
    if not sys.flags.safe_path and sys.path:  # of the script, or of -m
        unsafe.add(sys.path[0])
    sys.path[:] = [place for place in sys.path if place not in unsafe or place == own]
    if "PATH" in os.environ:
        os.environ["PATH"] = absolute_parts(os.environ["PATH"])
    if not any(isinstance(finder, _FromRootFolder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _FromRootFolder())


class _FromRootFolder(MetaPathFinder):
    """Import matplotlib with the root folder as the current one, whichever package asks for it first."""

    _asked = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "matplotlib" or self._asked:
            return None
        self._asked = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asked = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def from_root(module: ModuleType) -> None:
                with contextlib.chdir(os.path.abspath(os.sep)):
                    execute(module)

            spec.loader.exec_module = from_root  # type: ignore[method-assign]
        return spec


def absolute_parts(text: str) -> str:
    """Return a list of folders, such as ``PATH``, without those that mean the current folder or lie in it."""
    return os.pathsep.join(part for part in text.split(os.pathsep) if os.path.isabs(part))


def _relative_parts(text: str) -> bool:
    return bool(text) and any(not os.path.isabs(part) for part in text.split(os.pathsep))


def _is_program() -> bool:
    """Return whether this process was started as ``synthgen`` or ``python -m synthgen``."""
    if os.path.basename(sys.argv[0] if sys.argv else "") == "synthgen":
        return True
    given = sys.orig_argv[1:]
    module = next((given[i + 1] for i, text in enumerate(given[:-1]) if text == "-m"), "")
    return sys.argv[:1] == ["-m"] and module.split(".")[0] == "synthgen"


def _current() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return os.curdir
