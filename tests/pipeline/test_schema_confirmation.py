"""A person's confirmation changes one word an entry and nothing else of a schema's file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.errors import ConfigError
from synthgen.pipeline.schema_confirmation import confirm
from synthgen.schema.completeness import gaps
from synthgen.schema.schema import load_schema

TEXT = """# by the steward, 2026
unit:   row     # rows
missingValues: ["", "NA"]

fields:
  # vital signs
  - name: age      # years
    type: integer
    constraints: {minimum: 0,   maximum: 120}   # from the protocol
    confirmed: false   # ask Dr. Weiß
  - {name: sex, type: string, constraints: {enum: [F, M]}, confirmed: false}
  - confirmed:   false
    type: boolean
    name: "died: yes?"
  - name: weight
    type: number
    constraints: {minimum: 1, maximum: 300}
"""


def schema_file(tmp_path, text=TEXT, encoding="utf-8"):
    path = tmp_path / "s.yaml"
    path.write_bytes(text.encode(encoding))
    return path


def test_only_the_named_columns_change_and_only_by_one_word(tmp_path):
    path = schema_file(tmp_path)
    done = confirm(path, ["age", "died: yes?"])
    assert (done.columns, done.waiting, done.open) == (("age", "died: yes?"), ("sex",), ())
    expected = TEXT.replace("confirmed: false   # ask", "confirmed: true   # ask")
    expected = expected.replace("confirmed:   false", "confirmed:   true")
    assert path.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("ends", ["\r\n", "\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_and_a_byte_order_mark_stay(tmp_path, ends, encoding):
    text = TEXT.replace("\n", ends)
    path = schema_file(tmp_path, text, encoding)
    assert confirm(path, None).columns == ("age", "sex", "died: yes?")
    assert path.read_bytes() == text.replace("false", "true").encode(encoding)
    assert not [field for field in load_schema(path).fields if not field.confirmed]


def test_a_second_confirmation_changes_nothing(tmp_path):
    path = schema_file(tmp_path)
    confirm(path, None)
    before = path.read_bytes()
    assert confirm(path, None).columns == ()
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["s.yaml"]


def test_an_unknown_column_is_refused_with_those_that_exist_and_nothing_is_written(tmp_path):
    path = schema_file(tmp_path)
    with pytest.raises(ConfigError) as caught:
        confirm(path, ["age", "heigth"])
    assert "heigth" in caught.value.message
    assert "weight" in caught.value.next_step
    assert path.read_text(encoding="utf-8") == TEXT


def test_a_word_shared_by_an_anchor_is_left_to_the_person(tmp_path):
    text = """unit: row
fields:
  - {name: a, type: boolean, confirmed: &no false}
  - {name: b, type: boolean, confirmed: *no}
"""
    path = schema_file(tmp_path, text)
    with pytest.raises(ConfigError):
        confirm(path, ["b"])
    assert path.read_text() == text


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    data=st.data(),
)
def test_any_layout_keeps_its_other_bytes(tmp_path_factory, names, data):
    import json

    flow = [data.draw(st.booleans()) for _ in names]
    lines = ["unit: row", "fields:"]
    for name, is_flow in zip(names, flow, strict=True):
        shown = json.dumps(name)
        if is_flow:
            lines.append(f"  - {{type: boolean, confirmed: false, name: {shown}}} # confirmed: false")
        else:
            lines += [f"  - name: {shown}", "    type: boolean", "    confirmed: false # confirmed: false"]
    text = "\n".join(lines) + "\n"
    path = schema_file(tmp_path_factory.mktemp("s"), text)
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    confirm(path, chosen)
    after = path.read_text(encoding="utf-8")
    assert len(after) == len(text) - len(chosen)
    assert after.replace("confirmed: true", "confirmed: false") == text
    assert {f.name for f in load_schema(path, complete=False).fields if f.confirmed} == set(chosen)


def test_every_gap_is_listed_at_once_with_its_line_and_the_command(tmp_path):
    text = (
        TEXT + "  - {name: ward, type: string}\n  - {name: dose, type: number, constraints: {minimum: 1}}\n"
    )
    path = schema_file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_schema(path)
    error = caught.value
    for part in ("'age' (line 7)", "'sex' (line 11)", "'died: yes?'", "'ward' (line 18)", "'dose' (line 19)"):
        assert part in error.message
    assert error.where.endswith("s.yaml:7")
    assert f"synthgen schema confirm {path} age sex 'died: yes?'" in error.next_step
    assert "--all" in error.next_step
    kinds = [(gap.column, gap.kind) for gap in gaps(load_schema(path, complete=False).fields)]
    assert kinds[-2:] == [("ward", "domain"), ("dose", "domain")]


def test_a_column_that_is_unconfirmed_and_lacks_a_domain_has_both_gaps(tmp_path):
    path = schema_file(tmp_path, "unit: row\nfields: [{name: w, type: string, confirmed: false}]\n")
    assert [gap.kind for gap in gaps(load_schema(path, complete=False).fields)] == ["unconfirmed", "domain"]
    done = confirm(path, None)
    assert (done.waiting, [gap.kind for gap in done.open]) == ((), ["domain"])
