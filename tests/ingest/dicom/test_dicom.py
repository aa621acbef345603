"""DICOM in: each file is read with right pixels or left out with a reason, whatever it holds."""

import csv
import os
import re
import shutil
import signal
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import tag_for_keyword
from pydicom.pixels.utils import pixel_array

from synthgen.errors import ConfigError, DataError
from synthgen.ingest.dicom import codecs, worker
from synthgen.ingest.dicom import header as dicom_header
from synthgen.ingest.dicom import index as ingest
from synthgen.ingest.dicom import pixels as dicom_pixels
from synthgen.ingest.dicom.files import find
from synthgen.ingest.images.decode import Unusable
from synthgen.ingest.images.dicom_detection import looks_like_dicom
from synthgen.schema.image_format import Dicom, Images

DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
SPEC = Images(channels=1, bits=8, size=32)
codecs.register()


def folders() -> list[Path]:
    return [path for path in (BUNDLED, DATA / "dicom_odd", DATA / "dicom_covid_ny_sbu") if path.is_dir()]


@pytest.fixture(scope="module")
def decoder() -> Any:
    with worker.Decoder(SPEC, Dicom(screened=())) as made:
        yield made


def read_or_reason(path: Path, decoder: worker.Decoder) -> str:
    try:
        header = dicom_header.read_header(path)
        for frame in range(min(header.frames, 3)):
            assert decoder.decode(path, frame).shape == SPEC.shape
        return "read"
    except Unusable as reason:
        return str(reason)


FIXED = {
    "read",
    dicom_header.NOT_DICOM,
    dicom_header.DAMAGED,
    dicom_header.NO_IMAGE,
    dicom_header.LONG,
    dicom_header.FRAMES,
    dicom_header.FLAGGED,
    dicom_header.DIRECTORY,
    dicom_pixels.KIND,
    dicom_pixels.EMPTY,
    dicom_pixels.LARGE,
    worker.CRASHED,
}
WORDS = {word for name in UID_dictionary.values() for word in re.findall(r"[A-Za-z]+", name[0])}
PROSE = set(
    "a above absent added an and are as be below can cannot class data declared decoded directory empty from"
    " has have image in is it kind largest later less no none not number of one or pixel read s say"
    " says shorter so standard than that the this three to unit values whole window which with".split()
)


def is_a_reason(text: str) -> bool:
    """Whether a reason is made of our words, of attributes' keywords and of the standard's names alone."""
    words = re.findall(r"[A-Za-z]+", text)
    return text in FIXED or all(
        word in PROSE or word in WORDS or tag_for_keyword(word) is not None or word in dicom_header.DERIVED
        for word in words
    )


@pytest.mark.parametrize("folder", folders(), ids=lambda path: path.name)
def test_every_file_is_read_with_pydicoms_pixels_or_left_out_with_a_reason(
    folder: Path, decoder: worker.Decoder
) -> None:
    outcomes: Counter[str] = Counter()
    compared = 0
    for path in find(folder):
        outcome = read_or_reason(path, decoder)
        outcomes[outcome] += 1
        assert is_a_reason(outcome)
        with warnings.catch_warnings(), dicom_header.quiet():
            warnings.simplefilter("ignore")
            try:
                n_frames = min(int(pydicom.dcmread(path).get("NumberOfFrames") or 1), 3)
                references = [pixel_array(path, index=frame) for frame in range(n_frames)]
            except Exception:  # noqa: S112 - pydicom reads no pixels either
                continue
            if outcome == "read":
                dataset = dicom_header.read_dataset(path, pixels=False)
                for frame, reference in enumerate(references):
                    np.testing.assert_array_equal(dicom_pixels.stored(path, dataset, frame), reference)
                compared += 1
            else:
                derived = outcome.startswith(dicom_header.NO_PICTURE)
                assert derived or outcome in (dicom_header.FLAGGED, dicom_pixels.KIND), path.name
    assert sum(outcomes.values()) == sum(path.is_file() for path in folder.rglob("*")) - sum(
        path.name.startswith("DICOMDIR") for path in folder.rglob("*") if path.is_file()
    )
    assert compared >= 16


def test_what_is_said_of_files_holds_none_of_their_names_and_values(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED / "dicomdirtests", tmp_path / "d")
    for number, path in enumerate(sorted((tmp_path / "d").rglob("*/*/*/*"))):
        if number % 3 == 0 and path.is_file():
            path.write_bytes(path.read_bytes()[: 300 + 40 * number])  # cut in the middle of values
    found = ingest.index(tmp_path, Dicom(), without="leave_out")
    pixels, _, left = ingest.read_pixels(found.frames, SPEC, Dicom(screened=()))
    said = repr((found, found.frames[0], found.quarantined, left, ingest.summary(found, left, len(pixels))))
    assert len(found.quarantined) + len(left) >= 5
    values = {text for one in found.frames for text in one.values.values() if len(text) >= 4}
    names = {path.name for path in (tmp_path / "d").rglob("*") if len(path.name) >= 4}
    assert len(values) > 40
    assert not [text for text in values | names if text in said]


