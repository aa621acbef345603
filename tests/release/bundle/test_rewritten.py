"""A bundle that somebody has rewritten: what `verify` finds alone, and what only the ledger finds."""

from __future__ import annotations

import base64
import copy as copies
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from synthgen.cli.app import main
from synthgen.data.images import SyntheticImages
from synthgen.data.tables import SyntheticTable
from synthgen.privacy.accountant import from_json, get_epsilon, to_json
from synthgen.privacy.ledger.ledger import Ledger, LedgerUnit
from synthgen.release.bundle.bundle import write_bundle
from synthgen.release.bundle.ledger_entry import ledger_problems
from synthgen.release.bundle.regenerate import difference, first_table, made
from synthgen.release.bundle.verify import RECORD, checksums, file_digest, record_of, verify_bundle
from synthgen.release.record.record import Judgement, Override, record_text, with_digests
from synthgen.schema.schema import Schema, load_schema
from tests.cli.test_terminal import FORGED, HOSTILE, unsafe
from tests.release.bundle.test_bundle import named, reseal
from tests.release.conftest import EVENT, composition
from tests.release.report.test_report import Page
from tests.support.phantom_cohorts import synthetic

MakeRecord = Callable[..., dict[str, Any]]
SCRIPT = b"<script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """The hospital's ledger with the spend of the release."""
    made_ = Ledger.connect(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db")
    made_.open_cohort("diabetes130", epsilon=2.0, delta=1e-6)
    number = made_.reserve(
        "diabetes130", EVENT, purpose="fit", unit=LedgerUnit("patient", "patient"), run="r"
    )
    made_.commit(int(getattr(number, "number", number)))
    return made_


@pytest.fixture(scope="module")
def released(
    ledger: Ledger,
    make_record: MakeRecord,
    files: dict[str, Path],
    schema: Schema,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A release against the gate, entered in the ledger."""
    spent, head = ledger.spent("diabetes130"), ledger.head()
    block = composition(
        epsilon=spent.epsilon,
        cap=spent.cap,
        events=(to_json(EVENT),),
        head=head,
        mu=None,
        opened=spent.opened[:10],
    )
    override = Override("Needed for a course.", "Dr A", "2026-03-01")
    judged = Judgement("refuse", "default", "0" * 64, looks=1, override=override)
    record = make_record(composition=block, judgement=judged)
    return write_bundle(
        tmp_path_factory.mktemp("released") / "bundle",
        data_files=files,
        schema=schema,
        record=record,
        enter=lambda digest: ledger.note_release("diabetes130", run="r", record=digest, head=head),
    )


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "copy"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record and make everything else anew, as a careful forger would."""
    record = copies.deepcopy(record_of(folder))
    change(record)
    data = {path.name: path for path in sorted((folder / "data").iterdir())}
    record = with_digests(record, {name: file_digest(path) for name, path in data.items()})
    (folder / RECORD).write_text(record_text(record), encoding="utf-8")
    schema = load_schema(folder / "schema.yaml")
    from synthgen.release.bundle.data_checks import checked

    name = str(first_table(data))
    table = checked(data[name], schema, records=record["data"]["files"][name])[1]
    assert table is not None
    for file, text in made(data, table, schema=schema, record=record).items():
        (folder / file).write_text(text, encoding="utf-8")
    (folder / "checksums.sha256").write_text(checksums(folder), encoding="utf-8")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


def test_a_release_is_entered_once_and_the_ledger_knows_its_bundle(
    released: Path, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_bundle(released) == []
    assert ledger_problems(record_of(released), ledger) == []
    assert len(ledger.releases("diabetes130")) == 1
    assert said(capsys, "verify", str(released)) == (
        0,
        {"bundle": str(released), "verified": True, "problems": []},
    )
    with pytest.raises(SystemExit):
        main(["verify", str(released)])
    assert "does not prove its claim" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("card.md", b"epsilon 1 at", b"epsilon .1 at"),
        ("card.md", b"**refuse**", b"**release**"),
        ("card.md", b"## Licence", SCRIPT + b"\n\n## Licence"),
        ("card.md", b"## Licence", b"## Licence\n"),
        ("report.html", b"</main>", SCRIPT + b"</main>"),
        ("report.html", b"Released against the gate", b"Released by the gate"),
        ("report.html", b"script-src 'none'".replace(b"'", b"&#x27;"), b"script-src 'unsafe-inline'"),
        ("report.html", b'class="synthetic"', b'class="synthetic" '),
        ("report.html", b"</html>\n", b"</html>\n<!-- -->"),
        ("datapackage.json", b'"title"', b'"homepage": "https://x.org",\n  "title"'),
    ],
)
def test_a_page_that_does_not_follow_from_the_record_is_named_with_its_line(
    copy: Path, name: str, old: bytes, new: bytes
) -> None:
    content = (copy / name).read_bytes()
    assert old in content
    (copy / name).write_bytes(content.replace(old, new, 1))
    reseal(copy)
    problems = verify_bundle(copy)
    assert named(problems) == {name}
    line = content[: content.index(old)].count(b"\n") + 1
    assert any(f"differs from line {line + i} on" in problems[0].message for i in range(3))


def test_pages_replaced_by_those_of_another_bundle_are_found(copy: Path, bundle: Path) -> None:
    for name in ("card.md", "report.html", "datapackage.json"):
        shutil.copy(bundle / name, copy / name)
    reseal(copy)
    assert {"card.md", "report.html"} <= named(verify_bundle(copy))


def test_an_edited_cell_with_new_checksums_is_not_the_file_of_the_record(copy: Path) -> None:
    path = copy / "data" / "cohort.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[3, "age"] = "55" if frame.loc[3, "age"] != "55" else "56"
    frame.to_csv(path, index=False, lineterminator="\n")
    reseal(copy)
    assert any(p.file == "data/cohort.csv" and "digest" in p.message for p in verify_bundle(copy))


def smaller_claim(record: dict[str, Any]) -> None:
    """Claim .1 with an event that proves it."""
    event = {**record["plan"]["event"]}
    event["rho"] = 2e-4
    epsilon = get_epsilon([from_json(event)], 1e-6)
    assert epsilon < 0.2
    record["plan"]["event"], record["ledger"]["events"] = event, [event]
    for block in (record["claim"], record["ledger"], record["registry"]["privacy_loss"]):
        block["epsilon"] = epsilon
    record["ledger"]["proven_epsilon"] = epsilon
    record["plan"]["stages"] = []


def flipped(record: dict[str, Any]) -> None:
    record["verdict"] |= {"verdict": "release", "override": None}


def without_override(record: dict[str, Any]) -> None:
    record["verdict"]["override"] = {"reason": "None.", "who": "Dr B", "when": "2026-03-02"}


def older_head(record: dict[str, Any]) -> None:
    record["ledger"]["head"] = f"1:{'0' * 64}"


def larger_cap(record: dict[str, Any]) -> None:
    record["ledger"]["cap_epsilon"] = 1.5


def same(record: dict[str, Any]) -> None:
    """Leave the record; the data were changed."""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (smaller_claim, "ledger.events"),
        (smaller_claim, "claim.epsilon"),
        (flipped, "the verdict release, not overridden"),
        (without_override, "is that of no release in the ledger"),
        (older_head, "ledger.head"),
        (larger_cap, "ledger.cap_epsilon: says 1.5, and the ledger 2.0"),
        (same, "is that of no release in the ledger"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_bundle_rewritten_whole_agrees_with_itself_and_not_with_the_ledger(
    copy: Path, ledger: Ledger, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    if change is same:
        for path, kind in (
            (copy / "data" / "cohort.csv", "csv"),
            (copy / "data" / "cohort.parquet", "parquet"),
        ):
            frame = (
                pd.read_csv(path, dtype=str, keep_default_na=False)
                if kind == "csv"
                else pd.read_parquet(path)
            )
            frame.loc[3, "sex"] = "M" if frame.loc[3, "sex"] == "F" else "F"
            frame.to_csv(path, index=False, lineterminator="\n") if kind == "csv" else frame.to_parquet(path)
    rewrite(copy, change)
    assert verify_bundle(copy) == []
    messages = [problem.message for problem in ledger_problems(record_of(copy), ledger)]
    assert any(says in message for message in messages), messages


def test_the_verb_compares_a_bundle_with_the_ledger(
    copy: Path, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.backup(str(tmp_path / "copy.db"))
    url = f"sqlite:///{tmp_path}/copy.db"
    verb = ("ledger", "verify", "--ledger", url, "--bundle", str(copy))
    code, shown = said(capsys, *verb)
    assert (code, shown["problems"]) == (0, [])
    assert shown["release"]["row"]
    rewrite(copy, flipped)
    code, shown = said(capsys, *verb)
    assert code == 3
    assert shown["verified"] is False
    assert shown["release"] is None
    (copy / "card.md").write_text("x", encoding="utf-8")
    assert said(capsys, *verb)[1]["problems"][0]["file"] == "card.md"
    assert said(capsys, *verb[:-1], str(tmp_path / "none"))[0] == 2
    empty = f"sqlite:///{tmp_path}/empty.db"
    Ledger.connect(empty).open_cohort("other", epsilon=1.0, delta=1e-6)
    code, shown = said(capsys, "ledger", "verify", "--ledger", empty, "--bundle", str(copy))
    assert code == 3


def test_a_bundle_of_another_version_says_which(copy: Path, released: Path) -> None:
    rewrite(copy, lambda record: record["software"].update({"synthgen-medical": "0.0.9"}))
    assert verify_bundle(copy) == []  # its words are those of this version
    card = copy / "card.md"
    card.write_text(card.read_text(encoding="utf-8").replace("fresh sequential", "new"), encoding="utf-8")
    reseal(copy)
    problems = verify_bundle(copy)
    assert named(problems) == {"card.md"}
    assert "synthgen 0.0.9 made it" in problems[0].message
    assert "verify it with that version" in problems[0].message
    record = json.loads((copy / RECORD).read_text(encoding="utf-8"))
    record["format"] = "synthgen-privacy-record/1"
    del record["data"]["sha256"]
    (copy / RECORD).write_text(record_text(record), encoding="utf-8")
    reseal(copy)
    assert any("former version of synthgen (0.0.9)" in problem.message for problem in verify_bundle(copy))


def test_two_records_another_case_and_other_folders_are_named(copy: Path, tmp_path: Path) -> None:
    text = (copy / RECORD).read_text(encoding="utf-8")
    (copy / RECORD).write_text('{"claim": {"epsilon": 0.1},' + text.lstrip("{"), encoding="utf-8")
    reseal(copy)
    assert RECORD in named(verify_bundle(copy))
    (copy / RECORD).write_text(text, encoding="utf-8")
    (copy / "privacy_record (2).json").write_text(text, encoding="utf-8")
    assert "privacy_record (2).json" in named(verify_bundle(copy))
    (copy / "privacy_record (2).json").unlink()
    (copy / "card.md").rename(copy / "Card.md")
    reseal(copy)
    messages = [problem.message for problem in verify_bundle(copy) if problem.file == "Card.md"]
    assert "does not belong to a bundle: it would be called card.md" in messages
    for names, words in ((("internal", "public"), "a run's folder"), (("schema.json",), "a model's folder")):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name in names:
            (folder / name).mkdir()
        (problem,) = verify_bundle(folder)
        assert words in problem.message


@pytest.mark.parametrize(
    "text", ['"\\ud800"', "1" + "0" * 5000, "[" * 3000 + "]" * 3000, "NaN", '"a\\u0000b"']
)
def test_an_odd_value_in_the_record_is_a_problem_and_not_a_crash(copy: Path, text: str) -> None:
    record = (copy / RECORD).read_text(encoding="utf-8")
    changed = re.sub(r'"rounds": 12', f'"rounds": {text}'.replace("\\", "\\\\"), record)
    assert changed != record
    (copy / RECORD).write_text(changed, encoding="utf-8")
    reseal(copy)
    assert {RECORD, "card.md"} & named(verify_bundle(copy))


@pytest.fixture(scope="module")
def hostile(
    make_record: MakeRecord, schema: Schema, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A bundle in which every name and every word is hostile, and these texts."""
    texts = [text.replace("\udcff\ud800", "x") for text in HOSTILE.values()]
    texts += [
        "<script>document.title='owned'</script>",
        "</title></style><img src=x onerror=document.title='owned'>",
        "![x](https://evil.example/x.png)",
        "[x](javascript:document.title='owned')",
        "`<b onmouseover=1>`",
        "| a | b |\n|---|---|",
        "# heading",
        "--><script>document.title='owned'</script><!--",
        "{{7*7}}${7*7}",
        "https://evil.example www.evil.example a@evil.example",
        "'\"><svg onload=document.title='owned'>",
    ]
    fields = [
        {
            "name": f"{i} {text}",
            "type": "string",
            "role": "label" if i < 2 else "protected",
            "constraints": {"enum": [text, f"b{i}"], "required": True},
            "title": text,
            "description": text,
        }
        for i, text in enumerate(texts)
    ]
    fields.append({"name": f"id{texts[0]}", "type": "string", "role": "id"})
    fields.append({"name": f"gone{texts[15]}", "type": "string", "role": "drop"})
    content = {"unit": {"column": f"id{texts[0]}", "max_records": 1}, "fields": fields, "title": texts[15]}
    wild = Schema.model_validate_json(json.dumps(content))
    frame = pd.DataFrame(
        {
            column.name: pd.Categorical.from_codes(np.arange(40) % 2, list(column.labels))
            for column in wild.columns
        }
    )
    whole = " ".join(texts)
    record = make_record(
        schema=wild,
        files={"cohort.csv": 40},
        judgement=Judgement("refuse", whole, "0" * 64, looks=1, override=Override(whole, whole, whole)),
    )
    basic = record["registry"]["basic"]
    basic |= {key: whole for key in ("name", "intended_use", "region", "description")}
    basic["data_curators"] = texts
    record["registry"]["implementation"]["mechanisms"] = whole
    record["deviations"] = texts
    record["ledger"] |= {"accountant": whole, "cohort": whole, "opened": whole}
    record["plan"]["generator"] = whole
    record["plan"]["parameters"] = {text: [text, {text: text}] for text in texts}
    for stage in record["plan"]["stages"]:
        stage |= {"name": whole, "detail": whole}
    record["randomness"] = record["evaluation"]["figures"] = whole
    record["software"] |= {text: text for text in texts}
    output = tmp_path_factory.mktemp("hostile") / "bundle"
    table = SyntheticTable(wild, frame)
    return write_bundle(output, data_files={"cohort.csv": table}, schema=wild, record=record), texts


def test_nothing_hostile_is_in_the_pages_of_a_bundle(hostile: tuple[Path, list[str]]) -> None:
    bundle, _ = hostile
    assert verify_bundle(bundle) == []
    for name in ("card.md", "report.html", "datapackage.json", RECORD, "checksums.sha256"):
        text = (bundle / name).read_text(encoding="utf-8")
        assert not unsafe(text), name
        assert not [line for line in text.splitlines() if line.strip().startswith(FORGED)], name
    page = Page((bundle / "report.html").read_text(encoding="utf-8"))
    assert not page.wrong
    for tag, attributes in page.tags:
        assert tag not in ("script", "img", "iframe", "object", "embed", "form", "base", "link")
        assert not [key for key in attributes if key.startswith("on")]
        assert str(attributes.get("href") or "#").startswith("#")
    assert len(page.all("style")) == len(page.all("title")) - len(page.all("svg")) == 1
    card = (bundle / "card.md").read_text(encoding="utf-8")
    plain = {
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        "code",
        "strong",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
    }
    rendered = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(card)
    tags = set(re.findall(r"<([a-z0-9]+)", re.sub(r"<!--.*?-->", "", rendered, flags=re.DOTALL)))
    assert tags <= plain, tags - plain
    assert rendered.count("<!--") == 1
    assert rendered.count("<h1") == 1
    rows = [line for line in card.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_a_browser_shows_the_report_and_runs_nothing_that_is_put_in(bundle: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    page = (bundle / "report.html").read_bytes()
    added = SCRIPT + b"<img src=x onerror=\"document.title='owned'\"><p style='color: red' id=styled>x</p>"
    evil = tmp_path / "evil.html"
    evil.write_bytes(page.replace(b"</main>", added + b"</main>", 1))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shot = tmp_path / "shot.png"
    done = subprocess.run(
        [browser, *options, "--enable-logging=stderr", "--dump-dom", evil.as_uri()],
        capture_output=True,
        timeout=60,
        check=True,
    )
    dom, log = done.stdout.decode(), done.stderr.decode()
    assert "<title>owned" not in dom
    assert log.count("Content Security Policy") >= 3
    done = subprocess.run(
        [
            browser,
            *options,
            "--enable-logging=stderr",
            f"--screenshot={shot}",
            (bundle / "report.html").as_uri(),
        ],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert "Content Security Policy" not in done.stderr.decode()
    assert len(np.unique(np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3), axis=0)) > 20  # styled


def images_bundle(make_record: MakeRecord, folder: Path) -> Path:
    drawn = synthetic(70, size=28)
    record = make_record(schema=drawn.schema, files={"cohort.csv": 70, "cohort.zip": 70})
    return write_bundle(
        folder, data_files={"cohort.csv": drawn, "cohort.zip": drawn}, schema=drawn.schema, record=record
    )


def test_images_are_compared_by_their_pixels_however_they_are_packed(
    make_record: MakeRecord, tmp_path: Path
) -> None:
    bundle = images_bundle(make_record, tmp_path / "bundle")
    assert verify_bundle(bundle) == []
    page = (bundle / "report.html").read_bytes()

    def packed(change: Callable[[Image.Image], Image.Image]) -> bytes:
        def again(match: re.Match[bytes]) -> bytes:
            image = change(Image.open(io.BytesIO(base64.b64decode(match[1]))))
            stream = io.BytesIO()
            image.save(stream, "PNG", compress_level=1)
            return b'src="data:image/png;base64,' + base64.b64encode(stream.getvalue()) + b'"'

        return re.sub(rb'src="data:image/png;base64,([^"]+)"', again, page)

    other = packed(lambda image: image)
    assert other != page
    assert difference(page.decode(), other) is None  # another library packed the same pixels
    assert difference(page.decode(), packed(lambda image: image.point(lambda v: 255 - v))) is not None
    assert difference(page.decode(), packed(lambda image: image.resize((9, 9)))) is not None
    assert difference(page.decode(), re.sub(rb"base64,[^\"]+", b"base64,AAAA", page)) is not None
    assert isinstance(synthetic(3, size=28), SyntheticImages)
