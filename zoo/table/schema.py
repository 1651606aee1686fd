"""What each column of a table is: the document that fixes the base measure of every number zoo prints.

A schema is inferred once (`zoo.table.infer`), may be edited as TOML, and is saved with the run.
Two numbers are comparable exactly when their schemas declare the same measure.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoo.errors import UserError, nearest

Kind = Literal["continuous", "integer", "count", "binary", "categorical", "ordinal", "time", "ignored"]
Role = Literal["model", "given", "group", "weight"]
Transform = Literal["none", "log", "arcsinh"]

KINDS: tuple[str, ...] = get_args(Kind)
NUMERIC_KINDS = ("continuous", "integer", "count", "time")
LEVEL_KINDS = ("categorical", "ordinal")
UNSEEN = "<unseen>"


class Column(BaseModel):
    """One column of the user's table.

    kind       what its values are; `ignored` columns take no part, and `note` says why
    levels     labels of a binary, categorical or ordinal column, in order; a categorical or ordinal column
               holds one more, reserved for values never seen
    step       resolution of a rounded numeric column, in table units: its values lie on the lattice
               `step * integer`, and its likelihood is mass / width of a cell; none for a density
    transform  monotone map applied before modelling; its log-Jacobian is counted
    role       `model` (has a density), `given` (conditioned upon), `group`, `weight`
    dtype      dtype of the column when it was read, restored on output
    missing    share of missing cells when the schema was inferred
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    levels: tuple[str, ...] = ()
    step: float | None = Field(default=None, gt=0)
    transform: Transform = "none"
    role: Role = "model"
    dtype: str = "object"
    missing: float = Field(default=0.0, ge=0, le=1)
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        labelled = self.kind in ("binary", *LEVEL_KINDS)
        if labelled and not self.levels:
            raise ValueError(f"column {self.name!r} is {self.kind} and needs `levels`")
        if self.kind == "binary" and len(self.levels) != 2:
            raise ValueError(f"column {self.name!r} is binary and needs exactly two levels, not {len(self.levels)}")
        if not labelled and self.levels:
            raise ValueError(f"column {self.name!r} is {self.kind} and takes no `levels`")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"column {self.name!r} lists a level twice")
        if self.kind not in NUMERIC_KINDS and (self.step is not None or self.transform != "none"):
            raise ValueError(f"column {self.name!r} is {self.kind}: only numeric columns have a step or a transform")
        if self.kind in ("integer", "count") and self.step is None:
            object.__setattr__(self, "step", 1.0)
        return self

    @property
    def is_numeric(self) -> bool:
        return self.kind in NUMERIC_KINDS

    @property
    def n_logits(self) -> int:
        """Predictor entries: one for a numeric or binary column, one for each level and the unseen of the others."""
        return len(self.levels) + 1 if self.kind in LEVEL_KINDS else 1


