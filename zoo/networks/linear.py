"""The affine map."""

from torch import nn


class Linear(nn.Linear):
    """x W' + b: what makes a VAE a factor model."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out)
