"""Drafts of schemas for images: from a draft to a check that holds, and no value without being asked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from synthgen.cli import app as cli
from synthgen.schema.schema import load_schema
from tests.support.dicom_files import dataset, write


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


def pictures(folder: Path, mode: str, column: str, ending: str) -> Path:
    folder.mkdir()
    for number in range(12):
        Image.new(mode, (6, 6), number if mode in ("L", "I;16") else (number, 9, 9)).save(
            folder / f"x{number}.png"
        )
    names = [f"x{number}{ending}" for number in range(12)]
    frame = pd.DataFrame(
        {"patient": [f"secret{i // 2}" for i in range(12)], column: names, "sex": ["F", "M"] * 6}
    )
    frame.to_csv(folder / "t.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("mode", "channels", "bits"),
    [("L", 1, 8), ("RGB", 3, 8), ("I;16", 1, 16)],
    ids=["grey", "colour", "deep"],
)
@pytest.mark.parametrize(("column", "ending"), [("filename", ".png"), ("scan", ".png"), ("scan", "")])
def test_a_folder_of_pictures_drafts_their_form_and_the_column_that_names_them(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    channels: int,
    bits: int,
    column: str,
    ending: str,
) -> None:
    folder, schema = pictures(tmp_path / "d", mode, column, ending), tmp_path / "s.yaml"
    assert call(capsys, "schema", "init", folder, "-o", schema)[0] == 0
    made = load_schema(schema, complete=False)
    assert made.images is not None
    assert (made.images.channels, made.images.bits) == (channels, bits)
    assert made.images.file == ("filename" if column == "filename" else None)
    assert "secret" not in schema.read_text()
    assert "x1" not in schema.read_text()
    assert call(capsys, "schema", "init", folder, "-o", schema, "--suggest", "--force")[0] == 0
    made = load_schema(schema, complete=False)
    assert made.images is not None
    assert made.images.file == column
    assert made.unit.column == "patient"
    assert call(capsys, "schema", "confirm", schema, "--all")[0] == 0
    code, shown = call(capsys, "schema", "check", schema, folder)
    assert (code, [v for v in shown["violations"] if v["severity"] == "error"]) == (0, [])


@pytest.mark.parametrize(
    ("shape", "kind"), [((12, 4, 4), np.uint8), ((12, 4, 4, 3), np.uint8), ((12, 4, 4), np.uint16)]
)
def test_an_array_file_drafts_its_columns_and_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, ...], kind: Any
) -> None:
    path, schema = tmp_path / "x.npz", tmp_path / "s.yaml"
    np.savez(path, images=np.zeros(shape, kind), label=np.arange(12) % 2, about=np.array("text"))
    for options in ((), ("--suggest",)):
        assert call(capsys, "schema", "init", path, "-o", schema, "--force", *options)[0] == 0
        made = load_schema(schema, complete=False)
        assert made.images is not None
        assert made.images.channels == (3 if len(shape) == 4 else 1)
        assert made.images.bits == (16 if kind == np.uint16 else 8)
        assert made.others == "drop"
    assert call(capsys, "schema", "confirm", schema, "--all")[0] == 0
    assert call(capsys, "schema", "check", schema, path)[0] == 0


def test_a_folder_of_dicom_drafts_what_headers_fill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, schema = tmp_path / "d", tmp_path / "s.yaml"
    folder.mkdir()
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for number in range(6):
        header = {"PatientSex": "FM"[number % 2], "PatientAge": f"{30 + number:03d}Y", "ViewPosition": "PA"}
        write(folder / f"{number}.dcm", dataset(values, number=number, **header))
    assert call(capsys, "schema", "init", folder, "-o", schema)[0] == 0
    made = load_schema(schema)  # the standard's own words are public
    assert [field.name for field in made.fields] == ["patient", "sex", "age"]
    assert call(capsys, "schema", "check", schema, folder)[0] == 0
    assert call(capsys, "schema", "init", folder, "-o", schema, "--suggest", "--force")[0] == 0
    assert "view" in [field.name for field in load_schema(schema, complete=False).fields]
    assert call(capsys, "schema", "confirm", schema, "--all")[0] == 0
    assert call(capsys, "schema", "check", schema, folder)[0] == 0


def test_a_folder_without_images_and_an_array_file_without_columns_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, shown = call(capsys, "schema", "init", tmp_path / "empty", "-o", tmp_path / "s.yaml")
    assert (code, "none of them" in shown["error"]["message"]) == (2, True)
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 4, 4), np.uint8))
    code, shown = call(capsys, "schema", "init", tmp_path / "x.npz", "-o", tmp_path / "s.yaml")
    assert (code, "column for each image" in shown["error"]["message"]) == (3, True)
