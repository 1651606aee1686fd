"""Numbers and findings in words: only what the numbers support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from zoo.table.cells import EPOCH

BASELINE = "independent"
SURE = 2.0
"""Standard errors within which two models are not told apart."""
ALPHA = 0.05
FEW_ROWS = 30
BOUNDS = {
    "exact": "exact",
    "lower": "a lower bound: the log-likelihood is at least this",
    "estimate": "an estimate",
    "none": "no log-likelihood",
}

SAMPLED = ("shape", "trend", "c2st")
"""Of the figures of samples, those in a ranking."""
SAMPLES = {
    "shape": "shape",
    "trend": "trend",
    "c2st": "C2ST",
    "alpha_precision": "α‑precision",
    "beta_recall": "β‑recall",
    "nearer_to_training": "nearer to train",
    "too_close": "too close",
}

Line = dict[str, Any]


# ---- numbers


def decimals(error: float | None) -> int:
    """Decimals that a number with this standard error deserves."""
    if error is None or not math.isfinite(error) or error <= 0:
        return 2
    return min(5, max(2, math.ceil(-math.log10(error))))


def number(value: float | None, error: float | None = None) -> str:
    """Nats, with the decimals that the standard error deserves."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{decimals(error)}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def share(value: float | None, error: float | None = None) -> str:
    """A figure between 0 and 1, with its standard error: `.982 ± .003`."""
    if value is None or not math.isfinite(value):
        return ""
    text = f"{value:.3f}"
    return text + (f" ± {error:.3f}" if error is not None and math.isfinite(error) else "")


