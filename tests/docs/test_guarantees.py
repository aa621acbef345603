"""Every place that the maintainers' docs name exists, and every generator has its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from synthgen import plugins

ROOT = Path(__file__).resolve().parents[2]
DOCS = ("guarantees.md", "architecture.md", "add_a_generator.md", "add_a_metric.md")
PLACE = re.compile(r"`((?:synthgen/|tests/)?[a-z_]+(?:/[a-z_]+)*\.(?:py|yaml))(?:::([\w.]+))?`")
NEW = {"synthgen/generators/tabular/histograms.py", "synthgen/evaluation/fidelity/means.py"}


def text_of(name: str) -> str:
    return re.sub(r"```.*?```", "", (ROOT / "docs" / name).read_text(encoding="utf-8"), flags=re.S)


PLACES = sorted({(name, *match) for name in DOCS for match in PLACE.findall(text_of(name))})


def file_of(path: str) -> Path | None:
    for root in ("", "synthgen", "tests", "tests/dpsgd"):
        if (ROOT / root / path).is_file():
            return ROOT / root / path
    return None


@pytest.mark.parametrize(("doc", "path", "name"), [place for place in PLACES if place[1] not in NEW])
def test_a_named_place_exists(doc: str, path: str, name: str) -> None:
    file = file_of(path)
    assert file is not None, f"docs/{doc}: expected {path}"
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.suffix == ".py" else None
    for part in filter(None, name.split(".")):
        assert tree is not None
        inside = {n.name: n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        assert part in inside, f"docs/{doc}: expected {part} in {path}"
        tree = inside[part]  # type: ignore[assignment]


@pytest.mark.parametrize("modality", ["tabular", "imaging"])
def test_every_generator_has_a_row(modality: str) -> None:
    rows = [line for line in text_of("guarantees.md").splitlines() if line.startswith("|")]
    for name in plugins.names(f"synthgen.generators.{modality}"):
        assert any(line.startswith(f"| {modality} `{name}` |") for line in rows), name


def test_the_tree_in_the_docs_is_the_packages() -> None:
    named = set(re.findall(r"\b([a-z]+)/", text_of("architecture.md").partition("## The way")[0]))
    folders = {path.parent.name for path in (ROOT / "synthgen").glob("*/__init__.py")}
    assert folders <= named
