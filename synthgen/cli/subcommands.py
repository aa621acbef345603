"""The command line's verbs on schemas and ledgers: arguments only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synthgen.cli.verbs import Json as Json
from synthgen.cli.verbs import Verbs
from synthgen.files.output_paths import DESCRIPTIONS, TABLES, require_file

schema_app = Verbs(help="Draft, import, check and simulate a schema.")
ledger_app = Verbs(help="The organisation's privacy budget.")

config_app = Verbs(help="Write a run's config.")
Delimiter = Annotated[str, typer.Option(help="Sign between the cells of a CSV table.")]
Encoding = Annotated[str, typer.Option(help="Encoding of a CSV table, such as utf-8, cp1252 or utf-16.")]
Declared = Annotated[str | None, typer.Option(help="Else as the schema's `dialect` says.")]
Decimal = Annotated[str, typer.Option(help="Decimal sign of a CSV table, a point or a comma.")]
DateFormat = Annotated[str | None, typer.Option(help="strptime format of dates; ISO if not given.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")]
LedgerUrl = Annotated[
    str | None,
    typer.Option("--ledger", help="URL; else the cohort's own ledger, or the only one here."),
]


class Refused(Exception):  # noqa: N818 - an outcome, not an error
    """Carries an outcome whose exit code is not 0."""

    def __init__(self, outcome: dict[str, Any], exit_code: int) -> None:
        super().__init__(exit_code)
        self.outcome = outcome
        self.exit_code = exit_code


@schema_app.command("init")
def schema_init(
    table: Path,
    output: Annotated[Path, typer.Option("-o", "--output", help="The schema to write.")],
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Also read types and domains, unconfirmed.")
    ] = False,
    unit: Annotated[
        str | None, typer.Option(help="The patient's column, if its name does not show it.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="An outcome, with --suggest.")] = None,
    protected: Annotated[list[str] | None, typer.Option(help="A column of groups, with --suggest.")] = None,
    force: Force = False,
    delimiter: Delimiter = ",",
    encoding: Encoding = "utf-8",
    decimal: Decimal = ".",
    date_format: DateFormat = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Draft a schema. Without --suggest no value is read."""
    from synthgen.cli import file_commands as files
    from synthgen.ingest.schema_draft.table_draft import Named

    require_file(output, DESCRIPTIONS)
    dialect = {"delimiter": delimiter, "encoding": encoding, "decimal": decimal, "date_format": date_format}
    named = Named(unit, tuple(label or ()), tuple(protected or ()))
    return files.schema_init(table, output, suggest=suggest, dialect=dialect, named=named, force=force)


@schema_app.command("import")
def schema_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A data dictionary.")],
    kind: Annotated[str, typer.Option("--from", help="redcap")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The schema to write; else beside FILE.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="An export: its first line says which columns there are.")
    ] = None,
    delimiter: Delimiter = ",",
    encoding: Encoding = "utf-8",
    json_: Json = False,
) -> dict[str, Any]:
    """Make a schema from another system's description. No record is read."""
    from synthgen.cli import file_commands as files

    if output is not None:
        require_file(output, DESCRIPTIONS)
    return files.schema_import(source, output, kind=kind, table=table, delimiter=delimiter, encoding=encoding)


@schema_app.command("check")
def schema_check(
    schema: Path,
    table: Path,
    delimiter: Declared = None,
    encoding: Declared = None,
    decimal: Declared = None,
    date_format: DateFormat = None,
    json_: Json = False,
) -> dict[str, Any]:
    """List every violation of a schema, by column and count; TABLE may be a folder of images."""
    from synthgen.cli import file_commands as files

    dialect = {"delimiter": delimiter, "encoding": encoding, "decimal": decimal, "date_format": date_format}
    outcome = files.schema_check(schema, table, dialect=dialect)
    if not outcome["valid"]:
        raise Refused(outcome, 3 if outcome["errors"]["table"] else 2)
    return outcome


@schema_app.command("confirm")
def schema_confirm(
    schema: Path,
    columns: Annotated[list[str] | None, typer.Argument(metavar="COLUMN...", help="Columns.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every column that waits.")] = False,
    json_: Json = False,
) -> dict[str, Any]:
    """Say that the domains of columns are public: a person has checked them. Nothing else is changed."""
    from synthgen.cli import file_commands as files

    return files.schema_confirm(schema, columns or [], every=every)


