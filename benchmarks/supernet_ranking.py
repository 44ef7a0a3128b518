"""Parts "speed" and "ranking" of benchmarks.supernet: what inherited weights cost, and whether they rank networks."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from scipy.stats import kendalltau  # type: ignore[import-untyped]

from benchmarks.search_results import Rows
from benchmarks.supernet_place import ELASTIC_SPACE, Place, macs, percent
from search.arch import ArchSpec
from search.settings import SearchConfig
from search.supernet.accuracy_predictor import spread_genotypes
from search.supernet.evaluator import SupernetEvaluator

SUPERNET = "ranked"
TIMED = (1 / 8, 3 / 8, 1 / 2, 5 / 8, 7 / 8)  # the networks whose times are compared, by their rank in MACs
TIMED_IMAGES = 2000
LEAST_SPEEDUP, LEAST_PER_HOUR, LEAST_TAU = 50.0, 10.0, 0.8  # the goals


def networks(place: Place) -> list[ArchSpec]:
    """The networks that are compared, spread over the range of MACs, smallest first."""
    searched = place.space(ELASTIC_SPACE)
    genotypes = spread_genotypes(searched, place.scale.networks, macs, seed=place.seed)
    return sorted((searched.decode(genotype) for genotype in genotypes), key=macs)


def speed(place: Place) -> list[Rows]:
    """Seconds to evaluate a sub-network against those to train it alone, and candidates an hour."""
    scale = place.scale
    network, training_s = place.supernet(SUPERNET, scale.ranked)
    config = dataclasses.replace(scale.ranked, val_images=TIMED_IMAGES)
    judge = SupernetEvaluator(network, config, place.data, SearchConfig(cost="macs"))
    archs = networks(place)
    judge.accuracy(archs[0])  # traced here, and counted below
    tracing_s = sum(judge.seconds.values())
    pairs = [_pair(place, judge, archs[int(share * len(archs))]) for share in TIMED]
    rows = [
        (f"{macs(arch) / 1e6:.2f}", f"{evaluate_s:.3f}", f"{alone_s:.1f}", f"{alone_s / evaluate_s:.0f}x")
        for arch, evaluate_s, alone_s in pairs
    ]
    ratio = statistics.median(alone_s / evaluate_s for _, evaluate_s, alone_s in pairs)
    mean_s = statistics.fmean(seconds for _, seconds, _ in pairs), statistics.fmean(seconds for *_, seconds in pairs)
    rows.append(("goal", "", "", f"median {ratio:.0f}x, at least {LEAST_SPEEDUP:.0f}x"))
    title = (
        f"Evaluating a sub-network ({config.recalibration_images:,} images for its statistics, {TIMED_IMAGES:,} to "
        f"judge it) or training it alone ({scale.proxy_epochs} epochs of {scale.proxy_images:,} images)"
    )
    times = Rows(title, ("MACs, M", "evaluation, s", "training, s", "ratio"), tuple(rows))
    return [times, _per_hour(training_s + tracing_s, *mean_s, (place.training_traces(SUPERNET), network.traces))]


def _pair(place: Place, judge: SupernetEvaluator, arch: ArchSpec) -> tuple[ArchSpec, float, float]:
    """Seconds of an evaluation (median of three) and of the training."""
    taken = []
    for _ in range(3):
        judge.accuracy(arch)
        taken.append(sum(judge.seconds.values()))
    return (
        arch,
        statistics.median(taken),
        place.alone(arch, place.scale.training_seeds[0], place.scale.proxy_epochs).seconds,
    )


def _per_hour(first_s: float, evaluate_s: float, alone_s: float, traces: tuple[int, int]) -> Rows:
    """Candidates that each way has judged after some hours, the supernet's training counted.

    `traces`: of the training's functions, and of those that evaluate.
    """
    rows = []
    for hours in (1.0, 4.0):
        shared, alone = max(0.0, 3600 * hours - first_s) / evaluate_s, 3600 * hours / alone_s
        rows.append((f"{hours:g}", f"{shared:,.0f}", f"{alone:,.0f}", f"{shared / alone:.0f}x"))
    rows.append(("goal", "", "", f"at least {LEAST_PER_HOUR:.0f}x"))
    title = (
        f"Candidates judged, the supernet's training ({first_s:.0f} s) counted; {traces[0]} traces for the whole "
        f"training, {traces[1]} for all candidates"
    )
    return Rows(title, ("hours", "by the supernet", "each trained", "ratio"), tuple(rows))


def ranking(place: Place) -> list[Rows]:
    """Kendall's tau between inherited and stand-alone accuracy, against that between two trainings of a network."""
    scale, archs = place.scale, networks(place)
    network, _ = place.supernet(SUPERNET, scale.ranked)
    judge = SupernetEvaluator(network, scale.ranked, place.data, SearchConfig(cost="macs"))
    inherited = [judge.accuracy(arch) for arch in archs]
    alone = [
        [place.alone(arch, seed, scale.proxy_epochs).val_accuracy for seed in scale.training_seeds] for arch in archs
    ]
    rows = [
        (f"{macs(arch) / 1e6:.2f}", percent(shared), *map(percent, trained))
        for arch, shared, trained in zip(archs, inherited, alone, strict=True)
    ]
    settings = scale.ranked
    title = (
        f"Validation accuracy, %: inherited (supernet of {settings.full_epochs} + {settings.epochs} epochs) and "
        f"trained alone ({scale.proxy_epochs} epochs), both on {scale.proxy_images:,} images"
    )
    seeds = (f"alone, seed {seed}" for seed in scale.training_seeds)
    return [Rows(title, ("MACs, M", "inherited", *seeds), tuple(rows)), _taus(inherited, alone)]


def _taus(inherited: Sequence[float], alone: Sequence[Sequence[float]]) -> Rows:
    first, second = ([trained[number] for trained in alone] for number in (0, 1))
    means = [statistics.fmean(trained) for trained in alone]
    between = tau(first, second)
    single = statistics.fmean((tau(inherited, first), tau(inherited, second)))
    mean = tau(inherited, means)
    rows = (
        ("the two trainings of a network", f"{between:.3f}", "1.00"),
        ("inherited and one training (mean of both)", f"{single:.3f}", _over(single, between)),
        ("inherited and the mean of the trainings", f"{mean:.3f}", _over(mean, between)),
        ("goal", "", f"at least {LEAST_TAU}"),
    )
    return Rows("Kendall's tau", ("between", "tau", "ratio"), rows)


def tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b, -1 to 1."""
    found: Any = kendalltau(first, second)
    return float(found.statistic)


def _over(value: float, whole: float) -> str:
    return f"{value / whole:.2f}" if whole > 0 else "–"
