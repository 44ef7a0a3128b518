"""Latency tables: prediction, the fitted overhead, and files."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest

from core.errors import CandidateError, UsageError
from search.arch import ArchSpec
from search.latency.features import operators_of, size_of
from search.latency.reachable import distinct_blocks
from search.latency.table import (
    BlockLatency,
    LatencyTable,
    Overhead,
    fit_overhead,
    read_latency_table,
    write_latency_table,
)
from search.named import space
from search.sampling import random_genotype

SPACE = space("mobilenet_v2_small", 48, 10)
KEYS = distinct_blocks(SPACE, "int8")


def networks(count: int, seed: int = 0) -> list[ArchSpec]:
    rng = random.Random(seed)
    return [SPACE.decode(random_genotype(SPACE, rng)) for _ in range(count)]


def table(spread: float = 0.0) -> LatencyTable:
    """A table in which a block takes as many microseconds as it has size, each `spread` wide on both sides."""
    blocks = []
    for key in KEYS:
        us = 10 * sum(size_of(operator) * count for operator, count in operators_of(key).items())
        blocks.append(BlockLatency(key.text, us, us * (1 - spread), us * (1 + spread), 50))
    target = {"model": "Phone 1", "abi": "arm64-v8a"}
    return LatencyTable(SPACE.name, "int8", target, "benchmark_model", "2026-01-31", tuple(blocks))


def test_prediction_is_the_line_through_the_sum():
    arch = networks(1)[0]
    plain = table()
    fitted = dataclasses.replace(plain, overhead=Overhead(7.0, 1.5, 10, 0.0))
    assert plain.predict(arch).latency_us == pytest.approx(plain.sum_us(arch))
    assert fitted.predict(arch).latency_us == pytest.approx(7 + 1.5 * plain.sum_us(arch))


def test_the_interval_holds_the_blocks_and_the_fit():
    arch = networks(1)[0]
    exact, wide = table().predict(arch), table(spread=0.1).predict(arch)
    assert exact.low_us == exact.latency_us == exact.high_us
    half = wide.high_us - wide.latency_us
    assert 0 < half < 0.1 * wide.latency_us  # errors of different blocks are not all in one direction
    fitted = dataclasses.replace(table(), overhead=Overhead(0.0, 1.0, 10, 0.02)).predict(arch)
    assert fitted.high_us == pytest.approx(fitted.latency_us * (1 + 1.96 * 0.02))


def test_a_missing_block_is_named():
    arch = networks(1)[0]
    whole = table()
    lost = next(key for key in KEYS if key.token.startswith("head") and key.part == "head")
    partial = dataclasses.replace(whole, blocks=tuple(block for block in whole.blocks if "head" not in block.key))
    assert whole.missing(KEYS) == ()
    assert lost in partial.missing(KEYS)
    with pytest.raises(CandidateError, match=r"of space mobilenet_v2_small: it lacks block 'int8 .*head_c"):
        partial.predict(arch)


def test_overhead_is_found_in_spite_of_outliers():
    whole, rng = table(), np.random.default_rng(0)
    measured = [(arch, 40 + 1.3 * whole.sum_us(arch) * rng.normal(1, 0.01)) for arch in networks(12)]
    measured[3] = (measured[3][0], 5 * measured[3][1])  # throttled
    measured[7] = (measured[7][0], 3 * measured[7][1])
    overhead = fit_overhead(whole, measured).overhead
    assert overhead.networks == 12
    for arch in networks(20, seed=1):
        true_us = 40 + 1.3 * whole.sum_us(arch)
        predicted_us = fit_overhead(whole, measured).predict(arch).latency_us
        # 1 % noise on ten networks leaves well under 1 % in the line; an outlier would shift a mean by 30 %
        assert predicted_us == pytest.approx(true_us, rel=0.03)
    assert overhead.residual < 0.05  # five times the noise: two outliers of twelve hardly widen a median


def test_few_networks_give_a_factor_alone():
    whole = table()
    measured = [(arch, 2 * whole.sum_us(arch)) for arch in networks(3)]
    found = fit_overhead(whole, measured).overhead
    assert (found.constant_us, found.networks) == (0, 3)
    assert found.factor == pytest.approx(2)


@pytest.mark.parametrize("latencies", [(), (0.0,), (float("nan"),), (-1.0, 5.0)])
def test_overhead_of_no_latencies_is_refused(latencies):
    with pytest.raises(UsageError, match=r"overhead: latencies: .* is not legal; expected one or more, all above 0 us"):
        fit_overhead(table(), list(zip(networks(2), latencies, strict=False)))


def test_a_file_keeps_everything(tmp_path):
    path = tmp_path / "table.json"
    written = dataclasses.replace(table(spread=0.03), overhead=Overhead(3.25, 1.125, 9, 0.01))
    write_latency_table(path, written)
    assert read_latency_table(path) == written


DAMAGES = {
    "no such file": None,
    "not a latency table": "no JSON",
    r"not a latency table; expected a JSON file with format": "[]",
    "version of the latency table: 99 is not legal; expected 1": {"version": 99},
    r"latency table\.blocks: missing": {"blocks": ...},
    r"latency table\.tool: 3 has the wrong type": {"tool": 3},
    "data_type: 'int4' is not legal": {"data_type": "int4"},
    r"latency of 'k': \(low, median, high\)": {
        "blocks": [{"key": "k", "median_us": 1, "low_us": 2, "high_us": 3, "runs": 1}]
    },
    "block 'k' is there twice": {"blocks": [{"key": "k", "median_us": 1, "low_us": 1, "high_us": 1, "runs": 1}] * 2},
    r"overhead: \(constant_us, factor, residual\)": {"overhead": {"factor": 0}},
    "latency of 'k'": {"blocks": [{"key": "k", "median_us": float("nan"), "low_us": 1, "high_us": 1, "runs": 1}]},
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_bad_file_is_one_line_that_names_it(message, tmp_path):
    path = tmp_path / "table.json"
    damage = DAMAGES[message]
    if isinstance(damage, str):
        path.write_text(damage)
    elif damage is not None:
        write_latency_table(path, dataclasses.replace(table(), blocks=()))
        plain = json.loads(path.read_text()) | damage
        path.write_text(json.dumps({key: value for key, value in plain.items() if value is not ...}, default=str))
    with pytest.raises(UsageError, match=message) as caught:
        read_latency_table(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
