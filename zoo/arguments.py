"""What may stand in an argument, in Python and on the command line: one value of one type, or a UserError."""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterable, Mapping
from typing import Any

from zoo.errors import UserError


def names_in(value: Any, argument: str) -> tuple[str, ...]:
    """Names: a text is one name, not its letters."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise UserError(f"{argument}={value!r} is no list of names", f"write for example {argument}=['a', 'b']")
    return tuple(str(name) for name in value)


def pairs_in(value: Any, argument: str) -> dict[str, Any]:
    """Values by name."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{argument}={value!r} gives no values by name", f"write for example {argument}={{'a': ...}}")
    return {str(name): one for name, one in value.items()}


def whole(value: Any, argument: str, least: int = 1, below: int | None = None) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UserError(f"{argument}={value!r} is no whole number", f"give one of at least {least}")
    number = int(value)
    if number < least or (below is not None and number >= below):
        top = "" if below is None else f" and below {below}"
        raise UserError(f"{argument}={number}: expected at least {least}{top}")
    return number


def seed_in(value: Any, argument: str = "seed") -> int:
    """A seed: None, which would give other numbers every time, is none."""
    if value is None:
        raise UserError(
            f"{argument}=None: the same seed gives the same numbers, and zoo always has one", "give 0, 1 ..."
        )
    return whole(value, argument, 0, 2**63)


def seconds_in(value: Any, argument: str = "time_budget") -> float | None:
    """A length of time above 0 in seconds: a number, or '90', '90s', '10m' or '1h'."""
    if value is None:
        return None
    seconds = 0.0
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", value.strip())
        seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise UserError(f"{argument}={value!r} is not a length of time", "write for example 90s, 10m or 1h")
    return seconds
