"""Which entries of the registry a test goes over, and which of them only in the whole suite."""

from __future__ import annotations

import pytest

from zoo.line_up import LINE_UP
from zoo.recipe import AXES
from zoo.registry import Registry

REGISTRY = Registry.load()
NAMES = REGISTRY.names


def kin(name: str) -> tuple[object, ...]:
    """What entries share that differ in settings alone: the code that they run."""
    recipe = REGISTRY[name]
    program = recipe.program.settings
    prior = program["prior"].use if "prior" in program else ""
    return (*(getattr(recipe, axis).use for axis in AXES), prior, program.get("mixed"), "flow" in recipe.guide.settings)


FIRST = set({kin(name): name for name in reversed(NAMES)}.values())
"""The first entry of each kind stands for its kin, but in laws that hold an entry's own numbers against the truth."""


def law(*tables: str, own: bool = False) -> pytest.MarkDecorator:
    """Every entry on tables: the line-up on all of these, the first of each kind on two; `own`: its kin too, on one."""
    cases = []
    for name in NAMES:
        some = [t for t in tables if t in ("continuous", "mixed")] or tables[:1]
        kept = tables if name in LINE_UP else some if name in FIRST else some[-1:] if own else ()
        quick = some if name in LINE_UP else ()
        cases += [
            pytest.param(name, table, marks=() if table in quick else pytest.mark.slow, id=f"{name}-{table}")
            for table in kept
        ]
    return pytest.mark.parametrize(("name", "table"), cases)


def entries(own: bool = False) -> pytest.MarkDecorator:
    """The line-up and the first entry of each kind; `own`: every entry."""
    kept = [n for n in NAMES if own or n in LINE_UP or n in FIRST]
    return pytest.mark.parametrize(
        "name", [n if n in LINE_UP else pytest.param(n, marks=pytest.mark.slow) for n in kept]
    )
