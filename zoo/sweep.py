"""Models asked for with settings to try: `gmm[components=2..12]`, `vae[dim=2,4,8; beta=1,2]`.

Commas outside brackets part models. Inside, `;` parts settings and `,` their values, which are as `--set` takes them
(a list keeps its own brackets); `a..b` are the whole numbers from a to b. The product of the settings makes as many
entries, each under a label: `vae[dim=2;beta=1]`, which is itself such a text.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import UserError
from zoo.registry import parse_set

MOST = 200
LONGEST = 200
"""Characters of a label, which is the name of a folder too."""
EXAMPLE = "write for example gmm[components=2..8] or vae[dim=2,4; beta=1,2]"
OPENS, CLOSES = "[{(", "]})"


@dataclass(frozen=True)
class Asked:
    """One entry of a comparison: what it is called there, its name in the registry, the settings that are its own."""

    label: str
    model: str
    sets: Mapping[str, Any] = field(default_factory=dict)


def parted(text: str, at: str) -> list[str]:
    """A text parted at a character outside brackets and quotation marks; the parts are stripped."""
    parts, depth, quote = [""], 0, ""
    for c in text:
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c in OPENS:
            depth += 1
        elif c in CLOSES:
            depth -= 1
        if depth < 0:
            break
        if c == at and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += c
    if depth or quote:
        raise UserError(f"{_short(text)} has a bracket or a quotation mark without its other half", EXAMPLE)
    return [part.strip() for part in parts]


def names_of(text: str) -> list[str]:
    """The models in a text that commas part."""
    return [part for part in parted(text, ",") if part]


def swept(texts: Iterable[str]) -> list[Asked]:
    """The entries that these texts ask for, each label once; more than 200 are refused before they are made."""
    asked: dict[str, Asked] = {}
    for text in texts:
        model, choices = _read(text)
        many = math.prod(len(values) for _, values in choices)
        if many + len(asked) > MOST:
            raise UserError(f"{_short(text)} makes {many + len(asked):,} entries", f"ask for {MOST} at most")
        for point in itertools.product(*(values for _, values in choices)):
            pairs = [f"{key}={value}" for (key, _), value in zip(choices, point, strict=True)]
            label = f"{model}[{';'.join(pairs)}]" if pairs else model
            asked.setdefault(label, Asked(_name(label), model, dict(map(parse_set, pairs))))
    return list(asked.values())


def _read(text: str) -> tuple[str, list[tuple[str, list[str]]]]:
    """A model and the values of each of its settings, as text."""
    model, opened, inside = text.strip().partition("[")
    if not opened:
        return model, []
    if not model.strip() or not inside.endswith("]"):
        raise UserError(f"{_short(text)} is not MODEL[setting=values]", EXAMPLE)
    parted(text, ";")  # brackets match
    choices: dict[str, list[str]] = {}
    for part in parted(inside[:-1], ";"):
        key, equals, values = (side.strip() for side in part.partition("="))
        if not key or not equals or not values:
            raise UserError(f"{_short(text)}: {_short(part)} gives no setting a value", EXAMPLE)
        if key in choices:
            raise UserError(f"{_short(text)} has the setting {key!r} twice", "give all its values at once")
        choices[key] = _values(values, text)
    return model.strip(), list(choices.items())


def _values(text: str, whole: str) -> list[str]:
    out: list[str] = []
    for part in parted(text, ","):
        found = re.fullmatch(r"([+-]?\d{1,18})\s*\.\.\s*([+-]?\d{1,18})", part)
        if not part or (".." in part and not found):
            raise UserError(f"{_short(whole)}: {_short(part)} is no value", "a range is a..b, whole numbers")
        if found is None:
            out.append(part)
            continue
        span = range(int(found[1]), int(found[2]) + 1)
        if not span:
            raise UserError(f"{_short(whole)}: the range {part} is empty", "begin it with the smaller number")
        if len(span) + len(out) > MOST:
            raise UserError(f"{_short(whole)}: {part} are {len(span):,} values", f"ask for {MOST} at most")
        out += map(str, span)
    return list(dict.fromkeys(out))


def _name(label: str) -> str:
    """A label that may name a folder."""
    if len(label) > LONGEST or re.search(r"[/\\\x00-\x1f\x7f]", label):
        what = f"{_short(label)} cannot name a folder: over {LONGEST} characters, a slash or a control character"
        raise UserError(what, "give that variation an entry of its own in your models.toml")
    return label


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
