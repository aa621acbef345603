"""Print the table of known defects of private training, and the test that catches each."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    """Print Markdown."""
    from tests.faults.engine_table import FAULTS

    print("| # | defect | how | caught by |\n|---|---|---|---|")
    for fault in FAULTS:
        file, _, name = fault.test.partition("::")
        print(f"| {fault.number or '-'} | {fault.defect} | {fault.how} | `{file}.py::{name}` |")


if __name__ == "__main__":
    main()
