"""Greys of DICOM files against the standard: each attribute of the pipeline right, odd, empty and absent."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from synthgen.ingest.dicom import grey_values, header
from synthgen.ingest.dicom import pixels as dicom_pixels
from synthgen.ingest.images.decode import Unusable
from synthgen.schema.image_format import Dicom, Images
from tests.support.dicom_files import dataset, lut, write

SIZE = 32
SPEC = Images(channels=1, bits=16, size=SIZE)
RAMP = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) * 4  # 0 to 4092: 12 bits
SIGNED = (RAMP.astype(np.int16) - 2048).astype(np.int16)


def read(
    tmp_path: Path, values: np.ndarray, dicom: Dicom | None = None, **attributes: Any
) -> tuple[np.ndarray, set[str]]:
    """Greys from 0 to 1 of a file with these attributes, and what was noted."""
    path = write(tmp_path / "x.dcm", dataset(values, **attributes))
    notes: set[str] = set()
    spec = SPEC if values.ndim == 2 else Images(channels=3, bits=8, size=SIZE)
    pixels = dicom_pixels.decode(path, 0, spec, dicom or Dicom(screened=()), notes.add)
    return (pixels[0] if values.ndim == 2 else pixels) / spec.largest, notes


def window(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, written pixel by pixel."""
    out = np.empty(values.shape)
    for place, x in np.ndenumerate(values.astype(float)):
        if x <= centre - 0.5 - (width - 1) / 2:
            out[place] = 0
        elif x > centre - 0.5 + (width - 1) / 2:
            out[place] = 1
        else:
            out[place] = (x - (centre - 0.5)) / (width - 1) + 0.5
    return out


def looked_up(values: np.ndarray, entries: Any, first: int, bits: int) -> np.ndarray:
    """PS3.3 C.11.2.1.1, written pixel by pixel."""
    out = np.empty(values.shape)
    for place, x in np.ndenumerate(values.astype(float)):
        out[place] = entries[int(min(max(round(float(x)) - first, 0), len(entries) - 1))] / (2**bits - 1)
    return out


WHOLE = RAMP / 4095
FALL12 = 4095 - np.arange(4096)
EIGHT = np.arange(4096) // 16
MODALITY12 = np.minimum(np.arange(4096) * 2, 4095)

