"""Which cores of a phone or a board a measurement is pinned to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import UsageError
from core.values import Target


@dataclass(frozen=True, slots=True)
class Core:
    """One processor core: `speed` orders cores (kHz, or the kernel's capacity where that is told; 0: not told)."""

    number: int
    speed: int = 0
    governor: str = ""
    is_limited: bool = False


def pinned_cores(target: Target, cores: Sequence[Core]) -> tuple[int, ...]:
    """The target's own mask, or of its kind of cores as many as it has threads, the last ones; () for no pinning.

    The first core of a device serves most interrupts, so the last ones are the quieter. Cores are told apart by their
    speed: "big" are the fastest, "little" the slowest, "middle" those between; where all are equal, all are big and
    little. Raises UsageError for a core that is not online and for a kind of cores that is not there or has too few.
    """
    online = [core.number for core in cores]
    if target.cpu_mask:
        missing = sorted(set(target.cpu_mask) - set(online))
        if missing and online:
            raise UsageError(f"target {target.name}: cpu_mask has cores {missing}; online there are {online}")
        return tuple(sorted(target.cpu_mask))
    if not target.cores:
        return ()
    chosen = _of_kind(target.cores, cores)
    if len(chosen) < target.num_threads:
        raise UsageError(
            f"target {target.name}: {target.num_threads} threads do not fit the {len(chosen)} {target.cores} cores "
            f"{list(chosen)} there ({_layout(cores)})"
        )
    return chosen[-target.num_threads :]


def _of_kind(kind: str, cores: Sequence[Core]) -> tuple[int, ...]:
    speeds = sorted({core.speed for core in cores})
    wanted = {"big": speeds[-1:], "little": speeds[:1], "middle": speeds[1:-1]}[kind]
    return tuple(sorted(core.number for core in cores if core.speed in wanted))


def _layout(cores: Sequence[Core]) -> str:
    speeds = sorted({core.speed for core in cores}, reverse=True)
    groups = ([core.number for core in cores if core.speed == speed] for speed in speeds)
    return "fastest first: " + ", ".join(map(str, groups)) if speeds else "no cores were told"
