"""Print the known defects that would void the guarantee in silence, each with the test that catches it.

python scripts/list_faults.py             defects of private training, planted in the running engine
python scripts/list_faults.py --package   defects of the whole package, planted by scripts/plant_faults.py
python scripts/list_faults.py --json      the latter with the texts that are replaced
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def table() -> str:
    """Return the defects of private training as Markdown."""
    from tests.faults.engine_table import FAULTS

    lines = ["| # | defect | how | caught by |", "|---|---|---|---|"]
    for fault in FAULTS:
        file, _, name = fault.test.partition("::")
        lines.append(f"| {fault.number or '-'} | {fault.defect} | {fault.how} | `{file}.py::{name}` |")
    return "\n".join(lines)


def package_table() -> str:
    """Return the defects of the whole package as Markdown."""
    from tests.faults.package_faults import FAULTS

    lines = ["| area | name | what breaks | planted in | caught by |", "|---|---|---|---|---|"]
    for fault in FAULTS:
        files = ", ".join(dict.fromkeys(edit.file for edit in fault.edits))
        tests = ", ".join(f"`{test.removeprefix('tests/')}`" for test in fault.tests)
        lines.append(f"| {fault.area} | {fault.name} | {fault.breaks} | `{files}` | {tests} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", action="store_true", help="defects of the whole package")
    parser.add_argument("--json", action="store_true", help="these as JSON, with the texts that are replaced")
    given = parser.parse_args()
    if given.json:
        from tests.faults.package_faults import FAULTS

        print(json.dumps([dataclasses.asdict(fault) for fault in FAULTS], indent=1))
    else:
        print(package_table() if given.package else table())


if __name__ == "__main__":
    main()
