"""What fitting minimises. An objective is made as `Objective(**settings)`; `turns(model)` yields its turns.

A turn is (which parameters, which loss, how often); the loop knows nothing else about any family. To write one, copy
`elbo.py`: `loss(rows)` is a scalar to minimise, in nats per row where it is a bound. An objective with
`withdraws = True` withdraws the claim to a log-likelihood: a comparison ranks its models apart, by the rows they draw.
"""

NAMES = {
    "elbo": "zoo.objectives.elbo:Elbo",
    "iwae": "zoo.objectives.elbo:Iwae",
}