@config_app.command("init")
def config_init(
    schema: Path,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The config to write; else NAME.config.yaml.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The table, or images; else a table beside SCHEMA with its columns."),
    ] = None,
    patients: Annotated[
        int | None, typer.Option(min=1, help="Declared number of patients, public; else to be filled in.")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Of a fit; 1 if not given.")] = None,
    cohort: Annotated[str | None, typer.Option(help="The ledger's name of these patients.")] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Of a CSV table; else as its first lines show.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a CSV table; else as its bytes show.")] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal sign of a CSV table; a point.")] = None,
    date_format: DateFormat = None,
    force: Force = False,
    json_: Json = False,
) -> dict[str, Any]:
    """Write a complete config with comments. No value of the table is read."""
    from synthgen.cli import file_commands as files

    if output is not None:
        require_file(output, DESCRIPTIONS)
    return files.config_init(
        schema,
        output,
        data=data,
        dialect={
            "delimiter": delimiter,
            "encoding": encoding,
            "decimal": decimal,
            "date_format": date_format,
        },
        cohort=cohort,
        patients=patients,
        epsilon=epsilon,
        force=force,
    )


@schema_app.command("simulate")
def schema_simulate(
    schema: Path,
    records: Annotated[int, typer.Option("-n", "--records", min=1, help="Records to make.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.csv or FILE.parquet.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    json_: Json = False,
) -> dict[str, Any]:
    """Make a fake table from the schema alone."""
    from synthgen.cli import file_commands as files

    require_file(output, TABLES, force=force)
    return files.schema_simulate(schema, records, output, seed=seed)


@ledger_app.command("open")
def ledger_open(
    cohort: str,
    epsilon: Annotated[float, typer.Option(help="The cohort's cap.")],
    delta: Annotated[float, typer.Option(help="At this probability of failure.")],
    ledger: LedgerUrl = None,
    disjoint_from: Annotated[list[str] | None, typer.Option(help="A cohort that shares no patient.")] = None,
    reason: Annotated[str, typer.Option(help="Why: recorded.")] = "",
    json_: Json = False,
) -> dict[str, Any]:
    """Open a cohort with a cap, or change its cap for a recorded reason."""
    from synthgen.cli import ledger_commands as ledgers

    return ledgers.open_cohort(
        ledger, cohort, epsilon=epsilon, delta=delta, disjoint_from=disjoint_from or [], reason=reason
    )


@ledger_app.command("show")
def ledger_show(
    cohort: Annotated[str | None, typer.Argument()] = None,
    ledger: LedgerUrl = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Show caps, entries and what is left, by cohort."""
    from synthgen.cli import ledger_commands as ledgers

    return ledgers.show(ledger, cohort)


@ledger_app.command("resolve")
def ledger_resolve(
    reservation: int,
    reason: Annotated[str, typer.Option(help="Why it is an orphan: recorded.")],
    ledger: LedgerUrl = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Write off an orphaned reservation. The spend is kept."""
    from synthgen.cli import ledger_commands as ledgers

    return ledgers.resolve(ledger, reservation, reason)


@ledger_app.command("unit")
def ledger_unit(
    cohort: str,
    level: Annotated[str, typer.Option(help="patient or row: what the older entries protect.")],
    reason: Annotated[str, typer.Option(help="How it is known: recorded.")],
    column: Annotated[str | None, typer.Option(help="The column that names the patient.")] = None,
    ledger: LedgerUrl = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Record the privacy unit of entries that an older version made without one."""
    from synthgen.cli import ledger_commands as ledgers
    from synthgen.errors import ConfigError
    from synthgen.privacy.ledger.ledger import LedgerUnit

    try:
        unit = LedgerUnit("row" if level == "row" else "patient", column)
        if level not in ("patient", "row"):
            raise ValueError(f"Expected --level patient or row, got {level!r}.")
    except ValueError as error:
        raise ConfigError(str(error), where="--level, --column") from None
    return ledgers.declare_unit(ledger, cohort, unit, reason)


@ledger_app.command("same-unit")
def ledger_same_unit(
    columns: Annotated[list[str], typer.Argument(help="Columns that name the same patients.")],
    reason: Annotated[str, typer.Option(help="How it is known: recorded.")],
    ledger: LedgerUrl = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Record that columns of several tables name the same patients, so that their releases compose."""
    from synthgen.cli import ledger_commands as ledgers

    return ledgers.declare_same_unit(ledger, columns, reason)


@ledger_app.command("verify")
def ledger_verify(
    ledger: LedgerUrl = None,
    head: Annotated[str | None, typer.Option(help="What a bundle carries.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle: is it as the ledger says that it was released?")
    ] = None,
    backup: Annotated[str | None, typer.Option(help="New file, or URL: a copy that verifies.")] = None,
    json_: Json = False,
) -> dict[str, Any]:
    """Find any edit of the ledger, or of a bundle that it knows; back up a ledger that has none."""
    from synthgen.cli import ledger_commands as ledgers

    outcome = ledgers.verify(ledger, head, backup, bundle)
    if not outcome["verified"]:
        raise Refused(outcome, 3)
    return outcome
