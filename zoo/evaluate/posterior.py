"""What the latents of each row are: cluster probabilities, embeddings, and draws that complete a row."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pyro.poutine as poutine
import torch
from pyro.distributions import Independent, Normal
from pyro.poutine.messenger import Messenger
from torch import Tensor

from zoo.errors import UserError
from zoo.evaluate.fixed import views
from zoo.log_weights import LogWeights, log_mean, log_weights, parts_of
from zoo.rows.importance import effective, finite, not_weighed, resampled
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.sites import drawn_cells, samples, with_atoms

if TYPE_CHECKING:
    from zoo.model import Model

CHUNK = 4096
PARTICLES, FEWEST = 32, 4
"""Draws of the latents of a row: of all draws of the global latents together, and at each of them."""


def cluster_probabilities(model: Model, rows: Rows, seed: int = 0, most: int | None = None) -> Tensor:
    """p(cluster | seen cells) of each row (n, K), averaged over the posterior of any other latents; of those that
    belong to no row, over `most` draws at most."""
    return averaged(model, rows, seed, _clusters, most)


def averaged(
    model: Any, rows: Rows, seed: int, function: Callable[[Any, Rows, int, int], Tensor], most: int | None = None
) -> Tensor:
    """`function(view, rows, seed, particles)` (n, ...) over draws of the global latents, each weighed by the density of
    the row that it gives."""
    every = views(model, most=most)
    k = particles(every)
    if len(every) == 1:
        return function(every[0], rows, seed, k)
    out = torch.stack([function(view, rows, seed + i, k) for i, view in enumerate(every)])
    share = torch.softmax(finite(view_weights(every, rows, seed)), 0)
    return (share.reshape(*share.shape, *(1,) * (out.dim() - 2)) * out).sum(0)


def particles(every: list[Any]) -> int:
    """Draws of the latents of a row at each view."""
    return max(FEWEST, PARTICLES // len(every))


def view_weights(every: list[Any], rows: Rows, seed: int) -> Tensor:
    """Log-density of each row under each view (views, n)."""

    def one(view: Any) -> Tensor:
        k = 1 if view.bound(rows.complete) == "exact" else particles(every)
        return by_chunks(lambda part: log_mean(log_weights(view.program, view.guide, part, k).rows), rows, seed, CHUNK)

    return torch.stack([one(view) for view in every])


def _clusters(model: Any, rows: Rows, seed: int, particles: int) -> Tensor:
    if hasattr(model.guide, "clusters"):
        return by_chunks(model.guide.clusters, rows, seed, CHUNK)

    def one(part: Rows) -> Tensor:
        k = 1 if model.bound(part.complete) == "exact" else particles
        w = log_weights(model.program, model.guide, part, k)
        joint = w.joint.movedim(w.dims["cluster"], 0).flatten(1, -2) if w.joint.dim() > 2 else w.joint[:, None]
        log = finite(joint.logsumexp(1)).reshape(-1, k, part.n)
        share = torch.softmax(finite(w.rows), 0)
        return (torch.softmax(log, 0) * share).sum(1).T

    exact = model.bound(rows.complete) == "exact"
    return by_chunks(one, rows, seed, CHUNK if exact else CHUNK // particles, model.program)


def embedding(model: Model, rows: Rows, seed: int = 0) -> Tensor:
    """Posterior mean of the continuous latents of each row, `z` first (n, dim)."""
    return averaged(model, rows, seed, _embedding)


def _embedding(model: Any, rows: Rows, seed: int, particles: int) -> Tensor:
    names = sorted((s.name for s in model.sites.continuous), key=lambda name: (name != "z", name))
    if "z" in names:
        names = ["z"]
    draws = getattr(model.guide, "draws", 1)  # of a guide without a density, whose mean is that of draws

    def one(part: Rows) -> Tensor:
        each = [samples(poutine.trace(model.guide).get_trace(part)) for _ in range(draws)]
        return torch.cat([sum(s[name]["fn"].mean.flatten(1).double() for s in each) / draws for name in names], -1)

    return by_chunks(one, rows, seed, CHUNK, model.program)


def sample(model: Model, n: int, like: Rows | None = None, seed: int = 0, truncation: float | None = None) -> Tensor:
    """n draws of a row, in codec units (n, D), rounded columns on their lattice.

    like: rows whose `given` and `group` the draws take over, cycled.
    truncation: standard deviations beyond which no Normal latent of a row is drawn.
    """
    out = []
    cut = contextlib.nullcontext() if truncation is None else truncated(model, truncation)
    with torch.no_grad(), scope(seed), cut:
        every = views(model)
        # neighbouring rows are of different draws of the global latents
        turns = [torch.arange(n)[v :: len(every)] for v in range(len(every))]
        for v, view in enumerate(every):
            for index in turns[v].split(CHUNK) if len(turns[v]) else ():
                blank = model.blank(len(index)) if like is None else like.take(index % like.n).blank()
                out.append(by_chunks(lambda rows, view=view: _draws(view, rows), blank, None, CHUNK, view.program))
    return torch.cat(out)[torch.cat(turns).argsort()]


def truncated(model: Model, beyond: float) -> Messenger:
    """A handler in which Normal latents of rows are drawn within so many standard deviations. Brock et al. 2019."""
    names = {site.name for site in model.sites.continuous}
    if not beyond > 0:
        raise UserError(f"truncation = {beyond} leaves no latent to draw", "give a number above 0, such as 1")
    if not names or hasattr(model.program, "sample"):
        raise UserError(f"model {model.recipe.model!r} has no Normal latent to truncate", "leave truncation out")
    return _Truncated(names, beyond)


class _Truncated(Messenger):
    def __init__(self, names: set[str], beyond: float):
        super().__init__()
        self.names, self.beyond = names, beyond

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] not in self.names or msg["is_observed"]:
            return
        base = msg["fn"].base_dist if isinstance(msg["fn"], Independent) else msg["fn"]
        if not isinstance(base, Normal):
            what = f"the latent {msg['name']!r} is no Normal, and cannot be truncated"
            raise UserError(what, "leave truncation out")
        e = torch.empty(msg["fn"].shape(), device=base.loc.device)
        torch.nn.init.trunc_normal_(e, 0, 1, -self.beyond, self.beyond)
        msg["value"], msg["done"] = base.loc + base.scale * e, True


def _draws(view: Any, blank: Rows) -> Tensor:
    if hasattr(view.program, "sample"):
        drawn: Tensor = view.codec.snap(view.program.sample(blank))
        return drawn
    x: Tensor = view.codec.snap(drawn_cells(samples(poutine.trace(view.program).get_trace(blank)), blank))
    return x


class Completed(NamedTuple):
    """x (draws, n, D): draws of rows, codec units. effective (n,): draws that the importance weights behind those of a
    row are worth, where that is least on the way; without end where nothing was weighed."""

    x: Tensor
    effective: Tensor


def complete(model: Model, rows: Rows, draws: int = 1, seed: int = 0, particles: int = PARTICLES) -> Tensor:
    """Draws of each row given its seen cells (draws, n, D), codec units: seen cells as they are.

    The latents are drawn from their posterior (by importance where it is not exact), then the missing cells given
    them.
    """
    return completed(model, rows, draws, seed, particles).x


def completed(model: Model, rows: Rows, draws: int = 1, seed: int = 0, particles: int = PARTICLES) -> Completed:
    """The same, and what the draws are worth."""
    if hasattr(model.program, "complete"):

        def filled(part: Rows) -> Tensor:
            assert part.cells is not None
            drawn = torch.stack([model.codec.snap(one) for one in model.program.complete(part, draws)])
            return torch.where(part.cells.seen, part.cells.x, drawn).transpose(0, 1)

        x = by_chunks(filled, rows, seed, max(1, CHUNK // draws))
        return Completed(x.transpose(0, 1), not_weighed(x))
    if model.sites.globals:
        return _resampled(views(model, draws), rows, draws, seed, particles)
    weighed = model.sites.continuous or model.pattern_wise or model.bound(rows.complete) != "exact"
    k = particles if weighed else 1

    def one(part: Rows) -> tuple[Tensor, Tensor]:
        if not model.sites.latents:
            return _complete_from(model, part, model.program, draws, particles)
        w = log_weights(model.program, model.guide, part, k)
        program = poutine.condition(model.program, data=_drawn_latents(model, part, w, draws))
        many, worth = _complete_from(model, part.repeat(draws), program, 1, particles)
        worth = worth.reshape(draws, part.n).mean(0)
        if k > 1:
            worth = torch.minimum(worth, effective(w.rows))
        return many.reshape(draws, part.n, -1).transpose(0, 1), worth

    x, worth = by_chunks(one, rows, seed, max(1, CHUNK // max(k, draws)), model.program)
    assert rows.cells is not None
    return Completed(x.transpose(0, 1), worth.masked_fill(rows.cells.seen.all(1), torch.inf))


def _resampled(every: list[Any], rows: Rows, draws: int, seed: int, particles: int) -> Completed:
    """Completions of each row under draws of the global latents, chosen by the density of the row that they give."""
    if len(every) == 1:
        return completed(every[0], rows, draws, seed, particles)
    each = [completed(view, rows, 1, seed + i, particles) for i, view in enumerate(every)]
    with torch.no_grad(), scope(seed):
        log = view_weights(every, rows, seed)
        pick = resampled(log, draws)
    drawn, inside = torch.cat([one.x for one in each]), torch.stack([one.effective for one in each]).mean(0)
    assert rows.cells is not None
    worth = torch.minimum(effective(log), inside).masked_fill(rows.cells.seen.all(1), torch.inf)
    return Completed(drawn[pick, torch.arange(rows.n, device=pick.device)], worth)


def _complete_from(model: Model, rows: Rows, program: Any, draws: int, particles: int) -> tuple[Tensor, Tensor]:
    """Draws of rows (n, draws, D) whose latents are known to `program`, or not there; and what they are worth (n,)."""
    assert rows.cells is not None
    trace = samples(poutine.trace(program).get_trace(rows))
    cells, n = rows.cells, len(rows.schema.numeric)
    x, worth = cells.x.expand(draws, *cells.x.shape).clone(), not_weighed(cells.x)
    for name, span in _spans(n).items():
        if name in trace:
            fn, value, seen = trace[name]["fn"], cells.x[:, span], cells.seen[:, span]
            drawn, mine = _completions(fn, value, seen, draws, particles)
            x[..., span], worth = drawn.to(x.dtype), torch.minimum(worth, mine)
    x[..., :n] = torch.stack([with_atoms(trace, one) for one in x[..., :n]])
    snapped = model.codec.snap(x.flatten(0, 1)).reshape(x.shape)
    return torch.where(cells.seen, cells.x, snapped).transpose(0, 1), worth


def _completions(fn: Any, value: Tensor, seen: Tensor, draws: int, particles: int) -> tuple[Tensor, Tensor]:
    """(draws, n, D') and what they are worth: at once where the density knows how, else one after another."""
    if hasattr(fn, "completions"):
        drawn: tuple[Tensor, Tensor] = fn.completions(value, seen, draws, particles)
        return drawn
    return torch.stack([fn.complete(value, seen) for _ in range(draws)]), not_weighed(value)


def _drawn_latents(model: Model, rows: Rows, w: LogWeights, draws: int = 1) -> dict[str, Tensor]:
    """Posterior draws of the latents of `rows.repeat(draws)`."""
    pick = resampled(w.rows, draws)
    return _latents(model, w, (pick * rows.n + torch.arange(rows.n, device=pick.device)).flatten())


def _latents(model: Model, w: LogWeights, chosen: Tensor) -> dict[str, Tensor]:
    """One posterior draw of every latent of each row: the chosen particle's, and enumerated ones given it."""
    sites = samples(w.trace)
    out = {}
    for s in model.sites.latents:
        if s.row and s.name in w.guide:
            value = sites[s.name]["value"]
            out[s.name] = value[chosen]
    if w.dims:
        joint = w.joint[..., chosen]
        flat = torch.distributions.Categorical(logits=finite(joint.flatten(0, -2)).T).sample()
        for name, dim in w.dims.items():
            stride = joint.shape[dim + 1 : -1].numel() if dim < -2 else 1
            out[name] = (flat // stride) % joint.shape[dim]
    return out


def _spans(n_numeric: int) -> dict[str, slice]:
    return {"x": slice(None), "numeric": slice(0, n_numeric), "discrete": slice(n_numeric, None)}


def by_chunks(function: Any, rows: Rows, seed: int | None, size: int, program: Any = None) -> Any:
    """`function` of at most `size` rows at a time, those together that the program runs together: what it returns, a
    tensor or several, whose first dimension is of rows."""
    parts = parts_of(program, rows)
    with torch.no_grad(), scope(seed):
        each = [function(rows.take(index)) for part in parts for index in part.split(size)]

    def joined(found: Sequence[Tensor]) -> Tensor:
        out = torch.cat(list(found))
        return out if len(parts) == 1 else out[torch.cat(parts).argsort()]

    return tuple(map(joined, zip(*each, strict=True))) if isinstance(each[0], tuple) else joined(each)
