"""The command line: arguments in, one line or one table or one JSON document out. No statistics in here.

Bad input is one line on standard error and exit code 2; a traceback only with --debug.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table as Grid

from zoo.errors import UserError, ZooWarning, nearest

app = typer.Typer(
    help="Density estimation and clustering on your own table: fit, compare, score, cluster, sample, impute.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
WIDE = 160  # characters of a line of a table printed into a file or a pipe
INTERRUPTED = 130  # the exit code of Ctrl-C
MOST_ACROSS = 12  # columns of a table of cluster profiles
out, err = Console(), Console(stderr=True)
for console in (out, err):
    if not console.is_terminal:
        console.width = WIDE

# ---------------------------------------------------------------- options that many commands share

TableArg = Annotated[
    str, typer.Argument(metavar="TABLE", help="CSV, Parquet, Feather, JSON lines, or - for CSV on standard input")
]
RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="where to write; the format follows the ending")]
RunOut = Annotated[Path, typer.Option("-o", "--output", help="the run folder to write")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="of every random choice")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="a setting, e.g. program.components=8 or fit.epochs=20")]
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

SchemaFile = Annotated[Path | None, typer.Option("--schema", help="a schema as `zoo inspect` prints it")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="'GLOB=KIND', e.g. '*=continuous' or zip=categorical")]
Ignore = Annotated[list[str] | None, typer.Option("--ignore", help="columns to leave out (a glob)")]
Missing = Annotated[list[str] | None, typer.Option("--missing", help="tokens that mean missing, separated by commas")]
Header = Annotated[bool | None, typer.Option("--header/--no-header", help="whether the first row names the columns")]
Columns = Annotated[Path | None, typer.Option("--columns", help="a file of column names, for a table without a header")]
Sep = Annotated[str | None, typer.Option("--sep", help="the delimiter; found out when not given")]
Weight = Annotated[str | None, typer.Option("--weight", help="the column of row weights")]
Group = Annotated[str | None, typer.Option("--group", help="the column of groups")]
Given = Annotated[list[str] | None, typer.Option("--given", help="columns to condition upon, separated by commas")]


@dataclass
class Reading:
    """The reading flags, the same on every command."""

    schema: Path | None = None
    kind: list[str] | None = None
    ignore: list[str] | None = None
    missing: list[str] | None = None
    header: bool | None = None
    columns: Path | None = None
    sep: str | None = None
    weight: str | None = None
    group: str | None = None
    given: list[str] | None = None

    def read(self, table: str) -> Any:
        from zoo.table.reader import read_table

        return read_table(table, header=self.header, columns=self.columns, sep=self.sep, missing=_split(self.missing))

    def schema_of(self, frame: Any) -> Any:
        """The schema given, or inferred with the overrides."""
        from zoo.table.infer import infer_schema
        from zoo.table.schema import Schema

        overrides = {
            "--kind": self.kind,
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
            return Schema.read(self.schema)
        return infer_schema(
            frame,
            kinds=_pairs(self.kind),
            ignore=_split(self.ignore),
            given=_split(self.given),
            group=self.group,
            weight=self.weight,
        )


def _split(values: list[str] | None) -> list[str]:
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def _pairs(values: list[str] | None) -> dict[str, str]:
    out_: dict[str, str] = {}
    for value in values or []:
        glob, equals, kind = value.rpartition("=")
        if not equals or not glob or not kind:
            raise UserError(f"--kind {value!r} is not GLOB=KIND", "write for example --kind '*=continuous'")
        out_[glob] = kind
    return out_


def _seconds(text: str | None) -> float | None:
    """'90', '90s', '10m' or '1h' in seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found or float(found[1]) <= 0:
        raise UserError(f"--time-budget {text!r} is not a length of time", "write for example 90s, 10m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


# ---------------------------------------------------------------- the registry


@app.command()
def models(json_: Json = False, models_file: ModelsFile = None) -> None:
    """List the registry."""
    from zoo.catalogue import catalogue

    lines = catalogue(models_file)
    for line in lines:
        if "error" in line:
            warnings.warn(line["error"], ZooWarning, stacklevel=1)
    if json_:
        return _print_json({"models": lines})
    grid = Grid("model", "what it is", "bound", "verbs", box=None, header_style="bold")
    for line in lines:
        grid.add_row(f"[cyan]{line['model']}[/]", line["summary"], line["bound"], " ".join(line["verbs"]))
    _print(grid)


@app.command()
def show(
    model: Annotated[str, typer.Argument()], sets: Sets = None, json_: Json = False, models_file: ModelsFile = None
) -> None:
    """Show one resolved recipe, its process as text, its reference."""
    from zoo.catalogue import process
    from zoo.registry import Registry

    recipe = Registry.load(models_file).recipe(model, sets or []).check()
    if json_:
        return _print_json({"model": recipe.model, "process": process(recipe), **recipe.to_table()})
    _print(f"{process(recipe)}\n\n{recipe.to_toml()}")


@app.command()
def example(
    name: Annotated[str, typer.Argument(help="wine, iris, breast-cancer, diabetes, digits, linnerud")],
    output: Output = None,
    json_: Json = False,
) -> None:
    """Write a small real table that ships with scikit-learn."""
    from zoo.table.examples import example as load

    _give(load(name), output, json_)


@app.command()
def inspect(
    table: TableArg,
    output: Output = None,
    json_: Json = False,
    schema: SchemaFile = None, kind: Kinds = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, weight: Weight = None, group: Group = None,
    given: Given = None,
) -> None:  # fmt: skip
    """Show what each column is taken to be; the schema, as TOML to edit, goes to standard output or -o."""
    from zoo.table.inspect import describe

    reading = Reading(schema, kind, ignore, missing, header, columns, sep, weight, group, given)
    frame = reading.read(table)
    found = reading.schema_of(frame)
    summary = describe(frame, found)
    if json_:
        lines = json.loads(summary.reset_index().to_json(orient="records"))
        return _print_json({"rows": len(frame), "measure": found.measure, "columns": lines})
    _note(_grid(summary.reset_index().astype(object).where(lambda f: f.notna(), "")))
    _note(f"{len(frame)} rows; {found.measure}")
    if output is None:
        print(found.to_toml())
    else:
        output.write_text(found.to_toml(), encoding="utf-8")


# ---------------------------------------------------------------- fit and compare


@app.command()
def fit(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    table: TableArg,
    output: RunOut,
    sets: Sets = None, seed: Seed = 0, device: Device = "auto", time_budget: Budget = None, json_: Json = False,
    models_file: ModelsFile = None,
    schema: SchemaFile = None, kind: Kinds = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, weight: Weight = None, group: Group = None,
    given: Given = None,
) -> None:  # fmt: skip
    """Fit one model; a tenth of the rows (a fifth below 2,000) is held out and scored."""
    from zoo.estimator import Estimator
    from zoo.fitting.choose import pick_device
    from zoo.registry import Registry, parse_set
    from zoo.report.page import write_report
    from zoo.run import check_free, new_folder
    from zoo.table.split import split

    check_free(output)
    settings, budget = dict(map(parse_set, sets or [])), _seconds(time_budget)
    Registry.load(models_file).recipe(model, settings).check()
    chosen, why = pick_device(device)
    reading = Reading(schema, kind, ignore, missing, header, columns, sep, weight, group, given)
    frame = reading.read(table)
    found = reading.schema_of(frame)
    parts = split(len(frame), seed)
    options: dict[str, Any] = {"seed": seed, "device": device, "time_budget": budget, "models_file": models_file}
    estimator = Estimator(model, settings=settings, schema=found, **options)
    if not json_:
        _note(f"{model} on {len(parts.train)} rows, {found.measure}; device {chosen} ({why})")
    train, validation, test = (frame.iloc[i] for i in parts)
    with _progress(json_) as told:
        estimator.fit_parts(train, validation, found, progress=told(model))
    scores = estimator.log_likelihood(test)
    done = estimator.fitted_
    document = {
        "model": model, "seconds": done.seconds, "epochs": done.epochs, "steps": done.steps, "step_tier": done.tier,
        "loss": done.loss, "log_likelihood": scores.mean, "standard_error": scores.standard_error,
        "bound": scores.bound, "measure": scores.measure, "stopped": done.stopped, "device": str(chosen),
        "run": str(output),
    }  # fmt: skip
    with new_folder(output) as folder:
        estimator.write(folder, score=scores.to_json(), table=_name(table))
        write_report(folder, models_file, {model: estimator})
    if json_:
        return _print_json(document)
    for choice in estimator.choices_:
        tried = ", ".join(f"{k} = {v}" for k, v in choice["settings"].items())
        _note(f"  {tried}: {choice['validation']:.3f} on validation rows")
    _note(f"{done.stopped}; {_count(done.steps, 'step')} ({done.tier}) in {done.seconds:.1f} s")
    _print(_sentence(scores.to_json()))
    _note(f"wrote {output}")


@app.command()
def compare(
    table: TableArg,
    output: RunOut,
    models: Annotated[str | None, typer.Option("-m", "--models", help="names, separated by commas")] = None,
    sets: Sets = None, seed: Seed = 0, device: Device = "auto", time_budget: Budget = None, json_: Json = False,
    models_file: ModelsFile = None,
    schema: SchemaFile = None, kind: Kinds = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, weight: Weight = None, group: Group = None,
    given: Given = None,
) -> None:  # fmt: skip
    """Fit several models to one table and rank them by held-out log-likelihood."""
    from zoo.comparison import compare as run_comparison
    from zoo.registry import parse_set
    from zoo.run import check_free

    check_free(output)
    settings, budget = dict(map(parse_set, sets or [])), _seconds(time_budget)
    names = None if models is None else _split([models])
    reading = Reading(schema, kind, ignore, missing, header, columns, sep, weight, group, given)
    frame = reading.read(table)
    found = reading.schema_of(frame)
    started = time.perf_counter()
    with _progress(json_) as told:
        result = run_comparison(
            frame, names, schema=found, settings=settings, seed=seed, device=device, time_budget=budget,
            models_file=models_file, name=_name(table), told=told,
        )  # fmt: skip
    result.best  # noqa: B018  (refuses a comparison in which nothing could be fitted)
    result.save(output)
    if json_:
        return _print_json(result.to_json())
    _print_ranking(result.to_json())
    _note(f"wrote {output}/report.html in {time.perf_counter() - started:.0f} s")


# ---------------------------------------------------------------- verbs on a run

Read = Callable[..., Any]


@app.command()
def score(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    particles: Particles = None,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None,
) -> None:  # fmt: skip
    """Log-density of each row: the mean is printed, the rows go to -o."""
    import numpy as np

    estimator, frame = _load(run, table, models_file, missing, header, columns, sep)
    scores = estimator.log_likelihood(frame, particles)
    if output is not None:
        import pandas as pd

        values = {"log_likelihood": scores.log_likelihood, "elbo": scores.elbo, "monte_carlo_error": scores.monte_carlo}
        _write(pd.DataFrame(values, index=frame.index), output)
    impossible = np.flatnonzero(np.isneginf(scores.log_likelihood))
    if len(impossible):
        message = f"{_count(len(impossible), 'row')} too far out for the density to be told from 0: -inf"
        warnings.warn(f"{message} (first in row {impossible[0]})", ZooWarning, stacklevel=1)
    if json_:
        return _print_json(scores.to_json())
    _print(_sentence(scores.to_json()))


@app.command()
def cluster(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None,
) -> None:  # fmt: skip
    """Label, probabilities and an "unsure" flag of each row to -o; sizes and profiles are printed."""
    from zoo.evaluate.profiles import UNSURE, cluster_table, profiles

    estimator, frame = _load(run, table, models_file, missing, header, columns, sep)
    assigned = cluster_table(estimator.predict_proba(frame), frame.index)
    _write(assigned, output) if output is not None else None
    sizes = assigned["cluster"].value_counts().sort_index()
    unsure = int(assigned["unsure"].sum())
    if json_:
        return _print_json(
            {"clusters": len(sizes), "sizes": {str(k): int(v) for k, v in sizes.items()}, "unsure": unsure}
        )
    _print(_profiles(profiles(frame, assigned["cluster"], estimator.schema_)))
    found = _count(len(sizes), "cluster")
    _print(f"{found}; {unsure} of {len(frame)} rows unsure (no cluster above {UNSURE:.0%})")


@app.command()
def embed(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None,
) -> None:  # fmt: skip
    """Posterior mean of the continuous latents of each row, as a table."""
    import pandas as pd

    estimator, frame = _load(run, table, models_file, missing, header, columns, sep)
    z = estimator.transform(frame)
    _give(pd.DataFrame(z, columns=[f"z{j + 1}" for j in range(z.shape[1])], index=frame.index), output, json_)


@app.command()
def sample(
    run: RunArg,
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="how many")] = 100,
    given: Annotated[list[str] | None, typer.Option("--given", help="column=value, for a conditional model")] = None,
    seed: Seed = 0, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
) -> None:  # fmt: skip
    """Rows drawn from the fitted density, in the table's units."""
    import pandas as pd

    from zoo.estimator import Estimator

    values = dict(_assignment(text) for text in given or [])
    estimator = Estimator.load(run, models_file)
    known = [column.name for column in estimator.schema_.given_columns]
    for name in values:
        if known and name not in known:
            raise UserError(f"--given {name}: this run is not conditional upon {name!r}", nearest(name, known))
    _give(estimator.sample(rows, seed, pd.DataFrame([values]) if values else None), output, json_)


