"""Print the table of known defects of private training, and the test that catches each."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def table() -> str:
    """Return the table as Markdown."""
    from tests.faults.engine_table import FAULTS

    lines = ["| # | defect | how | caught by |", "|---|---|---|---|"]
    for fault in FAULTS:
        file, _, name = fault.test.partition("::")
        lines.append(f"| {fault.number or '-'} | {fault.defect} | {fault.how} | `{file}.py::{name}` |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
