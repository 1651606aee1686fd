"""Flows: one-to-one maps with a tractable Jacobian. A module made as `flow(features, context, **settings)`.

    flow(c) -> transform                    c: (n, context) that it is conditional on, or None
    transform.call_and_ladj(x)              (n, features) -> (n, features), log|det dy/dx| (n,)
    transform.inv                           the transform the other way

A density uses it as x -> u, u standard Normal; a guide as e -> z. zuko's lazy transforms have this shape too.

To write one: derive a transform from `zoo.flows.transform.Transform` and a module from `Flow` there, or stack what
there is (`Autoregressive` or `Coupling` over a kind of scalar map). It computes in float32, starts near the identity,
stays finite far from the origin, and neither syncs with the host nor indexes by booleans; `exact = False` says that
its log-determinant is an estimate. Settings are keyword arguments with defaults. Its name below, or
"package.module:Name" in models.toml, is then legal wherever an entry says `flow`. Copy `planar.py`.
"""

NAMES = {
    "planar": "zoo.flows.planar:Planar",
    "radial": "zoo.flows.radial:Radial",
    "householder": "zoo.flows.householder:Householder",
    "linear": "zoo.flows.linear:LinearFlow",
    "elementwise": "zoo.flows.elementwise:Elementwise",
    "nice": "zoo.flows.coupling:Nice",
    "realnvp": "zoo.flows.coupling:RealNVP",
    "residual": "zoo.flows.coupling:Residual",
    "glow": "zoo.flows.coupling:Glow",
    "multiscale": "zoo.flows.coupling:Multiscale",
    "spline-coupling": "zoo.flows.coupling:SplineCoupling",
    "maf": "zoo.flows.autoregressive:Affine",
    "iaf": "zoo.flows.autoregressive:Affine",
    "nsf": "zoo.flows.autoregressive:Spline",
    "spline": "zoo.flows.autoregressive:Spline",
    "naf": "zoo.flows.autoregressive:Neural",
    "iresnet": "zoo.flows.contractive:ResidualNetwork",
    "cnf": "zoo.flows.contractive:Continuous",
}
