"""What `schema check` accepts can be fitted, drawn, written and checked again: equal types, decimals, tokens.

Every column kind stands in one table, through text in three dialects and through Parquet. Hypothesis draws
the domains and the cells.
"""

import csv
import datetime
import gzip
import io
import json
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from synthgen.config.run_config import load_config
from synthgen.generators.saved_model import load_model
from synthgen.ingest.tables.check import check
from synthgen.pipeline import run as pipeline
from synthgen.release.bundle.data_checks import data_problems
from synthgen.sampling.draw import draw, write_table
from synthgen.schema.schema import load_schema

N = 60
BERLIN = "Europe/Berlin"
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff")
LABELS = st.lists(st.text(LETTERS, min_size=1, max_size=8), min_size=2, max_size=5, unique=True).filter(
    lambda texts: not {"", "?", "NA", "other"} & set(texts) and all(text == text.strip() for text in texts)
)
DIALECTS = {
    "unix": {"delimiter": ",", "decimal": ".", "encoding": "utf-8"},
    "excel": {"delimiter": ";", "decimal": ",", "encoding": "utf-8"},
    "r_gzip": {"delimiter": "\t", "decimal": ".", "encoding": "utf-16"},
}


def number(low, high, decimals, **more):
    """A number with so many decimals between two bounds."""

    def cells(rng):
        values = np.round(low + rng.random(N) ** 4 * (high - low), decimals)
        return [f"{Decimal(float(v)):.{max(decimals, 0)}f}" for v in np.clip(values, low, high) + 0.0]

    limits = {"minimum": low, "maximum": high}
    return {"type": "number", "decimals": decimals, "constraints": limits, **more}, cells


def integer(low, high, **more):
    def cells(rng):
        values = np.clip(np.round(low + rng.random(N) ** 4 * (high - low)), low, high).astype(int)
        if "decimals" in more:
            values = np.clip(np.round(values, more["decimals"]), low, high)
        return [str(v) for v in values]

    return {"type": "integer", "constraints": {"minimum": low, "maximum": high}, **more}, cells


def words(true, false):
    return (
        {"type": "boolean", "trueValues": [true], "falseValues": [false]},
        lambda rng: rng.choice([true, false], N).tolist(),
    )


def labels(texts, kind="string", **more):
    return (
        {"type": kind, "constraints": {"enum": list(texts)}, **more},
        lambda rng: [str(texts[i]) for i in rng.integers(len(texts), size=N)],
    )


