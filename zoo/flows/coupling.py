"""Coupling flows: one part of the coordinates mapped given the other, which stays; as quick to undo as to do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.bounds import Count, Widths
from zoo.flows import scalar
from zoo.flows.linear import Actnorm, Linear
from zoo.flows.transform import Flow, Stack, Transform, beside, faint
from zoo.networks.mlp import MLP


class Coupling(Flow):
    """y_a = x_a, y_b = f(x_b; network(x_a, c)). moved: (features,) bool, the coordinates b."""

    a: Tensor
    b: Tensor
    back: Tensor

    def __init__(self, features: int, context: int, kind: scalar.Kind, hidden: Sequence[int], moved: Tensor):
        super().__init__(features, context)
        self.kind = kind
        a, b = (~moved).nonzero()[:, 0], moved.nonzero()[:, 0]
        self.register_buffer("a", a, persistent=False)
        self.register_buffer("b", b, persistent=False)
        self.register_buffer("back", torch.cat([a, b]).argsort(), persistent=False)
        n_in, n_out = len(a) + context, len(b) * kind.n_params
        self.network = faint(MLP(n_in, n_out, hidden)) if n_in else None
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, c: Tensor | None = None) -> Transform:
        return PartGivenPart(self, c)

    def maps(self, kept: Tensor, c: Tensor | None) -> scalar.Map:
        raw = self.bias if self.network is None else self.bias + self.network(beside(kept, c))
        return self.kind(raw.expand(len(kept), -1).unflatten(-1, (len(self.b), -1)))


class PartGivenPart(Transform):
    def __init__(self, flow: Coupling, c: Tensor | None):
        self.flow, self.c = flow, c

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x[:, self.flow.a], x[:, self.flow.b]
        moved, ladj = self.flow.maps(kept, self.c).call_and_ladj(moved)
        return torch.cat([kept, moved], 1)[:, self.flow.back], ladj.sum(-1)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = y[:, self.flow.a], y[:, self.flow.b]
        moved, ladj = self.flow.maps(kept, self.c).inverse_and_ladj(moved)
        return torch.cat([kept, moved], 1)[:, self.flow.back], ladj.sum(-1)


def turn(features: int, i: int) -> Tensor:
    """Every second coordinate, the others at the next turn; of one coordinate, that one."""
    return torch.arange(features) % 2 == i % 2 if features > 1 else torch.ones(1, dtype=torch.bool)


class RealNVP(Stack):
    """Affine couplings, even and odd coordinates in turn. Dinh et al. 2017."""

    def __init__(self, features: int, context: int, layers: Count = 6, hidden: Widths = (64, 64)):
        kind = scalar.Affine()
        super().__init__(
            features, context, [Coupling(features, context, kind, hidden, turn(features, i)) for i in range(layers)]
        )


class Nice(Stack):
    """Additive couplings, which keep volumes, then a scale of every coordinate. Dinh et al. 2014."""

    def __init__(self, features: int, context: int, layers: Count = 6, hidden: Widths = (64, 64)):
        kind = scalar.Additive()
        parts = [Coupling(features, context, kind, hidden, turn(features, i)) for i in range(layers)]
        super().__init__(features, context, [*parts, Actnorm(features, context)])


class Residual(Stack):
    """Reversible residual blocks: y_a = x_a + F(x_b), y_b = x_b + G(y_a), mixed by a linear map before each.

    Gomez et al. 2017; Jacobsen et al. 2018.
    """

    def __init__(self, features: int, context: int, layers: Count = 3, hidden: Widths = (64, 64)):
        half = torch.arange(features) < max(1, features // 2)
        parts: list[nn.Module] = []
        for _ in range(layers):
            parts.append(Linear(features, context))
            for moved in (half, ~half) if features > 1 else (half,):
                parts.append(Coupling(features, context, scalar.Additive(), hidden, moved))
        super().__init__(features, context, parts)


class SplineCoupling(Stack):
    """Couplings by rational-quadratic splines, mixed by a linear map before each. Durkan et al. 2019."""

    def __init__(self, features: int, context: int, layers: Count = 4, hidden: Widths = (64, 64), bins: Count = 8):
        kind, parts = scalar.Spline(bins), []
        for i in range(layers):
            parts += [Linear(features, context), Coupling(features, context, kind, hidden, turn(features, i))]
        super().__init__(features, context, parts)


class Glow(Stack):
    """Steps of a scale and shift (actnorm), an invertible linear map, and an affine coupling. Kingma & Dhariwal 2018.

    What a density gives it is whitened, so the scales begin at one, as data would have them.
    """

    def __init__(self, features: int, context: int, layers: Count = 6, hidden: Widths = (64, 64)):
        super().__init__(features, context, glow_steps(features, context, layers, hidden))


def glow_steps(features: int, context: int, layers: int, hidden: Sequence[int]) -> list[nn.Module]:
    parts: list[nn.Module] = []
    for i in range(layers):
        coupling = Coupling(features, context, scalar.Affine(), hidden, turn(features, i))
        parts += [Actnorm(features, context), Linear(features, context), coupling]
    return parts


class Multiscale(Stack):
    """Steps of `glow` on fewer and fewer coordinates: after each block half of those left are set aside, as an affine
    map of them given the half that goes on. Dinh et al. 2017; Kingma & Dhariwal 2018."""

    def __init__(self, features: int, context: int, blocks: Count = 3, layers: Count = 2, hidden: Widths = (64, 64)):
        parts: list[nn.Module] = []
        left = features
        for block in range(blocks):
            parts.append(First(features, context, Stack(left, context, glow_steps(left, context, layers, hidden))))
            on = (left + 1) // 2
            if block + 1 < blocks and on < left:
                aside = Coupling(left, context, scalar.Affine(), hidden, torch.arange(left) >= on)
                parts.append(First(features, context, aside))
                left = on
        super().__init__(features, context, parts)


class First(Flow):
    """A flow of the first coordinates; the others stay."""

    def __init__(self, features: int, context: int, flow: Flow):
        super().__init__(features, context)
        self.flow = flow

    def forward(self, c: Tensor | None = None) -> Transform:
        return OfFirst(self.flow(c), self.flow.features)


class OfFirst(Transform):
    def __init__(self, transform: Transform, size: int):
        self.transform, self.size = transform, size

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, ladj = self.transform.call_and_ladj(x[:, : self.size])
        return torch.cat([y, x[:, self.size :]], 1), ladj

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, ladj = self.transform.inverse_and_ladj(y[:, : self.size])
        return torch.cat([x, y[:, self.size :]], 1), ladj
