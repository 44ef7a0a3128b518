"""The search loop with a scripted strategy: what it records, reuses, survives and refuses."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.errors import CandidateError, LitesmithError, UsageError
from core.progress import Reporter, SilentReporter
from core.spec_io import content_id
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.evaluate import Candidate, Evaluation
from search.grammar import from_text
from search.loop import run_search, training_seed
from search.objective import FAILED_SCORE
from search.settings import SearchConfig
from search.space import Genotype, SearchSpace
from search.trials import FAILED, OK, Trial, TrialLog

STAGE = StageSpec((BlockSpec(out_channels=16), BlockSpec(kernel_size=OneOf((3, 5)), out_channels=16)), OneOf((1, 2)))
SPACE = SearchSpace("toy", ArchSpec(16, (STAGE,), OneOf((32, 64)), resolution=16, num_classes=2))
SHALLOW, SHALLOW_TWIN, DEEP, WIDE = (0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1)  # the twins are one network
CONFIG = SearchConfig(max_trials=4, epochs=3, objective="accuracy", cost="macs")


@dataclass(frozen=True)
class Suggestion:
    oracle_id: str
    genotype: Genotype
    epochs: int


@dataclass
class Script:
    """A strategy that suggests what it was told, and keeps what was reported."""

    steps: Iterable[Genotype | tuple[Genotype, int]]
    reports: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._steps = iter(list(self.steps))
        self._count = 0

    def suggest(self) -> Suggestion | None:
        step: Any = next(self._steps, None)
        if step is None:
            return None
        genotype, epochs = step if isinstance(step[0], tuple) else (step, CONFIG.epochs)
        self._count += 1
        return Suggestion(f"{self._count - 1:04d}", genotype, epochs)

    def report(self, oracle_id: str, score: float, metrics: Mapping[str, float]) -> None:
        self.reports.append((oracle_id, score))


@dataclass
class Fake:
    """An evaluator that knows the answer; exceptions among the answers, given by call or genotype, are raised."""

    answers: dict[int | Genotype, BaseException | dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, int, int]] = field(default_factory=list)

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        answer = self.answers.get(len(self.calls)) or self.answers.get(candidate.genotype) or {}
        self.calls.append((candidate.arch_id, epochs, candidate.seed))
        if isinstance(answer, BaseException):
            raise answer
        head = candidate.arch.head_channels
        known = {"val_accuracy": 0.5 + 0.01 * epochs + head / 1000, "macs": 1000.0 * head, "params": 10.0}
        return Evaluation({**known, **answer}, {"train": 1.5})


def search(
    path: Path, strategy: Script, evaluator: Fake | None = None, config: SearchConfig = CONFIG, **options: Any
) -> list[Trial]:
    options = {"seed": 1, "reporter": SilentReporter(), **options}
    return run_search(config, options.pop("space", SPACE), strategy, evaluator or Fake(), path, **options)


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "trials.jsonl"


def test_a_trial_tells_everything(log):
    strategy, evaluator = Script([DEEP, WIDE]), Fake()
    first, second = search(log, strategy, evaluator)
    arch = SPACE.decode(DEEP)
    assert first == Trial(
        index=0,
        oracle_id="0000",
        genotype=DEEP,
        arch=first.arch,
        arch_id=content_id(arch),
        epochs=3,
        seed=training_seed(1, content_id(arch)),
        status=OK,
        score=0.53 + 0.032,
        metrics={"val_accuracy": 0.53 + 0.032, "macs": 32_000.0, "params": 10.0},
        seconds={"train": 1.5},
    )
    assert from_text(first.arch) == arch
    assert evaluator.calls == [(trial.arch_id, 3, trial.seed) for trial in (first, second)]
    assert strategy.reports == [("0000", first.score), ("0001", second.score)]
    assert [json.loads(line)["index"] for line in log.read_text().splitlines()] == [0, 1]


def test_the_training_seed_depends_on_search_and_network():
    seeds = {training_seed(search_seed, arch_id) for search_seed in range(20) for arch_id in ("aa", "ab")}
    assert len(seeds) == 40
    assert all(0 <= seed < 2**31 for seed in seeds)
    # Written down, because a resumed search of an earlier version goes on with it.
    assert training_seed(1, "aa") == 53029955


@pytest.mark.parametrize("max_trials", [1, 3])
def test_it_ends_at_max_trials(log, max_trials):
    trials = search(log, Script([SHALLOW, DEEP, WIDE, DEEP]), config=dataclasses.replace(CONFIG, max_trials=max_trials))
    assert [trial.index for trial in trials] == list(range(max_trials))


def test_it_ends_with_the_strategy(log):
    assert len(search(log, Script([SHALLOW]))) == 1


def test_a_strategy_without_suggestions_is_an_error_in_words(log):
    with pytest.raises(LitesmithError, match=r"^search: the strategy suggested no candidate at all$"):
        search(log, Script([]))


def test_one_network_is_evaluated_once_for_the_same_epochs(log):
    """By genotype, by twin genotype, and for fewer epochs than are known."""
    evaluator = Fake()
    steps = [(SHALLOW, 1), (SHALLOW_TWIN, 1), (SHALLOW, 3), (SHALLOW_TWIN, 1), (SHALLOW, 3)]
    trials = search(log, Script(steps), evaluator, dataclasses.replace(CONFIG, max_trials=5))
    assert [(epochs, seed) for _, epochs, seed in evaluator.calls] == [(1, trials[0].seed), (3, trials[0].seed)]
    assert [trial.reused_from for trial in trials] == [None, 0, None, 0, 2]
    assert [trial.epochs for trial in trials] == [1, 1, 3, 1, 3]
    assert [trial.genotype for trial in trials] == [genotype for genotype, _ in steps]
    for trial in trials:
        source = trials[trial.index if trial.reused_from is None else trial.reused_from]
        assert (trial.metrics, trial.score, trial.status) == (source.metrics, source.score, source.status)
        assert trial.seconds == ({"train": 1.5} if trial.reused_from is None else {})


def test_a_failure_is_recorded_with_its_reason_and_not_tried_again(log):
    evaluator = Fake(
        {0: CandidateError("stride\n does not fit"), 1: ZeroDivisionError("a\nb"), 2: LitesmithError("tool")}
    )
    strategy = Script([SHALLOW, DEEP, WIDE, SHALLOW_TWIN, (1, 1, 0)])
    trials = search(log, strategy, evaluator, dataclasses.replace(CONFIG, max_trials=5))
    assert [t.status for t in trials] == [FAILED] * 4 + [OK]
    assert [t.reason for t in trials[:4]] == [
        "stride does not fit",
        "ZeroDivisionError: a b",
        "tool",
        "stride does not fit",
    ]
    assert trials[3].reused_from == 0
    assert [score for _, score in strategy.reports[:4]] == [FAILED_SCORE] * 4
    assert len(evaluator.calls) == 4


@pytest.mark.parametrize("metric", ["val_accuracy", "macs", "params", "latency_us"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_is_a_failure(log, metric, value):
    """JSON has no NaN, and a score of NaN would end Keras Tuner's search after three of them."""
    strategy = Script([SHALLOW, DEEP])
    trials = search(log, strategy, Fake({0: {metric: value}}))
    assert [trial.status for trial in trials] == [FAILED, OK]
    assert trials[0].reason == f"the metric {metric} is {value}"
    assert trials[0].metrics == {}
    assert strategy.reports[0] == ("0000", FAILED_SCORE)
    assert search(log, Script([SHALLOW, DEEP])) == trials