@app.command()
def impute(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    draws: Draws = None,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None,
) -> None:  # fmt: skip
    """The table with its missing cells filled in."""
    import pandas as pd

    estimator, frame = _load(run, table, models_file, missing, header, columns, sep)
    if draws is None:
        completed = estimator.impute(frame)
    else:
        many = estimator.impute(frame, draws=draws)
        if "draw" in frame:
            raise UserError("the table has a column 'draw', which --draws would write over", "rename that column")
        completed = pd.concat([f.assign(draw=i) for i, f in enumerate(many)], ignore_index=True)
    _give(completed, output, json_)


@app.command()
def report(run: RunArg, json_: Json = False, models_file: ModelsFile = None) -> None:
    """Write the HTML page of a run again."""
    from zoo.report.page import write_report
    from zoo.run import read_manifest, reading

    read_manifest(run)
    with reading(run):
        page = write_report(run, models_file)
    _print_json({"run": str(run), "report": str(page)}) if json_ else _print(str(page))


# ---------------------------------------------------------------- printing


def _load(
    run: Path, table: str, models_file: str | None, missing: list[str] | None, header: bool | None,
    columns: Path | None, sep: str | None,
) -> tuple[Any, Any]:  # fmt: skip
    from zoo.estimator import Estimator

    estimator = Estimator.load(run, models_file)
    reading = Reading(missing=missing, header=header, columns=columns, sep=sep)
    return estimator, reading.read(table)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--given {text!r} is not column=value", "write for example --given species=Adelie")
    return name, value


