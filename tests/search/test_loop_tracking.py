"""What a search tracks of its trials, also over a kill; the evaluations cost nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import CandidateError
from core.progress import SilentReporter
from core.tracking import EventTracker
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.evaluate import Candidate, Evaluation
from search.loop import run_search
from search.settings import SearchConfig
from search.space import Genotype, SearchSpace
from search.trials import Trial, TrialLog
from tests.event_logs import curves, rows

BLOCK = BlockSpec(out_channels=16)
OTHER = BlockSpec(kernel_size=5, out_channels=16)
SPACE = SearchSpace(
    "toy", ArchSpec(16, (StageSpec((OneOf((BLOCK, OTHER)),), 1),), OneOf((32, 64)), resolution=16, num_classes=2)
)
CONFIG = SearchConfig(max_trials=4, epochs=3, objective="accuracy", cost="macs")


@dataclass(frozen=True)
class Suggestion:
    oracle_id: str
    genotype: Genotype
    epochs: int = 3


class Listed:
    """Suggests three networks, and the first once more."""

    def __init__(self) -> None:
        self._left = [Suggestion(str(i), genotype) for i, genotype in enumerate([(0, 0), (1, 0), (1, 1), (0, 0)])]

    def suggest(self) -> Suggestion | None:
        return self._left.pop(0) if self._left else None

    def report(self, oracle_id: str, score: float, metrics: Mapping[str, float]) -> None:
        pass


class Known:
    """The accuracy of a network is in its genotype; one of them diverges."""

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        if candidate.genotype == (1, 0):
            raise CandidateError("diverged")
        metrics = {"val_accuracy": 0.5 + 0.25 * candidate.genotype[1], "macs": 1000.0}
        return Evaluation(metrics, {"train": 1.5, "measure": 0.5})


def _search(folder: Path) -> list[Trial]:
    tracker, log = EventTracker(folder / "logs"), folder / "trials.jsonl"
    return run_search(CONFIG, SPACE, Listed(), Known(), log, seed=1, reporter=SilentReporter(), tracker=tracker)


@pytest.mark.parametrize("logged", [0, 1, 2, 3], ids="killed after {} trials".format)
def test_trials_are_tracked_once_whenever_the_search_was_killed(
    logged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the worst moment: when the next trial is tracked and not yet in the log."""

    def append(log: TrialLog, trial: Trial) -> None:
        if trial.index == logged:
            raise KeyboardInterrupt
        real(log, trial)

    real = TrialLog.append
    with monkeypatch.context() as patched:
        patched.setattr(TrialLog, "append", append)
        with pytest.raises(KeyboardInterrupt):
            _search(tmp_path)
    trials = _search(tmp_path)

    found = curves(tmp_path / "logs")
    assert found["."]["trial/val_accuracy"] == [(1, 0.5), (3, 0.75), (4, 0.5)]
    assert found["."]["trial/score"] == [(1, 0.5), (3, 0.75), (4, 0.5)]
    assert [step for step, _ in found["."]["trial/macs"]] == [1, 3, 4]
    assert {step: seconds for step, seconds in found["."]["trial/seconds"] if step != 2} == {1: 2.0, 3: 2.0}
    first, failed, second = (trial.arch_id for trial in trials[:3])
    assert sorted(found) == sorted([".", first, failed, second])
    assert found[second] == {"val_accuracy": [(3, 0.75)], "macs": [(3, 1000.0)], "score": [(3, 0.75)]}
    genes = [gene.path for gene in SPACE.genes]
    assert rows(tmp_path / "logs") == {
        arch_id: (
            f"trial {number}",
            {**dict(zip(genes, values, strict=True)), "network": trials[number - 1].arch, "epochs": 3.0},
            number != 2,
        )
        for arch_id, number, values in [(first, 1, (0.0, 32.0)), (failed, 2, (1.0, 32.0)), (second, 3, (1.0, 64.0))]
    }
