"""Variational posteriors. A guide is an `nn.Module` made as `Guide(schema, program, sites, **settings)`.

`sites` (see `zoo.sites`) are the program's latents, read from one dry trace. `forward(rows)` samples those it infers,
row latents inside `rows.plate()`. To write one, copy `encoder.py`; for latents that belong to no row, `normal.py`.
Optional: `exact` (the row latents are drawn from their exact posterior), `point` (the global latents have one value),
`clusters(rows)` (probabilities (n, K) of the level `cluster`, which it names), `draws` (of a guide without a density:
how many make an embedding), `start_at(values)` (begin at the program's own start), `draw_posterior(program, rows)` (no
step is needed to fit it).
"""

NAMES = {
    "none": "zoo.guides.none:NoGuide",
    "encoder": "zoo.guides.encoder:Encoder",
    "code": "zoo.guides.encoder:Code",
    "codes": "zoo.guides.codes:Recogniser",
    "implicit": "zoo.guides.implicit:Implicit",
    "ladder": "zoo.guides.ladder:Bidirectional",
    "exact": "zoo.guides.exact:exact",
    "projection": "zoo.guides.exact:Projection",
    "map": "zoo.guides.normal:Point",
    "normal": "zoo.guides.normal:MeanField",
    "multivariate": "zoo.guides.normal:Multivariate",
    "low-rank": "zoo.guides.normal:LowRank",
    "flow": "zoo.guides.flow:Flow",
    "nuts": "zoo.guides.nuts:Nuts",
}
