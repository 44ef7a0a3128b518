"""How a measurement is taken: alone on the target, in fresh processes, with its conditions and a verdict.

MLPerf Mobile and FAI-PEP are the models: a figure without its conditions cannot be compared, and one that was
disturbed says so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from android_bench.runners import RUNNERS
from android_bench.session import Runner, Session, SessionPlan
from android_bench.settings import BenchConfig
from android_bench.stats import latency_stats, noise, verdict
from android_bench.targets import resolve_target
from core.errors import UsageError
from core.registry import load
from core.values import Measurement, Target, file_sha256

# One trial of a search. Three processes are the fewest whose median survives a disturbed one; 50 runs and 0.1 s fix a
# process's median to about 1 %, below what processes differ by. With start-up that is about a second, little against
# a training.
SEARCH_PROCESSES = 3
SEARCH_RUNS = 50
SEARCH_MIN_SECONDS = 0.1

_FLATBUFFER_IDENTIFIER = b"TFL3"  # at bytes 4 to 8 of every .tflite file


def measure(model_path: Path, target: Target, config: BenchConfig, runner: Runner | None = None) -> Measurement:
    """Measures a .tflite model's latency on a target (of `resolve_target`, whose threads and cores count).

    Blocks until no other measurement uses the target. A disturbed measurement is returned with the reason in its
    verdict. `runner` replaces the one that the target's kind names.

    Raises UsageError for a file that is missing, not a .tflite or refused by the runtime, MeasurementError if the model
    crashes, hangs or fails while it runs.
    """
    path = check_model_file(model_path)
    runner = runner or runner_for(target)
    with runner.exclusive(target):
        state = runner.state(target)
        sessions = _run_sessions(path, target, config, runner)
    latency = latency_stats([session.durations_ns for session in sessions])
    concerns = [concern for session in sessions for concern in session.concerns]
    concerns += [*state.concerns, *noise(latency, (session.cpu_share for session in sessions))]
    return Measurement(
        artifact_sha256=file_sha256(path),
        target=target,
        latency=latency,
        peak_memory_bytes=max(session.peak_memory_bytes for session in sessions),
        tool=runner.tool,
        conditions={**state.conditions, **sessions[0].conditions, **_protocol_conditions(target, config, sessions)},
        verdict=verdict(concerns),
    )


def search_latency_us(
    model_path: Path, config: BenchConfig, target: Target | None = None, runner: Runner | None = None
) -> float:
    """The median latency for one search trial: the clock and the pinning of `measure`, in about a second.

    `target` defaults to the first of `config.targets`. Raises what `measure` raises.
    """
    path = check_model_file(model_path)
    target = target or resolve_target(config.targets[0], config)
    runner = runner or runner_for(target)
    short = replace(
        config,
        processes=min(config.processes, SEARCH_PROCESSES),
        runs=min(config.runs, SEARCH_RUNS),
        min_seconds=min(config.min_seconds, SEARCH_MIN_SECONDS),
    )
    with runner.exclusive(target):
        sessions = _run_sessions(path, target, short, runner)
    return latency_stats([session.durations_ns for session in sessions]).median_us


def runner_for(target: Target) -> Runner:
    """The runner of a target's kind. Raises UsageError for a kind that RUNNERS does not list."""
    runner: Runner = load(RUNNERS, target.kind, f"kind of target {target.name}")()
    return runner


def check_model_file(model_path: Path) -> Path:
    """The absolute path of a readable .tflite file. Raises UsageError that says what else it is."""
    path = Path(model_path)
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); expected a .tflite model") from error
    if head[4:8] != _FLATBUFFER_IDENTIFIER:
        raise UsageError(f"{path}: not a .tflite model (bytes 4 to 8 are {head[4:8]!r}, expected b'TFL3')")
    return path.resolve()


def _run_sessions(path: Path, target: Target, config: BenchConfig, runner: Runner) -> list[Session]:
    plan = SessionPlan(config.warmup_runs, config.runs, config.min_seconds)
    return [runner.run(path, target, plan) for _ in range(config.processes)]


def _protocol_conditions(target: Target, config: BenchConfig, sessions: list[Session]) -> dict[str, str]:
    runs = [len(session.durations_ns) for session in sessions]
    shares = [session.cpu_share for session in sessions if session.cpu_share is not None]
    return {
        "threads": str(target.num_threads),
        "cpu_mask": ",".join(map(str, target.cpu_mask)) or "not pinned",
        "delegate": target.delegate,
        "processes": str(len(sessions)),
        "warmup_runs": str(config.warmup_runs),
        "runs_per_process": f"{min(runs)} to {max(runs)}",
        "lowest_cpu_share": f"{min(shares):.3f}" if shares else "not measured",
    }
