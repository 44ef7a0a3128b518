"""Search strategies: name -> factory of a keras_tuner.Oracle from (SearchConfig, HyperParameters, seed)."""

ORACLES = {
    "random": "search.oracles.random_search:make",
    "bayesian": "search.oracles.bayesian:make",
    "hyperband": "search.oracles.hyperband:make",
    "regularized_evolution": "search.oracles.evolution:make",
    "local_search": "search.oracles.local_search:make",
    "surrogate_bayes": "search.oracles.surrogate:make",
    "transfer": "search.oracles.transfer:make",
    "ranking_ensemble": "search.oracles.transfer:make_ensemble",
    "nsga2": "search.oracles.nsga2:make",
    "progressive": "search.oracles.progressive:make",
    "reinforce": "search.oracles.reinforce:make",
}

# Those of them that take several objectives at once (config.search.objective = "pareto").
SEVERAL_OBJECTIVES = {
    "nsga2": "search.oracles.nsga2:make",
}
