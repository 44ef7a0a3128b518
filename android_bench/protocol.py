"""How a measurement is taken: alone on a target that is fit for it, in fresh processes, with conditions and a verdict.

MLPerf Mobile and FAI-PEP are the models: a figure without its conditions cannot be compared, a hot device is left to
cool before it is measured, models to be compared are measured in turns, and a disturbed figure says so.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from android_bench.connections import Connections
from android_bench.drift import findings
from android_bench.readiness import Readiness
from android_bench.retry import retried
from android_bench.runners import RUNNERS
from android_bench.session import FELL_BACK, MeasurementError, Runner, Session, SessionPlan
from android_bench.settings import LEGACY_DELEGATES, BenchConfig
from android_bench.stats import noise, session_figures, session_stats, verdict
from android_bench.targets import resolve_target
from core.errors import LitesmithError, UsageError, one_line
from core.progress import Reporter, SilentReporter
from core.registry import load
from core.spec_io import hashed_seed
from core.values import Measurement, Target, file_sha256

# One trial of a search. Three processes are the fewest whose median survives a disturbed one; 50 runs and 0.1 s fix a
# process's median to about 1 %, below what processes differ by. With start-up that is about a second, little against
# a training.
SEARCH_PROCESSES = 3
SEARCH_RUNS = 50
SEARCH_MIN_SECONDS = 0.1

_FLATBUFFER_IDENTIFIER = b"TFL3"  # at bytes 4 to 8 of every .tflite file


def measure(
    model_path: Path,
    target: Target,
    config: BenchConfig,
    runner: Runner | None = None,
    connections: Connections | None = None,
    reporter: Reporter | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Measurement:
    """Measures a .tflite model's latency on a target (of `resolve_target`, whose threads and cores count).

    Blocks until no other measurement uses the target, and then until it is fit to be measured. A disturbed measurement
    is returned with the reason in its verdict. `runner` replaces the one that the target's kind names; `reporter` is
    told of waiting and of further attempts.

    Raises UsageError for a file that is missing, not a .tflite or refused by the runtime, MeasurementError if the model
    crashes, hangs or fails while it runs, or if the connection to the target fails again and again.
    """
    (result,) = measure_all([model_path], target, config, runner, connections, reporter, sleep)
    if isinstance(result, LitesmithError):
        raise result
    return result


def measure_all(
    model_paths: Sequence[Path],
    target: Target,
    config: BenchConfig,
    runner: Runner | None = None,
    connections: Connections | None = None,
    reporter: Reporter | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Measurement | LitesmithError]:
    """Measures several models as `measure` does one, in turns, so that a target that drifts treats them alike.

    Every round has one session of each model, in random order (seeded by the models). One result per model, in their
    order: the measurement, or the error of that model while the others go on. A lost connection ends them all.
    """
    runner = runner or runner_for(target, connections)
    reporter = reporter or SilentReporter()
    jobs = [_job(path) for path in model_paths]
    sound = [job for job in jobs if job.error is None]
    readiness = Readiness(runner, target, config, reporter, sleep, clock)

    def attempt(job: _Job, plan: SessionPlan) -> Session:
        return retried(lambda: runner.run(job.path, target, plan), config.retries, reporter, sleep)

    seed = hashed_seed(" ".join(job.sha256 for job in sound))
    try:
        with contextlib.ExitStack() as stack:
            if sound:
                retried(lambda: stack.enter_context(runner.exclusive(target)), config.retries, reporter, sleep)
                readiness.before()
                _run_rounds(sound, config, attempt, readiness, random.Random(seed))
                if any(job.error is None for job in sound):
                    readiness.after()
    except LitesmithError as error:
        readiness.conditions["after_the_sessions"] = f"failed: {one_line(error)}"
        for job in sound:
            if len(job.sessions) < config.processes:  # else only what came after the sessions failed
                job.error = job.error or error
    turns = {} if len(jobs) == 1 else {"order": f"in turns with {len(jobs) - 1} other models, random (seed {seed})"}
    return [job.error or _measurement(job, target, config, runner, readiness, turns) for job in jobs]


def search_latency_us(
    model_path: Path,
    config: BenchConfig,
    target: Target | None = None,
    runner: Runner | None = None,
    connections: Connections | None = None,
    reporter: Reporter | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """The median latency for one search trial: the clock and the pinning of `measure`, in about a second.

    A device is waited for until it is fit; of the host's own load, which a search makes itself, nothing is asked.
    `target` defaults to the first of `config.targets`. Raises what `measure` raises, and MeasurementError for a device
    that stays unfit and for a figure that is not the delegate's.
    """
    path = check_model_file(model_path)
    target = target or resolve_target(config.targets[0], config)
    runner = runner or runner_for(target, connections)
    reporter = reporter or SilentReporter()
    short = replace(
        config,
        processes=min(config.processes, SEARCH_PROCESSES),
        runs=min(config.runs, SEARCH_RUNS),
        min_seconds=min(config.min_seconds, SEARCH_MIN_SECONDS),
    )
    readiness = Readiness(runner, target, config, reporter, sleep, time.monotonic)
    with contextlib.ExitStack() as stack:
        retried(lambda: stack.enter_context(runner.exclusive(target)), config.retries, reporter, sleep)
        if target.kind != "host":
            readiness.before()
        sessions = [
            retried(lambda: runner.run(path, target, _plan(short)), config.retries, reporter, sleep)
            for _ in range(short.processes)
        ]
    fallen_back = [concern for session in sessions for concern in session.concerns if concern.kind == FELL_BACK]
    if fallen_back or readiness.concerns:
        raise MeasurementError(f"{path}: {target.name}: {verdict([*fallen_back, *readiness.concerns])}")
    return session_stats(sessions).median_us


def runner_for(target: Target, connections: Connections | None = None) -> Runner:
    """The runner of a target's kind. Raises UsageError for a kind that RUNNERS does not list."""
    make = load(RUNNERS, target.kind, f"kind of target {target.name}")
    runner: Runner = make(target, connections or Connections())
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


