"""Search strategies: name -> factory of a keras_tuner.Oracle from (SearchConfig, HyperParameters, seed)."""

ORACLES = {
    "random": "search.oracles.random_search:make",
    "bayesian": "search.oracles.bayesian:make",
    "hyperband": "search.oracles.hyperband:make",
}
