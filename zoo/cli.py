"""The command line: arguments in, one line or one table or one JSON document out. No statistics in here.

Bad input is one line on standard error and exit code 2, with --json a document {"error", "remedy"} on standard output
too; a traceback only with --debug.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from zoo import trust
from zoo.arguments import seconds_in
from zoo.errors import UserError, ZooWarning, quiet
from zoo.launch import first, several
from zoo.options import (
    Budget,
    Calibrate,
    Columns,
    Device,
    Draws,
    Given,
    Group,
    Header,
    Ignore,
    Json,
    Kinds,
    Missing,
    ModelsFile,
    Modes,
    Output,
    Particles,
    Query,
    Reading,
    RealArg,
    RunArg,
    RunOut,
    SchemaFile,
    Seed,
    Sep,
    Sets,
    Sigma,
    SyntheticArg,
    TableArg,
    Target,
    Units,
    Weight,
    as_of,
    assignments,
    loaded,
    modes_of,
    opened,
)
from zoo.table.files import name_of
from zoo.terminal import (
    INTERRUPTED,
    Watch,
    as_grid,
    clusters_shown,
    count_of,
    give,
    give_up,
    memory,
    nats,
    note,
    note_figures,
    note_filled,
    note_missingness,
    note_worth,
    print_difference,
    print_figures,
    print_json,
    print_quality,
    print_ranking,
    profile_grid,
    say,
    sentence,
    show_warning,
    tell_fitted,
    tell_kept,
    tell_patterns,
    usage,
    write,
)

MOST_AT_ONCE = 1 << 18
"""Rows that are drawn, and written, at once."""

app = typer.Typer(
    help="Density estimation and clustering on your own table: fit, compare, score, cluster, sample, impute.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"zoo {version('zoo-density')}")
        raise typer.Exit()


@app.callback()
def _zoo(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    if several() and context.invoked_subcommand != "fit":
        raise UserError("several processes fit one model together, and do nothing else", "start zoo without torchrun")


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
        return print_json({"models": lines})
    grid = Grid("model", "what it is", "bound", "verbs", box=None, header_style="bold")
    for line in lines:
        grid.add_row(f"[cyan]{line['model']}[/]", line["summary"], line["bound"], " ".join(line["verbs"]))
    say(grid)


@app.command()
def show(
    model: Annotated[str, typer.Argument()], sets: Sets = None, json_: Json = False, models_file: ModelsFile = None
) -> None:
    """Show one resolved recipe, its process as text, its reference."""
    from zoo.catalogue import process
    from zoo.registry import Registry

    recipe = Registry.load(models_file).recipe(model, sets or []).check()
    if json_:
        return print_json({"model": recipe.model, "process": process(recipe), **recipe.to_table()})
    say(f"{process(recipe)}\n\n{recipe.to_toml()}")


@app.command()
def example(
    name: Annotated[str, typer.Argument(help="wine, iris, breast-cancer, diabetes, digits, linnerud")],
    output: Output = None,
    json_: Json = False,
) -> None:
    """Write a small real table that ships with scikit-learn."""
    from zoo.table.examples import example as load

    give(load(name), output, json_)


@app.command()
def inspect(
    table: TableArg,
    output: Output = None,
    json_: Json = False,
    schema: SchemaFile = None, kind: Kinds = None, unit: Units = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None, weight: Weight = None,
    group: Group = None, given: Given = None,
) -> None:  # fmt: skip
    """Show what each column is taken to be; the schema, as TOML to edit, goes to standard output or -o."""
    from zoo.table.inspect import describe

    reading = Reading(schema, kind, unit, ignore, missing, header, columns, sep, query, weight, group, given)
    frame = reading.read(table)
    found = reading.schema_of(frame)
    summary = describe(frame, found)
    if json_:
        lines = json.loads(summary.reset_index().to_json(orient="records"))
        return print_json({"rows": len(frame), "measure": found.measure, "columns": lines})
    note(as_grid(summary.reset_index().astype(object).where(lambda f: f.notna(), "")))
    note(f"{len(frame)} rows; {found.measure}")
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
    schema: SchemaFile = None, kind: Kinds = None, unit: Units = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None, weight: Weight = None,
    group: Group = None, given: Given = None,
) -> None:  # fmt: skip
    """Fit one model: a tenth of the rows (a fifth below 2,000) chooses, another is held out and scored."""
    from zoo.estimator import Estimator
    from zoo.fitting.choose import pick_device
    from zoo.fitting.distributed import joined
    from zoo.folder import check_free, is_run, new_folder
    from zoo.registry import Registry, parse_set
    from zoo.report.page import write_report
    from zoo.table.check import check_parts
    from zoo.table.split import split
    from zoo.table.stream import SOME

    check_free(output)
    if several() and table == "-":
        raise UserError("standard input cannot be read by several processes", "name a file that each of them sees")
    wrote = "replaced the run in" if is_run(output) else "wrote"
    settings, budget = dict(map(parse_set, sets or [])), seconds_in(time_budget, "--time-budget")
    Registry.load(models_file).recipe(model, settings).check()
    chosen, why = pick_device(device)
    reading = Reading(schema, kind, unit, ignore, missing, header, columns, sep, query, weight, group, given)
    stream = reading.streamed(table)
    frame = reading.read(table) if stream is None else stream.some(SOME, seed)
    found = reading.schema_of(frame)
    parts = split(len(frame), seed)
    options: dict[str, Any] = {"seed": seed, "device": device, "time_budget": budget, "models_file": models_file}
    estimator = Estimator(model, settings=settings, schema=found, **options)
    if not json_:
        note(f"{model} on {len(parts.train)} rows, {found.measure}; device {chosen} ({why}); {memory(frame)}")
        note_missingness(found)
    check_parts(found, frame, {"fit": parts.train, "choose": parts.validation})
    train, validation, test = (frame.iloc[i] for i in parts)
    if stream is not None:
        note(f"{stream.rows:,} rows are read part by part; {len(frame):,} of them, drawn at random, say how to start")
        stream = stream.leaving_out(frame.index[[*parts.validation, *parts.test]].to_numpy())
    with joined(chosen), Watch(json_) as told:
        estimator.fit_parts(train, validation, found, progress=told(model), stream=stream)
    if not first():
        return
    estimator.reading_ = reading.kept(frame)
    with quiet():  # what is to be said of these cells was said of the whole table
        scores = estimator.log_likelihood(test) if "score" in estimator.model_.verbs else None
    done = estimator.fitted_
    document = {
        "model": model, "seconds": done.seconds, "epochs": done.epochs, "steps": done.steps, "step_tier": done.tier,
        "step_tier_why": done.why, "loss": done.loss, "log_likelihood": scores.mean if scores else None,
        "standard_error": scores.standard_error if scores else None, "bound": scores.bound if scores else "none",
        "measure": found.measure, "stopped": done.stopped, "device": str(chosen),
        "settings": estimator.chosen_, "processes": done.processes, "kept": done.kept, "warnings": done.notes,
        "run": str(output),
    }  # fmt: skip
    with new_folder(output) as folder:
        estimator.write(folder, score=scores.to_json() if scores else None, table=name_of(table))
        write_report(folder, models_file, {model: estimator})
    if json_:
        return print_json(document)
    for choice in estimator.choices_:
        tried = ", ".join(f"{k} = {v}" for k, v in choice["settings"].items())
        chosen = ", chosen" * (choice["settings"] == estimator.chosen_)
        note(f"  {tried}: {nats(choice['validation'])} on validation rows{chosen}")
    for text in done.notes:
        note(f"  {text}")
    tell_kept(done.kept)
    how = f"{done.tier}: {done.why}" if done.why else done.tier
    how += f", {done.processes} processes" if done.processes > 1 else ""
    note(f"{done.stopped}; {count_of(done.steps, 'step')} ({how}) in {done.seconds:.1f} s")
    verbs = ", ".join(f"`zoo {verb}`" for verb in estimator.model_.verbs)
    held_out = f", on {count_of(len(test), 'row')} that {'was' if len(test) == 1 else 'were'} held out"
    say(sentence(scores.to_json()) + held_out if scores else f"no log-likelihood; what this model does: {verbs}")
    note(f"{wrote} {output}")


@app.command()
def compare(
    table: TableArg,
    output: RunOut,
    models: Annotated[
        str | None,
        typer.Option("-m", "--models", help="names, separated by commas; with settings to try: 'vae\\[dim=2,4]'"),
    ] = None,
    samples: Annotated[bool, typer.Option("--samples/--no-samples", help="whether to judge rows drawn of each")] = True,
    figures: Annotated[bool, typer.Option("--figures", help="print every figure of these rows")] = False,
    target: Target = None, modes: Modes = None, sigma: Sigma = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=1000, help="fits of each model, by seed")] = 1,
    folds: Annotated[
        int, typer.Option("--folds", min=0, max=1000, help="hold out so many parts in turn, so that all rows judge")
    ] = 0,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, max=1000, help="fits at a time (default: one a core if slow)")
    ] = None,
    sets: Sets = None, seed: Seed = 0, device: Device = "auto", time_budget: Budget = None, json_: Json = False,
    models_file: ModelsFile = None,
    schema: SchemaFile = None, kind: Kinds = None, unit: Units = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None, weight: Weight = None,
    group: Group = None, given: Given = None,
) -> None:  # fmt: skip
    """Fit several models to one table and rank them by held-out log-likelihood."""
    from zoo.comparison import compare_on
    from zoo.comparison.fits import check_counts
    from zoo.fitting.choose import pick_device
    from zoo.folder import check_free, is_run
    from zoo.line_up import check_request
    from zoo.registry import Registry, parse_set
    from zoo.sweep import names_of

    check_free(output, "comparison")
    wrote = "replaced the run in" if is_run(output) else "wrote"
    settings, budget = dict(map(parse_set, sets or [])), seconds_in(time_budget, "--time-budget")
    centres = modes_of(modes, sigma)
    asked = check_request(Registry.load(models_file), None if models is None else names_of(models), settings)
    names = None if asked is None else [one.label for one in asked]
    check_counts(repeats, folds, settings)
    reading = Reading(schema, kind, unit, ignore, missing, header, columns, sep, query, weight, group, given)
    frame = reading.read(table)
    found = reading.schema_of(frame)
    started = time.perf_counter()
    chosen, why = pick_device(device)
    if not json_:
        note(f"{count_of(len(frame), 'row')}, {found.measure}; device {chosen} ({why}); {memory(frame)}")
        note_missingness(found)
    with Watch(json_) as told:
        result = compare_on(
            frame, found, names, settings=settings, seed=seed, device=device, time_budget=budget,
            models_file=models_file, name=name_of(table), reading=reading.kept(frame), samples=samples,
            target=target, modes=centres, repeats=repeats, folds=folds, jobs=jobs, told=told,
        )  # fmt: skip
    result.check_asked(names)
    result.save(output)
    if json_:
        return print_json(result.to_json())
    print_ranking(result.to_json())
    if result.samples is not None:
        print_figures(result.samples.table) if figures else note_figures(result.samples.table)
    for name, why in result.reasons.items():
        if why.startswith("left out"):
            note(f"{name}: {why}")
    note(f"{wrote} {output}, see {output}/report.html, in {time.perf_counter() - started:.0f} s")


@app.command()
def stack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the run folder of a comparison")],
    output: RunOut,
    json_: Json = False,
    models_file: ModelsFile = None,
) -> None:
    """Make one model of all models of a comparison: their mixture, with the weights that it found."""
    from zoo.folder import check_free, new_folder
    from zoo.report.page import write_report
    from zoo.stacks import stack as stacked

    check_free(output)
    made = stacked(run, models_file)
    with new_folder(output) as folder:
        made.estimator.write(folder, score=made.score, stacked=made.weights)
        write_report(folder, models_file, {made.estimator.model: made.estimator})
    if json_:
        return print_json({"model": made.estimator.model, "run": str(output), "weights": made.weights})
    say(f"stack of {', '.join(f'{name} {w:.3f}' for name, w in made.weights.items())}")
    note(f"wrote {output}")


@app.command()
def difference(
    run: RunArg,
    other: Annotated[Path, typer.Argument(metavar="RUN", help="another run folder")],
    table: TableArg,
    json_: Json = False, models_file: ModelsFile = None,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None,
) -> None:  # fmt: skip
    """The paired difference of two finished runs on a table, which should hold rows that neither was fitted on."""
    from zoo.between import check_comparable, named
    from zoo.between import difference as differ
    from zoo.estimator import Estimator

    second = Estimator.load(other, models_file)
    first = Estimator.load(run, models_file)
    check_comparable(first, second)  # before the table is read
    reading = Reading(missing=missing, header=header, columns=columns, sep=sep, query=query)
    frame, stream = as_of(first, table, reading)
    if stream is not None:
        raise UserError("a difference cannot go with a table that is read part by part", "take a part of it")
    document = differ(first, second, frame).to_json() | {"models": [named(run, first), named(other, second)]}
    for line, path in zip(document["of"], (run, other), strict=True):
        line["run"] = str(path)
    print_json(document) if json_ else print_difference(document)


@app.command()
def judge(
    real: RealArg,
    synthetic: SyntheticArg,
    train: Annotated[
        str | None, typer.Option("--train", metavar="TABLE", help="the rows that the synthetic ones were made from")
    ] = None,
    target: Target = None, modes: Modes = None, sigma: Sigma = None,
    seed: Seed = 0, json_: Json = False,
    schema: SchemaFile = None, kind: Kinds = None, unit: Units = None, ignore: Ignore = None, missing: Missing = None,
    header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None, weight: Weight = None,
    group: Group = None, given: Given = None,
) -> None:  # fmt: skip
    """Measure how good synthetic rows are, beside real rows and independent columns."""
    import pandas as pd

    from zoo.evaluate.quality.judge import judge as judged

    centres = modes_of(modes, sigma)
    reading = Reading(schema, kind, unit, ignore, missing, header, columns, sep, query, weight, group, given)
    frame = reading.read(real)
    kept, names = reading.kept(frame), list(frame.columns)
    made = Reading(query=query).read(synthetic, kept, names)
    known = None if train is None else Reading(query=query).read(train, kept, names)
    found = reading.schema_of(frame if known is None else pd.concat([known, frame], ignore_index=True))
    with quiet():
        quality = judged(frame, made, found, train=known, target=target, modes=centres, seed=seed)
    print_json(quality.to_json()) if json_ else print_quality(quality.to_json())


app.add_typer(trust.app)


# ---------------------------------------------------------------- verbs on a run


@app.command()
def score(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    particles: Particles = None,
    given: Annotated[
        list[str] | None, typer.Option("--given", help="column of the model to condition upon; may be repeated")
    ] = None,
    tail: Annotated[bool, typer.Option("--tail", help="also how many draws are as improbable: a p-value")] = False,
    cells: Annotated[bool, typer.Option("--cells", help="also the surprise of every cell given the others")] = False,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None,
) -> None:  # fmt: skip
    """Log-density of each row: the mean is printed, the rows go to -o."""
    estimator, frame, stream = opened(run, table, output, models_file, missing, header, columns, sep, query)
    upon = [name for names in given or () for name in names.split(",")]
    if stream is not None and (upon or tail or cells):
        raise UserError(
            "--given, --tail and --cells cannot go with a table that is read part by part", "score a part of it"
        )
    if stream is not None:
        from zoo.streaming import score as score_stream

        with Watch(json_) as told:
            document = score_stream(estimator, stream, output, particles, told("score", "rows"))
        return print_json(document) if json_ else say(sentence(document))
    scores = estimator.log_likelihood(frame, particles, given=upon)
    if output is not None:
        table_ = scores.to_frame(frame.index)
        if tail:
            table_["tail_probability"] = estimator.tail_probability(frame)
        write(table_.join(estimator.surprise(frame).add_prefix("surprise of ")) if cells else table_, output)
    if scores.outlier is not None:
        row, pull = scores.outlier
        warnings.warn(
            f"row {row} alone pulls the mean {pull:.3g} nats down: look at its cells", ZooWarning, stacklevel=1
        )
    empty = frame.reindex(columns=list(estimator.schema_.names)).isna().all(axis=1)
    if empty.any():
        what = f"{empty.sum()} of {len(frame)} rows have no cell that is seen (first: row {empty.idxmax()})"
        warnings.warn(f"{what}: their log-likelihood is 0, and counts in the mean", ZooWarning, stacklevel=1)
    tell_fitted(estimator, frame)
    tell_patterns(estimator, frame)
    if json_:
        return print_json(scores.to_json())
    say(sentence(scores.to_json()))


@app.command()
def cluster(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    clusters: Annotated[int | None, typer.Option("--clusters", min=1, help="merge into so many clusters")] = None,
    components: Annotated[bool, typer.Option("--components", help="the components of the density, not merged")] = False,
    stability: Annotated[
        int | None, typer.Option("--stability", min=1, help="fit so many random halves of the rows, and compare")
    ] = None,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None,
) -> None:  # fmt: skip
    """Label, probabilities and an "unsure" flag of each row to -o; sizes and profiles are printed."""
    from zoo.evaluate.profiles import UNSURE, cluster_table, profiles

    estimator, frame, stream = opened(run, table, output, models_file, missing, header, columns, sep, query)

    def labelled(part: Any) -> Any:
        return cluster_table(estimator.predict_proba(part, clusters, components), part.index)

    if stream is not None:
        if stability is not None:
            raise UserError(
                "--stability needs a table that is held in memory", "leave it out, or give some of its rows"
            )
        return _by_parts(stream, labelled, output, json_)
    if stability is not None and components:
        raise UserError("--stability is of clusters, and --components gives none", "leave one of them out")
    assigned = labelled(frame)
    found = None if stability is None else estimator.stability(frame, stability, clusters)
    merged = estimator.clusters_
    write(assigned, output) if output is not None else None
    sizes = assigned["cluster"].value_counts().sort_index()
    unsure = int(assigned["unsure"].sum())
    if json_:
        document = {"clusters": len(sizes), "sizes": {str(k): int(v) for k, v in sizes.items()}, "unsure": unsure}
        document |= {} if merged is None else {"components": merged.components, "runner_up": merged.runner_up}
        return print_json(document | ({} if found is None else {"stability": found.to_json()}))
    profile = profiles(frame, assigned["cluster"], estimator.schema_)
    say(profile_grid(profile))
    number, shown = count_of(len(sizes), "cluster"), clusters_shown(profile)
    every = sum(name not in ("cluster", "unsure") for name in assigned)
    if len(sizes) < every:
        number = f"{len(sizes)} of {count_of(every, 'cluster')} hold rows of this table"
    if shown < len(sizes):
        number += f", of which the {shown} largest are shown (-o has the label of every row)"
    if merged is not None and clusters is None and not components:
        say(merged.sentence())
    if found is not None:
        say(found.sentence())
    say(f"{number}; {unsure} of {len(frame)} rows unsure (no cluster above {UNSURE:.0%})")


@app.command()
def embed(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None,
) -> None:  # fmt: skip
    """Posterior mean of the continuous latents of each row, as a table."""
    import pandas as pd

    estimator, frame, stream = opened(run, table, output, models_file, missing, header, columns, sep, query)

    def embedded(part: Any) -> Any:
        z = estimator.transform(part)
        return pd.DataFrame(z, columns=[f"z{j + 1}" for j in range(z.shape[1])], index=part.index)

    if stream is not None:
        return _by_parts(stream, embedded, output, json_)
    give(embedded(frame), output, json_)


@app.command()
def sample(
    run: RunArg,
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="how many")] = 100,
    given: Annotated[list[str] | None, typer.Option("--given", help="column=value; the others given it")] = None,
    truncation: Annotated[
        float | None, typer.Option("--truncation", help="draw no Normal latent farther from its mean, in deviations")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="a setting of draws, e.g. sampler=ddim, walk=20, guidance=2")
    ] = None,
    seed: Seed = 0, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
) -> None:  # fmt: skip
    """Rows drawn from the fitted density, in the table's units."""
    from zoo.registry import parse_set
    from zoo.table.restore import as_whole
    from zoo.table.writer import check_target

    check_target(output)
    values, settings = assignments(given), dict(map(parse_set, sets or []))
    estimator = loaded(run, models_file)
    fixed = values or None
    if rows > MOST_AT_ONCE and output is not None and str(output) != "-":
        from zoo.streaming import samples
        from zoo.table.writer import write_parts

        written = write_parts(samples(estimator, rows, seed, fixed, truncation, settings), output)
        return (
            print_json({"rows": written, "output": str(output)}) if json_ else note(f"wrote {output}: {written} rows")
        )
    drawn, sizes = estimator.sample(rows, seed, fixed, truncation, effective=True, settings=settings)
    note_worth(sizes)
    give(as_whole(drawn, estimator.schema_), output, json_)