CASES: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]] = {
    # the value of interest: lookup tables
    "12-bit entries": (RAMP, {"VOILUTSequence": [lut(FALL12, 0, 12)]}, looked_up(RAMP, FALL12, 0, 12)),
    "12-bit entries said to be of 16": (
        RAMP,
        {"VOILUTSequence": [lut(FALL12, 0, 16)]},
        looked_up(RAMP, FALL12, 0, 12),
    ),
    "10-bit entries said to be of 16": (
        RAMP,
        {"VOILUTSequence": [lut(EIGHT * 4, 0, 16)]},
        looked_up(RAMP, EIGHT * 4, 0, 10),
    ),
    "16-bit entries": (
        RAMP,
        {"VOILUTSequence": [lut(np.arange(4096) * 16, 0, 16)]},
        looked_up(RAMP, np.arange(4096) * 16, 0, 16),
    ),
    "8-bit entries in words": (RAMP, {"VOILUTSequence": [lut(EIGHT, 0, 8)]}, looked_up(RAMP, EIGHT, 0, 8)),
    "8-bit entries in words said to be of 16": (
        RAMP,
        {"VOILUTSequence": [lut(EIGHT, 0, 16)]},
        looked_up(RAMP, EIGHT, 0, 8),
    ),
    "8-bit entries packed": (
        RAMP,
        {"VOILUTSequence": [lut(EIGHT, 0, 8, packed=True)]},
        looked_up(RAMP, EIGHT, 0, 8),
    ),
    "8-bit entries packed, odd": (
        RAMP,
        {"VOILUTSequence": [lut(EIGHT[:4095], 0, 8, packed=True)]},
        looked_up(RAMP, EIGHT[:4095], 0, 8),
    ),
    "8-bit entries packed, big": (
        RAMP,
        {"VOILUTSequence": [lut(EIGHT, 0, 8, packed=True, big=True)], "syntax": "big"},
        looked_up(RAMP, EIGHT, 0, 8),
    ),
    "12-bit entries, big": (
        RAMP,
        {"VOILUTSequence": [lut(FALL12, 0, 16, big=True)], "syntax": "big"},
        looked_up(RAMP, FALL12, 0, 12),
    ),
    "12-bit entries, implicit": (
        RAMP,
        {"VOILUTSequence": [lut(FALL12, 0, 16)], "syntax": "implicit"},
        looked_up(RAMP, FALL12, 0, 12),
    ),
    "first input above 0": (
        RAMP,
        {"VOILUTSequence": [lut(np.arange(1000), 2000, 10)]},
        looked_up(RAMP, np.minimum(np.arange(1000), 1023), 2000, 10),
    ),
    "first input below 0": (
        SIGNED,
        {"VOILUTSequence": [lut(FALL12, -2048, 12, signed=True)]},
        looked_up(SIGNED, FALL12, -2048, 12),
    ),
    "first input below 0, said unsigned": (
        SIGNED,
        {"VOILUTSequence": [lut(FALL12, 65536 - 2048, 12)]},
        looked_up(SIGNED, FALL12, -2048, 12),
    ),
    "first input below 0 after the rescale": (
        RAMP,
        {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": [lut(FALL12, 65536 - 1024, 12)]},
        looked_up(RAMP.astype(int) - 1024, FALL12, -1024, 12),
    ),
    "65536 entries": (
        RAMP * 16,
        {"VOILUTSequence": [lut(65535 - np.arange(65536), 0, 16)], "BitsStored": 16},
        1 - RAMP * 16 / 65535,
    ),
    "the second item, where the first is empty": (
        RAMP,
        {"VOILUTSequence": [Dataset(), lut(FALL12, 0, 12)]},
        looked_up(RAMP, FALL12, 0, 12),
    ),
    "an item without data": (RAMP, {"VOILUTSequence": [Dataset()]}, WHOLE),
    # windows
    "window": (RAMP, {"WindowCenter": 2000, "WindowWidth": 1000}, window(RAMP, 2000, 1000)),
    "several windows": (
        RAMP,
        {"WindowCenter": [2000, 40], "WindowWidth": [1000, 80]},
        window(RAMP, 2000, 1000),
    ),
    "an empty window": (RAMP, {"WindowCenter": "", "WindowWidth": ""}, WHOLE),
    "a width without a centre": (RAMP, {"WindowWidth": 400}, WHOLE),
    "a centre without a width": (RAMP, {"WindowCenter": 400, "WindowWidth": None}, WHOLE),
    "a width of 0": (RAMP, {"WindowCenter": 0, "WindowWidth": 0}, WHOLE),
    "a width below 0": (RAMP, {"WindowCenter": 100, "WindowWidth": -5}, WHOLE),
    "a first width of 0": (
        RAMP,
        {"WindowCenter": [0, 2000], "WindowWidth": [0, 1000]},
        window(RAMP, 2000, 1000),
    ),
    "more centres than widths": (
        RAMP,
        {"WindowCenter": [2000, 40], "WindowWidth": 1000},
        window(RAMP, 2000, 1000),
    ),
    "a width of 1": (RAMP, {"WindowCenter": 2000, "WindowWidth": 1}, (RAMP > 1999.5).astype(float)),
    "exact": (
        RAMP,
        {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
        np.clip((RAMP.astype(float) - 1500) / 1000, 0, 1),
    ),
    "sigmoid": (
        RAMP,
        {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
        1 / (1 + np.exp(-4 * (RAMP.astype(float) - 2000) / 1000)),
    ),
    "an empty function": (
        RAMP,
        {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": ""},
        window(RAMP, 2000, 1000),
    ),
    "a width below 1": (
        RAMP,
        {"RescaleSlope": 1e-4, "RescaleIntercept": 0, "WindowCenter": 0.2, "WindowWidth": 0.2},
        np.clip((RAMP * 1e-4 - 0.1) / 0.2, 0, 1),
    ),
    # the modality
    "slope and intercept": (
        RAMP,
        {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 2000},
        window(RAMP * 2.0 - 1000, 1000, 2000),
    ),
    "an empty slope": (
        RAMP,
        {"RescaleSlope": "", "RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 2000},
        window(RAMP - 1000.0, 1000, 2000),
    ),
    "an empty intercept": (
        RAMP,
        {"RescaleSlope": 2, "RescaleIntercept": "", "WindowCenter": 1000, "WindowWidth": 2000},
        window(RAMP * 2.0, 1000, 2000),
    ),
    "both empty": (
        RAMP,
        {"RescaleSlope": "", "RescaleIntercept": "", "WindowCenter": 1000, "WindowWidth": 2000},
        window(RAMP, 1000, 2000),
    ),
    "a slope of 0": (RAMP, {"RescaleSlope": 0, "RescaleIntercept": 0}, WHOLE),
    "a slope below 0": (RAMP, {"RescaleSlope": -1, "RescaleIntercept": 4095}, 1 - WHOLE),
    "12-bit modality table": (
        RAMP,
        {"ModalityLUTSequence": [lut(MODALITY12, 0, 12)]},
        looked_up(RAMP, MODALITY12, 0, 12),
    ),
    "12-bit modality table said to be of 16": (
        RAMP,
        {"ModalityLUTSequence": [lut(MODALITY12, 0, 16)]},
        looked_up(RAMP, MODALITY12, 0, 12),
    ),
    "packed 8-bit modality table": (
        RAMP,
        {"ModalityLUTSequence": [lut(EIGHT, 0, 8, packed=True)]},
        looked_up(RAMP, EIGHT, 0, 8),
    ),
    "modality table and window": (
        RAMP,
        {"ModalityLUTSequence": [lut(MODALITY12, 0, 16)], "WindowCenter": 2000, "WindowWidth": 1000},
        window(looked_up(RAMP, MODALITY12, 0, 12) * 4095, 2000, 1000),
    ),
    "an empty modality item": (
        RAMP,
        {
            "ModalityLUTSequence": [Dataset()],
            "RescaleSlope": 2,
            "RescaleIntercept": 0,
            "WindowCenter": 2000,
            "WindowWidth": 1000,
        },
        window(RAMP * 2.0, 2000, 1000),
    ),
    # stored values
    "overlay bits above those stored": (RAMP | 0xA000, {}, WHOLE),
    "values in the upper bits": (RAMP << 4, {"HighBit": 15}, WHOLE),
    "signed values in the lower bits alone": ((SIGNED & 0x0FFF).astype(np.int16), {}, (SIGNED + 2048) / 4095),
    "inverse greys": (RAMP, {"PhotometricInterpretation": "MONOCHROME1"}, 1 - WHOLE),
    "bits stored are absent": (RAMP * 16, {"BitsStored": None, "HighBit": None}, RAMP * 16 / 65535),
    "the photometric interpretation is empty": (RAMP, {"PhotometricInterpretation": ""}, WHOLE),
    "the representation is absent": (RAMP, {"PixelRepresentation": None}, WHOLE),
    "frames are 0": (RAMP, {"NumberOfFrames": 0}, WHOLE),
    "frames are empty": (RAMP, {"NumberOfFrames": ""}, WHOLE),
    "padding is black": (RAMP, {"PixelPaddingValue": 4092}, np.where(RAMP == 4092, 0, WHOLE)),
    "padding of inverse greys is black": (
        RAMP,
        {"PixelPaddingValue": 4092, "PhotometricInterpretation": "MONOCHROME1"},
        np.where(RAMP == 4092, 0, 1 - WHOLE),
    ),
    "a range of padding": (
        RAMP,
        {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4092},
        np.where(RAMP >= 4000, 0, WHOLE),
    ),
    "an empty padding": (RAMP, {"PixelPaddingValue": None}, WHOLE),
}


@pytest.mark.parametrize("name", CASES)
def test_greys_are_those_of_the_standard(tmp_path: Path, name: str) -> None:
    values, attributes, wanted = CASES[name]
    found, _ = read(tmp_path, values, **{"BitsStored": 12, **attributes})
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert np.ptp(found) > 0.2  # none is near black or of one grey
    assert not np.allclose(found, np.roll(wanted, 5), atol=2e-4)


def test_what_cannot_mean_anything_is_noted_and_what_is_empty_is_not(tmp_path: Path) -> None:
    noted = {
        grey_values.NO_WINDOW: {"WindowCenter": 0, "WindowWidth": 0},
        grey_values.NO_SLOPE: {"RescaleSlope": 0, "RescaleIntercept": 0},
        grey_values.FEWER_BITS: {"VOILUTSequence": [lut(FALL12, 0, 16)]},
        grey_values.ONE_GREY: {"VOILUTSequence": [lut(np.zeros(4096), 0, 16)]},
        dicom_pixels.NO_SPACING: {"PixelSpacing": [0, 0]},
        dicom_pixels.FLAT: {"BitsStored": 16, "WindowCenter": 40000, "WindowWidth": 40000},
    }
    for text, attributes in noted.items():
        assert text in read(tmp_path, RAMP, **{"BitsStored": 12, **attributes})[1]
    for attributes in (
        {"WindowCenter": "", "WindowWidth": ""},
        {"RescaleSlope": ""},
        {"PixelSpacing": None},
        {},
    ):
        assert read(tmp_path, RAMP, BitsStored=12, **attributes)[1] == set()


def voi(made: Dataset) -> np.ndarray:
    return np.asarray(apply_voi_lut(apply_modality_lut(made.pixel_array, made), made), dtype=float)


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": 900, "WindowWidth": 700},
        {"WindowCenter": 900, "WindowWidth": 700, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 900, "WindowWidth": 700, "VOILUTFunction": "LINEAR_EXACT"},
        {"VOILUTSequence": [lut(np.arange(4096) * 16, 0, 16)]},
        {"RescaleSlope": 3, "RescaleIntercept": -700, "WindowCenter": 900, "WindowWidth": 700},
    ],
)
def test_greys_are_pydicoms_where_it_is_right(tmp_path: Path, attributes: dict[str, Any]) -> None:
    reference = voi(dataset(RAMP, BitsStored=12, **attributes))
    low, high = (0, 4095) if "RescaleSlope" not in attributes else (-700, 3 * 4095 - 700)
    top = 65535 if "VOILUTSequence" in attributes else high
    found, _ = read(tmp_path, RAMP, BitsStored=12, **attributes)
    np.testing.assert_allclose(found, (reference - low) / (top - low), atol=2e-4)


def test_pydicom_wraps_8_bit_tables_of_more_than_256_entries() -> None:
    """Why tables are applied here: pydicom's index has the entries' 8 bits, so input 256 gets entry 0."""
    wrong = voi(dataset(RAMP, BitsStored=12, VOILUTSequence=[lut(EIGHT, 0, 8)]))
    assert not np.allclose(wrong / 255, looked_up(RAMP, EIGHT, 0, 8))


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"VOILUTSequence": [lut(FALL12[:100], 0, 12)]}, None),
        ({"RescaleSlope": 0, "dicom": Dicom(window=(0.0, 100.0), screened=())}, "RescaleSlope"),
        ({"PixelData": b""}, "PixelData"),
        ({"PixelData": b"\0" * 100}, "PixelData"),
        ({"BitsAllocated": 12}, "BitsAllocated"),
        ({"BitsStored": 40}, "BitsStored"),
        ({"SamplesPerPixel": 2}, "SamplesPerPixel"),
        ({"PhotometricInterpretation": "HSV"}, "PhotometricInterpretation"),
        ({"PixelRepresentation": 7}, "PixelRepresentation"),
    ],
)
def test_a_file_that_is_left_out_says_which_attribute(
    tmp_path: Path, attributes: dict[str, Any], named: str | None
) -> None:
    asked = dict(attributes)
    dicom = asked.pop("dicom", None)
    if named is None:
        read(tmp_path, RAMP, dicom, BitsStored=12, **asked)
        short = lut(FALL12, 0, 12)
        short.LUTData = short.LUTData[:300]
        asked, named = {"VOILUTSequence": [short]}, "VOILUTSequence: LUTData"
    with pytest.raises(Unusable, match=named):
        read(tmp_path, RAMP, dicom, **{"BitsStored": 12, **asked})


