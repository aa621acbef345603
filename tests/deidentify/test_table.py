"""What is taken off a table, and which column names are refused."""

import json

import numpy as np
import pandas as pd
import pytest

from synthgen.deidentify.identifier_names import kind_of
from synthgen.deidentify.table import Removed, refuse_identifiers, strip
from synthgen.errors import ConfigError, DataError
from synthgen.schema.schema import Schema

IDENTIFIERS = """
name Name patient_name PatientName lastName first_name surname full_name maiden_name Vorname nachname
nom_famille nombre apellidos prénom sobrenome initials
address home_address street Straße zip_code ZIP postcode PLZ endereco dirección
phone phone_number telephoneNo mobile telefon fax_number
email e_mail E-Mail eMailAddress ip_address
mrn MRN patient_id patientNumber medical_record_no hospital_number Fallnummer id case_id subject_id
insurance_number member_id medicare_no policyNumber versichertennummer
ssn SSN social_security_number socialSecurityNo passport_no cpf DNI iban
dob DOB birth_date dateOfBirth birthdate geburtsdatum date_naissance fecha_nacimiento
""".split()

FALSE_FRIENDS = """
num_medications number_diagnoses num_procedures hostname host_name diagnosis_name drug_name test_name
hospital_name ward_name device_name column_name username_count names_recalled
addressed_needs street_drugs mail_order_pharmacy headphone_use microphone_test smartphone_use
birth_weight birth_order birthplace_region gestational_age age sex
insurance insurance_type has_insurance medicare medicaid_eligible policy_year
hospital_id hospital_code admission_type_id admission_source_id discharge_disposition
patient_no_show patient_code_status number_patient_falls identity_disturbance ideal_weight
nombre_enfants nomenclature cns_disease record_year accession_year tel_length handy_scale mobile_patient
sodium ph glucose_id_ratio num.co d.time A1Cresult max_glu_serum zipper_injury faxed doblet
encounter_type social_support security_concern member_of_gym
""".split()


def schema(fields, **more):
    document = {
        "unit": {"column": "pid", "max_records": 2},
        "missingValues": ["", "NA"],
        "fields": fields,
        **more,
    }
    return Schema.model_validate_json(json.dumps(document))


FIELDS = [
    {"name": "pid", "type": "string", "role": "id"},
    {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 120}},
    {"name": "visit", "type": "string", "role": "id"},
    {"name": "note", "type": "string", "role": "drop"},
    {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M"]}},
]


def table():
    return pd.DataFrame(
        {
            "sex": ["F", "M", "F"],
            "pid": [" p1", "", "NA "],
            "age": ["30", "40", "50"],
            "note": ["x", "y", "z"],
            "visit": ["v1", "v2", "v3"],
        }
    )


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_a_name_that_says_identifier_is_recognised(name):
    assert kind_of(name) is not None


@pytest.mark.parametrize("name", FALSE_FRIENDS)
def test_a_false_friend_is_left_alone(name):
    assert kind_of(name) is None


def test_all_columns_called_like_identifiers_are_refused_at_once_with_the_next_step():
    fields = [*FIELDS, {"name": "mrn", "type": "string"}, {"name": "dateOfBirth", "type": "date"}]
    with pytest.raises(ConfigError) as caught:
        refuse_identifiers(schema(fields), where="s.yaml")
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "'mrn' (record number)" in text
    assert "'dateOfBirth' (birth date)" in text
    for role in ("role: id", "role: drop", "role: feature"):
        assert role in text


@pytest.mark.parametrize("role", ["id", "drop", "feature", "protected"])
def test_an_explicit_role_is_a_persons_word_and_is_taken(role):
    refuse_identifiers(schema([*FIELDS, {"name": "zip", "type": "string", "role": role}]))


def test_only_modelled_columns_remain_in_the_schemas_order_and_the_evidence_names_the_rest():
    stripped = strip(table(), schema(FIELDS))
    assert list(stripped.frame.columns) == ["age", "sex"]
    assert stripped.removed == (Removed("pid", "id"), Removed("visit", "id"), Removed("note", "drop"))


def test_units_are_text_without_blanks_around_and_missing_ones_are_empty():
    stripped = strip(table(), schema(FIELDS))
    assert stripped.units.tolist() == ["p1", "", ""]
    assert "p1" not in repr(stripped)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.Series([7, 8, 7]), ["7", "8", "7"]),
        (pd.Series([7.0, np.nan, 7.0]), ["7", "", "7"]),
        (pd.Series([7, None, 7], dtype="Int64"), ["7", "", "7"]),
        (pd.Series(["007", None, "7"]), ["007", "", "7"]),
        (pd.Series(["a", "b", "a"], dtype="category"), ["a", "b", "a"]),
    ],
)
def test_a_units_text_does_not_depend_on_how_the_file_holds_numbers(values, texts):
    stripped = strip(table().assign(pid=values), schema(FIELDS))
    assert stripped.units.tolist() == texts


def test_a_row_level_table_has_no_units():
    fields = [field for field in FIELDS if field["name"] != "pid"]
    frame = table().drop(columns="pid")
    assert strip(frame, schema(fields, unit={"level": "row"})).units is None


def test_an_unknown_column_is_refused_and_never_passed_on():
    with pytest.raises(DataError, match="role: drop") as caught:
        strip(table().assign(phone="0123"), schema(FIELDS), where="t.csv")
    assert "phone" in str(caught.value)
    assert "0123" not in str(caught.value)


def test_a_missing_column_is_refused_by_name():
    with pytest.raises(DataError, match="note"):
        strip(table().drop(columns="note"), schema(FIELDS))


MAILS = [f"zebra{i}@example.org" for i in range(4)]


def contacts(**more):
    contact = {"name": "contact", "type": "string", "constraints": {"enum": MAILS}, **more}
    frame = pd.DataFrame({"pid": list("abcd"), "age": 31, "contact": MAILS})
    return frame, schema([*FIELDS[:2], contact])


@pytest.mark.parametrize("more", [{}, {"role": "protected"}, {"role": "feature"}])
def test_cells_that_look_like_identifiers_are_refused_in_whatever_role_they_are_modelled(more):
    with pytest.raises(DataError) as caught:
        strip(*contacts(**more), where="t.csv")
    assert caught.value.exit_code == 3
    assert "'contact': 4 cells (e-mail address)" in caught.value.message
    assert "identifier: false" in caught.value.next_step
    assert "zebra" not in str(caught.value)


@pytest.mark.parametrize("more", [{"identifier": False}, {"role": "drop"}])
def test_a_persons_word_that_cells_are_no_identifier_is_taken_and_dropped_cells_are_not_asked(more):
    strip(*contacts(**more))


def test_identifier_false_also_answers_for_a_name():
    refuse_identifiers(schema([*FIELDS, {"name": "zip", "type": "string", "identifier": False}]))