@app.command()
def distil(
    run: RunArg,
    output: RunOut,
    model: Annotated[str, typer.Option("-m", "--model", help="what stands in for it")] = "distilled-flow",
    rows: Annotated[int, typer.Option("-n", "--rows", min=10, help="draws in an epoch")] = 20_000,
    sets: Sets = None, seed: Seed = 0, device: Device = "auto", time_budget: Budget = None, json_: Json = False,
    models_file: ModelsFile = None,
) -> None:  # fmt: skip
    """Fit another model to a fitted one's draws, and say how far apart the two are, both ways."""
    from zoo.distilled import distil
    from zoo.folder import check_free, new_folder
    from zoo.registry import Registry, parse_set
    from zoo.report.page import write_report

    check_free(output)
    settings, budget = dict(map(parse_set, sets or [])), seconds_in(time_budget, "--time-budget")
    Registry.load(models_file).recipe(model, settings).check()
    with Watch(json_) as told:
        done = distil(
            run, model, settings=settings, rows=rows, seed=seed, device=device, time_budget=budget,
            models_file=models_file, progress=told(model),
        )  # fmt: skip
    with new_folder(output) as folder:
        done.estimator.write(folder, distilled=done.to_json())
        write_report(folder, models_file, {model: done.estimator})
    if json_:
        return print_json({"model": model, "run": str(output), **done.to_json()})
    for what, found in (
        ("forward, KL(teacher || student)", done.forward),
        ("reverse, KL(student || teacher)", done.reverse),
    ):
        kind = "" if found.exact else " (a difference of bounds)"
        say(f"{what}: {found.value:.4f} ± {found.standard_error:.4f} nats a row{kind}")
    note(f"wrote {output}")


