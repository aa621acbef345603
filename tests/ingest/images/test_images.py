"""Images in: any form to the declared one, odd files left out with a reason, nothing learnt."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from synthgen.data.images import RealImages
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.images import decode
from synthgen.ingest.images.read import RawImages, read_images
from synthgen.schema.schema import Schema

FIELDS = [
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "file", "type": "string", "role": "id"},
    {"name": "label", "type": "integer", "role": "label", "constraints": {"enum": [0, 1]}},
]


def schema_of(size: int = 4, **images: Any) -> Schema:
    content = {"unit": {"column": "pid", "max_records": 9}, "fields": FIELDS}
    return Schema.model_validate_json(
        json.dumps({**content, "images": {"file": "file", "size": size, **images}})
    )


def grey(value: float, shape: tuple[int, int] = (8, 8), kind: Any = np.uint8) -> Image.Image:
    return Image.fromarray(np.full(shape, value, dtype=kind))


def folder_of(place: Path, files: dict[str, Image.Image | bytes], rows: list[str] | None = None) -> Path:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content) if isinstance(content, bytes) else content.save(path)
    lines = [f"p{i},{name},{i % 2}" for i, name in enumerate(files if rows is None else rows)]
    (place / "table.csv").write_text("pid,file,label\n" + "\n".join(lines) + "\n")
    return place


def read(place: Path, **form: Any) -> RawImages:
    return read_images(place, schema_of(**form))


def test_a_folder_of_png_jpeg_and_tiff_is_read_in_the_order_of_its_table(tmp_path: Path) -> None:
    files = {"b.png": grey(200), "a.jpg": grey(100), "deep/c.tif": grey(50), "d.TIFF": grey(7)}
    raw = read(folder_of(tmp_path, files))
    assert raw.pixels.dtype == np.uint8
    assert raw.pixels.shape == (4, 1, 4, 4)
    assert [int(p.mean()) for p in raw.pixels] == [200, 100, 50, 7]
    assert raw.frame["pid"].tolist() == ["p0", "p1", "p2", "p3"]
    assert raw.report == {"images": 4, "quarantined": {}, "without_row": 0}


@pytest.mark.parametrize(
    ("bits", "channels", "image", "expected"),
    [
        (8, 1, grey(200), [200]),
        (8, 1, grey(51400, kind=np.uint16), [200]),  # 51400 / 65535 of 255
        (16, 1, grey(51400, kind=np.uint16), [51400]),
        (12, 1, grey(1000, kind=np.uint16), [1000]),
        (12, 1, grey(5000, kind=np.uint16), [4095]),  # beyond the declared depth
        (16, 1, grey(200), [51400]),
        (8, 3, grey(200), [200, 200, 200]),
        (8, 3, Image.new("RGB", (8, 8), (10, 20, 30)), [10, 20, 30]),
        (8, 1, Image.new("RGB", (8, 8), (200, 200, 200)), [200]),
        (8, 1, Image.new("1", (8, 8), 1), [255]),
        (8, 3, Image.new("RGBA", (8, 8), (200, 100, 50, 0)), [0, 0, 0]),  # clear is black
        (8, 1, Image.new("LA", (8, 8), (200, 255)), [200]),
        (8, 3, Image.new("RGB", (8, 8), (9, 8, 7)).quantize(4), [9, 8, 7]),
    ],
)
def test_depth_and_channels_follow_the_declaration(
    tmp_path: Path, bits: int, channels: int, image: Image.Image, expected: list[int]
) -> None:
    raw = read(folder_of(tmp_path, {"a.png": image}), bits=bits, channels=channels)
    assert raw.pixels[0].reshape(channels, -1).mean(axis=1).tolist() == expected


def test_no_value_of_another_image_moves_an_image(tmp_path: Path) -> None:
    """Least and largest values are never learnt: an extreme neighbour leaves all else as it was."""
    ramp = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) + 40)
    first = read(folder_of(tmp_path / "a", {"x.png": ramp}))
    second = read(
        folder_of(tmp_path / "b", {"x.png": ramp, "y.png": grey(255), "z.png": grey(65535, kind=np.uint16)})
    )
    assert np.array_equal(first.pixels[0], second.pixels[0])
    assert first.pixels.min() > 0
    assert first.pixels.max() < 255


@pytest.mark.parametrize(
    ("shape", "fit", "black"), [((8, 2), "pad", 12), ((2, 8), "pad", 12), ((8, 2), "crop", 0)]
)
def test_what_is_no_square_is_padded_or_cropped(
    tmp_path: Path, shape: tuple[int, int], fit: str, black: int
) -> None:
    raw = read(folder_of(tmp_path, {"a.png": grey(255, shape)}), fit=fit)
    assert int((raw.pixels == 0).sum()) == black


def test_shrinking_takes_the_mean_of_the_area(tmp_path: Path) -> None:
    stripes = Image.fromarray(np.tile(np.array([[0, 255], [0, 255]], dtype=np.uint8), (8, 8)))
    raw = read(folder_of(tmp_path, {"a.png": stripes}))
    assert np.abs(raw.pixels.astype(int) - 127).max() <= 1  # picking pixels would give 0 or 255


@pytest.mark.parametrize("shape", [(1, 1), (5000, 3), (3, 5000), (5000, 5000)])
def test_one_pixel_and_five_thousand_are_images(tmp_path: Path, shape: tuple[int, int]) -> None:
    raw = read(folder_of(tmp_path, {"a.png": grey(90, shape)}))
    assert raw.pixels.max() == 90


def frames() -> bytes:
    import io

    buffer = io.BytesIO()
    grey(1).save(buffer, format="TIFF", save_all=True, append_images=[grey(2)])
    return buffer.getvalue()


def png_bytes() -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)).save(
        buffer, format="PNG"
    )
    return buffer.getvalue()


def test_odd_files_are_left_out_with_a_reason_and_stop_nothing(tmp_path: Path) -> None:
    files: dict[str, Image.Image | bytes] = {
        "good.png": grey(3),
        "cut.png": png_bytes()[:900],
        "flip.png": png_bytes()[:200] + b"xyz" + png_bytes()[203:],
        "empty.png": b"",
        "text.jpg": b"patient Doe",
        "pages.tif": frames(),
        "float.tif": Image.fromarray(np.ones((4, 4), dtype=np.float32)),
        "gif.png": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    }
    folder_of(tmp_path, files, [*files, "absent.png", ""])
    for name in ("one/same.png", "two/same.png", "stray.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        grey(1).save(tmp_path / name)
    raw = read(tmp_path)
    assert raw.frame["file"].tolist() == ["good.png"]
    reasons = dict(raw.quarantined)
    assert reasons["text.jpg"] == reasons["gif.png"] == decode.UNKNOWN
    assert reasons["empty.png"] == decode.NOTHING
    assert reasons["cut.png"] == reasons["flip.png"] == decode.DAMAGED
    assert (reasons["pages.tif"], reasons["float.tif"]) == (decode.FRAMES, decode.KIND)
    assert reasons["absent.png"] == reasons[""] == "no file of that name"
    assert raw.report["without_row"] == 3
    assert "Doe" not in str(raw.report)
    assert sum(raw.report["quarantined"].values()) == len(raw.quarantined)


@pytest.mark.parametrize("rows", [["same"], ["a.png", "./a.png"], ["a.png", "a"]])
def test_an_image_that_two_records_may_mean_refuses_the_cohort(tmp_path: Path, rows: list[str]) -> None:
    """Left out in silence, a record would come back when another patient's file goes."""
    files = {"a.png": grey(1), "one/same.png": grey(2), "two/same.png": grey(3)}
    with pytest.raises(DataError, match="one record an image") as caught:
        read(folder_of(tmp_path, files, rows))
    assert "same" not in str(caught.value.message)
    arrays = {"images": np.zeros((2, 4, 4), dtype=np.uint8), "file": np.array(["x", "x"])}
    with pytest.raises(DataError, match="one record an image"):
        read_images(npz(tmp_path, **arrays), schema_of(), table=tmp_path / "table.csv")