def _name(table: str) -> str:
    return "standard input" if table == "-" else Path(table).name


def _write(frame: Any, output: Path) -> None:
    from zoo.table.reader import write_table

    write_table(frame, output)
    if str(output) != "-":
        _note(f"wrote {output}: {_count(len(frame), 'row')}, {_count(frame.shape[1], 'column')}")


def _give(frame: Any, output: Path | None, json_: bool) -> None:
    """A table as the result: to the output, or to standard output as CSV or as the records of a JSON document."""
    if output is not None or not json_:
        _write(frame, output or Path("-"))
    if json_:
        document = {"rows": len(frame), "columns": [str(name) for name in frame.columns]}
        records = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))
        _print_json(document | ({"records": records} if output is None else {"output": str(output)}))


def _print(thing: Any) -> None:
    """The result, on standard output; a line of text stays one line."""
    out.print(thing, highlight=False, **_as_it_is(thing))  # type: ignore[arg-type]


def _note(thing: Any) -> None:
    """What is said beside the result, on standard error."""
    err.print(thing, highlight=False, **_as_it_is(thing))  # type: ignore[arg-type]


def _as_it_is(thing: Any) -> dict[str, bool]:
    return {"markup": False, "soft_wrap": True} if isinstance(thing, str) else {}


def _print_json(document: Any) -> None:
    from zoo.run import to_json

    print(to_json(document))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _sentence(score: dict[str, Any]) -> str:
    words = {"exact": "", "lower": "at least ", "estimate": "about ", "none": "no "}[score["bound"]]
    text = f"log-likelihood {words}{_pm(score, 'log_likelihood', 'standard_error')} nats per row"
    if score["bound"] != "exact":
        parts = [_count(score["particles"], "particle")]
        if math.isfinite(score["monte_carlo_error"]):
            parts.append(f"Monte Carlo error {score['monte_carlo_error']:.3f}")
        parts.append(f"ELBO {score['elbo']:.3f}")
        if score["k_hat"] is not None:
            parts.append(f"k-hat {score['k_hat']:.2f}")
        text += f" ({', '.join(parts)})"
    return f"{text}; {score['measure']}"


