"""From a predictor to the likelihood of every column of a row, vectorised by kind."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from zoo.rows.cells import Family, Normal
from zoo.table.codec import Cells, Codec


class ColumnDensity(TorchDistribution):
    """Columns of a row, independent given their parameters: the product of one density or mass for each.

    numeric     family over the numeric columns, parameters (..., Dn), or None when they are observed elsewhere
    binary      logits (..., Db)
    levels      log-mass of every level of every categorical column, side by side (..., n_levels)
    cells       the observed cells that `log_prob` scores; without them values are taken as densities in codec units

    Values are rows (..., D'), the D' columns being those it covers. Parameters broadcast against the rows, so an
    enumerated site's (K, 1, ...) costs K tables, not K x N.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        codec: Codec,
        numeric: Family | None,
        binary: Tensor,
        levels: Tensor,
        cells: Cells | None = None,
        batch_shape: torch.Size | None = None,
    ):
        self.codec, self.numeric, self.binary, self.levels, self.cells = codec, numeric, binary, levels, cells
        schema = codec.schema
        width = len(schema.discrete) + (len(schema.numeric) if numeric is not None else 0)
        super().__init__(
            binary.shape[:-1] if batch_shape is None else batch_shape, torch.Size([width]), validate_args=False
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> ColumnDensity:
        return ColumnDensity(self.codec, self.numeric, self.binary, self.levels, self.cells, torch.Size(batch_shape))

    def log_cells(self, value: Tensor) -> Tensor:
        """Log density or mass of each cell (..., n, D'), zero where the cell was not seen."""
        schema = self.codec.schema
        cells = self.cells if self.cells is not None else self._as_cells(value)
        n_numeric, n_binary = len(schema.numeric), len(schema.binary)
        parts = []
        if self.numeric is not None:
            log = self.numeric.log_average(cells.x[..., :n_numeric], cells.lo, cells.hi) + cells.unit
            parts.append(torch.where(cells.seen[..., :n_numeric], log, 0.0))
        codes = cells.x[..., n_numeric:]
        seen = cells.seen[..., n_numeric:]
        if n_binary:
            sign = 2 * codes[..., :n_binary] - 1
            keep = self.codec.smoothing(2)
            log = torch.logaddexp(
                F.logsigmoid(sign * self.binary.double()) + math.log1p(-keep),
                torch.full((), math.log(keep / 2), dtype=torch.float64, device=codes.device),
            )
            parts.append(torch.where(seen[..., :n_binary], log, 0.0))
        if schema.categorical:
            log = _take(self.levels, codes[..., n_binary:].long() + offsets(self.codec, codes.device))
            parts.append(torch.where(seen[..., n_binary:], log, 0.0))
        shape = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
        return torch.cat([p.expand(*shape, p.shape[-1]) for p in parts], -1)

    def _as_cells(self, value: Tensor) -> Cells:
        if self.numeric is None:
            value = torch.cat([value.new_zeros(*value.shape[:-1], len(self.codec.schema.numeric)), value], -1)
        return as_cells(value, len(self.codec.schema.numeric))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_cells(value).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """A draw of the columns it covers (batch, D'), in codec units; rounded columns are snapped by the codec.

        The level reserved for the unseen is never drawn: it has no name to show.
        """
        parts = [] if self.numeric is None else [self.numeric.sample()]
        parts.append(self._draw_binary(self.binary))
        parts += [self._draw_level(c)[..., None] for c in range(len(self.codec.schema.categorical))]
        draw = torch.cat([p.to(torch.float64).expand(*self.binary.shape[:-1], p.shape[-1]) for p in parts], -1)
        return draw.expand(*sample_shape, *self.batch_shape, draw.shape[-1])

    def draw(self, j: int) -> Tensor:
        """A draw of the j-th column of the row alone (batch,)."""
        schema = self.codec.schema
        n_numeric, n_plain = len(schema.numeric), len(schema.numeric) + len(schema.binary)
        if j < n_numeric:
            assert self.numeric is not None
            return self.numeric.sample()[..., j]
        return self._draw_binary(self.binary[..., j - n_numeric]) if j < n_plain else self._draw_level(j - n_plain)

    def _draw_binary(self, logits: Tensor) -> Tensor:
        keep = self.codec.smoothing(2)
        return torch.bernoulli((1 - keep) * torch.sigmoid(logits.double()) + keep / 2)

    def _draw_level(self, c: int) -> Tensor:
        """Index of a known level of the c-th categorical column, by the largest of its masses under Gumbel noise."""
        sizes = [column.n_logits for column in self.codec.schema.categorical]
        begin = sum(sizes[:c])
        log = self.levels[..., begin : begin + sizes[c] - 1]
        return (log - torch.empty_like(log).exponential_().log()).argmax(-1).double()

    def complete(self, value: Tensor, seen: Tensor) -> Tensor:
        """`value` with its cells not seen drawn given the seen ones: independent of them, given the parameters."""
        return torch.where(seen, value, self.sample())


class Heads(nn.Module):
    """The columns' likelihoods: a predictor (..., width) or (..., full) becomes a ColumnDensity.

    A predictor holds a location for each numeric column, a logit for each binary one and for each level of the
    others, and, where it is `full`, a log-scale for each numeric column. Where it is not, the scales are the heads'
    own parameters. Scales have a floor tied to the column's resolution, and every level keeps a little mass, so that
    no model wins by spiking on ties and an unseen level is not impossible.
    """

    def __init__(self, codec: Codec):
        super().__init__()
        self.codec = codec
        self.used = False  # whether a program has left the scales to the heads
        self.log_scale = nn.Parameter(torch.zeros(len(codec.schema.numeric), dtype=torch.float64))

    def forward(self, predictor: Tensor, cells: Cells | None = None) -> ColumnDensity:
        """Likelihoods of all columns, given a predictor of length `schema.width` or `schema.full`."""
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
        self.used = self.used or (n > 0 and not brought)
        raw = predictor[..., schema.width :] if brought else self.log_scale
        scale = self.scale(raw).expand(loc.shape)
        return self.density(Normal(loc, scale), rest, cells)

    def scale(self, log_scale: Tensor) -> Tensor:
        """Scale (..., Dn) above its floor: sqrt(exp(2 log_scale) + floor^2)."""
        return (torch.exp(2 * log_scale.clamp(-20, 20)) + self.codec.min_scale.square()).sqrt()

    def density(self, numeric: Family | None, rest: Tensor, cells: Cells | None = None) -> ColumnDensity:
        """Likelihoods given a numeric family (or none) and the predictor entries of the other columns (..., rest)."""
        schema = self.codec.schema
        if rest.shape[-1] != schema.rest:
            raise ValueError(f"the discrete columns need {schema.rest} logits (schema.rest), got {rest.shape[-1]}")
        binary, levels = rest[..., : len(schema.binary)], rest[..., len(schema.binary) :]
        return ColumnDensity(self.codec, numeric, binary, log_masses(self.codec, levels.double()), cells)


def log_masses(codec: Codec, logits: Tensor) -> Tensor:
    """Log-mass of each level (..., n_levels): a softmax inside each column, mixed with its share of smoothing."""
    columns = codec.schema.categorical
    if not columns:
        return logits
    sizes = torch.tensor([c.n_logits for c in columns])
    owner = torch.repeat_interleave(torch.arange(len(columns)), sizes).to(logits.device)
    shape = (*logits.shape[:-1], len(columns))
    index = owner.expand(logits.shape)
    top = torch.full(shape, -torch.inf, dtype=logits.dtype, device=logits.device)
    top = top.scatter_reduce(-1, index, logits.detach(), "amax")
    shifted = logits - top.gather(-1, index)
    total = torch.zeros(shape, dtype=logits.dtype, device=logits.device).index_add(-1, owner, shifted.exp())
    log = shifted - total.log().gather(-1, index)
    keep = torch.tensor([codec.smoothing(c.n_logits) for c in columns], dtype=logits.dtype, device=logits.device)
    floor = (keep / sizes.to(keep)).log()
    return torch.logaddexp(log + torch.log1p(-keep)[owner], floor[owner])


def offsets(codec: Codec, device: torch.device) -> Tensor:
    """Where each categorical column's levels begin among all levels."""
    sizes = [0, *(c.n_logits for c in codec.schema.categorical[:-1])]
    return torch.tensor(sizes, device=device).cumsum(0)


def _take(table: Tensor, index: Tensor) -> Tensor:
    """table (..., n or 1, L) at index (n, C): (..., n, C), without spreading a table shared by the rows."""
    if table.dim() == 1:
        return table[index]
    if table.shape[-2] == 1:
        return table[..., 0, :][..., index]
    return table.gather(-1, index.expand(*table.shape[:-1], index.shape[-1]))


def as_cells(x: Tensor, n_numeric: int) -> Cells:
    """Rows (..., D) in codec units taken as fully seen, numeric columns as densities in codec units."""
    numeric = x[..., :n_numeric]
    return Cells(x, torch.ones_like(x, dtype=torch.bool), numeric, numeric, torch.zeros_like(numeric))
