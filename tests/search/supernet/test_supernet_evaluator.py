"""The evaluator on shared weights: what it recalibrates and judges on, what it reports, what it keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from core.errors import LitesmithError
from core.progress import SilentReporter
from search.cost import cost
from search.latency.blocks import blocks_of
from search.latency.table import BlockLatency, LatencyTable, write_latency_table
from search.loop import candidate_of, run_search
from search.oracles.strategy import Strategy
from search.settings import SearchConfig
from search.supernet.evaluator import SupernetEvaluator, evaluate_genotypes
from search.supernet.settings import SupernetConfig
from tests.search.supernet.supernet_fakes import FakeShared, planted_accuracy, synthetic_data

DATA = synthetic_data()
CONFIG = SupernetConfig(recalibration_images=50, val_images=100)


def evaluator(**search: object) -> SupernetEvaluator:
    return SupernetEvaluator(FakeShared(), CONFIG, DATA, SearchConfig(cost="macs", **search))  # type: ignore[arg-type]


def test_a_network_is_judged_with_statistics_of_its_own() -> None:
    judge = evaluator()
    candidate = candidate_of(judge.shared.space, (1,) * 21, 0)
    found = judge.evaluate(candidate, 3)
    assert judge.shared.calls == [("recalibrate", candidate.arch, 50), ("logits", candidate.arch, 100)]  # type: ignore[attr-defined]
    # 100 images: the planted accuracy in whole hundredths.
    assert found.metrics.pop("val_accuracy") == pytest.approx(planted_accuracy(candidate.arch), abs=0.0051)
    computed = cost(candidate.arch)
    assert found.metrics == {
        "macs": computed.macs,
        "params": computed.params,
        "peak_memory_bytes": computed.peak_memory_bytes,
    }
    assert found.seconds.keys() == {"recalibrate", "evaluate"} and judge.seconds == found.seconds


def test_latency_comes_from_the_table(tmp_path: Path) -> None:
    arch = FakeShared().space.decode((0,) * 21)
    keys = sorted({key.text for key in blocks_of(arch, "int8")})
    blocks = tuple(BlockLatency(key, 2.0, 2.0, 2.0, 1) for key in keys)
    table = LatencyTable("mobilenet_v2_small", "int8", {}, "test", "2026-01-01", blocks)
    write_latency_table(tmp_path / "table.json", table)
    search = SearchConfig(latency_table=str(tmp_path / "table.json"))
    judge = SupernetEvaluator(FakeShared(), CONFIG, DATA, search)
    found = judge.evaluate(candidate_of(judge.shared.space, (0,) * 21, 0), 1)
    assert found.metrics["latency_us"] == table.predict(arch).latency_us


def test_a_search_with_shared_weights_finds_a_good_network(tmp_path: Path) -> None:
    """The whole loop: an oracle of ours, the supernet in place of trainings."""
    judge = evaluator(oracle="regularized_evolution", objective="accuracy", max_trials=40, max_macs=3e6)
    strategy = Strategy(judge.search, judge.shared.space, 1)
    trials = run_search(
        judge.search, judge.shared.space, strategy, judge, tmp_path / "log", seed=1, reporter=SilentReporter()
    )
    assert len(trials) == 40 and max(trial.metrics["macs"] for trial in trials) <= 3e6
    first = max(trial.score for trial in trials[:10])
    assert max(trial.score for trial in trials) > first


def test_a_network_that_is_not_finite_ends_nothing_and_is_known_from_then_on(tmp_path: Path) -> None:
    judge = evaluator()
    genotypes = [(0,) * 21, (1,) * 21, (0, 1, *(0,) * 19)]
    bad = judge.shared.space.decode(genotypes[1])
    judge.shared.unfinite = (bad,)  # type: ignore[attr-defined]
    found = evaluate_genotypes(judge, genotypes, tmp_path / "log")
    assert [math.isnan(value) for value in found] == [False, True, False]
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert records[1]["val_accuracy"] is None and "not finite" in records[1]["error"]
    again = evaluator()
    assert str(evaluate_genotypes(again, genotypes, tmp_path / "log")) == str(found)
    assert again.shared.calls == []  # type: ignore[attr-defined]


def test_evaluated_genotypes_go_on_from_the_log(tmp_path: Path) -> None:
    genotypes = [(0,) * 21, (1,) * 21, (0, 1, *(0,) * 19)]
    whole = evaluate_genotypes(evaluator(), genotypes, tmp_path / "whole")
    assert evaluate_genotypes(evaluator(), genotypes[:1], tmp_path / "part") == whole[:1]
    judge = evaluator()
    assert evaluate_genotypes(judge, genotypes, tmp_path / "part") == whole
    assert len(judge.shared.calls) == 2 * 2  # type: ignore[attr-defined]  # the first network was known
    with pytest.raises(LitesmithError, match="other sub-networks"):
        evaluate_genotypes(judge, genotypes[1:], tmp_path / "part")
