"""From what a network says to a scale."""

from torch import Tensor
from torch.nn.functional import softplus

UNIT = 0.5413
"""softplus(UNIT) = 1: where a scale begins."""


def positive(raw: Tensor, least: float) -> Tensor:
    """softplus(raw + UNIT) + least: about one where the network says nothing, and finite whatever it says."""
    return softplus((raw + UNIT).clamp(-15, 15)) + least
