"""YAML 1.2 into strict settings: what is guessed is refused, and no message repeats a value."""

import pytest
from pydantic import Field

from synthgen.errors import ConfigError
from synthgen.files import yaml_file
from synthgen.settings import Settings


class Inner(Settings):
    name: str
    bound: float | int | str | None = None
    url: str | None = Field(default=None, alias="theUrl")


class Outer(Settings):
    word: str = "x"
    flag: bool = False
    delta: float = 0.5
    count: int = 1
    fields: tuple[Inner, ...] = ()
    inner: Inner | None = None


def parse(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return yaml_file.parse(Outer, yaml_file.read(path), path=path)


def refusal(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        parse(tmp_path, text)
    return caught.value


@pytest.mark.parametrize("text", ["word: no", "word: yes", "word: on", "word: off", "word: 12:30", "word: y"])
def test_words_that_yaml_1_1_takes_for_something_else_stay_text(tmp_path, text):
    assert parse(tmp_path, text).word == text.removeprefix("word: ")


def test_1e_minus_6_is_a_number(tmp_path):
    assert parse(tmp_path, "delta: 1e-6").delta == 1e-6


@pytest.mark.parametrize("value", ["007", "1_000", "3.0", "true", "0x1F", "null", "1e-6"])
def test_a_value_that_is_no_text_in_a_text_field_is_an_error_that_says_quote_it(tmp_path, value):
    error = refusal(tmp_path, f"flag: true\nword: {value}")
    assert "quote it" in str(error)
    assert error.where.endswith("file.yaml:2")
    assert value not in error.message


def test_a_quoted_number_stays_text(tmp_path):
    assert parse(tmp_path, 'word: "007"').word == "007"


@pytest.mark.parametrize(
    "text",
    [
        "delta: '0.5'",
        "delta: .nan",
        "delta: .inf",
        "count: 1.5",
        "count: true",
        "flag: 1",
        "flag: 'true'",
        "count: ten",
    ],
)
def test_wrong_types_are_errors_and_never_converted(tmp_path, text):
    assert refusal(tmp_path, text).where.endswith("file.yaml:1")


def test_an_unknown_key_names_its_line_and_the_keys_that_exist(tmp_path):
    error = refusal(tmp_path, "word: a\nfields:\n  - name: age\n    theUrll: secret\n")
    assert error.where.endswith("file.yaml:4")
    assert "fields.0 (age).theUrll" in error.message
    assert "'bound', 'name', 'theUrl'" in error.message
    assert "secret" not in str(error)


def test_a_value_of_the_wrong_type_is_named_by_its_key_alone(tmp_path):
    error = refusal(tmp_path, "fields:\n  - {name: age, bound: [secret]}\n")
    assert error.message.startswith("fields.0 (age).bound: ")
    assert "more in this file" not in error.message
    assert "secret" not in str(error)


def test_a_missing_key_is_named_with_its_parents_line(tmp_path):
    error = refusal(tmp_path, "word: a\ninner:\n  bound: 3\n")
    assert "inner.name: expected this key, found none" in error.message
    assert error.where.endswith(":2")


def test_a_misspelt_key_is_named_and_not_the_one_that_it_leaves_out(tmp_path):
    error = refusal(tmp_path, "word: a\ninner:\n  nmae: secret\n")
    assert "inner.nmae: this key does not exist" in error.message
    assert "Was 'name' meant?" in error.message
    assert error.where.endswith(":3")
    assert "secret" not in str(error)


def test_further_problems_are_counted(tmp_path):
    assert "(2 more in this file)" in refusal(tmp_path, "word: 1\ncount: x\nflag: 3").message


@pytest.mark.parametrize("text", ["postgresql://me:hunter2@db: [", "word: {hunter2: [}", "a: b: hunter2"])
def test_broken_yaml_names_the_line_and_not_the_text(tmp_path, text):
    error = refusal(tmp_path, f"flag: true\n{text}\n")
    assert "hunter2" not in str(error)
    assert error.exit_code == 2
    assert ".yaml:" in error.where


def test_a_key_given_twice_is_refused(tmp_path):
    error = refusal(tmp_path, "word: a\nflag: true\nword: b\n")
    assert "twice" in error.message
    assert error.where.endswith(":3")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_document_that_is_no_mapping_is_refused(tmp_path, text):
    assert "mapping" in refusal(tmp_path, text).message


def test_a_byte_order_mark_is_dropped(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfword: a\n")
    assert yaml_file.parse(Outer, yaml_file.read(path), path=path).word == "a"


def test_a_missing_file_and_a_file_that_is_no_text_are_config_errors(tmp_path):
    with pytest.raises(ConfigError, match="found none"):
        yaml_file.read(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("word: Größe".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        yaml_file.read(tmp_path / "latin.yaml")


def test_aliases_that_grow_without_end_are_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert "aliases" in str(refusal(tmp_path, "\n".join(lines)))
    assert "aliases" in str(refusal(tmp_path, "word: &w [*w]"))


def test_nesting_too_deep_is_an_error_and_no_traceback(tmp_path):
    refusal(tmp_path, "word: " + "[" * 1_500)


def test_an_object_tag_is_data_and_never_code(tmp_path):
    error = refusal(tmp_path, "flag: !!python/object/apply:os.system ['true']")
    assert error.exit_code == 2


def test_a_date_becomes_iso_text(tmp_path):
    assert parse(tmp_path, "word: 2020-01-31").word == "2020-01-31"


def test_a_document_of_many_values_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr("ruamel.yaml.YAML", lambda **_: pytest.fail("parsed"))
    (tmp_path / "many.yaml").write_text("a:\n" + "- {b: 1}\n" * 60_000)
    with pytest.raises(ConfigError, match="values in a YAML document"):
        yaml_file.read(tmp_path / "many.yaml")
