"""Variational posteriors. A guide is an `nn.Module` made as `Guide(schema, program, sites, **settings)`.

`sites` (see `zoo.sites`) are the program's latents, read from one dry trace. `forward(rows)` samples those it infers,
row latents inside `rows.plate()`. To write one, copy `encoder.py`.
"""

NAMES = {
    "none": "zoo.guides.none:NoGuide",
    "encoder": "zoo.guides.encoder:Encoder",
    "normal": "zoo.guides.normal:MeanField",
    "exact": "zoo.guides.exact:exact",
}
