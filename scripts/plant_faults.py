"""Plant each defect of `tests/faults/package_faults.py` in a copy of the package, and let its tests find it.

    python scripts/plant_faults.py [NAME...] [--json FILE]

For each defect the named tests must pass in the copy as it is, and fail where the defect is planted. The
working tree is never changed. Ends with 1 if a defect was not caught, or if its text is no longer in the
package, and says which.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "numpy", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "sklearn.ensemble", "sqlalchemy",
    "pydantic", "ruamel.yaml", "PIL.Image", "dp_accounting", "opendp.prelude", "torch", "pytorch_lightning",
    "matplotlib",
)  # fmt: skip
"""Imported once: each defect's tests run in a fork of this process, which has not imported the package.
Plugins of pytest cannot be among these: it wants to load them itself."""


def copy_of_the_package(place: Path) -> Path:
    """Copy the package and what its tests need."""
    for name in ("synthgen", "tests", "scripts", "configs", "docs"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "CONTRIBUTING.md", "README.md"):
        shutil.copy(ROOT / name, place / name)
    return place


def outcomes(copy: Path, tests: Iterable[str], *, at_most: float = 900.0) -> dict[str, str]:
    """Run tests in a fork, in the copy; return ``passed``, ``failed``, ``error`` or ``missing`` by test."""
    tests = list(tests)
    report = copy / ".report.xml"
    report.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _child(copy, tests, report)
    start = time.monotonic()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() - start > at_most:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return dict.fromkeys(tests, "too slow")
        time.sleep(0.05)
    found: dict[str, list[str]] = {test: [] for test in tests}
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - our own file
            kinds = {inner.tag for inner in case}
            kind = "failed" if "failure" in kinds else "error" if "error" in kinds else "passed"
            kind = "skipped" if "skipped" in kinds else kind
            name = f"{str(case.get('classname')).replace('.', '/')}.py::{case.get('name')}"
            for test in tests:
                if name == test or name.startswith(f"{test}["):
                    found[test].append(kind)
    return {test: _together(kinds) for test, kinds in found.items()}


def _together(kinds: Sequence[str]) -> str:
    """Return one word for all cases of a test: one that fails is enough for it to fail."""
    for kind in ("failed", "error", "skipped"):
        if kind in kinds:
            return kind
    return "passed" if kinds else "missing"


def _child(copy: Path, tests: list[str], report: Path) -> None:
    code = 97
    try:
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        os.environ["PYTHONPATH"] = str(copy)
        with (copy / ".output").open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        import pytest

        import synthgen

        if not str(synthgen.__file__).startswith(str(copy)):
            raise ValueError(f"Expected the package of the copy, got that of {synthgen.__file__}.")
        options = ["-q", "-p", "no:cacheprovider", "-m", "slow or not slow", f"--junitxml={report}"]
        code = int(pytest.main([*options, *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def planted(copy: Path, fault: Any) -> list[tuple[Path, bytes]]:
    """Write a defect into the copy; return what stood there.

    Raises:
        ValueError: its text is not in the package exactly once.
    """
    kept = []
    for edit in fault.edits:
        path = copy / "synthgen" / edit.file
        content = path.read_bytes()
        times = content.count(edit.old.encode())
        if times != 1:
            raise ValueError(
                f"{fault.name}: its text stands {times} times in synthgen/{edit.file}: {edit.old!r}"
            )
        kept.append((path, content))
        _write(path, content.replace(edit.old.encode(), edit.new.encode()))
    return kept


_clock = [time.time()]


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _clock[0] += 5.0  # compiled files are told from older ones by whole seconds
    os.utime(path, (_clock[0], _clock[0]))


def run(names: Sequence[str], *, workers: int, progress: Any = print) -> list[dict[str, Any]]:
    """Plant defects one by one, in as many processes, and return what became of each."""
    for name in HEAVY:
        __import__(name)
    sys.path.insert(0, str(ROOT))
    from tests.faults.package_faults import FAULTS  # a list: it imports nothing of the package

    unknown = set(names) - {fault.name for fault in FAULTS}
    if unknown:
        raise SystemExit(f"Expected some of the faults listed, got {sorted(unknown)}.")
    faults = [fault for fault in FAULTS if not names or fault.name in names]
    for module in [module for module in sys.modules if module.partition(".")[0] in ("synthgen", "tests")]:
        del sys.modules[module]
    sys.path.remove(str(ROOT))
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="synthgen-faults-") as text:
        place, children = Path(text).resolve(), []
        for worker in range(workers):
            child = os.fork()
            if not child:
                try:
                    results = _share(faults[worker::workers], place / f"copy{worker}", progress)
                    (place / f"{worker}.json").write_text(json.dumps(results))
                except BaseException:
                    traceback.print_exc()
                os._exit(0)
            children.append(child)
        for worker, child in enumerate(children):
            os.waitpid(child, 0)
            if (place / f"{worker}.json").exists():
                found |= {one["name"]: one for one in json.loads((place / f"{worker}.json").read_text())}
    lost = {"caught": False, "why": "the process that planted it died"}
    return [found.get(fault.name, {"name": fault.name, **lost}) for fault in faults]


def _share(faults: Sequence[Any], copy: Path, progress: Any) -> list[dict[str, Any]]:
    """Plant some of the defects in a copy of their own."""
    copy_of_the_package(copy)
    plain = outcomes(copy, sorted({test for fault in faults for test in fault.tests}), at_most=3600.0)
    results = []
    for fault in faults:
        start = time.monotonic()
        try:
            kept = planted(copy, fault)
        except ValueError as error:
            results.append({"name": fault.name, "caught": False, "why": str(error)})
            progress(f"NOT PLANTED         {error}")
            continue
        found = outcomes(copy, fault.tests)
        for path, content in kept:
            _write(path, content)
        bad = [f"{test}: {plain[test]} without it" for test in fault.tests if plain[test] != "passed"]
        bad += [f"{test}: {found[test]} with it" for test in fault.tests if found[test] != "failed"]
        results.append({"name": fault.name, "caught": not bad, "why": "; ".join(bad)})
        seconds = f"{time.monotonic() - start:4.0f} s"
        progress(f"{'NOT CAUGHT' if bad else 'caught    '}  {seconds}  {fault.name}: {fault.breaks}")
        if bad:
            progress(f"                    {'; '.join(bad)}")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="names of defects; all of them if none is given")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with a copy of its own")
    given = parser.parse_args()
    results = run(given.names, workers=max(1, given.workers), progress=lambda text: print(text, flush=True))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    missed = [result["name"] for result in results if not result["caught"]]
    print(f"{len(results) - len(missed)} of {len(results)} planted defects were caught", *missed, sep="\n  ")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