def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path, {"big.png": png_bytes()})
    monkeypatch.setenv("SYNTHGEN_LIMIT_IMAGE_PIXELS", "100")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(DataError, match="pixels"):
        read(tmp_path)


def test_names_may_lack_their_ending_or_their_folder(tmp_path: Path) -> None:
    folder_of(tmp_path, {"x/a.png": grey(1), "x/b.png": grey(2), "c.png": grey(3)}, ["a", "b.png", "./c.png"])
    assert [int(p.mean()) for p in read(tmp_path).pixels] == [1, 2, 3]


def test_a_folder_without_one_table_or_without_the_column_says_what_to_do(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": grey(1)})
    with pytest.raises(ConfigError, match=r"images\.file"):
        read(tmp_path, file=None)
    (tmp_path / "second.csv").write_text("a\n1\n")
    with pytest.raises(ConfigError, match=r"data\.images\.table"):
        read(tmp_path)


def npz(place: Path, **arrays: Any) -> Path:
    with zipfile.ZipFile(place / "x.npz", "w") as archive:  # numpy.savez takes no column named `file`
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values)
    return place / "x.npz"


def test_medmnists_layout_gives_split_and_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = {
        f"{s}_images": rng.integers(0, 256, (n, 4, 4)).astype(np.uint8)
        for s, n in (("train", 70), ("test", 5))
    }
    labels = {"train_labels": np.arange(70)[:, None] % 2, "test_labels": np.arange(5)[:, None] % 2}
    raw = read_images(npz(tmp_path, **images, **labels), schema_of())
    assert np.array_equal(raw.pixels[:, 0], np.concatenate([images["train_images"], images["test_images"]]))
    assert raw.frame["split"].tolist() == ["train"] * 70 + ["test"] * 5
    assert raw.frame["label"].tolist() == [*(np.arange(70) % 2), *(np.arange(5) % 2)]