def test_jpeg_ls_and_12_bits_agree_with_another_decoder_and_a_shifted_image_does_not() -> None:
    path = BUNDLED / "MR_small_jpeg_ls_lossless.dcm"
    ours = pixel_array(path, decoding_plugin="imagecodecs")
    plain = pydicom.dcmread(BUNDLED / "MR_small.dcm").pixel_array
    np.testing.assert_array_equal(ours, plain)
    assert not np.array_equal(np.roll(ours, 1), plain)
    lossy = pixel_array(BUNDLED / "JPGExtended.dcm")
    assert lossy.shape == (1024, 256)
    assert lossy.max() > 255


def grey(path: Path, dicom: Dicom | None = None, change: Any = None) -> np.ndarray:
    dataset = dicom_header.read_dataset(path, pixels=True)
    if change is not None:
        change(dataset)
    return dicom_pixels.intensities(dataset, dataset.pixel_array, 0, dicom or Dicom())[0]


def test_a_public_window_wins_over_the_files_own_and_inverse_greys_are_turned() -> None:
    path = BUNDLED / "CT_small.dcm"
    hounsfield = pydicom.dcmread(path).pixel_array.astype(float) - 1024
    shown = grey(path, Dicom(window=(40.0, 400.0)))
    np.testing.assert_allclose(shown, np.clip((hounsfield + 160) / 400, 0, 1), atol=1e-6)

    def inverse(dataset: Any) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.pop("PixelPaddingValue", None)

    np.testing.assert_allclose(grey(path, Dicom(window=(40.0, 400.0)), inverse), 1 - shown, atol=1e-6)


def test_a_files_own_window_is_that_of_pydicom() -> None:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    path = BUNDLED / "CT_small.dcm"

    def windowed(dataset: Any) -> None:
        dataset.WindowCenter, dataset.WindowWidth = 40, 400

    dataset = pydicom.dcmread(path)
    windowed(dataset)
    voi = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    np.testing.assert_allclose(grey(path, change=windowed), (voi - voi.min()) / np.ptp(voi), atol=1e-5)


def made(folder: Path, n_patients: int = 4, **changes: Any) -> list[Path]:
    """Small CR files, two a patient."""
    files = []
    for number in range(2 * n_patients):
        dataset = pydicom.dcmread(BUNDLED / "CT_small.dcm")
        dataset.PatientID, dataset.SOPInstanceUID = f"PAT{number // 2:04d}", f"1.2.3.{number + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        for name, value in changes.items():
            setattr(dataset, name, value(number) if callable(value) else value)
        path = folder / f"{number}.dcm"
        dataset.save_as(path)
        files.append(path)
    return files


def test_a_missing_patient_is_an_error_unless_it_is_declared(tmp_path: Path) -> None:
    made(tmp_path, PatientID=lambda n: "" if n == 3 else f"P{n}")
    with pytest.raises(DataError, match="1 of 8 images without one"):
        ingest.index(tmp_path, Dicom())
    left = ingest.index(tmp_path, Dicom(), without="leave_out")
    assert (len(left.frames), [reason for _, reason in left.quarantined]) == (7, [ingest.NO_ID])
    assert len(set(ingest.index(tmp_path, Dicom(), without="own").units)) == 8


def test_an_id_is_another_patients_under_another_issuer_and_unclear_without(tmp_path: Path) -> None:
    made(tmp_path, PatientID="SAME", IssuerOfPatientID=lambda n: f"H{n % 2}")
    assert len(set(ingest.index(tmp_path, Dicom()).units)) == 2
    made(tmp_path, PatientID="SAME", IssuerOfPatientID=lambda n: "H" if n % 2 else "")
    with pytest.raises(DataError, match="1 ids with both"):
        ingest.index(tmp_path, Dicom())


