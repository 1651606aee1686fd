"""The look of the figures: colours, panels laid out in inches, and how a figure becomes part of a page."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1d2126", "#6a727c", "#e2e5e9", "#fdfdfc"
DATA, MODEL, SECOND = "#98a4b1", "#0b7285", "#d9622b"
DATA_POINT, MODEL_POINT = "#77828e", "#128ba0"  # drawn as pixels, so the same on light and dark paper

VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper", DATA: "data", MODEL: "accent", SECOND: "second"}
"""Colours that a page may change, by the name of its CSS variable."""

CLUSTERS = (
    *("#3b82c4", "#e07b39", "#3a9d6b", "#c94f6d", "#8a63c9", "#a8832a", "#2aa3a8", "#d46fb0"),
    *("#7a9a2e", "#5b6ee1", "#b0553a", "#5f8a8b", "#c29b0c", "#9c4a97", "#4a8f3c", "#7d7f88"),
)
WIDTH = 9.0

_LOOK: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.pad": 2.5,
    "ytick.major.pad": 2.5,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "svg.fonttype": "none",
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """seaborn's white grid in zoo's colours, inside the block only."""
    with matplotlib.rc_context({**seaborn.axes_style("whitegrid"), **_LOOK}):
        yield


def plain(text: object, most: int = 60) -> str:
    """Text of a user on one line, shortened, with nothing left for matplotlib to read as mathematics."""
    line = " ".join(str(text).split()) or " "
    short = line if len(line) <= most else line[: most - 1] + "…"
    return short.replace("$", r"\$")


def panels(
    n: int,
    columns: int,
    height: float,
    *,
    gap: tuple[float, float] = (0.5, 0.62),
    margins: tuple[float, float, float, float] = (0.45, 0.1, 0.3, 0.5),
    width: float = WIDTH,
) -> tuple[Figure, list[Axes]]:
    """n axes in rows of `columns`, sizes in inches.

    gap      between columns, between rows
    margins  left, right, top, bottom
    """
    left, right, top, bottom = margins
    rows = -(-n // columns)
    total = top + rows * height + (rows - 1) * gap[1] + bottom
    wide = (width - left - right - (columns - 1) * gap[0]) / columns
    figure = Figure(figsize=(width, total))
    axes = []
    for i in range(n):
        row, column = divmod(i, columns)
        x, y = left + column * (wide + gap[0]), total - top - (row + 1) * height - row * gap[1]
        axes.append(figure.add_axes((x / width, y / total, wide / width, height / total)))
    return figure, axes


def halves(axes: Axes, inches: float) -> tuple[Axes, Axes]:
    """Axes replaced by two, side by side, with a gap of so many inches."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    box, gap = axes.get_position(), inches / figure.get_figwidth()
    axes.remove()
    wide = (box.width - gap) / 2
    return (
        figure.add_axes((box.x0, box.y0, wide, box.height)),
        figure.add_axes((box.x0 + wide + gap, box.y0, wide, box.height)),
    )


def shift_left_edge(axes: Axes, inches: float) -> None:
    """Move the left edge of axes to the right, where labels need the room."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    box, move = axes.get_position(), inches / figure.get_figwidth()
    axes.set_position((box.x0 + move, box.y0, box.width - move, box.height))


def text_width(texts: list[str], size: float = 8.0) -> float:
    """Inches that the longest of these texts takes, about."""
    return max((len(t) for t in texts), default=0) * size * 0.6 / 72


def few_ticks(axes: Axes, x: int = 4, y: int = 3) -> None:
    """No more than so many ticks on the linear axes."""
    from matplotlib.ticker import MaxNLocator

    if x and axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(x))
    if y and axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(y))


def tint(colour: str, strength: np.ndarray) -> np.ndarray:
    """One colour with the opacities `strength` (...,) in [0, 1]: (..., 4)."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    alpha = np.clip(strength, 0.0, 1.0)[..., None]
    return np.concatenate([np.broadcast_to(rgb, (*alpha.shape[:-1], 3)), alpha], -1)


def to_svg(figure: Figure, label: str) -> str:
    """A figure as inline SVG that takes its colours and letters from the page around it.

    label: what a reader who cannot see the figure is told; it must be escaped where the page does not do so.
    """
    from html import escape

    stream = io.StringIO()
    with styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has the letters that matplotlib's font lacks
        with matplotlib.rc_context({"svg.hashsalt": label}):
            figure.savefig(stream, format="svg", transparent=True, dpi=150)
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    body = re.sub(r' id="[\w.]+_\d+"', "", body)
    body = re.sub(r"font-family: [^;\"]*|font: ([\d.]+px) [^;\"]*", _font, body)
    body = re.sub(r"\b(fill|stroke): (#[0-9a-f]{6})", _colour, body)
    wide = round(figure.get_figwidth() * 118)
    return f'<svg {box[0]} style="--wide: {wide}px" role="img" aria-label="{escape(label)}">{body}'


def _font(found: re.Match[str]) -> str:
    return f"font-size: {found[1]}" if found[1] else "font-family: inherit"


def _colour(found: re.Match[str]) -> str:
    name = VARIABLES.get(found[2])
    return f"{found[1]}: var(--{name})" if name else found[0]
