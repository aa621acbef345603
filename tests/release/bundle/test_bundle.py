"""The bundle: written whole or not at all, and every tampering is named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.errors import ConfigError, DataError, GateRefused, OperationError
from synthgen.release.bundle.bundle import schema_text, verify_bundle, write_bundle
from synthgen.release.bundle.data_checks import data_problems
from synthgen.release.bundle.verify import REQUIRED, Problem
from synthgen.release.record.record import Judgement, Override, record_text
from synthgen.schema.schema import Schema, load_schema

MakeRecord = Callable[..., dict[str, Any]]
FILES = (*REQUIRED, "data/cohort.csv", "data/cohort.parquet")


def named(problems: list[Problem]) -> set[str]:
    return {problem.file for problem in problems}


def reseal(folder: Path) -> None:
    """List the checksums anew, as a forger would."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    rows = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names
        if name != "checksums.sha256"
    ]
    (folder / "checksums.sha256").write_text("".join(rows), encoding="utf-8")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def test_a_good_bundle_verifies_on_another_machine(copy: Path) -> None:
    assert verify_bundle(copy) == []
    assert sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()) == sorted(FILES)


def test_the_checksums_are_read_by_sha256sum(bundle: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    done = subprocess.run(
        ["sha256sum", "-c", "checksums.sha256"], cwd=bundle, capture_output=True, check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_anywhere_is_named(copy: Path, name: str) -> None:
    path = copy / name
    content = path.read_bytes()
    places = np.random.default_rng(3).integers(0, len(content), 4)
    for place in {0, len(content) - 1, *map(int, places)}:
        for bit in (0x01, 0x20, 0x80):
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            found = named(verify_bundle(copy))
            # A flipped digest cannot be told from a flipped file, so the file of that line is named instead.
            assert found if name == "checksums.sha256" else name in found, (place, bit)
    path.write_bytes(content)
    assert verify_bundle(copy) == []


@pytest.mark.parametrize("name", FILES)
def test_a_missing_a_truncated_and_a_renamed_file_are_named(copy: Path, name: str) -> None:
    path = copy / name
    content = path.read_bytes()
    path.unlink()
    assert name in named(verify_bundle(copy))
    path.write_bytes(content[: len(content) // 2])
    found = named(verify_bundle(copy))
    assert found if name == "checksums.sha256" else name in found
    path.write_bytes(content)
    path.rename(path.with_name("other" + path.suffix))
    assert name in named(verify_bundle(copy))


def test_what_does_not_belong_is_named_even_if_listed(copy: Path) -> None:
    (copy / "internal").mkdir()
    (copy / "internal" / "evaluation.json").write_text("{}", encoding="utf-8")
    (copy / "data" / "real.csv").write_text("a\n", encoding="utf-8")
    (copy / ".hidden").write_text("", encoding="utf-8")
    assert {"internal", "data/real.csv", ".hidden"} <= named(verify_bundle(copy))
    reseal(copy)
    assert {"internal", "data/real.csv", ".hidden"} <= named(verify_bundle(copy))


def test_links_are_not_followed(copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "outside.csv"
    shutil.copy(copy / "data" / "cohort.csv", target)
    (copy / "data" / "cohort.csv").unlink()
    (copy / "data" / "cohort.csv").symlink_to(target)
    assert "data/cohort.csv" in named(verify_bundle(copy))
    link = tmp_path / "link"
    link.symlink_to(copy)
    assert verify_bundle(link)
    assert verify_bundle(tmp_path / "nothing")


def test_a_pipe_is_named_and_not_read(copy: Path) -> None:
    os.mkfifo(copy / "data" / "pipe.csv")
    assert "data/pipe.csv" in named(verify_bundle(copy))


def test_a_listed_path_that_escapes_is_named(copy: Path) -> None:
    listed = copy / "checksums.sha256"
    listed.write_text(
        listed.read_text(encoding="utf-8") + f"{'0' * 64}  ../../etc/passwd\n", encoding="utf-8"
    )
    assert "../../etc/passwd" in named(verify_bundle(copy))


def test_a_resealed_lie_in_the_record_is_found(copy: Path) -> None:
    record = json.loads((copy / "privacy_record.json").read_text(encoding="utf-8"))
    lied = {**record, "ledger": {**record["ledger"], "epsilon": 0.1}}
    (copy / "privacy_record.json").write_text(record_text(lied), encoding="utf-8")
    reseal(copy)
    problems = verify_bundle(copy)
    assert any(p.file == "privacy_record.json" and "ledger.epsilon" in p.message for p in problems)
    assert {"card.md", "report.html"} <= named(problems)  # they are not made from this record


def test_a_resealed_change_of_schema_or_package_is_found(copy: Path) -> None:
    for name, old, new in [("schema.yaml", "maximum: 100", "maximum: 120"), ("datapackage.json", '"S', '"s')]:
        path = copy / name
        text = path.read_text(encoding="utf-8")
        changed = text.replace(old, new) if old in text else text.replace("{", "{ ", 1)
        path.write_text(changed, encoding="utf-8")
        reseal(copy)
        assert name in named(verify_bundle(copy))
        path.write_text(text, encoding="utf-8")


def test_an_internal_report_is_no_public_edition(copy: Path) -> None:
    path = copy / "report.html"
    path.write_bytes(path.read_bytes().replace(b'content="public"', b'content="internal"'))
    reseal(copy)
    assert named(verify_bundle(copy)) == {"report.html"}


def edit(copy: Path, column: str, row: int, value: str) -> list[str]:
    """Change one CSV cell, seal the bundle again, and return what is said of the file."""
    path = copy / "data" / "cohort.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[row, column] = value
    frame.to_csv(path, index=False, lineterminator="\n")
    reseal(copy)
    found = [problem.message for problem in verify_bundle(copy) if problem.file == "data/cohort.csv"]
    assert "is not the file of which the privacy record has the digest" in found
    return [message for message in found if "digest" not in message]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("age", "101", "outside its bounds"),
        ("age", "41.5", "not of the type"),
        ("sex", "X", "not of the type"),
        ("sex", "?", "missing though required"),
        ("race", "nope", "not of the type"),
        ("stage", "4", "not of the type"),
        ("albumin", "7.51", "outside its bounds"),
        ("albumin", "nan", "not of the type"),
        ("albumin", "inf", "not of the type"),
        ("admitted", "1999-12-31", "outside its bounds"),
        ("admitted", "2001-02-30", "not of the type"),
        ("died", "true", "not of the type"),
        ("patient", "REAL-0001", "fresh sequential ids"),
        ("patient", "S00000007", "fresh"),
        ("encounter", "2278392", "fresh ids"),
        ("encounter", "9" * 30, "fresh sequential ids"),
        ("encounter", "9" * 5000, "fresh sequential ids"),
    ],
)
def test_a_cell_that_breaks_the_schema_is_named_by_column_and_never_shown(
    copy: Path, column: str, value: str, says: str
) -> None:
    messages = edit(copy, column, 3, value)
    if column == "patient" and value == "S00000007":
        assert messages == []  # two records of one synthetic patient are allowed
        return
    assert len(messages) == 1
    assert f"column {column!r}" in messages[0]
    assert says in messages[0]
    assert value not in messages[0].replace(column, "") or len(value) < 3


def test_a_broken_hard_rule_is_counted(copy: Path) -> None:
    path = copy / "data" / "cohort.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[:1, ["died", "readmitted"]] = ["yes", "true"]
    frame.to_csv(path, index=False, lineterminator="\n")
    reseal(copy)
    assert any("violated in 2 records" in problem.message for problem in verify_bundle(copy))


def test_rows_taken_away_and_columns_moved_are_found(copy: Path, schema: Schema) -> None:
    path = copy / "data" / "cohort.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.iloc[:-1].to_csv(path, index=False)
    assert "expected 200 records, found 199" in data_problems(path, schema, records=200)
    frame[frame.columns[::-1]].to_csv(path, index=False)
    assert "columns" in data_problems(path, schema, records=200)[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"a,a\n1,2\n", b"patient,encounter\n1,2,3\n", b'"', b"a\n" + b"x" * 1_000_000],
)
def test_a_file_that_is_no_table_is_a_problem_and_not_a_crash(
    tmp_path: Path, schema: Schema, content: bytes
) -> None:
    for name in ("a.csv", "a.parquet"):
        (tmp_path / name).write_bytes(content)
        assert data_problems(tmp_path / name, schema, records=1)


def test_a_parquet_file_with_a_wrong_type_is_found(table: SyntheticTable, tmp_path: Path) -> None:
    frame = table.to_pandas().assign(sex=lambda f: pd.Series(np.arange(len(f))))
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    problems = data_problems(tmp_path / "a.parquet", table.schema, records=len(table))
    assert len(problems) == 1
    assert "'sex'" in problems[0]


def test_several_records_of_a_synthetic_patient_are_allowed(table: SyntheticTable, tmp_path: Path) -> None:
    units = np.repeat(np.arange(1, len(table) // 2 + 1), 2)
    SyntheticTable(table.schema, table.frame, units).to_pandas().to_parquet(
        tmp_path / "a.parquet", index=False
    )
    assert data_problems(tmp_path / "a.parquet", table.schema, records=len(table)) == []


def test_writing_the_same_again_changes_nothing_and_another_is_refused(
    case: Any, tmp_path: Path, make_record: MakeRecord, table: SyntheticTable, schema: Schema
) -> None:
    output = case.write(tmp_path / "deep" / "release")
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
    assert case.write(output) == output
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == before
    other = make_record(judgement=Judgement("release", "strict", "0" * 64, looks=1))
    with pytest.raises(ConfigError, match="something else"):
        case.write(output, record=other)
    (output / "card.md").write_text("changed", encoding="utf-8")
    with pytest.raises(ConfigError, match="something else"):
        case.write(output)
    assert [p.name for p in output.parent.iterdir()] == ["release"]


def test_a_bundle_that_would_not_verify_leaves_nothing(
    case: Any, tmp_path: Path, files: dict[str, Path]
) -> None:
    real = tmp_path / "cohort.csv"
    real.write_text(
        files["cohort.csv"].read_text(encoding="utf-8").replace("S0000", "MRN00"), encoding="utf-8"
    )
    with pytest.raises(DataError, match="fresh sequential ids"):
        case.write(tmp_path / "out", data_files={**files, "cohort.csv": real})
    with pytest.raises(DataError, match="names, got others"):
        case.write(tmp_path / "out", data_files={"cohort.csv": files["cohort.csv"]})
    assert [p.name for p in tmp_path.iterdir()] == ["cohort.csv"]


def test_a_full_disk_leaves_nothing(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OperationError, match="write the bundle"):
        case.write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_cohort_is_not_written_without_an_override(
    case: Any, tmp_path: Path, make_record: MakeRecord, table: SyntheticTable, schema: Schema
) -> None:
    refused = make_record(judgement=Judgement("refuse", "default", "0" * 64, looks=1))
    with pytest.raises(GateRefused, match="refuse"):
        case.write(tmp_path / "out", record=refused)
    override = Override("Needed for a course.", "Dr A", "2026-03-01")
    made = make_record(judgement=Judgement("refuse", "default", "0" * 64, looks=1, override=override))
    assert verify_bundle(case.write(tmp_path / "out", record=made)) == []


def test_a_real_table_or_an_internal_file_is_never_taken(
    case: Any, tmp_path: Path, table: SyntheticTable, files: dict[str, Path]
) -> None:
    real = RealTable(table.schema, table.frame, np.arange(len(table)).astype(str))
    with pytest.raises(ValueError, match="got RealTable"):
        case.write(tmp_path / "out", data_files={"cohort.csv": real})
    inside = tmp_path / "internal"
    inside.mkdir()
    shutil.copy(files["cohort.csv"], inside)
    with pytest.raises(ConfigError, match="internal"):
        case.write(tmp_path / "out", data_files={"cohort.csv": inside / "cohort.csv"})


@pytest.mark.parametrize(
    "name", ["../cohort.csv", "a/b.csv", ".hidden.csv", "cohort.pkl", "a\nb.csv", "a\\b.csv"]
)
def test_a_data_file_keeps_to_its_folder(
    case: Any, tmp_path: Path, files: dict[str, Path], name: str
) -> None:
    with pytest.raises(ConfigError, match="plain file name"):
        case.write(tmp_path / "out", data_files={name: files["cohort.csv"]})


def test_a_synthetic_table_is_written_by_the_sampler(
    case: Any, tmp_path: Path, table: SyntheticTable
) -> None:
    pytest.importorskip("synthgen.sampling.draw", exc_type=ImportError)
    output = case.write(tmp_path / "out", data_files={"cohort.csv": table, "cohort.parquet": table})
    assert verify_bundle(output) == []


def test_the_schema_file_reads_back_to_the_same_schema(schema: Schema, tmp_path: Path) -> None:
    public = schema.public()
    (tmp_path / "s.yaml").write_text(schema_text(public), encoding="utf-8")
    assert load_schema(tmp_path / "s.yaml").digest() == public.digest()
    assert '"no"' in schema_text(public)  # so that a YAML 1.1 reader does not see false


def test_no_bound_of_an_id_and_no_path_of_this_machine_leaves(bundle: Path, files: dict[str, Path]) -> None:
    for path in bundle.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in (b"REAL-0001", b"2278392", b"443867222", str(files["cohort.csv"].parent).encode()):
                assert secret not in content, path.name


def test_the_data_package_describes_what_lies_there(bundle: Path) -> None:
    package = json.loads((bundle / "datapackage.json").read_text(encoding="utf-8"))
    assert [resource["path"] for resource in package["resources"]] == [
        "data/cohort.csv",
        "data/cohort.parquet",
    ]
    for resource in package["resources"]:
        content = (bundle / resource["path"]).read_bytes()
        assert resource["bytes"] == len(content)
        assert resource["hash"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        names = [field["name"] for field in resource["schema"]["fields"]]
        assert names[:2] == ["patient", "encounter"]
        assert "ward_note" not in names


def test_a_bundle_is_readable_by_others_and_holds_no_program(bundle: Path) -> None:
    assert bundle.stat().st_mode & 0o777 == 0o755
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in bundle.rglob("*") if path.is_file())
    assert write_bundle.__doc__