def moments(form, kind="datetime", *, step=1, zone=None, **more):
    """Days, or moments of a step in seconds, written by an independent writer: Python's own strftime."""
    first = datetime.datetime(2023, 9, 2)  # a day within the bounds, which every zone's clock is then

    def cells(rng):
        out = []
        for seconds in rng.integers(0, 200 * 86_400 // step, N) * step:
            moment = first + datetime.timedelta(seconds=int(seconds))
            if zone is not None:
                from zoneinfo import ZoneInfo

                moment = moment.replace(tzinfo=datetime.UTC).astimezone(ZoneInfo(zone))
            text = moment.strftime(form)
            if zone is not None and "%H:%M" in form:
                text = text[:-2] + ":" + text[-2:]
            out.append(text)
        return out

    limits = {"minimum": "2023-09-01", "maximum": "2024-04-01"}
    zones = {} if zone is None else {"timezone": zone}
    return {"type": kind, "format": form, "constraints": limits, **zones, **more}, cells


def codes(rng):
    return [
        f"{c}{i:02d}.{j}"
        for c, i, j in zip(rng.choice(list("AEIZ"), N), *rng.integers(0, 10, (2, N)), strict=True)
    ]


@st.composite
def tables(data):
    """Return fields and texts of one column of each kind."""
    wide = data(st.sampled_from([1e3, 1e6, 1e9]))
    low = data(st.integers(-50, 50))
    free = data(LABELS)
    kinds = {
        "integer": integer(low, low + data(st.integers(1, 300))),
        "wide integer": integer(0, int(wide)),
        "negative_integer": integer(-int(wide), int(wide)),
        "hundreds": integer(0, 100_000, decimals=-2),
        **{f"number.{d}": number(low, low + 7, d) for d in range(7)},
        "negative": number(-30.5, 12.25, 2),
        "log": number(0, wide, 1),
        "log_declared": number(0.01, 1e4, 2, scale="log"),
        "both sides of zero": number(-wide, wide, 1, scale="log"),
        "true": words("true", "false"),
        "TRUE": words("TRUE", "FALSE"),
        "zero_one": words("1", "0"),
        "yes": words("ja, sicher", "nein"),
        "text": labels(free),
        "commas": labels(["a,b", 'say "no"', "ü;é", "x\ty", "線 1", "it's", "-5,2"]),
        "line ends": labels(["one\ntwo", "plain", "three\r\nfour"]),
        "zeros": labels(["001", "010", "100", "00001"]),
        "stage": labels([1, 2, 4], kind="integer"),
        "country": labels(["NA", "DE", "null", "NaN"], missingValues=["?"]),
        "one": labels(["only"]),
        "seven": labels([7], kind="integer"),
        "day": moments("%Y-%m-%d", "date"),
        "german day": moments("%d.%m.%Y", "date", step=86_400),
        "american": moments("%m/%d/%y", "date"),
        "compact": moments("%Y%m%d", "date"),
        "month": moments("%d-%b-%Y", "date"),
        "local": moments("%Y-%m-%d %H:%M:%S"),
        "minutes": moments("%d.%m.%Y %H:%M", step=60),
        "clock12": moments("%m/%d/%Y %I:%M %p", step=60),
        "zulu": moments("%Y-%m-%dT%H:%M:%SZ"),
        "instant": moments("%Y-%m-%dT%H:%M:%S%z", zone=BERLIN),
        "basic": moments("%Y%m%dT%H%M%S%z", zone="America/New_York"),
        "micro": moments("%Y-%m-%dT%H:%M:%S.%f"),
        "paid": ({"type": "number", "decimals": 1, "bounds": "paid"}, number(0, 40, 1)[1]),
        "paid_day": (
            {"type": "date", "format": "%d.%m.%Y", "bounds": "paid"},
            moments("%d.%m.%Y", "date")[1],
        ),
        "paid_words": ({"type": "string", "categories": "paid"}, labels(["big", "small"])[1]),
        "clipped": number(0, 10, 1, outside="clip"),
        "others": labels(["a", "b", "c"], outside="other"),
        "Ünï.cödé name, long " + 60 * "x": integer(0, 3),
    }
    kinds["clock"] = (
        {"type": "time", "format": "%H:%M"},
        lambda rng: [
            f"{h:02d}:{m:02d}" for h, m in zip(rng.integers(0, 24, N), rng.integers(0, 60, N), strict=True)
        ],
    )
    kinds["icd"] = ({"type": "string", "codes": "icd10"}, codes)
    rng = np.random.default_rng(data(st.integers(0, 2**32 - 1)))
    fields = [
        {"name": "pid", "type": "string", "role": "id"},
        {"name": "nr", "type": "integer", "role": "id"},
    ]
    texts = {"pid": [f"p{i:03d}" for i in range(N)], "nr": [str(9000 + i) for i in range(N)]}
    for name, (field, cells) in kinds.items():
        column = cells(rng)
        field = {**field, "name": name, "identifier": False}
        required = name in ("one", "seven", "day") or rng.random() < 0.5
        if required:
            field["constraints"] = {**field.get("constraints", {}), "required": True}
        else:
            token = field.get("missingValues", ["?", ""])[0]
            column = [token if gone else cell for cell, gone in zip(column, rng.random(N) < 0.1, strict=True)]
        fields.append(field)
        texts[name] = column
    start = pd.to_datetime(pd.Series(texts["day"]))
    stay = rng.integers(0, 30, N)
    texts["gone"] = (start + pd.to_timedelta(stay, "D")).dt.strftime("%Y-%m-%d").tolist()
    gone = {"type": "date", "since": "day", "constraints": {"minimum": 0, "maximum": 30, "required": True}}
    fields.append({**gone, "name": "gone", "identifier": False})
    next(field for field in fields if field["name"] == "others")["role"] = "protected"
    next(field for field in fields if field["name"] == "zero_one")["role"] = "label"
    return fields, texts


def prepare(folder, fields, name, dialect):
    """Write schema and config; domains are small, and the noise is too, so that little is left out."""
    schema = {"unit": {"column": "pid"}, "missingValues": ["?", ""], "fields": fields}
    (folder / "s.yaml").write_text(json.dumps(schema), encoding="utf-8")
    config = {
        "cohort": "c",
        "data": {"table": {"path": name, "schema": "s.yaml", **dialect}},
        "budget": {
            "ledger": "sqlite:///l.db",
            "epsilon": 30.0,
            "delta": 1e-3,
            "patients": N,
            "preprocessing": 0.3,
        },
        "generator": {"name": "marginal", "rounds": 1, "cliques": 0.05, "iterations": 50, "max_cells": 4096},
    }
    (folder / "c.yaml").write_text(json.dumps(config), encoding="utf-8")


def drawn_from(folder):
    pipeline.fit(load_config(folder / "c.yaml"), folder / "run")
    model, schema, _ = load_model(folder / "run" / "public" / "model")
    return draw(model, schema, 3 * N, seed=1), schema


def problems(path, schema, dialect):
    """Return what `schema check` finds: errors, and cells that would be written otherwise."""
    found = check(path, schema, **dialect)
    return [v for v in found if v.severity == "error" or "written" in v.rule or "rounded" in v.rule]


def shape(text):
    """Return a cell's form: its digits are alike, and all else stays."""
    return re.sub(r"\d", "0", text)


def same_tokens(fields, before, after):
    """Every written cell has the form of a cell that was read: decimals, words, missing tokens."""
    for field in fields:
        name, kind = field["name"], field["type"]
        if field.get("role") == "id":
            continue
        tokens = {field.get("missingValues", ["?", ""])[0]}
        known, found = set(before[name]) - tokens, set(after[name]) - tokens
        if kind in ("boolean", "string") and "codes" not in field:
            extra = {"other"} if field.get("outside") == "other" or "categories" in field else set()
            assert found <= set(map(str, field.get("constraints", {}).get("enum", known))) | known | extra, (
                name
            )
        elif kind == "number":
            signs = {"," if "," in text else "." for text in known if "," in text or "." in text}
            sign = next(iter(signs), ".")
            places = max(field["decimals"], 0)
            form = rf"-?\d+{re.escape(sign)}\d{{{places}}}" if places else r"-?\d+"
            assert all(re.fullmatch(form, text) for text in found), name
        elif kind == "integer":
            assert all(re.fullmatch(r"-?[1-9]\d*|0", text) for text in found), name
        elif "%b" in field.get("format", ""):
            assert all(re.fullmatch(r"\d\d-[A-Z][a-z]{2}-\d{4}", text) for text in found), name
        elif kind in ("date", "datetime", "time"):
            forms = {re.sub(r"[+-](?=0{2}:?0{2}$)|[AP]M", "z", shape(text)) for text in known}
            assert {re.sub(r"[+-](?=0{2}:?0{2}$)|[AP]M", "z", shape(text)) for text in found} <= forms, name


def text_of(texts, dialect, name):
    """Write the input as another program would: Python's csv module, with that program's habits."""
    stream = io.StringIO(newline="")
    end = {"unix": "\n", "excel": "\r\n", "r_gzip": "\n"}[name]
    quoting = csv.QUOTE_ALL if name == "r_gzip" else csv.QUOTE_MINIMAL
    writer = csv.writer(stream, delimiter=dialect["delimiter"], lineterminator=end, quoting=quoting)
    writer.writerow(texts)
    writer.writerows(zip(*texts.values(), strict=True))
    content = stream.getvalue().encode(dialect["encoding"])
    return ("\ufeff".encode() if name == "excel" else b"") + content


def with_sign(fields, texts, sign):
    numbers = {field["name"] for field in fields if field["type"] == "number"}
    return {
        name: [cell.replace(".", sign) for cell in cells] if name in numbers else cells
        for name, cells in texts.items()
    }


def round_trip(drawn, folder, name):
    fields, texts = drawn
    dialect = DIALECTS[name]
    texts = with_sign(fields, texts, dialect["decimal"])
    ending = ".csv.gz" if name == "r_gzip" else ".csv"
    source, target = folder / f"in{ending}", folder / f"out{ending}"
    content = text_of(texts, dialect, name)
    source.write_bytes(gzip.compress(content) if name == "r_gzip" else content)
    prepare(folder, fields, source.name, dialect)
    declared = load_schema(folder / "s.yaml", unpaid=True)
    assert problems(source, declared, dialect) == []
    table, schema = drawn_from(folder)
    write_table(table, target)
    assert problems(target, schema, dialect) == []
    assert data_problems(target, schema, records=len(table)) == []
    written = target.read_bytes()
    written = gzip.decompress(written) if name == "r_gzip" else written
    assert written.startswith(b"\xef\xbb\xbf") == (name == "excel")
    text = written.decode(dialect["encoding"]).removeprefix("\ufeff")
    source_text = content.decode(dialect["encoding"]).removeprefix("\ufeff")
    first = source_text[: source_text.index("\n") + 1]  # names, delimiter, quotes and line end
    assert text[: len(first)] == first
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=dialect["delimiter"]))
    same_tokens(fields, texts, dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True)))


