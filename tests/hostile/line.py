"""Every verb as a user starts it, in a folder that somebody else filled, and what its processes did.

Where `strace` may be used, it follows every process; else an audit hook in each Python process does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PLANTED = (
    *("json", "struct", "numpy", "pydicom", "pandas", "torch", "select", "zipfile", "matplotlib", "logging"),
    *("sqlite3", "typer", "ssl", "socket", "PIL", "imagecodecs", "ruamel", "encodings", "site", "runpy"),
)
"""Names that a child, or a module that is loaded late, would take from the current folder."""
MARK = "ran-"
INTERNET = re.compile(r" (connect|sendto|sendmsg|sendmmsg)\(.*AF_INET| listen\(|^guard: socket")
"""A call that speaks to a network. Not one: urllib3, when loaded, binds a socket to ::1 to learn of IPv6."""
GUARD = Path(__file__).with_name("guard.py")
TABLE_SCHEMA = """\
unit: {column: patient, max_records: 2}
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 18, maximum: 100, required: true}}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: died, type: boolean, role: label, constraints: {required: true}}
"""
TABLE_RUN = """\
cohort: tiny
seed: 3
data: {table: {path: t.csv, schema: t.schema.yaml}}
budget: {epsilon: 1.0, delta: 1e-6, patients: 600}
generator: {name: marginal, iterations: 50}
evaluate: {holdout: 0.3, canaries: 0}
sample: {records: 200}
"""
IMAGE_SCHEMA = """\
unit: {column: patient, max_records: 1}
images: {file: file, channels: 1, bits: 8}
fields:
  - {name: patient, type: string, role: id}
  - {name: file, type: string, role: id}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: ill, type: boolean, role: label, constraints: {required: true}}
"""
IMAGE_RUN = """\
cohort: pictures
seed: 3
data: {images: {path: scans/, schema: scans.schema.yaml, size: 16}}
budget: {epsilon: 8.0, delta: 1e-5, patients: 300}
generator: {name: GENERATOR, attributes: {name: marginal, share: 0.2, iterations: 50}}
evaluate: {holdout: 0.3, canaries: 0}
sample: {records: 60}
"""
DICOM_SCHEMA = """\
unit: {column: patient, max_records: 4}
images: {channels: 1, bits: 8, dicom: {screened: []}}
fields:
  - {name: patient, type: string, role: id}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M, O]}}
"""


@dataclass(frozen=True)
class Done:
    """What a command did.

    Attributes:
        code: its exit code.
        text: what it printed.
        internet: calls that speak to a network, of any process.
        programs: programs that were started.
    """

    code: int
    text: str
    internet: tuple[str, ...]
    programs: tuple[str, ...]


@cache
def has_strace() -> bool:
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return tried.returncode == 0


def synthgen() -> list[str]:
    """Return the installed script, or what it does where it is not installed."""
    script = Path(sys.executable).with_name("synthgen")
    return [str(script)] if script.exists() else [sys.executable, "-P", "-m", "synthgen"]


def watched(command: Sequence[str], folder: Path, log: Path, **environment: str) -> Done:
    """Run a command in a folder and note what its processes did."""
    settings = {**os.environ, **environment}
    settings.pop("OMP_NUM_THREADS", None)  # else joblib does not look for `lscpu`
    if has_strace():
        whole = ["strace", "-f", "--seccomp-bpf", "-s", "300", "-e", "trace=network,execve", "-o", str(log)]
        whole += command
    else:
        whole = [sys.executable, "-P", str(GUARD), str(log), *command]
    done = subprocess.run(whole, cwd=folder, env=settings, capture_output=True, text=True, check=False)
    lines = log.read_text(errors="replace").splitlines()
    internet = tuple(line for line in lines if INTERNET.search(line))
    programs = re.findall(r'execve\("[^"]*", \[(.*?)\](?:\.\.\.)?, .*\) = 0$', "\n".join(lines), re.MULTILINE)
    programs += [line.removeprefix("guard: started ") for line in lines if line.startswith("guard: started")]
    return Done(done.returncode, done.stdout + done.stderr, internet, tuple(programs))


def plant(folder: Path, names: Iterable[str] = PLANTED) -> None:
    """Put modules into a folder that leave a mark there when they are run."""
    text = f"open({str(folder / MARK)!r} + __name__, 'w').close()\nraise RuntimeError('planted')\n"
    for name in (*names, "sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text(text)
    (folder / "synthgen").mkdir()
    (folder / "synthgen" / "__init__.py").write_text(text)
    (folder / "lscpu").write_text(f"#!/bin/sh\ntouch {folder / MARK}lscpu\n")
    (folder / "lscpu").chmod(0o755)


def marks(folder: Path) -> list[str]:
    """Return what was run of that which `plant` put there."""
    return sorted(path.name for path in folder.rglob(f"{MARK}*"))


def write_table(folder: Path) -> None:
    """Write a table of 600 patients, its schema and a config."""
    sexes, n = "FM", 1200
    rows = [f"p{i // 2},{20 + i % 80},{sexes[i % 2]},{'true' if i % 5 == 0 else 'false'}" for i in range(n)]
    (folder / "t.csv").write_text("patient,age,sex,died\n" + "\n".join(rows) + "\n")
    (folder / "t.schema.yaml").write_text(TABLE_SCHEMA)
    (folder / "run.yaml").write_text(TABLE_RUN)


def write_images(folder: Path, generator: str = "embedding") -> None:
    """Write 300 pictures of as many patients, their schema and a config."""
    from PIL import Image

    from tests.support.phantom_cohorts import cohort

    data = cohort(300, size=16)
    scans = folder / "scans"
    scans.mkdir()
    lines = ["patient,file,sex,ill"]
    for i, row in enumerate(data.frame.itertuples()):
        Image.fromarray(data.pixels[i, 0]).save(scans / f"{i}.png")
        lines.append(f"p{i},{i}.png,{row.sex},{str(row.ill).lower()}")
    (scans / "attributes.csv").write_text("\n".join(lines) + "\n")
    (folder / "scans.schema.yaml").write_text(IMAGE_SCHEMA)
    (folder / "images.yaml").write_text(IMAGE_RUN.replace("GENERATOR", generator))
    plant(scans)


def write_dicom(folder: Path) -> None:
    """Write three DICOM files, their schema, and code next to them."""
    import numpy as np

    from tests.support.dicom_files import dataset, write

    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)

    place = folder / "dicom"
    place.mkdir()
    for i in range(3):
        write(place / f"{i}.dcm", dataset(ramp, number=i, PatientID=f"p{i}", PatientSex="F"))
    (folder / "dicom.schema.yaml").write_text(DICOM_SCHEMA)
    plant(place)
