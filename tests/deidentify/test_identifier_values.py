"""Identifiers found by their cells: each kind is found, and no column of an open medical table is one."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthgen import datasets
from synthgen.deidentify import check_digits as digits
from synthgen.deidentify.identifier_values import Found, find, kind_in
from synthgen.ingest.tables.table import read_raw

DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
MISSING = ("", "?", "NA")
NAMES = [
    a + b
    for a in ("An", "Be", "Car", "Do", "El", "Fra", "Gre", "Hel")
    for b in ("ton", "la", "mir", "sen", "by", "da", "ko")
]


def valid(check, numbers):
    """Return numbers that pass a check, in order."""
    return [text for text in numbers if check(text)]


def letters(n, alphabet="TRWAGMYFPDXBNJZSQVHLCKE"):
    return [f"{12345600 + i}{alphabet[(12345600 + i) % 23]}" for i in range(n)]


IDENTIFYING = {
    "e-mail address": ["ann.lee@example.org", "b-o@mail.example.com", "mail c_d@example.de please"],
    "social security number": ["078-05-1120", "219-09-9999", "457 55 5462", "999-52-7304"],
    "phone number": [
        "+49 30 901820",
        "(555) 010-4477",
        "555-010-4478",
        "030 901820-44",
        "01 99 00 12 34",
        "+4930901820",
    ],
    "web or network address": [f"192.0.2.{i}" for i in range(9)],
    "bank account or card number": [
        "DE89 3704 0044 0532 0130 00",
        "GB29NWBK60161331926819",
        "FR1420041010050500013M02606",
    ],
    "health or national number": valid(digits.nhs, (f"94347{i:05d}" for i in range(200))),
    "postcode": ["SW1A 1AA", "EC1A 1BB", "M1 1AE", "B33 8TH", "K1A 0B1"],
    "street address": [f"{i} {name} Street" for i, name in enumerate(NAMES[:12], 1)],
    "person's name": [f"Frau {name}" for name in NAMES[:6]],
    "name of a person or place": [f"{name}, {other}" for name, other in zip(NAMES, NAMES[::-1], strict=True)],
    "birth date": [f"{1930 + i % 70}-0{1 + i % 9}-1{i % 10}" for i in range(200)],
    "record number": [f"KH{4711000 + 37 * i}" for i in range(40)],
    "device identifier": [f"(01)0081234500000{i}(11)200220(21)99{i}" for i in range(6)],
}


@pytest.mark.parametrize("kind", IDENTIFYING)
def test_every_kind_is_found_and_counted(kind):
    cells = IDENTIFYING[kind]
    assert kind_in(pd.Series([*cells, "", "NA"]), missing=MISSING) == (kind, len(cells))


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("bank account or card number", valid(digits.card, (f"41111111111{i:05d}" for i in range(200)))),
        ("health or national number", valid(digits.kvnr, (f"A1234{i:05d}" for i in range(100)))),
        ("health or national number", letters(8)),
        ("health or national number", valid(digits.cpf, (f"529982{i:05d}" for i in range(2000)))),
        ("health or national number", valid(digits.nir, (f"2550814168{i:05d}" for i in range(2000)))),
        ("street address", [f"Lange Straße {i}b" for i in range(1, 15)]),
        ("street address", [f"{i} rue de la Paix" for i in range(1, 15)]),
        ("street address", [f"{100 + i} {name} Unit 3" for i, name in enumerate(f"{a} Well" for a in NAMES)]),
        ("web or network address", [f"https://example.org/p/{i}" for i in range(30)]),
        ("web or network address", [f"2001:db8::{i}" for i in range(9)]),
        ("record number", [f"6310efc1-0a81-76ce-bcdc-8f2995ff{i:04x}" for i in range(40)]),
        ("birth date", [f"0{1 + i % 9}.1{i % 10}.{1930 + i % 70}" for i in range(200)]),
    ],
)
def test_other_forms_of_a_kind_are_found(kind, cells):
    assert kind_in(pd.Series(cells)) == (kind, len(cells))


def test_numbers_and_dates_of_parquet_are_found():
    nhs = pd.Series([int(text) for text in IDENTIFYING["health or national number"]])
    assert kind_in(nhs) == ("health or national number", len(nhs))
    assert kind_in(nhs.astype(float))[0] == "health or national number"
    assert kind_in(pd.to_datetime(pd.Series(IDENTIFYING["birth date"])))[0] == "birth date"


BENIGN = {
    "icd10": [f"{letter}{i:02d}.{i % 10}" for letter in "EIJK" for i in range(40)],
    "icd9": [f"{250 + i / 100:.2f}" for i in range(80)],
    "loinc": [f"{2000 + i}-{i % 10}" for i in range(80)],
    "atc": [f"C0{i % 9}AA{i:02d}" for i in range(80)],
    "ndc": [f"0000{i % 9}-{1000 + i}-{i % 90 + 10}" for i in range(80)],
    "ndc11": [f"000064943{i:02d}" for i in range(80)],
    "snomed": [str(384758001 + 1009 * i) for i in range(80)],
    "lab": [f"{4 + i / 7:.3f}" for i in range(200)],
    "ids": [str(12345678 + i) for i in range(300)],
    "ten digits": [str(4_000_000_000 + 7919 * i) for i in range(300)],
    "sixteen digits": [str(4_000_000_000_000_000 + 7919 * i) for i in range(300)],
    "participants": [f"002-{1000 + i}" for i in range(100)],
    "zip3": [f"{i:03d}" for i in range(100, 300)],
    "zip5": [f"{i:05d}" for i in range(2100, 2300)],
    "admitted": [f"{1990 + i % 30}-0{1 + i % 9}-1{i % 10}" for i in range(300)],
    "placeholder": ["1900-01-01"] * 40 + [f"{2000 + i % 20}-03-1{i % 10}" for i in range(200)],
    "times": [f"{i % 24:02d}:{i % 60:02d}:00" for i in range(200)],
    "version": [f"{i}.{i + 1}" for i in range(30)],
    "oid": [f"1.2.840.10008.5.1.4.1.1.{i}" for i in range(30)],
    "drug": ["Aspirin", "Metformin", "Insulin Lispro", "Lisinopril"] * 50,
    "dose": [f"{i} mg" for i in range(1, 60)],
    "frequency": ["2 per day", "1 at night", "3 with meals"] * 20,
    "site": ["https://example.org/a", "https://example.org/b"] * 40,
    "ratio": [f"{110 + i}/{60 + i}" for i in range(60)],
    "rsid": [f"rs{1234567 + i}" for i in range(100)],
    "ward": [f"Ward {i % 12}" for i in range(200)],
    "flag": [True, False] * 30,
    "nested": [[1], [2]] * 10,
    "one odd mail": ["ok"] * 100 + ["a@example.org"],
    "all missing": ["", "?", "NA"] * 10,
}


@pytest.mark.parametrize("name", BENIGN)
def test_ordinary_clinical_columns_raise_no_alarm(name):
    assert kind_in(pd.Series(BENIGN[name]), missing=MISSING) is None


def test_random_numbers_of_an_identifiers_length_raise_no_alarm():
    """False alarms: at most 1e-5 a scheme and column, so 0.01 expected in these 960; fixed seed."""
    rng = np.random.default_rng(20)
    for length in (9, 10, 11, 13, 15, 16):
        for n in (5, 40):
            for _ in range(80):
                cells = rng.integers(10 ** (length - 1), 10**length, n)
                assert kind_in(pd.Series(cells.astype(str))) is None


def open_tables():
    names = (
        "adult/adult.data.gz",
        "support2/*.gz",
        "eicu_demo/*.gz",
        "mimic3_demo/*.gz",
        "survival_r/*.csv*",
    )
    return [path for name in (*names, "heart_uci/*.csv", "synthea/*.gz") for path in sorted(DATA.glob(name))]


PERSONS = {"Id", "PATIENT", "ENCOUNTER", "UDI"}
"""Columns of the synthetic cohort's tables that are identifiers: of patients, visits and devices."""


