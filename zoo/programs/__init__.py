"""Generative processes. A program is an `nn.Module` made as `Program(schema, **settings)`; `forward(rows)` is Pyro.

To write one:
  * rows sit in `with rows.plate():`, data enters through `rows.observe(thing, columns=...)` (see `zoo.rows.Rows`);
  * a predictor has length `rows.width`, or `rows.full` with scales; `rows.given`, `rows.group` are always there;
  * discrete row latents that the guide does not name are summed out; `cluster` is the one reported;
  * continuous row latents are named by the guide; `z` is what `zoo embed` returns;
  * optional: `initialise(rows) -> bool` starts the parameters from data, and says whether the fit is finished;
    or returns values at which global latents begin, by name; `posterior(rows)` gives the posterior of z, in closed
    form or by Laplace, where log p(x, z) is `log_concave`, given the values of the global latents by name;
  * optional, where a trace is not how rows are drawn: `sample(rows)` gives (rows.n, D) in codec units, and then there
    are no latents to infer; beside it `log_prob(rows, particles)` gives estimates (particles, n) of each row's
    log-likelihood whose mean is the number, `bound(complete)` what that number is, and `complete(rows, draws)` fills
    cells that are not seen (draws, n, D);
    instead of estimates of rows, `score_rows(rows, particles, seed, seconds)` may say all that there is to say of them;
  * optional, in the place of draws: `translate(rows)` gives every row as one of another kind (rows.n, D);
  * optional: `notes`, a list of text: what the start from data had to mend, told to the user;
  * optional: `parts(rows)` gives the rows that must be run apart, as positions.
Settings are held against their annotations: `int`, `float`, or what `zoo.bounds` has, as `Count`, which is 1 or more.
A plain Pyro function of `rows` is a program too. Copy `independent.py`.
"""

NAMES = {
    "independent": "zoo.programs.independent:Independent",
    "gaussian": "zoo.programs.gaussian:Gaussian",
    "mixture": "zoo.programs.mixture:Mixture",
    "factor-mixture": "zoo.programs.factor_mixture:FactorMixture",
    "hierarchical-mixture": "zoo.programs.hierarchical_mixture:HierarchicalMixture",
    "bayesian-mixture": "zoo.programs.bayesian_mixture:BayesianMixture",
    "bayesian-factors": "zoo.programs.bayesian_factors:BayesianFactors",
    "class-models": "zoo.programs.class_models:ClassModels",
    "latent": "zoo.programs.latent:Latent",
    "ladder": "zoo.programs.ladder:Ladder",
    "circuit": "zoo.programs.circuit:Circuit",
    "chain": "zoo.programs.chain:Chain",
    "flow": "zoo.programs.flow:flow",
    "flow-mixture": "zoo.programs.flow_mixture:FlowMixture",
    "diffusion": "zoo.programs.diffusion:Diffusion",
    "score": "zoo.programs.score:Score",
    "translation": "zoo.programs.translation:Translation",
    "energy": "zoo.programs.energy:Energy",
    "stack": "zoo.stacked:Stack",
}
