"""What a benchmark says about the machine that it ran on: no name, no path."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Return processor, cores, memory, system and Python of this machine."""
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def load() -> float:
    """Return how many processes wanted a core, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def today() -> str:
    """Return the date, as ISO writes it."""
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those of these packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _line(path: str, key: str) -> str:
    """Return what a line of a system file says, or nothing where there is no such file."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
