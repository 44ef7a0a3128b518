"""Zero-cost proxies in a run: the evaluator's images, and a warm start that repeats and keeps to the limits."""

from __future__ import annotations

import numpy as np
import pytest

from core.progress import SilentReporter
from pipeline.proxies import PROXY_IMAGES, warm_start, zero_cost_evaluator
from search.cost import cost
from search.dataset import ImageData, ImageSet
from search.loop import run_search
from search.named import space
from search.oracles.hyperparameters import genotype
from search.oracles.strategy import Strategy
from search.settings import PROXY_SCORE, SearchConfig
from search.trials import OK

SPACE = space("mobilenet_v2_small", 28, 10)


@pytest.fixture(scope="module")
def data() -> ImageData:
    count = PROXY_IMAGES + 20
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
    every = ImageSet(images, np.zeros(count, np.int32), np.arange(count))
    return ImageData("noise", tuple("0123456789"), every, every.first(2), every.first(2), "none")


def config(**changes: object) -> SearchConfig:
    settings = {"oracle": "regularized_evolution", "cost": "macs", "objective": "accuracy", "max_trials": 4}
    return SearchConfig(**(settings | changes))


def test_the_evaluator_sees_the_first_images_in_0_to_1(data):
    images = zero_cost_evaluator(config(), data).images
    assert images.shape == (PROXY_IMAGES, 28, 28, 3) and images.dtype == np.float32
    assert np.array_equal(images * 255, data.train.rgb()[:PROXY_IMAGES])


def test_the_warm_start_is_the_best_of_the_pool_within_the_limits(data):
    settings = config(proxy="params", warm_start=3, proxy_pool=12, max_macs=1.5e6)
    found = warm_start(settings, SPACE, data, 1, SilentReporter())
    costs = [cost(SPACE.decode(genotype(SPACE, values))) for values in found]
    assert [item.params for item in costs] == sorted((item.params for item in costs), reverse=True)
    assert all(item.macs <= 1.5e6 for item in costs) and len(costs) == 3
    assert found == warm_start(settings, SPACE, data, 1, SilentReporter())
    strategy = Strategy(settings, SPACE, 1, first_values=found)
    assert [strategy.suggest().genotype for _ in found] == [genotype(SPACE, values) for values in found]


def test_a_search_by_a_proxy_alone(data, tmp_path):
    settings = config(evaluator="zero_cost", proxy="naswot", max_trials=3)
    evaluator = zero_cost_evaluator(settings, data)
    trials = run_search(
        settings, SPACE, Strategy(settings, SPACE, 1), evaluator, tmp_path / "log", seed=1, reporter=SilentReporter()
    )
    assert [trial.status for trial in trials] == [OK] * 3
    assert all(trial.score == trial.metrics[PROXY_SCORE] for trial in trials)
    by_proxy = sorted(trials, key=lambda trial: trial.metrics["naswot"])
    assert by_proxy == sorted(trials, key=lambda trial: trial.score)
