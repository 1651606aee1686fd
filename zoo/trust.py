"""Commands that say whether a number, a bound or a posterior is to be trusted. No statistics in here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from zoo.arguments import seconds_in
from zoo.errors import UserError
from zoo.options import (
    Budget,
    Columns,
    Device,
    Given,
    Group,
    Header,
    Ignore,
    Json,
    Kinds,
    Missing,
    ModelsFile,
    Output,
    Query,
    Reading,
    RunArg,
    SchemaFile,
    Seed,
    Sep,
    Sets,
    TableArg,
    Units,
    Weight,
    opened,
)
from zoo.terminal import (
    Watch,
    print_calibration,
    print_card,
    print_findings,
    print_json,
    say,
    tell_fitted,
    write,
)

app = typer.Typer()

ModelArg = Annotated[str, typer.Argument(metavar="MODEL", show_default=False)]


@app.command()
def check(
    model: ModelArg,
    table: TableArg,
    sets: Sets = None, seed: Seed = 0, json_: Json = False, models_file: ModelsFile = None,
    schema: SchemaFile = None, kind: Kinds = None, unit: Units = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None, weight: Weight = None,
    group: Group = None, given: Given = None,
) -> None:  # fmt: skip
    """Put a model, your own too, through the laws on some rows of a table; exit code 1 where one does not hold."""
    from zoo.laws import check as checked
    from zoo.registry import parse_set

    reading = Reading(schema, kind, unit, ignore, missing, header, columns, sep, query, weight, group, given)
    frame = reading.read(table)
    found = checked(
        model, frame, settings=dict(map(parse_set, sets or [])), seed=seed, models_file=models_file,
        schema=reading.schema_of(frame),
    )  # fmt: skip
    if json_:
        print_json({"model": model, "laws": [asdict(finding) for finding in found]})
    else:
        print_findings(model, [asdict(finding) for finding in found])
    if any(finding.holds is False for finding in found):
        raise typer.Exit(1)


@app.command()
def bound(
    run: RunArg, table: TableArg, json_: Json = False, models_file: ModelsFile = None,
    particles: Annotated[int, typer.Option("--particles", min=1, help="draws of the latents for each row")] = 1000,
    ais: Annotated[bool, typer.Option("--ais", help="also annealed importance sampling, on a few rows")] = False,
    ais_rows: Annotated[int, typer.Option("--ais-rows", min=2, help="rows that are annealed")] = 20,
    ais_steps: Annotated[int, typer.Option("--ais-steps", min=2, help="steps from the guide to the posterior")] = 100,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None,
) -> None:  # fmt: skip
    """The bound card: what a model's number is made of, and how near it is to the log-likelihood."""
    estimator, frame, stream = opened(run, table, None, models_file, missing, header, columns, sep, query)
    if stream is not None:
        raise UserError("a bound card cannot go with a table that is read part by part", "take a part of it")
    card = estimator.bound_card(frame, particles, ais_rows if ais else 0, ais_steps)
    tell_fitted(estimator, frame)
    print_json(card.to_json()) if json_ else print_card(card.to_json())


@app.command()
def loo(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    draws: Annotated[int, typer.Option("--draws", min=25, help="draws of the parameters")] = 1000,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None,
) -> None:  # fmt: skip
    """Leave each row of the training table out in turn, without fitting again; rows and their k-hat go to -o."""
    estimator, frame, stream = opened(run, table, output, models_file, missing, header, columns, sep, query)
    if stream is not None:
        raise UserError("zoo loo cannot go with a table that is read part by part", "score rows that were held out")
    left = estimator.loo(frame, draws)
    if output is not None:
        write(left.to_frame(frame.index), output)
    if json_:
        return print_json(left.to_json())
    say(left.sentence)
    aside = len(frame) - len(left.row)
    said = f"{len(left.row)} rows that were fitted" + (f" ({aside} were set aside)" if aside else "")
    say(f"{said}, {left.draws} draws, Monte Carlo error {left.monte_carlo:.2f} of the sum; {left.measure}")


@app.command()
def sbc(
    model: ModelArg,
    table: TableArg,
    simulations: Annotated[int, typer.Option("--simulations", min=20, help="tables, or rows, drawn of the model")] = 50,
    draws: Annotated[int, typer.Option("--draws", min=9, help="of the posterior, among which truths are ranked")] = 99,
    sets: Sets = None, seed: Seed = 0, device: Device = "auto", json_: Json = False, models_file: ModelsFile = None,
    schema: SchemaFile = None, kind: Kinds = None, unit: Units = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None, weight: Weight = None,
    group: Group = None, given: Given = None,
) -> None:  # fmt: skip
    """Simulate tables shaped like yours from the model's prior, refit, and rank the truth; exit code 1 on a fault."""
    from zoo.registry import parse_set
    from zoo.simulation import sbc as ranked

    reading = Reading(schema, kind, unit, ignore, missing, header, columns, sep, query, weight, group, given)
    frame = reading.read(table)
    with Watch(json_) as told:
        found = ranked(
            model, frame, simulations=simulations, draws=draws, settings=dict(map(parse_set, sets or [])), seed=seed,
            device=device, models_file=models_file, schema=reading.schema_of(frame), progress=told(model, "fits"),
        )  # fmt: skip
    documents = [calibration.to_json() for calibration in found]
    print_json({"model": model, "calibrations": documents}) if json_ else print_calibration(documents)
    if not found[-1].holds:
        raise typer.Exit(1)


@app.command()
def recover(
    model: ModelArg,
    table: TableArg,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="tables that are drawn and fitted again")] = 3,
    sets: Sets = None, seed: Seed = 0, device: Device = "auto", time_budget: Budget = None, json_: Json = False,
    models_file: ModelsFile = None,
    schema: SchemaFile = None, kind: Kinds = None, unit: Units = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None, weight: Weight = None,
    group: Group = None, given: Given = None,
) -> None:  # fmt: skip
    """Fit, draw tables of the same size from the fit, fit these again: what estimation costs, in nats a row."""
    from zoo.recovery import recover as recovered
    from zoo.registry import parse_set

    settings, budget = dict(map(parse_set, sets or [])), seconds_in(time_budget, "--time-budget")
    reading = Reading(schema, kind, unit, ignore, missing, header, columns, sep, query, weight, group, given)
    frame = reading.read(table)
    with Watch(json_) as told:
        found = recovered(
            model, frame, repeats=repeats, settings=settings, seed=seed, device=device, time_budget=budget,
            models_file=models_file, schema=reading.schema_of(frame), told=told,
        )  # fmt: skip
    print_json(found.to_json()) if json_ else say(f"{found.sentence}; {found.measure}")
