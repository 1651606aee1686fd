"""From a predictor to the likelihood of every column of a row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo.rows.cells import Count, Family, Normal, OneOf, StudentT
from zoo.rows.columns import ColumnDensity
from zoo.rows.floor import Floored
from zoo.rows.levels import Levels
from zoo.table.codec import Cells, Codec

START_DF, MIN_DF = 8.0, 1.0


class Heads(nn.Module):
    """The columns' likelihoods: a predictor (..., width) or (..., full) becomes a ColumnDensity.

    A predictor holds a location for each numeric column, then a logit for each binary one, for each level of the
    categorical ones and for each atom, and, where it is `full`, a log-scale for each numeric column. Where it is not,
    the scales are the heads' own parameters; degrees of freedom always are. Scales have a floor tied to the column's
    resolution, and every level and atom keeps a little mass, so that no model wins by spiking on ties and an unseen
    level is not impossible.
    """

    def __init__(self, codec: Codec):
        super().__init__()
        self.codec = codec
        columns = codec.schema.numeric
        self.called = False  # whether a program has asked for a likelihood of numeric columns
        self.used = False  # whether it has left the scales to the heads
        self.log_scale = nn.Parameter(torch.zeros(len(columns), dtype=torch.float64))
        heavy = any(c.likelihood == "student-t" for c in columns)
        self.log_df = (
            nn.Parameter(torch.full((len(columns),), math.log(START_DF - MIN_DF), dtype=torch.float64))
            if heavy
            else None
        )

    def forward(
        self, predictor: Tensor, cells: Cells | None = None, df: Tensor | None = None, floor: float = 0.0
    ) -> ColumnDensity:
        """Likelihoods of all columns, given a predictor of length `schema.width` or `schema.full`.

        df: degrees of freedom (..., Dn), where the program says that numeric columns are Student's t.
        floor: share of a wide Cauchy in every numeric cell
        """
        schema = self.codec.schema
        if predictor.shape[-1] not in (schema.width, schema.full):
            raise ValueError(
                f"rows.observe expects a predictor of length {schema.width} (schema.width) or {schema.full} "
                f"(schema.full, with scales), got {predictor.shape[-1]} (shape {tuple(predictor.shape)})"
            )
        n = len(schema.numeric)
        predictor = predictor.double()
        loc, rest = predictor[..., :n], predictor[..., n : schema.width]
        brought = predictor.shape[-1] == schema.full
        self.called, self.used = True, self.used or (n > 0 and not brought)
        raw = predictor[..., schema.width :] if brought else self.log_scale
        scale = self.scale(raw).expand(loc.shape)
        family = self.family(loc, scale, df)
        return self.density(Floored(family, floor) if floor else family, rest, cells)

    def family(self, loc: Tensor, scale: Tensor, df: Tensor | None = None) -> Family:
        """The family of every numeric column, by its kind and likelihood, at locations and scales (..., Dn)."""
        columns = self.codec.schema.numeric
        family: Family = Normal(loc, scale) if df is None else StudentT(loc, scale, df)
        if self.log_df is not None and df is None:
            heavy = [c.likelihood == "student-t" for c in columns]
            family = OneOf(heavy, StudentT(loc, scale, MIN_DF + self.log_df.exp()), family)
        if any(c.kind == "count" for c in columns):
            counts = [c.kind == "count" for c in columns]
            family = OneOf(counts, Count(loc, scale, self.codec.loc, self.codec.scale), family)
        return family

    def scale(self, log_scale: Tensor) -> Tensor:
        """Scale (..., Dn) above its floor: sqrt(exp(2 log_scale) + floor^2)."""
        return (torch.exp(2 * log_scale.clamp(-20, 20)) + self.codec.min_scale.square()).sqrt()

    def density(self, numeric: Family | None, rest: Tensor, cells: Cells | None = None) -> ColumnDensity:
        """Likelihoods given a numeric family (or none) and the predictor entries of the other columns (..., rest)."""
        schema = self.codec.schema
        if rest.shape[-1] != schema.rest:
            raise ValueError(f"the levels and atoms need {schema.rest} logits (schema.rest), got {rest.shape[-1]}")
        binary, levels = rest[..., : len(schema.binary)], rest[..., len(schema.binary) :]
        return ColumnDensity(self.codec, numeric, binary, Levels(self.codec, levels), cells)
