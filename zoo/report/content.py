"""What stands on the page: text, tables and figures of a run."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from zoo.errors import quiet
from zoo.fitting.choose import chosen as chosen_of
from zoo.report import figures, tables, words
from zoo.report.profiles import Profiles, profiles
from zoo.report.source import Source
from zoo.report.style import to_svg

MOST_COLUMNS = 24
MOST_CURVES = 12
LOWEST = 10
CLUSTERED = 1500

Content = dict[str, Any]


def comparison_content(source: Source) -> Content:
    """The page of a comparison."""
    document = source.comparison
    lines = words.scored(document)
    names = [line["model"] for line in lines]
    best = names[0] if names else None
    fitted = names + [line["model"] for line in words.apart(document)]
    shown = best or (fitted[0] if fitted else None)
    table = document["table"]
    shape = f"{words.count(table['rows'], 'row')}, {words.count(table['columns'], 'modelled column')}"
    parts = document["rows"]
    return {
        "kind": "comparison",
        "title": table["name"],
        "subtitle": f"{words.count(len(document['models']), 'model')} compared on {shape}",
        "verdict": words.verdict(document),
        "facts": [
            ("fitted on", words.count(parts["train"], "row")),
            ("settings chosen on", words.count(parts["validation"], "row")),
            ("ranked on", words.count(parts["test"], "held-out row") + _in_turn(document)),
            ("measure", document["measure"]),
        ],
        "ranking": tables.ranking(document),
        "repeats": document.get("repeats", 1),
        "baseline": words.BASELINE if words.BASELINE in names else None,
        "shared_warnings": _shared(lines),
        "reasons": bool(set(document["line_up"]) - {words.BASELINE}),
        "k_hats": any(line.get("k_hat") is not None for line in lines),
        "ranking_figure": _figure(source, "the ranking figure", "Difference from the best", figures.ranking, document)
        if lines
        else None,
        "elbo_figure": _figure(source, "ELBO", "ELBO and log-likelihood", figures.elbo_against_likelihood, document)
        if lines
        else None,
        "judged": tables.samples(document),
        "figures": list(words.SAMPLES.values()),
        "every_figure": tables.every_figure(document),
        "spaces": _spaces((document.get("samples") or {}).get("spaces", {})),
        "judged_rows": (document.get("samples") or {}).get("rows"),
        "judged_notes": (document.get("samples") or {}).get("notes", []),
        "line_up": _line_up(source, fitted),
        "left_out": _left_out(document["line_up"]),
        **_curves(source, fitted),
        **_samples(source, shown),
        "clusters": source.attempt("clusters", _clusters_of_best, source, fitted),
        "lowest": source.attempt("the rows of lowest density", _lowest, source, best) if best else None,
        **_about(source),
        "load": [('zoo.load("path/to/this/folder")', f"the best model, {shown}")]
        + [(f'zoo.load("path/to/this/folder/models/{name}")', "") for name in fitted[1:2]]
        if shown
        else [],
    }


def model_content(source: Source) -> Content:
    """The page of one fitted model."""
    model = str(source.manifest["model"])
    recipe, fit, score = source.recipe_of(model), source.manifest["fit"], source.manifest.get("score")
    sentences = [recipe["summary"].rstrip(".") + "."] if recipe.get("summary") else []
    if score and score.get("log_likelihood") is not None:
        value = words.with_error(score["log_likelihood"], score.get("standard_error"))
        rows = words.count(score["rows"], "held-out row")
        sentences.insert(0, f"`{model}`: {value} nats per row on {rows} ({words.BOUNDS[score['bound']]}).")
    clusters = source.attempt("clusters", _clusters, source, model)
    return {
        "kind": "model",
        "title": f"{source.manifest.get('table', '')} · {model}".removeprefix(" · "),
        "subtitle": f"one model, fitted on {words.count(source.manifest['n_train'], 'row')}",
        "verdict": sentences or [f"`{model}`, fitted."],
        "facts": [("measure", source.schema.measure), ("fit", _fit(fit)), *_score_facts(score)],
        "line_up": _line_up(source, [model]),
        "recipe": (source.folder / "recipe.toml").read_text(encoding="utf-8"),
        "notes": fit.get("notes", []),
        **_curves(source, [model]),
        **_samples(source, model),
        "clusters": clusters,
        "lowest": source.attempt("the rows of lowest density", _lowest, source, model),
        **_about(source),
        "load": [('zoo.load("path/to/this/folder")', "this model")],
    }


# ---------------------------------------------------------------- sections


def _in_turn(document: dict[str, Any]) -> str:
    folds, repeats = document.get("folds", 0), document.get("repeats", 1)
    return (f", in {folds} folds" if folds else "") + (f", with {repeats} seeds" if repeats > 1 else "")


def _spaces(spaces: dict[str, str]) -> list[str]:
    """Where distances are measured, the figures of one space together."""
    told = dict.fromkeys(spaces.values())
    return [f"{', '.join(k for k, v in spaces.items() if v == text)}: {text}" for text in told]


def _left_out(reasons: dict[str, str]) -> dict[str, str]:
    start = "left out: "
    return {model: why.removeprefix(start) for model, why in reasons.items() if why.startswith(start)}


def _shared(lines: list[dict[str, Any]]) -> list[str]:
    """Warnings that every model has: said once."""
    if len(lines) < 2:
        return []
    return [w for w in lines[0]["warnings"] if all(w in line["warnings"] for line in lines)]


def _figure(source: Source, section: str, label: str, make: Any, *arguments: Any, **options: Any) -> Markup | None:
    def draw() -> Markup:
        figure: Figure = make(*arguments, **options)
        return Markup(to_svg(figure, label))

    return source.attempt(section, draw)


def _fit(fit: dict[str, Any]) -> str:
    if not fit["steps"]:
        return f"closed form or EM, {words.duration(fit['seconds'])}: {fit['stopped']}"
    return f"{fit['steps']:,} steps ({fit['tier']}), {words.duration(fit['seconds'])}: {fit['stopped']}"


def _score_facts(score: dict[str, Any] | None) -> list[tuple[str, str]]:
    if not score or score.get("bound") in (None, "exact", "none") or score.get("elbo") is None:
        return []
    text = f"{words.number(score['elbo'])}, {words.number(score['gap'])} below the log-likelihood"
    k_hat = f"; k-hat {score['k_hat']:.2f}" if score.get("k_hat") is not None else ""
    shared = [(one["what"], one["says"]) for one in score.get("shared_errors", ())]
    return [("ELBO", f"{text} ({score['particles']} draws{k_hat})"), *shared]


def _line_up(source: Source, names: list[str]) -> list[dict[str, Any]]:
    """How every model came to be what it is."""
    reasons = source.comparison["line_up"] if source.manifest["kind"] == "comparison" else {}
    return [line for name in names if (line := source.attempt(f"model {name}", _model_line, source, name, reasons))]


def _model_line(source: Source, name: str, reasons: dict[str, str]) -> dict[str, Any]:
    manifest, recipe = source.manifest_of(name), source.recipe_of(name)
    choices = manifest.get("choices") or []
    chosen = chosen_of(choices)
    document = source.comparison["models"] if source.manifest["kind"] == "comparison" else []
    line: dict[str, Any] = next((one for one in document if one["model"] == name), {})
    tried = f"the best of {len(choices)} tried on validation rows" if len(choices) > 1 else ""
    return {
        "model": name,
        "summary": recipe.get("summary", ""),
        "limits": recipe.get("limits", ""),
        "why": reasons.get(name, "asked for"),
        "settings": words.settings(chosen),
        "tried": tried,
        "parameters": "" if line.get("parameters") is None else f"{line['parameters']:,}",
        "clusters": "" if line.get("clusters") is None else str(line["clusters"]),
        "fit": _fit(manifest["fit"]),
    }


def _curves(source: Source, names: list[str]) -> Content:
    histories = {n: h for n in names if (h := source.attempt("learning curves", source.history_of, n)) is not None}
    tried = {n: source.attempt("choice curves", source.manifest_of, n) or {} for n in names}
    choices = {n: m["choices"] for n, m in tried.items() if len(m.get("choices") or []) > 1}
    games = [n for n, h in histories.items() if "coverage" in h and "validation" in h]
    plays = {n: histories[n] for n in games[:MOST_CURVES]}
    curves = [n for n in histories if n not in games]
    shown = {n: histories[n] for n in curves[:MOST_CURVES]}
    return {
        "games": _figure(source, "games", "Fits chosen by their draws", figures.games, plays) if plays else None,
        "learning": _figure(source, "learning curves", "Learning curves", figures.learning_curves, shown)
        if shown
        else None,
        "no_curve": [n for n in names if n not in histories],
        "choices": _figure(source, "choice curves", "Settings tried", figures.choice_curves, choices)
        if choices
        else None,
    }


def _samples(source: Source, model: str | None) -> Content:
    if model is None:
        return {}
    drawn = source.attempt("samples", source.sample, model)
    if drawn is None:
        return {}
    schema, data = source.schema, source.data
    args = (data, drawn, schema)
    label = f"Data and samples of {model}, column by column"
    several = data is not None and len(schema.modelled) > 1
    return {
        "sampled": model,
        "draws": f"{len(drawn):,}",
        "rows_shown": None if data is None else f"{len(data):,}",
        "columns_figure": _figure(source, "columns", label, figures.columns_against_samples, *args, most=MOST_COLUMNS),
        "columns_left_out": max(0, len(schema.modelled) - MOST_COLUMNS),
        "pairs_figure": _figure(source, "pairs", "Dependent pairs", figures.pairs_against_samples, *args)
        if several
        else None,
    }


def _clusters_of_best(source: Source, names: list[str]) -> Content | None:
    """Clusters of the best model that has more than one; of a model with one where none has more."""
    single = None
    for name in names:
        found = source.attempt(f"clusters of {name}", _clusters, source, name)
        if found is not None and found["count"] > 1:
            return found | {"passed_over": single["model"] if single else None}
        single = single or found
    return single


def _clusters(source: Source, model: str) -> Content | None:
    estimator = source.estimator(model)
    if "cluster" not in estimator.model_.verbs:
        return None
    frame = source.data
    of_samples = frame is None
    if frame is None:
        frame = source.sample(model)
    most = CLUSTERED if estimator.model_.bound(False) == "exact" else CLUSTERED // 3
    most = max(200, min(most, 40_000 // max(1, len(source.schema.modelled))))
    if len(frame) > most:
        frame = frame.sample(most, random_state=0).sort_index().reset_index(drop=True)
    with quiet():
        probabilities = estimator.predict_proba(frame)
        embedding = estimator.transform(frame) if "embed" in estimator.model_.verbs else None
    assigned = probabilities.argmax(1)
    shown = profiles(frame, assigned, source.schema)
    arguments = (frame, assigned, probabilities, source.schema, embedding)
    found = len(shown.clusters) + shown.clusters_left_out
    certainty = [float(probabilities[assigned == c, c].mean()) for c in shown.clusters]
    return {
        "model": model,
        "count": found,
        "components": probabilities.shape[1],
        "merged": None if estimator.clusters_ is None else estimator.clusters_.sentence(),
        "rows": f"{len(frame):,}",
        "of_samples": of_samples,
        "profiles": _profile_rows(shown),
        "heads": [
            (c, f"{n:,}", f"{n / len(frame):.0%}", f"{sure:.0%}")
            for c, n, sure in zip(shown.clusters, shown.sizes, certainty, strict=True)
        ],
        "clusters_left_out": shown.clusters_left_out,
        "columns_left_out": shown.columns_left_out,
        "map": _figure(source, "cluster map", f"Rows by cluster of {model}", figures.cluster_map, *arguments)
        if found > 1
        else None,
        "embedded": embedding is not None,
    }


def _profile_rows(shown: Profiles) -> list[dict[str, Any]]:
    """Lines with, for every cell, its text, side (more or less than the whole) and strength 0 to 100."""
    out = []
    for line in shown.lines:
        cells = []
        for text, away in zip(line.texts, line.away, strict=True):
            side = "" if away != away or abs(away) < 0.15 else "more" if away > 0 else "less"
            strength = 0 if not side else round(min(1.0, abs(away) / 2.5) * 60)
            cells.append((text, side, strength, "" if away != away else f"{away:+.1f} sd"))
        out.append({"column": line.column, "overall": line.overall, "cells": cells})
    return out


def _lowest(source: Source, model: str) -> tables.Lowest | None:
    held_out, data = source.held_out, source.data
    if held_out is None or data is None or not len(held_out):
        return None
    if source.manifest["kind"] == "comparison":
        scores = source.scores[model]
    else:
        with quiet():
            scores = pd.Series(source.estimator(model).score_samples(held_out), index=held_out.index)
    return tables.lowest_rows(scores, held_out, data, source.schema, LOWEST)


def _about(source: Source) -> Content:
    manifest = source.manifest
    return {
        "measure": source.schema.measure,
        "missing": tables.missing(source.schema),
        "columns": source.attempt("the schema", tables.columns, source.schema, source.data) or [],
        "made": [
            ("zoo", manifest["zoo"]),
            ("made", manifest["created"].replace("T", " ").replace("+00:00", " UTC")),
            ("seed", str(manifest["seed"])),
            ("Python", manifest["python"]),
            *manifest["versions"].items(),
        ],
    }