def arrow_of(fields, texts):
    """Return the input as Parquet writers store it: numbers, booleans, moments with and without a zone."""
    columns = {}
    for field in fields:
        name, kind, cells = field["name"], field["type"], texts[field["name"]]
        tokens = {field.get("missingValues", ["?", ""])[0]}
        known = [None if cell in tokens else cell for cell in cells]
        if kind == "integer":
            small = pa.int32() if name == "stage" else pa.int64()
            columns[name] = pa.array([None if cell is None else int(cell) for cell in known], small)
        elif kind == "number":
            width = pa.float32() if name == "number.1" else pa.float64()
            columns[name] = pa.array([None if cell is None else float(cell) for cell in known], width)
        elif name == "zero_one":
            columns[name] = pa.array([None if cell is None else cell == "1" for cell in known])
        elif name in ("day", "gone"):
            days = [None if cell is None else datetime.date.fromisoformat(cell) for cell in known]
            columns[name] = pa.array(days, pa.date32())
        elif name in ("instant", "local"):
            moments = [None if cell is None else datetime.datetime.fromisoformat(cell) for cell in known]
            columns[name] = pa.array(
                moments, pa.timestamp("us", tz=BERLIN) if name == "instant" else pa.timestamp("ns")
            )
        elif name == "clock":
            clock = [None if cell is None else datetime.time.fromisoformat(cell) for cell in known]
            columns[name] = pa.array(clock, pa.time32("s"))
        elif name == "zeros":
            columns[name] = pa.array(known).dictionary_encode()
        else:
            columns[name] = pa.array(known, pa.large_string() if name == "commas" else pa.string())
    return pa.table(columns)


