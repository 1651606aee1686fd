"""Figures of rows: data beside a model's samples, and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.report import style, summaries
from zoo.report.profiles import profiles
from zoo.report.style import CLUSTERS, DATA, DATA_POINT, INK, MODEL, MODEL_POINT, MUTED, PAPER, plain
from zoo.report.words import count, moment
from zoo.table.cells import numeric_values
from zoo.table.schema import Column, Schema

MOST_COLUMNS = 24
MAP_CLUSTERS = len(CLUSTERS)
SCATTER = 1500


def columns_against_samples(
    real: pd.DataFrame | None, drawn: pd.DataFrame, schema: Schema, most: int = MOST_COLUMNS
) -> Figure:
    """Every column (the first `most`): shares of the data and of the model's samples in the same bins or levels.

    real: None shows the samples alone.
    """
    columns = [c for c in schema.columns if c.role == "model" and c.kind != "ignored"][:most]
    with style.styled():
        across = min(3, max(1, len(columns)))
        figure, axes = style.panels(max(1, len(columns)), across, 1.3, margins=(0.45, 0.1, 0.6, 0.35), gap=(0.5, 0.6))
        for panel, column in zip(axes, columns, strict=False):
            (_histogram if column.is_number else _bars)(panel, real, drawn, column)
            panel.set_title(plain(column.name, 36))
        _data_key(figure, real is not None)
    return figure


def pairs_against_samples(real: pd.DataFrame, drawn: pd.DataFrame, schema: Schema, k: int = 6) -> Figure:
    """The k pairs of columns that depend most on each other in the data (mutual information), data beside samples."""
    pairs = summaries.dependent_pairs(real, schema, k)
    with style.styled():
        across = min(2, max(1, len(pairs)))
        figure, boxes = style.panels(
            max(1, len(pairs)), across, 1.65, margins=(0.85, 0.1, 0.3, 0.6), gap=(0.95, 1.0), width=4.5 * across
        )
        if not pairs:
            _nothing(boxes, "no two columns depend on each other")
        for box, (a, b) in zip(boxes, pairs, strict=False):
            _pair(*style.halves(box, 0.15), real, drawn, a, b)
    return figure


def cluster_map(
    frame: pd.DataFrame,
    labels: np.ndarray,
    probabilities: np.ndarray,
    schema: Schema,
    embedding: np.ndarray | None = None,
) -> Figure:
    """Rows on a plane, coloured by cluster, fainter where the cluster is less sure.

    embedding: (n, dim) of the model; without one, the principal axes of the standardised columns.
    """
    if embedding is None:
        plane = summaries.plane(summaries.standardised(frame, schema), "standardised columns")
    else:
        plane = summaries.plane(embedding, "the model's embedding")
    sure = probabilities.max(1) if len(probabilities) else np.zeros(0)
    found, counts = np.unique(labels, return_counts=True)
    shown = found[np.argsort(-counts, kind="stable")][:MAP_CLUSTERS]
    with style.styled():
        figure, (axes,) = style.panels(1, 1, 4.2, margins=(0.6, 1.6, 0.15, 0.5), width=7.5)
        rest = ~np.isin(labels, shown)
        _points(axes, plane.xy[rest], MUTED, 0.3 * np.ones(int(rest.sum())))
        for colour, cluster in zip(CLUSTERS, shown, strict=False):
            here = labels == cluster
            _points(axes, plane.xy[here], colour, 0.15 + 0.65 * sure[here] ** 2, f"cluster {cluster}")
        if len(shown) <= 12:
            for cluster in shown:
                _name(axes, np.median(plane.xy[labels == cluster], 0), str(cluster))
        for axis, share, nth in zip((axes.xaxis, axes.yaxis), plane.share, ("first", "second"), strict=True):
            axis.set_label_text(f"{nth} principal axis of {plane.of} ({share:.0%} of the variance)")
        _map_key(axes, shown, len(found))
        style.few_ticks(axes, 5, 5)
    return figure


def cluster_profiles(frame: pd.DataFrame, labels: np.ndarray, schema: Schema) -> Figure:
    """A column a cluster, biggest first: mean or most common level, coloured by its distance from the whole table."""
    shown = profiles(frame, labels, schema)
    with style.styled():
        names = [plain(line.column, 26) for line in shown.lines]
        left = style.text_width(names) + 0.2
        k, rows = max(1, len(shown.clusters)), max(1, len(shown.lines))
        figure, (axes,) = style.panels(
            1, 1, 0.25 * rows, margins=(left, 0.1, 0.45, 0.1), width=max(4.0, left + 0.85 * k)
        )
        away = np.nan_to_num(np.array([line.away for line in shown.lines]).reshape(len(shown.lines), -1))
        colours = np.where(away[..., None] > 0, style.tint(style.SECOND, away / 2.5), style.tint(MODEL, -away / 2.5))
        if away.size:
            axes.imshow(colours, aspect="auto", interpolation="nearest")
        for y, line in enumerate(shown.lines):
            for x, text in enumerate(line.texts):
                axes.text(x, y, plain(text, 13), ha="center", va="center", size=7, color=INK)
        heads = [f"{c}\n{n} rows" for c, n in zip(shown.clusters, shown.sizes, strict=True)]
        axes.set_xticks(range(len(heads)), heads)
        axes.set_yticks(range(len(names)), names)
        axes.xaxis.tick_top()
        axes.grid(visible=False)
        axes.tick_params(length=0)
    return figure


# ---------------------------------------------------------------- one column


def _histogram(axes: Axes, real: pd.DataFrame | None, drawn: pd.DataFrame, column: Column) -> None:
    samples = summaries.finite(drawn, column)
    data = samples if real is None else summaries.finite(real, column)
    edges, log = summaries.bin_edges(data if len(data) else samples, column)
    if real is not None:
        axes.stairs(summaries.shares(data, edges), edges, fill=True, color=DATA, alpha=0.75, lw=0)
    axes.stairs(summaries.shares(samples, edges), edges, color=MODEL, lw=1.6, fill=False, baseline=None)
    if log:
        axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    beyond = [float(((v < edges[0]) | (v > edges[-1])).mean()) if len(v) else 0.0 for v in (data, samples)]
    if max(beyond) >= 0.01:
        axes.set_ylim(top=1.15 * axes.get_ylim()[1])
        text = f"beyond: {beyond[0]:.0%} of data, {beyond[1]:.0%} of samples"
        axes.text(1, 1, text, transform=axes.transAxes, ha="right", va="top", size=7, color=MUTED)
    _ticks(axes.xaxis, column, edges[0], edges[-1], log)
    _shares_axis(axes.yaxis)


def _bars(axes: Axes, real: pd.DataFrame | None, drawn: pd.DataFrame, column: Column) -> None:
    names = summaries.top_levels(drawn if real is None else real, column)
    texts = [plain(name, 15) for name in names]
    style.shift_left_edge(axes, max(0.0, style.text_width(texts, 7.5) - 0.25))
    y = np.arange(len(names), dtype=float)
    if real is not None:
        axes.barh(y - 0.2, summaries.level_shares(real, names, column), 0.4, color=DATA, alpha=0.75, lw=0)
    axes.barh(y + 0.2 * (real is not None), summaries.level_shares(drawn, names, column), 0.4, color=MODEL, lw=0)
    axes.set_yticks(y, texts, size=7.5 if len(names) <= 8 else 6.0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    style.few_ticks(axes, 3, 0)
    _shares_axis(axes.xaxis)


def _shares_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(3))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g}%"))


def _ticks(axis: Any, column: Column, low: float, high: float, log: bool = False, most: int = 4) -> None:
    """Ticks of a numeric column: dates for time, short numbers otherwise."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if log:
        decades = np.log10(max(high, 1e-300) / max(low, 1e-300))
        subs = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.5 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(10, subs=subs))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(most - (column.kind == "time"), integer=(column.step or 0) >= 1))
    if column.kind == "time":
        short = high - low > 3
        axis.set_major_formatter(FuncFormatter(lambda v, _: moment(v, 1.0 if short else None)))
    else:
        axis.set_major_formatter(FuncFormatter(lambda v, _: _short(v)))


