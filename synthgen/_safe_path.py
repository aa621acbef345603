"""Take the current folder out of the path of modules where synthgen is the program, as ``python -P`` does.

``python -m synthgen`` puts the current folder first in the path, a script its own folder, and an empty part
of ``PYTHONPATH`` the current folder: a ``json.py`` next to a hospital's scans would be run. In a notebook or
another program the path is left as it is. Out of reach is what Python loads before this module: a
``synthgen`` folder under ``python -m synthgen``, a ``sitecustomize`` on ``PYTHONPATH``. The script
``synthgen`` and ``python -P -m synthgen`` have no such gap.
"""

from __future__ import annotations

import os
import sys


def leave_current_folder() -> None:
    """Remove what `python -P` would not have put into the path, if this process is synthgen's own program."""
    if not _is_program():
        return
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    unsafe = {"", os.curdir}
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if any(not os.path.isabs(part) for part in parts if len(parts) > 1 or part):
        unsafe.add(_current())
    if not sys.flags.safe_path and sys.path:  # of the script, or of -m
        unsafe.add(sys.path[0])
    sys.path[:] = [place for place in sys.path if place not in unsafe or place == own]


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
