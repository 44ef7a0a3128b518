"""Stage "bench": the latency of one artifact on one target."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from android_bench.protocol import measure
from android_bench.results import figure
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from core.values import LatencyStats, Measurement, Target
from core.workspace import atomic_write_json
from pipeline.runner import Outcome, StageContext
from pipeline.stages.convert import FILE

# A noisy measurement is taken again, since most disturbances pass; three tries tell a lasting one.
ATTEMPTS = 3


def run(context: StageContext) -> Outcome:
    """Writes measurement.json."""
    config: BenchConfig = context.params["bench"]
    target = resolve_target(config.targets[0], config)
    measurement = _quietest(context, context.input("convert") / FILE, target, config)
    latency = figure(measurement)
    if latency is None:
        return Outcome("", f"{target.name} has no figure: {measurement.verdict}")
    atomic_write_json(context.out / "measurement.json", measurement)
    return Outcome(
        f"{target.name}: {latency.center} {latency.median_us:.1f} us, {_p95(latency)}{latency.runs} runs, "
        f"{target.num_threads} thread(s): {measurement.verdict}"
    )


def _p95(latency: LatencyStats) -> str:
    return f"p95 {latency.p95_us:.1f} us, " if latency.p95_us else ""  # not every tool tells


def _quietest(context: StageContext, path: Path, target: Target, config: BenchConfig) -> Measurement:
    """The first measurement whose verdict is "ok", else the one with the least spread; it says how many were taken."""
    measurements: list[Measurement] = []
    while len(measurements) < ATTEMPTS and not any(m.verdict == "ok" for m in measurements):
        measurements.append(measure(path, target, config, connections=context.connections, reporter=context.reporter))
    chosen = min(measurements, key=lambda m: (m.verdict != "ok", m.latency.spread))
    return dataclasses.replace(chosen, conditions={**chosen.conditions, "attempts": str(len(measurements))})