def _print_ranking(document: dict[str, Any]) -> None:
    grid = Grid(
        "model",
        "log-likelihood",
        "bound",
        "ELBO",
        "from best",
        "above baseline",
        "seconds",
        "settings",
        box=None,
        header_style="bold",
    )
    for line in document["models"]:
        if line["log_likelihood"] is None:
            grid.add_row(line["model"], "-", "", "", "", "", f"{line['seconds']:.1f}", "")
            continue
        settings = " ".join(f"{k.rpartition('.')[2]}={v}" for k, v in line["settings"].items())
        grid.add_row(
            f"[cyan]{line['model']}[/]",
            _pm(line, "log_likelihood", "standard_error"),
            line["bound"],
            _pm(line, "elbo"),
            _pm(line, "difference", "difference_se"),
            _pm(line, "above_baseline", "above_baseline_se"),
            f"{line['seconds']:.1f}",
            _escape(settings),
        )
    _print(grid)
    rows = document["rows"]
    parts = f"{rows['train']} rows fit, {rows['validation']} choose, {rows['test']} judge"
    _print(f"\n{document['measure']}; {parts}")
    for line in document["models"]:
        for warning in line["warnings"]:
            out.print(f"[yellow]{line['model']}[/]: {_escape(warning)}", highlight=False, soft_wrap=True)


