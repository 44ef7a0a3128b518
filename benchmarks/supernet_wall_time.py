"""Part "wall_time" of benchmarks.supernet: Once-for-All against training each candidate, in the same time.

Once-for-All trains one supernet, learns a predictor from its sub-networks, searches with predictor and latency table
for each limit, judges the best by the shared weights and fine-tunes the winner. The other way has the same seconds, a
fourth for each limit: half of them for a search with the best oracle under a limit (docs/search.md: surrogate_bayes),
which trains each candidate on the proxy task, half for training the winner on all images. What both need, the data and
the latency table, is not counted, nor are conversion and test.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.keras_env import keras, reset

from android_bench.protocol import search_latency_us
from android_bench.settings import BenchConfig
from benchmarks.search_results import Rows
from benchmarks.supernet_place import ELASTIC_SPACE, Place, percent, standard_error
from core.workspace import atomic_write_bytes
from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.interpreter import accuracy as tflite_accuracy
from deploy.schemes import FULL_INTEGER
from pipeline.evaluators import TrainEvaluator
from search.arch import ArchSpec
from search.build import build
from search.dataset import ImageSet
from search.evaluate import Candidate, InProcess, timed
from search.grammar import to_text
from search.loop import search_with
from search.oracles.strategy import Strategy
from search.settings import SearchConfig, TrainConfig
from search.supernet.accuracy_predictor import AccuracyPredictor, PredictorQuality, spread_genotypes
from search.supernet.evaluator import SupernetEvaluator, evaluate_genotypes
from search.supernet.genotypes import largest_genotype, smallest_genotype
from search.supernet.network import ElasticNetwork
from search.supernet.specialize import specialize
from search.train import fit, labels_supervision
from search.trials import OK, Trial, TrialLog

SUPERNET = "deployed"
ORACLE = "surrogate_bayes"
LIMITS = (0.2, 0.4, 0.6, 0.8)  # between the smallest network's latency and the largest one's, on a log scale
JUDGED = 10  # of the networks that the predictor prefers: judged by the supernet itself
SEARCH_SHARE = 0.5  # of a limit's seconds, where each candidate is trained
SHORT_STEPS = 20  # of the training that tells what tracing takes
GOAL_BETTER = 2


@dataclass(frozen=True)
class Predicted:
    """What the searches of all limits use."""

    network: ElasticNetwork
    judge: SupernetEvaluator
    predictor: AccuracyPredictor
    quality: PredictorQuality
    seconds: dict[str, float]


def wall_time(place: Place) -> list[Rows]:
    """A row for each limit."""
    limits = _limits(place)
    predicted: list[Predicted] = []  # made where a limit is not finished yet

    def shared(limit_us: float) -> dict[str, Any]:
        if not predicted:
            predicted.append(_predicted(place))
        return _specialized(place, predicted[0], limit_us)

    ours = [place.kept(f"ofa_{limit_us:.1f}", partial(shared, limit_us)) for limit_us in limits]
    common_s = ours[-1]["common_seconds"]
    total_s = sum(common_s.values()) + sum(sum(row["seconds"].values()) for row in ours)
    budget_s = total_s / len(limits)
    theirs = [place.kept(f"each_{us:.1f}", partial(_each_trained, place, us, budget_s)) for us in limits]
    return [_compared(place, limits, ours, theirs), _seconds(place, ours, theirs, total_s)]


def _limits(place: Place) -> list[float]:
    searched, table = place.space(ELASTIC_SPACE), place.table(ELASTIC_SPACE)
    ends = [table.predict(searched.decode(end(searched))).latency_us for end in (smallest_genotype, largest_genotype)]
    return [round(ends[0] * (ends[1] / ends[0]) ** share, 1) for share in LIMITS]


def _predicted(place: Place) -> Predicted:
    """The trained supernet and a predictor for it, with the seconds of both."""
    config, searched, table = place.scale.deployed, place.space(ELASTIC_SPACE), place.table(ELASTIC_SPACE)
    network, training_s = place.supernet(SUPERNET, config)
    seconds = {"supernet": training_s}
    judge = SupernetEvaluator(network, config, place.data, SearchConfig(cost="macs"))
    predictor = AccuracyPredictor(searched, seed=place.seed)
    with timed(seconds, "predictor"), tempfile.TemporaryDirectory() as name:
        genotypes = spread_genotypes(
            searched, config.predictor_networks, lambda arch: table.predict(arch).latency_us, seed=place.seed
        )
        accuracies = evaluate_genotypes(judge, genotypes, Path(name) / "log", reporter=place.reporter)
        finite = [pair for pair in zip(genotypes, accuracies, strict=True) if math.isfinite(pair[1])]
        quality = predictor.fit([genotype for genotype, _ in finite], [value for _, value in finite])
    return Predicted(network, judge, predictor, quality, seconds)


def _specialized(place: Place, predicted: Predicted, limit_us: float) -> dict[str, Any]:
    """Search, judgement and fine-tuning for one limit."""
    config, table, judge = place.scale.deployed, place.table(ELASTIC_SPACE), predicted.judge
    seconds: dict[str, float] = {}
    with timed(seconds, "search"):
        found = specialize(
            judge.shared.space,
            predicted.predictor,
            lambda arch: table.predict(arch).latency_us,
            limit_us,
            seed=place.seed,
        )
        accuracies = [judge.accuracy(item.arch) for item in found[:JUDGED]]
        best = found[accuracies.index(max(accuracies))].arch
    with timed(seconds, "fine-tuning"):
        judge.accuracy(best)  # its statistics
        model = predicted.network.extract(best)
        training = TrainConfig(epochs=config.fine_tune_epochs, learning_rate=config.fine_tune_learning_rate)
        _fit(place, model, training, f"fine-tuning for {limit_us:.0f} us")
    return {
        **_shipped(place, model, best, f"ofa_{limit_us:.1f}"),
        "seconds": seconds,
        "common_seconds": predicted.seconds,
        "inherited": max(accuracies),
        "met": len(found),
        "spearman": predicted.quality.spearman,
        "rmse": predicted.quality.rmse,
    }


def _images(place: Place) -> ImageSet:
    return place.data.train.first(place.scale.deployed.train_images)


def _fit(place: Place, model: keras.Model, training: TrainConfig, label: str) -> None:
    classes = labels_supervision(place.data.num_classes)
    options: dict[str, Any] = {"seed": place.seed, "augment": place.data.augment, "reporter": place.reporter}
    fit(model, _images(place), training, classes, label=label, **options)


def _shipped(place: Place, model: keras.Model, arch: ArchSpec, name: str) -> dict[str, Any]:
    """The full-integer file: its accuracy on the test images, and its latency."""
    content = convert(model, FULL_INTEGER, representative_images(place.data.train)).content
    path = place.folder / f"{name}.tflite"
    atomic_write_bytes(path, content)
    return {
        "network": to_text(arch),
        "test_accuracy": tflite_accuracy(content, place.data.test),
        "table_us": place.table(ELASTIC_SPACE).predict(arch).latency_us,
        "measured_us": search_latency_us(path, BenchConfig()),
    }


class _OutOfTimeError(Exception):
    """The search has had its seconds."""


class _UntilTime(InProcess):
    """Evaluates candidates until the seconds of the log's trials reach a budget."""

    def __init__(self, evaluator: TrainEvaluator, log_path: Path, budget_s: float) -> None:
        super().__init__(evaluator)
        self._log_path, self._budget_s, self._began = log_path, budget_s, time.perf_counter()
        self._before_s = _spent_s(TrialLog(log_path).trials)

    def submit(self, key: str, candidate: Candidate, epochs: int) -> None:
        """Raises _OutOfTimeError once the time is over."""
        if self._before_s + time.perf_counter() - self._began >= self._budget_s:
            raise _OutOfTimeError
        super().submit(key, candidate, epochs)


