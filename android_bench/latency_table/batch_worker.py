"""Times many models in one process, in turns. Run by android_bench.latency_table.meters with `python -m`.

A JSON request on stdin, one JSON line on stdout. Every round takes each model once, in random order, so that a
disturbance of the machine falls on all of them. A turn is two runs, of which the second counts: it finds the code and
the model in the caches but, after the other models, no branch predictor trained on it, much as a block in a network
does. With MobileNetV2 blocks of 96 pixels in int8, networks of 3 to 11 ms took 1.04 times the sum of such second runs
(standard deviation 3 %) and one of 0.3 ms 0.97 times; 0.99 and 0.70 times the sum of first runs, which for small blocks
are mostly cache misses; 1.1 (4 to 5 %) and 1.02 times the sum of blocks that were run again and again.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from android_bench.host_worker import TOOLS, StepFailed, respond

# A run that was off its core for longer than this was interrupted: by another process, for 1 ms or more. A timer's
# interrupt takes 1 to 5 us, and is part of any program's time.
INTERRUPTED_NS = 20_000
FEWEST_UNDISTURBED = 5  # runs of a model; with fewer, those that were interrupted least count too


def session(request: dict[str, Any]) -> dict[str, Any]:
    """Pins the process, loads all models and times them. Raises StepFailed."""
    if request["cpu_mask"]:
        os.sched_setaffinity(0, request["cpu_mask"])
    tool = TOOLS[request["tool"]]
    models = request["models"]
    loaded = [_step("load", model["text"], partial(tool, {**request, "model_path": model["path"]})) for model in models]
    runs = [_step("input", model["text"], one.ready) for one, model in zip(loaded, models, strict=True)]
    timed = _step("invoke", "one of the models", lambda: time_in_turns(runs, request))
    return {**timed, "delegate_partitions": [one.delegate_partitions() for one in loaded]}


def time_in_turns(runs: Sequence[Callable[[], None]], plan: dict[str, Any]) -> dict[str, Any]:
    """Runs every model `warmup_runs` + `runs` times, or until `max_seconds` are over, but each at least once.

    Returns the `durations_ns` of each model's runs, without those that were interrupted.
    """
    clock = time.perf_counter_ns
    # The other threads of a model with several are not seen by this thread's clock.
    cpu_clock = time.thread_time_ns if plan["num_threads"] == 1 else clock
    shuffler = random.Random(plan["seed"])
    order = list(range(len(runs)))
    latest = clock() + round(plan["max_seconds"] * 1e9)
    for _ in range(plan["warmup_runs"]):
        for run in runs:
            run()
        if clock() > latest:
            break
    gc.collect()
    gc.disable()
    wall_ns: list[list[int]] = [[] for _ in runs]
    away_ns: list[list[int]] = [[] for _ in runs]
    latest = clock() + round(plan["max_seconds"] * 1e9)
    for _ in range(plan["runs"]):
        shuffler.shuffle(order)
        for index in order:
            run = runs[index]
            if len(runs) > 1:
                run()
            cpu_began, began = cpu_clock(), clock()
            run()
            wall = clock() - began
            wall_ns[index].append(wall)
            away_ns[index].append(wall - (cpu_clock() - cpu_began))
        if clock() > latest:
            break
    gc.enable()
    return {"durations_ns": [undisturbed(*times) for times in zip(wall_ns, away_ns, strict=True)]}


def undisturbed(wall_ns: Sequence[int], away_ns: Sequence[int]) -> list[int]:
    """The durations of the runs that had their core to themselves; if these are too few, those interrupted least."""
    kept = [wall for wall, away in zip(wall_ns, away_ns, strict=True) if away < INTERRUPTED_NS]
    if len(kept) >= FEWEST_UNDISTURBED:
        return kept
    by_away = sorted(zip(away_ns, wall_ns, strict=True))
    return [wall for _, wall in by_away[:FEWEST_UNDISTURBED]]


def _step(name: str, text: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:
        raise StepFailed(name, RuntimeError(f"{text}: {error}")) from error


if __name__ == "__main__":
    sys.exit(respond(session))