def parquet_trip(drawn, folder):
    fields, texts = drawn
    source, target = folder / "in.parquet", folder / "out.parquet"
    before = arrow_of(fields, texts)
    pq.write_table(before, source)
    before = pq.read_table(source)  # Parquet has no times of whole seconds
    prepare(folder, fields, source.name, {})
    declared = load_schema(folder / "s.yaml", unpaid=True)
    assert problems(source, declared, {}) == []
    table, schema = drawn_from(folder)
    write_table(table, target)
    assert problems(target, schema, {}) == []
    assert data_problems(target, schema, records=len(table)) == []
    after = pq.read_table(target)
    assert after.schema.names == before.schema.names
    types = {f.name: (f.type, before.schema.field(f.name).type) for f in after.schema}
    other = {name: pair for name, pair in types.items() if pair[0] != pair[1]}
    assert not other, other
    decimals = {f["name"]: f["decimals"] for f in fields if f["type"] == "number" and f["name"] != "number.1"}
    for name, places in decimals.items():
        values = after.column(name).drop_null().to_numpy()
        np.testing.assert_array_equal(values, np.round(values, places))


def run(test, examples):
    return settings(
        derandomize=True,
        deadline=None,
        max_examples=examples,
        phases=[Phase.generate],  # a table is too large to shrink in reasonable time
        suppress_health_check=list(HealthCheck),
        database=None,
    )(given(tables())(test))


@pytest.mark.parametrize("name", DIALECTS)
def test_every_column_kind_comes_back_as_it_was_through_text(name, tmp_path_factory):
    run(lambda drawn: round_trip(drawn, tmp_path_factory.mktemp("trip"), name), 1)()


def test_every_column_kind_comes_back_as_it_was_through_parquet(tmp_path_factory):
    run(lambda drawn: parquet_trip(drawn, tmp_path_factory.mktemp("trip")), 1)()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a table that fails
@pytest.mark.parametrize("name", [*DIALECTS, "parquet"])
def test_every_column_kind_comes_back_as_it_was_many_times(name, tmp_path_factory):
    def trip(drawn):
        folder = tmp_path_factory.mktemp("trip")
        parquet_trip(drawn, folder) if name == "parquet" else round_trip(drawn, folder, name)

    run(trip, 25)()
