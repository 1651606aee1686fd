"""Every table of a folder through the whole command line: inspect, fit, score, impute, sample, and what each must hold.

    python -m benchmarks.every_table FOLDER [--model mixture] [--only GLOB] [--set components=8] [-o results]

FOLDER/README.md holds a Markdown table with the columns `file` and `read_csv arguments`, whose arguments become zoo's
reading flags; `--also FILE` adds a file (or `FILE.npz:array`) that is read without any. `--rows N` takes at most N
rows, drawn with seed 0, of a table of 64 columns or more, or of more than 200 MB; the table of results says which.

A command must end with code 0 and without a traceback. Scores are finite, the held-out log-likelihood too; of a table
with a tenth of its cells blanked (at most 1000 rows) no modelled cell is missing once it is imputed, and cells that
were there stay; samples have the modelled columns in the table's dtypes, and lie between the ends of their columns.
Writes results.md and results.csv; held-out numbers are nats per row in the table's units.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fnmatch
import io
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoo import cli
from zoo.options import Reading
from zoo.table.cells import numeric_values
from zoo.table.schema import Schema
from zoo.table.writer import write_table

ARGUMENTS = "read_csv arguments"
MANY_COLUMNS, MANY_BYTES = 64, 200e6
HOLES, HOLED_ROWS, SAMPLES = 0.1, 1000, 1000
OUTPUT = Path(__file__).parent / "results" / "every_table"


class Failure(Exception):
    """What a table does not hold."""


@dataclass
class Table:
    """A file of the folder, and the flags that read it."""

    path: str
    flags: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return Path(self.path).name


# ---- what there is


def tables_of(folder: Path) -> list[Table]:
    """The tables that the folder's README names."""
    lines = [line for line in (folder / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    found, header = [], []
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "file" in cells:
            header = cells
        elif ARGUMENTS in header and not set(line) <= set("|-: "):
            entry = dict(zip(header, cells, strict=False))
            found.append(Table(str(folder / entry["file"]), flags_of(entry[ARGUMENTS].strip("`"), folder)))
    return found


def flags_of(arguments: str, folder: Path) -> list[str]:
    """zoo's reading flags for arguments of `pandas.read_csv`, written as in Python; `-` stands for none."""
    if arguments in ("", "-"):
        return []
    call = ast.parse(f"read_csv({arguments})", mode="eval").body
    assert isinstance(call, ast.Call)
    given = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    flags: list[str] = []
    for name, value in given.items():
        if name == "names":
            flags += ["--columns", str(folder / value)]
        elif name == "na_values":
            flags += ["--missing", ",".join([value] if isinstance(value, str) else value)]
        elif name == "sep":
            flags += ["--sep", "whitespace" if value == r"\s+" else value]
        elif name == "header" and value is None:
            flags += ["--no-header"]
        elif name != "skipinitialspace":
            raise SystemExit(f"no reading flag for {name}={value!r}")
    return flags


# ---- one table


def zoo(*arguments: str) -> str:
    """Run one command in this process; its standard output."""
    out, err, argv, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["zoo", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = argv
    lines = err.getvalue().strip().splitlines()
    if code or "Traceback" in err.getvalue():
        raise Failure(f"{arguments[0]}: exit code {code}: {lines[-1] if lines else 'not a word'}")
    return out.getvalue()


def sweep(table: Table, model: str, sets: list[str], most: int | None) -> dict[str, Any]:
    """One line of the results."""
    started = time.perf_counter()
    line: dict[str, Any] = {"file": table.name}
    with tempfile.TemporaryDirectory() as work:
        try:
            _sweep(table, model, sets, most, Path(work), line)
        except Failure as failure:
            line.setdefault("failed", str(failure))
    return line | {"seconds": time.perf_counter() - started}


def _sweep(table: Table, model: str, sets: list[str], most: int | None, work: Path, line: dict[str, Any]) -> None:
    path, flags = table.path, table.flags
    inspected = json.loads(zoo("inspect", path, *flags, "--json"))
    frame = _quietly(lambda: _reading(flags).read(path))
    line |= {"rows": str(len(frame)), "columns": _kinds(inspected["columns"])}
    heavy = frame.shape[1] >= MANY_COLUMNS or frame.memory_usage(deep=True).sum() > MANY_BYTES
    if most and heavy and len(frame) > most:
        line["rows"] = f"{most} of {len(frame)}"
        frame, path, flags = frame.sample(most, random_state=0).reset_index(drop=True), str(work / "part.parquet"), []
        write_table(frame, path)
    run, passed = work / "run", [part for value in sets for part in ("--set", value)]
    started = time.perf_counter()
    fit = json.loads(zoo("fit", model, path, *flags, "-o", str(run), "--json", *passed))
    line |= {"nats": fit["log_likelihood"], "se": fit["standard_error"], "fit": time.perf_counter() - started}
    schema = Schema.read(run / "schema.toml")
    checks: tuple[Callable[[], None], ...] = (
        lambda: _expect(_finite(fit["log_likelihood"]), "the held-out log-likelihood is not finite"),
        lambda: _score(path, flags, run, work, len(frame)),
        lambda: _impute(frame, run, work, schema),
        lambda: _sample(frame, run, work, schema),
    )
    failures = []
    for check in checks:
        try:
            check()
        except Failure as failure:
            failures.append(str(failure))
    if failures:
        line["failed"] = "; ".join(failures)


def _score(path: str, flags: list[str], run: Path, work: Path, rows: int) -> None:
    zoo("score", str(run), path, *flags, "-o", str(work / "scores.parquet"), "--json")
    scores = pd.read_parquet(work / "scores.parquet")
    _expect(len(scores) == rows, f"score: {len(scores)} rows of {rows}")
    bad = int((~np.isfinite(scores.to_numpy(float))).any(axis=1).sum())
    _expect(not bad, f"score: {bad} rows are not finite")


def _impute(frame: pd.DataFrame, run: Path, work: Path, schema: Schema) -> None:
    whole = frame.sample(min(len(frame), HOLED_ROWS), random_state=0).reset_index(drop=True)
    names = list(schema.names)
    hidden = np.random.default_rng(0).random((len(whole), len(names))) < HOLES
    holed = whole.copy()
    for j, name in enumerate(names):
        holed[name] = whole[name].mask(hidden[:, j])
    write_table(holed, work / "holes.parquet")
    holed = pd.read_parquet(work / "holes.parquet")
    zoo("impute", str(run), str(work / "holes.parquet"), "-o", str(work / "filled.parquet"))
    filled = pd.read_parquet(work / "filled.parquet")
    _expect(list(filled) == list(frame), "impute: other columns")
    for column in schema.modelled:
        before, after = holed[column.name], filled[column.name]
        _expect(not after.isna().any(), f"impute: {int(after.isna().sum())} cells of {column.name!r} are missing")
        kept = before.notna()
        _expect((before[kept] == after[kept]).all(), f"impute: cells of {column.name!r} that were there have changed")


def _sample(frame: pd.DataFrame, run: Path, work: Path, schema: Schema) -> None:
    zoo("sample", str(run), "-n", str(SAMPLES), "-o", str(work / "samples.parquet"))
    drawn = pd.read_parquet(work / "samples.parquet")
    names = [c.name for c in schema.columns if c in schema.modelled]
    _expect(len(drawn) == SAMPLES and list(drawn) == names, "sample: other columns or rows")
    for column in schema.modelled:
        cells, dtype = drawn[column.name], frame[column.name].dtype
        wider = dtype.kind in "iu" and cells.dtype.kind in "if"  # where draws lie beyond what the dtype holds
        _expect(cells.dtype == dtype or wider, f"sample: {column.name!r} is {cells.dtype}, not {dtype}")
        _expect(not cells.isna().any(), f"sample: cells of {column.name!r} are missing")
        if column.is_number:
            values = numeric_values(cells, column)
            outside = sum(not column.inside(value) for value in values)
            _expect(not outside, f"sample: {outside} values of {column.name!r} lie beyond its ends")
            _expect(bool(np.isfinite(values).all()), f"sample: values of {column.name!r} are not finite")


def _expect(holds: bool, failure: str) -> None:
    if not holds:
        raise Failure(failure)


def _finite(value: float | None) -> bool:
    return value is not None and np.isfinite(value)


def _reading(flags: list[str]) -> Reading:
    options = dict(zip(flags, [*flags[1:], ""], strict=False))  # --no-header has no value
    columns = options.get("--columns")
    return Reading(
        missing=[options["--missing"]] if "--missing" in options else None,
        header=False if "--no-header" in options else None,
        columns=Path(columns) if columns else None,
        sep=options.get("--sep"),
    )


def _quietly(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def _kinds(columns: list[dict[str, Any]]) -> str:
    """How many columns of each kind."""
    return ", ".join(f"{count} {kind}" for kind, count in Counter(c["kind"] for c in columns).most_common())


# ---- all of them


def write_results(lines: list[dict[str, Any]], output: Path, how: str) -> None:
    """The lines as Markdown and CSV."""
    frame = pd.DataFrame(lines, columns=["file", "rows", "columns", "nats", "se", "fit", "seconds", "failed"])
    frame.to_csv(output.with_name(f"{output.name}.csv"), index=False)
    text = [how, "", "| file | rows | columns | held-out nats per row | fit, s | all, s | failed |", "|" + "---|" * 7]
    for line in frame.itertuples():
        nats = "" if pd.isna(line.nats) else f"{line.nats:.3f} ± {line.se:.3f}"
        fit = "" if pd.isna(line.fit) else f"{line.fit:.1f}"
        failed = "" if pd.isna(line.failed) else line.failed.replace("|", "\\|")
        text.append(f"| {line.file} | {line.rows} | {line.columns} | {nats} | {fit} | {line.seconds:.1f} | {failed} |")
    output.with_name(f"{output.name}.md").write_text("\n".join(text) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mixture")
    parser.add_argument("--only", default="*", help="glob of file names")
    parser.add_argument("--also", action="append", default=[], help="a further file of the folder")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="a setting, as `zoo fit` takes it")
    parser.add_argument("--rows", type=int, help="most rows of a wide or large table")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    tables = [*tables_of(arguments.folder), *(Table(str(arguments.folder / name)) for name in arguments.also)]
    tables = [table for table in tables if fnmatch.fnmatch(table.name, arguments.only)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    how = f"`{arguments.model}`" + "".join(f" `--set {value}`" for value in arguments.sets) + ", seed 0"
    lines = []
    for table in tables:
        lines.append(sweep(table, arguments.model, arguments.sets, arguments.rows))
        write_results(lines, arguments.output, how)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in lines[-1].items()}, flush=True)
    sys.exit(any("failed" in line for line in lines))


if __name__ == "__main__":
    main()
