"""The command line: arguments only.

Every verb takes ``--json``: one JSON object on stdout at every exit. Logs and progress go to stderr,
progress bars to a terminal only. Exit codes: 0 ok; 1 disk, database, bug; 2 config or arguments;
3 data or failed verify; 4 budget would be exceeded; 5 verdict refuse or cannot-sign; 130 interrupted, by
Ctrl-C, SIGTERM or SIGHUP. The whole contract: ``docs/command_line.md``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from synthgen.cli.failures import INTERRUPTED, Failure, failure_of, interrupted
from synthgen.cli.subcommands import DateFormat, Declared, Json, Refused, config_app, ledger_app, schema_app
from synthgen.cli.terminal import guarded, raw
from synthgen.cli.verbs import Verbs, talk
from synthgen.errors import ConfigError, SynthgenError
from synthgen.files.output_paths import PAGES, require_file, require_folder
from synthgen.printable import json_text, printable

CONDITIONS = (
    "Condition: sex=F, age=65..80, race=A|B (one of them), weight= (missing). Text that is a category as it "
    "stands is that one; what stands in double quotes is a name or a value as it is: "
    '\'"col name"="A|B"\'.'
)
RunLedger = Annotated[
    str | None,
    typer.Option("--ledger", help="URL of your ledger, for a run that you did not make on this machine."),
]
SyntheticDialect = Annotated[str | None, typer.Option(help="Of the synthetic table, if it differs.")]

app = Verbs(
    name="synthgen",
    help="Synthetic medical cohorts under patient-level differential privacy, with their evidence.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(schema_app, name="schema")
app.add_typer(config_app, name="config")
app.add_typer(ledger_app, name="ledger")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the contract's codes."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    with (
        _stopped_like_ctrl_c(),
        guarded(),
    ):  # --json is taken off, so that no option before it takes it for its value
        code = _exit_code([text for text in arguments if text != "--json"], as_json)
    sys.exit(code)


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a verb as Ctrl-C does; a second one ends the process at once."""

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:  # nohup, or a caller's own handler, stays
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code(arguments: list[str], as_json: bool) -> int:
    # Newer Typer carries its own Click, so the exceptions are found through Typer's names.
    usage: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    _begin()
    try:
        outcome = app(args=arguments, prog_name="synthgen", standalone_mode=False)
        if outcome == INTERRUPTED:  # what Typer makes of an interrupt
            raise KeyboardInterrupt
        if isinstance(outcome, int) and outcome:
            return outcome
        if isinstance(outcome, dict):
            _print(outcome, as_json)
        return 0
    except Refused as refused:
        _print(refused.outcome, as_json)
        return refused.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return _fail(interrupted(arguments), as_json)
    except SystemExit as error:  # Lightning's own, after an interrupt
        return _fail(failure_of(error, arguments, usage), as_json)
    except Exception as error:
        if os.environ.get("SYNTHGEN_DEBUG") and not isinstance(error, (SynthgenError, usage)):
            raise
        return _fail(failure_of(error, arguments, usage), as_json)


def _begin() -> None:
    """Forget what an earlier verb of this process was asked for."""
    talk.quiet = talk.verbose = False
    talk.verb = talk.report = ""
    talk.given = {}


def _fail(failure: Failure, as_json: bool) -> int:
    if as_json:
        raw(sys.stdout).write(json_text({"error": failure.to_json()}) + "\n")
    place = f"{failure.where}: " if failure.where else ""
    stream = raw(sys.stderr)
    if stream.isatty():
        stream.write("\r\x1b[2K")  # a bar may stand there
    stream.write(printable(f"Error: {place}{failure.message}") + "\n")
    for line in (*failure.details, failure.next):
        stream.write(f"  {printable(line)}\n" if line else "")
    return failure.exit_code


def _print(outcome: dict[str, Any], as_json: bool) -> None:
    if as_json:
        raw(sys.stdout).write(json_text(outcome) + "\n")
        return
    from synthgen.cli.output import show

    stream = raw(sys.stdout)
    stream.write(show(outcome, color=stream.isatty(), quiet=talk.quiet, verbose=talk.verbose))
    if not talk.quiet:
        from synthgen.cli.next_steps import ending

        for line in ending(talk.verb, outcome, report=talk.report, given=talk.given):
            stream.write(f"{printable(line)}\n")


