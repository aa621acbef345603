"""Print what becomes of every file of folders: by transfer syntax, how many are read, and why others are not.

python scripts/show_dicom.py FOLDER...
python scripts/show_dicom.py --index FOLDER     seconds and peak memory of the index alone
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from pathlib import Path

from synthgen.ingest.dicom import header as dicom_header
from synthgen.ingest.dicom import index as ingest
from synthgen.ingest.dicom.files import find
from synthgen.ingest.dicom.worker import Decoder
from synthgen.ingest.images.decode import Unusable
from synthgen.printable import printable
from synthgen.schema.image_format import Dicom, Images


def syntax(path: Path) -> str:
    """Return the name of a file's transfer syntax."""
    with dicom_header.quiet():
        try:
            return str(dicom_header.read_dataset(path, pixels=False).file_meta.TransferSyntaxUID.name)
        except (Unusable, *dicom_header.BROKEN):
            return "(none)"


def outcomes(folder: Path, decoder: Decoder) -> Counter[tuple[str, str]]:
    """Return files by syntax and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    for path in find(folder):
        if path is None:
            found["(none)", "not there"] += 1
            continue
        try:
            header = dicom_header.read_header(path)
            for frame in range(header.frames):
                decoder.decode(path, frame)
            outcome = "read"
        except Unusable as reason:
            outcome = str(reason)
        found[syntax(path), outcome] += 1
    return found


def show_index(folder: Path) -> None:
    start = time.perf_counter()
    found = ingest.index(folder, Dicom(), without="leave_out")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.perf_counter() - start
    print(f"{found.files} files, {len(found.frames)} images in {seconds:.1f} s, peak memory {peak:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--index", action="store_true", help="time the index alone")
    asked = parser.parse_args()
    if asked.index:
        show_index(asked.folders[0])
        return
    total: Counter[tuple[str, str]] = Counter()
    with Decoder(Images(channels=1, size=64), Dicom()) as decoder:
        for folder in asked.folders:
            total += outcomes(folder, decoder)
    for (name, outcome), count in sorted(total.items()):
        print(f"{printable(name):60} {printable(outcome):34} {count:5}")
    print(f"{'all files':95} {sum(total.values()):5}")


if __name__ == "__main__":
    main()
