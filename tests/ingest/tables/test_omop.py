"""OMOP tables become one row a person, each cell from its own person's records."""

from pathlib import Path

import pytest

from synthgen.errors import ConfigError, DataError
from synthgen.ingest.tables.omop import flatten

PERSON = "person_id,gender_concept_id,year_of_birth\n1,8507,1950\n2,8532,1980\n3,8532,1990\n"
CONDITION = "condition_occurrence_id,person_id,condition_concept_id\n1,1,255848\n2,1,255848\n3,3,77\n"
MEASUREMENT = """measurement_id,person_id,measurement_concept_id,measurement_date,value_as_number
1,1,3020460,2020-02-01,9.5
2,1,3020460,2020-03-01,4.5
3,1,3020460,2020-04-01,
4,2,3020460,2020-01-01,1.5
5,3,99,2020-01-01,7
"""
NAMES = ["person_id", "gender_concept_id", "condition_255848", "measurement_3020460"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("person", PERSON), ("condition_occurrence", CONDITION), ("measurement", MEASUREMENT)):
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def test_each_person_has_one_row_of_what_is_asked_for(folder: Path) -> None:
    rows = flatten(folder, NAMES)
    assert rows.columns.tolist() == NAMES
    assert rows["condition_255848"].tolist() == ["true", "false", "false"]
    assert rows["measurement_3020460"].tolist() == ["4.5", "1.5", ""]


def test_a_person_more_changes_no_other_row(folder: Path) -> None:
    before = flatten(folder, NAMES)
    (folder / "person.csv").write_text(PERSON + "4,8507,1960\n")
    (folder / "condition_occurrence.csv").write_text(CONDITION + "9,4,255848\n")
    after = flatten(folder, NAMES)
    assert len(after) == 4
    assert after[:3].equals(before)


def test_missing_tables_and_several_rows_are_named(folder: Path) -> None:
    (folder / "person.csv").write_text(PERSON + "3,8507,1960\n")
    with pytest.raises(DataError, match="1 rows more"):
        flatten(folder, NAMES)
    (folder / "measurement.csv").unlink()
    (folder / "person.csv").write_text(PERSON)
    with pytest.raises(ConfigError, match="measurement"):
        flatten(folder, NAMES)
