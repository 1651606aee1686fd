"""What fitting minimises. An objective is made as `Objective(**settings)`; `turns(model)` yields its turns.

A turn is (which parameters, which loss, how often, when); the loop knows nothing else about any family. To write one,
copy `reconstruction.py`: `loss(rows)` is a scalar to minimise, in nats per row where it is a bound, and
`validate(model, rows, particles)` says of each row (n,) how good the model is, higher being better.
An objective may withdraw the claim to a likelihood (`bound = "none"`), and the claim to draw rows (`draws = False`).
"""

NAMES = {
    "elbo": "zoo.objectives.elbo:Elbo",
    "iwae": "zoo.objectives.elbo:Iwae",
    "reconstruction": "zoo.objectives.reconstruction:Reconstruction",
}
