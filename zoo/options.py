"""Options that many commands share, and what they read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.errors import UserError
from zoo.terminal import note

TableArg = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help="CSV, Parquet (a file or a folder), Arrow, JSON lines, the URL of a database, or - for standard input",
    ),
]
RealArg = Annotated[str, typer.Argument(metavar="REAL", help="a table of real rows, as every TABLE is given")]
SyntheticArg = Annotated[str, typer.Argument(metavar="SYNTHETIC", help="a table of rows with the same columns")]
RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="where to write; the format follows the ending")]
RunOut = Annotated[Path, typer.Option("-o", "--output", help="the run folder to write")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="of every random choice")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="a setting, e.g. components=8 or fit.epochs=20")]
Budget = Annotated[
    str | None, typer.Option("--time-budget", help="stop with the best so far after this long, e.g. 90s, 10m")
]
ModelsFile = Annotated[str | None, typer.Option("--models-file", help="a models.toml of your own")]

Particles = Annotated[
    int | None, typer.Option("--particles", min=1, help="draws of the latents of each row, where the number is a bound")
]
Draws = Annotated[
    int | None, typer.Option("--draws", min=1, help="write so many draws of each row instead of one best guess")
]

Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="draw numbers at the ranks that known cells, hidden in turn, have among theirs; six times as long",
    ),
]

Target = Annotated[
    str | None, typer.Option("--target", metavar="COL", help="a column that trees learn to predict from the rows")
]
Modes = Annotated[
    str | None, typer.Option("--modes", metavar="TABLE", help="centres of known modes, a row each, with --sigma")
]
Sigma = Annotated[float | None, typer.Option("--sigma", help="standard deviation of every mode, in each column")]

SchemaFile = Annotated[Path | None, typer.Option("--schema", help="a schema as `zoo inspect` prints it")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="'GLOB=KIND', e.g. '*=continuous' or zip=categorical")]
Units = Annotated[list[str] | None, typer.Option("--unit", help="'GLOB=UNIT', e.g. 'pixel*=grey': they share a scale")]
Ignore = Annotated[list[str] | None, typer.Option("--ignore", help="columns to leave out (a glob)")]
Missing = Annotated[list[str] | None, typer.Option("--missing", help="tokens that mean missing, separated by commas")]
Header = Annotated[bool | None, typer.Option("--header/--no-header", help="whether the first row names the columns")]
Columns = Annotated[Path | None, typer.Option("--columns", help="a file of column names, for a table without a header")]
Sep = Annotated[str | None, typer.Option("--sep", help="the delimiter; found out when not given")]
Query = Annotated[str | None, typer.Option("--query", help="the SQL that gives the table, where TABLE is a URL")]
Weight = Annotated[str | None, typer.Option("--weight", help="the column of row weights")]
Group = Annotated[str | None, typer.Option("--group", help="the column of groups")]
Given = Annotated[list[str] | None, typer.Option("--given", help="columns to condition upon, separated by commas")]


def modes_of(centres: str | None, sigma: float | None) -> Any:
    """(centres, sigma) of known modes; none where they are not given."""
    from zoo.table.reader import read_table

    if centres is None and sigma is None:
        return None
    if centres is None or sigma is None:
        raise UserError("--modes and --sigma go together", "give the centres and the standard deviation of the modes")
    return read_table(centres), sigma


@dataclass
class Reading:
    """The reading flags, the same on every command."""

    schema: Path | None = None
    kind: list[str] | None = None
    unit: list[str] | None = None
    ignore: list[str] | None = None
    missing: list[str] | None = None
    header: bool | None = None
    columns: Path | None = None
    sep: str | None = None
    query: str | None = None
    weight: str | None = None
    group: str | None = None
    given: list[str] | None = None

    def read(self, table: str, kept: dict[str, Any] | None = None, needed: Sequence[str] = ()) -> Any:
        """The table; read as that of a run was, where the options `kept` with it and the columns needed are given."""
        from zoo.table.reader import read_like

        options: dict[str, Any] = {"header": self.header, "columns": self.columns, "sep": self.sep}
        return read_like(table, kept or {}, needed, self.query, missing=split(self.missing), **options)

    def kept(self, frame: Any) -> dict[str, Any]:
        """The reading options that other tables should be read with, for the manifest of a run."""
        options = {"missing": split(self.missing), "sep": self.sep, "header": self.header}
        if self.columns is not None:
            options["columns"] = list(frame.columns)
        return {name: value for name, value in options.items() if value is not None and value != []}

    def streamed(self, table: str) -> Any:
        """The stream of a Parquet table too large for memory; none for every other."""
        from zoo.table.stream import streamed

        return None if self.query else streamed(table)

    def schema_of(self, frame: Any) -> Any:
        """The schema given, or inferred with the overrides."""
        from zoo.table.infer import schema_for

        overrides = {
            "--kind": self.kind,
            "--unit": self.unit,
            "--ignore": self.ignore,
            "--weight": self.weight,
            "--group": self.group,
            "--given": self.given,
        }
        if self.schema is not None:
            used = [flag for flag, value in overrides.items() if value]
            if used:
                raise UserError(
                    f"--schema already says what each column is; {', '.join(used)} cannot be added",
                    "edit the schema file",
                )
        return schema_for(
            frame,
            self.schema,
            kinds=pairs(self.kind, "kind", "*=continuous"),
            units=pairs(self.unit, "unit", "pixel*=grey"),
            ignore=split(self.ignore),
            given=split(self.given),
            group=self.group,
            weight=self.weight,
        )


def split(values: list[str] | None) -> list[str]:
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def pairs(values: list[str] | None, flag: str, example: str) -> dict[str, str]:
    out_: dict[str, str] = {}
    for value in values or []:
        glob, equals, said = value.rpartition("=")
        if not equals or not glob or not said:
            raise UserError(f"--{flag} {value!r} is not GLOB={flag.upper()}", f"write for example --{flag} '{example}'")
        out_[glob] = said
    return out_


def assignments(values: list[str] | None) -> dict[str, str]:
    """Values by name from `a=1,b=2`: a comma parts two of them where an equals sign follows."""
    out_: dict[str, str] = {}
    for text in values or []:
        for part in re.split(r",(?=[^,=]+=)", text):
            name, equals, value = part.partition("=")
            if not equals:
                raise UserError(f"--given {text!r} is not column=value", "write for example --given species=Adelie")
            if name.strip() in out_:
                raise UserError(f"--given gives {name.strip()!r} twice", "give one value of each column")
            out_[name.strip()] = value
    return out_


def opened(
    run: Path, table: str, output: Path | None, models_file: str | None, missing: list[str] | None, header: bool | None,
    columns: Path | None, sep: str | None, query: str | None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The estimator of a run, and the table: in memory, or as the stream that it is read from part by part."""
    from zoo.table.writer import check_target

    check_target(output)
    estimator = loaded(run, models_file)
    reading = Reading(missing=missing, header=header, columns=columns, sep=sep, query=query)
    return estimator, *as_of(estimator, table, reading)


def loaded(run: Path, models_file: str | None) -> Any:
    """The estimator of a run; which of a comparison's models that is, is told."""
    from zoo.estimator import Estimator
    from zoo.run import best_model

    folder = best_model(run)
    estimator = Estimator.load(folder, models_file)
    if folder != Path(run):
        note(f"of the models in {run} this is {folder.name}, the first of its ranking; for another, name its folder")
    return estimator


def as_of(estimator: Any, table: str, reading: Reading) -> tuple[Any, Any]:
    """A table read like that of the fit: in memory, or as the stream that it is read from part by part."""
    stream = reading.streamed(table)
    frame = None if stream is not None else reading.read(table, estimator.reading_, estimator.schema_.names)
    return frame, stream