def _spent_s(trials: Sequence[Trial]) -> float:
    return sum(sum(trial.seconds.values()) for trial in trials if trial.reused_from is None)


def _each_trained(place: Place, limit_us: float, budget_s: float) -> dict[str, Any]:
    """A search that trains each candidate, and its winner trained on all images, in `budget_s` seconds."""
    place.table(ELASTIC_SPACE)
    scale, log_path = place.scale, place.folder / f"each_{limit_us:.1f}.jsonl"
    search_s = SEARCH_SHARE * budget_s
    trial_s = place.alone(place.space(ELASTIC_SPACE).decode(_middle(place)), place.seed, scale.trial_epochs).seconds
    config = SearchConfig(
        space=ELASTIC_SPACE,
        oracle=ORACLE,
        max_trials=max(2, math.ceil(search_s / trial_s)),
        epochs=scale.trial_epochs,
        train_images=scale.proxy_images,
        objective="accuracy",
        latency_table=str(place.folder / f"table_{ELASTIC_SPACE}.json"),
        max_latency_us=limit_us,
    )
    searched = place.space(ELASTIC_SPACE)
    evaluator = TrainEvaluator(config, BenchConfig(), place.data, place.folder, place.reporter)
    workers = _UntilTime(evaluator, log_path, search_s)
    strategy = Strategy(config, searched, place.seed)
    with suppress(_OutOfTimeError):
        search_with(workers, config, searched, strategy, log_path, seed=place.seed, reporter=place.reporter)
    trials = TrialLog(log_path).trials
    seconds = {"search": _spent_s(trials)}
    best = max((trial for trial in trials if trial.status == OK), key=lambda trial: trial.score)
    arch = searched.decode(best.genotype)
    epochs = _epochs_in(place, arch, best, budget_s - seconds["search"])
    reset(best.seed)
    with timed(seconds, "winner"):
        model = build(arch)
        _fit(place, model, TrainConfig(epochs=epochs), f"winner for {limit_us:.0f} us")
    found = {"seconds": seconds, "trials": len(trials), "epochs": epochs}
    return {**_shipped(place, model, arch, f"each_{limit_us:.1f}"), **found}