def test_floating_point_is_read_through_a_window_and_has_no_range_of_its_own(tmp_path: Path) -> None:
    values = (RAMP / 1000.0).astype(np.float32)
    values[0, 0] = np.nan
    form = {
        "BitsStored": None,
        "HighBit": None,
        "PixelRepresentation": None,
        "FloatPixelData": values.tobytes(),
    }
    found, _ = read(tmp_path, values, Dicom(window=(2.0, 2.0), screened=()), **form)
    wanted = np.clip((values - 1.0) / 2.0, 0, 1)
    wanted[0, 0] = 0
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    with pytest.raises(Unusable, match="FloatPixelData"):
        read(tmp_path, values, **form)


def colours(bits: int, entries: np.ndarray, *, said: int, kind: str = "US") -> dict[str, Any]:
    out: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        table = np.roll(entries, number * 7)
        out[f"{colour}PaletteColorLookupTableDescriptor"] = [len(table) % 65536, 0, said]
        out[f"{colour}PaletteColorLookupTableData"] = table.astype("<u1" if bits == 8 else "<u2").tobytes()
    return out


@pytest.mark.parametrize(("bits", "said", "top"), [(8, 8, 255), (16, 8, 255), (16, 16, 65535)])
@pytest.mark.parametrize("n_entries", [256, 1024])
def test_palettes_of_8_bits_in_words_are_as_bright_as_packed_ones(
    tmp_path: Path, bits: int, said: int, top: int, n_entries: int
) -> None:
    entries = (np.arange(n_entries) * top // (n_entries - 1)).astype(np.uint32)
    values = (RAMP % n_entries).astype(np.uint16)
    made = dataset(values, BitsStored=12, **colours(bits, entries, said=said))
    planes = dicom_pixels.intensities(made, values, 0, Dicom())
    for number, plane in enumerate(planes):
        np.testing.assert_allclose(plane, np.roll(entries, number * 7)[values] / top, atol=1e-6)


def test_colours_are_read_in_both_planar_configurations_and_the_absent_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    wanted = np.moveaxis(values, -1, 0) / 255
    for planar, content in ((0, values), (None, values), (1, np.moveaxis(values, -1, 0))):
        found, _ = read(tmp_path, values, PlanarConfiguration=planar, PixelData=content.tobytes())
        np.testing.assert_allclose(found, wanted, atol=1e-6)


DISC = (np.hypot(*np.mgrid[-1:1:64j, -1:1:64j]) < 0.6).astype(np.uint8) * 200


@pytest.mark.parametrize(
    ("attributes", "squeezed"),
    [
        ({"PixelSpacing": [2, 1]}, 0),
        ({"PixelSpacing": [0.5, 1.0]}, 1),
        ({"ImagerPixelSpacing": [2, 1]}, 0),
        ({"NominalScannedPixelSpacing": [2, 1]}, 0),
        ({"PixelAspectRatio": [2, 1]}, 0),
        ({"PixelSpacing": [2, 1], "PixelAspectRatio": [1, 2]}, 0),
        ({"PixelSpacing": [0, 0], "PixelAspectRatio": [1, 2]}, 1),
        ({"PixelSpacing": ""}, None),
        ({"PixelAspectRatio": [1, 1]}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_a_disc_stays_a_disc_whatever_the_pixels_aspect(
    tmp_path: Path, attributes: dict[str, Any], squeezed: int | None, fit: str
) -> None:
    values = DISC if squeezed is None else DISC[::2] if squeezed == 0 else DISC[:, ::2]
    path = write(tmp_path / "x.dcm", dataset(np.ascontiguousarray(values), **attributes))
    spec = Images(channels=1, bits=8, size=SIZE, fit=fit)
    found = dicom_pixels.decode(path, 0, spec, Dicom(screened=()))[0] > 100
    wide, high = found.any(0).sum(), found.any(1).sum()
    assert abs(int(wide) - int(high)) <= 2
    assert 16 <= wide <= 22


def enhanced(first: Dataset, second: Dataset) -> dict[str, Any]:
    frames = []
    for group in (first, second):
        frame = Dataset()
        frame.FrameVOILUTSequence = [group]
        frames.append(frame)
    return {"PerFrameFunctionalGroupsSequence": frames, "NumberOfFrames": 2}


def test_frames_have_the_windows_of_their_own_and_the_plain_rescale(tmp_path: Path) -> None:
    windows = []
    for centre in (1000, 3000):
        item = Dataset()
        item.WindowCenter, item.WindowWidth = centre, 500
        windows.append(item)
    made = dataset(
        RAMP, BitsStored=12, PixelData=RAMP.tobytes() * 2, RescaleSlope=1, RescaleIntercept=100,
        WindowCenter=1, WindowWidth=1, **enhanced(*windows),
    )  # fmt: skip
    path = write(tmp_path / "x.dcm", made)
    for frame, centre in enumerate((1000, 3000)):
        found = dicom_pixels.decode(path, frame, SPEC, Dicom(screened=()))[0] / SPEC.largest
        np.testing.assert_allclose(found, window(RAMP + 100.0, centre, 500), atol=2e-4)


NO_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.30": "OT",
    "1.2.840.10008.5.1.4.1.1.11.1": "PR",
    "1.2.840.10008.5.1.4.1.1.88.59": "KO",
    "1.2.840.10008.5.1.4.1.1.88.11": "SR",
    "1.2.840.10008.5.1.4.1.1.104.1": "DOC",
}


def test_objects_that_are_no_images_are_left_out_by_class_or_modality_and_images_are_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.dcm"
    for uid, modality in NO_IMAGES.items():
        with pytest.raises(Unusable, match=header.NO_PICTURE):
            header.read_header(write(path, dataset(RAMP, SOPClassUID=uid, Modality="CT")))
        if modality != "OT":
            with pytest.raises(Unusable, match=header.NO_PICTURE):
                header.read_header(write(path, dataset(RAMP, SOPClassUID="1.2.3.4", Modality=modality)))
    for uid in (
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.5.1.4.1.1.6.2",
        "1.2.840.10008.5.1.4.1.1.481.1",
        "1.2.3.4",
    ):
        assert header.read_header(write(path, dataset(RAMP, SOPClassUID=uid))).frames == 1


def test_reasons_of_a_folder_are_counted_by_what_they_name(tmp_path: Path) -> None:
    from synthgen.ingest.dicom import index as ingest

    for number in range(4):
        odd = {
            0: {"PhotometricInterpretation": "HSV"},
            1: {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"},
        }.get(number, {})
        write(tmp_path / f"{number}.dcm", dataset(RAMP, number=number, **odd))
    found = ingest.index(tmp_path, Dicom())
    _, good, left = ingest.read_pixels(found.frames, SPEC, Dicom())
    reasons = Counter(reason for _, reason in (*found.quarantined, *left))
    assert good.sum() == 2
    assert len(reasons) == 2
    assert sum(ingest.intended(reason) for reason in reasons) == 1
