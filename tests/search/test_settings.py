"""Settings refuse what is out of range, naming the key, the value and what is legal."""

from __future__ import annotations

import math

import pytest

from core.errors import UsageError
from core.spec_io import from_plain, to_plain
from search.settings import SearchConfig, TrainConfig

PARETO = {"objective": "pareto", "oracle": "nsga2"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"space": "x"}, "config.search.space: 'x' is not legal; expected one of fbnet, "),
        (
            {"oracle": "Random"},
            "config.search.oracle: 'Random' is not legal; expected one of bayesian, hyperband, ",
        ),
        (
            {"objective": ""},
            "config.search.objective: '' is not legal; expected one of accuracy, constraint, mnasnet_hard, ",
        ),
        ({"cost": "flops"}, "config.search.cost: 'flops' is not legal; expected one of latency_us, macs"),
        ({"max_trials": 0}, "config.search.max_trials: 0 is not legal; expected a number from 1 to 1e+06"),
        ({"epochs": 0}, "config.search.epochs: 0 is not legal; expected a number from 1 to 10000"),
        ({"epochs": 1, "oracle": "hyperband"}, "config.search.epochs: 1 is not legal; expected at least 2 with "),
        ({"batch_size": 0}, "config.search.batch_size: 0 is not legal; expected a number from 1 to 8192"),
        ({"learning_rate": 0.0}, "config.search.learning_rate: 0.0 is not legal; expected a number from 1e-07 to 1"),
        ({"learning_rate": math.nan}, "config.search.learning_rate: nan is not legal"),
        ({"train_images": 0}, "config.search.train_images: 0 is not legal; expected a number from 1 to 1e+09"),
        ({"target_latency_us": 0.0}, "config.search.target_latency_us: 0.0 is not legal"),
        ({"target_latency_us": math.inf}, "config.search.target_latency_us: inf is not legal"),
        ({"target_macs": 0}, "config.search.target_macs: 0 is not legal"),
        ({"num_winners": 0}, "config.search.num_winners: 0 is not legal; expected a number from 1 to 8"),
        ({"num_winners": 9}, "config.search.num_winners: 9 is not legal; expected a number from 1 to 8"),
        ({"num_workers": 0}, "config.search.num_workers: 0 is not legal; expected a number from 1 to 256"),
        ({"cost_weight": -0.1}, "config.search.cost_weight: -0.1 is not legal; expected a number from 0 to 1e+06"),
        ({"max_macs": 0.0}, "config.search.max_macs: 0.0 is not legal; expected a number from 1 to 1e+15"),
        ({"max_params": math.nan}, "config.search.max_params: nan is not legal; expected a number from 1 to 1e+15"),
        ({"max_peak_memory_bytes": 0.5}, "config.search.max_peak_memory_bytes: 0.5 is not legal; expected a number"),
        (
            {"objective": "pareto"},
            "config.search.oracle with config.search.objective = 'pareto': 'bayesian' is not legal; expected ",
        ),
        (
            {**PARETO, "objectives": ("val_accuracy max", "speed min")},
            "config.search.objectives: 'speed min' is not legal; expected 'METRIC max' or 'METRIC min', the metric "
            "being one of int8_val_accuracy, latency_us, macs, params, peak_memory_bytes, size_bytes, val_accuracy",
        ),
        (
            {**PARETO, "objectives": ("val_accuracy", "macs min")},
            "config.search.objectives: 'val_accuracy' is not legal",
        ),
        (
            {**PARETO, "objectives": ("macs up", "params min")},
            "config.search.objectives: 'macs up' is not legal; expect",
        ),
        (
            {**PARETO, "objectives": ("val_accuracy max", "size_bytes min"), "cost": "macs"},
            "config.search.objectives: 'size_bytes min' is not legal; expected 'METRIC max' or 'METRIC min', the "
            "metric being one of macs, params, peak_memory_bytes, val_accuracy (others need config.search.cost = ",
        ),
        (
            {**PARETO, "objectives": ("val_accuracy max",)},
            "config.search.objectives: ('val_accuracy max',) is not legal; expected at least two, no metric twice",
        ),
        (
            {**PARETO, "objectives": ("macs max", "macs min")},
            "config.search.objectives: ('macs max', 'macs min') is not legal; expected at least two, no metric twice",
        ),
    ],
)
def test_bad_search_settings_are_refused(values, message):
    with pytest.raises(UsageError) as caught:
        SearchConfig(**values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("epochs", 0), ("batch_size", 8193), ("learning_rate", 2.0), ("weight_decay", -0.1), ("label_smoothing", 1.0)],
)
def test_bad_training_settings_are_refused(key, value):
    with pytest.raises(UsageError, match=rf"^config\.train\.{key}: {value} is not legal; expected a number from "):
        TrainConfig(**{key: value})


def test_target_cost_follows_the_cost():
    config = SearchConfig(target_latency_us=50.0, target_macs=2e6)
    assert config.target_cost == 50.0
    assert SearchConfig(cost="macs", target_latency_us=50.0, target_macs=2e6).target_cost == 2e6


def test_limits_and_objectives_as_values():
    config = SearchConfig(max_params=1e5, **PARETO)
    assert config.limits == {"params": 1e5}
    assert config.directions == (("val_accuracy", "max"), ("latency_us", "min"))
    assert SearchConfig().limits == {}
    SearchConfig(cost="macs")  # objectives that it could not have do not matter without "pareto"


@pytest.mark.parametrize("config", [SearchConfig(), SearchConfig(train_images=100, cost="macs"), TrainConfig(epochs=3)])
def test_round_trip(config):
    assert from_plain(type(config), to_plain(config)) == config