@pytest.mark.parametrize(
    ("shape", "kind"), [((5, 9, 9, 3), np.uint8), ((5, 9, 9, 1), np.uint8), ((5, 9, 9), np.uint16)]
)
def test_arrays_of_colour_and_of_16_bits_are_brought_to_the_declared_form(
    tmp_path: Path, shape: tuple[int, ...], kind: Any
) -> None:
    top = np.iinfo(kind).max
    raw = read_images(npz(tmp_path, images=np.full(shape, top, dtype=kind)), schema_of())
    assert raw.pixels.shape == (5, 1, 4, 4)
    assert raw.pixels.min() == 255


def test_an_array_file_may_be_joined_with_a_table(tmp_path: Path) -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), dtype=np.uint8)
    path = npz(tmp_path, images=images, file=np.array(["a", "b", "c", "d"]))
    (tmp_path / "t.csv").write_text("pid,file,label\np1,c,0\np2,a,1\np3,x,1\n")
    raw = read_images(path, schema_of(), table=tmp_path / "t.csv")
    assert raw.frame["pid"].tolist() == ["p1", "p2"]
    assert [int(p.mean()) for p in raw.pixels] == [2, 0]
    assert raw.report == {"images": 2, "quarantined": {"no file of that name": 1}, "without_row": 2}


