"""Flows that are one-to-one because a network moves no two points further apart than they are.

    x -> x + g(x), |g(x) - g(y)| <= L |x - y|, L < 1

The network's Jacobian is carried along with its value, so log-determinants are exact wherever a matrix of that size can
be had; past a number of coordinates a fit takes a stochastic trace of the logarithm's series instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.bounds import Count, Natural, Widths
from zoo.flows.linear import Actnorm
from zoo.flows.transform import REACH, Composed, Flow, Stack, Transform

Field = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
HASTE = 10.0
"""A network that begins weak should be strong within some tens of steps."""
LARGEST = 128
"""Coordinates up to which log-determinants are computed where nothing is being fitted."""


class Gentle(nn.Module):
    """A network with Lipschitz constant at most `lipschitz` in x, and its Jacobian."""

    def __init__(self, features: int, context: int, hidden: Sequence[int], lipschitz: float):
        super().__init__()
        widths = [features, *hidden, features]
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(b, a) / a**0.5) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(b)) for b in widths[1:])
        self.beside = nn.Linear(context, hidden[0], bias=False) if context else None
        self.strength = nn.Parameter(torch.tensor(-0.2))
        self.lipschitz, self.share = lipschitz, lipschitz ** (1 / len(self.weights))

    def held(self) -> list[Tensor]:
        """The weights, none stretching by more than its share."""
        return [w * (self.share / norm_above(w)).clamp(max=1.0) for w in self.weights]

    def forward(
        self, held: list[Tensor], x: Tensor, shift: Tensor | float, along: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """g(x) (n, features), and its Jacobian times `along` (n, features, k); `shift` is what `beside` says of the
        context."""
        strength = torch.sigmoid(HASTE * self.strength)
        bent = torch.tanh(x / REACH)
        h, t = REACH * bent, along
        if t is not None:
            t = (1 - bent.square())[..., None] * t
        for i, (w, b) in enumerate(zip(held, self.biases, strict=True)):
            h = h @ w.mT + b
            t = None if t is None else w @ t
            if i == 0:
                h = h + shift
            if i + 1 < len(held):
                if t is not None:
                    t = h.clamp(max=0).exp()[..., None] * t
                h = F.elu(h)
        return strength * h, None if t is None else strength * t


def norm_above(w: Tensor) -> Tensor:
    """A bound on the largest singular value of w, a few per cent above it: |(w'w)^8| ** (1/16) in Frobenius' norm."""
    m = w @ w.mT if w.shape[0] < w.shape[1] else w.mT @ w
    log = torch.zeros((), dtype=w.dtype, device=w.device)
    for power in (1, 2, 4, 8):
        size = m.norm().clamp_min(1e-30)
        log = log + size.log() / power
        m = (m / size) @ (m / size)
    return (0.5 * log).exp()


class Step(Transform):
    """y = x + g(x), g moving no two points apart by as much as they are.

    g(x, along): its value (n, features), and its Jacobian times along (n, features, k) where that is asked for.
    terms: of the series that stands for the log-determinant; 0 has the determinant itself.
    """

    def __init__(self, g: Field, terms: int = 0):
        self.g, self.terms = g, terms

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.terms:
            return self._estimated(x)
        moved, jacobian = self.with_jacobian(x)
        return x + moved, torch.linalg.slogdet(jacobian)[1]

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Fixed-point iteration, which converges from anywhere; Newton's last steps give digits and gradients."""
        with torch.no_grad():
            x = y
            for _ in range(FIXED_POINT_STEPS):
                x = y - self.g(x, None)[0]
            if self.terms:
                return x, -self._estimated(x)[1]
            for _ in range(NEWTON_STEPS):
                x = self._newton(x, y)
        x = self._newton(x.detach(), y)
        return x, -self.call_and_ladj(x)[1]

    def _newton(self, x: Tensor, y: Tensor) -> Tensor:
        moved, jacobian = self.with_jacobian(x)
        return x - torch.linalg.solve(jacobian.detach(), (x + moved - y)[..., None])[..., 0]

    def with_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How far x is moved (n, features), and the step's Jacobian (n, features, features)."""
        one = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        moved, jacobian = self.g(x, one.expand(len(x), -1, -1))
        assert jacobian is not None
        return moved, one + jacobian

    def _estimated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log|det(1 + J)| = sum_k (-1)^(k+1) tr(J^k) / k, the traces by one random direction, the series cut short."""
        probe = 2.0 * torch.randint_like(x, 2)[..., None] - 1
        moved, along, total = x, probe, x.new_zeros(len(x))
        for k in range(1, self.terms + 1):
            moved, turned = self.g(x, along)
            assert turned is not None
            along = turned
            total = total - (-1.0) ** k / k * (probe * along).sum((-2, -1))
        return x + moved, total


FIXED_POINT_STEPS, NEWTON_STEPS = 40, 3


class Contraction(Flow):
    """y = x + g(x; c). Behrmann et al. 2019."""

    def __init__(self, features: int, context: int, hidden: Sequence[int], exact_up_to: int, terms: int):
        super().__init__(features, context)
        self.network = Gentle(features, context, hidden, lipschitz=0.97)
        self.exact_up_to, self.terms = exact_up_to, terms

    def forward(self, c: Tensor | None = None) -> Transform:
        held = self.network.held()
        beside = self.network.beside
        shift = 0.0 if beside is None or c is None else beside(c.to(held[0].dtype))
        most = self.exact_up_to if self.training else max(self.exact_up_to, LARGEST)
        terms = 0 if self.features <= most else self.terms
        return Step(lambda x, along: self.network(held, x, shift, along), terms)


class ResidualNetwork(Stack):
    """Contractive residual blocks, a scale and shift after each. Behrmann et al. 2019; Chen et al. 2019.

    exact_up_to  coordinates up to which a fit computes log-determinants; beyond, it estimates them
    terms        of the series that an estimate is cut short at
    """

    def __init__(
        self,
        features: int,
        context: int,
        layers: Count = 6,
        hidden: Widths = (64, 64),
        exact_up_to: Natural = 16,
        terms: Count = 8,
    ):
        parts: list[nn.Module] = []
        for _ in range(layers):
            parts += [Contraction(features, context, hidden, exact_up_to, terms), Actnorm(features, context)]
        super().__init__(features, context, parts)
        self.exact = features <= max(exact_up_to, LARGEST)


class Steps(Composed):
    """Steps one after another, their determinants all at once."""

    parts: Sequence[Step]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        jacobians = []
        for step in self.parts:
            moved, jacobian = step.with_jacobian(x)
            x = x + moved
            jacobians.append(jacobian)
        return x, torch.linalg.slogdet(torch.stack(jacobians))[1].sum(0)


class Continuous(Flow):
    """dx/dt = f(x, t; c) from t = 0 to 1 by `steps` steps of Euler's. Chen et al. 2018; Grathwohl et al. 2019.

    The Jacobian is that of the steps themselves, carried along, and f bends too little in the time of one for it not to
    be one-to-one: the number is that of the map as computed, without an error of integration. At equal cost short steps
    of the first order may bend six times as much as long ones of the fourth.
    """

    def __init__(self, features: int, context: int, steps: Count = 24, hidden: Widths = (64, 64)):
        super().__init__(features, context)
        self.steps = steps
        self.network = Gentle(features, 1 + context, hidden, lipschitz=0.97 * steps)

    def forward(self, c: Tensor | None = None) -> Transform:
        held = self.network.held()
        assert self.network.beside is not None
        begin, of_context = self.network.beside.weight.split([1, self.context], 1)
        context = 0.0 if c is None or not c.shape[-1] else c.to(held[0].dtype) @ of_context.mT

        def moved(time: float, x: Tensor, along: Tensor | None) -> tuple[Tensor, Tensor | None]:
            out, turned = self.network(held, x, context + time * begin[:, 0], along)
            return out / self.steps, None if turned is None else turned / self.steps

        return Steps([Step(partial(moved, i / self.steps)) for i in range(self.steps)])
