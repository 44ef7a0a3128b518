"""Whether a target is fit to be measured: waits for it before, looks again during, and says what was wrong after."""

from __future__ import annotations

from collections.abc import Callable

from android_bench.retry import retried
from android_bench.session import NOISY, Concern, MeasurementError, Runner, TargetState
from android_bench.settings import BenchConfig
from core.errors import one_line
from core.progress import Reporter
from core.values import Target

POLL_SECONDS = 5.0  # between two looks at a hot device; it cools within minutes
LOOK_AGAIN_SECONDS = 60.0  # between two looks while sessions go on; each costs a second on a phone


class Readiness:
    """Looks after a target from `before` the first session to `after` the last.

    `conditions` are those of the start, and under KEY_after what differs at the end; `concerns` collects what waiting
    did not mend; `waited_seconds` counts up to `config.max_cool_down_seconds`, after which nothing is waited for.
    """

    def __init__(
        self,
        runner: Runner,
        target: Target,
        config: BenchConfig,
        reporter: Reporter,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._runner, self._target, self._config = runner, target, config
        self._reporter, self._sleep, self._clock = reporter, sleep, clock
        self._latest_look = clock()
        self.conditions: dict[str, str] = {}
        self.concerns: list[Concern] = []
        self.waited_seconds = 0.0

    def before(self) -> None:
        """Waits until the target is fit, or for as long as the configuration allows. Raises what `state` raises."""
        self.conditions = dict(self._fit_state().conditions)

    def between(self) -> None:
        """The same between sessions, if the latest look is a minute old."""
        if self._clock() - self._latest_look >= LOOK_AGAIN_SECONDS:
            self._fit_state()

    def after(self) -> None:
        """Notes what differs now that the sessions have ended. A target that does not answer is a concern."""
        try:
            state = self._state()
        except MeasurementError as error:
            self.concerns.append(Concern(NOISY, f"its state after the sessions is unknown: {one_line(error)}"))
            return
        self.concerns += state.concerns
        if state.wait_for:
            self.concerns.append(Concern(state.wait_kind, f"{state.wait_for} after the sessions"))
        changed = {key: value for key, value in state.conditions.items() if self.conditions.get(key) != value}
        self.conditions |= {f"{key}_after": value for key, value in changed.items()}
        if self.waited_seconds:
            self.conditions["cool_down_seconds"] = f"{self.waited_seconds:.0f}"

    def _fit_state(self) -> TargetState:
        state = self._state()
        if state.wait_for and self._left() > 0:
            name = self._target.name
            self._reporter.line(f"{name}: {state.wait_for}: waiting, at most {self._left():.0f} s")
        while state.wait_for and self._left() > 0:
            pause = min(POLL_SECONDS, self._left())
            self._sleep(pause)
            self.waited_seconds += pause
            state = self._state()
        self.concerns += state.concerns
        if state.wait_for:
            waited = f" after waiting for {self.waited_seconds:.0f} s" if self.waited_seconds else ""
            self.concerns.append(Concern(state.wait_kind, f"{state.wait_for}{waited}"))
        return state

    def _left(self) -> float:
        return self._config.max_cool_down_seconds - self.waited_seconds

    def _state(self) -> TargetState:
        state = retried(lambda: self._runner.state(self._target), self._config.retries, self._reporter, self._sleep)
        self._latest_look = self._clock()
        return state