class Trap:
    """Fails the test if it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


GOOD = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "pickle": (
        {"images": GOOD, "label": np.array([Trap()] * 3, dtype=object)},
        "'label' holds Python objects",
    ),
    "pickled images": ({"images": np.array([Trap()] * 3, dtype=object)}, "object, not uint8"),
    "float": ({"images": GOOD.astype(float)}, "float64, not uint8"),
    "integers": ({"images": GOOD.astype(np.int64)}, "int64, not uint8"),
    "booleans": ({"images": GOOD > 7}, "bool, not uint8"),
    "channels first": ({"images": np.zeros((3, 3, 8, 8), dtype=np.uint8)}, "channels come last"),
    "four channels": ({"images": np.zeros((3, 8, 8, 4), dtype=np.uint8)}, "1 or 3 channels"),
    "one image": ({"images": GOOD[0]}, r"its shape is \(4, 4\)"),
    "a single value": ({"images": np.uint8(3)}, r"its shape is \(\)"),
    "no image": ({"images": GOOD[:0]}, "holds no image"),
    "no pixels": ({"images": GOOD[:, :0]}, "no pixels"),
    "Fortran": ({"images": np.asfortranarray(np.zeros((3, 4, 5), dtype=np.uint8))}, "Fortran"),
    "scalar": ({"images": GOOD, "version": np.float64(2)}, "'version' is a single value"),
    "text": ({"images": GOOD, "description": np.array("chest")}, "'description' is a single value"),
    "lengths": ({"images": GOOD, "label": np.zeros(2)}, "'label' has 2 values for 3 images"),
    "empty column": ({"images": GOOD, "label": np.zeros((3, 0))}, "shape"),
    "masks": ({"images": GOOD, "masks": GOOD}, "'masks' has the shape"),
    "complex": ({"images": GOOD, "label": np.zeros(3, dtype=complex)}, "no column"),
    "records": ({"images": GOOD, "label": np.zeros(3, dtype=[("a", "i4")])}, "no column"),
    "labels twice": ({"images": GOOD, "label": np.zeros(3), "labels": np.zeros(3)}, "'label'"),
    "none": ({"other": GOOD}, "array called images"),
    "cut": ({"images": GOOD}, "damaged"),
    "no zip": ({"images": GOOD}, "ZIP"),
}


def bad_npz(place: Path, kind: str) -> Path:
    path = npz(place, **BAD[kind][0])
    if kind == "cut":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", b"\x93NUMPY\x01\x00v\x00{'descr'")
    if kind == "no zip":
        path.write_bytes(b"PK nothing")
    return path


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_array_file_names_the_entry_and_what_is_wrong_and_nothing_is_unpickled(
    tmp_path: Path, kind: str
) -> None:
    with pytest.raises(DataError, match=BAD[kind][1]):
        read_images(bad_npz(tmp_path, kind), schema_of())


def test_each_cause_has_a_message_of_its_own(tmp_path: Path) -> None:
    said = set()
    for kind in BAD:
        with pytest.raises(DataError) as caught:
            read_images(bad_npz(tmp_path, kind), schema_of())
        said.add(caught.value.message)
    assert len(said) == len(BAD)


@pytest.mark.parametrize("kind", ["scalar", "text", "lengths", "masks", "pickle", "complex"])
def test_entries_that_are_no_column_are_dropped_where_the_schema_says_so(tmp_path: Path, kind: str) -> None:
    arrays = {**BAD[kind][0], "kept": np.array([5, 6, 7])}
    drops = schema_of().model_copy(update={"others": "drop"})
    raw = read_images(npz(tmp_path, **arrays), drops)
    assert raw.frame["kept"].tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([True, False, True]), [True, False, True]),
        (np.array([-1.0, np.nan, 2.0]), [-1.0, None, 2.0]),
        (np.array(["no", "yes", ""]), ["no", "yes", ""]),
        (np.array([b"no", b"yes", b""]), ["no", "yes", ""]),
        (np.array([[1], [0], [1]], dtype=">i4"), [1, 0, 1]),
    ],
)
def test_columns_of_any_plain_kind_are_read(tmp_path: Path, values: np.ndarray, expected: list[Any]) -> None:
    raw = read_images(npz(tmp_path, images=GOOD.astype(">u2"), labels=values), schema_of(bits=16))
    found = [None if value != value else value for value in raw.frame["label"].tolist()]
    assert found == expected
    assert raw.pixels[:, 0].tolist() == GOOD.tolist()


@pytest.mark.parametrize("names", [["a.png", None, "b.png"], ["a.png", "", "b.png"], [None, None, "a.png"]])
def test_an_empty_file_name_of_a_parquet_table_leaves_out_its_record(
    tmp_path: Path, names: list[str | None]
) -> None:
    for number, name in enumerate(sorted({name for name in names if name})):
        grey(10 * number + 10).save(tmp_path / name)
    frame = pd.DataFrame(
        {"pid": ["p", "q", "r"], "file": pd.array(names, dtype="string"), "label": [0, 1, 0]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    raw = read(tmp_path)
    assert len(raw.pixels) == len({name for name in names if name})
    assert raw.report["quarantined"] == {"no file of that name": 3 - len(raw.pixels)}


def test_whole_numbers_name_files_whatever_the_type_of_their_column(tmp_path: Path) -> None:
    for number in (1, 2):
        grey(number).save(tmp_path / f"{number}.png")
    frame = pd.DataFrame({"pid": ["p", "q", "r"], "file": [1.0, 2.0, np.nan], "label": [0, 1, 0]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert len(read(tmp_path).pixels) == 2


def test_reasons_tell_causes_apart(tmp_path: Path) -> None:
    files: dict[str, Image.Image | bytes] = {
        "good.png": grey(3),
        "nothing.png": b"",
        "text.png": b"no picture",
    }
    folder_of(tmp_path, files, [*files, "link.png", "absent.png"])
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    reasons = dict(read(tmp_path).quarantined)
    assert reasons["nothing.png"] == decode.NOTHING
    assert reasons["text.png"] == decode.UNKNOWN
    assert reasons["absent.png"] == "no file of that name"


def test_memory_holds_one_source_image_and_the_small_ones(tmp_path: Path) -> None:
    import tracemalloc

    folder_of(tmp_path, {f"{i}.png": grey(i, (1000, 1000)) for i in range(8)})
    tracemalloc.start()
    read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1000 * 1000  # all eight at once would be 8 MB in bytes alone


def test_real_images_show_no_pixel_and_refuse_another_form() -> None:
    frame = pd.DataFrame({"label": pd.Categorical([0], categories=[0, 1])})
    units = np.array(["secret"], dtype=object)
    images = RealImages(schema_of(), frame, units, pixels=np.full((1, 1, 4, 4), 77, dtype=np.uint8))
    assert "77" not in repr(images)
    assert "secret" not in repr(images)
    with pytest.raises(ValueError, match="uint8"):
        RealImages(schema_of(), frame, units, pixels=np.zeros((1, 1, 5, 4), dtype=np.uint8))
