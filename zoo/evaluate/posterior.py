"""What the latents of each row are: cluster probabilities, embeddings, and draws that complete a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyro.poutine as poutine
import torch
from torch import Tensor

from zoo.objectives.log_weights import LogWeights, log_weights
from zoo.rows.chain import Chain
from zoo.rows.rows import OBSERVED, Rows
from zoo.scope import scope
from zoo.sites import samples

if TYPE_CHECKING:
    from zoo.model import Model

CHUNK = 4096
PARTICLES = 32


def cluster_probabilities(model: Model, rows: Rows, seed: int = 0) -> Tensor:
    """p(cluster | seen cells) of each row (n, K), averaged over the posterior of any other latents."""

    def one(part: Rows) -> Tensor:
        k = 1 if model.bound(part.complete) == "exact" else PARTICLES
        w = log_weights(model.program, model.guide, part, k)
        joint = w.joint.movedim(w.dims["cluster"], 0).flatten(1, -2) if w.joint.dim() > 2 else w.joint[:, None]
        log = finite(joint.logsumexp(1)).reshape(-1, k, part.n)
        share = torch.softmax(finite(w.rows), 0)
        return (torch.softmax(log, 0) * share).sum(1).T

    exact = model.bound(rows.complete) == "exact"
    return by_chunks(one, rows, seed, CHUNK if exact else CHUNK // PARTICLES)


def embedding(model: Model, rows: Rows, seed: int = 0) -> Tensor:
    """Posterior mean of the continuous latents of each row, `z` first (n, dim)."""
    names = sorted((s.name for s in model.sites.continuous), key=lambda name: (name != "z", name))
    if "z" in names:
        names = ["z"]

    def one(part: Rows) -> Tensor:
        sites = samples(poutine.trace(model.guide).get_trace(part))
        return torch.cat([sites[name]["fn"].mean.flatten(1).double() for name in names], -1)

    return by_chunks(one, rows, seed, CHUNK)


def sample(model: Model, n: int, like: Rows | None = None, seed: int = 0) -> Tensor:
    """n draws of a row, in codec units (n, D), rounded columns on their lattice.

    like: rows whose `given` and `group` the draws take over, cycled.
    """
    out = []
    with torch.no_grad(), scope(seed):
        for index in torch.arange(n).split(CHUNK):
            blank = model.blank(len(index)) if like is None else like.take(index % like.n).blank()
            globals_ = poutine.trace(model.guide).get_trace(_zeros(blank)) if model.sites.globals else None
            program = _replay_globals(model, globals_)
            out.append(model.codec.snap(_drawn(samples(poutine.trace(program).get_trace(blank)), blank)))
    return torch.cat(out)


def complete(model: Model, rows: Rows, draws: int = 1, seed: int = 0, particles: int = PARTICLES) -> Tensor:
    """Draws of each row given its seen cells (draws, n, D), codec units: seen cells as they are.

    The latents are drawn from their posterior (by importance where it is not exact), then the missing cells given
    them.
    """
    k = particles if model.sites.continuous or model.bound(rows.complete) != "exact" else 1

    def one(part: Rows) -> Tensor:
        w = log_weights(model.program, model.guide, part, k)
        if not model.sites.latents:
            return _complete_from(model, part, model.program, draws)
        program = poutine.condition(model.program, data=_drawn_latents(model, part, w, draws))
        many = _complete_from(model, part.repeat(draws), program, 1)
        return many.reshape(draws, part.n, -1).transpose(0, 1)

    return by_chunks(one, rows, seed, max(1, CHUNK // max(k, draws))).transpose(0, 1)


def _complete_from(model: Model, rows: Rows, program: Any, draws: int) -> Tensor:
    """Draws of rows (n, draws, D) whose latents are known to `program`, or not there."""
    assert rows.cells is not None
    trace = samples(poutine.trace(program).get_trace(rows))
    cells, n = rows.cells, len(rows.schema.numeric)
    x = cells.x.expand(draws, *cells.x.shape).clone()
    for name, span in _spans(n).items():
        if name in trace:
            x[..., span] = _completions(trace[name]["fn"], cells.x[:, span], cells.seen[:, span], draws).to(x.dtype)
    x[..., :n] = torch.stack([_with_atoms(trace, one) for one in x[..., :n]])
    snapped = model.codec.snap(x.flatten(0, 1)).reshape(x.shape)
    return torch.where(cells.seen, cells.x, snapped).transpose(0, 1)


def _completions(fn: Any, value: Tensor, seen: Tensor, draws: int) -> Tensor:
    """(draws, n, D'): at once where the density knows how, else one after another."""
    if isinstance(fn, Chain):
        return fn.completions(value, seen, draws)
    return torch.stack([fn.complete(value, seen) for _ in range(draws)])


def _drawn_latents(model: Model, rows: Rows, w: LogWeights, draws: int = 1) -> dict[str, Tensor]:
    """Posterior draws of the latents of `rows.repeat(draws)`."""
    pick = torch.distributions.Categorical(logits=finite(w.rows).T).sample((draws,))
    return _latents(model, w, (pick * rows.n + torch.arange(rows.n, device=pick.device)).flatten())


def _latents(model: Model, w: LogWeights, chosen: Tensor) -> dict[str, Tensor]:
    """One posterior draw of every latent of each row: the chosen particle's, and enumerated ones given it."""
    sites = samples(w.trace)
    out = {s.name: sites[s.name]["value"] for s in model.sites.globals}
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


def finite(log: Tensor) -> Tensor:
    """A row that is impossible under every latent (a cell of 1e300) still has a draw: all are then alike."""
    return torch.nan_to_num(log, nan=-1e30, neginf=-1e30, posinf=1e30)


def _spans(n_numeric: int) -> dict[str, slice]:
    return {"x": slice(None), "numeric": slice(0, n_numeric), "discrete": slice(n_numeric, None)}


def _drawn(sites: dict[str, Any], rows: Rows) -> Tensor:
    parts = [sites[name]["value"].double() for name in OBSERVED.values() if name in sites]
    x = torch.cat([p.expand(rows.n, p.shape[-1]) for p in parts], -1)
    n = len(rows.schema.numeric)
    return torch.cat([_with_atoms(sites, x[:, :n]), x[:, n:]], -1)


def _with_atoms(sites: dict[str, Any], numeric: Tensor) -> Tensor:
    """Numeric draws of a joint density, with the atoms that the columns beside it draw."""
    beside = sites.get("discrete")
    return numeric if beside is None else beside["fn"].with_atoms(numeric)


def _zeros(rows: Rows) -> Rows:
    x = torch.zeros(rows.n, len(rows.schema.modelled), dtype=torch.float64, device=rows.given.device)
    return rows.filled(x)


def _replay_globals(model: Model, trace: Any) -> Any:
    if trace is None:
        return model.program
    values = {s.name: trace.nodes[s.name]["value"] for s in model.sites.globals}
    return poutine.condition(model.program, data=values)


def by_chunks(function: Any, rows: Rows, seed: int, size: int) -> Tensor:
    with torch.no_grad(), scope(seed):
        return torch.cat([function(rows.take(i.to(rows.given.device))) for i in torch.arange(rows.n).split(size)])