@dataclass
class _Job:
    """One model on its way through the rounds."""

    path: Path
    sha256: str = ""
    sessions: list[Session] = field(default_factory=list)
    profiled: Session | None = None
    profile_failure: str = ""
    error: LitesmithError | None = None


_Attempt = Callable[[_Job, SessionPlan], Session]


def _job(model_path: Path) -> _Job:
    try:
        path = check_model_file(model_path)
        return _Job(path, file_sha256(path))
    except UsageError as error:
        return _Job(Path(model_path), error=error)


def _plan(config: BenchConfig) -> SessionPlan:
    return SessionPlan(config.warmup_runs, config.runs, config.min_seconds)


def _run_rounds(
    jobs: list[_Job], config: BenchConfig, attempt: _Attempt, readiness: Readiness, shuffler: random.Random
) -> None:
    """Fills the jobs' sessions, or their errors. Raises MeasurementError if the connection is lost."""
    for number in range(config.processes):
        if number:
            readiness.between()
        order = [job for job in jobs if job.error is None]
        shuffler.shuffle(order)
        for job in order:
            try:
                job.sessions.append(attempt(job, _plan(config)))
            except LitesmithError as error:
                if isinstance(error, MeasurementError) and error.is_lost:
                    raise
                job.error = error
    for job in jobs:
        if config.profile and job.error is None:
            try:
                job.profiled = attempt(job, replace(_plan(config), profile=True))
            except LitesmithError as error:  # the sessions that count are there
                job.profile_failure = f"failed: {error}"


def _measurement(
    job: _Job, target: Target, config: BenchConfig, runner: Runner, readiness: Readiness, turns: dict[str, str]
) -> Measurement:
    sessions = job.sessions
    latency = session_stats(sessions)
    found = findings([session_figures(session) for session in sessions])
    shares = [session.cpu_share for session in sessions]
    concerns = [concern for session in sessions for concern in session.concerns]
    concerns += [*readiness.concerns, *noise(latency, shares), *found.concerns]
    return Measurement(
        artifact_sha256=job.sha256,
        target=target,
        latency=latency,
        peak_memory_bytes=max(session.peak_memory_bytes for session in sessions),
        tool=runner.tool,
        conditions={
            **readiness.conditions,
            **sessions[0].conditions,
            **_protocol_conditions(target, config, sessions),
            **({"center": "the tool prints means, no medians"} if latency.center == "mean" else {}),
            **turns,
            **found.conditions,
            **_profile_conditions(job, config),
        },
        verdict=verdict(concerns),
        ops=job.profiled.ops if job.profiled else (),
    )


def _protocol_conditions(target: Target, config: BenchConfig, sessions: list[Session]) -> dict[str, str]:
    runs = [session_figures(session).runs for session in sessions]
    shares = [session.cpu_share for session in sessions if session.cpu_share is not None]
    note = LEGACY_DELEGATES.get(target.delegate)
    return {
        "threads": str(target.num_threads),
        "cpu_mask": ",".join(map(str, target.cpu_mask)) or target.cores or "not pinned",
        "delegate": target.delegate + (f" ({note})" if note else ""),
        "processes": str(len(sessions)),
        "warmup_runs": str(config.warmup_runs),
        "runs_per_process": f"{min(runs)} to {max(runs)}",
        "lowest_cpu_share": f"{min(shares):.3f}" if shares else "not measured",
    }


def _profile_conditions(job: _Job, config: BenchConfig) -> dict[str, str]:
    if not config.profile:
        return {}
    told = job.profiled is not None and bool(job.profiled.ops)
    words = "of one more session, which is not in the latency" if told else "not told by the tool"
    return {"op_profile": job.profile_failure or words}
