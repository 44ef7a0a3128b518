"""A runner that plays back sessions: no process, no clock, no TensorFlow."""

from __future__ import annotations

import contextlib
from pathlib import Path

from android_bench.session import Session, TargetState

MODEL_BYTES = b"\0\0\0\0TFL3 and the rest"


class PlaybackRunner:
    """Answers each session and each state from a list (the last entry again and again); notes it all in `events`."""

    tool = "playback 1.0"

    def __init__(self, sessions, concerns=(), states=None):
        self.sessions = list(sessions)
        self.states = list(states or [TargetState({"host_cpu": "imaginary"}, tuple(concerns))])
        self.events, self.plans, self.models = [], [], []

    @contextlib.contextmanager
    def exclusive(self, target):
        self.events.append("locked")
        try:
            yield
        finally:
            self.events.append("released")

    def state(self, target):
        self.events.append("state")
        return _next(self.states)

    def run(self, model_path, target, plan):
        self.events.append("run")
        self.plans.append(plan)
        self.models.append(Path(model_path).stem)
        return _next(self.sessions)


def _next(entries):
    entry = entries.pop(0) if len(entries) > 1 else entries[0]
    if isinstance(entry, BaseException):
        raise entry
    return entry


class FakeTime:
    """A clock that only sleeping moves; `slept` has every pause in seconds."""

    def __init__(self):
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)

    def clock(self):
        return sum(self.slept)


def session(*microseconds, cpu_share=0.99, concerns=(), memory=1, **rest):
    durations = tuple(round(value * 1_000) for value in microseconds)
    return Session(durations, memory, cpu_share, {"init_us": "7"}, tuple(concerns), **rest)


def model_file(folder: Path, name: str = "model") -> Path:
    """A file that passes for a .tflite, different for every name."""
    path = folder / f"{name}.tflite"
    path.write_bytes(MODEL_BYTES + name.encode())
    return path
