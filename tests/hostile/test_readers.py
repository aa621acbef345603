"""Every reader, fed with mutated files and with small files that ask for much: bounded, and in words."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.errors import ConfigError
from synthgen.files import json_file, limits, yaml_file

HERE = Path(__file__).parent
READERS = "config schema csv parquet redcap omop policy npz images tiff dicom model run bundle ledger".split()
CODE_2 = {
    *("model_whose_header_lies", "schema_of_15000_fields", "schema_with_a_comment_of_3_mb"),
    *(
        "schema_with_keys_of_keys",
        "schema_of_aliases",
        "schema_of_a_long_number",
        "schema_of_many_percent_signs",
    ),
}
SLOW = (
    *(
        "bzip2_of_many_rows",
        "xz_of_one_line",
        "gzip_of_one_line",
        "parquet_of_lists",
        "schema_of_15000_fields",
    ),
    *(
        "png_with_a_long_text",
        "png_with_a_long_profile",
        "png_of_ten_thousand_megapixels",
        "zip_of_many_rows",
    ),
    *("schema_of_aliases", "bundle_of_20_million_rows", "archive_of_large_images"),
)


def fuzzed(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run ``fuzz.py`` and return its outcomes; the faults are in the output."""
    report = tmp_path / "outcomes.json"
    command = [sys.executable, "-P", str(HERE / "fuzz.py"), "--json", str(report), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    found: list[dict[str, Any]] = json.loads(report.read_text())
    return found


def test_a_few_mutated_files_of_every_reader_are_read_or_refused_in_words(tmp_path: Path) -> None:
    outcomes = fuzzed(
        tmp_path,
        "--count",
        "40",
        "--seconds",
        "120",
        "--readers",
        ",".join(name for name in READERS if name != "bundle"),
    )
    outcomes += fuzzed(tmp_path, "--count", "10", "--seconds", "120", "--readers", "bundle")
    assert {found["reader"]: found["files"] for found in outcomes} == {
        name: 10 if name == "bundle" else 40 for name in READERS
    }
    assert all(found["accepted"] for found in outcomes)  # the seed itself at least


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_ten_thousand_mutated_files_neither_crash_nor_hang_a_reader(reader: str, tmp_path: Path) -> None:
    found = fuzzed(tmp_path, "--count", "10000", "--seconds", "60", "--readers", reader)[0]
    assert (found["files"], found["faults"]) == (10_000, [])
    assert found["slowest"] < 60


def test_the_fuzzer_reports_crashes_hangs_and_tracebacks(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(HERE)!r})
import os, time, fuzz
def bad(path, rng):
    kind = rng.randrange(4)
    if kind == 0: os.abort()
    if kind == 1: time.sleep(60)
    if kind == 2: raise KeyError("x")
    bytearray(7 * 2**30)
(fuzz.Path({str(tmp_path)!r}) / "config").mkdir()
(fuzz.Path({str(tmp_path)!r}) / "config" / "a.yaml").write_text("a: 1")
reader = fuzz.Reader("config", "config/*.yaml", bad)
found = fuzz.fuzz(reader, fuzz.Path({str(tmp_path)!r}), first=1, count=16, seconds=1)
words = " ".join(found.faults)
assert found.files == len(found.faults) == 16, found
assert all(word in words for word in ("hung", "died", "KeyError", "MemoryError")), words
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def exploded(*names: str) -> None:
    command = [sys.executable, "-P", str(HERE / "bombs.py"), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [found["name"] for found in outcomes] == list(names)
    for found in outcomes:
        print(found)
        assert found["code"] == (2 if found["name"] in CODE_2 else 3), found
        assert found["cpu"] < 60, found
        assert found["megabytes"] < 2048, found
        assert len(found["text"]) > 10, found


def names_of_bombs() -> list[str]:
    text = (HERE / "bombs.py").read_text()
    return [part.partition("(")[0] for part in text.split("@bomb\ndef ")[1:]]


def test_small_files_that_ask_for_much_are_refused_at_once() -> None:
    exploded(*(name for name in names_of_bombs() if name not in SLOW))


@pytest.mark.slow
def test_small_files_that_ask_for_much_are_refused_within_a_minute() -> None:
    exploded(*SLOW)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(VALUES)
def test_any_document_is_read_as_written_or_refused(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        try:
            assert json_file.parse(text) == value
        except (ValueError, limits.TooLarge):
            assert any(word in text for word in ("NaN", "Infinity", "\\ud", "0" * 90)) or len(text) > 100


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_yaml_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(ConfigError):  # exit code 2
        yaml_file.value(text, where="text")
