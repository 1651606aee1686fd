"""The tables of a report, as rows of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from zoo.report import words
from zoo.table.cells import label, labels, numeric_values
from zoo.table.inspect import describe
from zoo.table.schema import Column, Schema

RARE = 0.01
MOST_COLUMNS = 24


# ---- the ranking


def ranking(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A dict of text for each model of comparison.json, in its order."""
    errors = [line["difference_se"] for line in words.scored(document) if line["difference_se"]]
    return [_ranked(place, line, min(errors, default=None)) for place, line in enumerate(document["models"], start=1)]


def _ranked(place: int, line: dict[str, Any], finest: float | None) -> dict[str, Any]:
    samples = {name: words.share(line.get(name)) for name in words.SAMPLED}
    if line["log_likelihood"] is None:
        apart = line["bound"] == "none"
        said = {"apart": apart, "warnings": line["warnings"], "seconds": words.duration(line["seconds"])}
        failed = {} if apart else {"failed": "; ".join(line["warnings"]) or "it gives no density"}
        return {"model": line["model"], "place": ""} | samples | said | failed
    best = place == 1
    k_hat, clusters, parameters = line.get("k_hat"), line.get("clusters"), line.get("parameters")
    exact = line["bound"] == "exact"
    difference = words.number(line["difference"], finest)
    error = line["difference_se"]
    return {
        "model": line["model"],
        "place": place,
        "baseline": line["model"] == words.BASELINE,
        "best": best,
        "close": not best and words.indistinguishable(line),
        "log_likelihood": words.with_error(line["log_likelihood"], line["standard_error"]),
        "bound": line["bound"],
        "difference": ""
        if best
        else difference + (f" ± {error:.{words.decimals(finest)}f}" if error is not None else ""),
        "above": ""
        if line["model"] == words.BASELINE
        else words.with_error(line["above_baseline"], line["above_baseline_se"]),
        "elbo": words.number(line["elbo"], line["standard_error"]),
        "gap": "" if exact else words.number(line["gap"], max(line["monte_carlo_error"], 0.005)),
        "k_hat": "" if k_hat is None else f"{k_hat:.2f}",
        "monte_carlo": ""
        if exact
        else "; ".join(
            [f"{line['particles']} draws, Monte Carlo error {_small(line['monte_carlo_error'])}"]
            + [shared["says"] for shared in line.get("shared_errors", ())]
        ),
        "clusters": "" if clusters is None else str(clusters),
        "parameters": "" if parameters is None else f"{parameters:,}",
        "seconds": words.duration(line["seconds"]),
        "settings": words.settings(line.get("settings") or {}),
        "warnings": line["warnings"],
        "bounded": not exact,
    } | samples


def samples(document: dict[str, Any]) -> list[dict[str, Any]]:
    """How good each model's rows are, best C2ST first, real rows above and independent columns below; none where they
    were not judged."""
    every = _judged(document)
    return [
        {
            "model": name,
            "end": i in (0, len(every) - 1),
            "figures": [words.share(line.get(key), line.get(f"{key}_se")) for key in words.SAMPLES],
        }
        for i, (name, line) in enumerate(every)
    ]


def every_figure(document: dict[str, Any]) -> dict[str, Any]:
    """All figures of samples, one a row: its name, what it says, and its values in the order of `samples`."""
    every, says = _judged(document), (document.get("samples") or {}).get("says", {})
    rows = [
        (name, said, [words.figure(line.get(name), line.get(f"{name}_se")) for _, line in every])
        for name, said in says.items()
    ]
    return {"models": [name for name, _ in every], "rows": rows}