def test_a_cost_of_zero_is_a_failure(log):
    config = dataclasses.replace(CONFIG, objective="mnasnet_soft")
    trials = search(log, Script([SHALLOW, DEEP]), Fake({0: {"macs": 0.0}}), config)
    assert [trial.reason for trial in trials] == ["the metric macs is 0.0; a cost must be above 0", ""]


def test_metrics_of_numpy_can_be_written_down(log):
    import numpy as np

    trials = search(log, Script([SHALLOW]), Fake({0: {"val_accuracy": np.float32(0.5), "params": np.int64(7)}}))
    assert trials[0].metrics == {"val_accuracy": 0.5, "macs": 32_000.0, "params": 7.0}
    assert search(log, Script([SHALLOW])) == trials


def test_a_missing_cost_is_a_failure_that_names_it(log):
    config = dataclasses.replace(CONFIG, cost="latency_us")
    with pytest.raises(LitesmithError, match="latency_us"):
        search(log, Script([SHALLOW]), config=config)


def test_an_evaluator_need_not_count_parameters(log):
    """A table of known results may hold accuracy and cost alone."""

    class Table:
        def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
            return Evaluation({"val_accuracy": 0.5, "macs": 1000.0}, {})

    assert [trial.status for trial in search(log, Script([SHALLOW]), Table())] == [OK]