@app.command()
def impute(
    run: RunArg, table: TableArg, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    draws: Draws = None, calibrate: Calibrate = False,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None,
) -> None:  # fmt: skip
    """The table with its missing cells filled in."""
    import pandas as pd

    from zoo.table.restore import as_whole

    estimator, frame, stream = opened(run, table, output, models_file, missing, header, columns, sep, query)
    if stream is not None:
        if draws is not None:
            raise UserError(
                "--draws needs a table that is held in memory", "leave it out, or impute a part of the rows"
            )
        return _by_parts(stream, lambda part: estimator.impute(part, calibrate=calibrate), output, json_)
    if draws is None:
        completed, sizes = estimator.impute(frame, calibrate=calibrate, effective=True)
        note_filled(frame, completed)
    else:
        many, sizes = estimator.impute(frame, draws=draws, calibrate=calibrate, effective=True)
        if "draw" in frame:
            raise UserError("the table has a column 'draw', which --draws would write over", "rename that column")
        completed = pd.concat([f.assign(draw=i) for i, f in enumerate(many)], ignore_index=True)
    note_worth(sizes)
    give(as_whole(completed, estimator.schema_), output, json_)


@app.command()
def translate(
    run: RunArg, table: TableArg,
    to: Annotated[str, typer.Option("--to", metavar="LEVEL", help="the level of the given column to translate to")],
    seed: Seed = 0, output: Output = None, json_: Json = False, models_file: ModelsFile = None,
    missing: Missing = None, header: Header = None, columns: Columns = None, sep: Sep = None, query: Query = None,
) -> None:  # fmt: skip
    """The table with its rows of the other level as rows of this one; missing cells stay missing."""
    from zoo.table.restore import as_whole

    estimator, frame, stream = opened(run, table, output, models_file, missing, header, columns, sep, query)
    if stream is not None:
        return _by_parts(stream, lambda part: estimator.translate(part, to, seed), output, json_)
    give(as_whole(estimator.translate(frame, to, seed), estimator.schema_), output, json_)


