"""From a target's name in a config to the Target value that is measured on and reported."""

from __future__ import annotations

import os
import platform
from dataclasses import replace

from android_bench.settings import TARGETS, BenchConfig
from core.errors import bad_value
from core.registry import check_name
from core.values import Target


def resolve_target(name: str, config: BenchConfig, where: str = "config.bench.targets") -> Target:
    """The target `name` with the threads of `config` and, on the host, the cores it will be pinned to.

    Raises UsageError for an unknown name, or for more threads or other cores than this process may use.
    """
    check_name(TARGETS, name, where)
    target = replace(TARGETS[name], num_threads=config.num_threads, cpu_mask=config.cpu_mask)
    if target.kind == "host":
        target = replace(target, abi=platform.machine(), cpu_mask=_host_cores(config))
    return target


def _host_cores(config: BenchConfig) -> tuple[int, ...]:
    usable = tuple(sorted(os.sched_getaffinity(0)))
    if config.cpu_mask:
        if not set(config.cpu_mask) <= set(usable):
            raise bad_value("config.bench.cpu_mask", config.cpu_mask, f"cores of {usable}, which this process may use")
        return tuple(sorted(config.cpu_mask))
    if config.num_threads > len(usable):
        legal = f"at most {len(usable)}, the cores that this process may use"
        raise bad_value("config.bench.num_threads", config.num_threads, legal)
    return usable[: config.num_threads]
