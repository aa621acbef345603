"""The threat model names a test for each line that holds, and each named test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
REFERENCES = sorted(set(NAMED.findall(TEXT)))


def rows() -> list[list[str]]:
    """Return the cells of the tables' rows, without heads and rules."""
    lines = [line for line in TEXT.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if len(row) == 4 and not set("".join(row)) <= set("-: ")]


@pytest.mark.parametrize(("file", "name"), REFERENCES, ids=lambda part: part)
def test_a_named_test_exists_and_is_not_skipped_by_a_decorator(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in found, f"expected {name} in {file}"
    marks = [ast.unparse(mark) for mark in found[name].decorator_list]
    assert not any(mark.startswith("pytest.mark.skip(") or ".xfail" in mark for mark in marks)


def test_every_row_names_a_test() -> None:
    heads = {"asset"}
    lines = [row for row in rows() if row[0].lower() not in heads]
    assert len(lines) >= 25
    without = [row[:2] for row in lines if not NAMED.search(row[3])]
    assert without == []
