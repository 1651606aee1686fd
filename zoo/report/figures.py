"""Figures of a comparison and of a fit, as matplotlib Figures that no global state knows of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.fitting.choose import chosen
from zoo.report import style
from zoo.report.rows_figures import cluster_map, cluster_profiles, columns_against_samples, pairs_against_samples
from zoo.report.style import DATA, INK, MODEL, MUTED, PAPER, SECOND, plain
from zoo.report.words import BASELINE, indistinguishable, number, scored, with_error

__all__ = [
    "choice_curves",
    "cluster_map",
    "cluster_profiles",
    "columns_against_samples",
    "elbo_against_likelihood",
    "games",
    "learning_curves",
    "pairs_against_samples",
    "ranking",
]

MARKERS = {"exact": ("o", "exact"), "lower": (">", "lower bound"), "estimate": ("D", "estimate")}
ROW = 0.3
TURNS = (DATA, MODEL, SECOND, INK)


def ranking(document: dict[str, Any]) -> Figure:
    """Difference of every model from the best, nats per row, with one and two paired standard errors."""
    lines = scored(document)
    with style.styled():
        figure, axes = _by_model(lines, right=1.45)
        values = [line["difference"] for line in lines]
        errors = [line["difference_se"] or 0.0 for line in lines]
        ends = [v - 2 * e for v, e in zip(values, errors, strict=True)]
        low = min([_reach(ends, 0.0), *(end for end, x in zip(ends, lines, strict=True) if indistinguishable(x))])
        base = next((line["difference"] for line in lines if line["model"] == BASELINE), None)
        if base is not None and base > low:
            axes.axvline(base, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
        for y, (line, value, error) in enumerate(zip(lines, values, errors, strict=True)):
            colour = MODEL if indistinguishable(line) else MUTED if line["model"] == BASELINE else INK
            if value < low:
                axes.annotate("", (low, y), (low + 0.04 * -low, y), arrowprops={"arrowstyle": "->", "color": colour})
            else:
                axes.plot([value - 2 * error, value + 2 * error], [y, y], color=colour, lw=1, solid_capstyle="butt")
                axes.plot([value - error, value + error], [y, y], color=colour, lw=3, solid_capstyle="butt")
                _mark(axes, value, y, line["bound"], colour)
            text = "best" if y == 0 else with_error(value, line["difference_se"])
            axes.annotate(text, (1.015, y), xycoords=("axes fraction", "data"), va="center", color=colour, size=8.5)
        far = max([v + 2 * e for v, e in zip(values, errors, strict=True)], default=0.0)
        axes.set_xlim(low * 1.03 if low else -1.0, max(far * 1.1, 0.03 * abs(low), 1e-3))
        axes.set_xlabel("difference from the best model, nats per row (± one and two paired standard errors)")
        _legend(figure, axes, lines)
    return figure


def elbo_against_likelihood(document: dict[str, Any]) -> Figure:
    """ELBO and log-likelihood of every model, the gap between them drawn and written out."""
    lines = [line for line in scored(document) if line["elbo"] is not None]
    with style.styled():
        figure, axes = _by_model(lines, right=1.45)
        high = max((line["log_likelihood"] for line in lines), default=0.0)
        low = _reach([line["elbo"] for line in lines], high)
        for y, line in enumerate(lines):
            value, elbo, exact = line["log_likelihood"], line["elbo"], line["bound"] == "exact"
            start = max(elbo, low)
            if value >= low:
                axes.plot([start, value], [y, y], color=SECOND, lw=3.5, alpha=0.45, solid_capstyle="butt")
                if elbo >= low and not exact:
                    axes.plot([elbo], [y], "o", ms=7.5, mfc=PAPER, mec=SECOND, mew=1.6, zorder=3)
                _mark(axes, value, y, line["bound"], INK)
            if start > elbo or value < low:
                axes.annotate("◂", (low, y), ha="right", va="center", color=MUTED, size=8)
            text = "no gap: exact" if exact else f"gap {number(line['gap'], max(line['monte_carlo_error'], 0.005))}"
            axes.annotate(text, (1.015, y), xycoords=("axes fraction", "data"), va="center", color=MUTED, size=8.5)
        pad = 0.04 * ((high - low) or 1.0)
        axes.set_xlim(low - pad, high + pad)
        axes.set_xlabel("nats per row on held-out rows, higher is better")
        bounded = any(line["bound"] != "exact" for line in lines)
        extra = [("o", "ELBO", {"mfc": PAPER, "mec": SECOND, "mew": 1.6})] if bounded else []
        _legend(figure, axes, lines, "log-likelihood, ", extra)
    return figure


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Training (less the loss) and validation by step, one panel a model, nats per row; the best look is marked."""
    with style.styled():
        columns = min(3, max(1, len(histories)))
        width = style.WIDTH * (0.05 + 0.95 * columns / 3)
        figure, axes = style.panels(
            max(1, len(histories)), columns, 1.6, margins=(0.7, 0.12, 0.55, 0.5), gap=(0.55, 0.65), width=width
        )
        for panel, (name, history) in zip(axes, histories.items(), strict=False):
            _curve(panel, name, history)
        axes[0].set_ylabel("nats per row")
        for panel in axes[-columns:]:
            panel.set_xlabel("step")
        _key(
            figure, [("-", DATA, "training: less the loss"), ("-", MODEL, "validation rows"), ("o", MODEL, "best look")]
        )
    return figure