def _progress_bar() -> Callable[[str, float], None]:
    from synthgen.cli.output import Progress

    return Progress(raw(sys.stderr), quiet=talk.quiet, verbose=talk.verbose)


def _judged(outcome: dict[str, Any]) -> dict[str, Any]:
    if outcome["verdict"] != "release":
        raise Refused(outcome, 5)
    return outcome


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as version_of

        sys.stdout.write(f"synthgen {version_of('synthgen-medical')}\n")
        raise typer.Exit(0)


@app.command()
def demo(
    what: Annotated[str, typer.Argument(help="tables or imaging")] = "tables",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the demo.")] = Path("demo"),
    generator: Annotated[str | None, typer.Option(help="Another generator, with its defaults.")] = None,
    cohort: Annotated[
        str | None, typer.Option(help="meps: real persons of a public survey (extra: demo).")
    ] = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Run the main job on a shipped synthetic cohort, from start to bundle."""
    from synthgen.cli import demo as demos

    require_folder(output)
    return demos.run(what, output, progress=_progress_bar(), generator=generator, cohort=cohort)


@app.command()
def plan(
    config: Path,
    set_: Annotated[list[str] | None, typer.Option("--set", help="a.b=value, replaces a key.")] = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Show what a fit will fix and spend, without reading a record."""
    from synthgen.config.run_config import load_config
    from synthgen.pipeline import run as pipeline

    return pipeline.plan_summary(load_config(config, overrides=set_ or []))


@app.command()
def run(
    config: Path,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The run's folder.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a partial run, or with later choices.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go on although the release cannot be signed; recorded.")
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="a.b=value, replaces a key.")] = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Run the whole line: fit, sample, evaluate, decide, and bundle if the gate allows it."""
    from synthgen.config.run_config import load_config
    from synthgen.pipeline import run as pipeline

    loaded = load_config(config, overrides=set_ or [])
    folder = output or Path("runs") / f"{config.stem}-{loaded.digest[:8]}"
    require_folder(folder)
    options: dict[str, Any] = {
        "overrides": set_ or [],
        "resume": resume,
        "anyway": anyway,
        "progress": _progress_bar(),
    }
    return _judged(pipeline.run(loaded, folder.resolve(), **options))


@app.command()
def fit(
    config: Path,
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a partial run, or with later choices.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go on although the release cannot be signed; recorded.")
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="a.b=value, replaces a key.")] = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Fit and save the model only."""
    from synthgen.config.run_config import load_config
    from synthgen.pipeline import run as pipeline

    require_folder(output)
    loaded = load_config(config, overrides=set_ or [])
    options: dict[str, Any] = {
        "overrides": set_ or [],
        "resume": resume,
        "anyway": anyway,
        "progress": _progress_bar(),
    }
    return pipeline.fit(loaded, output.resolve(), **options)


