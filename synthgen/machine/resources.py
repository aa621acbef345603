"""What this machine has left of memory and disk. It changes no plan: what does not fit is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

GIB = 2.0**30
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> float | None:
    """Return the GiB that this process may still use; None where nothing says so.

    The least of what the machine has left, what its control group (a container, a SLURM job) leaves, and what
    the process's own limits on address space and data leave.
    """
    found = [bound for bound in (_of_machine(), *_of_groups(), *_of_process()) if bound is not None]
    return min(found) / GIB if found else None


def free_disk(path: Path) -> float | None:
    """Return the GiB that are free where a path is, or will be; None if nobody knows."""
    try:
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free / GIB
    except OSError:
        return None


def _of_machine() -> float | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _of_groups() -> list[float]:
    found = []
    for limit, used in _CGROUPS:
        try:
            most = int(Path(limit).read_text(encoding="ascii"))
            found.append(max(0.0, float(most - int(Path(used).read_text(encoding="ascii")))))
        except (OSError, ValueError):  # no such group, or no limit: "max"
            continue
    return found


def _of_process() -> list[float]:
    import resource

    found = []
    held = _held()
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            found.append(max(0.0, float(soft - held)))
    return found


def _held() -> int:
    """Return the bytes of address space that this process has."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