def games(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Of fits chosen by their draws, by step: how well these agree with validation rows, the share of them that draws
    reach, of draws near one, and of what the critic tells, and the size of each player's gradient, or the loss."""
    with style.styled():
        figure, axes = style.panels(3 * len(histories), 3, 1.6, margins=(0.7, 0.12, 0.55, 0.5), gap=(0.55, 0.65))
        for (name, history), (agreement, shares, gradients) in zip(
            histories.items(), zip(axes[::3], axes[1::3], axes[2::3], strict=True), strict=True
        ):
            looks, history = history, history.dropna(subset="validation")
            step = history["step"].to_numpy(float)
            agreement.plot(step, history["validation"], color=MODEL, lw=1.6)
            agreement.set_title(plain(name, 24) + ": agreement")
            shares.plot(step, history["coverage"], color=MODEL, lw=1.6)
            if "precision" in history:
                shares.plot(step, history["precision"], "--", color=MODEL, lw=1.2)
            if "critic_accuracy" in history:
                shares.plot(step, history["critic_accuracy"], color=SECOND, lw=1.6)
            shares.set_ylim(0, 1.02)
            shares.set_title("shares")
            norms = [key for key in map(str, history) if key.endswith("_gradient")]
            for key, colour in zip(norms, TURNS, strict=False):
                gradients.plot(step, history[key], color=colour, lw=1.4, label=key.removesuffix("_gradient"))
            if norms:
                gradients.set_title("size of gradients")
                gradients.set_yscale("log")
                gradients.yaxis.set_major_formatter("{x:g}")
                gradients.yaxis.set_minor_formatter("{x:g}")
                gradients.legend(frameon=False, fontsize=7)
            else:
                gradients.plot(looks["step"].to_numpy(float), looks["loss"].to_numpy(float), color=DATA, lw=1.4)
                gradients.set_title("loss")
            for panel in (agreement, shares) if norms else (agreement, shares, gradients):
                style.few_ticks(panel)
        for panel in axes[-3:]:
            panel.set_xlabel("step")
        reached = [("-", MODEL, "validation rows that draws reach"), ("--", MODEL, "draws near one")]
        _key(figure, [*reached, ("-", SECOND, "rows that the critic tells")])
    return figure


def choice_curves(choices: Mapping[str, Sequence[dict[str, Any]]]) -> Figure:
    """Validation nats per row of every setting that was tried, one panel a model, the chosen one marked."""
    with style.styled():
        columns = min(3, max(1, len(choices)))
        width = style.WIDTH * (0.05 + 0.95 * columns / 3)
        figure, axes = style.panels(
            max(1, len(choices)), columns, 1.5, margins=(0.7, 0.12, 0.55, 0.5), gap=(0.55, 0.85), width=width
        )
        for panel, (name, tried) in zip(axes, choices.items(), strict=False):
            _choice(panel, name, tried)
        axes[0].set_ylabel("nats per row")
        _key(figure, [("o-", MUTED, "validation rows"), ("o", MODEL, "chosen")])
    return figure


# ---------------------------------------------------------------- parts


def _by_model(lines: list[dict[str, Any]], right: float) -> tuple[Figure, Axes]:
    """Axes with a row for each model, the first on top."""
    names = [plain(line["model"], 28) + (" (baseline)" if line["model"] == BASELINE else "") for line in lines]
    left = max(1.0, style.text_width(names, 9.0) + 0.15)
    figure, (axes,) = style.panels(1, 1, max(1, len(lines)) * ROW, margins=(left, right, 0.35, 0.5))
    axes.set_yticks(range(len(lines)), names, color=INK, size=9.0)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _reach(values: list[float], best: float) -> float:
    """The left end of an axis that ends at `best`: far-off models are left outside where they would squash the rest."""
    behind = sorted(best - v for v in values)
    typical = behind[len(behind) // 2] if len(behind) > 3 else 0.0
    far = behind[-1] if behind else 1.0
    return best - (4 * typical if 0 < 6 * typical < far else far)


def _mark(axes: Axes, x: float, y: float, bound: str, colour: str) -> None:
    marker, _ = MARKERS.get(bound, ("s", bound))
    axes.plot([x], [y], marker, ms=7, mfc=colour, mec=PAPER, mew=1.0, zorder=4)


def _legend(
    figure: Figure,
    axes: Axes,
    lines: list[dict[str, Any]],
    before: str = "",
    extra: Sequence[tuple[str, str, dict[str, Any]]] = (),
) -> None:
    from matplotlib.lines import Line2D

    bounds = [b for b in MARKERS if any(line["bound"] == b for line in lines)]
    handles = [Line2D([], [], ls="", marker=m, label=text, ms=7, **how) for m, text, how in extra]
    handles += [
        Line2D([], [], ls="", marker=MARKERS[b][0], mfc=INK, mec=PAPER, ms=7, label=before + MARKERS[b][1])
        for b in bounds
    ]
    _place(figure, handles, axes.get_position().x0)


def _key(figure: Figure, entries: list[tuple[str, str, str]]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for kind, colour, text in entries:
        line, marker = kind.replace("o", ""), ("o" if "o" in kind else None)
        handles.append(Line2D([], [], color=colour, ls=line, marker=marker, ms=5, lw=1.6, label=text))
    _place(figure, handles, 0.7 / figure.get_figwidth())


def _place(figure: Figure, handles: list[Any], x: float) -> None:
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(x - 0.01, 1.0),
        ncols=len(handles),
        borderaxespad=0.1,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def _curve(axes: Axes, name: str, history: pd.DataFrame) -> None:
    step = history["step"].to_numpy(float)
    training = -history["loss"].to_numpy(float)
    seen = [training]
    axes.plot(step, training, color=DATA, lw=1.4, marker="o" if len(step) == 1 else None, ms=3)
    if "validation" in history and history["validation"].notna().any():
        validation = history["validation"].to_numpy(float)
        seen.append(validation)
        axes.plot(step, validation, color=MODEL, lw=1.6)
        best = int(np.nanargmax(validation))
        axes.plot(step[best], validation[best], "o", color=MODEL, ms=5)
    values = np.concatenate(seen)
    values = values[np.isfinite(values)]
    if len(values) > 4:
        low, high = np.quantile(values, 0.1), values.max()
        pad = 0.15 * (high - low) or 1.0
        axes.set_ylim(max(values.min() - pad, low - 1.0 * (high - low) - pad), high + pad)
    axes.set_title(plain(name, 34))
    style.few_ticks(axes)


def _choice(axes: Axes, name: str, tried: Sequence[dict[str, Any]]) -> None:
    names = [key.rpartition(".")[2] for key in tried[0]["settings"]]
    points = [", ".join(str(v) for v in choice["settings"].values()) for choice in tried]
    values = [choice["validation"] for choice in tried]
    best = [choice["settings"] for choice in tried].index(chosen(tried))
    axes.plot(range(len(values)), values, "o-", color=MUTED, ms=3.5, lw=1.2)
    axes.plot(best, values[best], "o", color=MODEL, ms=8, zorder=4)
    axes.set_xticks(range(len(points)), [plain(p, 10) for p in points])
    axes.set_xlim(-0.5, len(points) - 0.5)
    axes.set_xlabel(plain(", ".join(names), 40))
    axes.set_title(plain(name, 34))
    axes.grid(axis="x", visible=False)
    style.few_ticks(axes, x=0)