def _middle(place: Place) -> tuple[int, ...]:
    return tuple(len(gene.choices) // 2 for gene in place.space(ELASTIC_SPACE).genes)


def _epochs_in(place: Place, arch: ArchSpec, trial: Trial, seconds: float) -> int:
    """How many epochs on all images fit, by what the trial took; a short training tells how much of that is tracing."""
    batch = SearchConfig().batch_size
    proxy = place.data.train.first(place.scale.proxy_images)
    began = time.perf_counter()
    short = proxy.first(SHORT_STEPS * batch)
    fit(build(arch), short, TrainConfig(epochs=1), labels_supervision(place.data.num_classes), seed=1, augment="none")
    short_s = time.perf_counter() - began
    steps = trial.epochs * (len(proxy) // batch) - len(short) // batch
    step_s = (trial.seconds["train"] - short_s) / max(1, steps)
    if step_s <= 0:  # so few steps that tracing hides them
        return 1
    epochs = (seconds - short_s) / (step_s * (len(_images(place)) // batch))
    return max(1, round(epochs))


def _compared(place: Place, limits: Sequence[float], ours: Sequence[Any], theirs: Sequence[Any]) -> Rows:
    rows, count = [], len(place.data.test)
    for limit_us, own, other in zip(limits, ours, theirs, strict=True):
        difference = own["test_accuracy"] - other["test_accuracy"]
        rows.append(
            (
                f"{limit_us:.1f}",
                percent(own["test_accuracy"]),
                percent(other["test_accuracy"]),
                f"{100 * difference:+.2f}",
                *(f"{row['table_us']:.1f} / {row['measured_us']:.1f}" for row in (own, other)),
                f"{other['trials']}, {other['epochs']}",
            )
        )
    differences = [own["test_accuracy"] - other["test_accuracy"] for own, other in zip(ours, theirs, strict=True)]
    better, worse = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
    rows.append(("goal", "", "", f"{better} better, {worse} worse; at least {GOAL_BETTER} and 0", "", "", ""))
    error = 100 * standard_error(ours[0]["test_accuracy"], count)
    title = (
        f"Full-integer accuracy on {count:,} test images, % (standard error {error:.2f}), within limits of the latency "
        f"on this computer, at equal wall time"
    )
    headings = (
        "limit, us",
        "Once-for-All",
        f"each trained ({ORACLE})",
        "difference",
        "table / measured, us",
        "table / measured, us (each)",
        "trials, epochs of the winner",
    )
    return Rows(title, headings, tuple(rows))


def _seconds(place: Place, ours: Sequence[Any], theirs: Sequence[Any], total_s: float) -> Rows:
    common = ours[-1]["common_seconds"]
    rows = [(f"Once-for-All: {phase}", f"{common[phase]:.0f}") for phase in ("supernet", "predictor")]
    for phase in ("search", "fine-tuning"):
        rows.append((f"Once-for-All: {phase}, all limits", f"{sum(row['seconds'][phase] for row in ours):.0f}"))
    rows.append(("Once-for-All in all", f"{total_s:.0f}"))
    for phase in ("search", "winner"):
        rows.append((f"each trained: {phase}, all limits", f"{sum(row['seconds'][phase] for row in theirs):.0f}"))
    rows.append(("each trained in all", f"{sum(sum(row['seconds'].values()) for row in theirs):.0f}"))
    config, first = place.scale.deployed, ours[-1]
    title = (
        f"Where the seconds went: supernet of {config.full_epochs} + {config.epochs} epochs on {len(_images(place)):,} "
        f"images, {config.predictor_networks} networks for the predictor (Spearman {first['spearman']:.3f}, RMSE "
        f"{100 * first['rmse']:.2f} points, cross-validated)"
    )
    return Rows(title, ("phase", "seconds"), tuple(rows))
