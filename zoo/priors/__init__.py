"""Densities of the latent vector `z` of a row. A prior is a module made as `prior(schema, dim, **settings)`.

`forward(rows)` samples `z` (n, dim) inside the plate of rows, and other latents first if it has any (`cluster`, which
is summed out).

Optional: `width` (numbers in what it returns, where these are not `dim`), `initialise(rows)` (begin at the table),
`settle(z)` (begin again at draws (n, dim) of the rows' latents, once the objective says so), `met(guide)` (called when
the guide is made). To write one, copy `conditional.py`.
"""

NAMES = {
    "normal": "zoo.priors.normal:StandardNormal",
    "conditional": "zoo.priors.conditional:Conditional",
    "mixture": "zoo.priors.mixture:Mixture",
    "vamp": "zoo.priors.vamp:Vamp",
    "codes": "zoo.priors.codes:Codes",
    "diffusion": "zoo.priors.diffusion:Diffusion",
    "flow": "zoo.priors.flow:Flow",
}
