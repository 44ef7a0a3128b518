"""Settings of training and search, checked when they are made. No TensorFlow here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.checks import in_choices, in_range
from core.errors import bad_value, one_of
from core.registry import check_name
from search.objective import COST_WEIGHT, OBJECTIVES, PARETO
from search.oracles import ORACLES, SEVERAL_OBJECTIVES
from search.recipe_space import parse_template
from search.spaces import SPACES

COSTS = ("latency_us", "macs")
# What `objectives` may name: metrics that every trial has, and those of trials that are converted and measured.
COMPUTED_METRICS = ("val_accuracy", "macs", "params", "peak_memory_bytes")
MEASURED_METRICS = ("latency_us", "int8_val_accuracy", "size_bytes", "zipped_bytes")
DIRECTIONS = ("max", "min")
MAX_WORKERS = 256
TRAIN, ZERO_COST, SUPERNET = "train", "zero_cost", "supernet"
EVALUATORS = (TRAIN, ZERO_COST, SUPERNET)
PROXIES = ("naswot", "synflow", "logsynflow", "params", "macs")
PROXY_SCORE = "proxy_score"  # the metric of a zero-cost evaluation that takes the place of val_accuracy
MAX_PROXY_POOL = 100_000
# Strategies that read past logs, and Keras Tuner's own, which cannot be told what to suggest first.
LIMIT = (1, 1e15)  # what a limit may be: of MACs, bytes, microseconds, ...
TRANSFER_ORACLES = ("transfer", "ranking_ensemble")
KERAS_TUNER_ORACLES = ("bayesian", "hyperband", "random")
# Smallest and largest legal values.
EPOCHS = (1, 10_000)
BATCH_SIZE = (1, 8192)
LEARNING_RATE = (1e-7, 1.0)
MIXUP = (0.01, 10.0)  # or 0, off


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training: Adam with decoupled weight decay, and a learning rate that warms up and then falls by a cosine.

    Attributes:
      mixup: alpha of mixup (Zhang et al. 2018, arXiv:1710.09412): each image is mixed with another one of its batch, in
        parts drawn from Beta(alpha, alpha); 0 is none, 0.1 to 0.4 are usual.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        in_range("config.train.epochs", self.epochs, *EPOCHS)
        in_range("config.train.batch_size", self.batch_size, *BATCH_SIZE)
        in_range("config.train.learning_rate", self.learning_rate, *LEARNING_RATE)
        in_range("config.train.weight_decay", self.weight_decay, 0.0, 1.0)
        in_range("config.train.label_smoothing", self.label_smoothing, 0.0, 0.9)
        if self.mixup != 0.0:
            in_range("config.train.mixup", self.mixup, *MIXUP)


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """One architecture search.

    Attributes:
      train_images: limits the images that a trial trains on (the proxy task).
      objective: a name of search.objective.OBJECTIVES, or "pareto".
      cost: what the objective weighs against accuracy: a latency measured on `target`, or multiply-accumulates, which
        are computed and so repeat exactly.
      cost_weight: of the objective "weighted".
      objectives: of the objective "pareto": two or more, each "METRIC max" or "METRIC min".
      latency_table: a file of the command latency_table (search.latency.table), which predicts `latency_us` in place of
        a measurement; trials are not converted then. None: each is measured on `target`.
      max_macs, max_params, max_peak_memory_bytes, max_latency_us: a candidate beyond one of them is refused before it
        is trained. The last needs `latency_table`.
      num_winners: how many networks are trained in full; of a Pareto search those that spread best along its front.
      num_workers: how many trials are evaluated at once, each in a process of its own; 1 is this process itself.
      past_logs: trial logs (trials.jsonl) of earlier searches over the same space on other data, for the strategies
        "transfer" and "ranking_ensemble".
      evaluator: "train"; "supernet": a candidate is judged by its part of weights that all of them share, and that
        were trained before (config.supernet); or "zero_cost": the objective is then the value of `proxy` for the
        untrained network.
      proxy: a zero-cost proxy (search.zero_cost).
      warm_start: how many of the first trials are the best by `proxy` of `proxy_pool` random networks.
      recipe: compression recipes to search together with the networks, a text with alternatives
        (search.recipe_space); a trial is then judged by the accuracy of its final .tflite. None: networks alone.
      recipe_epochs: epochs of each pass that trains in a trial.
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
    cost_weight: float = COST_WEIGHT
    objectives: tuple[str, ...] = ("val_accuracy max", "latency_us min")
    max_macs: float | None = None
    max_params: float | None = None
    max_peak_memory_bytes: float | None = None
    max_latency_us: float | None = None
    latency_table: str | None = None
    num_workers: int = 1
    past_logs: tuple[str, ...] = ()
    evaluator: str = TRAIN
    proxy: str = "naswot"
    warm_start: int = 0
    proxy_pool: int = 50
    recipe: str | None = None
    recipe_epochs: int = 1

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
        in_range("config.search.target_macs", self.target_macs, *LIMIT)
        in_range("config.search.num_winners", self.num_winners, 1, self.max_trials)
        if self.train_images is not None:
            in_range("config.search.train_images", self.train_images, 1, 1e9)
        in_range("config.search.cost_weight", self.cost_weight, 0.0, 1e6)
        in_range("config.search.num_workers", self.num_workers, 1, MAX_WORKERS)
        for metric, limit in self.limits.items():
            in_range(f"config.search.max_{metric}", limit, *LIMIT)
        if self.objective == PARETO:
            self._check_pareto()
        if self.oracle == "hyperband":
            self._check_hyperband()
        self._check_past_logs()
        self._check_proxy()
        self._check_latency()
        if self.recipe is not None:
            self._check_recipe()

    def _check_pareto(self) -> None:
        check_name(SEVERAL_OBJECTIVES, self.oracle, f"config.search.oracle with config.search.objective = {PARETO!r}")
        where = "config.search.objectives"
        names = COMPUTED_METRICS + (MEASURED_METRICS if self.measured else ())
        names += ("latency_us",) if self.latency_table is not None else ()
        for text in self.objectives:
            metric, _, direction = text.partition(" ")
            if metric not in names or direction not in DIRECTIONS:
                needed = f" (others need config.search.cost = {COSTS[0]!r} and no config.search.latency_table)"
                why = "" if self.measured else needed
                legal = f"'METRIC max' or 'METRIC min', the metric being {one_of(names)}{why}"
                raise bad_value(where, text, legal)
        metrics = [metric for metric, _ in self.directions]
        if len(metrics) < 2 or len(set(metrics)) < len(metrics):
            raise bad_value(where, self.objectives, "at least two, no metric twice")

    def _check_past_logs(self) -> None:
        if self.past_logs and self.oracle not in TRANSFER_ORACLES:
            legal = f"{one_of(TRANSFER_ORACLES)} with config.search.past_logs"
            raise bad_value("config.search.oracle", self.oracle, legal)
        if not all(isinstance(path, str) and path for path in self.past_logs):
            raise bad_value("config.search.past_logs", self.past_logs, "paths of trial logs")

    def _check_proxy(self) -> None:
        in_choices("config.search.evaluator", self.evaluator, EVALUATORS)
        in_choices("config.search.proxy", self.proxy, PROXIES)
        in_range("config.search.proxy_pool", self.proxy_pool, 1, MAX_PROXY_POOL)
        in_range("config.search.warm_start", self.warm_start, 0, min(self.proxy_pool, self.max_trials))
        if self.warm_start and self.oracle in KERAS_TUNER_ORACLES:
            legal = f"0 with config.search.oracle = {self.oracle!r}, which cannot be told what to suggest first"
            raise bad_value("config.search.warm_start", self.warm_start, legal)
        why = f"with config.search.evaluator = {self.evaluator!r}"
        if self.evaluator == ZERO_COST:
            in_choices(f"config.search.cost {why}", self.cost, ("macs",))
            in_choices(f"config.search.objective {why}", self.objective, ("accuracy",))
        if self.evaluator != TRAIN:  # nothing is trained for more or fewer epochs
            in_choices(f"config.search.oracle {why}", self.oracle, tuple(sorted(set(ORACLES) - {"hyperband"})))

    def _check_latency(self) -> None:
        where = "config.search.latency_table"
        if self.max_latency_us is not None and self.latency_table is None:
            legal = f"None, or a limit with {where}: what is measured is known only after the training"
            raise bad_value("config.search.max_latency_us", self.max_latency_us, legal)
        if self.latency_table is not None and self.recipe is not None:
            raise bad_value(where, self.latency_table, "None with config.search.recipe, which changes the network")
        if self.latency_table is not None and self.cost != "latency_us":
            raise bad_value(where, self.latency_table, f"None with config.search.cost = {self.cost!r}")

    def _check_recipe(self) -> None:
        parse_template(self.recipe or "")
        in_range("config.search.recipe_epochs", self.recipe_epochs, *EPOCHS)
        why = "with config.search.recipe"
        in_choices(f"config.search.cost {why}", self.cost, ("latency_us",))
        in_choices(f"config.search.evaluator {why}", self.evaluator, (TRAIN,))
        if self.oracle in ("hyperband", *TRANSFER_ORACLES):  # more epochs, or another log, of a network alone
            legal = f"{one_of(sorted(set(ORACLES) - {'hyperband', *TRANSFER_ORACLES}))} {why}"
            raise bad_value("config.search.oracle", self.oracle, legal)

    def _check_hyperband(self) -> None:
        if self.epochs < 2:
            raise bad_value("config.search.epochs", self.epochs, "at least 2 with config.search.oracle = 'hyperband'")
        least = hyperband_first_bracket(self.epochs)
        if self.max_trials < least:
            legal = f"at least {least} with hyperband and {self.epochs} epochs: fewer end before a promotion is trained"
            raise bad_value("config.search.max_trials", self.max_trials, legal)

    @property
    def quality(self) -> str:
        """The metric that the objective takes for the accuracy."""
        if self.evaluator == ZERO_COST:
            return PROXY_SCORE
        return "val_accuracy" if self.recipe is None else "int8_val_accuracy"

    @property
    def measured(self) -> bool:
        """Whether each trial is converted and measured on the target."""
        return self.cost == "latency_us" and self.latency_table is None

    @property
    def target_cost(self) -> float:
        """The budget in the unit of `cost`."""
        return self.target_latency_us if self.cost == "latency_us" else self.target_macs

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """Metric and direction ("max" or "min") of each of `objectives`."""
        return tuple((metric, direction) for metric, _, direction in (text.partition(" ") for text in self.objectives))

    @property
    def limits(self) -> dict[str, float]:
        """The limited metrics with their limits: those of search.cost.Cost, and the latency by `latency_table`."""
        limits = {
            "macs": self.max_macs,
            "params": self.max_params,
            "peak_memory_bytes": self.max_peak_memory_bytes,
            "latency_us": self.max_latency_us,
        }
        return {metric: limit for metric, limit in limits.items() if limit is not None}


def hyperband_first_bracket(epochs: int, factor: int = 3) -> int:
    """Trials of Hyperband's first and largest bracket, promotions included, as Keras Tuner sizes it."""
    rounds = 0
    while factor**rounds <= epochs:
        rounds += 1
    end_size = math.ceil(1 + math.log(epochs, factor)) / rounds
    return sum(math.ceil(end_size * factor**number) for number in range(rounds))