class Schema(BaseModel):
    """The columns of a table, and the layout of a row inside zoo.

    Inside zoo a row holds the modelled columns in the order numeric, binary, categorical (each in table order),
    so that every kind is one slice and heads are vectorised by kind. `names` gives that order.

    width   length of a predictor: a location for each numeric, a logit for each binary column and each level
    full    width plus one log-scale for each numeric column
    rest    predictor entries of the columns that are not numeric
    given   number of features of the columns conditioned upon (0 when there are none)
    groups  number of known groups (0 when there is no group column)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    version: Literal[1] = 1
    columns: tuple[Column, ...]

    @model_validator(mode="after")
    def _unique(self) -> Schema:
        names = [c.name for c in self.columns]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"the schema names these columns twice: {', '.join(map(repr, twice))}")
        for role in ("group", "weight"):
            if sum(c.role == role for c in self.columns) > 1:
                raise ValueError(f"only one column can be the {role}")
        return self

    # ---- who takes part

    def _modelled(self, *kinds: str) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.role == "model" and c.kind in kinds)

    @cached_property
    def numeric(self) -> tuple[Column, ...]:
        return self._modelled(*NUMERIC_KINDS)

    @cached_property
    def binary(self) -> tuple[Column, ...]:
        return self._modelled("binary")

    @cached_property
    def categorical(self) -> tuple[Column, ...]:
        return self._modelled(*LEVEL_KINDS)

    @cached_property
    def discrete(self) -> tuple[Column, ...]:
        return self.binary + self.categorical

    @cached_property
    def modelled(self) -> tuple[Column, ...]:
        """The columns with a density, in row order."""
        return self.numeric + self.binary + self.categorical

    @cached_property
    def given_columns(self) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.role == "given" and c.kind != "ignored")

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.modelled)

    def role(self, role: Role) -> Column | None:
        """The one column with the role `group` or `weight`, if any."""
        return next((c for c in self.columns if c.role == role), None)

    def __getitem__(self, name: str) -> Column:
        for c in self.columns:
            if c.name == name:
                return c
        raise UserError(
            f"no column {name!r} in the table",
            nearest(name, [c.name for c in self.columns]),
        )

    # ---- sizes

    @cached_property
    def n_levels(self) -> int:
        return sum(c.n_logits for c in self.categorical)

    @cached_property
    def rest(self) -> int:
        return len(self.binary) + self.n_levels

    @cached_property
    def width(self) -> int:
        return len(self.numeric) + self.rest

    @cached_property
    def full(self) -> int:
        return self.width + len(self.numeric)

    @cached_property
    def n_features(self) -> int:
        """Features of a row as a network reads it: values and one-hot levels, then an observed flag for each column."""
        return self.width + len(self.modelled)

    @cached_property
    def given(self) -> int:
        return sum(c.n_logits + 1 for c in self.given_columns)

    @cached_property
    def groups(self) -> int:
        column = self.role("group")
        return len(column.levels) if column else 0

    @cached_property
    def has_lattice(self) -> bool:
        return any(c.step is not None for c in self.numeric)

    @cached_property
    def has_missing(self) -> bool:
        return any(c.missing > 0 for c in self.modelled)

    # ---- the base measure

    @cached_property
    def measure(self) -> str:
        """The base measure, in words: printed beside every number."""
        lattice = sum(c.step is not None for c in self.numeric)
        density = len(self.numeric) - lattice
        parts = []
        if density:
            parts.append(f"{density} densit{'y' if density == 1 else 'ies'} in column units")
        if lattice:
            parts.append(f"{lattice} rounded column{'s' * (lattice > 1)} as mass / width of a cell")
        if self.discrete:
            parts.append(f"{len(self.discrete)} mass{'es' * (len(self.discrete) > 1)} over levels")
        text = "nats per row: " + (", ".join(parts) or "no column")
        if self.given_columns:
            text += f"; given {', '.join(c.name for c in self.given_columns)}"
        return text

    def same_measure(self, other: Schema) -> bool:
        """True when densities under the two schemas are densities with respect to one measure."""

        def key(schema: Schema) -> list[tuple[Any, ...]]:
            modelled = sorted((c.name, c.kind in NUMERIC_KINDS, c.step, c.levels) for c in schema.modelled)
            return [*modelled, *sorted((c.name,) for c in schema.given_columns)]

        return key(self) == key(other)

    # ---- editing

    def with_column(self, name: str, **changes: Any) -> Schema:
        """A copy in which one column has other properties."""
        self[name]  # a misspelt name is refused here
        columns = tuple(_checked(Column, c.model_dump() | changes) if c.name == name else c for c in self.columns)
        return Schema(columns=columns)

    def to_toml(self) -> str:
        """The schema as TOML that a person can edit and give back."""
        columns = []
        for c in self.columns:
            entry = c.model_dump(exclude_defaults=True)
            entry["levels"] = list(c.levels)
            if not c.levels:
                del entry["levels"]
            columns.append(entry)
        return tomli_w.dumps({"version": self.version, "column": columns})

    @classmethod
    def from_toml(cls, text: str, source: str = "the schema") -> Schema:
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{source} is not valid TOML: {error}") from None
        if "column" not in document:
            raise UserError(f"{source} has no [[column]] table", "`zoo inspect TABLE` prints one to start from")
        entries = document["column"]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"{source}: column is no list of tables", "write one [[column]] for each column")
        fields = {k: v for k, v in document.items() if k != "column"}
        columns = tuple(_checked(Column, entry, source) for entry in entries)
        result: Schema = _checked(cls, {**fields, "columns": columns}, source)
        return result

    @classmethod
    def read(cls, path: str | Path) -> Schema:
        path = Path(path)
        if not path.is_file():
            raise UserError(f"no schema file {str(path)!r}", "`zoo inspect TABLE > schema.toml` writes one")
        try:
            return cls.from_toml(path.read_text(encoding="utf-8"), str(path))
        except UnicodeDecodeError as error:
            remedy = "`zoo inspect TABLE > schema.toml` writes one"
            raise UserError(f"{str(path)!r} is not text: {error}", remedy) from None


def _checked(kind: Any, entry: dict[str, Any], source: str = "the schema") -> Any:
    """Build a pydantic model, turning its errors into one line for a person."""
    try:
        return kind(**entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        name = entry.get("name", "")
        place = f"{source}{f', column {name!r}' if name else ''}{f', key {where!r}' if where else ''}"
        remedy = None
        if first["type"] == "extra_forbidden":
            remedy = nearest(where, list(kind.model_fields))
        raise UserError(f"{place}: {first['msg'].removeprefix('Value error, ')}", remedy) from None