def _judged(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Figures of real rows, of every model's that was judged, and of independent columns."""
    found = document.get("samples")
    if not found:
        return []
    lines = [line for line in document["models"] if line.get("shape") is not None]
    lines.sort(key=lambda line: (-(line["c2st"] or 0.0), -(line["trend"] or 0.0)))
    every = [("real rows", found["ceiling"]), *((line["model"], line) for line in lines)]
    return [*every, ("independent columns", found["floor"])]


def _small(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


# ---- the rows of lowest density


@dataclass(frozen=True)
class Lowest:
    """index, log_likelihood, and cells (text, is it rare) of the rows with the lowest density, the lowest first."""

    columns: list[str]
    rows: list[tuple[str, str, list[tuple[str, bool]]]]
    left_out: int
    typical: str


def lowest_rows(
    scores: pd.Series, held_out: pd.DataFrame, reference: pd.DataFrame, schema: Schema, k: int = 10
) -> Lowest:
    """The k held-out rows of lowest log-likelihood; a cell is rare where at most 1% of `reference` is as far out."""
    order = np.argsort(scores.to_numpy(), kind="stable")[:k]
    columns = [c for c in schema.columns if c.role in ("model", "given") and c.kind != "ignored"]
    rare = {c.name: _rarity(held_out[c.name].iloc[order], reference[c.name], c) for c in columns}
    if len(columns) > MOST_COLUMNS:
        rarest = sorted(columns, key=lambda c: float(np.nanmin(rare[c.name], initial=1.0)))[:MOST_COLUMNS]
        shown = [c for c in columns if c in rarest]
    else:
        shown = columns
    texts = {c.name: [_cell(v) for v in held_out[c.name].iloc[order]] for c in shown}
    rows = []
    for i, position in enumerate(order):
        cells = [(texts[c.name][i], bool(rare[c.name][i] <= RARE)) for c in shown]
        rows.append((_cell(scores.index[position]), words.number(float(scores.iloc[position])), cells))
    return Lowest([c.name for c in shown], rows, len(columns) - len(shown), words.number(float(scores.median())))


def _rarity(cells: pd.Series, reference: pd.Series, column: Column) -> np.ndarray:
    """Share of the reference that is at least as far out on that side, or has that level; NaN where missing."""
    if column.is_number:
        values, known = numeric_values(cells, column), numeric_values(reference, column)
        known = np.sort(known[~np.isnan(known)])
        below = np.searchsorted(known, values, side="right")
        above = len(known) - np.searchsorted(known, values, side="left")
        return np.where(np.isnan(values), np.nan, np.minimum(below, above) / max(len(known), 1))
    share = labels(reference).value_counts(normalize=True)
    names = labels(cells)
    return np.array([np.nan if pd.isna(name) else float(share.get(name, 0.0)) for name in names])


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, float | np.floating):
        return f"{float(value):.7g}"
    text = label(value)
    return text if len(text) <= 40 else text[:39] + "…"


# ---- columns


def missing(schema: Schema) -> list[tuple[str, str, float]]:
    """(column, share in words, share) of the columns with missing cells, most first."""
    gaps = sorted((c for c in schema.modelled if c.missing > 0), key=lambda c: -c.missing)
    return [(c.name, _share(c.missing), c.missing) for c in gaps]


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def columns(schema: Schema, data: pd.DataFrame | None) -> list[dict[str, str]]:
    """What each column is, with the range of the rows shown where there are any."""
    found = None if data is None else describe(data, schema)
    return [_described(c, None if found is None else found.loc[c.name].to_dict()) for c in schema.columns]


def _described(column: Column, found: Mapping[Any, Any] | None) -> dict[str, str]:
    levels = ", ".join(column.levels[:8]) + (f" … {len(column.levels)} in all" if len(column.levels) > 8 else "")
    middle = ""
    if found is not None and found["median"] is not None:
        middle = " · ".join(_cell(found[k]) for k in ("min", "median", "max"))
    elif found is not None and found["most_common"] is not None and column.kind != "ignored":
        middle = f"mostly {_cell(found['most_common'])}"
    unit = "d" if column.kind == "time" else ""
    return {
        "name": column.name,
        "kind": column.kind if column.role == "model" else f"{column.kind}, {column.role}",
        "measure": _measure(column),
        "step": "" if column.step is None else f"{column.step:g}{unit}",
        "transform": "" if column.transform == "none" else column.transform,
        "levels": levels,
        "range": middle,
        "missing": _share(column.missing) if column.missing else "",
        "note": column.note,
    }


def _measure(column: Column) -> str:
    if column.role != "model" or column.kind == "ignored":
        return ""
    if not column.is_number:
        return "mass"
    return "density" if column.step is None else "mass / width"
