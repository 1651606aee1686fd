"""Flows: one-to-one maps with a tractable Jacobian. A module made as `flow(features, context, **settings)`.

    flow(c) -> transform                    c: (n, context) that it is conditional on, or None
    transform.call_and_ladj(x)              (n, features) -> (n, features), log|det dy/dx| (n,)
    transform.inv                           the transform the other way

A density uses it as x -> u, u standard Normal; a guide as e -> z. zuko's lazy transforms have this shape too.

To write one: derive a transform from `zoo.flows.transform.Transform` and a module from `Flow` there, or stack what
there is (`Autoregressive` over a kind of scalar map). It computes in float32, starts near the identity, stays finite
far from the origin, and neither syncs with the host nor indexes by booleans. Settings are keyword arguments with
defaults. Its name below, or "package.module:Name" in models.toml, is then legal wherever an entry says `flow`. Copy
`planar.py`.
"""

NAMES = {
    "planar": "zoo.flows.planar:Planar",
    "radial": "zoo.flows.radial:Radial",
    "householder": "zoo.flows.householder:Householder",
    "iaf": "zoo.flows.autoregressive:Affine",
    "spline": "zoo.flows.autoregressive:Spline",
    "nsf": "zoo.flows.autoregressive:Spline",
}
