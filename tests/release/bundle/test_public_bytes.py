"""Nothing that a schema says of an unseen column, and no exact count, is in any byte that may leave."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from PIL import Image
from ruamel.yaml import YAML

import synthgen
from synthgen.cli import app as cli
from synthgen.pipeline.fit import read_cohort
from synthgen.pipeline.run import reload
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.schema.fields import Constraints, Field
from synthgen.schema.schema import Schema
from tests.support.phantom_cohorts import cohort

MARK = "mArKeD"
"""Begins every text that must stay inside; numbers that must are 9182736.. and dates of the year 1931."""
SECRET = re.compile(rb"mArKeD|9182736\d|1931-", re.IGNORECASE)
UNSEEN: dict[str, dict[str, Any]] = {
    "string": {
        "title": f"{MARK} title",
        "description": f"{MARK} description",
        "constraints": {"enum": [f"{MARK} ward", f"{MARK} other ward"], "required": True},
        "missingValues": [f"{MARK} none"],
        "outside": "other",
        "categories": "paid",
        "static": True,
        "confirmed": False,
        "identifier": False,
    },
    "integer": {
        "constraints": {"minimum": 91827364, "maximum": 91827369},
        "bins": 7,
        "bounds": "paid",
        "scale": "log",
        "confirmed": False,
    },
    "date": {
        "constraints": {"minimum": "1931-01-02", "maximum": "1931-11-12"},
        "origin": "1931-01-01",
        "format": f"%Y {MARK}",
    },
    "boolean": {"trueValues": [f"{MARK} yes"], "falseValues": [f"{MARK} no"]},
    "number": {"decimals": 7, "constraints": {"minimum": 91827361.5, "maximum": 91827368.5}},
    "datetime": {"timezone": f"{MARK}/zone"},
}
CODED: dict[str, Any] = {"codes": "prefix:7", "constraints": {"enum": [f"{MARK} code"]}}
COUNTED: dict[str, Any] = {"since": f"{MARK}start", "constraints": {"minimum": 91827360, "maximum": 91827367}}


def unseen_fields() -> list[dict[str, Any]]:
    """A dropped column of each type, and ids, that say all that a field can say."""
    found = [{"name": f"gone_{kind}", "type": kind, "role": "drop", **keys} for kind, keys in UNSEEN.items()]
    found += [{"name": "gone_code", "type": "string", "role": "drop", **CODED}]
    found += [{"name": "gone_since", "type": "date", "role": "drop", **COUNTED}]
    keys = {key: value for key, value in UNSEEN["string"].items() if key not in ("constraints",)}
    return [*found, {"name": "patient", "type": "string", "role": "id", **keys, "categories": "paid"}]


def test_every_key_of_a_field_is_among_those_that_are_looked_for():
    """A key that is added later must be added here, with a mark."""
    keys = {info.alias or name for name, info in Field.model_fields.items()}
    said = {key for field in unseen_fields() for key in field}
    assert keys <= said | {"name", "type", "role"}, "give the new key a marked value in UNSEEN"
    limits = {key for field in unseen_fields() for key in field.get("constraints", {})}
    assert set(Constraints.model_fields) == limits


def test_the_public_schema_of_a_marked_schema_has_no_mark_and_is_its_own_public_schema():
    seen = {"name": "ill", "type": "boolean", "role": "label"}
    rule = f"gone_string == '{MARK} ward' implies ill"
    content = {
        "unit": {"column": "patient"},
        "fields": [*unseen_fields(), seen],
        "rules": [rule, "ill or not ill"],
    }
    schema = Schema.model_validate_json(json.dumps(content))
    assert SECRET.search(schema.model_dump_json().encode())
    public = schema.public()
    assert not SECRET.search(public.model_dump_json().encode())
    assert public.rules == ("ill or not ill",)
    assert public.public().digest() == public.digest()
    assert (
        schema.with_domains_of(public).digest() == schema.model_copy(update={"rules": schema.rules}).digest()
    )
    assert {f.name: f.type for f in public.fields} == {f.name: f.type for f in schema.fields}


def test_a_copy_of_a_schema_with_other_fields_has_the_columns_of_these():
    one = Field(name="age", type="integer", constraints=Constraints(minimum=0, maximum=9))
    schema = Schema.model_validate_json(
        json.dumps(
            {"unit": {"level": "row"}, "fields": [one.model_dump(by_alias=True, exclude_defaults=True)]}
        )
    )
    assert schema.columns[0].maximum == 9
    wider = one.model_copy(update={"constraints": Constraints(minimum=0, maximum=99)})
    assert schema.model_copy(update={"fields": (wider,)}).columns[0].maximum == 99


def every_byte(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a file's name and bytes, and what is packed inside of it."""
    content = path.read_bytes()
    yield path.name, content
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        yield f"{path.name}: schema", repr((table.schema.metadata, table.schema.to_string())).encode()
        yield f"{path.name}: cells", repr(table.to_pylist()).encode()
        yield f"{path.name}: file", repr(pyarrow.parquet.ParquetFile(path).metadata.to_dict()).encode()
    if path.suffix in (".zip", ".npz"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield f"{path.name}: comment", archive.comment
            for entry in archive.infolist():
                yield (
                    f"{path.name}: {entry.filename}",
                    entry.filename.encode() + entry.extra + archive.read(entry),
                )
    if path.suffix == ".png":
        with Image.open(path) as image:
            yield f"{path.name}: text", repr(image.info).encode()


def leaks(*folders: Path, pattern: re.Pattern[bytes] = SECRET, text_only: bool = False) -> list[str]:
    found, seen = [], 0
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if text_only and path.suffix not in (".json", ".html", ".md", ".yaml"):
                continue
            for name, content in every_byte(path):
                seen += 1
                hit = pattern.search(content)
                if hit:
                    found.append(f"{path.relative_to(folder)} ({name}): {hit[0]!r}")
    assert seen > 3
    return found


def end(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    return int(stop.value.code or 0)


def write_schema(path: Path, *, unit: dict[str, Any], seen: list[dict[str, Any]], **more: Any) -> None:
    rule = f"gone_string == '{MARK} ward' implies ill"
    content = {"unit": unit, "fields": [*unseen_fields(), *seen], "rules": [rule], **more}
    with path.open("w") as stream:
        stream.write(f"# {MARK} comment\n")
        YAML(typ="safe").dump(content, stream)


def unseen_cells(n: int, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "gone_string": rng.choice([f"{MARK} ward", f"{MARK} other ward"], n),
        "gone_integer": rng.integers(91827364, 91827370, n),
        "gone_date": f"1931 {MARK}",
        "gone_boolean": rng.choice([f"{MARK} yes", f"{MARK} no"], n),
        "gone_number": rng.uniform(91827361, 91827369, n),
        "gone_datetime": f"1931-02-03T04:05:06 {MARK}",
        "gone_code": f"{MARK} code",
        "gone_since": "1931-02-03",
    }


SEEN = [
    {
        "name": "sex",
        "type": "string",
        "role": "protected",
        "constraints": {"enum": ["F", "M"], "required": True},
    },
    {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 100}},
    {"name": "drug", "type": "string", "categories": "paid"},
    {"name": "ill", "type": "boolean", "role": "label", "constraints": {"required": True}},
]
PATIENTS, DECLARED = 1613, 1600


@pytest.fixture(scope="module", params=["single", pytest.param("linked", marks=pytest.mark.slow)])
def tabular(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with paid domains and an evaluation, in a folder whose path holds a name."""
    linked = request.param == "linked"
    place = tmp_path_factory.mktemp("outer") / f"{MARK} folder"
    place.mkdir()
    rng = np.random.default_rng(5)
    owner = np.repeat(np.arange(PATIENTS), rng.integers(1, 4, PATIENTS))
    n = len(owner)
    frame = {
        "patient": [f"{MARK}{i:05d}" for i in owner],
        **unseen_cells(n, rng),
        "sex": rng.choice(["F", "M"], PATIENTS)[owner],
        "age": rng.integers(0, 101, n),
        "drug": rng.choice(["aspirin", "heparin"], n),
        "ill": rng.choice(["true", "false"], n),
    }
    pd.DataFrame(frame).to_csv(place / f"{MARK}.csv", index=False)
    unit = {"column": "patient", "max_records": 3, **({"records": "linked"} if linked else {})}
    write_schema(place / f"{MARK}.schema.yaml", unit=unit, seen=SEEN, missingValues=["", "?"])
    (place / "run.yaml").write_text(
        f"# {MARK} comment\n"
        "cohort: shown\nseed: 3\n"
        f"data: {{table: {{path: '{MARK}.csv', schema: '{MARK}.schema.yaml'}}}}\n"
        f"budget: {{ledger: 'sqlite:///{MARK}.db', epsilon: 3.0, delta: 1e-6, patients: {DECLARED}, "
        "preprocessing: 0.1}\n"
        "generator: {name: marginal, iterations: 50, rounds: 1}\n"
        "evaluate: {holdout: 0.37, canaries: 0}\n"
        "release: {formats: [csv, parquet]}\n"
    )
    with pytest.MonkeyPatch.context() as patch:  # one split for good: its sizes are looked for
        patch.setattr("synthgen.privacy.ledger.ledger.new_key", lambda: bytes(range(32)))
        Ledger.connect(f"sqlite:///{MARK}.db", base=place).open_cohort("shown", epsilon=9.0, delta=1e-6)
    run = place / "run"
    assert end("run", place / "run.yaml", "--output", run) in (0, 5)
    synthgen.load(run / "public" / "model").save(place / "saved")
    return place


def test_no_public_byte_of_a_table_says_what_the_schema_says_of_an_unseen_column(tabular: Path):
    run = tabular / "run"
    assert end("release", run, "--output", tabular / "bundle", "--override", "a test") == 0
    for ending in ("csv", "parquet"):
        assert end("sample", run, "-n", 50, "-o", tabular / "more" / f"more.{ending}") == 0
    assert leaks(run / "public", tabular / "bundle", tabular / "saved", tabular / "more") == []
    assert end("verify", tabular / "bundle") == 0


def test_no_public_byte_of_a_table_holds_an_exact_count(tabular: Path):
    """Rows and patients, all of them and those who train, where a number was declared."""
    assert end("evaluate", tabular / "run", "--public", "epsilon=0.2") == 0
    cohort = read_cohort(reload(tabular / "run")[0])
    exact = {PATIENTS, int(cohort.counts["records"])}
    for part in (cohort.train, cohort.reference, cohort.holdout):
        exact |= {len(part), part.unit_codes()[1]}
    assert len(exact) == 8
    exact = {n for n in exact if n > 999}  # fewer digits stand in pictures and in counts of synthetic groups
    assert len(exact) == 4
    assert not exact & {DECLARED, round(DECLARED * 0.63)}
    pattern = "|".join(sorted({text for n in exact for text in (f"{n:,}", f"{n}")}))
    numbers = re.compile(rf"(?<![\d.,])({pattern})(?![\d.])".encode())
    assert leaks(tabular / "run" / "public", pattern=numbers, text_only=True) == []
    declared = re.compile(rf"(?<![\d.,])({DECLARED:,}|{DECLARED})(?![\d])".encode())
    assert leaks(tabular / "run" / "public", pattern=declared, text_only=True)


IMAGES = """
cohort: shown
seed: 3
data: {{images: {{path: '{path}', schema: s.yaml, size: 16}}}}
budget: {{ledger: 'sqlite:///l.db', epsilon: 8.0, delta: 1e-5, patients: 150}}
generator: {{name: embedding, attributes: {{name: marginal, share: 0.2, iterations: 50}}}}
sample: {{records: 30}}
release: {{formats: [csv, parquet, dicom]}}
"""


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_no_public_byte_of_images_says_what_the_schema_says_of_an_unseen_column(kind: str, tmp_path: Path):
    place = tmp_path / f"{MARK} folder"
    place.mkdir()
    data, rng = cohort(150, size=16), np.random.default_rng(1)
    n = len(data)
    seen = [SEEN[0], {**SEEN[1]}, SEEN[3]]
    frame = pd.DataFrame(
        {
            "patient": [f"{MARK}{unit}" for unit in data.units],
            **unseen_cells(n, rng),
            "sex": data.frame["sex"].astype(str),
            "age": data.frame["age"].astype(int),
            "ill": data.frame["ill"].astype(str).str.lower(),
        }
    )
    unit = {"column": "patient", "max_records": 2}
    fields, images = seen, {"channels": 1, "bits": 8}
    if kind == "folder":
        frame["file"] = [f"{MARK}{i}.png" for i in range(n)]
        fields = [
            *seen,
            {"name": "file", "type": "string", "role": "id", **UNSEEN["string"], "categories": "paid"},
        ]
        images["file"] = "file"
        (place / MARK).mkdir()
        for name, image in zip(frame["file"], data.pixels, strict=True):
            Image.fromarray(image[0]).save(place / MARK / name)
        frame.to_csv(place / MARK / f"{MARK}.csv", index=False)
    else:
        columns = {name: values.to_numpy(str) for name, values in frame.items()}
        np.savez(place / f"{MARK}.npz", images=data.pixels[:, 0], **columns)
    write_schema(place / "s.yaml", unit=unit, seen=fields, images=images)
    (place / "run.yaml").write_text(IMAGES.format(path=MARK if kind == "folder" else f"{MARK}.npz"))
    run = place / "run"
    assert end("run", place / "run.yaml", "--output", run) == 5
    assert end("release", run, "--output", place / "bundle", "--override", "a test") == 0
    for more in ("more.npz", "pictures"):
        assert end("sample", run, "-n", 12, "-o", place / "more" / more) == 0
    assert end("export", place / "bundle", "dicom", "--output", place / "dicom") == 0
    assert leaks(*(place / name for name in ("run/public", "bundle", "more", "dicom"))) == []
