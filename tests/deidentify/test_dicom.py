"""Nothing of a header goes on but public words of the allow-list."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.deidentify import dicom
from synthgen.schema.image_format import Attribute

ATTRIBUTES = get_args(Attribute)
PUBLIC = {
    "PatientSex": set(dicom.SEX),
    "PatientAge": {str(age) for age in range(dicom.OLDEST + 1)},
    "ViewPosition": {*dicom.VIEWS, *dicom.VIEWS_BREAST},
    "BodyPartExamined": set(dicom.BODY_PARTS),
    "Laterality": set(dicom.LATERALITY),
    "Modality": {*dicom.MODALITIES, *dicom.MODALITIES_MORE},
    "Manufacturer": {*dicom.MAKERS.values(), dicom.OTHER},
}


@given(st.dictionaries(st.sampled_from([*ATTRIBUTES, "PatientBirthDate", "StudyDate"]), st.text()))
def test_whatever_a_header_holds_a_cell_is_a_public_word(values: dict[str, str]) -> None:
    for name in ATTRIBUTES:
        found = dicom.attribute(values, name)
        assert found is None or found in PUBLIC[name]


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"PatientAge": "045Y"}, "PatientAge", "45"),
        ({"PatientAge": "018M"}, "PatientAge", "1"),
        ({"PatientAge": "010D"}, "PatientAge", "0"),
        ({"PatientAge": "101Y"}, "PatientAge", "90"),
        ({"PatientBirthDate": "19700601", "StudyDate": "20200531"}, "PatientAge", "49"),
        ({"PatientBirthDate": "19700601", "StudyDate": "20200601"}, "PatientAge", "50"),
        ({"PatientAge": "forty"}, "PatientAge", None),
        ({"PatientSex": "f"}, "PatientSex", "F"),
        ({"PatientSex": "Jane"}, "PatientSex", None),
        ({"ImageLaterality": "L"}, "Laterality", "L"),
        ({"Manufacturer": "GE MEDICAL SYSTEMS"}, "Manufacturer", "GE"),
        ({"Manufacturer": "Dr Smith's workshop"}, "Manufacturer", "OTHER"),
        ({"BodyPartExamined": "chest"}, "BodyPartExamined", "CHEST"),
    ],
)
def test_attributes_in_their_public_form(values: dict[str, str], name: Any, expected: str | None) -> None:
    assert dicom.attribute(values, name) == expected


def test_the_report_counts_what_is_dropped_by_tag_and_names_no_private_one() -> None:
    found = dicom.dropped({0x00100010: 3, 0x00100040: 3, 0x00110010: 3, 0x00111001: 3}, {"sex": "PatientSex"})
    assert found == {"by_tag": {"(0010,0010) PatientName": 3}, "private": 6, "kept": ["PatientSex"]}