@app.command()
def report(run: RunArg, json_: Json = False, models_file: ModelsFile = None) -> None:
    """Write the HTML page of a run again."""
    from zoo.report.page import write_report
    from zoo.run import check_unchanged, read_manifest, reading

    document = read_manifest(run)
    with reading(run):
        for name in document.get("files", {}) if document["kind"] == "comparison" else ():
            check_unchanged(run, document, name)  # models check their own
        page = write_report(run, models_file)
    print_json({"run": str(run), "report": str(page)}) if json_ else say(str(page))


def _by_parts(stream: Any, verb: Any, output: Path | None, json_: bool) -> None:
    """A verb on a table that is read part by part: its rows go to a file."""
    from zoo.streaming import each_part

    if output is None or str(output) == "-":
        raise UserError(f"a table of {len(stream):,} rows needs a file to write to", "name one with -o FILE.parquet")
    with Watch(json_) as told:
        rows = each_part(stream, verb, output, told("rows", "rows"))
    print_json({"rows": rows, "output": str(output)}) if json_ else note(f"wrote {output}: {rows:,} rows")


# ---------------------------------------------------------------- the front door


def main() -> None:
    """Run the command line. Exit codes: 0, 2 on bad input, 130 where interrupted, 1 where a check fails and for a
    fault of zoo's own."""
    # a step on a table is too small to gain from threads, and on a busy machine they wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    warnings.simplefilter("default" if debug else "ignore")
    warnings.simplefilter("always", ZooWarning)
    warnings.showwarning = show_warning
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="zoo", standalone_mode=False)
        if code == INTERRUPTED:
            give_up("interrupted", code=INTERRUPTED)
        if code:  # a command that ended, and found something
            sys.exit(code)
    except UserError as error:
        if debug:
            raise
        give_up(error.message, error.remedy)
    except typer.TyperException as error:
        if error.format_message():  # without a command the help has been printed
            give_up(error.format_message().rstrip("."), usage(error))
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        give_up("interrupted", code=INTERRUPTED)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # whoever read the output has read enough
            sys.exit(0)
        raise
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename!r}: " if error.filename else ""
        give_up(f"{where}{error.strerror or error}", "check the path, its permissions and the space that is left")
    except Exception as error:
        if debug:
            raise
        what = f"something went wrong inside zoo: {type(error).__name__}: {error}"
        give_up(what, "run again with --debug and tell us", code=1)
