"""Settings of training and search, checked when they are made. No TensorFlow here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.checks import in_choices, in_range
from core.errors import bad_value
from core.registry import check_name
from search.objective import OBJECTIVES
from search.oracles import ORACLES
from search.spaces import SPACES

COSTS = ("latency_us", "macs")
# Smallest and largest legal values.
EPOCHS = (1, 10_000)
BATCH_SIZE = (1, 8192)
LEARNING_RATE = (1e-7, 1.0)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training: Adam with decoupled weight decay, and a learning rate that warms up and then falls by a cosine."""

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        in_range("config.train.epochs", self.epochs, *EPOCHS)
        in_range("config.train.batch_size", self.batch_size, *BATCH_SIZE)
        in_range("config.train.learning_rate", self.learning_rate, *LEARNING_RATE)
        in_range("config.train.weight_decay", self.weight_decay, 0.0, 1.0)
        in_range("config.train.label_smoothing", self.label_smoothing, 0.0, 0.9)


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """One architecture search.

    `train_images` limits the images a trial trains on (the proxy task); `cost` is what the objective weighs against
    accuracy: a latency measured on `target`, or multiply-accumulates, which are computed and so repeat exactly.
    """

    space: str = "mobilenet_v2_small"
    oracle: str = "bayesian"
    max_trials: int = 8
    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 2e-3
    train_images: int | None = None
    objective: str = "mnasnet_soft"
    cost: str = "latency_us"
    target: str = "host"
    target_latency_us: float = 100.0
    target_macs: float = 1e6
    num_winners: int = 1

    def __post_init__(self) -> None:
        check_name(SPACES, self.space, "config.search.space")
        check_name(ORACLES, self.oracle, "config.search.oracle")
        check_name(OBJECTIVES, self.objective, "config.search.objective")
        in_choices("config.search.cost", self.cost, COSTS)
        in_range("config.search.max_trials", self.max_trials, 1, 1_000_000)
        in_range("config.search.epochs", self.epochs, *EPOCHS)
        in_range("config.search.batch_size", self.batch_size, *BATCH_SIZE)
        in_range("config.search.learning_rate", self.learning_rate, *LEARNING_RATE)
        in_range("config.search.target_latency_us", self.target_latency_us, 1e-3, 1e9)
        in_range("config.search.target_macs", self.target_macs, 1, 1e15)
        in_range("config.search.num_winners", self.num_winners, 1, self.max_trials)
        if self.train_images is not None:
            in_range("config.search.train_images", self.train_images, 1, 1e9)
        if self.oracle == "hyperband":
            self._check_hyperband()

    def _check_hyperband(self) -> None:
        if self.epochs < 2:
            raise bad_value("config.search.epochs", self.epochs, "at least 2 with config.search.oracle = 'hyperband'")
        least = hyperband_first_bracket(self.epochs)
        if self.max_trials < least:
            legal = f"at least {least} with hyperband and {self.epochs} epochs: fewer end before a promotion is trained"
            raise bad_value("config.search.max_trials", self.max_trials, legal)

    @property
    def target_cost(self) -> float:
        """The budget in the unit of `cost`."""
        return self.target_latency_us if self.cost == "latency_us" else self.target_macs


def hyperband_first_bracket(epochs: int, factor: int = 3) -> int:
    """Trials of Hyperband's first and largest bracket, promotions included, as Keras Tuner sizes it."""
    rounds = 0
    while factor**rounds <= epochs:
        rounds += 1
    end_size = math.ceil(1 + math.log(epochs, factor)) / rounds
    return sum(math.ceil(end_size * factor**number) for number in range(rounds))
