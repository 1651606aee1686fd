"""What fitting minimises. An objective is made as `Objective(**settings)`; `turns(model)` yields its turns.

A turn is (which parameters, which loss, how often, when); the loop knows nothing else about any family. To write one,
copy `reconstruction.py`: `loss(rows)` is a scalar to minimise, in nats per row where it is a bound, and
`validate(model, rows, particles)` says of each row (n,) how good the model is, higher being better.
Optional: `withdraws` (verbs that a model fitted so cannot do: without "score" it has no likelihood, without "score" and
"impute" its latents need no guide), `prepare(model)` (make networks of its own, once the model is made; they are saved
with it), `agreement(model, rows)` (a scalar instead of `validate`: how well draws and validation rows agree), `looks`
(the most at validation rows, where each is dear), `least` (validation rows that it takes), `gain` (of a look that is
kept),
`watch(model, rows)` (numbers by name that every look at the fit tells) and `notes(look)` (what is to be said of the
model that was kept, given its look). Without a likelihood, copy `kernel.py`: `zoo.objectives.samples` has rows and
draws as features, and `zoo.objectives.two_sample.Sampled` judges by them. A loss that is one function of
`(model, rows)` needs no class: `objective = "mine:loss"`.
"""

NAMES = {
    "adversarial": "zoo.objectives.adversarial:Adversarial",
    "cycle": "zoo.objectives.cycle:Cycle",
    "density-ratio": "zoo.objectives.latents:DensityRatio",
    "aggregated-posterior": "zoo.objectives.latents:Aggregated",
    "mmd": "zoo.objectives.kernel:Mmd",
    "energy-distance": "zoo.objectives.kernel:EnergyDistance",
    "sinkhorn": "zoo.objectives.transport:Sinkhorn",
    "elbo": "zoo.objectives.elbo:Elbo",
    "iwae": "zoo.objectives.elbo:Iwae",
    "denoising": "zoo.objectives.denoising:Denoising",
    "contrastive-divergence": "zoo.objectives.energy:ContrastiveDivergence",
    "nce": "zoo.objectives.energy:NoiseContrastive",
    "latent-diffusion": "zoo.objectives.latent_diffusion:LatentDiffusion",
    "reconstruction": "zoo.objectives.reconstruction:Reconstruction",
}
