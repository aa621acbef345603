"""A cohort of images through the whole line, by the command line: plan, run, sample, bundle, verify."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from synthgen.cli import app as cli
from synthgen.data.images import SyntheticImages
from synthgen.data.tables import RealTable
from synthgen.ingest.image_cohort import image_units
from synthgen.ingest.images.read import read_images
from synthgen.schema.schema import load_schema
from tests.support.phantom_cohorts import cohort

SCHEMA = """
unit: {column: patient, max_records: 2}
images: {file: file, channels: 1, bits: 8}
fields:
  - {name: patient, type: string, role: id}
  - {name: file, type: string, role: id}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: ill, type: boolean, role: label, constraints: {required: true}}
rules: []
"""
CONFIG = """
cohort: phantoms
seed: 3
data: {images: {path: scans/, schema: scans.schema.yaml, size: 16}}
budget: {ledger: 'sqlite:///ledger.db', epsilon: 8.0, delta: 1e-5, patients: 300}
generator: {name: embedding, attributes: {name: marginal, share: 0.2, iterations: 50}}
sample: {records: 120}
release: {formats: [csv]}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cohort")
    data = cohort(300, size=20)
    (place / "scans").mkdir()
    lines = ["patient,file,sex,ill"]
    for i, (unit, row) in enumerate(zip(data.units, data.frame.itertuples(), strict=True)):
        Image.fromarray(data.pixels[i, 0]).save(place / "scans" / f"{i}.png")
        lines.append(f"{unit},{i}.png,{row.sex},{str(row.ill).lower()}")
    (place / "scans" / "7.png").write_bytes(b"no image")
    (place / "scans" / "attributes.csv").write_text("\n".join(lines) + "\n")
    (place / "scans.schema.yaml").write_text(SCHEMA)
    (place / "run.yaml").write_text(CONFIG)
    return place


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return int(stop.value.code or 0), json.loads(out)


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    with pytest.raises(SystemExit):
        cli.main(["run", str(place / "run.yaml"), "--output", str(place / "run"), "--json"])
    return place / "run"


