"""A table that is read in the wrong dialect: the message names the right one, and no cell of it."""

import bz2
import gzip
import io
import lzma
import zipfile

import pyarrow as pa
import pytest

from synthgen.errors import SynthgenError
from synthgen.ingest.schema_draft import from_file
from synthgen.ingest.tables.check import check
from synthgen.ingest.tables.table import read_raw, read_table
from synthgen.schema.schema import Schema

SECRET = "zebra"  # noqa: S105 - a cell that no message may show
LINES = [("pid", "größe", "sex", "day"), (SECRET, "1,5", "F", "31.01.2020"), ("b", "2,25", "M", "01.02.2020")]
SCHEMA = Schema.model_validate(
    {
        "unit": {"level": "patient", "column": "pid"},
        "fields": (
            {"name": "pid", "type": "string", "role": "id"},
            {"name": "größe", "type": "number", "constraints": {"minimum": 0, "maximum": 9}},
            {"name": "sex", "type": "string", "constraints": {"enum": ("F", "M")}},
            {
                "name": "day",
                "type": "date",
                "constraints": {"minimum": "2019-01-01", "maximum": "2021-01-01"},
            },
        ),
    }
)
RIGHT = {"delimiter": ";", "encoding": "utf-8", "decimal": ",", "date_format": "%d.%m.%Y"}


def written(tmp_path, delimiter=";", encoding="utf-8", name="t.csv"):
    path = tmp_path / name
    path.write_bytes("".join(delimiter.join(line) + "\n" for line in LINES).encode(encoding))
    return path


def refusal(call):
    with pytest.raises(SynthgenError) as caught:
        call()
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("sign", "shown"), [(";", "';'"), ("\t", "a tab"), ("|", "'|'")])
def test_another_delimiter_is_named_by_each_reader(tmp_path, sign, shown):
    path = written(tmp_path, sign)
    wrong = RIGHT | {"delimiter": "," if sign == ";" else ";"}
    for call in (
        lambda: from_file.init(path, **wrong),
        lambda: from_file.init(path, suggest=True, **wrong),
        lambda: check(path, SCHEMA, **wrong),
        lambda: read_table(path, SCHEMA, **wrong),
    ):
        error = refusal(call)
        assert f"separated by {shown}: add --delimiter" in error.next_step
        assert "delimiter:" in error.next_step


def test_a_table_of_one_column_is_no_mistake(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    assert read_raw(tmp_path / "t.csv").shape == (2, 1)
    assert "name: a" in from_file.init(tmp_path / "t.csv").text


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("cp1252", "latin-1"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp850", "cp850"),
    ],
)
def test_another_encoding_is_named(tmp_path, encoding, named):
    path = written(tmp_path, encoding=encoding)
    if encoding == "cp850":
        path.write_bytes(path.read_bytes() + "c;1,5;F;münchen\n".encode("cp850"))
    error = refusal(lambda: check(path, SCHEMA, **RIGHT))
    assert f"--encoding {named}" in error.next_step
    read_raw(path, delimiter=";", encoding=named)


def test_a_quotation_mark_of_windows_is_cp1252(tmp_path):
    path = written(tmp_path)
    path.write_bytes("pid;größe\na;„x“\n".encode("cp1252"))
    assert "--encoding cp1252" in refusal(lambda: read_raw(path, delimiter=";")).next_step


def test_a_decimal_comma_and_a_date_format_are_named(tmp_path):
    path = written(tmp_path)
    found = {v.column: v.hint for v in check(path, SCHEMA, delimiter=";")}
    assert "--decimal ," in found["größe"]
    assert "%d.%m.%Y" in found["day"]
    assert "--date-format" in found["day"]
    assert check(path, SCHEMA, **RIGHT) == []
    points = written(tmp_path)
    points.write_text(points.read_text(encoding="utf-8").replace(",", "."), encoding="utf-8")
    assert "--decimal ." in {v.column: v.hint for v in check(points, SCHEMA, **RIGHT)}["größe"]


def compressed(content):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("t.csv", content)
    return {
        "gz": gzip.compress(content),
        "bz2": bz2.compress(content),
        "xz": lzma.compress(content),
        "zst": pa.Codec("zstd").compress(content, asbytes=True),
        "zip": archive.getvalue(),
    }


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst", "zip"])
def test_compressed_text_is_read_and_a_damaged_or_misnamed_file_says_so(tmp_path, kind):
    content = "".join(";".join(line) + "\n" for line in LINES).encode()
    packed = compressed(content)[kind]
    path = tmp_path / f"t.csv.{kind}"
    path.write_bytes(packed)
    assert check(path, SCHEMA, **RIGHT) == []
    assert "--delimiter ';'" in refusal(lambda: check(path, SCHEMA)).next_step
    path.write_bytes(content)
    assert "other or damaged content" in refusal(lambda: read_raw(path)).message
    plain = tmp_path / "t.csv"
    plain.write_bytes(packed)
    assert kind in refusal(lambda: read_raw(plain)).next_step


def test_a_zip_of_several_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as stream:
        stream.writestr("a.csv", "a\n1\n")
        stream.writestr("b.csv", "b\n1\n")
    assert "2 files" in refusal(lambda: read_raw(tmp_path / "t.csv.zip")).message


def test_the_real_and_the_synthetic_table_may_be_written_differently(tmp_path, capsys):
    import json

    from synthgen.cli import app as cli

    schema = "unit: {column: pid}\nfields:\n  - {name: pid, type: string, role: id}\n"
    schema += "  - {name: age, type: number, role: label, constraints: {minimum: 0, maximum: 100}}\n"
    schema += "  - {name: sex, type: string, role: protected, constraints: {enum: [F, M]}}\n"
    (tmp_path / "s.yaml").write_text(schema)
    rows = [f"{SECRET}{i};{20 + i % 50},5;{'FM'[i % 2]}" for i in range(120)]
    for name, part in (("real", rows[:60]), ("holdout", rows[60:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["pid;age;sex", *part]) + "\n", encoding="utf-16")
    drawn = ["\t".join(row.split(";")[1:]).replace(",", ".") for row in rows[:60]]
    (tmp_path / "synthetic.csv").write_text("\n".join(["age\tsex", *drawn]) + "\n")
    files = [text for n in ("real", "holdout", "synthetic") for text in (f"--{n}", f"{tmp_path}/{n}.csv")]
    files += ["--schema", f"{tmp_path}/s.yaml", "--report", f"{tmp_path}/report.html"]

    def call(*options):
        with pytest.raises(SystemExit) as stop:
            cli.main(["evaluate", *files, *options, "--json"])
        shown = json.loads(capsys.readouterr().out)
        assert SECRET not in json.dumps(shown)
        return int(stop.value.code or 0), shown.get("error", {}).get("next", "")

    assert "--encoding utf-16" in call()[1]
    assert "--delimiter ';'" in call("--encoding", "utf-16")[1]
    real = ["--encoding", "utf-16", "--delimiter", ";", "--decimal", ","]
    code, step = call(*real, "--synthetic-encoding", "utf-8")
    assert code == 3
    assert "--synthetic-delimiter" in step
    code, step = call(*real, "--synthetic-encoding", "utf-8", "--synthetic-delimiter", "\t")
    assert code == 3
    own = ["--synthetic-encoding", "utf-8", "--synthetic-delimiter", "\t", "--synthetic-decimal", "."]
    assert call(*real, *own)[0] in (0, 5)
