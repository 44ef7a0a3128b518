"""Zero-cost proxies in a run: as the search's evaluator, and as its warm start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.progress import Reporter
from pipeline.data import load
from search.dataset import ImageData
from search.evaluate import Alone
from search.loop import candidate_of
from search.oracles.axes import choice_space
from search.oracles.budget import spec_budget
from search.oracles.hyperparameters import genotype, hyperparameters
from search.oracles.proxy_start import best_first
from search.settings import SearchConfig
from search.space import SearchSpace
from search.zero_cost import ZeroCostEvaluator

PROXY_IMAGES = 64  # the first training images


@dataclass(frozen=True)
class ZeroCostEvaluatorFactory:
    """A search.evaluate.EvaluatorFactory; `data` is the folder that pipeline.data.prepare has filled."""

    config: SearchConfig
    data: Path

    def __call__(self, alone: Alone) -> ZeroCostEvaluator:
        """The evaluator of one worker."""
        return zero_cost_evaluator(self.config, load(self.data))


def zero_cost_evaluator(config: SearchConfig, data: ImageData) -> ZeroCostEvaluator:
    """The evaluator for `config.proxy`."""
    images = np.asarray(data.train.first(PROXY_IMAGES).rgb(), dtype=np.float32) / np.float32(255)
    return ZeroCostEvaluator(config.proxy, images)


def warm_start(
    config: SearchConfig, space: SearchSpace, data: ImageData, seed: int, reporter: Reporter
) -> list[dict[str, Any]]:
    """The configurations to suggest first: `config.warm_start` of `config.proxy_pool` random ones, by `config.proxy`.

    It depends on the configuration, the data and the seed alone, and on how the computer rounds the scores.
    """
    if not config.warm_start:
        return []
    reporter.line(f"  warm start: the best {config.warm_start} of {config.proxy_pool} networks by {config.proxy}")
    evaluator = zero_cost_evaluator(config, data)

    def score(values: Mapping[str, Any]) -> float:
        candidate = candidate_of(space, genotype(space, values), seed)
        return evaluator.evaluate(candidate, epochs=0).metrics[config.proxy]

    return best_first(
        choice_space(hyperparameters(space)),
        score,
        config.warm_start,
        pool=config.proxy_pool,
        seed=seed,
        cost_model=spec_budget(config, space),
    )