def test_a_fit_that_was_cut_off_goes_on_from_its_stored_answers(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthgen.generators.embedding.fitted import FittedEmbedding
    from synthgen.privacy import noise

    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    asked = ["fit", place / "run.yaml", "--output", tmp_path / "cut", "--set", f"budget.ledger={url}"]

    def full(self: Any, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(FittedEmbedding, "save", full)
        assert call(capsys, *asked)[0] == 1
    monkeypatch.setattr(noise._SystemNoise, "_gaussian", lambda *a: pytest.fail("was drawn again"))
    assert call(capsys, *asked, "--resume")[0] == 0
    shown = call(capsys, "ledger", "show", "--ledger", url)[1]
    assert shown["cohorts"][0]["spends"] == 1


def test_plan_reads_no_image(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen.ingest.images.read.read_images", lambda *a, **k: pytest.fail("read"))
    code, shown = call(capsys, "plan", place / "run.yaml")
    assert code == 0
    assert shown["generator"] == "embedding"
    names = [stage["name"] for stage in shown["stages"]]
    assert names[-1] == "count, mean and second moment"
    assert names[0].startswith("attributes: ")
    assert sum(stage["share"] for stage in shown["stages"]) == pytest.approx(1.0)


def test_a_run_writes_attributes_and_images_and_keeps_counts_inside(run: Path) -> None:
    table = (run / "public" / "synthetic.csv").read_text().splitlines()
    assert table[0] == "patient,file,sex,ill"
    assert table[1].split(",")[:2] == ["S00000001", "images/00000/S00000001.png"]
    with zipfile.ZipFile(run / "public" / "synthetic.zip") as archive:
        assert archive.namelist() == [line.split(",")[1] for line in table[1:]]
    counts = json.loads((run / "internal" / "ingest.json").read_text())
    assert counts["quarantined"] == {"not a PNG, JPEG or TIFF image": 1}
    assert counts["quarantined_files"] == [["7.png", "not a PNG, JPEG or TIFF image"]]
    public = [path.read_bytes() for path in (run / "public").rglob("*") if path.is_file()]
    assert not any(b'7.png"' in content or b"quarantine" in content for content in public)


def test_the_public_report_shows_synthetic_images_and_the_internal_one_real_ones_too(run: Path) -> None:
    public = (run / "public" / "report.html").read_text()
    internal = (run / "internal" / "report.html").read_text()
    assert public.count("<img") == 2
    assert internal.count("<img") == 5
    assert "Nearest pairs" in internal
    assert (
        "Real"
        not in public.replace("Realistic", "").split("The synthetic images", 1)[1].split("</section>")[0]
    )
    assert "://" not in public


def test_sample_writes_a_folder_that_is_read_back_and_repeats(
    run: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        asked = ["sample", run, "-n", 30, "-o", tmp_path / name, "--where", "ill=true", "--seed", 4]
        code, shown = call(capsys, *asked, "--shards", 2)
        assert code == 0
        assert len(shown["files"]) == 2
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    assert sum(f.suffix == ".png" for f in files) == 30
    schema = load_schema(place / "scans.schema.yaml")
    sized = schema.model_copy(update={"images": schema.images.model_copy(update={"size": 16})})
    back = read_images(tmp_path / "a", sized, table=tmp_path / "a" / "attributes-00001-of-00002.csv")
    assert back.report == {"images": 15, "quarantined": {}, "without_row": 15}
    assert set(back.frame["ill"]) == {"true"}
    code, _ = call(capsys, "sample", run, "-n", 3, "-o", tmp_path / "x.npz")
    assert code == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (3, 16, 16)
        assert arrays["file"].tolist()[0] == "images/00000/S00000001.png"
    assert call(capsys, "sample", run, "-n", 3, "-o", tmp_path / "x.csv")[0] == 2


@pytest.fixture
def bundle(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    code, _ = call(capsys, "release", run, "--output", tmp_path / "bundle", "--override", "a test")
    assert code == 0
    return tmp_path / "bundle"


def test_a_bundle_of_images_verifies(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "verify", bundle) == (0, {"bundle": str(bundle), "verified": True, "problems": []})
    package = json.loads((bundle / "datapackage.json").read_text())
    assert [r["path"] for r in package["resources"]] == ["data/phantoms.csv", "data/phantoms.zip"]


@pytest.mark.parametrize("how", ["text", "name", "size", "one less", "trailing", "other table"])
def test_verify_finds_what_does_not_belong_into_an_archive(how: str, bundle: Path) -> None:
    from synthgen.release.bundle.data_checks import data_problems

    schema = load_schema(bundle / "schema.yaml")
    path = bundle / "data" / "phantoms.zip"
    assert data_problems(path, schema, records=120) == []
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    first = next(iter(content))
    if how == "text":
        info = PngImagePlugin.PngInfo()
        info.add_text("Patient", "Doe")
        Image.new("L", (16, 16)).save(bundle / "t.png", pnginfo=info)
        content[first] = (bundle / "t.png").read_bytes()
    if how == "size":
        Image.new("L", (17, 16)).save(bundle / "t.png")
        content[first] = (bundle / "t.png").read_bytes()
    if how == "trailing":
        content[first] += b"Doe"
    if how == "name":
        content = {("images/00000/Doe.png" if n == first else n): c for n, c in content.items()}
    if how == "one less":
        content.popitem()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    if how == "other table":
        table = bundle / "data" / "phantoms.csv"
        table.write_text(table.read_text().replace("S00000002.png", "Doe.png"))
        path = table
    problems = data_problems(path, schema, records=120)
    assert problems
    assert "Doe" not in str(problems)


def test_changed_images_are_found_before_anything_is_done(
    place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "scans" / "9.png"
    kept = path.read_bytes()
    path.write_bytes(kept + b"x")
    try:
        code, shown = call(capsys, "run", place / "run.yaml", "--output", run)
        assert (code, "changed data" in shown["error"]["message"]) == (2, True)
    finally:
        path.write_bytes(kept)
    assert call(capsys, "run", place / "run.yaml", "--output", run)[0] == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": "{table: {path: scans/attributes.csv, schema: scans.schema.yaml}}"}, "images"),
        ({"generator": "{name: marginal}"}, "embedding"),
        ({"generator": "{name: embedding, attributes: {name: nothing}}"}, "attributes.name"),
        ({"data": "{}"}, "table or images"),
        ({"data.images.size": "0"}, "size"),
        ({"data.images.path": "nowhere"}, "images"),
    ],
)
def test_wrong_configs_say_what_was_expected(
    change: dict[str, str], words: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [part for key, value in change.items() for part in ("--set", f"{key}={value}")]
    code, shown = call(capsys, "fit", place / "run.yaml", "--output", tmp_path / "fit", *asked)
    assert code in (2, 3)
    assert words in shown["error"]["message"]


def test_a_row_is_named_by_its_own_pixels_and_by_no_other() -> None:
    data = cohort(20, images=(1, 1))
    pixels = np.concatenate([data.pixels, data.pixels[:1]])
    frame = data.frame.iloc[[*range(20), 0]].reset_index(drop=True)
    alike = RealTable(data.schema, frame, np.array([f"same#{i}" for i in range(21)], dtype=object))
    names = image_units(alike, pixels)
    assert len(set(names)) == 21
    assert names[20].endswith("#1")
    without = image_units(alike.select(np.arange(21) != 5), np.delete(pixels, 5, axis=0))
    assert set(without) == set(names) - {names[5]}


def test_schema_check_names_what_is_left_out_and_what_is_wrong(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = call(capsys, "schema", "check", place / "scans.schema.yaml", place / "scans")
    assert (code, shown["valid"]) == (0, True)
    (row,) = [row for row in shown["violations"] if row["column"] == "images"]
    assert (row["rule"], row["count"]) == ("left out: not a PNG, JPEG or TIFF image", 1)
    (tmp_path / "s.yaml").write_text(SCHEMA.replace("[F, M]", "[F, W]"))
    code, shown = call(capsys, "schema", "check", tmp_path / "s.yaml", place / "scans")
    assert (code, shown["valid"]) == (3, False)
    assert "sex" in {row["column"] for row in shown["violations"]}


def test_the_python_way_fits_draws_and_loads_images(place: Path, tmp_path: Path) -> None:
    import synthgen

    model = synthgen.fit(
        place / "scans",
        schema=place / "scans.schema.yaml",
        generator="embedding",
        size=16,
        epsilon=2.0,
        delta=1e-5,
        patients=300,
        ledger=f"sqlite:///{tmp_path / 'l.db'}",
        cohort="python",
    )
    images = model.sample_images(5, where={"ill": True})
    model.save(tmp_path / "model")
    again = synthgen.load(tmp_path / "model").sample_images(5, where={"ill": True})
    assert isinstance(images, SyntheticImages)
    assert isinstance(again, SyntheticImages)
    assert images.pixels.tobytes() == again.pixels.tobytes()


def test_a_demo_of_an_unknown_generator_or_kind_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = call(capsys, "demo", "imaging", "--output", tmp_path / "d", "--generator", "nothing")
    assert (code, "embedding" in shown["error"]["message"]) == (2, True)
    code, shown = call(capsys, "demo", "music", "--output", tmp_path / "e")
    assert (code, "imaging" in shown["error"]["message"]) == (2, True)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_records: 2}", "max_records: 2, records: linked}", "linked"),
        ("constraints: {enum: [F, M], required: true}", "categories: paid", "paid"),
        ("images: {file: file, channels: 1, bits: 8}", "", "images"),
        ("{file: file, channels: 1, bits: 8}", "{file: sex, channels: 1}", "images.file"),
        ("{file: file, channels: 1, bits: 8}", "{file: file, channels: 3, bits: 12}", "colour"),
    ],
)
def test_schemas_that_images_cannot_have_are_refused(
    old: str, new: str, words: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in SCHEMA
    (tmp_path / "s.yaml").write_text(SCHEMA.replace(old, new))
    changes = [f"data.images.schema={tmp_path / 's.yaml'}"]
    changes += ["budget.preprocessing=0.1"] if "paid" in new else []
    code, shown = call(
        capsys, "plan", place / "run.yaml", *(part for text in changes for part in ("--set", text))
    )
    assert code == 2
    assert words in shown["error"]["message"]


def test_a_spend_over_the_cap_opens_no_image(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    cap = ("ledger", "open", "phantoms", "--epsilon", 4, "--delta", 1e-5, "--ledger", url)
    assert call(capsys, *cap)[0] == 0
    opened: list[object] = []
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a))
    monkeypatch.setattr("synthgen.ingest.image_cohort.read_images", lambda *a, **k: opened.append(a))
    asked = ("run", place / "run.yaml", "--output", tmp_path / "run", "--set", f"budget.ledger={url}")
    code, shown = call(capsys, *asked)
    assert (code, shown["error"]["code"]) == (4, "budget")
    assert not opened


@pytest.mark.parametrize(("n_broken", "code"), [(2, 0), (3, 3), (19, 3), (20, 3)])
def test_a_share_of_pictures_left_out_fails_the_check_and_stops_a_fit_before_a_spend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], n_broken: int, code: int
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for number in range(20):
        grey = np.full((8, 8), 10 * number, dtype=np.uint8)
        Image.fromarray(grey).save(folder / f"{number}.png")
        if number < n_broken:
            (folder / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    rows = [f"{number}.png,p{number},{'F' if number % 2 else 'M'}" for number in range(20)]
    (folder / "t.csv").write_text("\n".join(["file,patient,sex", *rows]))
    (tmp_path / "s.yaml").write_text(
        "unit: {column: patient}\nimages: {file: file}\nfields:\n"
        "  - {name: file, type: string, role: id}\n  - {name: patient, type: string, role: id}\n"
        "  - {name: sex, type: string, role: label, constraints: {enum: [F, M]}}\n"
    )
    (tmp_path / "run.yaml").write_text(
        "cohort: small\ndata: {images: {path: d, schema: s.yaml, size: 8}}\n"
        "budget: {ledger: 'sqlite:///ledger.db', epsilon: 10.0, delta: 1e-5, patients: 20}\n"
        "generator: {name: embedding, attributes: {name: marginal, share: 0.2, iterations: 50}}\n"
    )

    def call(*arguments: object) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as stop:
            cli.main([*map(str, arguments), "--json"])
        return int(stop.value.code or 0), json.loads(capsys.readouterr().out)

    found, shown = call("schema", "check", tmp_path / "s.yaml", folder)
    assert found == code
    assert "damaged" in json.dumps(shown) or "not a PNG" in json.dumps(shown)
    assert call("fit", tmp_path / "run.yaml", "--output", tmp_path / "run")[0] == code
    ledger = call("ledger", "show", "--ledger", f"sqlite:///{tmp_path / 'ledger.db'}")[1]
    assert [one["epsilon"] > 0 for one in ledger["cohorts"]] == ([True] if code == 0 else [])
    assert ledger["orphans"] == []


@pytest.mark.parametrize("taken", [(), ("image_file",)])
def test_rows_of_an_array_files_cohort_name_their_pictures(tmp_path: Path, taken: tuple[str, ...]) -> None:
    """An ``.npz`` file has no column of names: tables and archives tie row and picture all the same."""
    from synthgen.data.tables import require_columns
    from synthgen.release.bundle.data_checks import data_problems
    from synthgen.sampling.image_files import write_array, write_cohort
    from synthgen.schema.schema import Schema

    fields = [
        {"name": name, "type": "integer", "constraints": {"enum": [0, 1, 2]}} for name in ("label", *taken)
    ]
    content = {"unit": "row", "images": {"size": 4}, "fields": fields}
    schema = Schema.model_validate_json(json.dumps(content))
    frame = pd.DataFrame({f["name"]: pd.Categorical([2, 0, 1], categories=[0, 1, 2]) for f in fields})
    pixels = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.full((1, 1, 4, 4), 100, dtype=np.uint8)
    table = SyntheticImages(schema, frame, pixels=pixels)
    write_cohort(table, tmp_path, "synthetic", ("csv", "parquet"))
    (column,) = schema.added_columns
    assert (column == "image_file") == (not taken)
    for read_back in (
        pd.read_csv(tmp_path / "synthetic.csv"),
        pd.read_parquet(tmp_path / "synthetic.parquet"),
    ):
        assert list(read_back.columns) == [*(f["name"] for f in fields), column] == table.columns
        require_columns(read_back.columns, schema, where="")
        with zipfile.ZipFile(tmp_path / "synthetic.zip") as archive:
            for row, name in enumerate(read_back[column]):
                with archive.open(name) as stream:
                    assert np.asarray(Image.open(stream)).max() == pixels[row].max()
    assert data_problems(tmp_path / "synthetic.csv", schema, records=3) == []
    wrong = pd.read_csv(tmp_path / "synthetic.csv")
    wrong[column] = wrong[column].iloc[::-1].to_numpy()
    wrong.to_csv(tmp_path / "synthetic.csv", index=False)
    assert "file names" in data_problems(tmp_path / "synthetic.csv", schema, records=3)[0]
    write_array(table, tmp_path / "x.npz")
    assert column not in np.load(tmp_path / "x.npz")


def test_an_odd_entry_and_a_defect_of_ours_leave_no_reservation_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(
        tmp_path / "x.npz",
        images=np.zeros((8, 4, 4), np.uint8),
        label=np.arange(8) % 2,
        version=np.float64(2),
    )
    (tmp_path / "s.yaml").write_text(
        "unit: row\nimages: {channels: 1}\nfields:\n"
        "  - {name: label, type: integer, role: label, constraints: {enum: [0, 1]}}\n"
    )
    (tmp_path / "run.yaml").write_text(
        "cohort: odd\ndata: {images: {path: x.npz, schema: s.yaml, size: 4}}\n"
        "budget: {epsilon: 10.0, delta: 1e-5, patients: 8}\n"
        "generator: {name: embedding, attributes: {name: marginal, share: 0.2, iterations: 50}}\n"
    )

    def call(*arguments: object) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as stop:
            cli.main([*map(str, arguments), "--json"])
        return int(stop.value.code or 0), json.loads(capsys.readouterr().out)

    code, shown = call("fit", tmp_path / "run.yaml", "--output", tmp_path / "a")
    assert (code, "'version' is a single value" in shown["error"]["message"]) == (3, True)

    def defect(*_: Any, **__: Any) -> None:
        raise TypeError("a defect")

    monkeypatch.setattr("synthgen.ingest.image_cohort.read_images", defect)
    assert call("fit", tmp_path / "run.yaml", "--output", tmp_path / "b")[0] == 1
    ledger = call("ledger", "show", "--ledger", f"sqlite:///{tmp_path / 'ledger_odd.db'}")[1]
    assert ledger["orphans"] == []
    assert ledger["cohorts"] == []  # opened for tries that were refused, and closed again