@app.command()
def sample(
    run: Path,
    records: Annotated[int, typer.Option("--records", "-n", help="Records to draw; patients, if linked.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.csv, FILE.parquet, or a folder.")],
    where: Annotated[list[str] | None, typer.Option(help=CONDITIONS)] = None,
    balance: Annotated[
        str | None,
        typer.Option(help="Column whose categories get equal shares (may be quoted); missing keeps its own."),
    ] = None,
    shards: Annotated[int, typer.Option(min=1, max=100_000, help="Files, if the output is a folder.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    csv_formulas: Annotated[
        str | None,
        typer.Option(help="keep, or escape what a spreadsheet would run; else as the run's config says."),
    ] = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Draw records from a run's model. Costs no privacy."""
    from synthgen.cli import sample_command as drawing

    return drawing.sample(
        run,
        records,
        output,
        where=where or [],
        balance=balance,
        shards=shards,
        seed=seed,
        force=force,
        formulas=csv_formulas,
        progress=_progress_bar(),
    )


@app.command()
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run; or give files.")] = None,
    public: Annotated[str | None, typer.Option(help="epsilon=E: a figure that may be published.")] = None,
    real: Annotated[Path | None, typer.Option(help="What the generator was fitted on.")] = None,
    holdout: Annotated[Path | None, typer.Option(help="Real records that it has not seen.")] = None,
    synthetic: Annotated[Path | None, typer.Option(help="What is to be judged.")] = None,
    schema: Annotated[Path | None, typer.Option(help="Their schema.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="An attacker's records; else half of the holdout.")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="The generator's claim.")] = None,
    delta: Annotated[float | None, typer.Option(help="The generator's claim.")] = None,
    policy: Annotated[str, typer.Option(help="Name or path of a policy.")] = "default",
    report: Annotated[Path | None, typer.Option(help="Where the internal report goes.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of all draws; else it follows from the real inputs.")
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            help="URL of your ledger: of files it counts evaluations, else one in the real table's folder "
            "does; a run that you did not make on this machine needs it."
        ),
    ] = None,
    delimiter: Declared = None,
    encoding: Declared = None,
    decimal: Declared = None,
    date_format: DateFormat = None,
    synthetic_delimiter: SyntheticDialect = None,
    synthetic_encoding: SyntheticDialect = None,
    synthetic_decimal: SyntheticDialect = None,
    synthetic_date_format: SyntheticDialect = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Judge a run, or a table of any generator, on the four heads."""
    from synthgen.cli import file_commands as files
    from synthgen.pipeline import evaluate_files
    from synthgen.pipeline import run as pipeline

    if report is not None:
        require_file(report, PAGES, where="--report")
        talk.report = str(report)
    if run is not None:
        if public is not None:
            return pipeline.evaluate_public(
                run, files.epsilon_of_text(public), ledger=ledger, progress=_progress_bar()
            )
        return _judged(pipeline.evaluate(run, ledger=ledger, progress=_progress_bar()))
    given = {"--real": real, "--holdout": holdout, "--synthetic": synthetic, "--schema": schema}
    lacking = [name for name, value in given.items() if value is None]
    if lacking:
        raise ConfigError(
            f"Expected a run, or {lacking}.", where="synthgen evaluate", next_step="See --help."
        )
    if (epsilon is None) != (delta is None):
        raise ConfigError("Expected both --epsilon and --delta, or none.", where="synthgen evaluate")
    claim = None if epsilon is None or delta is None else (epsilon, delta)
    paths = {
        "train": real,
        "holdout": holdout,
        "reference": reference,
        "synthetic": synthetic,
        "schema": schema,
    }
    found = {name: path for name, path in paths.items() if path is not None}
    own = {
        "delimiter": synthetic_delimiter,
        "encoding": synthetic_encoding,
        "decimal": synthetic_decimal,
        "date_format": synthetic_date_format,
    }
    return _judged(
        evaluate_files.evaluate(
            found,
            policy=policy,
            claim=claim,
            seed=seed,
            ledger=ledger,
            report=report,
            progress=_progress_bar(),
            dialect={
                "delimiter": delimiter,
                "encoding": encoding,
                "decimal": decimal,
                "date_format": date_format,
            },
            synthetic_dialect={key: value for key, value in own.items() if value is not None},
        )
    )


@app.command()
def release(
    run: Path,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle's folder.")],
    override: Annotated[
        str | None, typer.Option(help="Reason for releasing against the gate; recorded.")
    ] = None,
    ledger: RunLedger = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Write the bundle of an evaluated run, if the gate allows it."""
    from synthgen.pipeline import run as pipeline

    require_folder(output)
    return pipeline.release(run, output.resolve(), override=override, ledger=ledger)


@app.command()
def export(
    bundle: Path,
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="dicom")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    modality: Annotated[str | None, typer.Option(help="CR, DX, CT, MR or SC; else the schema's.")] = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Write a bundle's images as DICOM files, marked as synthetic."""
    from synthgen.release.export.from_bundle import export as write

    require_folder(output)
    return write(bundle, kind, output, modality=modality)


@app.command()
def verify(bundle: Path, json_: Json = False) -> dict[str, Any]:
    """Check a bundle offline: checksums, claim, data against schema; card and report are made anew."""
    from synthgen.cli.ledger_commands import require_bundle
    from synthgen.release.bundle.bundle import verify_bundle

    require_bundle(bundle)
    problems = [{"file": problem.file, "message": problem.message} for problem in verify_bundle(bundle)]
    outcome = {"bundle": str(bundle), "verified": not problems, "problems": problems}
    if problems:
        raise Refused(outcome, 3)
    return outcome


if __name__ == "__main__":
    main()
