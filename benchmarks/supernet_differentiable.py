"""Part "differentiable" of benchmarks.supernet: what DARTS and ProxylessNAS find, against random networks as fast."""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from typing import Any

from benchmarks.search_results import Rows
from benchmarks.supernet_place import MIXED_SPACE, Place, percent
from core.errors import LitesmithError
from search.arch import ArchSpec
from search.latency.table import LatencyTable
from search.sampling import LATENCY, Limit, Sampler
from search.supernet.methods import Request, train
from search.supernet.settings import SupernetConfig

TOLERANCE = 0.05  # of the latency: networks within are as fast
DRAWS = 200  # random networks whose median latency is ProxylessNAS' target


def differentiable(place: Place) -> list[Rows]:
    """A row for each method, and the networks that it is compared with."""
    table, scale = place.table(MIXED_SPACE), place.scale
    configs = {
        "DARTS": scale.darts,
        "ProxylessNAS": dataclasses.replace(scale.proxyless, target_latency_us=_median_us(place, table)),
    }
    rows = [_row(place, method, config, table) for method, config in configs.items()]
    rows.append(("goal", "", "", "at least the median", "", "", "", ""))
    title = (
        f"Networks of {MIXED_SPACE} found on {scale.darts.train_images:,} images: validation accuracy, %, each trained "
        f"alone ({scale.proxy_epochs} epochs of {scale.proxy_images:,} images), against random ones within "
        f"{100 * TOLERANCE:.0f} % of its latency"
    )
    headings = (
        "method",
        "search, s",
        "latency, us",
        "found",
        "median of random",
        "best of random",
        "rank",
        "gap of the discretization",
    )
    return [Rows(title, headings, tuple(rows))]


def _median_us(place: Place, table: LatencyTable) -> float:
    searched, rng = place.space(MIXED_SPACE), random.Random(place.seed)
    sampler = Sampler(searched, rng)
    return round(
        statistics.median(table.predict(searched.decode(sampler.sample())).latency_us for _ in range(DRAWS)), 1
    )


def _row(place: Place, method: str, config: SupernetConfig, table: LatencyTable) -> tuple[str, ...]:
    found = place.kept(config.method, lambda: _found(place, config, table))
    searched = place.space(MIXED_SPACE)
    arch = searched.decode(tuple(found["genotype"]))
    latency_us = table.predict(arch).latency_us
    own, *others = (_accuracy(place, other) for other in (arch, *_as_fast(place, arch, table)))
    rank = 1 + sum(value > own for value in others)
    aim = "" if config.target_latency_us is None else f" (target {config.target_latency_us:.1f})"
    return (
        method,
        f"{found['seconds']:.0f}",
        f"{latency_us:.1f}{aim}",
        percent(own),
        percent(statistics.median(others)),
        percent(max(others)),
        f"{rank} of {len(others) + 1}",
        found["gap"],
    )


def _found(place: Place, config: SupernetConfig, table: LatencyTable) -> dict[str, Any]:
    """The network that a method finds. (Seconds are those since the last interruption.)"""
    scratch = place.folder / f"{config.method}.work"
    scratch.mkdir(exist_ok=True)
    began = time.perf_counter()
    trained = train(Request(config, place.space(MIXED_SPACE), place.data, place.seed, scratch, place.reporter, table))
    seconds = time.perf_counter() - began
    return {"genotype": trained.suggestions[0], "seconds": seconds, "gap": trained.facts["gap of the discretization"]}


def _accuracy(place: Place, arch: ArchSpec) -> float:
    """On all validation images, after the training alone."""
    return place.alone(arch, place.scale.training_seeds[0], place.scale.proxy_epochs).val_accuracy


def _as_fast(place: Place, arch: ArchSpec, table: LatencyTable) -> list[ArchSpec]:
    """Different random networks with nearly the latency of `arch`."""
    searched, latency_us = place.space(MIXED_SPACE), table.predict(arch).latency_us
    limit = Limit(LATENCY, (1 - TOLERANCE) * latency_us, (1 + TOLERANCE) * latency_us)
    sampler = Sampler(
        searched, random.Random(place.seed), (limit,), lambda other: table.predict(other).latency_us, max_tries=10_000
    )
    drawn: dict[ArchSpec, None] = {}
    for _ in range(100 * place.scale.random):
        if len(drawn) == place.scale.random:
            return list(drawn)
        other = searched.decode(sampler.sample())
        if other != arch:
            drawn[other] = None
    raise LitesmithError(f"{MIXED_SPACE}: only {len(drawn)} networks have {limit}; expected {place.scale.random}")
