"""What each column of a table is: the document that fixes the base measure of every number zoo prints.

A schema is inferred once (`zoo.table.infer`), may be edited as TOML, and is saved with the run.
Two numbers are comparable exactly when their schemas declare the same measure.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from zoo.errors import UserError, nearest

Kind = Literal["continuous", "integer", "count", "binary", "categorical", "ordinal", "time", "ignored"]
Role = Literal["model", "given", "group", "weight"]
Transform = Literal["auto", "none", "log", "arcsinh", "yeo-johnson", "quantile"]
Likelihood = Literal["normal", "student-t"]

KINDS: tuple[str, ...] = get_args(Kind)
NUMBER_KINDS = ("continuous", "integer", "count", "time")
NUMERIC_KINDS = (*NUMBER_KINDS, "ordinal")
UNSEEN = "<unseen>"


class Column(BaseModel):
    """One column of the user's table.

    kind        what its values are; `ignored` columns take no part, and `note` says why
    levels      labels of a binary, categorical or ordinal column, in order; a categorical column holds one more,
                reserved for values never seen
    step        resolution of a rounded numeric column, in table units: its values lie on the lattice
                `step * integer`, and its likelihood is mass / width of a cell; none for a density
    lower, upper  ends beyond which a numeric column has no mass
    atoms       values that many rows share. On a lattice an atom is a cell, and this is a matter of the likelihood
                alone; beside a density each has a mass of its own, and belongs to the measure
    period      length of a cycle (24 for hours, 360 for degrees): values a period apart are one, from `lower` (or 0) on
    transform   monotone map applied before modelling; its log-Jacobian is counted. `auto`: chosen on the training rows
    unit        columns of one unit (pixels, intensities, prices) keep their sizes beside each other: they share a scale
                inside a model, and have no transform unless they name one
    likelihood  `student-t` gives a numeric column heavy tails, with degrees of freedom that are fitted
    role        `model` (has a density), `given` (conditioned upon), `group`, `weight`
    dtype       dtype of the column when it was read, restored on output
    missing     share of missing cells when the schema was inferred

    An ordinal column is a rounded number inside zoo: the rank of its level.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    levels: tuple[str, ...] = ()
    step: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    lower: float | None = Field(default=None, allow_inf_nan=False)
    upper: float | None = Field(default=None, allow_inf_nan=False)
    atoms: tuple[FiniteFloat, ...] = ()
    period: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    transform: Transform = "auto"
    unit: str | None = Field(default=None, min_length=1)
    likelihood: Likelihood = "normal"
    role: Role = "model"
    dtype: str = "object"
    missing: float = Field(default=0.0, ge=0, le=1)
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        labelled = self.kind in ("binary", "categorical", "ordinal")
        if labelled and not self.levels:
            raise ValueError(f"column {self.name!r} is {self.kind} and needs `levels`")
        if self.kind == "binary" and len(self.levels) != 2:
            raise ValueError(f"column {self.name!r} is binary and needs exactly two levels, not {len(self.levels)}")
        if not labelled and self.levels:
            raise ValueError(f"column {self.name!r} is {self.kind} and takes no `levels`")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"column {self.name!r} lists a level twice")
        if self.kind not in NUMBER_KINDS:
            self._no_number()
        self._fill()
        self._support()
        return self

    def _no_number(self) -> None:
        for key in ("step", "lower", "upper", "atoms", "period", "unit"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"column {self.name!r} is {self.kind}: only numbers have `{key}`")
        if self.transform not in ("auto", "none") and not (self.kind == "ordinal" and self.transform == "quantile"):
            raise ValueError(f"column {self.name!r} is {self.kind}: only numbers have a transform")

    def _fill(self) -> None:
        """What a kind or a transform implies."""
        implied: dict[str, float] = {}
        if self.kind in ("integer", "count") and self.step is None:
            implied["step"] = 1.0
        if self.lower is None and (self.kind == "count" or self.transform == "log" or self.period is not None):
            implied["lower"] = 0.0
        for key, value in implied.items():
            object.__setattr__(self, key, value)

    def _support(self) -> None:
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"column {self.name!r} has lower = {self.lower:g} and upper = {self.upper:g}")
        if self.period is not None and (self.upper is not None or self.transform not in ("auto", "none")):
            raise ValueError(f"column {self.name!r} is cyclic: it takes no `upper` and no transform")
        if len(set(self.atoms)) != len(self.atoms):
            raise ValueError(f"column {self.name!r} lists an atom twice")
        for atom in self.atoms:
            if not self.inside(atom):
                raise ValueError(f"column {self.name!r} has an atom at {atom:g}, outside its ends")
            if self.step is not None and abs(atom / self.step - round(atom / self.step)) > 1e-6:
                raise ValueError(f"column {self.name!r} has an atom at {atom:g}, beside its lattice")

    def inside(self, value: float) -> bool:
        """Whether a value lies between the ends of the column."""
        below = self.lower is not None and value < self.lower
        return not (below or (self.upper is not None and value > self.upper))

    @property
    def is_number(self) -> bool:
        """Whether its cells are numbers or times to the user."""
        return self.kind in NUMBER_KINDS

    @property
    def resolution(self) -> float | None:
        """Width of a cell, for ranks too; none for a density."""
        return 1.0 if self.kind == "ordinal" else self.step

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """Where the column begins and ends, for ranks too."""
        return (0.0, len(self.levels) - 1.0) if self.kind == "ordinal" else (self.lower, self.upper)

    @property
    def n_logits(self) -> int:
        """Predictor entries: one for a numeric or binary column, one for each level and the unseen of the others."""
        return len(self.levels) + 1 if self.kind == "categorical" else 1

    @property
    def n_given(self) -> int:
        """Features of a column conditioned upon: its value or one-hot levels, then whether it was seen."""
        return (len(self.levels) + 1 if self.kind in ("categorical", "ordinal") else 1) + 1