def test_when_all_fail_the_first_reason_is_told(log):
    with pytest.raises(LitesmithError, match=r"^search: none of 2 trials could be evaluated; first reason: z first$"):
        search(log, Script([SHALLOW, DEEP]), Fake({0: CandidateError("z first"), 1: CandidateError("a second")}))
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize("error", [UsageError("bad"), OSError(28, "No space left"), KeyboardInterrupt(), SystemExit(1)])
def test_what_is_not_the_candidates_fault_ends_the_search_and_a_rerun_goes_on(log, error):
    with pytest.raises(type(error)):
        search(log, Script([SHALLOW, DEEP, WIDE]), Fake({1: error}))
    assert len(log.read_text().splitlines()) == 1
    evaluator = Fake()
    assert [trial.status for trial in search(log, Script([SHALLOW, DEEP, WIDE]), evaluator)] == [OK] * 3
    assert len(evaluator.calls) == 2


def timeless(trials: list[Trial]) -> list[Trial]:
    """The trials but for the wall time of their phases."""
    return [dataclasses.replace(trial, seconds={}) for trial in trials]


STEPS = [(SHALLOW, 1), (DEEP, 1), (SHALLOW_TWIN, 1), (WIDE, 3), (DEEP, 3)]


@pytest.mark.parametrize("kill_at", range(4))
def test_a_killed_search_ends_as_an_undisturbed_one(tmp_path, kill_at):
    config = dataclasses.replace(CONFIG, max_trials=5)
    failure = {DEEP: CandidateError("diverged")}
    whole_log, log = tmp_path / "whole", tmp_path / "log"
    whole_script, script, whole_evaluator, rest = Script(STEPS), Script(STEPS), Fake(failure), Fake(failure)
    whole = search(whole_log, whole_script, whole_evaluator, config)
    assert [trial.reused_from for trial in whole] == [None, None, 0, None, None]
    with pytest.raises(KeyboardInterrupt):
        search(log, Script(STEPS), Fake({**failure, kill_at: KeyboardInterrupt()}), config)
    assert timeless(search(log, script, rest, config)) == timeless(whole)
    assert timeless(TrialLog(log).trials) == timeless(TrialLog(whole_log).trials)
    assert script.reports == whole_script.reports
    assert rest.calls == whole_evaluator.calls[kill_at:]


def test_a_finished_search_evaluates_nothing(log):
    trials = search(log, Script(STEPS[:4]))
    evaluator = Fake()
    assert search(log, Script(STEPS[:4]), evaluator) == trials
    assert evaluator.calls == []


OTHERS: dict[str, dict[str, Any]] = {
    "other suggestion": {"steps": [SHALLOW, WIDE]},
    "fewer suggestions": {"steps": [SHALLOW]},
    "other epochs": {"steps": [(SHALLOW, 2), (DEEP, 2)]},
    "other seed": {"seed": 2},
    "other data set": {"space": SearchSpace("toy", dataclasses.replace(SPACE.template, num_classes=3))},
}


@pytest.mark.parametrize("change", OTHERS)
def test_a_log_of_another_search_is_refused(log, change):
    search(log, Script([SHALLOW, DEEP]))
    before = log.read_bytes()
    options = {"steps": [SHALLOW, DEEP], **OTHERS[change]}
    message = r"trial \d of the log is not what this search suggests: .*--workdir"
    with pytest.raises(LitesmithError, match=message) as caught:
        search(log, Script(options.pop("steps")), **options)
    assert "\n" not in str(caught.value)
    assert log.read_bytes() == before


def test_each_trial_is_shown_on_a_line(log):
    file = io.StringIO()
    reporter = Reporter(Console(file=file, width=300))
    search(log, Script([SHALLOW, DEEP, SHALLOW_TWIN]), Fake({1: CandidateError("too [deep]")}), reporter=reporter)
    lines = [line.partition("]   ")[2] for line in file.getvalue().splitlines() if "trial" in line]
    assert lines == [
        "trial 1: val 56.2 %, 32000 MACs, 0k parameters, score 0.5620 (2 s)",
        "trial 2: failed: too [deep]",
        "trial 3: val 56.2 %, 32000 MACs, 0k parameters, score 0.5620 (known from trial 1)",
    ]