def test_a_mapping_says_whose_files_are(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    made(tmp_path / "d")
    table = tmp_path / "whose.csv"
    with table.open("w", newline="") as stream:
        rows = [(f"PAT{n:04d}", "one" if n < 2 else f"p{n}") for n in range(4)]
        csv.writer(stream).writerows([("PatientID", "patient"), *rows])
    assert Counter(ingest.index(tmp_path / "d", Dicom(), patients=table).units) == {
        "one": 4,
        "p2": 2,
        "p3": 2,
    }
    table.write_text("PatientID,patient\nPAT0000,a\nPAT0000,b\n")
    with pytest.raises(ConfigError, match="1 lines"):
        ingest.index(tmp_path / "d", Dicom(), patients=table)


def test_what_is_not_asked_for_flagged_or_repeated_is_counted_apart(tmp_path: Path) -> None:
    files = made(
        tmp_path,
        Modality=lambda n: "MR" if n == 0 else "CT",
        BurnedInAnnotation=lambda n: "YES" if n == 1 else "NO",
    )
    shutil.copy(files[5], tmp_path / "again.dcm")
    (tmp_path / "notes.txt").write_text("no image")
    found = ingest.index(tmp_path, Dicom(modality=("CT",)))
    assert len(found.frames) == 6
    assert dict(found.not_selected) == {"modality": 1}
    assert Counter(reason for _, reason in found.quarantined) == {
        ingest.REPEATED: 1,
        dicom_header.FLAGGED: 1,
        dicom_header.NOT_DICOM: 1,
    }
    assert not any("PAT" in name or "dcm" in name for name, _ in found.quarantined)


def test_a_dicomdir_names_its_files_and_may_not_point_outside() -> None:
    place = BUNDLED / "dicomdirtests"
    found = ingest.index(place / "DICOMDIR", Dicom())
    assert (len(found.frames), len(set(found.units))) == (31, 2)
    assert looks_like_dicom(place / "DICOMDIR")
    assert looks_like_dicom(place)
    assert not looks_like_dicom(Path(__file__).parent)
    from synthgen.ingest.dicom.files import _inside

    assert _inside(place, ("77654033", "CR1", "6154")) is not None
    for outside in (("..", "CT_small.dcm"), ("/etc", "passwd"), ("77654033/../..", "CT_small.dcm"), ()):
        assert _inside(place, outside) is None


def test_frames_of_a_file_are_records_of_its_patient(tmp_path: Path) -> None:
    shutil.copy(BUNDLED / "SC_rgb_rle_2frame.dcm", tmp_path / "e.dcm")
    assert [one.frame for one in ingest.index(tmp_path, Dicom()).frames] == [0, 1]
    assert [one.frame for one in ingest.index(tmp_path, Dicom(frames="middle")).frames] == [1]


def test_a_decoder_that_crashes_or_stalls_costs_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, 1)[0]
    with worker.Decoder(SPEC, Dicom()) as decoder:
        decoder.decode(path, 0)
        decoder._process.kill()
        with pytest.raises(Unusable, match=worker.CRASHED):
            decoder.decode(path, 0)
        assert decoder.decode(path, 0).shape == SPEC.shape
        monkeypatch.setattr(worker, "PATIENCE", 0.2)
        os.kill(decoder._process.pid, signal.SIGSTOP)  # it never answers
        with pytest.raises(Unusable, match=worker.CRASHED):
            decoder.decode(path, 0)


SOURCES = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "image_dfl.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "examples_palette.dcm",
    "JPGExtended.dcm",
    "UN_sequence.dcm",
)
KNOWN = {name: (BUNDLED / name).read_bytes() for name in SOURCES if (BUNDLED / name).is_file()}
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "length", "repeat"]), st.integers(0, 10**6), st.integers(0, 255)
    ),
    min_size=1,
    max_size=12,
)


def mutated(content: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    out = bytearray(content)
    for how, where, value in changes:
        at = where % max(1, min(len(out), 4000) if value % 3 else len(out))
        if how == "flip":
            out[at : at + 1] = bytes([value])
        elif how == "cut":
            del out[at : at + 1 + value]
        elif how == "length":
            out[at : at + 4] = b"\xff\xff\xff" + bytes([value])
        else:
            out[at:at] = out[at : at + value]
    return bytes(out)


def fuzz(n: int, folder: Path, decoder: worker.Decoder) -> None:
    path, seen = folder / "m.dcm", Counter[str]()

    @settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(KNOWN)), MUTATIONS)
    def one(name: str, changes: list[tuple[str, int, int]]) -> None:
        path.write_bytes(mutated(KNOWN[name], changes))
        start = time.process_time()
        outcome = read_or_reason(path, decoder)
        assert time.process_time() - start < 5  # of this process; the other one's seconds the kernel bounds
        assert is_a_reason(outcome)
        seen[outcome] += 1

    one()
    assert len(seen) > 2


def test_mutated_files_are_read_or_left_out(tmp_path: Path, decoder: worker.Decoder) -> None:
    fuzz(200, tmp_path, decoder)


@pytest.mark.slow
def test_10000_mutated_files_are_read_or_left_out(tmp_path: Path, decoder: worker.Decoder) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzz(10_000, tmp_path, decoder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024


def text_image(text: str, rng: np.random.Generator) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    speckle = rng.gamma(4.0, 0.06, (160, 200)).astype(np.float32)
    image = Image.fromarray(np.clip(255 * speckle, 0, 160).astype(np.uint8))
    ImageDraw.Draw(image).text((12, 8), text, fill=255, font=ImageFont.load_default(size=14))
    return np.asarray(image, dtype=np.float32) / 255


def test_burned_in_text_is_found_and_speckle_is_not() -> None:
    from synthgen.burned_in_text import has_text

    rng = np.random.default_rng(5)  # fixed seed: 40 of either
    found = [has_text([text_image("DOE, JANE 1950", rng)]) for _ in range(40)]
    false = [has_text([text_image("", rng)]) for _ in range(40)]
    assert sum(found) >= 36
    assert sum(false) <= 4
