"""The schema: what it accepts, what it refuses, and the public domains that follow from it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.errors import ConfigError
from synthgen.schema.schema import OTHER, Schema, load_schema

HEAD = "unit: {column: pid, max_records: 2}\nfields:\n  - {name: pid, type: string, role: id}\n"


def load(tmp_path, fields, *, head=HEAD, tail="", complete=True):
    path = tmp_path / "s.yaml"
    path.write_text(head + "".join(f"  - {field}\n" for field in fields) + tail, encoding="utf-8")
    return load_schema(path, complete=complete)


def refusal(tmp_path, *fields, **more):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, fields, **more)
    return caught.value


AGE = "{name: age, type: integer, constraints: {minimum: 0, maximum: 120}}"
SEX = "{name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}"
DIED = "{name: died, type: boolean, role: label}"


def test_a_column_has_the_public_domain_that_the_file_declares(tmp_path):
    limits = "constraints: {minimum: 2000-01-11, maximum: 2001-01-01}"
    seen = f"{{name: seen, type: date, origin: 2000-01-01, {limits}}}"
    code = "{name: code, type: integer, constraints: {enum: [1, 5]}, outside: other}"
    schema = load(tmp_path, [AGE, SEX, DIED, seen, code])
    kinds = {column.name: (column.kind, column.labels) for column in schema.columns}
    assert kinds["age"] == ("integer", ())
    assert kinds["sex"] == ("category", ("F", "M"))
    assert kinds["died"] == ("category", (False, True))
    assert kinds["code"] == ("category", (1, 5, OTHER))
    assert (schema.column("seen").minimum, schema.column("seen").maximum) == (10.0, 366.0)
    assert math.isnan(schema.column("sex").minimum)
    assert [c.name for c in schema.columns if not c.nullable] == ["sex"]
    assert schema.with_role("protected") == ("sex",)
    assert schema.with_role("label") == ("died",)


def test_ids_and_dropped_columns_are_not_among_the_columns(tmp_path):
    schema = load(tmp_path, [AGE, "{name: note, type: string, role: drop}"])
    assert [column.name for column in schema.columns] == ["age"]
    with pytest.raises(ConfigError, match="age"):
        schema.column("note")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("{name: x, type: string, constraints: {enum: [007, 8]}}", "quote it"),
        ("{name: x, type: string, constraints: {enum: [yes, 1_000]}}", "quote it"),
        ("{name: x, type: integer, constraints: {enum: [1, '2']}}", "not an integer"),
        ("{name: x, type: integer, constraints: {enum: [true, 2]}}", "constraints.enum.0"),
        ("{name: x, type: string, constraints: {enum: [a, b, a]}}", "twice"),
        ("{name: x, type: string, constraints: {enum: []}}", "constraints.enum"),
        ("{name: x, type: boolean, constraints: {enum: [a]}}", "takes no enum"),
        ("{name: x, type: text}", "type"),
        ("{name: x, type: string, rol: id}", "this key does not exist"),
        ("{name: 7, type: string}", "quote it"),
        ("{name: x, type: string, constraint: {}}", "'constraints'"),
        ("{name: x, type: number, constraints: {minimun: 3}}", "'minimum'"),
        ("{name: x, type: string, outside: clip, constraints: {enum: [a]}}", "for numbers"),
        ("{name: x, type: number, outside: other}", "for categories"),
        ("{name: x, type: string, bins: 4, constraints: {enum: [a]}}", "bins are for numbers"),
        ("{name: x, type: string, constraints: {minimum: 1}}", "takes an enum"),
        ("{name: x, type: number, constraints: {minimum: '1'}}", "as numbers, got text"),
        ("{name: x, type: integer, constraints: {minimum: 0.5}}", "as integers"),
        (
            "{name: x, type: number, decimals: 4, constraints: {minimum: 0, maximum: 1.0e305}}",
            "finite when counted",
        ),
        ("{name: x, type: date, constraints: {minimum: 31.01.2020}}", "as dates"),
        ("{name: x, type: date, origin: last year, constraints: {minimum: 2020-01-31}}", "as dates"),
        ("{name: x, type: boolean, trueValues: [a], falseValues: [a]}", "overlap"),
        ("{name: x, type: string, missingValues: [a], constraints: {enum: [a]}}", "missingValues"),
        ("{name: x, type: string, constraints: {enum: ['', a]}}", "missingValues"),
        ("{name: x, type: number, confirmed: 'false'}", "confirmed"),
        ("{name: pid, type: string}", "twice"),
    ],
)
def test_a_field_that_cannot_be_meant_is_refused_with_key_and_line(tmp_path, field, message):
    error = refusal(tmp_path, AGE, field)
    assert message in str(error)
    assert error.exit_code == 2


def test_the_line_of_the_field_is_named(tmp_path):
    error = refusal(tmp_path, AGE, "{name: x, type: string, rol: id}")
    assert error.where.endswith("s.yaml:5")
    assert "fields.2 (x).rol" in error.message


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("{name: x, type: string}", "constraints.enum"),
        ("{name: x, type: number, constraints: {minimum: 1}}", "constraints.maximum"),
        ("{name: x, type: date, constraints: {maximum: 2020-01-01}}", "constraints.minimum"),
        ("{name: x, type: number, constraints: {minimum: 1, maximum: 1}}", "minimum < constraints.maximum"),
        ("{name: x, type: boolean, confirmed: false}", "not confirmed"),
        ("{name: x, type: number, bounds: paid}", "paid"),
    ],
)
def test_a_domain_that_is_missing_or_not_confirmed_is_refused_only_where_it_must_be_complete(
    tmp_path, field, message
):
    error = refusal(tmp_path, AGE, field)
    assert message in str(error)
    assert error.where.endswith("s.yaml:5")
    assert error.next_step
    load(tmp_path, [AGE, field], complete=False)


def test_a_dropped_column_needs_no_domain(tmp_path):
    load(tmp_path, [AGE, "{name: x, type: string, role: drop, confirmed: false}"])


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("unit: {column: nobody}\nfields:\n", "not among the fields"),
        ("unit: {column: age}\nfields:\n", "role: id"),
        ("unit: {}\nfields:\n", "level: row"),
        ("unit: {level: row, max_records: 3}\nfields:\n", "one record"),
        ("unit: {level: row, column: age}\nfields:\n", "no column"),
        ("fields:\n", "unit: expected this key"),
        ("unit: rows\nfields:\n", "unit"),
        ("unit: {column: age, max_records: 0}\nfields:\n", "max_records"),
    ],
)
def test_a_unit_that_is_not_clear_is_refused(tmp_path, head, message):
    assert message in str(refusal(tmp_path, AGE, head=head))


def test_a_row_level_unit_is_taken_when_asked_for_by_name(tmp_path):
    assert load(tmp_path, [AGE], head="unit: row\nfields:\n").unit.level == "row"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("died implies not back", "['back'] is not among the fields"),
        ("sex == f", "not one of its categories"),
        ("age == old", "not a number"),
        ("sex", "not boolean"),
        ("died implies", "a column as word 3"),
    ],
)
def test_a_rule_that_would_never_fire_is_refused_by_number(tmp_path, rule, message):
    error = refusal(tmp_path, AGE, SEX, DIED, tail=f"rules: ['age >= 0', '{rule}']\n")
    assert message in str(error)


def test_a_rule_on_a_dropped_column_is_left_to_the_reader_of_the_file(tmp_path):
    note = "{name: note, type: string, role: drop}"
    schema = load(tmp_path, [AGE, DIED, note], tail="rules: ['note == x', 'died implies age > 1']\n")
    assert [rule.text for rule in schema.parsed_rules] == ["died implies age > 1"]


def test_a_columns_own_missing_tokens_replace_the_tables(tmp_path):
    own = "{name: x, type: number, missingValues: ['-9'], constraints: {minimum: 0, maximum: 1}}"
    schema = load(tmp_path, [AGE, own], tail='missingValues: ["?"]\n')
    fields = {field.name: field for field in schema.fields}
    assert schema.tokens(fields["x"]) == ("-9",)
    assert schema.tokens(fields["age"]) == ("?",)


def test_the_digest_changes_with_the_content_and_not_with_the_layout(tmp_path):
    one = load(tmp_path, [AGE]).digest()
    assert (
        load(tmp_path, ["{type: integer, name: age, constraints: {maximum: 120, minimum: 0}}"]).digest()
        == one
    )
    assert load(tmp_path, [AGE.replace("120", "121")]).digest() != one


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    labels=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=6, unique=True),
    low=st.integers(-1000, 1000),
    width=st.integers(1, 1000),
)
def test_a_schema_survives_its_own_json(labels, low, width):
    document = {
        "unit": {"level": "row"},
        "missingValues": [],
        "fields": [
            {"name": "a", "type": "string", "constraints": {"enum": labels}},
            {"name": "b", "type": "integer", "constraints": {"minimum": low, "maximum": low + width}},
        ],
    }
    schema = Schema.model_validate(document, strict=False)
    again = Schema.model_validate_json(schema.model_dump_json(by_alias=True))
    assert again == schema
    assert again.digest() == schema.digest()
    assert again.column("a").labels == tuple(labels)


DAY = "{name: day, type: integer, constraints: {minimum: 0, maximum: 9, required: true}}"


def linked(unit):
    return f"unit: {{{unit}}}\nfields:\n  - {{name: pid, type: string, role: id}}\n"


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("column: pid, records: linked", "max_records of 2 or more"),
        ("level: row, records: linked", "row-level|max_records of 2 or more"),
        ("column: pid, max_records: 2, order: day", "order is for"),
        ("column: pid, max_records: 2, records: linked, order: night", "unit.order: expected a modelled"),
        ("column: pid, max_records: 2, records: linked, order: sex", "unit.order: expected a modelled"),
        ("column: pid, max_records: 2, records: linked, order: pid", "unit.order: expected a modelled"),
        ("column: pid, max_records: 2, records: linked, order: age", "unit.order: expected `required: true`"),
        ("column: pid, max_records: 2, records: joined", "single"),
    ],
)
def test_linked_records_that_are_not_clear_are_refused(tmp_path, unit, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, [AGE, SEX, DAY], head=linked(unit))


def test_what_linked_records_added_leaves_other_schemas_and_their_digests_as_they_were(tmp_path):
    plain = load(tmp_path, [AGE, SEX, DAY])
    assert plain.digest() == load(tmp_path, [AGE, SEX, DAY.replace("}}", "}, static: false}")]).digest()
    assert not plain.unit.is_linked
    unit = "column: pid, max_records: 2, records: linked"
    digests = {
        load(tmp_path, [AGE, SEX, DAY], head=linked(unit + more)).digest() for more in ("", ", order: day")
    }
    static = load(tmp_path, [AGE, SEX.replace("role", "static: true, role"), DAY], head=linked(unit)).digest()
    assert len({plain.digest(), static, *digests}) == 4