def _pm(line: dict[str, Any], value: str, spread: str = "") -> str:
    if line.get(value) is None:
        return ""
    known = line.get(spread) is not None and math.isfinite(line[spread])
    return f"{line[value]:.3f}" + (f" ± {line[spread]:.3f}" if known else "")


def _grid(frame: Any) -> Grid:
    grid = Grid(*(_escape(str(name)) for name in frame.columns), box=None, header_style="bold")
    for values in frame.itertuples(index=False):
        grid.add_row(*(f"{v:.4g}" if isinstance(v, float) else _escape(str(v)) for v in values))
    return grid


def _profiles(profile: Any) -> Grid:
    """One line a cluster; one line a column, for the largest clusters, where there are many columns."""
    if profile.shape[1] <= MOST_ACROSS:
        return _grid(profile.reset_index())
    lines = profile.head(MOST_ACROSS - 1).T.rename_axis("column")
    return _grid(lines.rename(columns=lambda k: f"cluster {k}").reset_index())


class _progress:
    """Progress with rate and time left on a terminal; nothing where there is none, or with --json."""

    def __init__(self, silent: bool):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.on = err.is_terminal and not silent
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        ]
        self.bar = Progress(*columns, console=err, transient=True, disable=not self.on)
        self.silent = silent

    def __enter__(self) -> Callable[[str], Callable[[int, int, dict[str, float]], None]]:
        self.bar.start()
        return self._start

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def _start(self, model: str) -> Callable[[int, int, dict[str, float]], None]:
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        task = self.bar.add_task(model, total=None, rate="")

        def look(step: int, planned: int, look: dict[str, float]) -> None:
            rate = f"{step / max(look['seconds'], 1e-9):.0f} steps/s"
            if "validation" in look:
                rate += f", validation {look['validation']:.3f}"
            self.bar.update(task, completed=step, total=planned, rate=rate)

        return look


# ---------------------------------------------------------------- the front door


def main() -> None:
    """Run the command line. Exit codes: 0, or 2 on bad input."""
    # a step on a table is too small to gain from threads, and on a busy machine they wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    warnings.simplefilter("default" if debug else "ignore")
    warnings.simplefilter("always", ZooWarning)
    warnings.showwarning = _show_warning
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="zoo", standalone_mode=False)
        if code == INTERRUPTED:
            _stop("interrupted", INTERRUPTED)
    except UserError as error:
        if debug:
            raise
        _stop(str(error))
    except typer.TyperException as error:
        if error.format_message():  # without a command the help has been printed
            _stop(f"{error.format_message().rstrip('.')}; {_usage(error)}")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        _stop("interrupted", INTERRUPTED)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # whoever read the output has read enough
            sys.exit(0)
        raise
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename!r}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}; check the path, its permissions and the space that is left")
    except Exception as error:
        if debug:
            raise
        _stop(
            f"something went wrong inside zoo: {type(error).__name__}: {error}; run again with --debug and tell us", 1
        )


def _usage(error: Any) -> str:
    """The remedy of a line that was not understood."""
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context else 'zoo'} --help`"


def _stop(text: str, code: int = 2) -> NoReturn:
    err.print(f"[bold red]zoo:[/] {_escape(' '.join(text.split()))}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _show_warning(message: Any, category: Any, *_: Any, **__: Any) -> None:
    if issubclass(category, ZooWarning) or "--debug" in sys.argv:
        err.print(f"[yellow]note:[/] {_escape(str(message))}", highlight=False, soft_wrap=True)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
