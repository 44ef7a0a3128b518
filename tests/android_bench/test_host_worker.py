"""The worker's timing loop with a clock that only invocations move."""

from __future__ import annotations

import gc
from dataclasses import asdict

import pytest

from android_bench import host_worker
from android_bench.session import SessionPlan


class FakeClock:
    """A clock that only invocations move."""

    def __init__(self, step_ns: int) -> None:
        self.now, self.step, self.calls = 0, step_ns, 0

    def read(self) -> int:
        return self.now

    def invoke(self) -> None:
        self.now += self.step
        self.calls += 1


@pytest.mark.parametrize(
    ("step_ns", "plan", "runs", "warmups"),
    [
        (1_000, SessionPlan(3, 10, 0.0), 10, 3),  # runs decide
        (1_000_000, SessionPlan(0, 10, 0.05), 50, 0),  # min_seconds decides
        (10**9, SessionPlan(20, 200, 0.3, 5.0), 5, 6),  # max_seconds ends warm-up and timed part
        (10**10, SessionPlan(2, 200, 0.3, 5.0), 1, 1),  # but not before one invocation
    ],
)
def test_length_of_a_session(monkeypatch, step_ns, plan, runs, warmups):
    clock = FakeClock(step_ns)
    monkeypatch.setattr(host_worker.time, "perf_counter_ns", clock.read)
    timed = host_worker.time_runs(clock.invoke, asdict(plan))
    assert timed["durations_ns"] == [step_ns] * runs
    assert clock.calls == runs + warmups
    assert timed["wall_ns"] == runs * step_ns


def test_garbage_collection_is_off_while_timing_and_on_again():
    states = []
    host_worker.time_runs(lambda: states.append(gc.isenabled()), asdict(SessionPlan(0, 3, 0.0)))
    assert states == [False] * 3
    assert gc.isenabled()
