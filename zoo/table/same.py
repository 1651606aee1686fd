"""Whether two schemas measure the same thing, and where they don't."""

from __future__ import annotations

from zoo.table.cells import listed
from zoo.table.schema import NUMERIC_KINDS, Column, Schema


def what_differs(one: Schema, other: Schema) -> list[str]:
    """Why a log-likelihood under one schema cannot be set beside one under the other; empty where it can.

    A log-density of more columns is one of another thing, and not a worse one: log p(a, b) is below log p(a) wherever
    b is not certain, whatever the models.
    """
    out = []
    for role, what in (("model", "models"), ("given", "conditions upon")):
        ours, theirs = _names(one, role), _names(other, role)
        for names, which in ((ours - theirs, "first"), (theirs - ours, "second")):
            if names:
                out.append(f"only the {which} {what} {listed(sorted(names))}")
    for role in ("group", "weight"):
        found = [schema.role(role) for schema in (one, other)]  # type: ignore[arg-type]
        names_of = [None if column is None else column.name for column in found]
        if names_of[0] != names_of[1]:
            said = " and ".join("none" if name is None else repr(name) for name in names_of)
            out.append(f"their {role} columns are {said}")
    shared = _names(one, "model") & _names(other, "model")
    out += [text for name in sorted(shared) for text in _of_column(one[name], other[name])]
    if not out and not one.same_measure(other):
        out.append("their measures differ")
    return out


def _names(schema: Schema, role: str) -> set[str]:
    found = schema.modelled if role == "model" else schema.given_columns
    return {column.name for column in found}


def _of_column(one: Column, other: Column) -> list[str]:
    if (one.kind in NUMERIC_KINDS) != (other.kind in NUMERIC_KINDS):
        return [f"{one.name!r} is {one.kind} in the first and {other.kind} in the second"]
    if one.resolution != other.resolution:
        steps = [
            "a density" if column.resolution is None else f"rounded to {column.resolution:g}" for column in (one, other)
        ]
        return [f"{one.name!r} is {steps[0]} in the first and {steps[1]} in the second"]
    if one.levels != other.levels:
        return [f"{one.name!r} has other levels"]
    if one.step is None and sorted(one.atoms) != sorted(other.atoms):
        return [f"{one.name!r} has atoms at other values"]
    return []