def _short(value: float) -> str:
    """1500000 as 1.5M: a number for a tick."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if limit <= size < 1e13:
            return f"{value / (1e3 if letter == 'k' else limit):g}{letter}"
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}", 1) if size >= 1e-4 else f"{value:.2g}"


def _data_key(figure: Figure, both: bool) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=DATA, alpha=0.75, lw=0, label="data")] if both else []
    handles.append(Patch(facecolor=MODEL, lw=0, label="samples of the model"))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.03, 1.0), ncols=2, borderaxespad=0.1, handlelength=1.2
    )


# ---------------------------------------------------------------- two columns


def _pair(left: Axes, right: Axes, real: pd.DataFrame, drawn: pd.DataFrame, a: Column, b: Column) -> None:
    """Data on the left, samples on the right, in the same window."""
    if a.is_number and b.is_number:
        _scatter(left, right, real, drawn, a, b)
    elif a.is_number or b.is_number:
        number, level = (a, b) if a.is_number else (b, a)
        _by_level(left, right, real, drawn, number, level)
        a, b = number, level
    else:
        _squares(left, right, real, drawn, a, b)
    left.set_title("data", color=MUTED, weight="normal")
    right.set_title("samples", color=MODEL, weight="normal")
    for panel in (left, right):
        panel.set_xlabel(plain(a.name, 26))
    left.set_ylabel(plain(b.name, 24))


def _scatter(left: Axes, right: Axes, real: pd.DataFrame, drawn: pd.DataFrame, a: Column, b: Column) -> None:
    (x_edges, x_log), (y_edges, y_log) = (summaries.bin_edges(summaries.finite(real, c), c) for c in (a, b))
    jitter, most = np.random.default_rng(0), min(len(real), len(drawn), SCATTER)
    for axes, frame, colour in ((left, real, DATA_POINT), (right, drawn, MODEL_POINT)):
        x, y = (_spread_out(numeric_values(frame[c.name], c), c, jitter) for c in (a, b))
        keep = np.flatnonzero(~np.isnan(x + y))[:most]
        _points(axes, np.column_stack([x, y])[keep], colour, np.full(len(keep), 0.45 if len(keep) > 400 else 0.6))
        for axis, scale, edges, column, log in (
            (axes.xaxis, axes.set_xscale, x_edges, a, x_log),
            (axes.yaxis, axes.set_yscale, y_edges, b, y_log),
        ):
            if log:
                scale("log")
            _ticks(axis, column, edges[0], edges[-1], log, 3)
        axes.set_xlim(x_edges[0], x_edges[-1])
        axes.set_ylim(y_edges[0], y_edges[-1])
    right.tick_params(axis="y", labelleft=False)


def _spread_out(values: np.ndarray, column: Column, jitter: np.random.Generator) -> np.ndarray:
    """Rounded values moved inside their cell, so that ties show as a crowd."""
    return values if column.step is None else values + column.step * jitter.uniform(-0.35, 0.35, len(values))


def _by_level(left: Axes, right: Axes, real: pd.DataFrame, drawn: pd.DataFrame, number: Column, level: Column) -> None:
    """Median, middle half and middle nine tenths of a number for each level."""
    names = summaries.top_levels(real, level, 8)
    edges, log = summaries.bin_edges(summaries.finite(real, number), number)
    for axes, frame, colour in ((left, real, MUTED), (right, drawn, MODEL)):
        values, index = (
            numeric_values(frame[number.name], number),
            summaries.level_index(frame[level.name], names, level),
        )
        for y in range(len(names)):
            here = values[(index == y) & ~np.isnan(values)]
            if not len(here):
                continue
            q = np.quantile(here, [0.05, 0.25, 0.5, 0.75, 0.95])
            axes.plot(q[[0, 4]], [y, y], color=colour, lw=1.1, solid_capstyle="butt")
            axes.plot(q[[1, 3]], [y, y], color=colour, lw=4.5, alpha=0.55, solid_capstyle="butt")
            axes.plot(q[2], y, "o", color=colour, mec=PAPER, ms=5.5)
        if log:
            axes.set_xscale("log")
        _ticks(axes.xaxis, number, edges[0], edges[-1], log, 3)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    _level_ticks(left, right, names)


def _squares(left: Axes, right: Axes, real: pd.DataFrame, drawn: pd.DataFrame, a: Column, b: Column) -> None:
    """Share of each level of b within each level of a."""
    across, down = summaries.top_levels(real, a, 8), summaries.top_levels(real, b, 8)
    for axes, frame, colour in ((left, real, DATA_POINT), (right, drawn, MODEL_POINT)):
        i = summaries.level_index(frame[a.name], across, a)
        j = summaries.level_index(frame[b.name], down, b)
        both = (i >= 0) & (j >= 0)
        table = np.zeros((len(down), len(across)))
        np.add.at(table, (j[both], i[both]), 1.0)
        table /= np.maximum(table.sum(0, keepdims=True), 1)
        axes.imshow(style.tint(colour, table), aspect="auto", interpolation="nearest")
        upright = sum(map(len, across)) > 22
        names = [plain(n, 8 if upright else 22) for n in across]
        axes.set_xticks(range(len(across)), names, size=7, rotation=90 if upright else 0)
        axes.grid(visible=False)
        axes.tick_params(length=0)
    _level_ticks(left, right, down)


def _level_ticks(left: Axes, right: Axes, names: list[str]) -> None:
    left.set_yticks(range(len(names)), [plain(n, 9) for n in names], size=7.5)
    right.set_yticks(range(len(names)), [""] * len(names))


# ---------------------------------------------------------------- points


def _points(axes: Axes, xy: np.ndarray, colour: str, alpha: np.ndarray, label: str = "") -> None:
    """A crowd of points; drawn as pixels, so that a page stays small."""
    if not len(xy):
        return
    size = 16 if len(xy) < 300 else 8 if len(xy) < 1200 else 5
    axes.scatter(xy[:, 0], xy[:, 1], s=size, c=style.tint(colour, alpha), lw=0, rasterized=True, label=label or None)


def _name(axes: Axes, at: np.ndarray, text: str) -> None:
    box = {"boxstyle": "round,pad=0.2", "fc": PAPER, "ec": "none", "alpha": 0.8}
    axes.annotate(text, (float(at[0]), float(at[1])), ha="center", va="center", size=8.5, weight="bold", bbox=box)


def _map_key(axes: Axes, shown: np.ndarray, found: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker="o", ms=6, mec="none", mfc=colour, label=f"cluster {cluster}")
        for colour, cluster in zip(CLUSTERS, shown, strict=False)
    ]
    title = count(found, "cluster") if len(shown) == found else f"{len(shown)} biggest of {found} clusters"
    if len(shown) < found:
        handles.append(Line2D([], [], ls="", marker="o", ms=6, mec="none", mfc=MUTED, alpha=0.4, label="the others"))
    legend = axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), title=title, borderaxespad=0)
    legend.get_title().set_fontsize(8.5)


def _nothing(axes: Sequence[Axes], text: str) -> None:
    for panel in axes:
        panel.set_axis_off()
    axes[0].text(0, 0.5, text, color=MUTED)
