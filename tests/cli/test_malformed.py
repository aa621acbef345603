"""Malformed inputs at the command line: exit code, place, next step, and nothing of what the file holds.

Each case plants `SECRET` where a patient's value or a password would stand. Run as a script,
``python tests/cli/test_malformed.py [FILE]``, this prints every message, to be read by a person.
"""

import contextlib
import gzip
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthgen.cli import app as cli

SECRET = "SECRETVALUE123"  # noqa: S105 - stands for a value, is none
HEADER = "patient,age,sex,weight,seen,died\n"
LINE = "p1,31,F,70.5,2020-01-31,true\n"
SCHEMA = """\
unit: {column: patient, max_records: 2}
missingValues: ["", "NA"]
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 18, maximum: 100, required: true}}
  - {name: sex, type: string, constraints: {enum: [F, M]}}
  - {name: weight, type: number, constraints: {minimum: 20, maximum: 300}}
  - {name: seen, type: date, constraints: {minimum: "2019-01-01", maximum: "2022-12-31"}}
  - {name: died, type: boolean, role: label}
rules:
  - "died implies age >= 18"
"""
CONFIG = """\
cohort: tiny
seed: 3
data: {table: {path: t.csv, schema: s.yaml}}
budget: {epsilon: 1.0, delta: 1e-6, patients: 600}
generator: {name: marginal, iterations: 50}
"""
TEXT = "utf-8"


@dataclass(frozen=True)
class Case:
    """What is wrong, which verb meets it, and what is expected.

    Attributes:
        make: writes the malformed file over the good ones.
        verb: the command line, without ``--json``.
        code: the exit code.
        where: part of the error's place; nothing if there is no place to name.
        words: parts of the message or of a violation.
    """

    make: Callable[[Path], object]
    verb: tuple[str, ...]
    code: int
    where: str
    words: tuple[str, ...] = ()


CHECK = ("schema", "check", "s.yaml", "t.csv")
FIT = ("fit", "run.yaml", "--output", "run")
PLAN = ("plan", "run.yaml")
CASES: dict[str, Case] = {}


def put(name, content):
    """Return what writes a file."""
    data = content if isinstance(content, bytes) else content.encode(TEXT)
    return lambda place: (place / name).write_bytes(data)


def table(name, content, code, where, *words, verbs=(CHECK, FIT)):
    """Add a table that both a check and a fit meet."""
    for verb in verbs:
        key = f"table: {name}" if verb == verbs[0] else f"table in a fit: {name}"
        CASES[key] = Case(content if callable(content) else put("t.csv", content), verb, code, where, words)


def cells(name, line, *words, code=3):
    """Add a table with one bad record in line 3; the check lists it, the fit gives the line."""
    content = put("t.csv", HEADER + LINE + line + "\n")
    CASES[f"table: {name}"] = Case(content, CHECK, code, "", words)
    CASES[f"table in a fit: {name}"] = Case(content, FIT, code, "t.csv", ("line 3",))


def named(suffix, make, code, where, *words, name, extra=()):
    """Add a table under another file name."""
    verb = ("schema", "check", "s.yaml", f"t{suffix}", *extra)
    CASES[f"table: {name}"] = Case(make, verb, code, where, words)


def schema(name, change, code, where, *words, verb=PLAN):
    """Add a schema: the good one with a text replaced, or another text."""
    text = SCHEMA.replace(*change) if isinstance(change, tuple) else change
    assert text != SCHEMA
    CASES[f"schema: {name}"] = Case(put("s.yaml", text), verb, code, where, words)


def config(name, change, code, where, *words, verb=PLAN):
    """Add a config: the good one with a text replaced, or another text."""
    text = CONFIG.replace(*change) if isinstance(change, tuple) else change
    assert text != CONFIG
    CASES[f"config: {name}"] = Case(put("run.yaml", text), verb, code, where, words)


def arguments(name, verb, code, where, *words, make=lambda place: None):
    CASES[f"arguments: {name}"] = Case(make, tuple(verb), code, where, words)


def parquet(**columns):
    return lambda place: pq.write_table(pa.table(columns), place / "t.parquet")


