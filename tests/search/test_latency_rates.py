"""Rates of operators from a latency table: what they recover, what they are silent about, what is refused."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from core.errors import CandidateError, UsageError
from core.spec_io import content_id
from search.grammar import from_text
from search.latency.blocks import BlockKey, blocks_of
from search.latency.features import operators_of
from search.latency.rates import LatencyRates, OperatorRate, block_key, fit_rates
from search.latency.reachable import distinct_blocks
from search.latency.table import BlockLatency, LatencyTable, Overhead
from search.named import space

PLANTED = LatencyRates(
    "int8",
    (
        OperatorRate("conv", 0.05, 0.3, 900.0),
        OperatorRate("dense", 0.08, 1.0, 300.0),
        OperatorRate("depthwise 3x3", 0.2, 0.0, 700.0),
        OperatorRate("depthwise 5x5", 0.5, 0.0, 9000.0),
        OperatorRate("depthwise 7x7", 0.6, 0.0, 20_000.0),
        OperatorRate("elementwise", 0.0, 0.5, 400.0),
        OperatorRate("pointwise", 0.03, 0.25, 500.0),
    ),
    network_us=0.0,
    blocks=0,
    residual=0.0,
)
# Blocks of all kinds and of so many shapes that nothing is left open.
NETWORKS = tuple(
    f"input_r{side}_n{classes}_w1 stem_s2_c{width}_relu basic_r2_k3_s1_c{width}_relu conv_r1_k5_s2_c{2 * width}_relu "
    f"ir_r2_k3_s1_e{expand}_c{2 * width} ir_r2_k5_s1_e{expand}_c{width} ir_r1_k7_s1_e{expand}_c{width} max_r1_k3_s2 "
    f"head_c{expand * width}_u{units}"
    for side, width, expand, units, classes in (
        (32, 8, 2, 16, 2),
        (48, 24, 3, 32, 100),
        (64, 32, 6, 256, 10),
        (96, 56, 4, 1024, 1000),
        (128, 16, 1, 2048, 40),
    )
)


@functools.cache
def keys() -> tuple[BlockKey, ...]:
    return tuple(dict.fromkeys(key for text in NETWORKS for key in blocks_of(from_text(text), "int8")))


def table(noise: float = 0.0, of: tuple[BlockKey, ...] = ()) -> LatencyTable:
    """Blocks that take what PLANTED says, give or take."""
    rng = np.random.default_rng(0)
    blocks = []
    for key in of or keys():
        us = PLANTED.operators_us(operators_of(key)) * (1 + noise * rng.normal())
        blocks.append(BlockLatency(key.text, us, us, us, 50))
    return LatencyTable("space", "int8", {}, "benchmark_model", "2026-01-31", tuple(blocks))


def test_planted_rates_are_recovered():
    found = fit_rates(table())
    assert [rate.kind for rate in found.operators] == [rate.kind for rate in PLANTED.operators]
    for rate, planted in zip(found.operators, PLANTED.operators, strict=True):
        for name in ("ns_per_mac", "ns_per_value", "constant_ns"):
            # What keeps rates alike that the blocks leave open moves the others too: a little, of all that there is.
            assert getattr(rate, name) == pytest.approx(getattr(planted, name), rel=0.1), (rate.kind, name)
    assert found.residual < 0.01
    assert (found.data_type, found.blocks) == ("int8", len(keys()))


def test_noise_is_the_residual_and_hardly_moves_a_prediction():
    found = fit_rates(table(0.05))
    assert 0.03 < found.residual < 0.08  # 5 % of noise, seen through some thirty blocks
    for text in NETWORKS:
        operators = [operators_of(key) for key in blocks_of(from_text(text), "int8")]
        us, planted = (sum(map(rates.operators_us, operators)) for rates in (found, PLANTED))
        assert us == pytest.approx(planted, rel=0.1)  # twice the noise of one block


def test_what_blocks_leave_open_is_taken_from_the_like():
    """The space has one stem, so that its time could as well be constant: then no channel of it would cost anything."""
    blocks = distinct_blocks(space("mobilenet_v2_small", 48, 10), "int8")
    found = fit_rates(table(of=blocks))
    # That of the pointwise convolutions, of which there are hundreds.
    for kind in ("conv", "dense"):
        assert found.rate(kind).ns_per_mac == pytest.approx(PLANTED.rate("pointwise").ns_per_mac, rel=0.1)


def test_whole_networks_count():
    plain = fit_rates(table())
    fitted = fit_rates(dataclasses.replace(table(), overhead=Overhead(12.5, 2.0, 8)))
    assert fitted.network_us == 12.5
    assert fitted.rate("conv").ns_per_mac == pytest.approx(2 * plain.rate("conv").ns_per_mac, rel=1e-5)  # six digits
    assert fitted.residual == plain.residual
    below = dataclasses.replace(table(), overhead=Overhead(-3.0, 1.0, 8))
    assert fit_rates(below).network_us == 0.0


def test_the_value_is_the_table_s_and_not_its_order():
    one = table(0.05)
    other = dataclasses.replace(one, date="2027-01-01", tool="another")
    assert content_id(fit_rates(one)) == content_id(fit_rates(other))
    slower = (dataclasses.replace(one.blocks[0], median_us=500.0, high_us=500.0), *one.blocks[1:])
    assert content_id(fit_rates(dataclasses.replace(one, blocks=slower))) != content_id(fit_rates(one))


def test_blocks_too_fast_to_be_timed_are_no_trouble():
    zeros = tuple(dataclasses.replace(block, median_us=0.0, low_us=0.0, high_us=0.0) for block in table().blocks[:2])
    found = fit_rates(dataclasses.replace(table(), blocks=(*zeros, *table().blocks[2:])))
    assert np.isfinite(found.residual)


@pytest.mark.parametrize(
    "key",
    [
        *keys()[:9],
        *distinct_blocks(space("mobilenet_v2_small_xnnpack", 48, 10), "float32")[:5],
        *blocks_of(from_text(NETWORKS[0].replace("_w1", "_w1_nobn")), "int8")[:3],
    ],
)
def test_a_key_is_read_from_its_text(key):
    assert block_key(key.text) == key


def test_a_table_that_tells_too_little_is_refused():
    few = dataclasses.replace(table(), blocks=table().blocks[:3])
    with pytest.raises(UsageError, match=r"^int8 latency table: 3 blocks are too few to tell \d+ rates of operators"):
        fit_rates(few)
    zeros = tuple(dataclasses.replace(block, median_us=0.0, low_us=0.0, high_us=0.0) for block in table().blocks)
    with pytest.raises(UsageError, match=r"latencies above 0 us$"):
        fit_rates(dataclasses.replace(table(), blocks=zeros))


@pytest.mark.parametrize("text", ["", "nonsense", "int8 8x8 ir_r1_k3_s1_e6_c24", "int8 8x8x8 ir_r1_k3_s1_e6_c24 x y"])
def test_a_block_that_is_none_is_refused(text):
    odd = (dataclasses.replace(table().blocks[0], key=text), *table().blocks[1:])
    with pytest.raises(UsageError, match=f"^latency table: block: '{text}' is not legal"):
        fit_rates(dataclasses.replace(table(), blocks=odd))


def test_an_operator_that_the_table_has_not_is_refused():
    with pytest.raises(CandidateError, match=r"has no depthwise 9x9 operator .*; it has conv, dense, depthwise 3x3"):
        PLANTED.rate("depthwise 9x9")
