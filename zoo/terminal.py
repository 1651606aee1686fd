"""What the command line prints: results on standard output, notes and progress on standard error."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table as Grid

from zoo.errors import ZooWarning
from zoo.launch import first, rank

WIDE = 160  # characters of a line of a table printed into a file or a pipe
INTERRUPTED = 130  # the exit code of Ctrl-C
MOST_GAPS = 8
FEW = 5.0  # draws of a row that are worth fewer are hardly more than one
LONG = 60  # seconds of a fit that are announced where no progress bar is seen
EVERY = 30  # seconds after which it is then told how far a fit has come
MOST_ACROSS = 12  # columns of a table of cluster profiles
out, err = Console(), Console(stderr=True)
for console in (out, err):
    if not console.is_terminal:
        console.width = WIDE


def write(frame: Any, output: Path) -> None:
    from zoo.table.writer import write_table

    write_table(frame, output)
    if str(output) != "-":
        note(f"wrote {output}: {count_of(len(frame), 'row')}, {count_of(frame.shape[1], 'column')}")


def give(frame: Any, output: Path | None, json_: bool) -> None:
    """A table as the result: to the output, or to standard output as CSV or as the records of a JSON document."""
    if output is not None or not json_:
        write(frame, output or Path("-"))
    if json_:
        document = {"rows": len(frame), "columns": [str(name) for name in frame.columns]}
        records = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))
        print_json(document | ({"records": records} if output is None else {"output": str(output)}))


def say(thing: Any) -> None:
    """The result, on standard output; a line of text stays one line. Of several processes the first one speaks."""
    if first():
        out.print(thing, highlight=False, **as_it_is(thing))  # type: ignore[arg-type]


def note(thing: Any) -> None:
    """What is said beside the result, on standard error."""
    if first():
        err.print(thing, highlight=False, **as_it_is(thing))  # type: ignore[arg-type]


def as_it_is(thing: Any) -> dict[str, bool]:
    return {"markup": False, "soft_wrap": True} if isinstance(thing, str) else {}


def print_json(document: Any) -> None:
    from zoo.run import to_json

    if first():
        print(to_json(document))


def count_of(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def memory(frame: Any) -> str:
    """What fitting a table takes of the memory there is."""
    from zoo.table.size import available, needed

    want = needed(*frame.shape) / 2**20
    said = f"{want:.0f} MiB" if want < 1024 else f"{want / 1024:.1f} GiB"
    return f"about {said} of the {available() / 2**30:.1f} GiB of memory that are free"


def tell_fitted(estimator: Any, frame: Any) -> None:
    """Say that a number is of rows that were fitted, where the table is that of the fit."""
    seen = estimator.fitted_among(frame)
    if seen:
        note(f"{estimator.model} was fitted to {seen} of these {len(frame)} rows, and looks better on them than it is")


def tell_patterns(estimator: Any, frame: Any) -> None:
    """Say that numbers of rows with missing cells are of a density for each pattern of them, where they are."""
    if estimator.model_.pattern_wise:
        gaps = int(frame[[c.name for c in estimator.schema_.modelled]].isna().any(axis=1).sum())
        if gaps:
            what = f"{gaps} of {len(frame)} rows have missing cells"
            note(f"{what}: {estimator.model} has a density for each pattern of them, not the marginal of one joint")


def note_missingness(schema: Any) -> None:
    """Say which columns have missing cells, most first, and what is assumed of them; nothing where there are none."""
    gaps = sorted((c for c in schema.modelled if c.missing), key=lambda c: -c.missing)
    if gaps:
        note(f"missing, at random as far as zoo knows: {_columns([f'{c.name} {c.missing:.1%}' for c in gaps])}")


def note_filled(frame: Any, completed: Any) -> None:
    """Say how many missing cells were filled, and in which columns, most first."""
    count = (frame.isna() & completed.notna()).sum()
    filled = count[count > 0].sort_values(ascending=False, kind="stable")
    where = _columns([f"{name} {cells:,}" for name, cells in filled.items()])
    note(f"filled {count.sum():,} cells: {where}" if len(filled) else "filled no cell")


def note_worth(sizes: Any) -> None:
    """Say what the draws of rows are worth that were taken by importance, and where least; nothing of exact draws."""
    weighed = sizes[sizes < math.inf]
    if not len(weighed):
        return
    where = f" in the median row and {weighed.min():.3g} in row {weighed.idxmin()}" * (len(weighed) > 1)
    few = f"; below {FEW:g}, in {(weighed < FEW).mean():.0%}, they repeat one another" * bool((weighed < FEW).any())
    rows = count_of(len(weighed), "row")
    note(f"drawn by importance: {rows}, whose proposals are worth {weighed.median():.3g} draws{where}{few}")


def _columns(words: list[str]) -> str:
    """What is said of each column, of the first few, and how many more there are."""
    from zoo.table.cells import listed

    return listed(words, MOST_GAPS, quoted=False) + " columns" * (len(words) > MOST_GAPS)


def sentence(score: dict[str, Any]) -> str:
    words = {"exact": "", "lower": "at least ", "estimate": "about ", "none": "no "}[score["bound"]]
    text = f"log-likelihood {words}{plus_minus(score, 'log_likelihood', 'standard_error')} nats per row"
    if score["bound"] != "exact":
        parts = [count_of(score["particles"], "particle")]
        if score["particles"] > 1 and math.isfinite(score["monte_carlo_error"]):
            parts.append(f"Monte Carlo error {nats(score['monte_carlo_error'])}")
        if math.isfinite(score["elbo"]):
            parts.append(f"ELBO {nats(score['elbo'])}")
        if score["k_hat"] is not None:
            from zoo.evaluate.likelihood import K_HAT_GOOD

            loose = f" above {K_HAT_GOOD}: loose on some rows" if score["k_hat"] > K_HAT_GOOD else ""
            parts.append(f"k-hat {score['k_hat']:.2f}{loose}")
        parts += [shared["says"] for shared in score.get("shared_errors", ())]
        text += f" ({', '.join(parts)})"
    return f"{text}; {score['measure']}"


WIDTH_OF_FIGURE, WIDTH_OF_MODEL = 20, 14
"""Of a grid of figures, in characters."""
SAMPLED = {"shape": "shape", "trend": "trend", "c2st": "C2ST"}
"""Of the figures of samples, those in a ranking."""


def print_ranking(document: dict[str, Any]) -> None:
    samples = document.get("samples")
    names = ["model", "log-likelihood", "bound", "ELBO", "from best", "above baseline"]
    names += [*(SAMPLED.values() if samples else ()), "seconds", "settings"]
    grid = Grid(*names, box=None, header_style="bold")
    for line in document["models"]:
        settings = " ".join(f"{k.rpartition('.')[2]}={v}" for k, v in (line["settings"] or {}).items())
        grid.add_row(
            f"[cyan]{escaped(line['model'])}[/]",
            plus_minus(line, "log_likelihood", "standard_error") or "-",
            line["bound"] or "",
            plus_minus(line, "elbo"),
            plus_minus(line, "difference", "difference_se"),
            plus_minus(line, "above_baseline", "above_baseline_se"),
            *(plus_minus(line, name) for name in (SAMPLED if samples else ())),
            f"{line['seconds']:.1f}",
            escaped(settings),
        )
    say(grid)
    rows = document["rows"]
    parts = f"{rows['train']} rows fit, {rows['validation']} choose, {rows['test']} judge"
    say(f"\n{document['measure']}; {parts}")
    _say_judged(document)
    if samples:
        ends = ", ".join(f"{title} {_between(samples, name)}" for name, title in SAMPLED.items())
        say(f"samples of {samples['rows']} rows: {ends} (independent columns to real rows)")
    apart = [line["model"] for line in document["models"] if line["bound"] == "none"]
    if apart:
        say(f"no log-likelihood, ranked apart by {'samples' if samples else 'nothing'}: {', '.join(apart)}")
    for line in document["models"]:
        for warning in line["warnings"]:
            out.print(f"[yellow]{escaped(line['model'])}[/]: {escaped(warning)}", highlight=False, soft_wrap=True)


def print_figures(table: Any) -> None:
    """Every figure of every model's samples, models side by side in as many grids as fit."""
    across = max(1, (out.width - WIDTH_OF_FIGURE) // WIDTH_OF_MODEL)
    ends, models = [table.columns[0], table.columns[-1]], list(table.columns[1:-1])
    room = max(1, across - len(ends))
    for i in range(0, max(len(models), 1), room):
        shown = [ends[0], *models[i : i + room], ends[1]]
        grid = Grid("", *map(escaped, shown), box=None, header_style="bold")
        for name, values in table[shown].iterrows():
            grid.add_row(f"[cyan]{name}[/]", *("-" if math.isnan(v) else f"{v:.4g}" for v in values))
        say("")
        say(grid)


def note_figures(table: Any) -> None:
    """Where the figures of samples are that a ranking has no place for."""
    note(f"{count_of(len(table) - len(SAMPLED), 'more figure')} of these samples: in the report, and with --figures")


def _say_judged(document: dict[str, Any]) -> None:
    """Where differences come from, which of them count, what choosing the best was worth, and the mixture of all."""
    repeats, folds = document["repeats"], document["folds"]
    scored = [line for line in document["models"] if line["log_likelihood"] is not None]
    if folds:
        say(f"{folds} folds: every row judges once, under a fit that has not seen it")
    if repeats > 1:
        parts = [
            f"{line['model']} {line['difference_rows_se']:.3f} and {line['difference_fits_se']:.3f}"
            for line in scored[1:]
            if line["difference_rows_se"] is not None
        ]
        say(f"{repeats} seeds; ± of each difference, by rows and by fits: {', '.join(parts)}")
    if len(scored) > 1:
        close = ", ".join(document["not_told_apart"]) or "none"
        say(f"cannot be told from the best (corrected for choosing among {len(scored)}): {close}")
    chosen, stack = document["choice"], document["stacking"]
    if chosen and chosen["log_likelihood"] is not None:
        said = f"{chosen['log_likelihood']:.3f} on the other, against {chosen['best']:.3f} of the best"
        say(f"the model that half of these rows chooses has {said}")
    if stack and stack["log_likelihood"] is not None:
        weights = sorted(((w, name) for name, w in stack["weights"].items() if w), reverse=True)
        shares = ", ".join(f"{name} {w:.2f}" for w, name in weights)
        difference = plus_minus(stack, "difference", "difference_se")
        say(f"stack of {shares}: {plus_minus(stack, 'log_likelihood', 'standard_error')}, {difference} from the best")


def print_difference(document: dict[str, Any]) -> None:
    """The paired difference of two runs."""
    one, other = document["models"]
    ends = f"95% from {document['low']:.3f} to {document['high']:.3f}, p = {document['p']:.2g}"
    say(f"{one} less {other}: {plus_minus(document, 'difference', 'difference_se')} nats per row ({ends})")
    for line in document["of"]:
        say(f"  {line['run']}: {sentence(line)}")
    for text in document["notes"]:
        say(text)


def print_card(document: dict[str, Any]) -> None:
    """A bound card: the claim, the terms of the ELBO, and the ladder."""
    say(document["sentence"])
    grid = Grid("", "nats per row", "", box=None, header_style="bold")
    grid.add_row("[cyan]reconstruction[/]", f"{document['reconstruction']:.3f}", "E log p(row | latents)")
    for name, nats in document["kl"].items():
        grid.add_row(f"[cyan]- KL of {escaped(name)}[/]", f"{-nats:.3f}", "what the latent costs")
    if document["global_kl"]:
        grid.add_row("[cyan]- KL of the globals[/]", f"{-document['global_kl']:.3f}", "their share of a row")
    grid.add_row("[cyan]= ELBO[/]", f"{document['elbo']:.3f}", "")
    for rung in document["ladder"][1:]:
        error = f"± {rung['monte_carlo_error']:.3f}"
        grid.add_row(f"[cyan]{rung['particles']} draws[/]", f"{rung['bound']:.3f}", f"{error} (Monte Carlo)")
    if document["extrapolated"] is not None:
        grid.add_row("[cyan]extrapolated[/]", f"{document['extrapolated']:.3f}", "a guess, no bound")
    say(grid)
    if document["k_hat"]:
        middle, high, worst = document["k_hat"]
        share = document["unreliable"]
        say(f"k-hat of the weights: median {middle:.2f}, 95% {high:.2f}, largest {worst:.2f}; above 0.7 on {share:.0%}")
    say(f"{count_of(document['rows'], 'row')}, {document['measure']}")
    if document["annealed"]:
        say(document["annealed"]["sentence"])


def print_calibration(documents: list[dict[str, Any]]) -> None:
    """Ranks of the truth among draws of a posterior: each quantity, and the verdict."""
    for document in documents:
        grid = Grid("", "quantity", "p-value", "in 90%", "rank", "", box=None, header_style="bold")
        for found in document["quantities"]:
            mark = "[red]fails[/]" if found["fails"] else "[green]holds[/]"
            numbers = (f"{found['p_value']:.3g}", f"{found['covered']:.0%}", f"{found['shift']:+.2f}")
            grid.add_row(mark, escaped(found["name"]), *numbers, found["said"])
        say(grid)
        say(document["sentence"])


def print_findings(model: str, findings: list[dict[str, Any]]) -> None:
    """The laws that a model was put through, and what to do where one does not hold."""
    marks = {True: "[green]holds[/]", False: "[red]fails[/]", None: "[dim]n/a[/]"}
    grid = Grid("", "law", "found", box=None, header_style="bold")
    for finding in findings:
        grid.add_row(marks[finding["holds"]], finding["law"], escaped(finding["said"]))
        if finding["holds"] is False:
            grid.add_row("", "", f"[bold]{escaped(finding['remedy'])}[/]")
    say(grid)
    failed = sum(finding["holds"] is False for finding in findings)
    held = sum(finding["holds"] is True for finding in findings)
    say(f"\n{model}: {count_of(held, 'law')} held, {failed} failed")


def print_quality(document: dict[str, Any]) -> None:
    """A judgement: every figure beside the ceiling and the floor."""
    from zoo.report import words

    grid = Grid("", "synthetic", "real rows", "independent", "better", "what it is", box=None, header_style="bold")
    for name, figure in document["figures"].items():
        value = words.figure(figure["value"], figure["standard_error"])
        ends = ("" if figure[end] is None else f"{figure[end]:.4g}" for end in ("ceiling", "floor"))
        grid.add_row(f"[cyan]{name}[/]", value, *ends, figure["better"], escaped(figure["says"]))
    say(grid)
    rows = document["rows"]
    say(f"\n{rows['compared']:,} rows on each side, of {rows['real']:,} real and {rows['synthetic']:,} synthetic")
    worst = [f"{name} {value:.3f}" for name, value in list(document["columns"].items())[:MOST_GAPS]]
    if worst:
        say(f"columns of the worst shape: {', '.join(worst)}")
    pairs = [f"{' and '.join(pair['columns'])} {pair['trend']:.3f}" for pair in document["pairs"][: MOST_GAPS // 2]]
    if pairs:
        say(f"pairs of the worst trend: {', '.join(pairs)}")
    for text in dict.fromkeys(document["spaces"].values()):
        say(f"{', '.join(k for k, v in document['spaces'].items() if v == text)}: {text}")
    for text in document["notes"]:
        say(text)


def _between(samples: dict[str, Any], name: str) -> str:
    """From the floor to the ceiling of a figure, with the standard error there."""
    ends = (plus_minus(samples["floor"], name), plus_minus(samples["ceiling"], name, f"{name}_se"))
    return " to ".join(end or "-" for end in ends)


def plus_minus(line: dict[str, Any], value: str, spread: str = "") -> str:
    if line.get(value) is None:
        return ""
    known = line.get(spread) is not None and math.isfinite(line[spread])
    return nats(line[value]) + (f" ± {nats(line[spread])}" if known else "")


def nats(value: float) -> str:
    """To three places; a number beyond what anyone would read so by its first digits."""
    return f"{value:.3f}" if abs(value) < 1e9 else f"{value:.3e}"


def as_grid(frame: Any) -> Grid:
    grid = Grid(*(escaped(str(name)) for name in frame.columns), box=None, header_style="bold")
    for values in frame.itertuples(index=False):
        grid.add_row(*(f"{v:.4g}" if isinstance(v, float) else escaped(str(v)) for v in values))
    return grid


def profile_grid(profile: Any) -> Grid:
    """One line a cluster; one line a column, for the largest clusters, where there are many columns."""
    if profile.shape[1] <= MOST_ACROSS:
        return as_grid(profile.reset_index())
    lines = profile.head(clusters_shown(profile)).T.rename_axis("column")
    return as_grid(lines.rename(columns=lambda k: f"cluster {k}").reset_index())


def clusters_shown(profile: Any) -> int:
    """How many clusters the table of their profiles has place for."""
    return len(profile) if profile.shape[1] <= MOST_ACROSS else min(len(profile), MOST_ACROSS - 1)


class Watch:
    """Progress with rate and time left on a terminal; nothing where there is none, or with --json."""

    def __init__(self, silent: bool):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.on = err.is_terminal and not silent and first()
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        ]
        self.bar = Progress(*columns, console=err, transient=True, disable=not self.on)
        self.silent = silent

    def __enter__(self) -> Callable[..., Callable[[int, int, dict[str, float]], None]]:
        self.bar.start()
        return self._start

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def _start(self, model: str, unit: str = "steps") -> Callable[[int, int, dict[str, float]], None]:
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        task = self.bar.add_task(model, total=None, rate="")
        first, told = True, time.perf_counter()

        def look(step: int, planned: int, look: dict[str, float]) -> None:
            rate = f"{step / max(look['seconds'], 1e-9):,.0f} {unit}/s"
            if "validation" in look:
                rate += f", validation {look['validation']:.3f}"
            rate += "".join(f", {text}" for text in of_game(look))
            self.bar.update(task, completed=step, total=planned, rate=rate)
            nonlocal first, told
            left = (planned - step) * look["seconds"] / max(step, 1)
            text = ""
            if first and left > LONG:
                text = f"{rate}; about {left / 60:.0f} min for all {planned:,} {unit}, of one setting if several"
            elif time.perf_counter() - told > EVERY:
                text = f"{step:,} of {planned:,} {unit}, {rate}"
            first = False
            if text and not (self.on or self.silent):
                note(f"{model}: {text}")
                told = time.perf_counter()

        return look


def of_game(look: dict[str, float]) -> list[str]:
    """What a look at a fit without a likelihood tells of it."""
    said = {
        "critic_accuracy": "critic right in {:.0%}",
        "coverage": "draws reach {:.0%} of validation rows",
        "precision": "{:.0%} of draws near one",
    }
    return [text.format(look[name]) for name, text in said.items() if name in look]


def tell_kept(kept: dict[str, float]) -> None:
    """What a fit without a likelihood was like where it was kept, and how hard its players pulled."""
    if "coverage" not in kept:
        return
    pulls = [f"{k.removesuffix('_gradient')} {v:.2g}" for k, v in kept.items() if k.endswith("_gradient")]
    gradients = [f"size of gradients: {', '.join(pulls)}"] if pulls else []
    where = f"step {kept['step']:,.0f}" if kept["step"] else "the start"
    note(f"  kept {where}: {', '.join([*of_game(kept), *gradients])}")


def usage(error: Any) -> str:
    """The remedy of a line that was not understood."""
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context else 'zoo'} --help`"


def give_up(text: str, remedy: str | None = None, code: int = 2) -> NoReturn:
    if "--json" in sys.argv and first():
        print(json.dumps({"error": " ".join(text.split()), "remedy": remedy}, indent=2, ensure_ascii=False))
    text = f"{text}; {remedy}" if remedy else text
    who = f"zoo, process {rank()}:" if rank() else "zoo:"
    err.print(f"[bold red]{who}[/] {escaped(' '.join(text.split()))}", highlight=False, soft_wrap=True)
    sys.exit(code)


def show_warning(message: Any, category: Any, *_: Any, **__: Any) -> None:
    if first() and (issubclass(category, ZooWarning) or "--debug" in sys.argv):
        err.print(f"[yellow]note:[/] {escaped(str(message))}", highlight=False, soft_wrap=True)


def escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
