"""Stage "bench": the latency of one artifact on one target."""

from __future__ import annotations

from android_bench.protocol import measure
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from core.workspace import atomic_write_json
from pipeline.runner import Outcome, StageContext
from pipeline.stages.convert import FILE


def run(context: StageContext) -> Outcome:
    """Writes measurement.json."""
    config: BenchConfig = context.params["bench"]
    target = resolve_target(config.targets[0], config)
    measurement = measure(context.input("convert") / FILE, target, config)
    atomic_write_json(context.out / "measurement.json", measurement)
    latency = measurement.latency
    return Outcome(
        f"{target.name}: median {latency.median_us:.1f} us, p95 {latency.p95_us:.1f} us, {latency.runs} runs, "
        f"{target.num_threads} thread(s): {measurement.verdict}"
    )
