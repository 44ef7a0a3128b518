"""The trial log: what is appended is read back, and questions about it."""

from __future__ import annotations

import dataclasses

import pytest

from core.errors import LitesmithError
from search.trials import FAILED, OK, Trial, TrialLog, best

TRIAL = Trial(
    index=0,
    oracle_id="0000",
    genotype=(0, 2, 1),
    arch="input_…",
    arch_id="aa",
    epochs=3,
    seed=7,
    status=OK,
    score=0.5,
    metrics={"val_accuracy": 0.5},
    seconds={"train": 1.5},
)


def trials(*rows: tuple[str, int, float | None]) -> list[Trial]:
    """Trials from (network, epochs, score), None for a failed one."""
    return [
        dataclasses.replace(
            TRIAL,
            index=index,
            arch_id=arch_id,
            epochs=epochs,
            score=-1.0 if score is None else score,
            status=FAILED if score is None else OK,
        )
        for index, (arch_id, epochs, score) in enumerate(rows)
    ]


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path)
    written = [TRIAL, dataclasses.replace(TRIAL, index=1, status=FAILED, reason="no é", metrics={}, reused_from=0)]
    for trial in written:
        log.append(trial)
    assert log.trials == TrialLog(path).trials == written


def test_a_record_of_another_version_is_named(tmp_path):
    path = tmp_path / "trials.jsonl"
    TrialLog(path).append(TRIAL)
    path.write_text(path.read_text() + '{"index": 1}\n')
    with pytest.raises(LitesmithError, match=r"trials\.jsonl:2\..*: missing"):
        TrialLog(path)


def test_a_trial_that_cannot_be_written_is_not_in_the_log(tmp_path):
    log = TrialLog(tmp_path / "trials.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        log.append(dataclasses.replace(TRIAL, score=float("nan")))
    assert log.trials == TrialLog(tmp_path / "trials.jsonl").trials == []


def test_finished_asks_for_network_and_enough_epochs(tmp_path):
    log = TrialLog(tmp_path / "trials.jsonl")
    for trial in trials(("aa", 1, 0.1), ("bb", 9, None), ("aa", 3, 0.3), ("aa", 9, 0.9)):
        log.append(trial)

    def index(arch_id: str, epochs: int) -> int | None:
        found = log.finished(arch_id, epochs)
        return None if found is None else found.index

    assert [index("aa", epochs) for epochs in (1, 2, 3, 4, 9, 10)] == [0, 2, 2, 3, 3, None]
    assert [index("bb", epochs) for epochs in (1, 9, 10)] == [1, 1, None]  # a failure is not tried again
    assert index("cc", 1) is None


def test_best_takes_each_network_once_by_its_longest_training():
    rows = trials(("aa", 1, 0.9), ("bb", 1, 0.6), ("aa", 3, 0.7), ("cc", 3, 0.6), ("dd", 3, None), ("cc", 3, 0.6))
    assert [trial.index for trial in best(rows, 10)] == [2, 1, 3]  # the tie of bb and cc goes to the earlier one
    assert [trial.index for trial in best(rows, 1)] == [2]
    assert best(trials(("aa", 1, None)), 1) == best([], 1) == ()