def figure(value: float | None, error: float | None = None) -> str:
    """A figure of any size, with its standard error: `0.0123 ± 0.002`."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4g}" + (f" ± {error:.2g}" if error is not None and math.isfinite(error) else "")


def with_error(value: float | None, error: float | None) -> str:
    """`-1.26 ± 0.16`."""
    if value is None:
        return "–"
    return number(value, error) + (f" ± {error:.{decimals(error)}f}" if error is not None else "")


def quantity(value: float, spread: float) -> str:
    """A number of a column, to about a hundredth of the column's spread."""
    if not math.isfinite(value):
        return "–"
    size = max(abs(value), spread)
    if size >= 1e9 or 0 < size < 1e-4:
        return f"{value:.3g}"
    places = min(6, max(0, 1 - math.floor(math.log10(spread)))) if spread > 0 else 2
    text = f"{value:,.{places}f}" if abs(value) >= 1e4 else f"{value:.{places}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def moment(days: float, step: float | None = 1.0) -> str:
    """Days since 1970-01-01 as a date, with the clock where the column has one."""
    stamp = EPOCH + pd.Timedelta(seconds=round(days * 86400))
    return stamp.strftime("%Y-%m-%d" if step is not None and step >= 1 else "%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    if seconds < 0.05:
        return "under 0.1 s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" and {quoted[-1]}"


def settings(chosen: dict[str, Any]) -> str:
    """`components = 3`: settings without the axis they belong to."""
    return ", ".join(f"{key.rpartition('.')[2]} = {value}" for key, value in chosen.items())


# ---- findings


def scored(document: Line) -> list[Line]:
    """The lines of a comparison with a log-likelihood, best first."""
    return [line for line in document["models"] if line["log_likelihood"] is not None]


def indistinguishable(line: Line) -> bool:
    """True where the difference from the best may be chance, corrected for choosing among many (in a run of an earlier
    zoo: where it is within two of its standard errors), and where there is nothing to judge by."""
    if line.get("p_adjusted") is not None:
        return bool(line["p_adjusted"] > ALPHA)
    if line["difference_se"] is None:
        return True
    return abs(line["difference"]) <= SURE * line["difference_se"]


def verdict(document: Line) -> list[str]:
    """What a comparison found: the best model first, then what it could not be told from, and what that is worth."""
    lines, rows = scored(document), document["rows"]["test"]
    if not lines:
        return ["No model has a log-likelihood on this table.", *_apart_from(document), *_failed(document)]
    best = lines[0]
    head = f"`{best['model']}` is best: {with_error(best['log_likelihood'], best['standard_error'])} nats per row"
    head += f" on {count(rows, 'held-out row')} ({BOUNDS[best['bound']]})."
    return [
        head,
        *_close(lines),
        *_luck(document),
        *_stack(document),
        *_baseline(lines),
        *_bounds(lines[1:]),
        *_apart_from(document),
        *_failed(document),
        *_few(rows),
    ]


def _close(lines: list[Line]) -> list[str]:
    best, *others = lines
    if not others:
        return []
    if best["difference_se"] is None:
        return ["One held-out row cannot tell models apart."]
    close = [line for line in others if indistinguishable(line)]
    if not close:
        second = others[0]
        return [f"The next, `{second['model']}`, is {_apart(second)} below it."]
    if len(close) > 2:
        most = _apart(max(close, key=lambda line: abs(line["difference"])))
        return [f"{listed(_names(close))} are not distinguishable from it (largest difference {most})."]
    told = [f"`{line['model']}` (difference {_apart(line)})" for line in close]
    text = " and ".join(told)
    verb = "is" if len(close) == 1 else "are"
    return [f"{text} {verb} not distinguishable from it."]


def _luck(document: Line) -> list[str]:
    """What the best number is worth, of a model chosen for it: said where luck is more than a rounding."""
    found = document.get("choice")
    if not found or found["log_likelihood"] is None or found["luck"] < 0.01:
        return []
    value = f"{number(found['log_likelihood'])} where `{document['models'][0]['model']}` has {number(found['best'])}"
    return [f"Chosen on half of these rows, the best model of that half has {value} on the other half."]


def _stack(document: Line) -> list[str]:
    found = document.get("stacking")
    if not found or found["log_likelihood"] is None or found["difference_se"] is None:
        return []
    weights = sorted(((w, name) for name, w in found["weights"].items() if w), reverse=True)
    if len(weights) < 2:
        return []
    of = ", ".join(f"`{name}` {w:.2f}" for w, name in weights[:6]) + (", ..." if len(weights) > 6 else "")
    difference = with_error(found["difference"], found["difference_se"])
    return [
        f"A stack of {of} has {with_error(found['log_likelihood'], found['standard_error'])}: {difference} from it."
    ]


def _apart(line: Line) -> str:
    return with_error(abs(line["difference"]), line["difference_se"])


def _baseline(lines: list[Line]) -> list[str]:
    others = [line for line in lines if line["model"] != BASELINE and line.get("above_baseline") is not None]
    if not others or any(line["above_baseline_se"] is None for line in others):
        return []
    better = [line for line in others if line["above_baseline"] > SURE * line["above_baseline_se"]]
    worse = [line for line in others if line["above_baseline"] < -SURE * line["above_baseline_se"]]
    neither = [line for line in others if line not in better and line not in worse]
    out = []
    if better:
        least = min(better, key=lambda line: line["above_baseline"])
        gain = with_error(least["above_baseline"], least["above_baseline_se"])
        if len(others) == 1:
            out.append(f"It beats independent columns by {gain}.")
        elif len(better) == len(others):
            out.append(f"All beat independent columns, by at least {gain} nats per row.")
        else:
            verb = "beats" if len(better) == 1 else "beat"
            least_or_by = "by" if len(better) == 1 else "by at least"
            out.append(f"{listed(_names(better))} {verb} independent columns, {least_or_by} {gain} nats per row.")
    if neither:
        verb = "is" if len(neither) == 1 else "are"
        out.append(f"{listed(_names(neither))} {verb} not distinguishable from independent columns.")
    if worse:
        verb = "is" if len(worse) == 1 else "are"
        out.append(f"{listed(_names(worse))} {verb} worse than independent columns.")
    return out


def _bounds(others: list[Line]) -> list[str]:
    lower = _names([line for line in others if line["bound"] == "lower"])
    if not lower:
        return []
    many = len(lower) > 1
    names = listed(lower)
    if many:
        return [f"The numbers of {names} are lower bounds: their log-likelihoods may be higher."]
    return [f"The number of {names} is a lower bound: its log-likelihood may be higher."]


def apart(document: Line) -> list[Line]:
    """The lines of fitted models that have no likelihood, in their order."""
    return [line for line in document["models"] if line["bound"] == "none"]


def _apart_from(document: Line) -> list[str]:
    lines = apart(document)
    if not lines:
        return []
    verb = "has" if len(lines) == 1 else "have"
    said = f"{listed(_names(lines))} {verb} no likelihood"
    if lines[0].get("c2st") is None:
        return [f"{said} and cannot be ranked with the others."]
    first = "" if len(lines) == 1 else f": of these `{lines[0]['model']}` is best"
    return [f"{said}, and can be compared with the others by samples only{first}."]


def _failed(document: Line) -> list[str]:
    missing = [line for line in document["models"] if line["log_likelihood"] is None]
    names = _names([line for line in missing if line["bound"] != "none"])
    verb = "has" if len(names) == 1 else "have"
    return [f"{listed(names)} {verb} no log-likelihood here; the table says why."] if names else []


def _few(rows: int) -> list[str]:
    return ["With so few held-out rows the standard errors are rough."] if 1 < rows < FEW_ROWS else []


def _names(lines: list[Line]) -> list[str]:
    return [str(line["model"]) for line in lines]
