"""Declared limits of readers, the variables that raise them, and JSON read within them."""

import dataclasses
import time
from pathlib import Path

import pytest

from synthgen.errors import ConfigError
from synthgen.files import json_file, limits


def test_every_limit_has_words_a_variable_and_a_line_in_the_docs():
    names = [field.name for field in dataclasses.fields(limits.Limits)]
    assert set(names) == set(limits.WORDS)
    text = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    for name in names:
        amount = getattr(limits.Limits(), name)
        assert f"`{limits.variable(name)}` | {amount:,} |" in text


def test_a_variable_raises_a_limit_and_a_wrong_one_is_refused(monkeypatch):
    with pytest.raises(limits.TooLarge) as caught:
        limits.require("table_columns", 30_000, where="t.csv")
    assert caught.value.exit_code == 3
    assert "SYNTHGEN_LIMIT_TABLE_COLUMNS=30000" in caught.value.next_step
    monkeypatch.setenv("SYNTHGEN_LIMIT_TABLE_COLUMNS", "30000")
    limits.require("table_columns", 30_000)
    for text in ("", "-1", "1e9", "0", "9" * 30, "many"):
        monkeypatch.setenv("SYNTHGEN_LIMIT_TABLE_COLUMNS", text)
        with pytest.raises(ConfigError):
            limits.current()
    monkeypatch.delenv("SYNTHGEN_LIMIT_TABLE_COLUMNS")
    monkeypatch.setenv("SYNTHGEN_LIMIT_TABLE_COLUMN", "7")
    with pytest.raises(ConfigError, match=r"TABLE_COLUMNS\."):
        limits.current()


def test_limits_of_configs_end_with_code_2():
    with pytest.raises(ConfigError) as caught:
        limits.require("schema_fields", 10**6)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        *(
            "[" * 100_000,
            '{"a":' * 100_000,
            "1" * 5000,
            '{"a": 1, "a": 2}',
            "[NaN]",
            "[1e999]",
            '["\\ud800"]',
        ),
        *('"' + '\\"' * 200_000, '"' * 200_001, "[" * 64 + "]" * 63, "", "\x00", '{"a"', "-" * 100_000),
    ],
)
def test_json_that_no_program_writes_is_refused_at_once(text):
    started = time.monotonic()
    with pytest.raises((ValueError, limits.TooLarge)):
        json_file.parse(text)
    assert time.monotonic() - started < 5


def test_json_of_a_file_is_limited_in_bytes(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("[" + "1," * 100 + "1]")
    assert len(json_file.read(path)) == 101
    monkeypatch.setenv("SYNTHGEN_LIMIT_JSON_BYTES", "100")
    with pytest.raises(limits.TooLarge, match="JSON_BYTES=203"):
        json_file.read(path)
