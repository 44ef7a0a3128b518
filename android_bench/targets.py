"""From a target's name in a config to the Target value that is measured on and reported."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

from android_bench.settings import TARGET_FOLDER, TARGETS, BenchConfig, check_target_name
from android_bench.target_files import read_target
from core.errors import bad_value
from core.values import Target


def resolve_target(name: str, config: BenchConfig, where: str = "config.bench.targets") -> Target:
    """The target `name` as it will be measured: with its threads and, on the host, the cores it will be pinned to.

    Threads are the target's own, else those of `config`. The cores of `config` are this computer's: they hold for
    targets of kind "host" without a mask of their own.

    Raises UsageError for an unknown name, for a file that describes no target, or for more threads or other cores than
    this process may use or the target's mask has.
    """
    check_target_name(name, config, where)
    described = described_target(name, config)
    target = replace(described, num_threads=described.num_threads or config.num_threads)
    if target.kind == "host":
        target = replace(target, abi=platform.machine(), cpu_mask=_host_cores(target, config))
    if target.cpu_mask and len(target.cpu_mask) < target.num_threads:
        legal = f"at most {len(target.cpu_mask)}, the cores {target.cpu_mask} of target {target.name}"
        raise bad_value("config.bench.num_threads", target.num_threads, legal)
    return target


def described_target(name: str, config: BenchConfig) -> Target:
    """The target as it is described, whatever this computer is; `num_threads` is 0 where the configuration says it.

    Raises UsageError as `resolve_target` does for what is not there.
    """
    if name.endswith(".toml"):
        return read_target(Path(name))
    if name in TARGETS:
        return TARGETS[name]
    own = {target.name: target for target in config.own}
    return own[name] if name in own else read_target(TARGET_FOLDER / f"{name}.toml")


def _host_cores(target: Target, config: BenchConfig) -> tuple[int, ...]:
    """The mask of the target, else that of the configuration, else the first cores, one a thread."""
    usable = tuple(sorted(os.sched_getaffinity(0)))
    mask = target.cpu_mask or config.cpu_mask
    if mask:
        if not set(mask) <= set(usable):
            where = f"cpu_mask of target {target.name}" if target.cpu_mask else "config.bench.cpu_mask"
            raise bad_value(where, mask, f"cores of {usable}, which this process may use")
        return tuple(sorted(mask))
    if target.num_threads > len(usable):
        legal = f"at most {len(usable)}, the cores that this process may use"
        raise bad_value("config.bench.num_threads", target.num_threads, legal)
    return usable[: target.num_threads]
