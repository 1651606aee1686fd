"""Function approximators: modules made as `network(n_in, n_out, **settings)`, mapping (n, n_in) to (n, n_out).

To write one: a class with that constructor and `forward(x)`; settings are keyword arguments with defaults. Its name
below, or "package.module:Name" in models.toml, is then legal wherever an entry says `network`. Copy `linear.py`.
"""

NAMES = {
    "linear": "zoo.networks.linear:Linear",
    "mlp": "zoo.networks.mlp:MLP",
    "residual": "zoo.networks.residual:Residual",
}