class Schema(BaseModel):
    """The columns of a table, and the layout of a row inside zoo.

    Inside zoo a row holds the modelled columns in the order numeric, binary, categorical (each in table order),
    so that every kind is one slice and heads are vectorised by kind. `names` gives that order.

    width   length of a predictor: a location for each numeric column, then `rest`
    rest    logits: one for each binary column, one for each level, and for each numeric column with atoms one for
            its density and one for each atom
    full    width plus one log-scale for each numeric column
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

    def __repr__(self) -> str:
        return f"Schema({len(self.columns)} columns)"

    __str__ = __repr__

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
        return self._modelled("categorical")

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
    def conditions(self) -> tuple[Column, ...]:
        """What a row is drawn at: the columns conditioned upon, and the one of the groups."""
        group = self.role("group")
        return self.given_columns if group is None else (*self.given_columns, group)

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
    def spiked(self) -> tuple[int, ...]:
        """Positions of the numeric columns with atoms."""
        return tuple(j for j, c in enumerate(self.numeric) if c.atoms)

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Lengths of the softmaxes of a predictor: the levels of each categorical column, the atoms of each spiked."""
        return (*(c.n_logits for c in self.categorical), *(len(self.numeric[j].atoms) + 1 for j in self.spiked))

    @cached_property
    def rest(self) -> int:
        return len(self.binary) + sum(self.blocks)

    @cached_property
    def width(self) -> int:
        return len(self.numeric) + self.rest

    @cached_property
    def full(self) -> int:
        return self.width + len(self.numeric)

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """Position in the row of the column that each entry of a predictor with scales belongs to."""
        n, plain = len(self.numeric), len(self.numeric) + len(self.binary)
        blocks = zip([*range(plain, len(self.modelled)), *self.spiked], self.blocks, strict=True)
        return (*range(plain), *(j for j, size in blocks for _ in range(size)), *range(n))

    @cached_property
    def n_features(self) -> int:
        """Features of a row as a network reads it: values, one-hot levels and atoms, then a flag for each column."""
        return self.width + len(self.modelled)

    @cached_property
    def given(self) -> int:
        return sum(c.n_given for c in self.given_columns)

    @cached_property
    def groups(self) -> int:
        column = self.role("group")
        return len(column.levels) if column else 0

    @cached_property
    def has_lattice(self) -> bool:
        return any(c.resolution is not None for c in self.numeric)

    @cached_property
    def all_normal(self) -> bool:
        """Whether every numeric column has a Normal's own likelihood: no heavy tails, no counts, no cycles."""
        return all(c.likelihood == "normal" and c.kind != "count" and c.period is None for c in self.numeric)

    @cached_property
    def has_missing(self) -> bool:
        return any(c.missing > 0 for c in self.modelled)

    # ---- the base measure

    @cached_property
    def measure(self) -> str:
        """The base measure, in words: printed beside every number."""
        lattice = sum(c.step is not None for c in self.numeric)
        density = sum(c.resolution is None for c in self.numeric)
        levels = len(self.modelled) - lattice - density
        atoms = sum(len(c.atoms) for c in self.numeric if c.step is None)
        parts = []
        if density:
            beside = f" beside {atoms} atom{'s' * (atoms > 1)} of mass" * bool(atoms)
            parts.append(f"{density} densit{'y' if density == 1 else 'ies'} in column units{beside}")
        if lattice:
            parts.append(f"{lattice} rounded column{'s' * (lattice > 1)} as mass / width of a cell")
        if levels:
            parts.append(f"{levels} mass{'es' * (levels > 1)} over levels")
        text = "nats per row: " + (", ".join(parts) or "no column")
        if self.given_columns:
            text += f"; given {', '.join(c.name for c in self.given_columns)}"
        return text

    def same_measure(self, other: Schema) -> bool:
        """True when densities under the two schemas are densities with respect to one measure."""

        def key(schema: Schema) -> list[tuple[Any, ...]]:
            modelled = sorted(
                (c.name, c.kind in NUMERIC_KINDS, c.step or 0.0, c.levels, () if c.step else sorted(c.atoms))
                for c in schema.modelled
            )
            return [*modelled, *sorted((c.name,) for c in schema.given_columns)]

        return key(self) == key(other)

    # ---- editing

    def with_column(self, name: str, **changes: Any) -> Schema:
        """A copy in which one column has other properties."""
        self[name]  # a misspelt name is refused here
        columns = tuple(_checked(Column, c.model_dump() | changes) if c.name == name else c for c in self.columns)
        return Schema(columns=columns)

    def with_transforms(self, names: dict[str, str]) -> Schema:
        """A copy in which columns have these transforms."""
        columns = (c.model_copy(update={"transform": names[c.name]}) if c.name in names else c for c in self.columns)
        return Schema(columns=tuple(columns))

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
    def read(cls, path: str | PathLike[str]) -> Schema:
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