def truncated(place):
    parquet(patient=["p1"] * 500, age=list(range(500)))(place)
    data = (place / "t.parquet").read_bytes()
    (place / "t.parquet").write_bytes(data[: len(data) // 2])


def folder(name):
    def make(place):
        (place / name).unlink(missing_ok=True)
        (place / name).mkdir()

    return make


def gone(name):
    return lambda place: (place / name).unlink()


GOOD = HEADER + LINE
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

# tables: bytes and lines
table(
    "latin-1 bytes",
    (GOOD + f"{SECRET}\xe9,31,F,70,2020-01-31,true\n").encode("latin-1"),
    3,
    "t.csv:3",
    "utf-8",
)
table("UTF-16", GOOD.encode("utf-16"), 3, "t.csv:1", "UTF-16")
table("UTF-16 without a mark", GOOD.encode("utf-16-le"), 3, "t.csv:1", "NUL")
table("a NUL byte", GOOD + f"{SECRET}\0,31,F,70,2020-01-31,true\n", 3, "t.csv:3", "NUL")
table("a short row", GOOD + f"{SECRET},31,F\n", 3, "t.csv:3", "6 fields", "got 3")
table("a long row", GOOD + f"{SECRET},31,F,70,2020-01-31,true,x,y\n", 3, "t.csv:3", "6 fields", "got 8")
table("a cell of a million characters", GOOD + SECRET * 75_000 + ",31,F,70,2020-01-31,true\n", 3, "t.csv:3")
table("an open quote", GOOD + f'"{SECRET},31,F,70,2020-01-31,true\n' + LINE, 3, "t.csv:3", "quote")
table("text after a quote", GOOD + f'"p"{SECRET},31,F,70,2020-01-31,true\n', 3, "t.csv:3", "quote")
table("an empty file", "", 3, "t.csv", "empty")
table("blank lines alone", "\n\n \n".replace(" ", ""), 3, "t.csv", "empty")
table("a header alone", HEADER, 3, "t.csv", "records")
table("two columns named alike", HEADER.replace("sex", "age") + LINE, 3, "t.csv:1", "columns 2 and 3")
table("a blank column name", HEADER.replace("sex", "") + LINE, 3, "", "sex")
table("no header", f"{SECRET},32,M,71,2020-02-01,false\n" + LINE, 3, "t.csv")
table("semicolons", (GOOD + f"{SECRET},1,F,7,2020-01-31,true\n").replace(",", ";"), 3, "t.csv", "delimiter")
table("a directory", folder("t.csv"), 3, "t.csv", "file")
table("no file", gone("t.csv"), 3, "t.csv")
table("gzip named .csv", gzip.compress(GOOD.encode()), 3, "t.csv:1", "gzip")
table(
    "Parquet named .csv",
    lambda place: pq.write_table(pa.table({"patient": [SECRET]}), place / "t.csv"),
    3,
    "t.csv:1",
)
named(".csv.gz", put("t.csv.gz", GOOD), 3, "t.csv.gz", "gzip", name="text named .gz")
named(
    ".csv.gz",
    put("t.csv.gz", gzip.compress(GOOD.encode() * 99)[:-20]),
    3,
    "t.csv.gz",
    "gzip",
    name="a cut gzip",
)
named(".parquet", put("t.parquet", GOOD + SECRET), 3, "t.parquet", "Parquet", name="text named .parquet")
named(".parquet", truncated, 3, "t.parquet", "Parquet", name="a cut Parquet")
NESTED = {
    "patient": ["a"],
    "age": [31],
    "sex": [[SECRET]],
    "weight": [70.5],
    "seen": ["2020-01-31"],
    "died": [True],
}
named(".parquet", parquet(**NESTED), 3, "", "sex", "nested", name="a nested Parquet column")
BYTES = NESTED | {"sex": [SECRET.encode()]}
named(".parquet", parquet(**BYTES), 3, "", "sex", name="a Parquet column of bytes")
named(".parquet", put("t.parquet", b""), 3, "t.parquet", "empty", name="an empty Parquet")
named(".csv", lambda place: None, 2, "", "encoding", name="an unknown encoding", extra=("--encoding", SECRET))
named(".csv", lambda place: None, 2, "", "delimiter", name="two delimiters", extra=("--delimiter", ";;"))
named(".csv", lambda place: None, 2, "", "decimal", name="a decimal sign", extra=("--decimal", "x"))
named(".csv", lambda place: None, 2, "", "format", name="a date format", extra=("--date-format", "%Q"))

# tables: cells
cells("a blank patient", ",31,F,70,2020-01-31,true", "patient")
cells("a missing token as patient", "NA,31,F,70,2020-01-31,true", "patient")
cells("words as a number", f"p2,31,F,{SECRET},2020-01-31,true", "weight")
cells("a decimal comma", 'p2,31,F,"70,5",2020-01-31,true', "weight", "decimal comma")
cells("thousands separators", 'p2,31,F,"1,070.5",2020-01-31,true', "weight", "thousands")
cells("an infinite number", "p2,31,F,inf,2020-01-31,true", "weight")
cells("NaN that is no missing token", "p2,31,F,NaN,2020-01-31,true", "weight")
cells("an integer with a fraction", "p2,31.5,F,70,2020-01-31,true", "age")
cells("an integer past 64 bits", "p2,999999999999999999999999,F,70,2020-01-31,true", "age", "bounds")
cells("a number outside its bounds", "p2,117,F,70,2020-01-31,true", "age", "bounds")
cells("a date in another order", "p2,31,F,70,31.01.2020,true", "seen")
cells("a day that is none", "p2,31,F,70,2020-02-30,true", "seen")
cells("a date that is a word", f"p2,31,F,70,{SECRET},true", "seen")
cells("a category with a blank after it", "p2,31,F ,70,2020-01-31,true", "sex", "blanks")
cells("a category in the wrong case", "p2,31,f,70,2020-01-31,true", "sex", "categories")
cells("an unknown category", f"p2,31,{SECRET},70,2020-01-31,true", "sex", "categories")
cells("another word for yes", f"p2,31,F,70,2020-01-31,{SECRET}", "died")
cells("nothing in a required column", "p2,NA,F,70,2020-01-31,true", "age", "required")
table("a column too few", GOOD.replace(",sex", "").replace(",F", ""), 3, "", "sex")
table("a column too many", "note," + HEADER + f"{SECRET}," + LINE, 3, "", "note")
MAILS = "".join(f"{SECRET}{i}@example.org,31,F,70,2020-01-31,true\n" for i in range(9))


def mails(place):
    text = SCHEMA.replace("column: patient", "column: row").replace(
        "role: id}", f"constraints: {{enum: [{', '.join(f'{SECRET}{i}@example.org' for i in range(9))}]}}}}"
    )
    row = "fields:\n  - {name: row, type: string, role: id}"
    (place / "s.yaml").write_text(text.replace("fields:", row).replace("name: patient", "name: contact"))
    lines = [f"{i},{line}" for i, line in enumerate(MAILS.splitlines(), 1)]
    (place / "t.csv").write_text("row," + HEADER.replace("patient", "contact") + "\n".join(lines) + "\n")


table("cells that are e-mail addresses", mails, 3, "", "contact", "e-mail")

# schemas
schema("a misspelt key", ("minimum: 18", f"minimun: 18, note: {SECRET}"), 2, "s.yaml:5", "minimum")
schema("an unknown top key", ("rules:", f"rulez: {SECRET}\nrules:"), 2, "s.yaml:10", "rulez", "rules")
schema("an unknown role", ("role: label", f"role: {SECRET}"), 2, "s.yaml:9", "label")
schema("an unknown type", ("type: number", f"type: {SECRET}"), 2, "s.yaml:7", "number")
schema("a minimum above the maximum", ("minimum: 18", "minimum: 118"), 2, "s.yaml:5", "minimum")
schema("an empty enum", ("[F, M]", "[]"), 2, "s.yaml:6", "enum")
schema("a category twice", ("[F, M]", f"[F, {SECRET}, {SECRET}]"), 2, "s.yaml:6", "twice")
schema("a category that is a number", ("[F, M]", "[1, 2]"), 2, "s.yaml:6", "quote")
schema("a category that YAML reads as 7", ("[F, M]", "[007, 008]"), 2, "s.yaml:6", "quote")
schema("a category that YAML reads as 1000", ("[F, M]", "[1_000, F]"), 2, "s.yaml:6", "quote")
schema("a category that is yes", ("[F, M]", "[true, F]"), 2, "s.yaml:6", "quote")
schema("a missing token that is a number", ('"NA"', "99"), 2, "s.yaml:2", "quote")
schema("a missing token that is a category", ('"NA"', '"F"'), 2, "s.yaml", "sex")
schema("a field twice", ("name: sex", "name: age"), 2, "s.yaml", "age")
schema("a unit that is no field", ("column: patient", f"column: {SECRET}"), 2, "s.yaml", "unit")
schema(
    "a unit without its role", ("type: string, role: id", "type: string, role: drop"), 2, "s.yaml", "role: id"
)
schema("no unit", (SCHEMA.splitlines()[0] + "\n", ""), 2, "s.yaml", "unit")
schema("max_records 0", ("max_records: 2", "max_records: 0"), 2, "s.yaml:1", "max_records")
schema("max_records as text", ("max_records: 2", f'max_records: "{SECRET}"'), 2, "s.yaml:1", "max_records")
schema("a bound as text", ("minimum: 18", f'minimum: "{SECRET}"'), 2, "s.yaml:5", "minimum")
schema("a bound with a comma", ("minimum: 20,", 'minimum: "20,5",'), 2, "s.yaml:7", "minimum")
schema("an infinite bound", ("maximum: 300", "maximum: .inf"), 2, "s.yaml:7", "maximum")
schema("a date bound that is no date", ('"2019-01-01"', f'"{SECRET}"'), 2, "s.yaml:8", "date")
schema("no bound", (", maximum: 100", ""), 2, "s.yaml:5", "maximum")
schema("no categories", (", constraints: {enum: [F, M]}", ""), 2, "s.yaml:6", "enum")
schema("not confirmed", ("{enum: [F, M]}}", "{enum: [F, M]}, confirmed: false}"), 2, "s.yaml:6", "confirmed")
schema("called like an identifier", ("name: weight", "name: phone_number"), 2, "s.yaml", "phone")
schema("a rule on no column", ("died implies", "dead implies"), 2, "s.yaml:11", "dead")
schema("a rule without an end", ('age >= 18"', 'age >="'), 2, "s.yaml:11", "word")
schema("a rule on a misspelt category", ("age >= 18", f"sex == {SECRET}"), 2, "s.yaml:11", "sex")
schema("clip on categories", ("{enum: [F, M]}}", "{enum: [F, M]}, outside: clip}"), 2, "s.yaml:6", "clip")
schema("fields that are no list", "unit: row\nfields: " + SECRET + "\n", 2, "s.yaml:2", "fields")
schema("a field that is no mapping", "unit: row\nfields: [" + SECRET + "]\n", 2, "s.yaml:2", "fields")
schema(
    "nothing to model",
    "unit: {column: a}\nfields: [{name: a, type: string, role: id}]\n",
    2,
    "s.yaml",
    "model",
)
schema("an empty file", "", 2, "s.yaml", "mapping")
schema("a list", f"- {SECRET}\n", 2, "s.yaml", "mapping")
CASES["schema: no file"] = Case(gone("s.yaml"), PLAN, 2, "s.yaml")
CASES["schema: a directory"] = Case(folder("s.yaml"), PLAN, 2, "s.yaml")
CASES["schema: the table in its place"] = Case(
    put("s.yaml", GOOD + f"{SECRET},1\n"), CHECK, 2, "s.yaml", ("mapping",)
)

# YAML
schema("a tab", ("  - {name: sex", "\t- {name: sex"), 2, "s.yaml:6", "YAML")
schema("a key twice", ("missingValues", f"unit: {SECRET}\nmissingValues"), 2, "s.yaml:2", "twice")
schema("a bracket left open", ("[F, M]}", f"[F, {SECRET}}}"), 2, "s.yaml:6", "YAML")
schema("aliases that multiply", BOMB + "unit: row\nfields: *i\n", 2, "s.yaml", "alias")
schema("an alias of itself", "unit: row\nfields: &a [*a]\n", 2, "s.yaml:2", "fields")
schema("an alias of nothing", "unit: row\nfields: *nothing\n", 2, "s.yaml:2", "YAML")
schema(
    "a Python tag", f"unit: row\nfields: !!python/object/apply:os.system ['{SECRET}']\n", 2, "s.yaml", "tag"
)
schema("two documents", SCHEMA + "---\nunit: row\n", 2, "s.yaml", "YAML")
schema("nested too deep", "unit: row\nfields: " + "[" * 3000 + "]" * 3000 + "\n", 2, "s.yaml")
CASES["schema: latin-1 bytes"] = Case(
    put("s.yaml", SCHEMA.replace("[F, M]", f"[\xe9, {SECRET}]").encode("latin-1")),
    PLAN,
    2,
    "s.yaml:6",
    ("UTF-8",),
)
CASES["schema: a NUL byte"] = Case(put("s.yaml", SCHEMA + f"# {SECRET}\0"), PLAN, 2, "s.yaml", ("YAML",))
CASES["schema: UTF-16"] = Case(put("s.yaml", SCHEMA.encode("utf-16")), PLAN, 2, "s.yaml", ("UTF-8",))

# configs
config("an unknown key", ("seed: 3", f"sede: {SECRET}"), 2, "run.yaml:2", "sede", "seed")
config("of another version", ("cohort: tiny", "version: 2\ncohort: tiny"), 2, "run.yaml:1", "version")
config("an unknown nested key", ("patients: 600", f"patient: {SECRET}"), 2, "run.yaml:4", "patients")
config("no budget", (CONFIG.splitlines()[3] + "\n", ""), 2, "run.yaml", "budget")
config("a section that is text", (CONFIG.splitlines()[3], f"budget: {SECRET}"), 2, "run.yaml:4", "budget")
config("epsilon as text", ("epsilon: 1.0", f'epsilon: "{SECRET}"'), 2, "run.yaml:4", "epsilon")
config("epsilon as yes", ("epsilon: 1.0", "epsilon: true"), 2, "run.yaml:4", "epsilon")
config("epsilon with a comma", ("epsilon: 1.0", "epsilon: '1,0'"), 2, "run.yaml:4", "epsilon")
config("a negative epsilon", ("epsilon: 1.0", "epsilon: -1.0"), 2, "run.yaml:4", "epsilon")
config("epsilon 0", ("epsilon: 1.0", "epsilon: 0"), 2, "run.yaml:4", "epsilon")
config("an infinite epsilon", ("epsilon: 1.0", "epsilon: .inf"), 2, "run.yaml:4", "epsilon")
config("epsilon NaN", ("epsilon: 1.0", "epsilon: .nan"), 2, "run.yaml:4", "epsilon")
config("delta 1", ("1e-6", "1"), 2, "run.yaml:4", "delta")
config("delta 0", ("1e-6", "0"), 2, "run.yaml:4", "delta")
config("a tiny cohort of 0", ("patients: 600", "patients: 0"), 2, "run.yaml:4", "patients")
config("a cohort that YAML reads as 7", ("cohort: tiny", "cohort: 007"), 2, "run.yaml:1", "quote")
config("an unknown generator", ("name: marginal", f"name: {SECRET}"), 2, "", "marginal")
config("a generator that names code", ("name: marginal", "name: os.system"), 2, "", "marginal")
config("a generator without a name", ("name: marginal, ", ""), 2, "run.yaml", "generator.name")
config("an unknown option", ("iterations: 50", f"iteration: {SECRET}"), 2, "run.yaml:5", "iterations")
config("a wrong option", ("iterations: 50", f'iterations: "{SECRET}"'), 2, "run.yaml:5", "iterations")
config("a holdout of 1", CONFIG + "evaluate: {holdout: 1}\n", 2, "run.yaml:6", "holdout")
config("a target that is no column", CONFIG + f"evaluate: {{target: {SECRET}}}\n", 2, "run.yaml:6", "died")
config("a target that is an id", CONFIG + "evaluate: {target: patient}\n", 2, "run.yaml:6", "died")
config(
    "a group that is a date", CONFIG + "evaluate: {groups: [seen]}\n", 2, "run.yaml:6", "age", "sex", "date"
)
config("a group that is no column", CONFIG + f"evaluate: {{groups: [{SECRET}]}}\n", 2, "run.yaml:6", "sex")
config("a format that is none", CONFIG + f"release: {{formats: [{SECRET}]}}\n", 2, "run.yaml:6", "parquet")
config("two delimiters", ("path: t.csv", "path: t.csv, delimiter: ';;'"), 2, "run.yaml:3", "delimiter")
config("a path with a NUL", ("path: t.csv", 'path: "t\\0.csv"'), 3, "csv", verb=FIT)
config("a path too long", ("path: t.csv", f"path: {'t' * 5000}.csv"), 3, "", verb=FIT)
config("a table that is not there", ("path: t.csv", "path: u.csv"), 3, "u.csv", verb=FIT)
config("a table out of the folder", ("path: t.csv", "path: ../outside.csv"), 3, "outside.csv:2", verb=FIT)
config("a schema that is not there", ("schema: s.yaml", "schema: u.yaml"), 2, "u.yaml")
config("the config as its own schema", ("schema: s.yaml", "schema: run.yaml"), 2, "run.yaml")
LEDGER = ("epsilon: 1.0", 'ledger: "{}", epsilon: 1.0')


def ledger(name, url, code, where, *words):
    config(name, (LEDGER[0], LEDGER[1].format(url)), code, where, *words, verb=FIT)


ledger("a ledger with a misspelt driver", f"postgresq://joan:{SECRET}@localhost/ledger", 2, "", "ledger")
ledger(
    "a ledger with a port that is none",
    f"postgresql+pg8000://joan:{SECRET}@localhost:x/ledger",
    2,
    "",
    "ledger",
)
ledger("a ledger that is no URL", f"joan:{SECRET}", 2, "", "ledger")
ledger("a ledger in no folder", "sqlite:///no/where/ledger.db", 1, "", "ledger")
ledger("a ledger that is the table", "sqlite:///t.csv", 3, "", "ledger")
config(
    "a policy that is not there",
    CONFIG + "release: {policy: p.yaml}\n",
    2,
    "p.yaml",
    verb=("run", "run.yaml", "-o", "run"),
)
config(
    "an unknown policy",
    CONFIG + f"release: {{policy: {SECRET}}}\n",
    2,
    "",
    "default",
    verb=("run", "run.yaml", "-o", "run"),
)
CASES["config: no file"] = Case(gone("run.yaml"), PLAN, 2, "run.yaml")
CASES["config: a directory"] = Case(folder("run.yaml"), PLAN, 2, "run.yaml")
CASES["config: the table in its place"] = Case(put("run.yaml", GOOD), PLAN, 2, "run.yaml", ("mapping",))
arguments("--set without a value", (*PLAN, "--set", SECRET), 2, "--set", "a.b=value")
arguments("--set of a wrong type", (*PLAN, "--set", f"budget.epsilon={SECRET}"), 2, "", "epsilon")
arguments("--set that is no YAML", (*PLAN, "--set", f"seed=[{SECRET}"), 2, "--set", "seed")
arguments("--set of no key", (*PLAN, "--set", "budget.epsilom=1"), 2, "", "epsilon")
arguments("an import of another kind", ("schema", "import", "t.csv", "--from", SECRET), 2, "--from", "redcap")
arguments(
    "a table as REDCap dictionary",
    ("schema", "import", "t.csv", "--from", "redcap"),
    2,
    "t.csv:1",
    "Field Type",
)
arguments("a draft over a file", ("schema", "init", "t.csv", "-o", "s.yaml"), 2, "s.yaml")
arguments("a draft into no folder", ("schema", "init", "t.csv", "-o", "no/where.yaml"), 1, "where.yaml")
arguments(
    "an incomplete schema in a check",
    CHECK,
    2,
    "s.yaml:6",
    "enum",
    make=put("s.yaml", SCHEMA.replace(", constraints: {enum: [F, M]}", "")),
)


def call(place: Path, case: Case, *, as_json: bool) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a case's verb in a folder with its files."""
    for name, text in {"t.csv": GOOD, "s.yaml": SCHEMA, "run.yaml": CONFIG}.items():
        (place / name).write_text(text)
    (place.parent / "outside.csv").write_text(f"root:x:0\n{SECRET},x\n")
    case.make(place)
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.chdir(place), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([*case.verb, *(["--json"] if as_json else [])])
        except SystemExit as stop:
            code = stop.code
    return int(code or 0), out.getvalue(), err.getvalue()  # type: ignore[call-overload]


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_input_is_an_error_that_says_what_to_do_and_nothing_of_what_it_holds(name, tmp_path):
    case = CASES[name]
    code, out, err = call(tmp_path / _made(tmp_path, "json"), case, as_json=True)
    plain_code, plain_out, plain_err = call(tmp_path / _made(tmp_path, "plain"), case, as_json=False)
    assert (code, plain_code) == (case.code, case.code)
    for text in (out, err, plain_out, plain_err):
        assert SECRET not in text
        assert "Traceback" not in text
    assert out.count("\n") == 1
    shown = json.loads(out)
    if "violations" in shown:
        words = " ".join(f"{row['column']} {row['rule']} {row['hint']}" for row in shown["violations"])
        assert any(row["severity"] == "error" and row["count"] for row in shown["violations"])
    else:
        error = shown["error"]
        assert set(error) == {"code", "message", "where", "next"}
        assert "xpected" in error["message"]
        assert error["next"]
        assert case.where in error["where"]
        assert error["message"] in plain_err
        words = f"{error['message']} {error['next']}"
    for word in case.words:
        assert word in words


def _made(place: Path, name: str) -> str:
    (place / name).mkdir()
    return name


ACCEPTED = {
    "a byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "mixed line ends": GOOD.encode()
    + b"p2,31,F,70,2020-01-31,true\r\np3,31,F,70,2020-01-31,true\rp4,31,F,70,2020-01-31,true",
    "blank lines": GOOD.replace("\n", "\n\n").encode(),
    "an integer with .0": (HEADER + LINE.replace(",31,", ",31.0,")).encode(),
    "a sign and zeros before a number": (HEADER + LINE.replace(",31,", ",+031,")).encode(),
    "missing tokens": (GOOD + "p2,31,NA,,NA,\n").encode(),
    "quotes around all cells": (HEADER + '"p1","31","F","70.5","2020-01-31","true"\n').encode(),
    "1e2 as a number": (HEADER + LINE.replace("70.5", "7.05e1")).encode(),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_harmless_is_taken(name, tmp_path):
    code, out, _ = call(tmp_path, Case(put("t.csv", ACCEPTED[name]), CHECK, 0, ""), as_json=True)
    assert (code, json.loads(out)) == (0, {"valid": True, "violations": []})


def test_there_are_more_than_forty_malformed_inputs_and_the_good_ones_pass(tmp_path):
    assert len(CASES) > 100
    for verb in (CHECK, PLAN):
        assert call(tmp_path, Case(lambda place: None, verb, 0, ""), as_json=True)[0] == 0


def listing() -> str:
    """Return every message, as a person at a terminal sees it."""
    import tempfile

    parts = []
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder_name:
            place = Path(folder_name).resolve() / "study"
            place.mkdir()
            code, out, err = call(place, case, as_json=False)
            text = (out + err).replace(f"{place}/", "").replace(str(place), ".").rstrip()
        parts.append(f"## {name}\n$ synthgen {' '.join(case.verb)[:120]}\nexit {code}\n{text}\n")
    return "\n".join(parts).replace("\0", "<NUL>")


if __name__ == "__main__":
    shown = listing()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(shown, encoding="utf-8")
    else:
        sys.stdout.write(shown)