def test_no_column_of_the_open_tables_is_taken_for_an_identifier():
    paths = open_tables()
    if not paths:
        pytest.skip("SYNTHGEN_TEST_DATA has none of the open tables")
    for path in paths:
        if path.name == "patients.csv.gz":
            continue
        raw = read_raw(path, delimiter=";" if path.name.startswith("processed") else ",")
        found = {one.column for one in find(raw, list(raw.columns), lambda name: MISSING)}
        assert found <= (PERSONS if path.parent.name == "synthea" else set()), path.name


def test_no_column_of_the_demo_cohort_is_taken_for_an_identifier():
    raw = read_raw(datasets.path("diabetes130") / "encounters.parquet")
    assert find(raw, list(raw.columns), lambda name: MISSING) == []


def test_the_identifiers_of_a_table_of_patients_are_found():
    path = DATA / "synthea" / "patients.csv.gz"
    if not path.exists():
        pytest.skip("SYNTHGEN_TEST_DATA has no synthea/patients.csv.gz")
    raw = read_raw(path)
    found = {one.column: one.kind for one in find(raw, list(raw.columns), lambda name: MISSING)}
    assert found == {
        "Id": "record number",
        "BIRTHDATE": "birth date",
        "SSN": "social security number",
        "DRIVERS": "record number",
        "PASSPORT": "record number",
        "FIRST": "name of a person or place",
        "LAST": "name of a person or place",
        "MAIDEN": "name of a person or place",
        "BIRTHPLACE": "name of a person or place",
        "ADDRESS": "street address",
        "CITY": "name of a person or place",
    }


def test_what_is_found_names_no_cell():
    raw = pd.DataFrame({"contact": IDENTIFYING["e-mail address"], "age": [31, 47, 52]})
    assert find(raw, ["contact", "age", "not there"], lambda name: MISSING) == [
        Found("contact", "e-mail address", 3)
    ]


def test_a_cell_of_a_million_characters_is_soon_judged():
    assert kind_in(pd.Series(["a" * 1_000_000, "1 " * 500_000, "A" + "b" * 1_000_000])) is None


def test_a_sample_of_a_long_column_finds_what_is_in_all_of_it():
    cells = pd.Series([f"p{i}@example.org" for i in range(30_000)])
    assert kind_in(cells) == ("e-mail address", 30_000)
